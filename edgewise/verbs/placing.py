"""What one ranking works with, and what it makes of tasks: prediction, uncertainty, reason and place, as ranks to keep.

The same for the head of an order and for each chunk of the rest, whoever scores it. Knows nothing of Label Studio's
side, and not which tasks come when.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewise.labels.regions import problems
from edgewise.labels.schema import Schema
from edgewise.learning.selection import SIMILAR, certainties, close, diverse_order, order
from edgewise.services.store import Project, Rank, Release, Task, Version
from edgewise.verbs.disagreement import weigh
from edgewise.verbs.models import Model
from edgewise.verbs.scoring import Scored, readable, score
from edgewise.verbs.system import System
from edgewise.verbs.trust import asked

log = logging.getLogger(__name__)
COLD_HEAD = 0.5  # in the cold start the diverse head takes the scores below, what follows at random those above
ENOUGH_PLACES = 50


@dataclass(frozen=True)
class Run:
    """One ranking: of which project, with whose answers, into which release."""

    system: System
    project: Project
    schema: Schema
    source: str | None
    version: Version | None
    models: dict[str, Model]
    release: Release
    rng: np.random.Generator
    open_tasks: int = 0  # when it began, for who pushes

    @property
    def name(self) -> str:
        """The release as Label Studio knows it."""
        return release_name(self.release.n)


def release_name(n: int) -> str:
    """What Label Studio sees in `model_version`."""
    return f"ew-{n}"


def said_by_models(run: Run, ids: Sequence[int], report: Any) -> tuple[list[Task], Scored]:
    """The readable ones of these tasks, and what the models say of them."""
    store, key = run.system.store, run.project.key
    tasks = list(store.tasks(key, ids).values())
    good, bad = readable(run.schema, [task.data for task in tasks])
    now = {task.task_id: bad.get(position) for position, task in enumerate(tasks)}
    store.set_problems(key, {task.task_id: now[task.task_id] for task in tasks if now[task.task_id] != task.problem})
    kept = [tasks[position] for position in good]
    return kept, score(run.system, run.schema, run.models, [task.data for task in kept], report, run.release.scales)


def with_language_model(run: Run, tasks: Sequence[Task], scored: Scored) -> Scored:
    """The language model's answers in place of none, and tasks moved up where it says something else."""
    if run.source and run.version is None:
        scored = asked(run.system, run.project, run.schema, tasks, scored)
    return weigh(run.system, run.project, run.schema, tasks, scored)


def is_audit(tasks: Sequence[Task]) -> NDArray[np.bool_]:
    """Which tasks are held out, (n,)."""
    return np.array([task.audit for task in tasks], dtype=bool)


def ranks_in_order(run: Run, tasks: Sequence[Task], scored: Scored) -> list[Rank]:
    """The head's order, written as scores: the k-th task gets the k-th smallest certainty."""
    counts = run.system.store.counts(run.project.key)
    done = counts["audit_labelled"]
    placing: dict[str, Any] = {
        "audit": is_audit(tasks),
        "audit_fraction": run.system.settings.audit_fraction,
        "labelled": (counts["labelled"] + done, done),
        "rng": run.rng,
    }
    if scored.uncertainty is None:
        sequence = diverse_order(scored.embeddings, **placing)
        scores: NDArray[np.float64] = np.empty(len(tasks), dtype=np.float64)
        scores[sequence] = COLD_HEAD * (np.arange(len(tasks)) + 1.0) / (len(tasks) + 1.0)
    else:
        placing |= {"similar": similar(run, scored), "urgent": scored.urgent}
        sequence = order(urgency(scored), scored.embeddings, **placing)
        scores = np.asarray(certainties(scored.uncertainty, sequence), dtype=np.float64)
    return as_ranks(run, tasks, scored, scores)


def urgency(scored: Scored) -> NDArray[np.float64]:
    """By what the order goes, (n,): higher is sooner. What is kept and written into scores is the uncertainty."""
    assert scored.uncertainty is not None
    return scored.uncertainty if scored.priority is None else scored.priority


def similar(run: Run, scored: Scored) -> float:
    """How alike two tasks may be without standing apart in the order."""
    choices = any(head.kind != "spans" for head in run.schema.heads)
    return close(scored.embeddings, run.rng) if choices else SIMILAR


def as_ranks(run: Run, tasks: Sequence[Task], scored: Scored, scores: NDArray[Any]) -> list[Rank]:
    """One rank per task, checked as Label Studio will check it; a prediction that it would drop becomes an empty one.

    Here, and only here, uncertainty has become Label Studio's score: lowest first.
    """
    ranks = []
    hide_audit = not run.system.settings.audit_prelabel
    for position, task in enumerate(tasks):
        result = () if task.audit and hide_audit else tuple(scored.results[position])
        faults = problems({"result": list(result), "score": float(scores[position])}, run.schema, task.data)
        if faults:
            log.error("task %s: a prediction that Label Studio would refuse: %s", task.task_id, "; ".join(faults))
            result = ()
        ranks.append(
            Rank(
                task_id=task.task_id,
                uncertainty=None if scored.uncertainty is None else float(scored.uncertainty[position]),
                score=float(scores[position]),
                reason=scored.reasons[position],
                result=result,
                audit=task.audit,
            )
        )
    return ranks


def wanted_scores(run: Run, tasks: Sequence[Task], scored: Scored) -> NDArray[np.float64]:
    """Where tasks that join a release belong, (n,): by certainty, near-duplicates apart; audit tasks anywhere."""
    if scored.uncertainty is None:
        return np.asarray(run.rng.uniform(COLD_HEAD, 1.0, len(tasks)), dtype=np.float64)
    audit = is_audit(tasks)
    wanted: NDArray[np.float64] = 1 - scored.uncertainty
    others = np.flatnonzero(~audit)
    unsure, fraction = scored.uncertainty[others], run.system.settings.audit_fraction
    placing: dict[str, Any] = {"audit": audit[others], "audit_fraction": fraction, "labelled": (0, 0), "rng": run.rng}
    placing |= {"similar": similar(run, scored), "urgent": None if scored.urgent is None else scored.urgent[others]}
    sequence = order(urgency(scored)[others], scored.embeddings[others], **placing)
    wanted[others] = certainties(unsure, sequence)
    if audit.any():
        wanted[audit] = run.rng.choice(places(run, 1 - scored.uncertainty), int(audit.sum()))
    return wanted


def places(run: Run, certainty: NDArray[np.float64]) -> Sequence[float] | NDArray[np.float64]:
    """Scores among which an audit task's is drawn: whatever the model thinks of itself must not show."""
    if len(certainty) >= ENOUGH_PLACES:
        return certainty
    store, key, n = run.system.store, run.project.key, run.release.n
    here = store.order(key, n)
    drawn = run.rng.choice(here, ENOUGH_PLACES).tolist() if here else []
    return [rank.score for rank in store.ranks(key, n, drawn).values()] or certainty
