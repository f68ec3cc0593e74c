"""The schema as it was when migrations began. Frozen: what changes is a revision of its own.

Its tables are written out, not taken from tables.py, which goes on changing.
"""

from typing import Any

from alembic import op
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    func,
)


def _partial(where: Any) -> dict[str, Any]:
    return {"sqlite_where": where, "postgresql_where": where}


def _project_key(**options: Any) -> "Column[int]":
    return Column("project_key", Integer, ForeignKey("projects.key"), nullable=False, **options)


revision = "0001"
down_revision = None

metadata = MetaData()

projects = Table(
    "projects",
    metadata,
    Column("key", Integer, primary_key=True),
    Column("address", Text, nullable=False),
    Column("ls_id", BigInteger, nullable=False),
    Column("created_at", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("label_config", Text, nullable=False),
    Column("maximum_annotations", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("watermark", Text),
    Column("serving", Text),
    Column("active_release", Integer),
    Column("release_counter", Integer, nullable=False),
    Column("note", Text, nullable=False),
    Column("connection", Text, nullable=False),
    Column("trouble", Text),
    Column("last_training", Text),
    Column("swept_at", DateTime(timezone=True)),
    Column("llm", Text),
    sqlite_autoincrement=True,
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
    Column("data", Text, nullable=False),
    Column("text_key", Text, nullable=False),
    Column("audit", Boolean, nullable=False),
    Column("updated_at", Text, nullable=False),
    Column("overlap", Integer, nullable=False),
    Column("digest", Text),
    Column("problem", Text),
    Column("finished", Integer, nullable=False),
    Column("skippers", Integer, nullable=False),
    Column("open", Boolean, nullable=False),
)
Index("tasks_open", tasks.c.project_key, tasks.c.task_id, **_partial(tasks.c.open.is_(True)))
Index("tasks_labelled", tasks.c.project_key, tasks.c.task_id, **_partial(tasks.c.digest.is_not(None)))
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
    Column("result", Text, nullable=False),
    ForeignKeyConstraint(["project_key", "task_id"], ["tasks.project_key", "tasks.task_id"], ondelete="CASCADE"),
)

suggestions = Table(
    "suggestions",
    metadata,
    _project_key(primary_key=True),
    Column("task_id", BigInteger, primary_key=True, autoincrement=False),
    Column("annotation_id", BigInteger, primary_key=True, autoincrement=False),
    Column("prediction", BigInteger, nullable=False),
    Column("sources", Text, nullable=False),
    Column("result", Text, nullable=False),
    ForeignKeyConstraint(["project_key", "task_id"], ["tasks.project_key", "tasks.task_id"], ondelete="CASCADE"),
)

snapshots = Table(
    "snapshots",
    metadata,
    _project_key(primary_key=True),
    Column("hash", Text, primary_key=True),
    Column("turn", Integer, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("size", Integer, nullable=False),
)

snapshot_rows = Table(
    "snapshot_rows",
    metadata,
    _project_key(primary_key=True),
    Column("hash", Text, primary_key=True),
    Column("task_id", BigInteger, primary_key=True, autoincrement=False),
    Column("digest", Text, nullable=False),
    Column("annotation_ids", Text, nullable=False),
)

versions = Table(
    "versions",
    metadata,
    _project_key(primary_key=True),
    Column("id", Text, primary_key=True),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("schema_digest", Text, nullable=False),
    Column("snapshot", Text, nullable=False),
    Column("parent", Text),
    Column("state", Text, nullable=False),
    Column("provisional", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Column("scores", Text, nullable=False),
    Column("settings", Text, nullable=False),
    Column("label_counts", Text, nullable=False),
    Column("examples", Integer, nullable=False),
    Column("pinned", Boolean, nullable=False),
    Column("weights_hash", Text, nullable=False),
    Column("code", Text, nullable=False),
)

version_predictions = Table(
    "version_predictions",
    metadata,
    _project_key(primary_key=True),
    Column("version", Text, primary_key=True),
    Column("purpose", Text, primary_key=True),
    Column("task_id", BigInteger, primary_key=True, autoincrement=False),
    Column("result", Text, nullable=False),
)

datasets = Table(
    "datasets",
    metadata,
    _project_key(primary_key=True),
    Column("id", Text, primary_key=True),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("size", Integer, nullable=False),
    Column("parents", Text, nullable=False),
    Column("config", Text, nullable=False),
    Column("label_counts", Text, nullable=False),
)

dataset_rows = Table(
    "dataset_rows",
    metadata,
    _project_key(primary_key=True),
    Column("dataset", Text, primary_key=True),
    Column("task_id", BigInteger, primary_key=True, autoincrement=False),
    Column("text", Text, nullable=False),
    Column("content", Text, nullable=False),
)
Index("dataset_rows_by_task", dataset_rows.c.project_key, dataset_rows.c.task_id)
Index("dataset_rows_by_content", dataset_rows.c.project_key, dataset_rows.c.content)

dataset_contents = Table(
    "dataset_contents",
    metadata,
    _project_key(primary_key=True),
    Column("content", Text, primary_key=True),
    Column("body", Text, nullable=False),
)

releases = Table(
    "releases",
    metadata,
    _project_key(primary_key=True),
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("version", Text),
    Column("state", Text, nullable=False),
    Column("whole", Boolean, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("schema_digest", Text, nullable=False),
    Column("scales", Text, nullable=False),
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
    Column("reason", Text, nullable=False),
    Column("result", Text, nullable=False),
    Column("audit", Boolean, nullable=False),
    Column("pushed", Boolean, nullable=False),
    Column("open", Boolean, nullable=False),
    ForeignKeyConstraint(["project_key", "task_id"], ["tasks.project_key", "tasks.task_id"], ondelete="CASCADE"),
)
_release, _place = (ranks.c.project_key, ranks.c.release), (ranks.c.score, ranks.c.task_id)
# Whole, not partial: without statistics SQLite would take any other index that begins the same.
Index("ranks_hardest", *_release, ranks.c.open, ranks.c.audit, *_place, ranks.c.uncertainty)
Index("ranks_unpushed", *_release, *_place, **_partial(ranks.c.pushed.is_(False)))

llm_answers = Table(
    "llm_answers",
    metadata,
    _project_key(primary_key=True),
    Column("key", Text, primary_key=True),
    Column("record", Text, nullable=False),
)

llm_texts = Table(
    "llm_texts",
    metadata,
    _project_key(primary_key=True),
    Column("text", Text, primary_key=True),
    Column("key", Text, primary_key=True),
)

prelabels = Table(
    "prelabels",
    metadata,
    _project_key(primary_key=True),
    Column("task_id", BigInteger, primary_key=True, autoincrement=False),
    Column("run", Integer, nullable=False),
    Column("result", Text, nullable=False),
    Column("confidence", Float),
    Column("unplaced", Integer, nullable=False),
    Column("error", Text),
    Column("shown", Text, nullable=False),
    Column("disagreement", Float),
    ForeignKeyConstraint(["project_key", "task_id"], ["tasks.project_key", "tasks.task_id"], ondelete="CASCADE"),
)

Index("prelabels_worst", prelabels.c.project_key, prelabels.c.disagreement, **_partial(prelabels.c.disagreement > 0))

llm_runs = Table(
    "llm_runs",
    metadata,
    _project_key(primary_key=True),
    Column("run", Integer, primary_key=True, autoincrement=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("digest", Text, nullable=False),
    Column("schema_digest", Text, nullable=False),
    Column("job", Text, nullable=False),
    Column("how", Text, nullable=False),
    Column("spend", Text, nullable=False),
    Column("sent", Text, nullable=False),
    Column("calibration", Text),
)

llm_demonstrations = Table(
    "llm_demonstrations",
    metadata,
    _project_key(primary_key=True),
    Column("task_id", BigInteger, primary_key=True, autoincrement=False),
    Column("run", Integer, primary_key=True, autoincrement=False),
    Column("answers", Text, nullable=False),
    Column("wrong", Boolean, nullable=False),
    ForeignKeyConstraint(["project_key", "task_id"], ["tasks.project_key", "tasks.task_id"], ondelete="CASCADE"),
)

instructions = Table(
    "instructions",
    metadata,
    _project_key(primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("text", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
)

reports = Table(
    "reports",
    metadata,
    _project_key(primary_key=True),
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("finished_at", DateTime(timezone=True)),
    Column("spend", Text, nullable=False),
    Column("content", Text, nullable=False),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("topic", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    sqlite_autoincrement=True,
)

leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("until", DateTime(timezone=True), nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_key", Integer),
    Column("kind", Text, nullable=False),
    Column("lane", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("args", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("faults", Integer, nullable=False),
    Column("progress", Float, nullable=False),
    Column("message", Text, nullable=False),
    Column("error", Text),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("started_at", DateTime(timezone=True)),
    Column("finished_at", DateTime(timezone=True)),
    Column("run_after", DateTime(timezone=True)),
    Column("lease_until", DateTime(timezone=True)),
    Column("cancel_at", DateTime(timezone=True)),
    Column("sent_at", DateTime(timezone=True)),
)
_whose = (func.coalesce(jobs.c.project_key, 0), jobs.c.kind)
Index("one_job_waits", *_whose, unique=True, **_partial(jobs.c.state == "queued"))
Index("one_job_runs", *_whose, unique=True, **_partial(jobs.c.state == "running"))
Index("jobs_waiting", jobs.c.lane, jobs.c.created_at, **_partial(jobs.c.state == "queued"))
Index("jobs_newest", jobs.c.created_at)


def upgrade() -> None:
    """Make all tables in an empty database."""
    metadata.create_all(op.get_bind(), checkfirst=False)
