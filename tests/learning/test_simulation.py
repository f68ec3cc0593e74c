"""Replays of the loop with a tiny encoder: the same again, cut off or not, and fair to every strategy."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import uncertainty
from edgewise.errors import DataError
from edgewise.labels.spans import Document, Span
from edgewise.learning import simulation
from edgewise.learning.evaluation import evaluate
from edgewise.learning.simulation import Cell, Course, Learnt, Score, fresh, play_round, play_seed, sizes_of
from edgewise.learning.training import Recipe
from tests.learning.conftest import HEAD, TINY_LENGTH, TOPIC, chosen

SCORES: dict[str, Score | None] = {"random": None, "boundary": uncertainty.boundary}
CARELESS = Recipe(learning_rate=1e-3, epochs=1, max_length=TINY_LENGTH)


@pytest.fixture
def course(documents: list[Document], tiny_base: Path) -> Course:
    """Eighty sentences to choose from and twenty to test with, taught for a moment."""
    mixed = [documents[i] for i in np.random.default_rng(1).permutation(len(documents))]
    return Course(tuple(mixed[:80]), tuple(mixed[80:]), HEAD, str(tiny_base), CARELESS, (8, 14, 20))


def played(course: Course, cells: list[Cell]) -> dict[str, Cell]:
    """Every cell as it ended."""
    return {cell["strategy"]: cell for cell in play_seed(course, cells, SCORES, lambda done: None)}


def told(cell: Cell) -> list[object]:
    """All that a cell says but for how long it took."""
    records = [{k: v for k, v in record.items() if k != "seconds"} for record in cell["records"]]
    return [records, cell["labelled"], cell["next"], cell["said"]]


def test_a_round_labels_more_and_never_twice(course: Course) -> None:
    ends = played(course, [fresh("random", 0), fresh("boundary", 0)])
    for cell in ends.values():
        assert [record["labelled"] for record in cell["records"]] == [8, 14, 20]
        assert [record["round"] for record in cell["records"]] == [0, 1, 2]
        assert len(set(cell["labelled"])) == len(cell["labelled"]) == 20
        assert not set(cell["next"]) & set(cell["labelled"])
        assert cell["records"][0]["changed"] is None
        assert all(0 <= (record["changed"] or 0) <= 1 for record in cell["records"])
    assert ends["random"]["labelled"][:8] == ends["boundary"]["labelled"][:8]
    assert ends["random"]["labelled"] != ends["boundary"]["labelled"]
    assert ends["random"]["records"][0]["test"] == ends["boundary"]["records"][0]["test"]


def test_a_cell_that_was_cut_off_comes_out_as_if_it_had_never_stopped(course: Course) -> None:
    seen: list[float] = []
    rounds = list(play_seed(course, [fresh("boundary", 3)], SCORES, seen.append))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    resumed = list(play_seed(course, [rounds[0]], SCORES, lambda done: None))
    assert told(resumed[-1]) == told(rounds[-1])
    short = list(play_seed(replace(course, sizes=(8, 14)), [rounds[0]], SCORES, lambda done: None))[-1]
    longer = list(play_seed(course, [short], SCORES, lambda done: None))[-1]
    assert told(longer) == told(rounds[-1])  # more rounds can be added to a cell that has ended


def test_the_hardest_are_chosen_by_the_strategy_that_was_handed_in(course: Course) -> None:
    lengths = [len(one.text.split()) for one in course.pool]
    cell = play_round(course, fresh("longest", 0), longest, learning(course))
    assert lengths[cell["next"][0]] == max(lengths[i] for i in set(range(80)) - set(cell["labelled"]))


def longest(probabilities: NDArray[Any], offsets: NDArray[Any]) -> NDArray[Any]:
    """As if long texts were hard."""
    return np.diff(offsets).astype(float)


def learning(course: Course) -> Callable[..., Learnt]:
    """How a round's model is taught."""
    return lambda seed, labelled: simulation.learn_from(course, labelled, seed, lambda done: None)


def test_the_score_is_the_one_that_every_other_number_of_ours_is(course: Course, documents: list[Document]) -> None:
    said = [document.spans[:1] for document in documents]
    counts = simulation.counts_of(documents, said, HEAD)
    gold = [document.spans for document in documents]
    scores = evaluate([document.text for document in documents], gold, said, HEAD)
    assert simulation.score_of(counts) == pytest.approx(scores.overall.f1)


def test_of_a_single_choice_the_score_is_the_accuracy(documents: list[Document]) -> None:
    topics = chosen(documents, TOPIC)
    said: list[tuple[Span, ...]] = [() if i % 4 == 0 else one.spans for i, one in enumerate(topics)]
    assert simulation.score_of(simulation.counts_of(topics, said, TOPIC)) == pytest.approx(0.75)


def test_a_seed_that_begins_without_a_label_is_refused(course: Course) -> None:
    bare = replace(course, pool=tuple(Document(one.text, ()) for one in course.pool))
    with pytest.raises(DataError, match="8 documents that seed 0 begins with"):
        list(play_seed(bare, [fresh("random", 0)], SCORES, lambda done: None))


def test_sizes_rise_evenly_from_the_first_to_the_last() -> None:
    assert sizes_of(20, 400, 3) == (20, 210, 400)
    assert sizes_of(2, 4, 9) == (2, 3, 4)


def test_what_changed_is_counted_on_documents_that_are_still_open() -> None:
    left = np.array([0, 2])
    assert simulation.share_changed(["a", "b", "c"], ["a", "x", "d"], left) == 0.5
    assert simulation.share_changed([], ["a"], left) is None
