"""A forecast from the words of texts, against a truth that is known."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr

from edgewise.learning.forecast import FEATURES, features, foretold

TOWNS, THINGS = ("Oslo", "Bergen", "Molde", "Narvik"), ("lamp", "chair", "table", "spoon")


def texts_and_truth(count: int, seed: int) -> tuple[list[str], NDArray[np.float64]]:
    """Texts of eight words, and how unsure of them who does not know the towns is."""
    rng = np.random.default_rng(seed)
    words = [rng.choice([*TOWNS, *THINGS], 8) for _ in range(count)]
    return [" ".join(each) for each in words], np.array([np.isin(each, TOWNS).mean() for each in words])


def test_texts_with_the_words_of_the_unsure_ones_come_first() -> None:
    texts, truth = texts_and_truth(400, 0)
    rows = features([texts], np.zeros(400))
    guessed = foretold(rows[:200], truth[:200], rows[200:])
    assert guessed.shape == (200,)
    assert spearmanr(guessed, truth[200:]).statistic > 0.95


def test_upper_and_lower_case_are_different_words() -> None:
    rows = features([["Oslo", "oslo"] * 20], np.zeros(40))
    high, low = foretold(rows[:20], np.tile([0.9, 0.1], 10), rows[20:22])
    assert high > low + 0.4


def test_the_place_before_counts_where_words_say_nothing() -> None:
    places = np.arange(50) / 50
    rows = features([[f"w{n}" for n in range(50)]], places)
    guessed = foretold(rows[::2], places[::2] ** 2, rows[1::2])
    assert (np.diff(guessed) > 0).all()


@pytest.mark.parametrize("sizes", [[5], [2, 3], [1, 0, 4], []])
def test_pages_of_any_size_make_the_same_rows(sizes: list[int]) -> None:
    texts, _ = texts_and_truth(sum(sizes), 1)
    ends = np.cumsum(sizes)
    pages = [texts[end - size : end] for end, size in zip(ends, sizes, strict=True)]
    rows = features(pages, np.arange(len(texts)) / 5)
    assert rows.shape == (len(texts), FEATURES + 1)
    if texts:
        assert abs(rows - features([texts], np.arange(len(texts)) / 5)).max() == 0
