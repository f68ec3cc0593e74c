"""How far a confidence can be believed: a curve that puts it right, and the figures that say how wrong it was.

Takes confidences and whether each was right. Knows nothing of labels, spans or models. Confidences are in [0, 1].
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

FEWEST_ITEMS = 50
ISOTONIC_FROM = 500  # items; a curve of free form over-fits below
FOLDS = 5
BINS = 10
NULL_DRAWS = 1000
NULL_LEVEL = 0.95
_FARTHEST_LOGIT = 12.0
_KNOTS = np.linspace(-_FARTHEST_LOGIT, _FARTHEST_LOGIT, 241)


@dataclass(frozen=True, slots=True)
class Calibration:
    """A non-decreasing curve from a stated confidence to the share that was right.

    stated, true: (n_knots,), in [0, 1]; between knots the curve is straight. items: what it was fitted on.
    """

    method: Literal["platt", "isotonic"]
    items: int
    stated: tuple[float, ...]
    true: tuple[float, ...]

    def apply(self, confidences: npt.ArrayLike) -> FloatArray:
        """Calibrated confidences, of the same shape. NaN, for unknown, stays NaN."""
        given = np.asarray(confidences, dtype=np.float64)
        return np.interp(given, self.stated, self.true)


@dataclass(frozen=True, slots=True)
class Bin:
    """Confidences in [low, high): how many, their mean, and the share that was right."""

    low: float
    high: float
    items: int
    confidence: float
    right: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """How confidence and truth agree over `items` answers.

    ece: mean gap between confidence and share right over equally wide bins, weighted by their items. null_ece: what a
    perfectly calibrated source with these very confidences would show by chance, on average; null_ece_high: at most,
    in 95 % of cases: only an ece above it says that something is wrong. brier: mean squared error, 0 is best. auroc:
    chance that a right answer has the higher confidence of a right and a wrong one; None if all are one or the other.
    """

    items: int
    ece: float
    null_ece: float
    null_ece_high: float
    brier: float
    auroc: float | None
    bins: tuple[Bin, ...]


def fit(confidences: npt.ArrayLike, correct: npt.ArrayLike) -> Calibration | None:
    """The curve for confidences whose answers turned out `correct` or not; None below 50 items: too few.

    Platt's two parameters below 500 items, isotonic from 500. Confidences that are NaN are left out. A source whose
    confidence misleads (the surer, the wronger) gets its share of right answers everywhere.
    """
    given, right = _clean(confidences, correct)
    if len(given) < FEWEST_ITEMS:
        return None
    return _isotonic(given, right) if len(given) >= ISOTONIC_FROM else _platt(given, right)


def cross_fitted(confidences: npt.ArrayLike, correct: npt.ArrayLike, groups: npt.ArrayLike) -> FloatArray | None:
    """Each confidence calibrated by a curve that was fitted without its own group (task); None if there are too few.

    For a figure of how good calibrated confidences are: a curve looks better on what it was fitted on. None of them
    may be NaN.
    """
    given, right = _clean(confidences, correct)
    fold = np.unique(np.asarray(groups), return_inverse=True)[1] % FOLDS
    calibrated = np.empty_like(given)
    for number in range(FOLDS):
        out = fold == number
        curve = fit(given[~out], right[~out])
        if curve is None:
            return None
        calibrated[out] = curve.apply(given[out])
    return calibrated


def reliability(
    confidences: npt.ArrayLike, correct: npt.ArrayLike, *, rng: np.random.Generator, draws: int = NULL_DRAWS
) -> Reliability:
    """How well confidences tell what is correct. Confidences that are NaN are left out; there must be others."""
    given, right = _clean(confidences, correct)
    if not len(given):
        raise ValueError("no confidence to judge")
    place = np.minimum((given * BINS).astype(np.int64), BINS - 1)
    sizes = np.bincount(place, minlength=BINS)
    sure = np.bincount(place, given, minlength=BINS).astype(np.float64)
    hits = np.bincount(place, right, minlength=BINS)
    null = _null_ece(given, place, sure, rng=rng, draws=draws)
    bins = tuple(
        Bin(number / BINS, (number + 1) / BINS, int(size), float(sure[number] / size), float(hits[number] / size))
        for number, size in enumerate(sizes)
        if size
    )
    return Reliability(
        items=len(given),
        ece=float(np.abs(sure - hits).sum() / len(given)),
        null_ece=float(null.mean()),
        null_ece_high=float(np.quantile(null, NULL_LEVEL)),
        brier=float(np.mean((given - right) ** 2)),
        auroc=_auroc(given, right),
        bins=bins,
    )


def _null_ece(
    given: FloatArray, place: npt.NDArray[np.int64], sure: FloatArray, *, rng: np.random.Generator, draws: int
) -> FloatArray:
    """The ece of `draws` sources that are right exactly as often as they say, (draws,)."""
    hits = np.zeros((draws, BINS))
    for number in np.unique(place):  # by bin: memory for one of them at a time
        inside = given[place == number]
        for start in range(0, len(inside), 1000):
            part = inside[start : start + 1000]
            hits[:, number] += (rng.random((draws, len(part))) < part).sum(axis=1)
    return np.asarray(np.abs(sure - hits).sum(axis=1) / len(given))


def _auroc(given: FloatArray, right: FloatArray) -> float | None:
    from sklearn.metrics import roc_auc_score

    return None if right.min() == right.max() else float(roc_auc_score(right, given))


def _platt(given: FloatArray, right: FloatArray) -> Calibration:
    """A logistic curve over the logit, towards Platt's targets, which are never quite 0 or 1."""
    from sklearn.linear_model import LogisticRegression

    hits, misses = right.sum(), len(right) - right.sum()
    target = np.where(right > 0, (hits + 1) / (hits + 2), 1 / (misses + 2))
    rows = np.tile(_logit(given)[:, None], (2, 1))
    classes = np.repeat([1, 0], len(given))
    line = LogisticRegression(C=np.inf, max_iter=1000).fit(rows, classes, np.concatenate([target, 1 - target]))
    slope, offset = float(line.coef_[0, 0]), float(line.intercept_[0])
    if slope <= 0:
        slope, offset = 0.0, float(_logit(np.array([target.mean()]))[0])
    return _curve("platt", len(given), _sigmoid(_KNOTS), _sigmoid(slope * _KNOTS + offset))


def _isotonic(given: FloatArray, right: FloatArray) -> Calibration:
    from sklearn.isotonic import IsotonicRegression

    edge = 1 / (len(given) + 2)  # nothing is certain after so many items
    steps = IsotonicRegression(y_min=edge, y_max=1 - edge, out_of_bounds="clip").fit(given, right)
    return _curve("isotonic", len(given), steps.X_thresholds_, steps.y_thresholds_)


def _curve(method: Literal["platt", "isotonic"], items: int, stated: FloatArray, true: FloatArray) -> Calibration:
    return Calibration(method, items, tuple(map(float, stated)), tuple(map(float, true)))


def _clean(confidences: npt.ArrayLike, correct: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    given, right = np.asarray(confidences, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if given.shape != right.shape:
        raise ValueError(f"{given.shape} confidences and {right.shape} answers")
    known = ~np.isnan(given)
    return given[known], right[known]


def _logit(share: FloatArray) -> FloatArray:
    edge = 1 / (1 + math.exp(_FARTHEST_LOGIT))
    inside = np.clip(share, edge, 1 - edge)
    return np.asarray(np.log(inside / (1 - inside)))


def _sigmoid(logit: npt.NDArray[np.floating]) -> FloatArray:
    return np.asarray(1 / (1 + np.exp(-logit)))
