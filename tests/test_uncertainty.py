"""Every strategy against numbers worked out by hand, and against what must hold for all of them."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import uncertainty
from uncertainty import CHOICE_DEFAULT, CHOICE_SCORES, DEFAULT, SCORES, word_contributions

Rows = NDArray[np.float64]
Table = list[list[float]]

HALF = math.log(2) / math.log(3)  # the entropy of a coin, of three tags
ROOTED = ("boundary", "spans", "soft_boundary", "entropy", "margin", "least_confidence")


def u_of(name: str, rows: Table) -> float:
    """The unmapped u of one document."""
    score = float(SCORES[name](np.array(rows), np.array([0, len(rows)]))[0])
    return score / (1 - score)


@st.composite
def documents(draw: st.DrawFn, least: int = 0) -> tuple[Rows, NDArray[np.int64]]:
    """Distributions of several documents, some empty, some certain, and their offsets."""
    n_tags = draw(st.sampled_from([3, 5, 9]))
    sizes = draw(st.lists(st.integers(least, 6), min_size=1, max_size=5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows = rng.dirichlet(np.full(n_tags, draw(st.sampled_from([0.05, 0.5, 5.0]))), sum(sizes))
    rows[rng.random(len(rows)) < 0.2] = np.eye(n_tags)[0]
    return rows, np.cumsum([0, *sizes])


def test_boundary_weighs_edges_three_and_the_word_outside_two() -> None:
    # wavering: O just outside, B the first word, I in the middle; certain: I the last word, O
    rows: Table = [[0.5, 0.5, 0], [0.5 - 1e-9, 0.5 + 1e-9, 0], [0, 0.5 - 1e-9, 0.5 + 1e-9], [0, 0, 1], [1, 0, 0]]
    h = [0.5, 1, 0, 1, 0.5]
    expected = sum((1 + 2 * one) * HALF for one in h[:3]) / math.sqrt(5)
    assert u_of("boundary", rows) == pytest.approx(expected, abs=1e-6)


def test_boundary_of_one_wavering_word_by_hand() -> None:
    # one word, O .5, B .3, I .2: nothing is predicted, so h = 0 and u = H
    entropy = -(0.5 * math.log(0.5) + 0.3 * math.log(0.3) + 0.2 * math.log(0.2)) / math.log(3)
    assert u_of("boundary", [[0.5, 0.3, 0.2]]) == pytest.approx(entropy)
    # B .5, O .3, I .2: the word is first and last of an entity, h = 1
    assert u_of("boundary", [[0.3, 0.5, 0.2]]) == pytest.approx(3 * entropy)
    # a continuation of nothing begins an entity
    assert u_of("boundary", [[0.3, 0.2, 0.5]]) == pytest.approx(3 * entropy)


def test_a_word_in_the_middle_of_an_entity_and_one_far_outside_count_once() -> None:
    sure_o, sure_b, sure_i = np.eye(3).tolist()
    once = u_of("entropy", [[0, 0.4, 0.6]]) / math.sqrt(3)
    assert u_of("boundary", [sure_b, [0, 0.4, 0.6], sure_i]) == pytest.approx(once)
    assert u_of("boundary", [sure_b, sure_o, [0.6, 0.4, 0]]) == pytest.approx(once)


def test_where_one_entity_ends_and_the_next_of_the_same_type_begins_both_words_are_edges() -> None:
    rows: Table = [[0, 1, 0], [0, 0.3, 0.7], [0, 0.7, 0.3], [0, 0, 1]]
    assert u_of("boundary", rows) == pytest.approx(2 * 3 * u_of("entropy", [[0, 0.3, 0.7]]) / 2)


def test_two_types_in_a_row_are_two_entities_even_without_a_begin() -> None:
    rows = np.array([[0, 0, 1, 0, 0], [0, 0, 0.5, 0, 0.5], [0, 0, 0, 0, 1]])
    rows[1] += [0, 0, -1e-9, 0, 1e-9]
    assert u_of("boundary", rows.tolist()) == pytest.approx(3 * math.log(2) / math.log(5) / math.sqrt(3))


def test_boundary_sum_and_mean_differ_from_boundary_only_in_what_they_divide_by() -> None:
    rows: Table = [[0.3, 0.5, 0.2], [0.6, 0.2, 0.2], [1, 0, 0]]  # h: 1, 1/2, 0
    weighted = 3 * u_of("entropy", rows[:1]) + 2 * u_of("entropy", rows[1:2])
    assert u_of("boundary", rows) == pytest.approx(weighted / math.sqrt(3))
    assert u_of("boundary_sum", rows) == pytest.approx(weighted)
    assert u_of("boundary_mean", rows) == pytest.approx(weighted / (3 + 2 + 1))


def test_soft_boundary_by_hand() -> None:
    # starts: .6 + 1 · .1 = .7 and .1 + .3 · .1 = .13; ends: (1 - .3)(.8 + .1) = .63 and (1 - .8)(1 + 0) = .2
    rows: Table = [[0.3, 0.6, 0.1], [0.8, 0.1, 0.1]]
    w = [0.7 + 0.63 - 0.7 * 0.63, 0.13 + 0.2 - 0.13 * 0.2]
    expected = sum((1 + 2 * one) * u_of("entropy", [row]) for one, row in zip(w, rows, strict=True)) / math.sqrt(2)
    assert u_of("soft_boundary", rows) == pytest.approx(expected)


def test_spans_by_hand() -> None:
    # O .9; an entity of two words, right if B .8, then I .7, and no third: .6 is not I; outside: entropy
    rows: Table = [[0.9, 0.05, 0.05], [0.1, 0.8, 0.1], [0.2, 0.1, 0.7], [0.5, 0.1, 0.4]]
    outside = u_of("entropy", rows[:1]) + u_of("entropy", rows[3:])
    expected = (3 * math.sqrt(1 - 0.8 * 0.7 * 0.6) + outside) / 4 ** (1 / 3)
    assert u_of("spans", rows) == pytest.approx(expected)


def test_an_entity_at_the_end_of_a_document_goes_on_nowhere() -> None:
    # the next document begins with a likely continuation, which is none of this entity's
    rows = np.array([[0.1, 0.9, 0.0], [0.3, 0.0, 0.7]])
    first, second = SCORES["spans"](rows, np.array([0, 1, 2]))
    assert first / (1 - first) == pytest.approx(3 * math.sqrt(1 - 0.9))
    assert second / (1 - second) == pytest.approx(3 * math.sqrt(1 - 0.7))


def test_two_entities_side_by_side_are_doubted_apart() -> None:
    rows: Table = [[0, 1, 0, 0, 0], [0, 0, 0, 0.6, 0.4], [0, 0, 0.2, 0, 0.8]]  # type 0; type 1, which goes on
    assert u_of("spans", rows) == pytest.approx(3 * math.sqrt(1 - 0.6 * 0.8) / 3 ** (1 / 3))


@given(st.integers(1, 30))
def test_an_entity_is_wrong_only_once_however_many_of_its_words_waver(words: int) -> None:
    rows: Table = [[0, 0.6, 0.4]] + [[0, 0.4, 0.6]] * words
    assert u_of("spans", rows) * (words + 1) ** (1 / 3) <= 3 + 1e-9
    assert u_of("boundary", rows) * math.sqrt(words + 1) > words * 0.5


@given(documents())
def test_an_entitys_doubt_is_shared_out_among_its_words(example: tuple[Rows, NDArray[np.int64]]) -> None:
    rows, offsets = example
    each = uncertainty._span_contributions(rows, offsets)
    assert (each >= 0).all()
    scores = SCORES["spans"](rows, offsets)
    sums = [each[start:stop].sum() for start, stop in pairwise(offsets)]
    np.testing.assert_allclose(scores / (1 - scores), sums, atol=1e-9)


def test_entropy_margin_least_confidence_and_mnlp_by_hand() -> None:
    rows: Table = [[0.5, 0.5, 0], [0.7, 0.2, 0.1], [1, 0, 0], [1, 0, 0]]
    second = -(0.7 * math.log(0.7) + 0.2 * math.log(0.2) + 0.1 * math.log(0.1)) / math.log(3)
    assert u_of("entropy", rows) == pytest.approx((HALF + second) / 2)
    assert u_of("margin", rows) == pytest.approx((1 + 0.5) / 2)
    assert u_of("least_confidence", rows) == pytest.approx((0.5 + 0.3) / 2)
    assert u_of("mnlp", rows) == pytest.approx(-(math.log(0.5) + math.log(0.7)) / 4)


def test_the_default_is_the_designs_formula() -> None:
    assert SCORES[DEFAULT] is uncertainty.spans


@pytest.mark.parametrize("name", SCORES)
@given(example=documents())
def test_scores_lie_in_zero_to_one_and_documents_without_words_have_zero(
    name: str, example: tuple[Rows, NDArray[np.int64]]
) -> None:
    rows, offsets = example
    for dtype in (np.float64, np.float32):
        scores = SCORES[name](rows.astype(dtype), offsets)
        assert scores.shape == (len(offsets) - 1,)
        assert scores.dtype == np.float64
        assert ((scores >= 0) & (scores < 1)).all()
        assert (scores[np.diff(offsets) == 0] == 0).all()


@pytest.mark.parametrize("name", SCORES)
@given(example=documents())
def test_a_documents_score_does_not_depend_on_its_neighbours(
    name: str, example: tuple[Rows, NDArray[np.int64]]
) -> None:
    rows, offsets = example
    together = SCORES[name](rows, offsets)
    alone = [SCORES[name](rows[start:stop], np.array([0, stop - start]))[0] for start, stop in pairwise(offsets)]
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("name", ROOTED)
@given(example=documents(least=1), front=st.booleans())
def test_a_certain_o_word_at_either_end_never_raises_a_score(
    name: str, example: tuple[Rows, NDArray[np.int64]], front: bool
) -> None:
    rows = example[0][: example[1][1]]
    certain = np.eye(rows.shape[1])[:1]
    longer = np.concatenate((certain, rows) if front else (rows, certain))
    before = SCORES[name](rows, np.array([0, len(rows)]))[0]
    assert SCORES[name](longer, np.array([0, len(longer)]))[0] <= before + 1e-12


@pytest.mark.parametrize("name", ["entropy", "margin", "least_confidence", "mnlp"])
@given(example=documents(least=1))
def test_nothing_is_less_sure_than_a_tie_of_all_tags_in_every_word(
    name: str, example: tuple[Rows, NDArray[np.int64]]
) -> None:
    rows, offsets = example
    tie = np.full_like(rows, 1 / rows.shape[1])
    assert (SCORES[name](rows, offsets) <= SCORES[name](tie, offsets) + 1e-12).all()


@pytest.mark.parametrize("name", SCORES)
def test_a_certain_document_has_zero(name: str) -> None:
    assert SCORES[name](np.eye(3)[[0, 1, 2, 0]], np.array([0, 4]))[0] == 0


@given(documents())
def test_the_contributions_of_a_documents_words_add_up_to_its_u(example: tuple[Rows, NDArray[np.int64]]) -> None:
    rows, offsets = example
    each = word_contributions(rows, offsets)
    scores = SCORES[DEFAULT](rows, offsets)
    sums = [each[start:stop].sum() for start, stop in pairwise(offsets)]
    assert each.shape == (len(rows),)
    np.testing.assert_allclose(scores / (1 - scores), sums, atol=1e-12)


@pytest.mark.parametrize("offsets", [[], [1, 2], [0, 3], [0, 2, 1, 2]])
def test_offsets_that_do_not_fit_are_a_mistake(offsets: list[int]) -> None:
    with pytest.raises(ValueError, match="offsets"):
        SCORES[DEFAULT](np.full((2, 3), 1 / 3), np.array(offsets, dtype=np.int64))


def test_an_even_number_of_tags_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="shape"):
        SCORES[DEFAULT](np.full((2, 2), 0.5), np.array([0, 2]))


@pytest.mark.parametrize("name", SCORES)
def test_no_documents_have_no_scores(name: str) -> None:
    assert SCORES[name](np.zeros((0, 3)), np.array([0])).shape == (0,)


@pytest.mark.parametrize("name", SCORES)
def test_a_head_without_labels_is_always_sure(name: str) -> None:
    assert SCORES[name](np.ones((2, 1)), np.array([0, 2]))[0] == 0


@st.composite
def decisions(draw: st.DrawFn) -> tuple[Rows, NDArray[np.int64]]:
    """Single choices of k labels, or several choices as rows of no and yes; some texts cannot be read."""
    k = draw(st.integers(2, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    readable = rng.random(draw(st.integers(1, 6))) < 0.8
    several = draw(st.booleans())
    sizes = readable * (k if several else 1)
    rows = rng.dirichlet(np.full(2 if several else k, draw(st.sampled_from([0.05, 0.5, 5.0]))), int(sizes.sum()))
    return rows, np.concatenate(([0], np.cumsum(sizes)))


@pytest.mark.parametrize("name", CHOICE_SCORES)
@given(drawn=decisions())
def test_choices_are_scored_from_0_to_1_and_each_text_by_itself(
    name: str, drawn: tuple[Rows, NDArray[np.int64]]
) -> None:
    rows, offsets = drawn
    scores = CHOICE_SCORES[name](rows, offsets)
    assert scores.shape == (len(offsets) - 1,)
    assert ((scores >= 0) & (scores < 1)).all()
    for score, (first, stop) in zip(scores, pairwise(offsets), strict=True):
        alone = CHOICE_SCORES[name](rows[first:stop], np.array([0, stop - first]))
        assert score == alone[0]
        assert stop > first or score == 0


@pytest.mark.parametrize(
    ("name", "row", "expected"),
    [
        ("entropy", [0.5, 0.5, 0.0], HALF),
        ("margin", [0.7, 0.2, 0.1], 0.5),
        ("least_confidence", [0.7, 0.2, 0.1], 0.45),
    ],
)
def test_a_single_choice_by_hand(name: str, row: list[float], expected: float) -> None:
    assert CHOICE_SCORES[name](np.array([row]), np.array([0, 1]))[0] == pytest.approx(expected)


@pytest.mark.parametrize("name", CHOICE_SCORES)
def test_a_certain_choice_has_0_and_a_tie_of_all_nearly_1(name: str) -> None:
    for k in (2, 3, 77):
        rows = np.stack([np.eye(k)[0], np.full(k, 1 / k)])
        sure, tied = CHOICE_SCORES[name](rows.astype(np.float32), np.array([0, 1, 2]))
        assert sure == pytest.approx(0, abs=1e-6)
        assert 0.999 < tied < 1


@pytest.mark.parametrize("name", CHOICE_SCORES)
def test_several_choices_have_the_mean_of_their_labels(name: str) -> None:
    rows = np.array([[0.5, 0.5], [1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    assert CHOICE_SCORES[name](rows, np.array([0, 4]))[0] == pytest.approx(0.5)


@pytest.mark.parametrize("name", CHOICE_SCORES)
def test_choices_of_a_shape_that_is_none_are_refused(name: str) -> None:
    for rows in (np.ones((2, 1)), np.ones(2)):
        with pytest.raises(ValueError, match="two answers or more"):
            CHOICE_SCORES[name](rows, np.array([0, 2]))
    with pytest.raises(ValueError, match="offsets do not rise"):
        CHOICE_SCORES[name](np.ones((2, 2)), np.array([0, 1]))


def test_the_default_for_choices_is_one_of_them() -> None:
    assert CHOICE_DEFAULT in CHOICE_SCORES
