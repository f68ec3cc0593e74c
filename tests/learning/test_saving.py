"""What random order would have needed: curves find what they were drawn from, subsets look random, no is an answer."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import uncertainty
from edgewise.labels.spans import Document
from edgewise.learning import saving
from edgewise.learning.saving import Point, Question, Strata, estimate, merged, needed, needed_by, subset
from edgewise.learning.simulation import counts_of
from edgewise.learning.training import Recipe
from tests.learning.conftest import HEAD, TINY_LENGTH

Ints = saving.Ints


def counts_with(score: float, n: int, rng: np.random.Generator, gold: int = 4) -> Ints:
    """Counts of n documents with so many gold spans each, an F1 of about `score`, as many wrong as missed."""
    right = rng.binomial(gold, score, n)
    return np.stack([right, gold - right, gold - right], axis=1)


def score_at(labels: float) -> float:
    """A learning curve of the form that is looked for: odds of 0.1 · labels^0.5."""
    odds = 0.1 * math.sqrt(labels)
    return odds / (1 + odds)


def test_the_curve_finds_the_labels_that_its_points_were_drawn_from() -> None:
    inside = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        sizes = np.array([40, 40, 80, 80, 160, 160])
        counts = np.stack([counts_with(score_at(size), 300, rng) for size in sizes])
        found = needed(sizes, counts, counts_with(score_at(320), 300, rng), rng, draws=300)
        assert found.low <= found.labels <= found.high
        inside += found.low <= 320 <= found.high
    assert inside >= 32  # of 40, nominally 36


def test_a_label_that_is_there_twice_counts_for_more_than_one_and_less_than_two() -> None:
    rng = np.random.default_rng(0)
    points = [Point(size, size * 3 // 4, counts_with(score_at(size), 400, rng)) for size in (40, 80, 160)]
    target = counts_with(score_at(300), 400, rng)
    found = needed_by(points, target, rng)
    counts = np.stack([one.counts for one in points])
    each = needed(np.array([40, 80, 160]), counts, target, rng)
    assert found.labels == pytest.approx(each.labels * math.sqrt(3 / 4))
    assert found.low < each.low < each.high * 1.05
    assert found.high == pytest.approx(each.high, rel=0.1)


def test_a_curve_that_does_not_rise_never_gets_there() -> None:
    rng = np.random.default_rng(0)
    sizes = np.array([40, 80, 160])
    counts = np.stack([counts_with(score, 300, rng) for score in (0.6, 0.5, 0.4)])
    assert needed(sizes, counts, counts_with(0.7, 300, rng), rng, draws=100).labels == math.inf


def test_a_subset_has_the_proportions_of_the_pool() -> None:
    strata = Strata(np.array([0.6, 0.3, 0.1]), [np.arange(10), np.arange(10, 40), np.arange(40, 140)])
    assert strata.largest == 50
    drawn = subset(strata, 50, np.random.default_rng(0))
    assert [int(((drawn >= a) & (drawn < b)).sum()) for a, b in ((0, 10), (10, 40), (40, 140))] == [30, 15, 5]
    assert np.bincount(drawn).max() == 3
    assert len(subset(strata, 17, np.random.default_rng(0))) == 17


def test_labels_that_are_random_weigh_their_number() -> None:
    strata = Strata(np.array([0.5, 0.5]), [np.arange(20), np.arange(20, 40)])
    assert strata.effective == pytest.approx(40)
    assert strata.largest == 40


def test_strata_without_labels_enough_are_one_with_their_neighbour() -> None:
    found = merged([0.25] * 4, [[0], list(range(1, 10)), list(range(10, 20)), [20]])
    assert found.shares.tolist() == [0.5, 0.5]
    assert [len(one) for one in found.members] == [10, 11]
    alone = merged([0.5, 0.5], [[0], [1]])
    assert alone.shares.tolist() == [1.0]
    assert alone.members[0].tolist() == [0, 1]


@pytest.fixture
def question(documents: list[Document], tiny_base: Path) -> Question:
    """Thirty labelled sentences, as many open, sixty held out on which the serving model has half of all right."""
    mixed = [documents[i] for i in np.random.default_rng(1).permutation(len(documents))]
    held_out = (mixed[60:] * 2)[:60]
    return Question(
        taught=mixed[:30],
        open=[one.text for one in mixed[30:60]],
        held_out=held_out,
        target=counts_of(held_out, [one.spans[:1] for one in held_out], HEAD),
        head=HEAD,
        base=str(tiny_base),
        recipe=Recipe(learning_rate=5e-3, epochs=20, max_length=TINY_LENGTH),
        score=uncertainty.boundary,
    )


def test_an_estimate_says_what_it_rests_on(question: Question) -> None:
    seen: list[float] = []
    found = estimate(question, np.random.default_rng(0), seen.append, draws=1)
    assert seen == sorted(seen)
    assert found["labels"] == 30
    assert found["score"] == pytest.approx(2 / 3)
    assert [point["labels"] for point in found["points"]] == [10, 15, 30]
    assert sum(stratum["labels"] for stratum in found["strata"]) == 30
    assert sum(stratum["share"] for stratum in found["strata"]) == pytest.approx(1, abs=1e-3)
    assert found["told"] == (found["needed"] is not None)
    assert found["sentence"].endswith(".")


def test_few_held_out_tasks_are_said_to_be_too_few(question: Question) -> None:
    few = replace(question, held_out=question.held_out[:49], target=question.target[:49])
    found = estimate(few, np.random.default_rng(0), lambda done: None)
    assert not found["told"]
    assert "49 held-out tasks" in found["sentence"]


def test_labels_of_hard_tasks_alone_tell_nothing() -> None:
    lopsided = merged([0.1] * 10, [[0], *[[]] * 8, list(range(1, 60))])
    assert lopsided.largest == 60  # one stratum: what is in it decides
    hard = Strata(np.array([0.9, 0.1]), [np.arange(4), np.arange(4, 60)])
    assert hard.largest < saving.LEAST


def test_a_curve_is_not_followed_as_far_as_one_likes() -> None:
    far = saving.told(100, saving.Needed(900.0, 500.0, math.inf), largest=100)
    assert not far["told"]
    assert far["low"] == 500
    near = saving.told(100, saving.Needed(300.0, 200.0, math.inf), largest=100)
    assert near["told"]
    assert near["high"] is None
    assert "about 300 labels, at least 200" in near["sentence"]
    assert near["saved"] == pytest.approx(2 / 3)
