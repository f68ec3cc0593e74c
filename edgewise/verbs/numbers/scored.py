"""What versions once said, beside what people say today: read and compared once for as long as neither changes.

Each time is asked only what tells whether anything has changed: how many answers of a version are kept, when it was
listed, when its snapshot was added, what people say of the tasks and what the texts are.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgewise.labels.annotations import Annotation
from edgewise.labels.schema import Head, digest
from edgewise.learning import progress
from edgewise.services.store import Project, Task, Version
from edgewise.verbs.judge import SHOWN_ENOUGH, gold_of, spans_from
from edgewise.verbs.lessons import HELD_OUT_MOST, Spans, lesson_of
from edgewise.verbs.numbers.taught import Examples, Marks, minutes
from edgewise.verbs.system import System

Purpose = Literal["held_out", "out_of_fold"]
Value = TypeVar("Value")


@dataclass(frozen=True)
class Gold:
    """What people say today, by task, and a hash of that and of the texts."""

    spans: Spans
    digest: str


@dataclass(frozen=True)
class Figures:
    """How a version's answers compare with gold. tallies: (n_tasks, n_columns, 2) over all tasks of gold; 0 where there
    is no answer. per_label: label -> F1 and gold spans."""

    score: float
    per_label: Mapping[str, tuple[float, int]]
    tallies: NDArray[np.uint32]


@dataclass(frozen=True)
class Labelled:
    """A project's labelled tasks and versions, read when first needed."""

    system: System
    project: Project
    _gold: dict[tuple[str, Purpose], Gold] = field(default_factory=dict)

    @cached_property
    def versions(self) -> list[Version]:
        """Oldest first."""
        return self.system.store.versions(self.project.key)[::-1]

    @cached_property
    def _held_out(self) -> Sequence[tuple[Task, Sequence[Annotation]]]:
        return list(self.system.store.examined(self.project.key))[:HELD_OUT_MOST]

    @cached_property
    def _taught(self) -> Sequence[tuple[Task, Sequence[Annotation]]]:
        return [pair for pair in self.system.store.labelled(self.project.key) if not pair[0].audit]

    @cached_property
    def predicted(self) -> dict[tuple[str, str], tuple[int, int]]:
        """Which answers are kept, by version and purpose: how many, and the sum of their tasks' ids."""
        return self.system.store.predicted(self.project.key)

    @cached_property
    def _examples(self) -> Examples:
        return self.once("examples", None, Examples)

    @cached_property
    def _marks(self) -> dict[str, Marks]:
        turns = self.system.store.snapshot_turns(self.project.key)
        return {version.snapshot: self._marks_of(version.snapshot, turns) for version in self.versions}

    def _marks_of(self, snapshot: str, turns: Mapping[str, int]) -> Marks:
        def read() -> Marks:
            return self._examples.marks(self.system.store.taught(self.project.key, snapshot))

        return self.once(("marks", snapshot), turns.get(snapshot), read)

    @cached_property
    def _seconds(self) -> NDArray[np.float64]:
        return self._examples.seconds(self.system.store.lead_times(self.project.key))

    def once(self, name: Hashable, stamp: Hashable, make: Callable[[], Value]) -> Value:
        """As `Remembered.once`, of this project."""
        return self.system.remembered.once((self.project.key, name), stamp, make)

    def gold(self, head: Head, purpose: Purpose) -> Gold:
        """What people say today, by task."""
        where = (head.from_name, purpose)
        if where not in self._gold:
            lesson = lesson_of(head, self._held_out if purpose == "held_out" else self._taught)
            spans = gold_of(lesson)
            said = [[[s.start, s.end, s.label] for s in some] for some in spans.values()]
            self._gold[where] = Gold(spans, digest([lesson.ids, lesson.texts, said]))
        return self._gold[where]

    def minutes(self, version: Version) -> float | None:
        """What people needed for the version's examples; None if that is known of less than half of them."""
        marks = self._marks[version.snapshot]  # before the seconds: it may number new examples
        return minutes(marks, self._seconds)


@dataclass(frozen=True)
class Scored:
    """A version's answers at one head, on tasks that it did not learn from."""

    labelled: Labelled
    version: Version
    head: Head
    purpose: Purpose

    @property
    def is_there(self) -> bool:
        """Whether any answers are kept."""
        return (self.version.id, self.purpose) in self.labelled.predicted

    @property
    def shows(self) -> bool:
        """Whether these are enough held-out tasks for an interval."""
        return self.purpose == "held_out" and self.tasks >= SHOWN_ENOUGH

    @cached_property
    def gold(self) -> Gold:
        """What people say today."""
        return self.labelled.gold(self.head, self.purpose)

    @cached_property
    def stamp(self) -> Hashable:
        """Other answers, or other gold, have another one."""
        version = self.version  # one that is trained again to the same id is listed anew
        kept = self.labelled.predicted.get((version.id, self.purpose))
        return version.id, version.created_at, self.purpose, kept, self.head.digest, self.gold.digest

    @cached_property
    def tasks(self) -> int:
        """How many tasks of gold have an answer."""
        return self._once("tasks", self.stamp, lambda: len(self._answers))

    def figures(self, measure: str) -> Figures:
        """How good the answers are."""
        return self._once("figures", (self.stamp, measure), lambda: self._figures(measure))

    def _once(self, name: str, stamp: Hashable, make: Callable[[], Value]) -> Value:
        return self.labelled.once((name, self.version.id, self.head.from_name, self.purpose), stamp, make)

    @cached_property
    def _answers(self) -> Spans:
        said = self.labelled.system.store.version_predictions(self.labelled.project.key, self.version.id, self.purpose)
        name = self.head.from_name
        return {task: spans_from(said[task][name]) for task in self.gold.spans if name in said.get(task, {})}

    def _figures(self, measure: str) -> Figures:
        gold, answers, head = self.gold.spans, self._answers, self.head
        counted = progress.tallies(list(gold.values()), [answers.get(task, ()) for task in gold], head, measure)
        there = np.array([task in answers for task in gold], dtype=np.bool_)
        counted[~there] = 0
        asked = [gold[task] for task in answers]
        per_label = progress.per_label(asked, list(answers.values()), head)
        return Figures(progress.score_of(counted), per_label, counted.astype(np.uint32))
