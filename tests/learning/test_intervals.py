"""Intervals hold the truth as often as they say: over simulated candidates of known error rate."""

import math

import numpy as np
import numpy.typing as npt
import pytest

from edgewise.learning.llm_evaluation.intervals import Interval, difference, share, total

Array = npt.NDArray[np.float64]
CANDIDATES = 40  # of each size and quality
SIZES = (20, 60, 200)
QUALITIES = (0.5, 0.8, 0.95, 0.99)


def counts(quality: float, tasks: int, rng: np.random.Generator, *, as_hard: Array | None = None) -> Array:
    """A candidate's right, wrong and missed spans, (tasks, 3): how hard a task is differs, every third has no span."""
    found = rng.geometric(1 / 3, tasks) - 1
    ease = rng.beta(4 * quality, 4 * (1 - quality), tasks) if as_hard is None else as_hard
    right = rng.binomial(found, ease)
    wrong = rng.binomial(found - right, 0.5) + rng.poisson((1 - ease) * 0.5)
    return np.stack([right, wrong, found - right], axis=-1).astype(np.float64)


def true_f1(quality: float) -> float:
    """Of such a candidate, over all tasks there could be: two spans in a task."""
    right, wrong, missed = 2 * quality, (1 - quality) * 1.5, 2 * (1 - quality)
    return 2 * right / (2 * right + wrong + missed)


def holds(found: Interval | None, truth: float) -> bool:
    assert found is not None
    assert found.low <= found.value <= found.high
    return found.low <= truth <= found.high


def test_nominal_95_percent_intervals_of_f1_cover_the_truth_in_92_to_98_percent() -> None:
    rng = np.random.default_rng(1)
    cover = []
    for tasks in SIZES:
        for quality in QUALITIES:
            for _ in range(CANDIDATES):
                n = counts(quality, tasks, rng)
                found = share(2 * n[:, 0], n[:, 1] + n[:, 2], rng=rng, draws=1000)
                cover.append(holds(found, true_f1(quality)))
    assert len(cover) >= 200
    assert 0.92 <= np.mean(cover) <= 0.98, np.mean(cover)
    by_group = np.reshape(cover, (-1, CANDIDATES)).mean(axis=1)
    assert by_group.min() >= 0.85, by_group  # of 40: the chance of less is below one in a thousand


def test_intervals_of_an_accuracy_cover_the_truth() -> None:
    rng = np.random.default_rng(2)
    cover = []
    for tasks in SIZES:
        for quality in QUALITIES:
            right = rng.random((CANDIDATES, tasks)) < quality
            cover += [holds(share(one, ~one, rng=rng, draws=1000), quality) for one in right]
    assert 0.92 <= np.mean(cover) <= 0.98, np.mean(cover)


def test_intervals_of_a_paired_difference_cover_the_truth() -> None:
    rng = np.random.default_rng(3)
    cover = []
    for tasks in SIZES:
        for before, after in ((0.5, 0.6), (0.8, 0.8), (0.9, 0.97), (0.97, 0.9)):
            for _ in range(CANDIDATES):
                hard = rng.beta(4 * before, 4 * (1 - before), tasks)
                easier = (
                    np.clip(hard * after / before, 0, 1)
                    if after < before
                    else 1 - (1 - hard) * (1 - after) / (1 - before)
                )
                a, b = counts(before, tasks, rng, as_hard=hard), counts(after, tasks, rng, as_hard=easier)
                found = difference((2 * a[:, 0], a[:, 1:].sum(1)), (2 * b[:, 0], b[:, 1:].sum(1)), rng=rng, draws=1000)
                cover.append(holds(found, true_f1(after) - true_f1(before)))
    assert 0.92 <= np.mean(cover) <= 0.98, np.mean(cover)


def test_a_candidate_without_a_mistake_is_not_certain() -> None:
    found = share(np.ones(30), np.zeros(30), rng=np.random.default_rng(0))
    assert found is not None
    assert found.value == found.high == 1.0
    assert 0.88 <= found.low <= 0.95, "Jeffreys' bound for 30 of 30 is 0.92"


def test_where_nothing_can_be_right_or_wrong_there_is_no_share() -> None:
    rng = np.random.default_rng(0)
    assert share(np.zeros(9), np.zeros(9), rng=rng) is None
    assert share([], [], rng=rng) is None
    assert difference(([1], [0]), ([0], [0]), rng=rng) is None


def test_macro_f1_is_the_mean_over_the_labels_that_occur() -> None:
    good, bad = [[2, 0, 0], [2, 2, 0]], [[0, 0, 0], [0, 2, 0]]
    found = share(good, bad, rng=np.random.default_rng(0))
    assert found is not None
    assert found.value == pytest.approx((1.0 + 0.5) / 2)


def test_the_same_tasks_and_seed_give_the_same_interval() -> None:
    n = counts(0.8, 50, np.random.default_rng(4))
    first, second = (share(n[:, 0], n[:, 1], rng=np.random.default_rng(9)) for _ in range(2))
    assert first == second


def test_intervals_of_a_forecast_cover_what_the_whole_then_takes() -> None:
    rng = np.random.default_rng(5)
    cover, error = [], []
    for _ in range(300):
        lengths = rng.lognormal(5, 0.6, 2000)
        tokens = 300 + lengths / 4 * rng.normal(1, 0.1, 2000) + 15 * rng.poisson(lengths / 100)
        sample = rng.choice(2000, 20, replace=False)
        found = total(tokens[sample], lengths[sample], lengths)
        cover.append(holds(found, float(tokens.sum())))
        assert found is not None
        error.append(abs(found.value / tokens.sum() - 1))
    assert 0.90 <= np.mean(cover) <= 0.99, np.mean(cover)
    assert np.quantile(error, 0.95) < 0.05


def test_a_forecast_is_unknown_from_nothing_and_open_from_one() -> None:
    assert total([], [], [1, 2]) is None
    assert total([3], [1], []) == Interval(0.0, 0.0, 0.0)
    assert total([3], [1], [1, 2]) == Interval(6.0, 0.0, math.inf)


def test_a_forecast_never_falls_with_length() -> None:
    found = total([9, 8, 7, 6, 5, 4], [1, 2, 3, 4, 5, 6], [1000] * 10)
    assert found is not None
    assert found.value == pytest.approx(65)
