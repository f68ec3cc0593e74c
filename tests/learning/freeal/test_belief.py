"""Which labels are believed, on losses whose truth is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgewise.learning.freeal.belief import believed


def losses_of(right: int, wrong: int, *, easy: float = 0.2, hard: float = 3.0, seed: int = 0) -> NDArray[np.float64]:
    """Small losses of right labels, then large ones of wrong labels."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(easy, 0.1, right), rng.normal(hard, 0.5, wrong)]).clip(0.001)


def test_wrong_labels_are_found_by_their_loss() -> None:
    found = believed(losses_of(300, 100), ["a"] * 400)
    assert found[:300].mean() > 0.97
    assert found[300:].mean() < 0.03


def test_a_hard_class_is_not_doubted_as_a_whole() -> None:
    easy = losses_of(200, 50)
    hard = losses_of(80, 40, easy=2.0, hard=6.0, seed=1)
    found = believed(np.concatenate([easy, hard]), ["easy"] * 250 + ["hard"] * 120)
    assert found[250:330].mean() > 0.9
    assert found[330:].mean() < 0.1


def test_a_class_without_a_wrong_label_is_believed() -> None:
    spotless = np.random.default_rng(2).normal(0.2, 0.05, 100).clip(0.001)
    found = believed(np.concatenate([losses_of(150, 60), spotless]), ["mixed"] * 210 + ["spotless"] * 100)
    assert found[210:].mean() > 0.95


def test_a_class_with_one_member_is_judged_beside_the_others() -> None:
    losses = np.concatenate([losses_of(200, 60), [0.2], [3.5]])
    found = believed(losses, ["a"] * 260 + ["rare"] + ["rarer"])
    assert (found[260], found[261]) == (True, False)


def test_seventy_seven_small_classes_are_judged_together() -> None:
    right, wrong = losses_of(77 * 8, 0), losses_of(0, 77 * 2)
    names = [f"intent {i}" for i in range(77)]
    found = believed(np.concatenate([right, wrong]), [name for name in names for _ in range(8)] + names * 2)
    assert found[: 77 * 8].mean() > 0.95
    assert found[77 * 8 :].mean() < 0.05


def test_what_has_no_label_is_not_believed() -> None:
    losses = losses_of(50, 20)
    losses[::7] = np.nan
    found = believed(losses, [None if np.isnan(loss) else "a" for loss in losses])
    assert not found[::7].any()
    assert not believed(np.full(5, np.nan), [None] * 5).any()


def test_equal_losses_tell_nothing_and_all_are_believed() -> None:
    assert believed(np.full(40, 0.7), ["a"] * 40).all()


@pytest.mark.parametrize("count", [1, 2, 19, 20])
def test_few_labels_are_no_error(count: int) -> None:
    assert believed(np.linspace(0.1, 0.2, count).astype(np.float64), ["a"] * count).any()


@given(st.lists(st.floats(0, 20), min_size=1, max_size=60), st.integers(1, 5))
def test_of_two_labels_of_a_class_the_one_with_the_smaller_loss_is_believed_first(
    given_losses: list[float], classes: int
) -> None:
    losses = np.array(given_losses)
    names = [str(i % classes) for i in range(len(losses))]
    found = believed(losses, names)
    for name in set(names):
        members = np.array([one == name for one in names])
        if found[members].any() and not found[members].all():
            assert losses[members & found].min() <= losses[members & ~found].min()
