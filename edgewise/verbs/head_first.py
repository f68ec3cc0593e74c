"""Head first: which tasks are scored before a release is activated, so that people label by nearly its final top.

It begins with the last order's hardest, some tasks drawn at random and those that the last order did not know, and goes
on down the last order while that still brings tasks to the top: a young model's order moves far from one version to
the next, an old one's hardly. See docs/decisions.md for what it holds. Knows nothing of Label Studio.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewise.services.store import Job, Task
from edgewise.verbs.placing import Run
from edgewise.verbs.rank_chunks import score_step
from edgewise.verbs.scoring import Report, Scored, joined, scales_of

COLD = 1000  # tasks that a project's first order begins with
DRAWN, NEW = 200, 2000  # at random; that joined since the last order, at most
FIRST, FIRST_SHARE = 1000, 0.02  # of the last order's hardest, or this share of the open tasks where that is more
STEP, STEP_SHARE = 500, 0.01
MOST, MOST_SHARE = 5000, 0.05  # people label by the old order meanwhile
TOP, LATE, LOOKED_BACK = 100, 10, 2  # settled when so few of the top came with the last two steps


def score_head(run: Run, job: Job, report: Report) -> tuple[Run, list[Task], Scored]:
    """The head's readable tasks, what the models say of them, and the run with the scales that heads were put on: the
    first step's, as all tasks of an order are on the same. Helpers score a part of it."""
    store, key, n = run.system.store, run.project.key, run.release.n
    tasks: list[Task] = []
    parts: list[Scored] = []
    for ids in steps(run):
        more, scored = score_step(run, ids, job, halves(report, len(parts)))
        tasks, parts = tasks + more, [*parts, scored]
        if len(parts) == 1:
            run = replace(run, release=store.update_release(key, n, scales=dict(scales_of(scored.by_head))))
        unsure = [part.uncertainty for part in parts if part.uncertainty is not None]
        if not unsure or has_settled(unsure):
            break  # where nothing is learned, nobody can tell what the top will be
    return run, tasks, joined(parts)


def steps(run: Run) -> Iterator[list[int]]:
    """Tasks to be scored, one step after another, each sorted: the beginning, and then down the last order."""
    store, key, last = run.system.store, run.project.key, run.project.active_release
    ids = store.open_task_ids(key)
    if last is None:
        yield sorted(run.rng.choice(ids, min(COLD, len(ids)), replace=False).tolist())
        return
    hardest = store.order(key, last, limit=at_least(MOST, MOST_SHARE, ids))
    first, step = at_least(FIRST, FIRST_SHARE, ids), at_least(STEP, STEP_SHARE, ids)
    begun = {*hardest[:first], *store.unranked(key, last, limit=NEW)}
    others = [task for task in ids if task not in begun]
    begun.update(run.rng.choice(others, min(DRAWN, len(others)), replace=False).tolist())
    yield sorted(begun)
    for start in range(first, len(hardest), step):
        if more := set(hardest[start : start + step]) - begun:
            yield sorted(more)


def at_least(tasks: int, share: float, of: Sequence[int]) -> int:
    """So many tasks, or this share of all where that is more."""
    return max(tasks, int(share * len(of)))


def has_settled(parts: Sequence[NDArray[Any]]) -> bool:
    """Whether the last two steps brought few of what is the top by now; what comes next was easier still.

    parts: uncertainty of each step's tasks, higher is less sure.
    """
    late = np.repeat(np.arange(len(parts)) >= len(parts) - LOOKED_BACK, [len(part) for part in parts])
    top = np.argsort(-np.concatenate(parts), kind="stable")[:TOP]
    return bool(late[top].sum() <= LATE)


def halves(report: Report, number: int) -> Report:
    """Progress of one of nobody knows how many parts: each takes half of what is left."""
    return lambda done: report(1 - (2 - done) / 2 ** (number + 1))
