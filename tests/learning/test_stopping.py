"""The record of the advice to stop, on made-up runs whose end is known."""

from typing import Any

import numpy as np
import pytest

from edgewise.learning.stopping import stop_record

Json = dict[str, Any]


def run(
    sizes: list[int], scores: list[float], *, seed: int = 0, strategy: str = "random", changed: float = 0.0
) -> Json:
    """Rounds with such accuracies on the same 400 test documents."""
    hard = np.random.default_rng(seed).permutation(400) / 400
    records = []
    for number, (size, score) in enumerate(zip(sizes, scores, strict=True)):
        counts = [[1, 0, 0] if one < score else [0, 1, 1] for one in hard]
        test = {"score": float((hard < score).mean()), "counts": counts}
        records.append(
            {"strategy": strategy, "seed": seed, "round": number, "labelled": size, "test": test, "changed": changed}
        )
    return {"full": max(scores), "pool": sizes[-1], "cells": records[::-1]}


def long_and_flat(**named: Any) -> Json:
    sizes = list(range(100, 2100, 100))
    return run(sizes, [0.8 - 0.4 * (100 / size) ** 2 for size in sizes], **named)


def test_a_run_that_has_flattened_is_stopped_and_not_too_early() -> None:
    (record,) = stop_record(long_and_flat(), audit=(200,), draws=5, rng=np.random.default_rng(0))
    assert (record.strategy, record.audit, record.runs) == ("random", 200, 5)
    assert (record.stopped, record.too_early) == (5, 0)
    assert record.stopped_at is not None
    assert record.stopped_at < 2000
    assert record.mean_lost == pytest.approx(0, abs=0.01)


def test_a_stop_below_the_score_of_all_labels_counts_as_too_early() -> None:
    run_to_come = long_and_flat() | {"full": 0.9}
    (record,) = stop_record(run_to_come, audit=(200,), draws=5, rng=np.random.default_rng(0))
    assert record.too_early == record.stopped == 5
    own = run_to_come | {"everything": [{"seed": 0, "test": {"score": 0.79}}]}
    (record,) = stop_record(own, audit=(200,), draws=5, rng=np.random.default_rng(0))
    assert record.too_early == 0, "the score by the run's own seed comes first"


def test_nobody_stops_while_the_curve_rises_or_predictions_still_change() -> None:
    sizes = list(range(20, 220, 20))
    rising = run(sizes, [0.9 - 2.0 * size**-0.5 for size in sizes])
    for runs in (rising, long_and_flat(changed=0.5)):
        (record,) = stop_record(runs, audit=(100,), draws=5, rng=np.random.default_rng(0))
        assert (record.stopped, record.stopped_at, record.mean_lost) == (0, None, None)


def test_it_is_counted_how_often_more_came_than_was_said() -> None:
    (record,) = stop_record(long_and_flat(), audit=(200,), draws=5, rng=np.random.default_rng(0))
    assert record.advices == 5 * (20 - 2 - 1), "from the third round to the last but one"
    assert record.above is not None
    assert record.above < 0.1
    assert record.bias == pytest.approx(0, abs=0.01)


def test_each_strategy_and_size_has_a_line_and_too_few_test_documents_have_none() -> None:
    two = long_and_flat()
    two["cells"] += long_and_flat(strategy="margin", seed=1)["cells"]
    found = stop_record(two, audit=(50, 100, 500), draws=1, rng=np.random.default_rng(0))
    assert [(one.strategy, one.audit) for one in found] == [
        ("margin", 50), ("margin", 100), ("random", 50), ("random", 100)
    ]  # fmt: skip
