"""What a head is taught, or examined in: labelled tasks with the spans that people agreed on."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from edgewise.errors import DataError
from edgewise.labels.annotations import Annotation, Example, training_example
from edgewise.labels.schema import Head
from edgewise.labels.spans import Document, Span
from edgewise.labels.texts import text_of
from edgewise.services.store import Task, Version

HELD_OUT_MOST = 1000

Spans = dict[int, tuple[Span, ...]]  # by task id


@dataclass(frozen=True)
class Lesson:
    """Tasks of one head, their texts with spans, and where those come from, in one order."""

    head: Head
    tasks: tuple[Task, ...]
    documents: tuple[Document, ...]
    examples: tuple[Example, ...]

    @property
    def ids(self) -> list[int]:
        """The tasks' ids."""
        return [task.task_id for task in self.tasks]

    @property
    def texts(self) -> list[str]:
        """The tasks' texts."""
        return [document.text for document in self.documents]

    @property
    def labels(self) -> set[str]:
        """Labels that occur."""
        return {span.label for document in self.documents for span in document.spans}

    @property
    def missing(self) -> str | None:
        """What it takes before a model can learn from this; None: nothing."""
        needed = 2 if self.head.kind == "choice" else 1
        if len(self.tasks) >= 2 and len(self.labels) >= needed:
            return None
        return (
            f"{self.head.from_name!r} has {len(self.tasks)} labelled tasks to learn from, with {len(self.labels)} "
            f"different labels in them; it takes two tasks and {needed} of the labels."
        )


@dataclass(frozen=True)
class Curriculum:
    """What a version is taught and examined in, head by head in the same order, and the version that it follows.

    snapshot: the hash of all that was labelled to learn from.
    """

    snapshot: str
    taught: tuple[Lesson, ...]
    held_out: tuple[Lesson, ...]
    parent: Version | None


def lesson_of(head: Head, labelled: Sequence[tuple[Task, Sequence[Annotation]]]) -> Lesson:
    """The head's training examples among these tasks; those that it cannot read or that teach nothing are left out."""
    rows = []
    for task, annotations in labelled:
        with suppress(DataError):  # another head may read it
            text = text_of(task.data, head)
            example = training_example(annotations, head, text)
            if example is not None:
                rows.append((task, Document(text, example.spans), example))
    tasks, documents, examples = zip(*rows, strict=True) if rows else ((), (), ())
    return Lesson(head, tuple(tasks), tuple(documents), tuple(examples))
