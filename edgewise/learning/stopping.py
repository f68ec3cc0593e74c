"""Was the advice to stop any good? Its record by replay of simulated runs, whose end is known.

A run's test documents play the held-out set: some of them, drawn at random, are all that the advice sees. Takes the
JSON of `simulate`; knows nothing of how the runs were made.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewise.learning.progress import advise

FloatArray = npt.NDArray[np.float64]
Json = Mapping[str, Any]

AUDIT = (50, 100, 200)
TOO_EARLY = 0.01  # below the score that all labels give


@dataclass(frozen=True, slots=True)
class End:
    """What is known of a run that advice is not shown: the score that all labels give, the documents of the pool, and
    by labelled documents what so many `more` brought."""

    full: float
    pool: int
    more: int
    gains: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Ending:
    """One run under advice from one held-out set. stopped: labels when it was told that it may stop, None if never;
    lost: how much the score of all labels is above the one then. outcomes: of each advice whose end is known, what it
    said less what came on all test documents (mean over the seeds), and whether that was above its interval."""

    strategy: str
    seed: int
    audit: int
    stopped: int | None
    lost: float | None
    outcomes: tuple[tuple[float, bool], ...]


@dataclass(frozen=True, slots=True)
class Record:
    """What became of all runs of a strategy with held-out sets of a size. too_early: of those that stopped, how many
    were more than a point of F1 below the score of all labels. stopped_at: mean labels then. above: of all `advices`
    whose end is known, how often the gain that came (mean over the seeds, so that single trainings' chance counts for
    less) lay above the interval; bias: mean of what was said less what came."""

    strategy: str
    audit: int
    runs: int
    stopped: int
    too_early: int
    stopped_at: float | None
    mean_lost: float | None
    advices: int
    above: float | None
    bias: float | None


def stop_record(
    runs: Json, *, audit: Sequence[int] = AUDIT, draws: int = 10, more: int = 100, rng: np.random.Generator
) -> list[Record]:
    """The advice's record on these runs, by strategy and size of the held-out set, each drawn so many times.

    runs: as `simulate` writes them: cells of strategy, seed, labelled, test.counts and changed; pool, its documents;
    full, or everything by seed. Sizes that the test documents do not suffice for are left out.
    """
    endings: dict[tuple[str, int], list[Ending]] = {}
    every = courses(runs["cells"])
    for rounds in every:
        strategy = rounds[0]["strategy"]
        end = End(full_score(runs, rounds[0]["seed"]), runs["pool"], more, gains(every, strategy, more))
        counted = np.stack([tallies_of(one) for one in rounds])
        for size in audit:
            if size <= counted.shape[1]:
                where = endings.setdefault((strategy, size), [])
                where += [replay(rounds, counted, (size, end), rng) for _ in range(draws)]
    return [summary(strategy, size, every) for (strategy, size), every in sorted(endings.items())]


def courses(records: Sequence[Json]) -> list[list[Json]]:
    """The rounds of each strategy and seed, in order."""
    found: dict[tuple[str, int], list[Json]] = {}
    for record in sorted(records, key=lambda one: (one["strategy"], one["seed"], one["round"])):
        found.setdefault((record["strategy"], record["seed"]), []).append(record)
    return list(found.values())


def gains(every: Sequence[Sequence[Json]], strategy: str, more: int) -> dict[int, float]:
    """By labelled documents: what so many more brought with this strategy, mean over its seeds."""
    found: dict[int, list[float]] = {}
    for rounds in every:
        if rounds[0]["strategy"] == strategy:
            sizes, scores = [one["labelled"] for one in rounds], [one["test"]["score"] for one in rounds]
            for size, score in zip(sizes, scores, strict=True):
                if size + more <= sizes[-1]:
                    found.setdefault(size, []).append(float(np.interp(size + more, sizes, scores)) - score)
    return {size: float(np.mean(gained)) for size, gained in found.items()}


def full_score(runs: Json, seed: int) -> float:
    """The score that all labels give: by this seed where there is one, else the mean."""
    own = [one["test"]["score"] for one in runs.get("everything", []) if one["seed"] == seed]
    return float(own[0] if own else runs["full"])


def tallies_of(record: Json) -> FloatArray:
    """(n_documents, 1, 2), good and bad, of right, wrong and missed."""
    right, wrong, missed = np.asarray(record["test"]["counts"], dtype=np.float64).reshape(-1, 3).T
    return np.stack([2 * right, wrong + missed], axis=-1)[:, None, :]


def replay(rounds: Sequence[Json], counted: FloatArray, how: tuple[int, End], rng: np.random.Generator) -> Ending:
    """One run with a held-out set drawn anew. how: the set's size, and what is known of the run's end."""
    size, end = how
    seen = counted[:, rng.choice(counted.shape[1], size, replace=False)]
    sizes = [int(one["labelled"]) for one in rounds]
    scores = [one["test"]["score"] for one in rounds]
    stopped, outcomes = None, []
    for number in range(len(rounds)):
        left = {"more": end.more, "rest": end.pool - sizes[number]}
        told = advise(sizes[: number + 1], seen[: number + 1], **left, changed=rounds[number]["changed"], rng=rng)
        gained = end.gains.get(sizes[number])
        if told is not None and gained is not None:
            outcomes.append((told.gain - gained, gained > told.high))
        if told is not None and told.stop and stopped is None:
            stopped = number
    lost = None if stopped is None else end.full - scores[stopped]
    at = None if stopped is None else sizes[stopped]
    return Ending(rounds[0]["strategy"], rounds[0]["seed"], size, at, lost, tuple(outcomes))


def summary(strategy: str, audit: int, endings: Sequence[Ending]) -> Record:
    """All runs of one kind."""
    ended = [(one.stopped, one.lost) for one in endings if one.stopped is not None and one.lost is not None]
    outcomes = np.array([one for ending in endings for one in ending.outcomes], dtype=np.float64).reshape(-1, 2)
    return Record(
        strategy=strategy,
        audit=audit,
        runs=len(endings),
        stopped=len(ended),
        too_early=sum(lost > TOO_EARLY for _, lost in ended),
        stopped_at=float(np.mean([at for at, _ in ended])) if ended else None,
        mean_lost=float(np.mean([lost for _, lost in ended])) if ended else None,
        advices=len(outcomes),
        above=float(outcomes[:, 1].mean()) if len(outcomes) else None,
        bias=float(outcomes[:, 0].mean()) if len(outcomes) else None,
    )
