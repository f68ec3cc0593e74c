"""What a recipe becomes: explicit numbers are obeyed, `auto` goes by size, labels, documents and time."""

import math

import pytest

from edgewise.learning.training.loop import Pace
from edgewise.learning.training.recipe import Material, Plan, Recipe, plan


def material(windows: int, *, size: int = 22_000_000, seconds: float | None = None) -> Material:
    return Material("spans", size, 6, windows, windows, 4, seconds)


def test_explicit_numbers_are_obeyed() -> None:
    why = "80 windows: all layers learn, the word embeddings rest"
    assert plan(Recipe(learning_rate=2e-5, epochs=3), material(80)) == Plan("freeze:0", 2e-5, 30, 0, None, why, 5)
    assert plan(Recipe(learning_rate=2e-5, epochs=0.001), material(80)).steps == 1
    assert plan(Recipe(strategy="freeze:4", patience=2), material(80)).resting == 4
    assert plan(Recipe(strategy="freeze:4", patience=2), material(80)).patience == 2
    assert plan(Recipe(strategy="full"), material(80)).resting is None


def test_auto_goes_by_the_size_of_the_encoder_and_the_number_of_windows() -> None:
    small, large = plan(Recipe(), material(200)), plan(Recipe(), material(200, size=110_000_000))
    assert (small.learning_rate, small.strategy, small.resting) == (3e-4, "freeze:2", 2)
    assert (large.learning_rate, large.strategy, large.resting) == (5e-5, "freeze:0", 0)
    steps = [plan(Recipe(), material(windows)).steps for windows in (1, 100, 400, 1_000, 10_000)]
    assert steps == [200, 200, 400, 800, 3750]
    assert plan(Recipe(), material(10_000)).resting == 0


def test_auto_teaches_only_the_head_where_the_time_is_far_from_enough() -> None:
    hurried = Recipe(minutes=1)
    assert plan(hurried, material(200, seconds=0.1)).strategy == "freeze:2"
    found = plan(hurried, material(200, seconds=10.0))
    assert (found.strategy, found.steps) == ("features", 0)
    assert "1 minutes are not enough" in found.why


@pytest.mark.parametrize(
    ("documents", "told_apart", "seconds", "strategy", "why"),
    [
        (200, None, None, "features", "200 texts: too few to teach an encoder more than its features tell"),
        (900, 0.93, None, "features", "900 texts: the encoder's features tell 12 labels apart (0.93)"),
        (900, 0.71, None, "freeze:2", "900 windows: the lower third of a small encoder may rest"),
        (900, 0.71, 9.0, "features", "2 minutes are not enough to fine-tune on 900 texts"),
        (900, 0.71, 0.1, "freeze:2", "900 windows: the lower third of a small encoder may rest"),
    ],
)
def test_auto_fine_tunes_for_choices_only_where_features_do_not_tell_them_apart_and_there_is_time(
    documents: int, told_apart: float | None, seconds: float | None, strategy: str, why: str
) -> None:
    given = Material("choice", 22_000_000, 6, documents, documents, 12, seconds, told_apart)
    found = plan(Recipe(minutes=2 if seconds else None), given)
    assert (found.strategy, found.why) == (strategy, why)
    assert found.patience == (None if strategy == "features" else 3)


def test_the_learning_rate_rises_for_a_tenth_of_the_steps_and_falls_to_nothing() -> None:
    pace = Pace(100, math.inf)
    factors = [pace.factor(step) for step in range(101)]
    assert factors[0] == 0
    assert max(factors) == factors[10] == 1
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[100] == 0


def test_where_the_time_is_short_the_learning_rate_still_falls_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 10.0
    monkeypatch.setattr("edgewise.learning.training.loop.time.monotonic", lambda: now)
    pace = Pace(1_000, ends_at=100.0)
    for step in range(1, 12):  # the first was done after 10 s, the others take 3 s each
        pace.after(step)
        now += 3
    assert (pace.steps, pace.note) == (11 + 20, "the time was over")
    assert pace.factor(31) == 0
    now = 41.0
    pace.after(33)  # the neighbours have gone, and steps are faster than that
    assert pace.steps > 31


def test_where_the_time_is_over_training_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgewise.learning.training.loop.time.monotonic", lambda: 101.0)
    pace = Pace(1_000, ends_at=100.0)
    pace.after(3)
    assert (pace.steps, pace.note) == (3, "the time was over")
