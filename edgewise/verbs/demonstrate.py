"""What a language model is shown with a question: tasks that people have labelled, fixed when a run begins.

Never an audit task, which is for examining, and never a near copy of the text that is asked about. What a language
model got wrong is preferred. The choice for a text depends on the run alone, so that a run that was killed asks the
very same questions again, and finds their answers paid for.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from edgewise.errors import DataError
from edgewise.labels.annotations import Annotation, training_example
from edgewise.labels.answers import Demonstration
from edgewise.labels.regions import spans_of
from edgewise.labels.schema import Head, Schema
from edgewise.labels.spans import Span
from edgewise.labels.texts import text_of
from edgewise.learning.demonstrations import Pool
from edgewise.learning.evaluation import on_words
from edgewise.services.store import LlmRun, Prelabelled, Project, Shot, Task
from edgewise.verbs.system import System

MOST_KNOWN = 1000
LONGEST = 2000  # characters: longer ones would cost more than they teach

Answers = dict[str, tuple[Span, ...]]  # by from_name


def shots_of(system: System, project: Project, schema: Schema) -> list[Shot]:
    """The labelled tasks that a run which begins now may show: at most 1,000, those that were got wrong, then the
    newest."""
    labelled = [(task, taught(schema, task, theirs)) for task, theirs in system.store.labelled(project.key)]
    known = system.store.latest_prelabels(project.key, [task.task_id for task, _ in labelled])
    shots = []
    for task, answers in labelled:
        if answers and not task.audit:
            said = known.get(task.task_id)
            rows = {name: [[s.start, s.end, s.label] for s in spans] for name, spans in answers.items()}
            shots.append(Shot(task.task_id, rows, said is not None and is_wrong(schema, task, said, answers)))
    return sorted(shots, key=lambda shot: (not shot.wrong, -shot.task_id))[:MOST_KNOWN]


def taught(schema: Schema, task: Task, annotations: Sequence[Annotation]) -> Answers:
    """What people say about a task, for each head that they spoke of."""
    answers: Answers = {}
    for head in schema.heads:
        with suppress(DataError):
            text = text_of(task.data, head)
            example = training_example(annotations, head, text) if len(text) <= LONGEST else None
            if example is not None:
                answers[head.from_name] = example.spans
    return answers


def is_wrong(schema: Schema, task: Task, said: Prelabelled, answers: Mapping[str, Sequence[Span]]) -> bool:
    """Whether a language model's answer differs from people's, half a word more or less aside."""
    for head in schema.heads:
        if head.from_name in answers and said.error is None:
            text = text_of(task.data, head)
            found, _ = spans_of(said.result, head, text)
            theirs, ours = on_words([text, text], [found, tuple(answers[head.from_name])], head)
            if set(theirs) != set(ours):
                return True
    return False


class Repertoire:
    """What a run may show about the heads of one field, and what it did show."""

    def __init__(self, system: System, project: Project, run: LlmRun, heads: Sequence[Head]) -> None:
        self._count = int(run.how["demonstrations"])
        shots = system.store.shots(project.key, run.run) if self._count else []
        tasks = system.store.tasks(project.key, [shot.task_id for shot in shots])
        self._tasks: list[int] = []
        self._known: list[Demonstration] = []
        wrong: list[bool] = []
        for shot in shots:
            made = demonstration(tasks[shot.task_id].data, shot.answers, heads) if shot.task_id in tasks else None
            if made is not None:
                self._tasks.append(shot.task_id)
                self._known.append(made)
                wrong.append(shot.wrong)
        texts, labels = [one.text for one in self._known], [labels_of(one) for one in self._known]
        self._pool = Pool(texts, labels, wrong) if self._known else None

    def choose(self, text: str) -> list[int]:
        """Positions of those to show with a text, the most similar last."""
        return self._pool.choose(text, self._count) if self._pool is not None else []

    def demonstrations(self, chosen: Sequence[int]) -> list[Demonstration]:
        """Those at these positions."""
        return [self._known[position] for position in chosen]

    def tasks(self, chosen: Sequence[int]) -> list[int]:
        """Whose they are."""
        return [self._tasks[position] for position in chosen]


def demonstration(
    data: Mapping[str, Any], answers: Mapping[str, Sequence[Sequence[Any]]], heads: Sequence[Head]
) -> Demonstration | None:
    """A labelled task as it is shown; None if people did not speak of all heads, or its text is another one now."""
    try:
        text = text_of(data, heads[0])
    except DataError:
        return None
    if any(head.from_name not in answers for head in heads):
        return None
    spans = {head.from_name: tuple(Span(*row) for row in answers[head.from_name]) for head in heads}
    fits = all(span.end <= len(text) for found in spans.values() for span in found)
    return Demonstration(text, spans) if fits else None


def labels_of(shown: Demonstration) -> set[str]:
    """The labels that occur in it, told apart by head; none: there is nothing to label."""
    return {f"{name}: {span.label}" for name, spans in shown.answers.items() for span in spans}
