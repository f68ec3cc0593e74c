"""Thresholds against trying every one of them."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgewise.learning.training.thresholds import DEFAULT, tune


def f1(share: NDArray[np.float64], yes: NDArray[np.bool_], threshold: float) -> float:
    said = share >= threshold
    return float(2 * (said & yes).sum() / max(1, said.sum() + yes.sum()))


@settings(deadline=None, max_examples=80)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(20, 120), lean=st.floats(-2, 2))
def test_no_threshold_in_reach_has_a_higher_f1(seed: int, size: int, lean: float) -> None:
    rng = np.random.default_rng(seed)
    yes = np.arange(size) < max(10, size // 3)
    share = np.round(1 / (1 + np.exp(-(rng.normal(size=size) + 2 * yes - 1 + lean))), 2)
    found = tune(share[:, None], yes[:, None])[0]
    assert 0.1 <= found <= 0.9
    tried = [f1(share, yes, threshold) for threshold in np.linspace(0.1, 0.9, 321)]
    assert f1(share, yes, found) >= max(tried) - 1e-9


def test_a_label_that_is_always_told_apart_keeps_a_half() -> None:
    yes = np.arange(40) < 20
    assert tune(np.where(yes, 0.8, 0.2)[:, None], yes[:, None]) == (DEFAULT,)


def test_a_label_with_few_documents_keeps_a_half() -> None:
    yes = np.arange(40) < 9
    assert tune(np.where(yes, 0.3, 0.2)[:, None], yes[:, None]) == (DEFAULT,)
    assert tune(np.zeros((0, 2)), np.zeros((0, 2), dtype=bool)) == (DEFAULT, DEFAULT)


def test_each_label_has_its_own() -> None:
    yes = np.arange(60) < 20
    shares = np.stack([np.where(yes, 0.4, 0.1), np.where(yes, 0.95, 0.7)], axis=1)
    low, high = tune(shares, np.stack([yes, yes], axis=1))
    assert 0.1 < low <= 0.4
    assert 0.7 < high <= 0.95
