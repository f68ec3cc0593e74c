"""Scores with intervals, and advice from curves: on made-up versions whose true curve is known."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewise.labels.schema import Head
from edgewise.labels.spans import Span, on_whole
from edgewise.learning import progress
from edgewise.learning.evaluation import evaluate
from edgewise.learning.progress import advise, bounds, growth, measure_of, per_label, point, score_of, tallies

Array = npt.NDArray[np.float64]
Answers = list[tuple[Span, ...]]
SPANS = Head("label", "text", "text", ("PER", "LOC"), kind="spans")
CHOICE = Head("topic", "text", "text", ("a", "b", "c"), kind="choice")
MANY = Head("topic", "text", "text", tuple(f"l{i}" for i in range(77)), kind="choice")
TEXT = "Ada met Bo in Rome ."
WORDS = ((0, 3), (8, 10), (14, 18))


def documents(seed: int, many: int) -> tuple[Answers, Answers]:
    """Gold and answers about TEXT, right more often than not."""
    rng = np.random.default_rng(seed)

    def draw() -> tuple[Span, ...]:
        return tuple(Span(*place, str(rng.choice(SPANS.labels))) for place in WORDS if rng.random() < 0.7)

    gold = [draw() for _ in range(many)]
    return gold, [spans if rng.random() < 0.6 else draw() for spans in gold]


@settings(deadline=None)  # the first call imports seqeval
@given(st.integers(0, 10**6), st.integers(1, 30))
def test_the_score_is_the_strict_f1_that_evaluate_gives(seed: int, many: int) -> None:
    gold, said = documents(seed, many)
    scores = evaluate([TEXT] * many, gold, said, SPANS)
    assert score_of(tallies(gold, said, SPANS, progress.F1)) == pytest.approx(scores.overall.f1)
    assert score_of(tallies(gold, said, SPANS, progress.MACRO_F1)) == pytest.approx(scores.macro_f1)
    for label, (f1, support) in per_label(gold, said, SPANS).items():
        assert f1 == pytest.approx(scores.per_label[label].f1)
        assert support == scores.per_label[label].support


def choices(rng: np.random.Generator, head: Head, many: int, right: float) -> tuple[Answers, Answers]:
    """Gold and answers with one label each."""

    def draw() -> tuple[Span, ...]:
        return (on_whole(TEXT, str(rng.choice(head.labels))),)

    gold = [draw() for _ in range(many)]
    return gold, [one if rng.random() < right else draw() for one in gold]


def test_choices_are_measured_by_macro_f1_and_by_accuracy_while_most_labels_are_too_rare() -> None:
    gold, said = choices(np.random.default_rng(0), MANY, 100, 0.7)
    scores = evaluate([TEXT] * 100, gold, said, MANY)
    assert measure_of(SPANS, 10) == progress.F1
    assert measure_of(CHOICE, 60) == progress.MACRO_F1
    assert measure_of(MANY, 100) == progress.ACCURACY
    found = point(gold, said, MANY, rng=np.random.default_rng(0))
    assert found is not None
    assert found.value == pytest.approx(scores.accuracy)
    assert score_of(tallies(gold, said, MANY, progress.MACRO_F1)) == pytest.approx(scores.macro_f1)


def test_the_interval_of_one_version_is_the_same_alone_and_among_others() -> None:
    gold, said = documents(1, 80)
    found = point(gold, said, SPANS, rng=np.random.default_rng(0))
    counted = tallies(gold, said, SPANS, progress.F1)
    other = tallies(gold, gold, SPANS, progress.F1)
    (low, high), _ = bounds(np.stack([counted, other]), rng=np.random.default_rng(0))
    assert found is not None
    assert low == pytest.approx(found.low, abs=0.01)
    assert high == pytest.approx(found.high, abs=0.01)


def test_without_anything_to_score_there_is_no_interval() -> None:
    assert point([()], [()], SPANS, rng=np.random.default_rng(0)) is None
    assert score_of(tallies([()], [()], SPANS, progress.F1)) == 0.0
    assert bounds(np.zeros((1, 5, 1, 2)), rng=np.random.default_rng(0)) == [(0.0, 0.0)]


def made(rng: np.random.Generator, scores: Array, tasks: int, noise: float = 0.01) -> Array:
    """Versions with such true scores on the same tasks, some of which are harder than others, (k, tasks, 1, 2)."""
    hard = rng.uniform(size=tasks)
    met = np.clip(scores + rng.normal(0, noise, len(scores)), 0, 1)
    right = (hard[None, :] < met[:, None]).astype(np.float64)
    return np.stack([right, 1 - right], axis=-1)[:, :, None, :]


def true_curve(sizes: npt.ArrayLike, drop: float) -> Array:
    return np.asarray(0.85 - drop * np.asarray(sizes, dtype=np.float64) ** -0.5)


def evenly(steps: int) -> list[int]:
    """So many sizes from 40 to 400."""
    return [round(float(size)) for size in np.linspace(40, 400, steps)]


@pytest.mark.parametrize("steps", [4, 12])
def test_the_interval_of_the_gain_holds_the_true_gain(steps: int) -> None:
    rng = np.random.default_rng(3)
    held = []
    for number in range(120):
        sizes = evenly(steps)
        drop = (1.0, 3.0)[number % 2]
        truth = float(true_curve(500, drop) - true_curve(400, drop))
        counted = made(rng, true_curve(sizes, drop), 100)
        found = advise(sizes, counted, more=100, rest=500, changed=None, rng=rng)
        assert found is not None
        assert 0 <= found.low <= found.gain <= found.high <= 1
        held.append(found.low <= truth <= found.high)
    assert np.mean(held) >= 0.9, np.mean(held)


def test_fewer_tasks_and_fewer_versions_make_it_less_certain() -> None:
    def width(tasks: int, steps: int) -> float:
        sizes = evenly(steps)
        rngs = [np.random.default_rng(seed) for seed in range(20)]
        found = [
            advise(sizes, made(rng, true_curve(sizes, 2.0), tasks), more=100, rest=500, changed=None, rng=rng)
            for rng in rngs
        ]
        return float(np.mean([one.high - one.low for one in found if one]))

    assert width(50, 10) > width(500, 10)
    assert width(200, 3) > width(200, 20)


def test_one_may_stop_on_a_long_flat_curve_and_not_while_predictions_still_change() -> None:
    sizes = np.arange(100, 2100, 100)
    flat = made(np.random.default_rng(0), np.full(20, 0.8), 300, noise=0.003)
    rng = np.random.default_rng(0)
    found = [
        advise(sizes.tolist(), flat, more=100, rest=500, changed=changed, rng=rng) for changed in (None, 0.02, 0.4)
    ]
    assert [one.stop for one in found if one] == [True, True, False]


def test_a_steep_curve_goes_on() -> None:
    sizes = np.array([20, 40, 80, 120, 160])
    steep = made(np.random.default_rng(0), true_curve(sizes, 2.5), 200)
    found = advise(sizes.tolist(), steep, more=100, rest=500, changed=0.0, rng=np.random.default_rng(0))
    assert found is not None
    assert not found.stop
    assert found.gain > 0.01


@pytest.mark.parametrize("sizes", [[50], [50, 100], [50, 50, 100], [10, 20, 1000]])
def test_too_few_versions_of_late_tell_nothing(sizes: list[int]) -> None:
    counted = made(np.random.default_rng(0), np.full(len(sizes), 0.7), 60)
    assert advise(sizes, counted, more=100, rest=500, changed=None, rng=np.random.default_rng(0)) is None


@given(st.lists(st.integers(1, 5000), min_size=3, max_size=8, unique=True), st.integers(0, 1000))
def test_growth_is_never_negative_and_more_labels_never_add_less(sizes: list[int], seed: int) -> None:
    some = np.sort(np.asarray(sizes, dtype=np.float64))
    scores = np.random.default_rng(seed).uniform(size=(50, len(some)))
    less, more = growth(some, scores, more=(100, 300), rng=np.random.default_rng(seed))
    assert np.isfinite(less).all()
    assert (less >= 0).all()
    assert (more >= less).all()
