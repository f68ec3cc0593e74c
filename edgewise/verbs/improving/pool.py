"""The tasks that rounds are played on, as each head sees them: open ones, and those that people labelled.

What people say about tasks that are not for examining is believed and shown. Labelled audit tasks are played along
without it, and tell what a round's labels are worth.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgewise.labels.annotations import Annotation
from edgewise.labels.regions import spans_of
from edgewise.labels.schema import Head, Schema
from edgewise.labels.texts import text_of
from edgewise.learning.evaluation import on_words
from edgewise.learning.freeal import Answer, State
from edgewise.services.store import Prelabelled, Project, Task
from edgewise.verbs.judge import gold_of
from edgewise.verbs.lessons import lesson_of
from edgewise.verbs.scoring import readable
from edgewise.verbs.system import System


@dataclass(frozen=True)
class Part:
    """The pool as one head sees it. By position: what people say (human), and what they say of tasks for examining
    (gold), which nobody is told."""

    head: Head
    texts: list[str]
    human: dict[int, Answer]
    gold: dict[int, Answer]


@dataclass(frozen=True)
class Pool:
    """Tasks that every head can read and that have a label; kept: their pre-labels, by task."""

    tasks: list[Task]
    kept: Mapping[int, Prelabelled]
    parts: list[Part]

    def labels(self, part: Part) -> list[Answer | None]:
        """Of each task: what people say, else what the language model said last; None where that failed."""
        found = [self._said(part, task, text) for task, text in zip(self.tasks, part.texts, strict=True)]
        snapped = on_words(part.texts, [spans or () for spans in found], part.head)
        return [
            part.human.get(i, None if spans is None else whole)
            for i, (spans, whole) in enumerate(zip(found, snapped, strict=True))
        ]

    def state(self, part: Part, number: int) -> State:
        """Where a head stands after so many rounds."""
        by_people = np.array([i in part.human for i in range(len(self.tasks))], dtype=bool)
        kept = [self.kept.get(task.task_id) for task in self.tasks]
        believed = np.array([one is not None and one.believed is True for one in kept], dtype=bool)
        clean = by_people | believed if number else by_people
        return State(number, self.labels(part), clean, agrees=clean if number else np.zeros(0, dtype=bool))

    def _said(self, part: Part, task: Task, text: str) -> Answer | None:
        said = self.kept.get(task.task_id)
        if said is None or said.error is not None:
            return None
        return tuple(replace(span, score=None) for span in spans_of(said.result, part.head, text)[0])


def pool_of(system: System, project: Project, schema: Schema) -> Pool:
    """As it is now."""
    store, key = system.store, project.key
    labelled = list(store.labelled(key))
    ids = sorted({*store.open_task_ids(key), *(task.task_id for task, _ in labelled)})
    tasks = list(store.tasks(key, ids).values())
    good, _ = readable(schema, [task.data for task in tasks])
    tasks = [tasks[position] for position in good]
    kept = store.latest_prelabels(key, [task.task_id for task in tasks])
    taught = {task.task_id for task, _ in labelled if not task.audit}
    tasks = [task for task in tasks if task.task_id in kept or task.task_id in taught]
    return Pool(tasks, kept, [part_of(head, tasks, labelled) for head in schema.heads])


def part_of(head: Head, tasks: Sequence[Task], labelled: Sequence[tuple[Task, Sequence[Annotation]]]) -> Part:
    """These tasks as the head sees them."""
    places = {task.task_id: position for position, task in enumerate(tasks)}
    found = []
    for audit in (False, True):
        said = gold_of(lesson_of(head, [pair for pair in labelled if pair[0].audit is audit]))
        found.append({places[task]: spans for task, spans in said.items() if task in places})
    return Part(head, [text_of(task.data, head) for task in tasks], *found)
