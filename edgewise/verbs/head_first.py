"""Head first: which tasks are scored before a release is activated, so that people label by nearly its final top.

It begins with the last order's hardest, some tasks drawn at random and those that the last order did not know, and goes
on with those that are likely to be the hardest by what is scored so far, while that still brings tasks to the top: a
young model's order moves far from one version to the next, an old one's hardly. See docs/decisions.md for what it
holds. Knows nothing of Label Studio.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewise.labels.texts import text_of
from edgewise.learning.forecast import features, foretold
from edgewise.services.store import Job, Task
from edgewise.verbs.placing import Run
from edgewise.verbs.rank_chunks import score_step
from edgewise.verbs.scoring import Report, Scored, joined, readable, scales_of

COLD = 1000  # tasks that a project's first order begins with
DRAWN, NEW = 200, 2000  # at random; that joined since the last order, at most
FIRST, FIRST_SHARE = 1000, 0.02  # of the last order's hardest, or this share of the open tasks where that is more
STEP, STEP_SHARE = 500, 0.01
MOST, MOST_SHARE = 5000, 0.05  # people label by the old order meanwhile
WIDE, WIDE_SHARE, PAGE = 20_000, 0.1, 1000  # of the last order's hardest, whose texts are read to tell what is likely
TOP, LATE, LOOKED_BACK = 100, 8, 2  # settled when so few of the top came with the last two steps


def score_head(run: Run, job: Job, report: Report) -> tuple[Run, list[Task], Scored]:
    """The head's readable tasks, what the models say of them, and the run with the scales that heads were put on: the
    first step's, as all tasks of an order are on the same. Helpers score a part of it."""
    store, key, n = run.system.store, run.project.key, run.release.n
    tasks: list[Task] = []
    parts: list[Scored] = []
    known: dict[int, float] = {}
    for ids in steps(run, known):
        more, scored = score_step(run, ids, job, halves(report, len(parts)))
        tasks, parts = tasks + more, [*parts, scored]
        if len(parts) == 1:
            run = replace(run, release=store.update_release(key, n, scales=dict(scales_of(scored.by_head))))
        if scored.uncertainty is None:
            break  # where nothing is learned, nobody can tell what the top will be
        known |= zip((task.task_id for task in more), scored.uncertainty.tolist(), strict=True)
        if has_settled([part.uncertainty for part in parts if part.uncertainty is not None]):
            break
    return run, tasks, joined(parts)


def steps(run: Run, unsure: Mapping[int, float]) -> Iterator[list[int]]:
    """Tasks to be scored, one step after another, each sorted: the beginning, and then what is likely to be hard.

    unsure: of the tasks that are scored so far; who asks for the steps adds each one's before asking for the next.
    """
    store, key, last = run.system.store, run.project.key, run.project.active_release
    ids = store.open_task_ids(key)
    if last is None:
        yield sorted(run.rng.choice(ids, min(COLD, len(ids)), replace=False).tolist())
        return
    hardest = store.order(key, last, limit=at_least(WIDE, WIDE_SHARE, ids))
    first, step = at_least(FIRST, FIRST_SHARE, ids), at_least(STEP, STEP_SHARE, ids)
    begun = {*hardest[:first], *store.unranked(key, last, limit=NEW)}
    others = [task for task in ids if task not in begun]
    begun.update(run.rng.choice(others, min(DRAWN, len(others)), replace=False).tolist())
    yield sorted(begun)
    left = candidates(run, hardest, begun)
    for _ in range(first, at_least(MOST, MOST_SHARE, ids), step):
        if more := left.likeliest(unsure, step):
            yield sorted(more)


@dataclass
class Candidates:
    """Tasks whose texts are known, and which of them are in no step yet.

    ids, left: (n,). features: (n, d), sparse.
    """

    ids: NDArray[np.int64]
    left: NDArray[np.bool_]
    features: Any

    def likeliest(self, unsure: Mapping[int, float], count: int) -> list[int]:
        """At most so many that are left, and likely to be the hardest by what is known of others; left no more."""
        scored = np.isin(self.ids, list(unsure))
        if not scored.any() or not self.left.any():
            return []
        said = np.array([unsure[task] for task in self.ids[scored].tolist()])
        guessed = foretold(self.features[scored], said, self.features[self.left])
        taken = np.flatnonzero(self.left)[np.argsort(-guessed, kind="stable")[:count]]
        self.left[taken] = False
        chosen: list[int] = self.ids[taken].tolist()
        return chosen


def candidates(run: Run, order: Sequence[int], begun: Collection[int]) -> Candidates:
    """Those that can be read of the hardest by the last order, and of what a head has begun with, which are taken."""
    place = dict.fromkeys(begun, 0.0) | {task: 1 - passed / len(order) for passed, task in enumerate(order)}
    asked, ids = list(place), list[int]()
    pages: list[list[str]] = []
    for start in range(0, len(asked), PAGE):
        tasks = list(run.system.store.tasks(run.project.key, asked[start : start + PAGE]).values())
        kept = [tasks[position] for position in readable(run.schema, [task.data for task in tasks])[0]]
        ids += [task.task_id for task in kept]
        pages.append(["\n".join({text_of(task.data, head): None for head in run.schema.heads}) for task in kept])
    places = np.array([place[task] for task in ids], dtype=np.float64)
    return Candidates(np.array(ids, dtype=np.int64), ~np.isin(ids, list(begun)), features(pages, places))


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
