"""How long people needed for the examples that snapshots share."""

import pytest

from edgewise.verbs.numbers.taught import Examples, minutes

TIMES = {10: 30.0, 20: 60.0, 21: 60.0, 30: 90.0}


def test_a_snapshot_takes_what_its_examples_took_and_each_example_all_its_annotations() -> None:
    examples = Examples()
    first = examples.marks([(1, (10,)), (2, (20, 21))])
    second = examples.marks([(3, (30,)), (1, (10,))])
    seconds = examples.seconds(TIMES)
    assert (minutes(first, seconds), minutes(second, seconds)) == (2.5, 2.0)


def test_the_same_task_with_other_annotations_is_another_example() -> None:
    examples = Examples()
    before, after = examples.marks([(1, (10,))]), examples.marks([(1, (30,))])
    seconds = examples.seconds(TIMES)
    assert (minutes(before, seconds), minutes(after, seconds)) == (0.5, 1.5)


def test_times_that_change_later_count_at_once() -> None:
    examples = Examples()
    marks = examples.marks([(1, (10,))])
    assert minutes(marks, examples.seconds(TIMES)) == 0.5
    assert minutes(marks, examples.seconds({10: 60.0})) == 1.0


@pytest.mark.parametrize(("known", "told"), [(0, None), (4, None), (5, 10.0), (10, 10.0)])
def test_half_of_the_times_tell_the_time_of_all_and_less_tell_nothing(known: int, told: float | None) -> None:
    examples = Examples()
    marks = examples.marks([(task, (task,)) for task in range(10)])
    assert minutes(marks, examples.seconds(dict.fromkeys(range(known), 60.0))) == told


def test_a_snapshot_without_examples_took_nobody_knows_how_long() -> None:
    examples = Examples()
    assert minutes(examples.marks([]), examples.seconds(TIMES)) is None
