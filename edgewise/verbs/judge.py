"""Is a new version good, and may it serve? Its scores, and the gate beside the version that serves now.

Never on what it was trained on: on the audit tasks; while those are too few, out of fold on the training tasks.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgewise.errors import DataError
from edgewise.labels.schema import Head, Schema
from edgewise.labels.spans import Span
from edgewise.labels.texts import text_of
from edgewise.learning import evaluation
from edgewise.learning.evaluation import Gate
from edgewise.learning.inference import answers as spans_by
from edgewise.learning.inference import load_trained
from edgewise.learning.training import Recipe, out_of_fold
from edgewise.services.registry import head_folder
from edgewise.services.store import Project, Task, Version
from edgewise.verbs.lessons import HELD_OUT_MOST, Curriculum, Lesson, Spans
from edgewise.verbs.scoring import part
from edgewise.verbs.system import System, folder_name

HELD_OUT_ENOUGH = 30
SHOWN_ENOUGH = 50  # below, people are shown scores out of fold
FOLDS = 2  # each costs a training of its own, and people wait for the new order

Report = Callable[[float], None]
Answers = dict[str, Spans]  # by from_name


@dataclass(frozen=True)
class Judgement:
    """Each head's gate and scores, and the answers that they rest on: purpose -> from_name -> task -> spans."""

    gates: dict[str, Gate]
    scores: dict[str, Any]
    answers: dict[str, Answers]

    @property
    def accepted(self) -> bool:
        """Any head that fails refuses the version."""
        return all(gate.accepted for gate in self.gates.values())

    @property
    def provisional(self) -> bool:
        """Whether any head was judged without a held-out set."""
        return any(gate.provisional for gate in self.gates.values())

    @property
    def reason(self) -> str:
        """For people; with the head's name where there are several."""
        if len(self.gates) == 1:
            return next(iter(self.gates.values())).reason
        return " ".join(f"{name}: {gate.reason}" for name, gate in self.gates.items())

    def rows(self) -> dict[str, dict[int, dict[str, Any]]]:
        """The answers as the store keeps them: purpose -> task -> from_name -> spans as lists."""
        kept: dict[str, dict[int, dict[str, Any]]] = {}
        for purpose, answers in self.answers.items():
            by_task = kept.setdefault(purpose, {})
            for name, spans in answers.items():
                for task, found in spans.items():
                    by_task.setdefault(task, {})[name] = [[s.start, s.end, s.label, s.score] for s in found]
        return kept


@dataclass(frozen=True)
class Trained:
    """Heads that are trained and not judged yet. recipes: by from_name, what a fold is to be trained by."""

    folder: Path
    recipes: Mapping[str, Recipe]


def judge(
    system: System,
    project: Project,
    schema: Schema,
    curriculum: Curriculum,
    trained: Trained,
    report: Report,
) -> Judgement:
    """Score and gate the heads that were trained, each on its own."""
    answers = {
        "held_out": held_out_answers(system, project, trained.folder, curriculum.held_out),
        "out_of_fold": out_of_fold_answers(system, curriculum, trained.recipes, report),
    }
    gates, scores = {}, {}
    for number, (lesson, held) in enumerate(zip(curriculum.taught, curriculum.held_out, strict=True)):
        name = lesson.head.from_name
        scores[name] = scores_of(lesson, held, answers)
        gates[name] = gate_head(system, project, schema, curriculum, number, answers)
    return Judgement(gates, scores, answers)


def held_out_answers(system: System, project: Project, staged: Path, held_out: Sequence[Lesson]) -> Answers:
    """What the new heads say about the audit tasks: texts that no version was ever trained on.

    Also about those that are still to be labelled: so a version can be scored on them when its weights are gone.
    """
    waiting = next_audit_tasks(system, project, HELD_OUT_MOST)
    answers: Answers = {}
    for lesson in held_out:
        name = lesson.head.from_name
        texts = dict(zip(lesson.ids, lesson.texts, strict=True))
        for task in waiting:
            with suppress(DataError):  # another head may read it
                if len(texts) < HELD_OUT_MOST:
                    texts.setdefault(task.task_id, text_of(task.data, lesson.head))
        if texts:
            answers[name] = answers_of(system, head_folder(staged, name), lesson.head, texts)
    return answers


def next_audit_tasks(system: System, project: Project, limit: int) -> list[Task]:
    """The open audit tasks that people will meet first."""
    store, key = system.store, project.key
    audit = set(store.open_task_ids(key, audit=True))
    ordered = store.order(key, project.active_release) if project.active_release is not None and audit else []
    first = [task for task in ordered if task in audit]
    return list(store.tasks(key, [*first, *sorted(audit - set(first))][:limit]).values())


def answers_of(system: System, folder: Path, head: Head, texts: Mapping[int, str]) -> Spans:
    """A model folder's answers on texts, by task id."""
    model = load_trained(folder, head, max_length=system.settings.max_sequence_length)
    return dict(zip(texts, spans_by(model, list(texts.values())), strict=True))


def out_of_fold_answers(
    system: System, curriculum: Curriculum, recipes: Mapping[str, Recipe], report: Report
) -> Answers:
    """While the held-out set is too small to judge by: each training task's answer from a model that did not see it."""
    answers: Answers = {}
    for number, (lesson, held) in enumerate(zip(curriculum.taught, curriculum.held_out, strict=True)):
        if len(held.tasks) < SHOWN_ENOUGH and len(lesson.tasks) >= 2 * FOLDS:
            found = out_of_fold(
                lesson.documents,
                lesson.head,
                system.settings.baseline_model_name,
                recipes[lesson.head.from_name],
                folds=FOLDS,
                report=part(report, number, len(curriculum.taught)),
            )
            answers[lesson.head.from_name] = dict(zip(lesson.ids, found, strict=True))
    return answers


def gate_head(
    system: System,
    project: Project,
    schema: Schema,
    curriculum: Curriculum,
    number: int,
    answers: dict[str, Answers],
) -> Gate:
    """May the head of this number serve? By held-out tasks when there are enough, else by out-of-fold pairs,
    provisionally."""
    lesson, held, parent = curriculum.taught[number], curriculum.held_out[number], curriculum.parent
    if parent is None:
        return Gate(True, True, "The first version: there is nothing to compare it with.")
    if lesson.head.from_name not in parent.settings.get("heads", {}):
        return Gate(True, True, "The head's first model: there is nothing to compare it with.")
    if parent.schema_digest != schema.digest:
        return Gate(True, True, "The first version for the changed labelling config: it serves without a comparison.")
    purpose, examined = ("held_out", held) if len(held.tasks) >= HELD_OUT_ENOUGH else ("out_of_fold", lesson)
    after = answers[purpose].get(lesson.head.from_name, {})
    before = parent_answers(system, project, parent, purpose, examined)
    gold = gold_of(examined)
    pairs = sorted(gold.keys() & after.keys() & before.keys())
    return evaluation.gate(
        [gold[task] for task in pairs],
        [before[task] for task in pairs],
        [after[task] for task in pairs],
        held_out=len(held.tasks),
        kind=lesson.head.kind,
        rng=np.random.default_rng(system.settings.seed),
    )


def gold_of(lesson: Lesson) -> Spans:
    """What people agreed on, snapped to words as every answer is: half a word too much is not the model's mistake."""
    spans = evaluation.on_words(lesson.texts, [document.spans for document in lesson.documents], lesson.head)
    return dict(zip(lesson.ids, spans, strict=True))


def parent_answers(system: System, project: Project, parent: Version, purpose: str, lesson: Lesson) -> Spans:
    """The serving version's answers on the same tasks: those it keeps, and fresh ones on tasks that it never saw."""
    name = lesson.head.from_name
    kept = system.store.version_predictions(project.key, parent.id, purpose)
    known = {task: spans_from(answer[name]) for task, answer in kept.items() if name in answer}
    seen = {row.task_id for row in system.store.snapshot_rows(project.key, parent.snapshot)}
    missing = [task for task in lesson.ids if task not in known and task not in seen]
    if missing:
        folder = system.registry.folder(folder_name(project), parent.id, name)
        texts = dict(zip(lesson.ids, lesson.texts, strict=True))
        known |= answers_of(system, folder, lesson.head, {task: texts[task] for task in missing})
    return known


def spans_from(rows: Sequence[Sequence[Any]]) -> tuple[Span, ...]:
    """Spans from how the store keeps them."""
    return tuple(Span(start, end, label, score) for start, end, label, score in rows)


def scores_of(lesson: Lesson, held: Lesson, answers: dict[str, Answers]) -> dict[str, Any]:
    """seqeval's strict scores: on held-out tasks, and out of fold, each named as what it is."""
    scores: dict[str, Any] = {"held_out_tasks": len(held.tasks)}
    for purpose, examined in (("held_out", held), ("out_of_fold", lesson)):
        found = answers[purpose].get(lesson.head.from_name)
        if found:
            golds = [document.spans for document in examined.documents]
            predicted = [found[task] for task in examined.ids]
            scores[purpose] = asdict(evaluation.evaluate(examined.texts, golds, predicted, examined.head))
    return scores
