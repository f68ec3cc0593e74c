"""The tables, for SQLite and PostgreSQL alike. Knows no query."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    func,
)

from edgewise.services.store.columns import CleanText, Instant, JsonText


def _partial(where: Any) -> dict[str, Any]:
    return {"sqlite_where": where, "postgresql_where": where}


def _project_key(**options: Any) -> "Column[int]":
    return Column("project_key", Integer, ForeignKey("projects.key"), nullable=False, **options)


metadata = MetaData()

projects = Table(
    "projects",
    metadata,
    Column("key", Integer, primary_key=True),
    Column("address", CleanText, nullable=False),
    Column("ls_id", BigInteger, nullable=False),
    Column("created_at", CleanText, nullable=False),
    Column("title", CleanText, nullable=False),
    Column("label_config", CleanText, nullable=False),
    Column("maximum_annotations", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("watermark", Text),
    Column("serving", Text),
    Column("active_release", Integer),
    Column("release_counter", Integer, nullable=False),
    Column("note", CleanText, nullable=False),
    Column("connection", JsonText, nullable=False),
    Column("trouble", JsonText),
    Column("last_training", JsonText),
    Column("swept_at", Instant),
    Column("llm", JsonText),  # what releases show of language models: run, shown, schema, calibration, at
    sqlite_autoincrement=True,  # a key is never given twice: folders are named after it
)
Index("one_live_project", projects.c.address, projects.c.ls_id, unique=True, **_partial(projects.c.state != "gone"))

people = Table(
    "people",
    metadata,
    _project_key(primary_key=True),
    Column("person", BigInteger, primary_key=True, autoincrement=False),
)

tasks = Table(
    "tasks",
    metadata,
    _project_key(primary_key=True),
    Column("task_id", BigInteger, primary_key=True, autoincrement=False),
    Column("data", JsonText, nullable=False),
    Column("text_key", CleanText, nullable=False),
    Column("audit", Boolean, nullable=False),
    Column("updated_at", Text, nullable=False),
    Column("overlap", Integer, nullable=False),
    Column("digest", Text),
    Column("problem", CleanText),
    Column("finished", Integer, nullable=False),  # annotations that are done and not cancelled
    Column("skippers", Integer, nullable=False),  # distinct people who skipped it
    Column("open", Boolean, nullable=False),  # the design's "Open"; ranks carry a copy
    Column("addresses", JsonText),  # of texts that `data` has in the place of their addresses
)
Index("tasks_open", tasks.c.project_key, tasks.c.task_id, **_partial(tasks.c.open.is_(True)))
Index("tasks_labelled", tasks.c.project_key, tasks.c.task_id, **_partial(tasks.c.digest.is_not(None)))
Index("tasks_taught", tasks.c.project_key, tasks.c.audit, **_partial(tasks.c.digest.is_not(None)))
Index("tasks_skipped", tasks.c.project_key, tasks.c.task_id, **_partial(tasks.c.skippers > 0))

annotations = Table(
    "annotations",
    metadata,
    _project_key(primary_key=True),
    Column("task_id", BigInteger, primary_key=True, autoincrement=False),
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("updated_at", Text, nullable=False),
    Column("completed_by", BigInteger),
    Column("ground_truth", Boolean, nullable=False),
    Column("was_cancelled", Boolean, nullable=False),
    Column("unopened", Boolean, nullable=False),
    Column("lead_time", Float),
    Column("parent_prediction", BigInteger),
    Column("result", JsonText, nullable=False),
    ForeignKeyConstraint(["project_key", "task_id"], ["tasks.project_key", "tasks.task_id"], ondelete="CASCADE"),
)

suggestions = Table(
    "suggestions",  # what an annotation began from; releases, and the predictions in Label Studio, go sooner
    metadata,
    _project_key(primary_key=True),
    Column("task_id", BigInteger, primary_key=True, autoincrement=False),
    Column("annotation_id", BigInteger, primary_key=True, autoincrement=False),
    Column("prediction", BigInteger, nullable=False),  # its id in Label Studio
    Column("sources", JsonText, nullable=False),
    Column("result", JsonText, nullable=False),
    ForeignKeyConstraint(["project_key", "task_id"], ["tasks.project_key", "tasks.task_id"], ondelete="CASCADE"),
)

snapshots = Table(
    "snapshots",
    metadata,
    _project_key(primary_key=True),
    Column("hash", Text, primary_key=True),
    Column("turn", Integer, nullable=False),  # the highest is the last snapshot, whatever the clock says
    Column("created_at", Instant, nullable=False),
    Column("size", Integer, nullable=False),
)

snapshot_rows = Table(
    "snapshot_rows",
    metadata,
    _project_key(primary_key=True),
    Column("hash", Text, primary_key=True),
    Column("task_id", BigInteger, primary_key=True, autoincrement=False),
    Column("digest", Text, nullable=False),
    Column("annotation_ids", JsonText, nullable=False),
)

versions = Table(
    "versions",
    metadata,
    _project_key(primary_key=True),
    Column("id", Text, primary_key=True),
    Column("created_at", Instant, nullable=False),
    Column("schema_digest", Text, nullable=False),
    Column("snapshot", Text, nullable=False),
    Column("parent", Text),
    Column("state", Text, nullable=False),
    Column("provisional", Boolean, nullable=False),
    Column("reason", CleanText, nullable=False),
    Column("scores", JsonText, nullable=False),
    Column("settings", JsonText, nullable=False),
    Column("label_counts", JsonText, nullable=False),
    Column("examples", Integer, nullable=False),
    Column("pinned", Boolean, nullable=False),
    Column("weights_hash", Text, nullable=False),
    Column("code", Text, nullable=False),  # of Edgewise
)

arithmetics = Table(
    "arithmetics",  # in which each head of a version is computed, on which machine
    metadata,
    _project_key(primary_key=True),
    Column("version", Text, primary_key=True),
    Column("head", CleanText, primary_key=True),
    Column("machine", Text, primary_key=True),
    Column("architecture", Text, nullable=False),
    Column("choice", Text, nullable=False),
    Column("reason", CleanText, nullable=False),
    Column("figures", JsonText, nullable=False),
    Column("created_at", Instant, nullable=False),
)
Index("arithmetics_standing", arithmetics.c.architecture, arithmetics.c.machine)

version_predictions = Table(
    "version_predictions",
    metadata,
    _project_key(primary_key=True),
    Column("version", Text, primary_key=True),
    Column("purpose", Text, primary_key=True),
    Column("task_id", BigInteger, primary_key=True, autoincrement=False),
    Column("result", JsonText, nullable=False),
)

datasets = Table(
    "datasets",  # a snapshot with its contents
    metadata,
    _project_key(primary_key=True),
    Column("id", Text, primary_key=True),  # the snapshot's hash
    Column("created_at", Instant, nullable=False),
    Column("size", Integer, nullable=False),
    Column("parents", JsonText, nullable=False),
    Column("config", Text, nullable=False),
    Column("label_counts", JsonText, nullable=False),
)

dataset_rows = Table(
    "dataset_rows",
    metadata,
    _project_key(primary_key=True),
    Column("dataset", Text, primary_key=True),
    Column("task_id", BigInteger, primary_key=True, autoincrement=False),
    Column("text", Text, nullable=False),  # hash of the texts
    Column("content", Text, nullable=False),  # hash of texts and labels
)
Index("dataset_rows_by_task", dataset_rows.c.project_key, dataset_rows.c.task_id)
Index("dataset_rows_by_content", dataset_rows.c.project_key, dataset_rows.c.content)

dataset_contents = Table(
    "dataset_contents",  # once for each content, however many versions have it
    metadata,
    _project_key(primary_key=True),
    Column("content", Text, primary_key=True),
    Column("body", JsonText, nullable=False),
)

releases = Table(
    "releases",
    metadata,
    _project_key(primary_key=True),
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("version", Text),
    Column("state", Text, nullable=False),
    Column("whole", Boolean, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("schema_digest", Text, nullable=False),
    Column("scales", JsonText, nullable=False),
    Column("changed", Float),
)

ranks = Table(
    "ranks",
    metadata,
    _project_key(primary_key=True),
    Column("task_id", BigInteger, primary_key=True, autoincrement=False),
    Column("release", Integer, primary_key=True, autoincrement=False),
    Column("uncertainty", Float),
    Column("score", Float, nullable=False),
    Column("reason", CleanText, nullable=False),
    Column("result", JsonText, nullable=False),
    Column("audit", Boolean, nullable=False),
    Column("pushed", Boolean, nullable=False),
    Column("open", Boolean, nullable=False),  # copy of the task's, so that hardest() meets no closed row
    ForeignKeyConstraint(["project_key", "task_id"], ["tasks.project_key", "tasks.task_id"], ondelete="CASCADE"),
)
_release, _place = (ranks.c.project_key, ranks.c.release), (ranks.c.score, ranks.c.task_id)
# Whole, not partial: without statistics SQLite would take any other index that begins the same.
Index("ranks_hardest", *_release, ranks.c.open, ranks.c.audit, *_place, ranks.c.uncertainty)
Index("ranks_unpushed", *_release, *_place, **_partial(ranks.c.pushed.is_(False)))

rank_chunks = Table(
    "rank_chunks",  # of a ranking, from the first task's id to the last one's; one that is done goes
    metadata,
    _project_key(primary_key=True),
    Column("release", Integer, primary_key=True, autoincrement=False),
    Column("first", BigInteger, primary_key=True, autoincrement=False),
    Column("last", BigInteger, nullable=False),
    Column("holder", Text),  # a job's id; no foreign key: it holds as long as this attempt of it runs
    Column("attempt", Integer),
    Column("tasks", JsonText),  # a head's alone: which ones
    Column("said", LargeBinary),  # what was said of them; such a chunk stays until its step of the head is whole
)

pools = Table(
    "pools",
    metadata,
    _project_key(primary_key=True),
    Column("release", Integer, primary_key=True, autoincrement=False),
    Column("size", BigInteger, nullable=False),
)

llm_answers = Table(
    "llm_answers",
    metadata,
    _project_key(primary_key=True),
    Column("key", Text, primary_key=True),
    Column("record", JsonText, nullable=False),
)

llm_texts = Table(
    "llm_texts",
    metadata,
    _project_key(primary_key=True),
    Column("text", Text, primary_key=True),  # a hash: which answers hold this text
    Column("key", Text, primary_key=True),
)

prelabels = Table(
    "prelabels",
    metadata,
    _project_key(primary_key=True),
    Column("task_id", BigInteger, primary_key=True, autoincrement=False),
    Column("run", Integer, nullable=False),
    Column("result", JsonText, nullable=False),
    Column("confidence", Float),
    Column("unplaced", Integer, nullable=False),
    Column("error", CleanText),
    Column("shown", JsonText, nullable=False),  # tasks that were its demonstrations
    Column("disagreement", Float),  # with the model that serves, as of its last ranking
    Column("believed", Boolean),  # as of the last round of `improve`
    ForeignKeyConstraint(["project_key", "task_id"], ["tasks.project_key", "tasks.task_id"], ondelete="CASCADE"),
)

Index("prelabels_worst", prelabels.c.project_key, prelabels.c.disagreement, **_partial(prelabels.c.disagreement > 0))

llm_runs = Table(
    "llm_runs",
    metadata,
    _project_key(primary_key=True),
    Column("run", Integer, primary_key=True, autoincrement=False),
    Column("created_at", Instant, nullable=False),
    Column("digest", Text, nullable=False),
    Column("schema_digest", Text, nullable=False),
    Column("job", Text, nullable=False),
    Column("how", JsonText, nullable=False),
    Column("spend", JsonText, nullable=False),
    Column("sent", JsonText, nullable=False),
    Column("calibration", JsonText),
)

llm_demonstrations = Table(
    "llm_demonstrations",  # what a run may show with a question, fixed when it begins
    metadata,
    _project_key(primary_key=True),
    Column("task_id", BigInteger, primary_key=True, autoincrement=False),
    Column("run", Integer, primary_key=True, autoincrement=False),
    Column("answers", JsonText, nullable=False),
    Column("wrong", Boolean, nullable=False),
    ForeignKeyConstraint(["project_key", "task_id"], ["tasks.project_key", "tasks.task_id"], ondelete="CASCADE"),
)

improvements = Table(
    "improvements",  # the last one of each project
    metadata,
    _project_key(primary_key=True),
    Column("id", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("spend", JsonText, nullable=False),
    Column("rounds", JsonText, nullable=False),
    Column("ended", CleanText),
)

instructions = Table(
    "instructions",
    metadata,
    _project_key(primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("text", CleanText, nullable=False),
    Column("created_at", Instant, nullable=False),
)

reports = Table(
    "reports",
    metadata,
    _project_key(primary_key=True),
    Column("id", Text, primary_key=True),  # the job's
    Column("kind", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("finished_at", Instant),
    Column("spend", JsonText, nullable=False),
    Column("content", JsonText, nullable=False),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("topic", Text, nullable=False),
    Column("payload", JsonText, nullable=False),
    Column("created_at", Instant, nullable=False),
    sqlite_autoincrement=True,
)

leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("until", Instant, nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_key", Integer),  # no foreign key: `forget` outlives its project
    Column("kind", Text, nullable=False),
    Column("lane", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("args", JsonText, nullable=False),
    Column("attempts", Integer, nullable=False),  # also the fence: who started attempt n may not write into n + 1
    Column("faults", Integer, nullable=False),
    Column("progress", Float, nullable=False),
    Column("message", CleanText, nullable=False),
    Column("error", JsonText),
    Column("created_at", Instant, nullable=False),
    Column("started_at", Instant),
    Column("finished_at", Instant),
    Column("run_after", Instant),
    Column("lease_until", Instant),
    Column("cancel_at", Instant),
    Column("sent_at", Instant),  # when the transport was last told of it
)
_whose = (func.coalesce(jobs.c.project_key, 0), jobs.c.kind)
Index("one_job_waits", *_whose, unique=True, **_partial(jobs.c.state == "queued"))
Index("one_job_runs", *_whose, unique=True, **_partial(jobs.c.state == "running"))
Index("jobs_waiting", jobs.c.lane, jobs.c.created_at, **_partial(jobs.c.state == "queued"))
Index("jobs_newest", jobs.c.created_at)
Index("jobs_by_state", jobs.c.state, jobs.c.kind)
