"""The arithmetic of benchmarks/labels_saved.py: areas, crossings, leads, and what is missing is said to be missing."""

from typing import Any

import numpy as np
import pytest

from benchmarks import labels_saved_page as page
from edgewise.learning.simulation import RANDOM, Record


def rounds(strategy: str, scores: list[float]) -> list[dict[str, Any]]:
    """A cell's rounds at 100, 200, … labels of ten words each."""
    records = [
        Record(
            strategy=strategy,
            seed=0,
            round=number,
            labelled=100 * (number + 1),
            tokens=1000 * (number + 1),
            test={"score": score, "counts": []},
            changed=None,
            seconds=0.0,
        )
        for number, score in enumerate(scores)
    ]
    return [page.short(record) for record in records]


def told() -> dict[str, Any]:
    """Random order and another one of a set whose end is known, and a third that nobody has played."""
    cells = [
        ("set", RANDOM, 0, rounds(RANDOM, [0.1, 0.2, 0.4, 0.5])),
        ("set", "ours", 0, rounds("ours", [0.1, 0.5, 0.3])),
        ("set", "other", 0, []),
    ]
    return page.loops(cells, {"set": {0: 0.5}}, (100, 200, 300, 400))


def test_a_strategy_is_compared_with_random_order_as_far_as_both_go() -> None:
    ours = told()["summary"][1]
    assert ours["area"] == [pytest.approx((0.3 + 0.4) / 2)]
    assert ours["gain"] == [pytest.approx(0.35 - (0.15 + 0.3) / 2)]
    assert ours["gain_tokens"] == pytest.approx(ours["gain"])  # all texts are of ten words
    assert ours["matched"] == [pytest.approx(175)]  # random order has 0.4 at 300
    assert ours["above"] == [pytest.approx(-0.1)]


def test_labels_for_a_share_of_the_full_score_are_read_off_the_line_and_0_where_it_is_not_reached() -> None:
    random, ours, _ = told()["summary"]
    assert random["labels"] == [[pytest.approx(350), pytest.approx(375), pytest.approx(395)]]
    assert ours["labels"][0][0] == pytest.approx(100 + 100 * (0.45 - 0.1) / 0.4, abs=0.1)
    assert page.reached([(100.0, 0.1), (200.0, 0.2)], 0.3) is None


def test_cells_that_nobody_has_played_are_shown_as_missing() -> None:
    text = page.page({"loops": told()})
    assert "1 are played to the end and 1 in part; 1 are missing" in text
    assert "| set | other | 0 | missing |" in text
    assert "| 400 | 0.500 (1) | missing | missing |" in text


def test_cells_played_under_the_rule_before_are_named() -> None:
    content = told() | {"before_centring": [["set", "ours", 0], ["set", "ours", 2], ["set", "other", 1]]}
    assert "in: set ours (seed 0, 2); set other (seed 1)." in page.page({"loops": content})
    assert "plain cosine" not in page.page({"loops": told()})


def test_the_others_are_compared_with_our_default_on_the_same_set_and_seed_as_far_as_both_go() -> None:
    cells = [
        ("one", "spans", 0, rounds("spans", [0.1, 0.5, 0.3])),
        ("one", "entropy", 0, rounds("entropy", [0.1, 0.4])),
        ("two", "spans", 0, rounds("spans", [0.1, 0.2])),
        ("two", "entropy", 0, rounds("entropy", [0.1, 0.3, 0.9])),
        ("two", "entropy", 1, rounds("entropy", [0.1, 0.3])),  # ours has not played it
        ("two", "mnlp", 0, rounds("mnlp", [0.1])),  # the round that all have in common
    ]
    lines = page.beside_ours(page.loops(cells, {"one": {}, "two": {}}, (100, 200, 300)))
    half = 12.706 * np.std([-5, 5], ddof=1) / np.sqrt(2)
    assert lines[2] == f"| entropy | 2 | 0.0 ± {half:.1f} | -5.0 | 5.0 |"
    assert lines[3] == "| mnlp | 0 | - | - | - |"


def test_the_interval_of_two_seeds_is_students() -> None:
    half = 12.706 * np.std([0.1, 0.2], ddof=1) / np.sqrt(2)
    assert page.told([0.1, 0.2, None]) == f"0.150 ± {half:.3f} (2 of 3 seeds)"
    assert page.told([0.1]) == "0.100"
