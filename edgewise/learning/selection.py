"""In which order people label: hardest first or most diverse first, with audit tasks mixed in at random.

Arrays in, positions out. Knows nothing of tasks, texts or models. An order is a permutation of 0..n-1 whose k-th entry
is the task to be labelled k-th. Uncertainty: higher is less sure. Certainty: lower is served first. Tasks are alike by
the cosine of their embeddings less the pool's mean: a taught model's all point the same way, and what is left tells one
text from another (Mu and Viswanath, 2018, "All-but-the-Top", section 2).
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
Embeddings = npt.NDArray[np.floating]
Mask = npt.NDArray[np.bool_]
Directions = Callable[[IntArray], Embeddings]

SIMILAR = 0.95  # cosine; two tasks as alike as this teach the model little more than one
CLOSEST = 0.02  # of all pairs of a pool; of two such texts the second says little new about a choice
SAMPLED = 300  # tasks whose pairs stand for all
STRETCH = 50  # near-duplicates stand further apart than this
SPREAD = 4_000  # so many tasks from the top are spread; by then a retrained model has made another order
REACH = 8_000  # so far down a stretch looks for tasks that are not alike
CHUNK = 256
CENTERS = 500  # tasks of a cold start that are picked for diversity
CENTERS_FROM = 20_000  # they are picked among so many, drawn at random
STEP = 1e-9  # between neighbouring certainties; far above rounding, far below meaning
NUDGE = 1e-12  # between certainties that `place` keeps apart


def order(
    uncertainty: FloatArray,
    embeddings: Embeddings,
    *,
    audit: Mask,
    audit_fraction: float,
    labelled: tuple[int, int],
    rng: np.random.Generator,
    similar: float = SIMILAR,
    urgent: Mask | None = None,
) -> IntArray:
    """Hardest first, near-duplicates (of a cosine of at least `similar`) apart, audit tasks in their places.

    uncertainty (n,): finite; embeddings (n, dim): rows of zeros are like nothing; audit (n,): true for members of the
    held-out set; labelled: tasks of the project completed so far, and audit tasks among them. Ties keep the order.
    urgent (n,): true for tasks that no other comes before, audit tasks aside; near-duplicates stand apart on each side.
    Audit tasks are drawn at random by `rng`, or the held-out set would be one of hard tasks. Returns (n,).
    """
    _check(uncertainty, embeddings, audit)
    others = np.flatnonzero(~audit)
    ranked = others[np.argsort(-uncertainty[others], kind="stable")]
    first = np.zeros(len(ranked), dtype=bool) if urgent is None else urgent[ranked]
    directions = _directions(embeddings)
    spread = np.concatenate([_spread(part, directions, similar) for part in (ranked[first], ranked[~first])])
    return _mix(spread, np.flatnonzero(audit), audit_fraction, labelled, rng)


def close(embeddings: Embeddings, rng: np.random.Generator) -> float:
    """The cosine from which two tasks of this pool are among its closest pairs, at most SIMILAR.

    For choices: there a model's doubts come in clusters of texts that say the same, which entities do not. Measured on
    banking77 and snips, see docs/decisions.md.
    """
    some = _directions(embeddings)(rng.permutation(len(embeddings))[:SAMPLED])
    pairs = (some @ some.T)[np.triu_indices(len(some), 1)]
    return min(SIMILAR, float(np.quantile(pairs, 1 - CLOSEST))) if len(pairs) else SIMILAR


def diverse_order(
    embeddings: Embeddings, *, audit: Mask, audit_fraction: float, labelled: tuple[int, int], rng: np.random.Generator
) -> IntArray:
    """For a model that knows nothing yet: each of the first 500 is least like those before it, the rest at random.

    Arguments as of `order`. Returns (n,). Source: Sener and Savarese, 2018 (k-center greedy), by cosine.
    """
    _check(np.zeros(len(embeddings)), embeddings, audit)
    others = rng.permutation(np.flatnonzero(~audit))
    candidates = others[:CENTERS_FROM]
    centers = candidates[_farthest_first(_directions(embeddings)(candidates), CENTERS)]
    rest = others[~np.isin(others, centers)]
    return _mix(np.concatenate([centers, rest]), np.flatnonzero(audit), audit_fraction, labelled, rng)


def certainties(uncertainty: FloatArray, order: IntArray) -> FloatArray:
    """The score that makes Label Studio serve this order: the k-th of the order gets the k-th smallest certainty.

    uncertainty (n,), in [0, 1]; certainty is 1 - uncertainty. Returns (n,) in [0, 1], by task, strictly increasing
    along the order, by at least about 1e-9: equal ones are pulled apart, and nothing moves by more than n * 1e-9.
    """
    n = len(order)
    ramp = STEP * np.arange(1, n + 1)
    ascending = np.sort(1.0 - np.clip(uncertainty, 0.0, 1.0)) * (1.0 - STEP * n) + ramp
    scores = np.empty(n)
    scores[order] = np.minimum(ascending, 1.0)
    return scores


def place(taken: FloatArray, new: FloatArray) -> FloatArray:
    """Certainties for tasks that join a release: each as wanted, or nudged up to differ from all taken and each other.

    taken (m,), new (n,), in [0, 1]. Returns (n,) in [0, 1], in the order that `new` has by value, ties by position.
    At the very top, where there is no more room, they are nudged down instead.
    """
    used = set(taken.tolist())
    ranked = np.argsort(new, kind="stable")
    values = _apart(np.clip(new[ranked], 0.0, 1.0).tolist(), used, floor=0.0, step=NUDGE)
    if values and values[-1] > 1.0:  # the same from above, which is from below with the signs turned
        turned = _apart([-value for value in reversed(values)], {-v for v in used}, floor=-1.0, step=NUDGE / 2)
        values = [-value for value in reversed(turned)]
    scores = np.empty(len(new))
    scores[ranked] = values
    return scores


def _apart(ascending: list[float], used: set[float], *, floor: float, step: float) -> list[float]:
    """The values, strictly increasing from `floor` on and none of them used: each moved up by few steps."""
    values = []
    for wanted in ascending:
        value = max(wanted, floor)
        while value in used:
            value += step
        values.append(value)
        floor = value + step
    return values


def _mix(
    others: IntArray, audit: IntArray, fraction: float, labelled: tuple[int, int], rng: np.random.Generator
) -> IntArray:
    """Both in one order: of every 1 / fraction tasks completed, those done before included, one is an audit task.

    Audit tasks that are behind their share come sooner, yet at most every second task, so that learning goes on. When
    one kind has run out the other follows.
    """
    done, done_audit = labelled
    nth = np.arange(len(audit))
    # The j-th audit task stands where the count of all completed first allows for done_audit + j + 1 of them.
    due = np.ceil((done_audit + nth + 1) / fraction - 1e-9).astype(np.int64) - done - 1
    positions = np.minimum(np.maximum(due, 2 * nth), nth + len(others))
    mixed = np.empty(len(others) + len(audit), dtype=np.int64)
    taken = np.zeros(len(mixed), dtype=bool)
    taken[positions] = True
    mixed[taken] = rng.permutation(audit)
    mixed[~taken] = others
    return mixed


def _spread(ranked: IntArray, directions: Directions, similar: float) -> IntArray:
    """The ranked tasks with near-duplicates more than STRETCH apart, among the first SPREAD of them.

    A task that is like one of its own stretch, or of the stretch before, waits for a later one. If within REACH no
    task is free, the hardest that wait fill the stretch.
    """
    placed: list[IntArray] = []
    before: IntArray = np.empty(0, dtype=np.int64)
    left = ranked
    while len(left) and len(placed) < SPREAD // STRETCH:
        chosen = _stretch(directions(before), left[:REACH], directions, similar)
        before = left[chosen]
        placed.append(before)
        left = left[~np.isin(np.arange(len(left)), chosen)]
    return np.concatenate([*placed, left])


def _stretch(before: Embeddings, candidates: IntArray, directions: Directions, similar: float) -> IntArray:
    """Positions in `candidates` of the next STRETCH: the first that are like none before, then those that wait."""
    chosen: list[int] = []
    for start in range(0, len(candidates), CHUNK):
        chunk = directions(candidates[start : start + CHUNK])
        free = ~(chunk @ before.T >= similar).any(axis=1)
        alike = chunk @ chunk.T >= similar
        while len(chosen) < STRETCH and free.any():
            first = int(free.argmax())
            chosen.append(start + first)
            free &= ~alike[first]
            free[first] = False  # a text without an embedding is not even like itself
        if len(chosen) == STRETCH:
            break
        before = np.concatenate([before, directions(candidates[[i for i in chosen if i >= start]])])
    waiting = np.delete(np.arange(len(candidates)), chosen)[: STRETCH - len(chosen)]
    return np.concatenate([np.array(chosen, dtype=np.int64), waiting])


def _farthest_first(unit: Embeddings, how_many: int) -> IntArray:
    """The first row, then always the row that is least like all chosen; fewer than asked when only doubles are left."""
    if not len(unit):
        return np.empty(0, dtype=np.int64)
    chosen = [0]
    likeness = unit @ unit[0]
    likeness[~unit.any(axis=1)] = np.inf  # without an embedding they would be unlike everything
    while len(chosen) < min(how_many, len(unit)):
        likeness[chosen[-1]] = np.inf
        farthest = int(likeness.argmin())
        if likeness[farthest] >= SIMILAR:
            break
        chosen.append(farthest)
        np.maximum(likeness, unit @ unit[farthest], out=likeness)
    return np.array(chosen, dtype=np.int64)


def _directions(embeddings: Embeddings) -> Directions:
    """Of given tasks the embeddings, less the pool's mean, as rows of length 1: a product is a cosine, and what all
    texts share makes none alike. Rows of zeros have no part in the mean and stay zero, like nothing."""
    told: Mask = np.asarray(embeddings.any(axis=1))
    mean = embeddings.sum(axis=0, dtype=np.float64) / max(1, int(told.sum()))

    def directions(tasks: IntArray) -> Embeddings:
        rows = np.where(told[tasks, None], embeddings[tasks] - mean, 0.0).astype(np.float32)
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        unit: Embeddings = np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)
        return unit

    return directions


def _check(uncertainty: FloatArray, embeddings: Embeddings, audit: Mask) -> None:
    if not len(uncertainty) == len(embeddings) == len(audit):
        raise ValueError("uncertainty, embeddings and audit must have one row for each task")
    if not np.isfinite(uncertainty).all():
        raise ValueError("uncertainty must be finite")
