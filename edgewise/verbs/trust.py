"""How far a language model's answers can be believed: its confidences put right by what people say of held-out tasks.

A run also asks about the audit tasks, whose answers nobody is shown. When people have labelled enough of them, one
curve is fitted for the run, over the spans of all heads, and from then on it is in every confidence that is shown or
ranked by. What is kept stays as the language model said it.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from itertools import islice
from typing import Any

import numpy as np

from edgewise.errors import DataError
from edgewise.labels.annotations import Annotation, training_example
from edgewise.labels.regions import spans_of
from edgewise.labels.schema import Schema
from edgewise.labels.texts import text_of
from edgewise.learning.calibration import Calibration, fit
from edgewise.learning.evaluation import on_words
from edgewise.services.store import LlmRun, Prelabelled, Project, Task
from edgewise.verbs.lessons import HELD_OUT_MOST
from edgewise.verbs.scoring import Scored
from edgewise.verbs.system import System

Json = dict[str, Any]


def calibrate(system: System, project: Project, schema: Schema, run: LlmRun) -> LlmRun:
    """The run with the curve of its confidences, fitted when there is enough to fit it on, and then kept.

    Of a run that `improve` made the confidences are the small model's: there is nothing to put right."""
    if run.calibration is not None or "round" in run.how:
        return run
    items = list(examined(system, project, schema, run))
    curve = fit([stated for stated, _ in items], [right for _, right in items])
    if curve is None:
        return run
    system.store.update_llm_run(project.key, run.run, calibration=asdict(curve))
    return replace(run, calibration=asdict(curve))


def examined(system: System, project: Project, schema: Schema, run: LlmRun) -> Iterator[tuple[float, bool]]:
    """Each span with a score that the run gave on a labelled audit task, and whether people say the same."""
    rows = list(islice(system.store.examined(project.key), HELD_OUT_MOST))
    known = system.store.prelabels(project.key, run.run, [task.task_id for task, _ in rows])
    for task, annotations in rows:
        if task.task_id in known:
            yield from judged(schema, task, annotations, known[task.task_id])


def judged(
    schema: Schema, task: Task, annotations: Sequence[Annotation], said: Prelabelled
) -> Iterator[tuple[float, bool]]:
    """The same of one task."""
    for head in schema.heads:
        with suppress(DataError):
            text = text_of(task.data, head)
            example = training_example(annotations, head, text)
            found = spans_of(said.result, head, text)[0] if example is not None else ()
            gold = set(on_words([text], [example.spans], head)[0]) if example is not None else set()
            for span in found:
                if span.score is not None:
                    yield span.score, set(on_words([text], [[span]], head)[0]) <= gold


def curve_of(kept: Json | None) -> Calibration | None:
    """A curve as it was kept."""
    return Calibration(**(kept | {"stated": tuple(kept["stated"]), "true": tuple(kept["true"])})) if kept else None


def believed(said: Prelabelled, curve: Calibration | None) -> Prelabelled:
    """A pre-label with calibrated confidences; as it is without a curve."""
    if curve is None:
        return said
    stated = [region["score"] for region in said.result if "score" in region]
    true = iter(np.round(curve.apply(stated), 4).tolist())
    result = tuple({**region, "score": next(true)} if "score" in region else region for region in said.result)
    known = None if said.confidence is None else float(curve.apply([said.confidence])[0])
    return replace(said, result=result, confidence=known)


def asked(system: System, project: Project, schema: Schema, tasks: Sequence[Task], scored: Scored) -> Scored:
    """The language model's answers in place of none. What rounds of `improve` left in doubt comes before all, then what
    it is least sure of; where it does not tell how sure it is, or has no answer, nothing is known: 1/2, between its
    certain and its doubtful answers."""
    answers = answers_of(system, project, schema, tasks)
    confidences = [one.confidence if one else None for one in answers]
    results = [list(one.result) if one else [] for one in answers]
    if all(confidence is None for confidence in confidences):
        return replace(
            scored, results=results, reasons=["The language model does not say how sure it is."] * len(tasks)
        )
    uncertainty = np.array([0.5 if confidence is None else 1 - confidence for confidence in confidences])
    urgent = np.array([one is not None and one.believed is False for one in answers], dtype=bool)
    reasons = [in_words(one) for one in answers]
    return replace(scored, uncertainty=uncertainty, results=results, reasons=reasons, urgent=urgent)


def in_words(said: Prelabelled | None) -> str:
    """Why a task comes where it does, by the language model and, after rounds of `improve`, by the small one."""
    if said is None or said.confidence is None:
        return "The language model has no answer, or does not say how sure it is."
    if said.believed is None:
        return f"The language model is {said.confidence:.0%} sure of what it is least sure of."
    if not said.believed:
        return "In doubt: a model that was taught the other labels does not find this one likely."
    return f"Language model and small model say the same; {said.confidence:.0%} sure."


def answers_of(system: System, project: Project, schema: Schema, tasks: Sequence[Task]) -> list[Prelabelled | None]:
    """What a language model said last about each task, calibrated; None for nothing, or about other labels."""
    shown = project.llm or {}
    if shown.get("schema") != schema.digest:
        return [None] * len(tasks)
    curve = curve_of(shown.get("calibration"))
    known = system.store.latest_prelabels(project.key, [task.task_id for task in tasks])
    return [believed(known[task.task_id], curve) if task.task_id in known else None for task in tasks]
