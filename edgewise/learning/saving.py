"""How many labels random order would have needed for the score that we have: what the labels at hand can tell of it.

Labels chosen hardest first are no random sample of the pool. So the pool is cut into strata by how unsure a model is
that never saw the document, and subsets of the labels are drawn in the pool's proportions: those look as if drawn at
random, as far as that uncertainty tells. A model is trained on each and scored on the held-out documents; a curve
through the scores says where random order would be as good. Easy documents have few labels then, so that a subset is
small or repeats some, and the curve is followed beyond its points: the interval says how far that can be trusted.
Knows nothing of tasks or of how documents were chosen.
"""

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewise.labels.schema import Head
from edgewise.labels.spans import Document, Span
from edgewise.learning.evaluation import f1_of
from edgewise.learning.inference import Tagger, answers, load_trained
from edgewise.learning.simulation import counts_of
from edgewise.learning.training import Model, Recipe, train, unseen

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Score = Callable[[NDArray[Any], NDArray[Any]], NDArray[np.floating[Any]]]
Report = Callable[[float], None]

ENOUGH_HELD_OUT = 50  # as everywhere: fewer have no interval
FOLDS = 2
FINEST = 10  # strata at most
LEAST_IN_STRATUM = 8  # labels; a stratum with fewer is one with its neighbour
REPEATS = 3  # times that a label may stand for others of its stratum in one subset
SHARES = (0.25, 0.5, 1.0)  # of the largest subset
LEAST = 20  # documents in the largest subset
BEYOND = 5  # times the largest subset: further no curve is followed
DRAWS = 1000
LEVEL = 0.9
FEW_ODDS = 0.01  # scores are kept this far from 0 and 1, where odds have no logarithm


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. taught: the labelled documents that the serving model learnt from; open: texts of the same pool
    that nobody has labelled, a random part of them will do; held_out: drawn at random, with gold labels; target:
    (n_held_out, 3) counts of the serving model's answers about them. score: of uncertainty.py, for this head."""

    taught: Sequence[Document]
    open: Sequence[str]
    held_out: Sequence[Document]
    target: Ints
    head: Head
    base: str
    recipe: Recipe
    score: Score
    open_documents: int | None = None  # of the pool, where `open` is a part of them

    @property
    def rest(self) -> int:
        """Open documents of the pool."""
        return len(self.open) if self.open_documents is None else self.open_documents


@dataclass(frozen=True, slots=True)
class Strata:
    """The pool in strata of rising uncertainty. shares: (k,), of the pool, sum 1; members: (k,), positions among the
    taught documents."""

    shares: Floats
    members: list[Ints]

    @property
    def largest(self) -> int:
        """Documents in the largest subset that has the pool's proportions."""
        supply = np.array([REPEATS * len(one) for one in self.members])
        most = float((supply / np.maximum(self.shares, 1e-12)).min())
        return int(min(most, sum(len(one) for one in self.members)))

    @property
    def effective(self) -> float:
        """The random labels that weigh as much as those at hand (Kish): their number if they are random."""
        sizes = np.array([len(one) for one in self.members])
        return float(1.0 / (self.shares**2 / np.maximum(sizes, 1e-12)).sum())


@dataclass(frozen=True, slots=True)
class Point:
    """What a subset taught. size: its documents, of which so many are distinct; counts: (n_held_out, 3)."""

    size: int
    distinct: int
    counts: Ints


@dataclass(frozen=True, slots=True)
class Needed:
    """Labels that random order would have needed, with an interval; infinite where no curve comes there."""

    labels: float
    low: float
    high: float


def estimate(question: Question, rng: np.random.Generator, report: Report, *, draws: int = 2) -> dict[str, Any]:
    """The report as JSON: `told` is whether it can be told, `sentence` says it or why not.

    draws: subsets of each size. Trains FOLDS + 3 * draws models.
    """
    labels, score = len(question.taught), float(f1_of(question.target.sum(axis=0)))
    known: dict[str, Any] = {"labels": labels, "score": score, "held_out": len(question.held_out), "level": LEVEL}
    if len(question.held_out) < ENOUGH_HELD_OUT:
        return known | untold(f"there are {len(question.held_out)} held-out tasks, and it takes {ENOUGH_HELD_OUT}")
    if labels < LEAST:
        return known | untold(f"the version learnt from {labels} tasks, and it takes {LEAST}")
    models = FOLDS + len(SHARES) * draws
    strata = strata_of(question, lambda done: report(FOLDS * done / models))
    known |= described(question, strata)
    if strata.largest < LEAST:
        return known | untold("hardly any of the easy tasks are labelled: no part of the labels looks random")
    points = []
    for number, size in enumerate(np.repeat(sizes_of(strata), draws).tolist()):

        def share(part: float, before: int = FOLDS + number) -> None:
            report((before + part) / models)

        points.append(point(question, subset(strata, size, rng), share))
    known["points"] = [
        {"labels": one.size, "distinct": one.distinct, "score": float(f1_of(one.counts.sum(axis=0)))} for one in points
    ]
    return known | told(labels, needed_by(points, question.target, rng), strata.largest)


def strata_of(question: Question, report: Report) -> Strata:
    """The pool in strata by the uncertainty of models that never saw the document."""
    taught, rest = cross_fitted(question, report)
    pool = np.concatenate([taught, rest])
    weights = np.concatenate([np.ones(len(taught)), np.full(len(rest), question.rest / max(len(rest), 1))])
    edges = weighted_quantiles(pool, weights, np.arange(1, FINEST) / FINEST)
    mine = np.searchsorted(edges, taught, side="right")
    all_ = np.searchsorted(edges, pool, side="right")
    fine = [float(weights[all_ == stratum].sum() / weights.sum()) for stratum in range(FINEST)]
    return merged(fine, [np.flatnonzero(mine == stratum).tolist() for stratum in range(FINEST)])


def merged(fine: Sequence[float], members: Sequence[Sequence[int]]) -> Strata:
    """Fine strata as strata that have labels enough: one that is short of them is one with the next."""
    shares, held = [0.0], [list[int]()]
    for share, these in zip(fine, members, strict=True):
        if len(held[-1]) >= LEAST_IN_STRATUM:
            shares.append(0.0)
            held.append([])
        shares[-1] += share
        held[-1].extend(these)
    if len(held) > 1 and len(held[-1]) < LEAST_IN_STRATUM:
        share, these = shares.pop(), held.pop()
        shares[-1] += share
        held[-1].extend(these)
    return Strata(np.array(shares), [np.array(these, dtype=np.int64) for these in held])


def cross_fitted(question: Question, report: Report) -> tuple[Floats, Floats]:
    """Uncertainty of the taught documents and of the open texts, each from a model that did not learn from it."""
    taught, rest = np.zeros(len(question.taught)), np.zeros(len(question.open))
    folds = unseen(question.taught, question.head, question.base, question.recipe, folds=FOLDS, report=report)
    for number, (part, model) in enumerate(folds):
        others = np.arange(len(question.open)) % FOLDS == number
        if model is not None:
            taught[part] = unsure(model, [question.taught[position].text for position in part], question.score)
            rest[others] = unsure(model, [question.open[i] for i in np.flatnonzero(others)], question.score)
    return taught, rest


def unsure(model: Model, texts: Sequence[str], score: Score) -> Floats:
    """(n,): how unsure a model is about each text."""
    said = model.tag(texts) if isinstance(model, Tagger) else model.classify(texts)
    return np.asarray(score(said.probabilities, said.offsets), dtype=np.float64)


def weighted_quantiles(values: Floats, weights: Floats, wanted: Floats) -> Floats:
    """Values below which these shares of the weight lie."""
    ranked = np.argsort(values, kind="stable")
    below = np.cumsum(weights[ranked]) / weights.sum()
    found: Floats = values[ranked][np.minimum(np.searchsorted(below, wanted), len(values) - 1)]
    return found


def sizes_of(strata: Strata) -> list[int]:
    """How large the subsets are."""
    return [max(LEAST // 2, round(share * strata.largest)) for share in SHARES]


def subset(strata: Strata, size: int, rng: np.random.Generator) -> Ints:
    """Positions of so many taught documents in the pool's proportions; a stratum that is short of them repeats its."""
    exact = size * strata.shares
    wanted = np.floor(exact).astype(np.int64)
    left = size - int(wanted.sum())
    if left:
        wanted[rng.choice(len(wanted), left, replace=False, p=(exact - wanted) / (exact - wanted).sum())] += 1
    drawn = []
    for members, how_many in zip(strata.members, wanted, strict=True):
        times = math.ceil(how_many / len(members)) if how_many else 0
        drawn.append(np.concatenate([rng.permutation(members) for _ in range(times)] or [members[:0]])[:how_many])
    return np.concatenate(drawn)


def point(question: Question, drawn: Ints, report: Report) -> Point:
    """A model from one subset of the taught documents, by position."""
    taught = [question.taught[position] for position in drawn]
    said: Sequence[Sequence[Span]] = [()] * len(question.held_out)  # by a model that has nothing to learn
    if any(document.spans for document in taught):
        with tempfile.TemporaryDirectory(prefix="edgewise-saving-") as folder:
            out = Path(folder) / "model"
            trained = train(taught, question.head, question.base, out, question.recipe, report=report)
            model = load_trained(trained.folder, question.head, max_length=question.recipe.max_length)
            said = answers(model, [document.text for document in question.held_out])
    return Point(len(drawn), len(set(drawn.tolist())), counts_of(question.held_out, said, question.head))


def needed_by(points: Sequence[Point], target: Ints, rng: np.random.Generator) -> Needed:
    """Where the curve through the points reaches the target's score.

    A label that is there twice tells more than once and less than two: counted as one it makes random order look
    better than it is, counted as two worse. The interval has room for both, the estimate lies between.
    """
    counts = np.stack([one.counts for one in points])
    once = needed(np.array([one.distinct for one in points]), counts, target, rng)
    each = needed(np.array([one.size for one in points]), counts, target, rng)
    return Needed(math.sqrt(once.labels * each.labels), min(once.low, each.low), max(once.high, each.high))


def needed(sizes: Ints, counts: Ints, target: Ints, rng: np.random.Generator, *, draws: int = DRAWS) -> Needed:
    """Where a curve through points reaches the target's score.

    sizes (p,); counts (p, n, 3), of points at these sizes; target (n, 3); all on the same n documents. The curve: the
    odds of a score grow as a power of the labels, so that errors fall as a power of them. The interval is by bootstrap
    over documents, of points and target together; the scatter of the points stands for that of training.
    """
    points, aim = odds(counts.sum(axis=1)), odds(target.sum(axis=0))
    level, slope = line(np.log(sizes), points[None])
    scatter = float(np.std(points - (level + slope * np.log(sizes)))) * math.sqrt(len(sizes) / max(len(sizes) - 2, 1))
    times = rng.multinomial(len(target), np.full(len(target), 1 / len(target)), size=draws)
    sampled = odds(np.einsum("bn,pnk->bpk", times, counts)) + rng.normal(0, scatter, (draws, len(sizes)))
    aims = odds(times @ target) + rng.normal(0, scatter, draws)
    found = crossing(*line(np.log(sizes), sampled), aims)
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="nearest")
    return Needed(float(crossing(level, slope, aim)[0]), float(low), float(high))


def odds(counts: Ints) -> Floats:
    """Logarithm of F1 / (1 - F1), of counts (…, 3)."""
    score = np.clip(f1_of(counts), FEW_ODDS, 1 - FEW_ODDS)
    found: Floats = np.log(score / (1 - score))
    return found


def line(at: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Level and slope of the best line through each row of values (b, p), at places (p,)."""
    middle = at - at.mean()
    slope: Floats = values @ middle / float(middle @ middle)
    level: Floats = values.mean(axis=1) - slope * at.mean()
    return level, slope


def crossing(level: Floats, slope: Floats, aim: Any) -> Floats:
    """Labels at which the line comes to the aim; infinite where it does not rise."""
    rises = slope > 1e-6
    found: Floats = np.exp(np.clip((aim - level) / np.where(rises, slope, 1.0), -50, 50))
    return np.where(rises, found, np.inf)


def described(question: Question, strata: Strata) -> dict[str, Any]:
    """How far the labels at hand are from a random sample."""
    per_document = [float(np.mean([len(question.taught[i].spans) for i in one])) for one in strata.members]
    return {
        "effective": round(strata.effective, 1),
        "largest": strata.largest,
        "strata": [
            {"share": round(float(share), 4), "labels": len(one)}
            for share, one in zip(strata.shares, strata.members, strict=True)
        ],
        "spans_per_document": {
            "weighted": round(float(strata.shares @ np.array(per_document)), 3),
            "held_out": round(float(np.mean([len(document.spans) for document in question.held_out])), 3),
        },
    }


def told(labels: int, found: Needed, largest: int) -> dict[str, Any]:
    """The answer in figures and words; not told where the curve would have to be followed too far."""
    furthest = BEYOND * max(largest, 1)
    low = min(found.low, furthest)
    known = {
        "needed": round(found.labels) if found.labels <= furthest else None,
        "low": round(low),
        "high": round(found.high) if found.high <= furthest else None,
    }
    if known["needed"] is None:
        why = f"the part of the labels that looks random is too small to look as far as {labels} labels"
        return known | untold(why) | {"low": known["low"]}
    if known["high"] is None:
        words = f"about {known['needed']} labels, at least {known['low']}"
    else:
        words = f"about {known['needed']} labels ({known['low']} to {known['high']})"
    sentence = f"Random order would have needed {words} for the score that {labels} have reached."
    return known | {"told": True, "sentence": sentence, "saved": 1 - labels / max(known["needed"] or 1, 1)}


def untold(why: str) -> dict[str, Any]:
    """That it cannot be told, and why."""
    sentence = f"What random order would have needed cannot be told: {why}."
    return {"told": False, "sentence": sentence, "needed": None, "low": None, "high": None, "saved": None}
