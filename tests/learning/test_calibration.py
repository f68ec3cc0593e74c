"""Confidences put right, and how wrong they were: over simulated sources whose truth is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewise.learning.calibration import FEWEST_ITEMS, ISOTONIC_FROM, cross_fitted, fit, reliability


def test_below_50_items_there_is_no_curve() -> None:
    assert fit(np.linspace(0, 1, 49), np.ones(49)) is None
    assert cross_fitted(np.linspace(0, 1, 55), np.ones(55), np.arange(55)) is None, "a fold leaves too few"


@pytest.mark.parametrize(("items", "method"), [(50, "platt"), (499, "platt"), (500, "isotonic")])
def test_few_items_get_two_parameters_and_many_a_free_curve(items: int, method: str) -> None:
    rng = np.random.default_rng(0)
    stated = rng.random(items)
    curve = fit(stated, rng.random(items) < stated)
    assert curve is not None
    assert (curve.method, curve.items) == (method, items)


@pytest.mark.parametrize("items", [300, 3000])
def test_an_over_confident_source_is_put_right(items: int) -> None:
    rng = np.random.default_rng(1)
    stated = rng.uniform(0.5, 1, items)
    right = rng.random(items) < stated - 0.3
    curve = fit(stated, right)
    assert curve is not None
    fresh = np.array([0.6, 0.75, 0.9])
    assert curve.apply(fresh) == pytest.approx(fresh - 0.3, abs=0.1)
    before = reliability(stated, right, rng=rng)
    after = cross_fitted(stated, right, np.arange(items) // 3)
    assert after is not None
    assert before.ece == pytest.approx(0.3, abs=0.06)
    assert before.ece > before.null_ece_high
    assert reliability(after, right, rng=rng).ece < 0.1


@settings(max_examples=30, deadline=None)
@given(st.integers(FEWEST_ITEMS, ISOTONIC_FROM + 50), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_a_curve_never_turns_the_order_around_nor_leaves_0_to_1(items: int, seed: int, truth: float) -> None:
    rng = np.random.default_rng(seed)
    stated = np.round(rng.random(items), 2)
    curve = fit(stated, rng.random(items) < np.abs(truth - stated))
    assert curve is not None
    calibrated = curve.apply(np.linspace(0, 1, 201))
    assert (np.diff(calibrated) >= -1e-12).all()
    assert calibrated.min() > 0
    assert calibrated.max() < 1


def test_what_is_unknown_stays_unknown() -> None:
    rng = np.random.default_rng(2)
    stated = np.append(rng.random(100), np.nan)
    curve = fit(stated, np.ones(101))
    assert curve is not None
    assert curve.items == 100
    assert np.isnan(curve.apply([np.nan])[0])
    assert reliability(stated, np.ones(101), rng=rng).items == 100


@pytest.mark.parametrize(("items", "by_chance"), [(100, 0.1), (300, 0.06), (1000, 0.03)])
def test_chance_alone_makes_an_ece_that_falls_with_the_items(items: int, by_chance: float) -> None:
    rng = np.random.default_rng(3)
    stated = rng.random(items)
    found = reliability(stated, rng.random(items) < stated, rng=rng)
    assert found.null_ece == pytest.approx(by_chance, rel=0.25)
    assert found.null_ece_high > found.null_ece


def test_a_calibrated_source_exceeds_the_bound_of_chance_in_5_of_100_cases() -> None:
    rng = np.random.default_rng(4)
    above = 0
    for _ in range(300):
        stated = rng.beta(4, 1, 120)
        found = reliability(stated, rng.random(120) < stated, rng=rng, draws=300)
        above += found.ece > found.null_ece_high
    assert 0.02 <= above / 300 <= 0.09


def test_figures_worked_by_hand() -> None:
    found = reliability([0.9, 0.9, 0.2, 0.2], [1, 0, 0, 0], rng=np.random.default_rng(0))
    assert found.ece == pytest.approx((2 * 0.4 + 2 * 0.2) / 4)
    assert found.brier == pytest.approx((0.01 + 0.81 + 0.04 + 0.04) / 4)
    assert found.auroc == pytest.approx((2 + 1) / 3 - (1 / 3) * 0.5)
    assert [(one.low, one.items, one.right) for one in found.bins] == [(0.2, 2, 0.0), (0.9, 2, 0.5)]
    assert reliability([0.5], [1], rng=np.random.default_rng(0)).auroc is None


def test_nothing_to_judge_is_an_error_of_the_programmer() -> None:
    with pytest.raises(ValueError, match="no confidence"):
        reliability([], [], rng=np.random.default_rng(0))
