"""How good versions are on the same held-out tasks, how their scores grow with the labels, and whether to stop.

Takes gold and predicted spans (a choice is a label on the whole text) and numbers of labelled tasks. Knows nothing of
versions, stores or Label Studio; that the tasks were drawn at random and never learned from is the caller's word.

The curve is an inverse power law of the number of labelled tasks n: score = s - d g(n), where s is the score at the
last version, d what was gained since the first, and g falls from 1 at the first to 0 at the last as n^-b does. Nothing
of it is taken for known: b is any of EXPONENTS, and what one training differs from the next by chance is learnt from
the scatter around the curve, beginning with NOISE. Each draw weighs the held-out tasks anew, for all versions alike,
and then draws b and d by how well they fit, d never below zero. So with few tasks, or few versions, or versions that
scatter, the interval is wide, and one version tells nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgewise.labels.schema import Head
from edgewise.labels.spans import Span
from edgewise.learning.llm_evaluation.intervals import LEVEL, Interval, joint, share

FloatArray = npt.NDArray[np.float64]
Spans = Sequence[Sequence[Span]]  # the spans of each document

F1, MACRO_F1, ACCURACY = "F1", "macro F1", "accuracy"
TASKS_PER_LABEL = 20  # fewer, and most labels have been seen too seldom for the mean of their F1 to mean anything
FEWEST_VERSIONS = 3
EXPONENTS = np.linspace(0.1, 2.0, 20)
NOISE = 0.02  # points of F1 by which two trainings on as many labels differ, our own measurements
NOISE_WEIGHT = 2.0  # as if the scatter of so many versions had shown it
REACH = 10  # versions with less than a tenth of the labels tell nothing of the next ones
WORTH_IT = 0.01  # a point
STEADY = 0.3  # share of the open tasks; of long texts many change with every training, whatever is learnt
DRAWS = 1000


@dataclass(frozen=True, slots=True)
class Advice:
    """What so many more labels should add to the score, and between what; what all open tasks, rest, should add, and
    at most; whether the last version left the predictions as they were; and whether one may stop."""

    gain: float
    low: float
    high: float
    more: int
    rest: int
    rest_gain: float
    rest_high: float
    settled: bool

    @property
    def stop(self) -> bool:
        """One may, if all that is left would add less than a point."""
        return self.settled and max(self.high, self.rest_high) < WORTH_IT


def measure_of(head: Head, tasks: int) -> str:
    """By what a head is measured on so many tasks: F1 of spans, macro F1 of choices. Of one choice out of many on few
    tasks accuracy: most labels do not occur, and macro F1 is then the F1 of chance."""
    if head.kind == "spans":
        return F1
    if tasks >= TASKS_PER_LABEL * len(head.labels):
        return MACRO_F1
    return ACCURACY if head.kind == "choice" else F1


def tallies(gold: Spans, predicted: Spans, head: Head, measure: str) -> FloatArray:
    """What is good and what is bad in each document's answer, (n_documents, n_columns, 2): `share` of it is the
    measure. One column; of macro F1 one for each label."""
    if measure == ACCURACY:
        right = np.array([set(true) == set(said) for true, said in zip(gold, predicted, strict=True)], dtype=np.float64)
        return np.stack([right, 1 - right], axis=-1)[:, None, :]
    labels = head.labels if measure == MACRO_F1 else ("",)
    column = {label: index for index, label in enumerate(labels)}
    counts = np.zeros((len(gold), len(labels), 2))
    for row, true, said in zip(counts, map(set, gold), map(set, predicted), strict=True):
        for span in true & said:
            row[column.get(span.label, 0), 0] += 2
        for span in true ^ said:
            row[column.get(span.label, 0), 1] += 1
    return counts


def point(
    gold: Spans, predicted: Spans, head: Head, *, rng: np.random.Generator, level: float = LEVEL
) -> Interval | None:
    """The head's score on these tasks, in [0, 1], and between what its score on all such tasks lies; None where there
    is nothing to score. Measured as `measure_of` says for so many."""
    counted = tallies(gold, predicted, head, measure_of(head, len(gold)))
    return share(counted[..., 0], counted[..., 1], rng=rng, level=level)


def score_of(counted: FloatArray) -> float:
    """The measure of all documents together, in [0, 1]; counted: as of `tallies`. 0 where there is nothing."""
    good, bad = np.moveaxis(counted.sum(axis=0), -1, 0)
    there = good + bad > 0
    return float((good[there] / (good + bad)[there]).mean()) if there.any() else 0.0


def bounds(counted: FloatArray, *, rng: np.random.Generator, level: float = LEVEL) -> list[tuple[float, float]]:
    """Between what each version's score on all such tasks lies, as of `point`. counted: (n_versions, n_tasks,
    n_columns, 2), `tallies` of each on the same tasks; 0 where a version has no answer."""
    drawn = joint(counted, rng=rng)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    scores = [score_of(one) for one in counted]
    return [(min(float(a), s), max(float(b), s)) for a, b, s in zip(low, high, scores, strict=True)]


def per_label(gold: Spans, predicted: Spans, head: Head) -> dict[str, tuple[float, int]]:
    """F1 in [0, 1] and gold spans of each label that occurs in gold or answers."""
    good, bad = np.moveaxis(tallies(gold, predicted, head, MACRO_F1).sum(axis=0), -1, 0)
    support = {label: sum(span.label == label for spans in gold for span in spans) for label in head.labels}
    return {
        label: (float(good[i] / (good[i] + bad[i])), support[label])
        for i, label in enumerate(head.labels)
        if good[i] + bad[i]
    }


def advise(
    examples: Sequence[int],
    counted: FloatArray,
    *,
    more: int,
    rest: int,
    changed: float | None,
    rng: np.random.Generator,
    level: float = LEVEL,
) -> Advice | None:
    """What `more` labels should add, and whether one may stop; None with too few versions to tell.

    examples: (n_versions,), labelled tasks that each version learned from, ascending; counted: (n_versions, n_tasks,
    n_columns, 2), `tallies` of each on the same tasks. rest: open tasks; changed: share of them whose prediction the
    last version changed. One may stop if all that is left would add less than a point, by the upper end of its
    interval, and the predictions have settled; where nobody knows whether they have, the interval alone decides.
    """
    sizes = np.asarray(examples, dtype=np.float64)
    near = sizes * REACH >= sizes.max(initial=0.0)
    if len(set(sizes[near].tolist())) < FEWEST_VERSIONS:
        return None
    drawn = joint(counted[near], rng=rng, draws=DRAWS)
    gains = np.minimum(growth(sizes[near], drawn, more=(more, rest), rng=rng), 1 - drawn[:, -1])
    (low, _), (gain, rest_gain), (high, rest_high) = np.quantile(gains, [(1 - level) / 2, 0.5, (1 + level) / 2], axis=1)
    settled = changed is None or changed <= STEADY
    return Advice(float(gain), float(low), float(high), more, rest, float(rest_gain), float(rest_high), settled)


def growth(sizes: FloatArray, scores: FloatArray, *, more: Sequence[int], rng: np.random.Generator) -> FloatArray:
    """(n_more, draws): how much the score grows with so many labels after the last version, one possible curve a draw.

    sizes: (n_versions,), ascending, the first below the last; scores: (draws, n_versions).
    """
    shapes = sizes[None, :] ** -EXPONENTS[:, None]  # (n_exponents, n_versions)
    first, last = shapes[:, :1], shapes[:, -1:]
    later = (sizes[-1] + np.asarray(more, dtype=np.float64))[:, None]
    beyond = (last[:, 0] - later**-EXPONENTS) / (first - last)[:, 0]  # (n_more, n_exponents)
    falls = (shapes - last) / (first - last)
    drop, spread, likely = _fits(falls, scores)
    chosen = (likely + rng.gumbel(size=likely.shape)).argmax(axis=1)  # b, in proportion to its likelihood
    rows = np.arange(len(scores))
    gained = _above_zero(drop[rows, chosen], spread[rows, chosen], len(sizes), rng)
    return np.asarray(gained * beyond[:, chosen])


def _fits(falls: FloatArray, scores: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """For each draw and exponent, (draws, n_exponents): what was gained from the first to the last version, its
    standard error, and the logarithm of the exponent's likelihood. Least squares, the noise unknown."""
    count = falls.shape[1]
    free = NOISE_WEIGHT + count - 2
    centred = falls - falls.mean(axis=1, keepdims=True)
    away = scores - scores.mean(axis=1, keepdims=True)
    mass = (centred**2).sum(axis=1)  # (n_exponents,)
    slope = -(away @ centred.T) / mass
    left = np.maximum((away**2).sum(axis=1)[:, None] - slope**2 * mass, 0.0) + NOISE_WEIGHT * NOISE**2
    spread = np.sqrt(left / free / mass)
    from scipy.special import stdtr

    rising = np.log(np.maximum(stdtr(free, slope / spread), 1e-300))
    return slope, spread, -free / 2 * np.log(left) - np.log(mass) / 2 + rising


def _above_zero(middle: FloatArray, spread: FloatArray, count: int, rng: np.random.Generator) -> FloatArray:
    """One draw of Student's t around each middle, of those that are not below zero."""
    from scipy.special import stdtr, stdtrit

    free = NOISE_WEIGHT + count - 2
    above = stdtr(free, middle / spread)  # the probability of being above zero
    upper = rng.uniform(size=len(middle)) * above  # from the top
    drawn = middle - spread * stdtrit(free, np.maximum(upper, 1e-12))
    return np.asarray(np.maximum(drawn, 0.0))
