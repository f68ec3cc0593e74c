"""sync: what changed in Label Studio since the last look. Webhooks are hints; the truth is fetched here.

Reads tasks whose `updated_at` is later than the watermark minus two minutes and upserts them: reading one twice changes
nothing, so pages that shift while people annotate do no harm. A sweep compares all ids and finds what was deleted.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

from edgewise.errors import DataError, SchemaError, StudioGone
from edgewise.labels.annotations import Annotation, parse_annotations, training_example
from edgewise.labels.schema import Schema, parse_schema
from edgewise.labels.texts import text_of
from edgewise.services.jobs import Progress
from edgewise.services.store import Project, Task
from edgewise.verbs.erasure import erase_deleted, erase_tasks
from edgewise.verbs.fetched import ADDRESSES, with_texts
from edgewise.verbs.gone import drop_claim, leave, make_way
from edgewise.verbs.numbers.suggestions import keep_suggestions
from edgewise.verbs.system import System, epoch_of, source_of

log = logging.getLogger(__name__)
OVERLAP = timedelta(minutes=2)
SWEEP_EVERY = timedelta(hours=1)
RETRY_AFTER = timedelta(minutes=2)
PAGE = 500
NO_RELEASE = 0  # releases count from 1
STUDIO_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"  # the only form that its filters read


def sync(system: System, project: Project, progress: Progress) -> None:
    """Fetch what changed, then queue what follows from it: a training, a ranking, or nothing."""
    project, schema = refresh_project(system, project, progress)
    if project.state == "gone" or schema is None:
        return
    if project.watermark is None and serves_other_labels(system, project, schema):
        system.queue.enqueue("train", project.key)  # before the watermark is set: after a crash it is queued again
    read_changes(system, project, schema, progress)
    if sweep_is_due(project) or misses_tasks(system, project):
        sweep(system, project, schema)
    queue_what_follows(system, system.by_key(project.key), schema)


def sweep_now(system: System, project: Project, progress: Progress) -> None:
    """Compare all ids with Label Studio's, then sync: tasks were deleted, or may have been."""
    sync(system, system.store.update_project(project.key, swept_at=None), progress)


def refresh_project(system: System, project: Project, progress: Progress) -> tuple[Project, Schema | None]:
    """The project as Label Studio describes it now; what it says may make the next reading a full one.

    Raises Conflict for a project of another address: its id means nothing here.
    """
    system.refuse_elsewhere(project)
    try:
        raw = system.studio.project(project.ls_id)
    except StudioGone:
        return leave(system, project, progress), None
    if epoch_of(raw["created_at"]) != project.created_at:
        return make_way(system, project, raw, progress), None
    drop_claim(system, project)
    changes: dict[str, Any] = {
        "title": raw.get("title") or "",
        "label_config": raw.get("label_config") or "",
        "maximum_annotations": raw.get("maximum_annotations") or 1,
    }
    schema, trouble = read_schema(changes["label_config"])
    if project.trouble and project.trouble.get("about") == "schema":
        changes["trouble"] = None
    if trouble is not None:
        changes["trouble"] = trouble
    changes |= full_reading(project, schema, changes["maximum_annotations"])
    return system.store.update_project(project.key, **changes), schema


def full_reading(project: Project, schema: Schema | None, maximum_annotations: int) -> dict[str, Any]:
    """The fields that make the next reading a full one, where what each task is read for has changed; else none.

    Other annotations per task count too: Label Studio gives them to all tasks and moves no `updated_at`.
    """
    if schema is not None and digest_of(project.label_config) != schema.digest:
        return {"watermark": None, "note": "The labelling config changed: every task is read again."}
    return {} if maximum_annotations == project.maximum_annotations else {"watermark": None}


def read_schema(config: str) -> tuple[Schema | None, dict[str, str] | None]:
    """The schema, or what is wrong with the config, as the project's trouble."""
    try:
        return parse_schema(config), None
    except SchemaError as error:
        return None, {"what": error.what, "mend": error.mend, "about": "schema", "at": datetime.now(UTC).isoformat()}


def digest_of(config: str) -> str | None:
    """The digest of a config's schema, None if there is nothing to learn in it."""
    schema, _ = read_schema(config)
    return schema.digest if schema else None


def catch_up(system: System, project: Project, schema: Schema) -> None:
    """Read what changed before a release is deleted: with it Label Studio forgets what began from its predictions."""
    if project.watermark is not None:  # else the first sync is still at it
        read_changes(system, project, schema, lambda done, words: None)


def read_changes(system: System, project: Project, schema: Schema, progress: Callable[[float, str], None]) -> None:
    """Upsert every task changed since the watermark; when all of them are in it moves to the start of this reading.

    Not further: what changes on a page already read must be found by the next reading. Not at all if the labelling
    config or the annotations per task changed meanwhile: then the next reading is to be a full one.
    """
    started = system.studio.clock()
    watermark = datetime.fromisoformat(project.watermark) if project.watermark else None
    since = f"{watermark - OVERLAP:{STUDIO_TIME}}" if watermark else None
    read, erased = 0, False
    for page in system.studio.task_pages(project.ls_id, updated_after=since, page_size=PAGE):
        erased |= take_in(system, project, schema, page)
        read += len(page)
        progress(0.5, f"{read} changed tasks read")
    if erased:
        system.store.scrub()
    now = system.by_key(project.key)
    is_same = (now.label_config, now.maximum_annotations) == (project.label_config, project.maximum_annotations)
    if started is not None and is_same:
        system.store.update_project(project.key, watermark=started.isoformat())


def take_in(system: System, project: Project, schema: Schema, page: Sequence[Mapping[str, Any]]) -> bool:
    """Bring a page of raw tasks up to date, texts fetched where they lie elsewhere; whether anything of them was erased
    on the way, which the caller is to scrub."""
    erased = False
    for part in with_texts(system, project, schema, page):
        erased |= erase_deleted(system, project, part)
        keep(system, project, schema, part)
    return erased


def keep(system: System, project: Project, schema: Schema, page: Sequence[Mapping[str, Any]]) -> set[int]:
    """Upsert raw tasks that have their texts; returns the ids that changed."""
    begun = system.store.begun_from(project.key, [raw["id"] for raw in page])
    annotations = {raw["id"]: annotations_of(raw, begun) for raw in page}
    tasks = [task_row(system, project, schema, raw, annotations[raw["id"]]) for raw in page]
    changed = system.store.upsert_tasks(project.key, tasks, annotations)
    keep_suggestions(system, project, schema, [one for theirs in annotations.values() for one in theirs])
    return changed


def annotations_of(raw: Mapping[str, Any], begun: Mapping[int, int]) -> list[Annotation]:
    """A raw task's annotations, as we keep them. begun: annotation -> prediction, where we know it: Label Studio
    forgets what an annotation began from when it deletes the release, and one that nobody opened would look like work.
    """
    return parse_annotations(raw.get("annotations"), raw["id"], begun)


def task_row(
    system: System, project: Project, schema: Schema, raw: Mapping[str, Any], annotations: Sequence[Annotation]
) -> Task:
    """A raw task as we keep it: its text's key, its side of the held-out split, its training example's digest."""
    given = raw.get("data")
    data = given if isinstance(given, Mapping) else {}
    texts, problem = texts_of(data, schema)
    key = key_of(data, schema, raw["id"])
    return Task(
        task_id=raw["id"],
        data=dict(data),
        text_key=key,
        audit=is_audit(project, key, system.settings.audit_fraction),
        updated_at=str(raw["updated_at"]),
        overlap=raw.get("overlap") or 1,
        digest=example_digest(annotations, schema, texts),
        problem=problem,
        addresses=raw.get(ADDRESSES),
    )


def texts_of(data: Mapping[str, Any], schema: Schema) -> tuple[dict[str, str], str | None]:
    """Text of each head by its from_name, and what is wrong with the first that has none."""
    texts: dict[str, str] = {}
    problem = None
    for head in schema.heads:
        try:
            texts[head.from_name] = text_of(data, head)
        except DataError as error:
            problem = problem or error.what
    return texts, problem


def key_of(data: Mapping[str, Any], schema: Schema, task_id: int) -> str:
    """The key of all that the heads read of a task: each field once, or one more head would redraw the held-out set."""
    texts, _ = texts_of(data, schema)
    fields = {head.field: texts[head.from_name] for head in schema.heads if head.from_name in texts}
    return text_key([fields[name] for name in sorted(fields)] or [str(task_id)])


def text_key(texts: Iterable[str]) -> str:
    """The same key for texts that differ in blanks and case only, so that near-copies fall on one side of the split."""
    normalised = "\n".join(" ".join(text.split()).casefold() for text in texts)
    return blake2b(normalised.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def is_audit(project: Project, key: str, fraction: float) -> bool:
    """Whether a text belongs to the held-out set: by hash, so that every copy of it does, and for good."""
    seed = f"{project.address}|{project.ls_id}|{project.created_at}|{key}"
    number = int.from_bytes(blake2b(seed.encode(), digest_size=8).digest(), "big")
    return number < fraction * 2**64


def example_digest(annotations: Sequence[Annotation], schema: Schema, texts: Mapping[str, str]) -> str | None:
    """One digest for what all heads would learn from a task; None while it teaches nothing."""
    parts = []
    for head in schema.heads:
        if head.from_name in texts:
            example = training_example(annotations, head, texts[head.from_name])
            parts.append(f"{head.from_name}:{example.digest}" if example else "")
    if not any(parts):
        return None
    return blake2b("|".join(parts).encode(), digest_size=16).hexdigest()


def sweep_is_due(project: Project) -> bool:
    """True at the first sync and an hour after the last sweep."""
    return project.swept_at is None or datetime.now(UTC) - project.swept_at > SWEEP_EVERY


def misses_tasks(system: System, project: Project) -> bool:
    """Whether Label Studio counts other tasks than we: deleted ones appear in no reading."""
    theirs = system.studio.project(project.ls_id).get("task_number")
    return theirs is not None and theirs != system.store.counts(project.key)["tasks"]


def sweep(system: System, project: Project, schema: Schema) -> None:
    """Forget tasks that Label Studio no longer has; read those that we never saw, and those without their text."""
    ours = system.store.task_ids(project.key)  # first: a task that a training reads meanwhile is not a deleted one
    theirs = system.studio.task_ids(project.ls_id)
    erase_tasks(system, project, ours - theirs)
    unseen = sorted(theirs - ours | theirs & system.store.unfetched(project.key))
    erased = False
    for start in range(0, len(unseen), PAGE):
        page = system.studio.tasks(project.ls_id, unseen[start : start + PAGE])
        erased |= take_in(system, project, schema, page)
    if erased:
        system.store.scrub()
    system.store.update_project(project.key, swept_at=datetime.now(UTC))


def serves_other_labels(system: System, project: Project, schema: Schema) -> bool:
    """Whether the version that serves was made for another labelling config."""
    return project.serving is not None and (
        system.store.version(project.key, project.serving).schema_digest != schema.digest
    )


def queue_what_follows(system: System, project: Project, schema: Schema) -> None:
    """A training when annotators have taught enough; a ranking when open tasks are in no release of what serves."""
    store = system.store
    if store.updates(project.key) >= system.settings.start_training_each_n_updates:
        system.queue.enqueue("train", project.key, run_after=earliest_training(project))
    if store.unranked(project.key, current_release(system, project, schema), limit=1):
        system.queue.enqueue("rank", project.key, run_after=after_trouble(project, "rank"))


def current_release(system: System, project: Project, schema: Schema) -> int:
    """The active release if it is of the version that serves and of these labels, else none."""
    if project.active_release is None:
        return NO_RELEASE
    release = system.store.release(project.key, project.active_release)
    return release.n if (release.version, release.schema_digest) == (source_of(project), schema.digest) else NO_RELEASE


def earliest_training(project: Project) -> datetime | None:
    """Trainings start at most every twice the last one's time, its ranking included; None: at once."""
    last = project.last_training
    paced = past(last["started"]) + timedelta(seconds=2 * last["seconds"]) if last else None
    moments = [moment for moment in (paced, after_trouble(project, "train")) if moment is not None]
    return max(moments, default=None)


def after_trouble(project: Project, kind: str) -> datetime | None:
    """When a kind of job that has just failed may be tried again; None: it has not."""
    trouble = project.trouble
    if not trouble or trouble.get("about") != kind:
        return None
    return past(trouble["at"]) + RETRY_AFTER


def past(moment: str) -> datetime:
    """A moment that we wrote down. One to come is from a clock that was ahead and is right again: then it is now."""
    return min(datetime.fromisoformat(moment), datetime.now(UTC))
