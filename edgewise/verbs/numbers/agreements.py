"""How far the annotators of a project agree, by all annotations that we know: audit tasks too, as no model is asked."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from edgewise.errors import DataError
from edgewise.labels.annotations import Annotation
from edgewise.labels.regions import spans_of
from edgewise.labels.schema import Head, Schema
from edgewise.labels.spans import Span
from edgewise.labels.texts import text_of
from edgewise.learning.agreement import agreement
from edgewise.learning.evaluation import on_words
from edgewise.services.store import Project, Task
from edgewise.verbs.system import System

Json = dict[str, Any]
Finished = Sequence[tuple[Task, Mapping[int, Annotation]]]  # a task and what each annotator says of it


def agreements(system: System, project: Project, schema: Schema) -> list[Json]:
    """Of each head and every two annotators with a finished task in common: `learning.agreement.Agreement` as JSON.

    from_prelabels: on how many of their tasks both began from a pre-label: there they agree more than by themselves.
    """
    several = [(task, by_annotator(theirs)) for task, theirs in system.store.annotated(project.key)]
    several = [(task, theirs) for task, theirs in several if len(theirs) > 1]
    rows = []
    for head in schema.heads:
        for pair in agreement(said_of(several, head), head):
            begun = sum(both_began(theirs, pair.first, pair.second) for _, theirs in several)
            rows.append({"head": head.from_name} | asdict(pair) | {"from_prelabels": begun})
    return rows


def by_annotator(annotations: Sequence[Annotation]) -> dict[int, Annotation]:
    """The last annotation that each annotator has finished; skips, and what nobody opened, are nobody's word."""
    usable = [one for one in annotations if not one.was_cancelled and not one.unopened]
    ordered = sorted(usable, key=lambda one: one.age_key)
    return {one.completed_by: one for one in ordered if one.completed_by is not None}


def said_of(several: Finished, head: Head) -> dict[int, dict[int, tuple[Span, ...]]]:
    """What each annotator says under a head, by task, on whole words."""
    said: dict[int, dict[int, tuple[Span, ...]]] = {}
    for task, theirs in several:
        with suppress(DataError):  # another head may read it
            text = text_of(task.data, head)
            for person, annotation in theirs.items():
                spans = on_words([text], [spans_of(annotation.result, head, text)[0]], head)[0]
                said.setdefault(person, {})[task.task_id] = spans
    return said


def both_began(theirs: Mapping[int, Annotation], first: int, second: int) -> bool:
    """Whether both of them annotated the task, and began from a prediction."""
    return all(person in theirs and theirs[person].parent_prediction is not None for person in (first, second))
