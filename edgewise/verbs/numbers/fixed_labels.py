"""What a new version learnt from labels that were listed as likely wrong and have been changed since.

Compares digests that are kept: the report's, those of what the version before was taught, and those of this one.
"""

from collections.abc import Mapping
from typing import Any

from edgewise.labels.schema import Head
from edgewise.labels.spans import Span
from edgewise.learning.evaluation import on_words
from edgewise.services.store import Project, Version
from edgewise.verbs.lessons import lesson_of
from edgewise.verbs.system import System, schema_of

KIND = "label-errors"

Json = dict[str, Any]


def fixed_labels(system: System, project: Project, version: Version) -> Json | None:
    """Of the newest report on label errors: which of its tasks this version is the first to learn with other labels.

    Returns None if there is none. listed: tasks in the report; tasks: ids of the changed ones; as_suggested: how many
    of their listed labels are now what the model thought, of `labels` in all; others: other tasks that are new or
    changed since the version before, so that what a score gained is not all put down to the corrections; sentence: all
    of it for people.
    """
    reports = system.store.reports(project.key, 1, KIND)
    if not reports:
        return None
    rows = reports[0].content["errors"]
    listed = {row["task_id"]: row["digest"] for row in rows}
    now, before = taught(system, project, version.snapshot), parents(system, project, version)
    new = {task for task, digest in now.items() if digest != before.get(task)}
    changed = {task for task in new if task in listed and now[task] != listed[task]}
    if not changed:
        return None
    mine = [row for row in rows if row["task_id"] in changed]
    suggested = as_suggested(system, project, mine)
    facts = {
        "report": reports[0].id,
        "listed": len(listed),
        "tasks": sorted(changed),
        "labels": len(mine),
        "as_suggested": suggested,
        "others": len(new - changed),
    }
    return facts | {"sentence": in_words(facts)}


def taught(system: System, project: Project, snapshot: str) -> dict[int, str]:
    """What a version was taught: task -> digest."""
    return {row.task_id: row.digest for row in system.store.snapshot_rows(project.key, snapshot)}


def parents(system: System, project: Project, version: Version) -> dict[int, str]:
    """The same of the version before; nothing where there was none."""
    if version.parent is None:
        return {}
    return taught(system, project, system.store.version(project.key, version.parent).snapshot)


def as_suggested(system: System, project: Project, rows: list[Json]) -> int:
    """How many of these listed labels are now as the model thought: what it missed is there, what it doubted is not."""
    schema = schema_of(project)
    wanted = {row["task_id"] for row in rows}
    labelled = [pair for pair in system.store.labelled(project.key) if pair[0].task_id in wanted]
    count = 0
    for head in schema.heads if schema else ():
        lesson = lesson_of(head, labelled)
        spans = on_words(lesson.texts, [document.spans for document in lesson.documents], head)
        said = {task: set(found) for task, found in zip(lesson.ids, spans, strict=True)}
        texts = dict(zip(lesson.ids, lesson.texts, strict=True))
        mine = [row for row in rows if row["head"] == head.from_name and row["task_id"] in said]
        count += sum(agrees(row, said[row["task_id"]], texts[row["task_id"]], head) for row in mine)
    return count


def agrees(row: Json, said: set[Span], text: str, head: Head) -> bool:
    """Whether a task's labels are now what the model thought when the row was written."""
    given, thinks = (side_of(row, side, text, head) for side in ("given", "thinks"))
    return given not in said and (thinks is None or thinks in said)


def side_of(row: Mapping[str, Any], side: str, text: str, head: Head) -> Span | None:
    """What was given, or what the model thought, as a span; None is nothing."""
    if row[side] is None:
        return None
    start, end = (0, len(text)) if head.kind != "spans" else row[f"{side}_at"]
    return Span(start, end, row[side])


def in_words(facts: Json) -> str:
    """The facts in a sentence or two."""
    tasks, labels = len(facts["tasks"]), facts["labels"]
    other = f" It also learnt from {facts['others']} other new or changed tasks." if facts["others"] else ""
    return (
        f"It learnt corrected labels of {tasks} of the {facts['listed']} tasks that were listed as likely wrong; "
        f"{facts['as_suggested']} of their {labels} listed labels are now what the model thought.{other}"
    )
