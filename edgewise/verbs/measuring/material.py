"""The tasks that an evaluation examines, and those that it may show as demonstrations: never the same.

Audit tasks are never demonstrations. Of the other labelled tasks about half may be, if any candidate shows some; equal
texts fall on one side. Whose pre-label an annotator had been shown is told by the annotation and by which release
Label Studio served at the time: in doubt it was the language model's, so that its figures are not flattered.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, timedelta
from hashlib import blake2b
from typing import Literal

from edgewise.errors import DataError
from edgewise.labels.annotations import Annotation, training_example
from edgewise.labels.schema import Schema
from edgewise.labels.spans import Span
from edgewise.labels.texts import text_of
from edgewise.learning.llm_evaluation import Examined
from edgewise.services.store import Prelabelled, Project, Release, Shot, Task
from edgewise.verbs.demonstrate import shots_of
from edgewise.verbs.system import System

Seen = Literal["nobody", "language model", "model"]

SEEN_SHARE = 4  # at least one of so many examined tasks is one whose annotator had seen an answer, if there are any
LOOKED_BACK = 2  # releases: one is created some time before Label Studio serves it


@dataclass(frozen=True)
class Material:
    """Examined tasks as evaluations want them and as the store has them, in one order; and possible demonstrations."""

    examined: list[Examined]
    tasks: dict[int, Task]
    shots: list[Shot]
    left_out: dict[str, int]


def material(system: System, project: Project, schema: Schema, *, most: int, demonstrations: bool) -> Material:
    """At most so many labelled tasks to examine, clean ones first, and the demonstrations for them if there are any."""
    store, key = system.store, project.key
    labelled = list(store.labelled(key))
    known = store.latest_prelabels(key, [task.task_id for task, _ in labelled])
    releases = store.releases(key)
    rows = []
    for task, annotations in labelled:
        one = examined_task(schema, task, annotations, (known.get(task.task_id), releases))
        if one is not None:
            rows.append((task, one))
    pool = {task.task_id for task, _ in rows if is_demonstration(task)} if demonstrations else set()
    kept = chosen([pair for pair in rows if pair[0].task_id not in pool], most)
    return Material(
        examined=[one for _, one in kept],
        tasks={task.task_id: task for task, _ in kept},
        shots=[shot for shot in shots_of(system, project, schema) if shot.task_id in pool] if pool else [],
        left_out={
            "cannot be read": len(labelled) - len(rows),
            "may be demonstrations": len(pool),
            "more than asked for": len(rows) - len(pool) - len(kept),
        },
    )


def examined_task(
    schema: Schema,
    task: Task,
    annotations: Sequence[Annotation],
    shown: tuple[Prelabelled | None, Sequence[Release]],
) -> Examined | None:
    """A labelled task as evaluations want it; None if a head cannot read it, or if it says nothing about any."""
    texts: dict[str, str] = {}
    gold: dict[str, tuple[Span, ...]] = {}
    believed: set[int] = set()
    with suppress(DataError):
        for head in schema.heads:
            text = texts[head.from_name] = text_of(task.data, head)
            example = training_example(annotations, head, text)
            if example is not None:
                gold[head.from_name] = example.spans
                believed.update(example.annotation_ids)
    if not gold or len(texts) < len(schema.heads):
        return None
    theirs = [one for one in annotations if one.id in believed]
    return Examined(task.task_id, texts, gold, task.audit, seen_by(task, theirs, *shown))


def seen_by(
    task: Task, annotations: Sequence[Annotation], prelabelled: Prelabelled | None, releases: Sequence[Release]
) -> Seen:
    """Whose pre-label those who made these annotations had been shown. releases: newest first."""
    began = [one for one in annotations if one.parent_prediction is not None]
    if task.audit or not began:  # a held-out task is pushed with an empty result
        return "nobody"
    for one in began:
        opened = one.age_key[0] - timedelta(seconds=one.lead_time or 0)
        served = [r for r in releases if r.created_at.astimezone(UTC) <= opened][:LOOKED_BACK]
        by_language_model = any((release.version or "").startswith("llm-") for release in served)
        if by_language_model and prelabelled is not None:
            return "language model"
    return "model"


def is_demonstration(task: Task) -> bool:
    """Whether a labelled task may be shown rather than examined: about half, by text, and never an audit task."""
    return not task.audit and blake2b(task.text_key.encode(), digest_size=1).digest()[0] % 2 == 1


def chosen(rows: Sequence[tuple[Task, Examined]], most: int) -> list[tuple[Task, Examined]]:
    """So many of them: audit tasks, then other clean ones, at random but always the same; a quarter for the others."""
    in_order = sorted(
        rows, key=lambda row: (not row[0].audit, blake2b(row[0].text_key.encode()).digest(), row[0].task_id)
    )
    clean = [row for row in in_order if row[1].seen != "language model"]
    seen = [row for row in in_order if row[1].seen == "language model"]
    room = max(most // SEEN_SHARE, most - len(clean))
    seen = seen[:room]
    return sorted(clean[: most - len(seen)] + seen, key=lambda row: row[0].task_id)
