"""What a round leaves behind: its pre-labels, the demonstrations that it found, its figures. Makes; keeps nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgewise.labels.regions import regions
from edgewise.learning import progress
from edgewise.learning.freeal import State
from edgewise.services.store import Prelabelled, Shot
from edgewise.verbs.improving.pool import Part, Pool

States = Mapping[str, State]  # by from_name
Json = dict[str, Any]
HALF = 0.5  # confidences: of labels in doubt below, of believed ones above
NO_ANSWER = "The language model gave no answer that could be read."


def prelabels_of(pool: Pool, states: States, run: int, shown: Mapping[int, Sequence[int]]) -> list[Prelabelled]:
    """One for each task that people have not wholly labelled. shown: what those asked about were shown, by position;
    the others keep what they were shown before."""
    found = []
    for position, task in enumerate(pool.tasks):
        if all(position in part.human for part in pool.parts):
            continue
        before = pool.kept.get(task.task_id)
        demonstrations = tuple(pool.tasks[i].task_id for i in shown.get(position, ()))
        made = one_of(pool, states, position, run)
        found.append(replace(made, shown=demonstrations or (before.shown if before else ())))
    return found


def one_of(pool: Pool, states: States, position: int, run: int) -> Prelabelled:
    """A task's labels of all heads, as sure as the least sure of them."""
    task = pool.tasks[position]
    labels = {part.head.from_name: states[part.head.from_name].labels[position] for part in pool.parts}
    if any(label is None for label in labels.values()):
        return Prelabelled(task.task_id, run, error=NO_ANSWER)
    trusts = {name: trust(state, position) for name, state in states.items()}
    known = [one for one in trusts.values() if one is not None]
    result = []
    for part in pool.parts:
        name = part.head.from_name
        spans = [replace(span, score=trusts[name]) for span in labels[name] or ()]
        result += regions(spans, part.head, part.texts[position])
    if len(known) < len(trusts):  # nobody could learn from such labels
        return Prelabelled(task.task_id, run, tuple(result))
    clean = all(state.clean[position] for state in states.values())
    return Prelabelled(task.task_id, run, tuple(result), min(known), believed=clean)


def trust(state: State, position: int) -> float | None:
    """How far a label can be believed, in [0, 1]: by how likely a model finds it that was not taught on it. Any that is
    in doubt comes below 1/2, any other above. None before the first round."""
    if not len(state.sure):
        return None
    sure = float(state.sure[position])
    likely = sure if state.agrees[position] else 1 - sure
    return HALF + (1 - HALF) * likely if state.clean[position] else HALF * min(likely, 1 - 1e-6)


def shots_of(pool: Pool, states: States) -> list[Shot]:
    """The demonstrations of the round, with the labels of all heads."""
    chosen = sorted({position for state in states.values() for position in state.demonstrations})
    shots = []
    for position in chosen:
        labels = {name: state.labels[position] for name, state in states.items()}
        rows = {n: [[s.start, s.end, s.label] for s in spans] for n, spans in labels.items() if spans is not None}
        shots.append(Shot(pool.tasks[position].task_id, rows, wrong=False))
    return shots


def line_of(pool: Pool, states: States, run: int, seed: int) -> Json:
    """A round in figures, head by head; demonstrations: whose tasks they are."""
    heads = {part.head.from_name: figures(part, states[part.head.from_name], seed) for part in pool.parts}
    return {
        "round": max(state.number for state in states.values()),
        "run": run,
        "demonstrations": [shot.task_id for shot in shots_of(pool, states)],
        "heads": heads,
    }


def figures(part: Part, state: State, seed: int) -> Json:
    """A head's. believed: share of the tasks; agreement: of the two models, None in round 0; quality: on labelled audit
    tasks, None without any."""
    return {
        "tasks": len(state.labels),
        "asked": state.asked,
        "failed": state.failed,
        "changed": state.changed,
        "believed": float(state.clean.mean()) if state.number else None,
        "agreement": state.agreement if state.number else None,
        "quality": quality(part, state, seed),
        "ended": state.ended,
    }


def quality(part: Part, state: State, seed: int) -> Json | None:
    """What the labels are worth, by what people say of tasks for examining, with the 95 % interval."""
    gold = list(part.gold.values())
    said = [tuple(replace(span, score=None) for span in state.labels[position] or ()) for position in part.gold]
    found = progress.point(gold, said, part.head, rng=np.random.default_rng(seed))
    if found is None:
        return None
    measure = progress.measure_of(part.head, len(gold))
    return {"measure": measure, "tasks": len(gold), "score": found.value, "low": found.low, "high": found.high}
