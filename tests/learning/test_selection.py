"""Orders are permutations that keep their promises; certainties make Label Studio serve them."""

import json
import math
import sqlite3
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgewise.learning.selection import SIMILAR, STRETCH, certainties, diverse_order, order, place

Floats = NDArray[np.float64]
SHARES = st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.9999999999999999, 1.0]) | st.floats(0, 1), max_size=40)


@st.composite
def pools(draw: st.DrawFn) -> tuple[Floats, Floats, NDArray[np.bool_], np.random.Generator]:
    """Uncertainty, embeddings with many doubles, audit mask."""
    n = draw(st.integers(0, 150))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kinds = rng.normal(size=(draw(st.integers(1, 60)), 8))
    kinds[0] = 0.0  # a text without an embedding
    kind = rng.integers(0, len(kinds), size=n)
    uncertainty = (rng.random(len(kinds)).round(1) * 0.99)[kind]
    return uncertainty, kinds[kind], rng.random(n) < draw(st.floats(0, 0.6)), rng


def _ordered(pool: tuple[Floats, Floats, NDArray[np.bool_], np.random.Generator], **how: object) -> NDArray[np.int64]:
    uncertainty, embeddings, audit, rng = pool
    options = {"audit_fraction": 0.1, "labelled": (0, 0), **how}
    return order(uncertainty, embeddings, audit=audit, rng=rng, **options)  # type: ignore[arg-type]  # mixed options


def _alike(embeddings: Floats) -> NDArray[np.bool_]:
    told = embeddings.any(axis=1, keepdims=True)
    embeddings = np.where(told, embeddings - embeddings.sum(axis=0) / max(1, told.sum()), 0.0)
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    unit = embeddings / np.where(norms > 0, norms, 1)
    similar: NDArray[np.bool_] = unit @ unit.T >= SIMILAR
    return similar


@settings(deadline=None)
@given(pool=pools(), fraction=st.floats(0.02, 0.49), done=st.integers(0, 200), share=st.floats(0, 1))
def test_an_order_has_every_task_once(
    pool: tuple[Floats, Floats, NDArray[np.bool_], np.random.Generator], fraction: float, done: int, share: float
) -> None:
    labelled = (done, int(done * share))
    found = _ordered(pool, audit_fraction=fraction, labelled=labelled)
    assert sorted(found.tolist()) == list(range(len(pool[0])))
    _, embeddings, audit, rng = pool
    cold = diverse_order(embeddings, audit=audit, audit_fraction=fraction, labelled=labelled, rng=rng)
    assert sorted(cold.tolist()) == list(range(len(pool[0])))


@settings(deadline=None)
@given(pool=pools(), fraction=st.floats(0.02, 0.49), done=st.integers(0, 200))
def test_every_beginning_of_an_order_keeps_the_audit_share_within_one_task(
    pool: tuple[Floats, Floats, NDArray[np.bool_], np.random.Generator], fraction: float, done: int
) -> None:
    done_audit = int(done * fraction)
    audit = pool[2]
    placed = audit[_ordered(pool, audit_fraction=fraction, labelled=(done, done_audit))]
    for k in range(1, len(placed) + 1):
        if placed[:k].sum() == audit.sum() or (~placed[:k]).sum() == (~audit).sum():
            break  # one kind has run out
        assert abs(done_audit + placed[:k].sum() - fraction * (done + k)) < 1 + 1e-6


def test_audit_tasks_that_are_behind_their_share_come_sooner_but_not_all_at_once() -> None:
    audit = np.arange(200) < 100
    rng = np.random.default_rng(0)
    ours = order(np.zeros(200), np.eye(200), audit=audit, audit_fraction=0.1, labelled=(50, 0), rng=rng)
    assert audit[ours][:14].tolist() == [True, False] * 6 + [False] * 2
    assert abs(audit[ours][:50].sum() - 10) <= 1


def test_audit_tasks_that_are_ahead_of_their_share_wait() -> None:
    audit = np.arange(200) < 100
    rng = np.random.default_rng(0)
    ours = order(np.zeros(200), np.eye(200), audit=audit, audit_fraction=0.1, labelled=(20, 5), rng=rng)
    assert not audit[ours][:39].any()
    assert audit[ours][39]


def test_audit_tasks_come_in_random_order_not_the_hardest_first() -> None:
    uncertainty = np.linspace(0, 0.99, 300)
    audit = np.arange(300) % 2 == 0
    options = {"audit": audit, "audit_fraction": 0.1, "labelled": (0, 0)}
    first, second = (
        order(uncertainty, np.eye(300), rng=np.random.default_rng(seed), **options)  # type: ignore[arg-type]
        for seed in (0, 1)
    )
    ranks = uncertainty[first[audit[first]]]
    assert abs(np.corrcoef(ranks, np.arange(len(ranks)))[0, 1]) < 0.3
    assert first.tolist() != second.tolist()
    assert first[~audit[first]].tolist() == second[~audit[second]].tolist() == np.flatnonzero(~audit)[::-1].tolist()


@settings(deadline=None)
@given(pool=pools())
def test_near_duplicates_stand_apart_as_long_as_something_else_is_left(
    pool: tuple[Floats, Floats, NDArray[np.bool_], np.random.Generator],
) -> None:
    uncertainty, embeddings, _, rng = pool
    nobody = np.zeros(len(uncertainty), dtype=bool)
    found = _ordered((uncertainty, embeddings, nobody, rng))
    alike = _alike(embeddings)
    for start in range(0, len(found), STRETCH):
        stretch, left = found[start : start + STRETCH], found[start + STRETCH :]
        barred = found[max(start - STRETCH, 0) : start + STRETCH]
        doubled = np.triu(alike[np.ix_(stretch, stretch)], 1).any()
        assert not doubled or alike[np.ix_(left, barred)].any(axis=1).all()


@settings(deadline=None)
@given(pool=pools(), share=st.floats(0, 1))
def test_urgent_tasks_come_before_all_others(
    pool: tuple[Floats, Floats, NDArray[np.bool_], np.random.Generator], share: float
) -> None:
    _, _, audit, rng = pool
    urgent = rng.random(len(audit)) < share
    sequence = _ordered(pool, urgent=urgent)
    first = urgent[sequence[~audit[sequence]]]
    assert sorted(sequence) == list(range(len(audit)))
    assert list(first) == sorted(first, reverse=True)


def test_a_thousand_copies_of_the_hardest_task_do_not_fill_the_top() -> None:
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(3000, 32))
    embeddings[:1000] = embeddings[0]
    uncertainty = np.where(np.arange(3000) < 1000, 0.9, 0.8 * rng.random(3000))
    nobody = np.zeros(3000, dtype=bool)
    ours = order(uncertainty, embeddings, audit=nobody, audit_fraction=0.1, labelled=(0, 0), rng=rng)
    copies = np.flatnonzero(ours[:1500] < 1000)
    assert copies[0] == 0
    assert np.diff(copies).min() > STRETCH
    others = ours[:1000][ours[:1000] >= 1000]
    assert (np.diff(uncertainty[others]) <= 0).all()


def test_texts_that_only_share_what_all_texts_share_are_no_near_duplicates() -> None:
    rng = np.random.default_rng(0)
    embeddings = 5.0 + rng.normal(size=(400, 32))  # like a taught tagger's: each cosine is above SIMILAR
    embeddings[[1, 3]] = embeddings[[0, 2]]
    uncertainty: Floats = np.linspace(0.99, 0, 400, dtype=np.float64)
    nobody = np.zeros(400, dtype=bool)
    ours = order(uncertainty, embeddings, audit=nobody, audit_fraction=0.1, labelled=(0, 0), rng=rng).tolist()
    doubles = (ours.index(1), ours.index(3))
    assert min(doubles) >= STRETCH
    assert [task for task in ours if task not in (1, 3)] == [task for task in range(400) if task not in (1, 3)]


def test_an_order_of_fifty_thousand_takes_seconds_even_if_all_are_alike() -> None:
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(50_000, 384)).astype(np.float32)
    uncertainty, audit = rng.random(50_000), rng.random(50_000) < 0.1
    began = time.process_time()
    order(uncertainty, embeddings, audit=audit, audit_fraction=0.1, labelled=(0, 0), rng=rng)
    embeddings[:] = embeddings[0]
    order(uncertainty, embeddings, audit=audit, audit_fraction=0.1, labelled=(0, 0), rng=rng)
    assert time.process_time() - began < 15


def test_uncertainty_that_is_no_number_is_the_programmers_mistake() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="finite"):
        order(
            np.array([np.nan]), np.ones((1, 2)), audit=np.array([False]), audit_fraction=0.1, labelled=(0, 0), rng=rng
        )


def test_a_cold_start_shows_each_kind_of_text_before_any_a_second_time() -> None:
    rng = np.random.default_rng(0)
    kinds = np.eye(20)
    kind = np.concatenate([np.zeros(500, dtype=int), np.arange(20)])
    nobody = np.zeros(520, dtype=bool)
    ours = diverse_order(kinds[kind], audit=nobody, audit_fraction=0.1, labelled=(0, 0), rng=rng)
    assert sorted(kind[ours[:20]].tolist()) == list(range(20))


def test_texts_without_an_embedding_do_not_fill_a_cold_start() -> None:
    rng = np.random.default_rng(0)
    embeddings = np.concatenate([np.zeros((100, 30)), np.eye(30)])
    nobody = np.zeros(130, dtype=bool)
    ours = diverse_order(embeddings, audit=nobody, audit_fraction=0.1, labelled=(0, 0), rng=rng)
    assert (ours[:30] < 100).sum() <= 1


@given(uncertainty=SHARES, seed=st.integers(0, 100))
def test_certainties_rise_strictly_along_the_order_and_survive_json_and_sqlite(
    uncertainty: list[float], seed: int
) -> None:
    n = len(uncertainty)
    ours = np.random.default_rng(seed).permutation(n)
    scores = certainties(np.array(uncertainty), ours)
    assert ((scores >= 0) & (scores <= 1)).all()
    with sqlite3.connect(":memory:") as database:
        database.execute("create table score (task integer, value real)")
        rows = [(task, json.loads(json.dumps(value))) for task, value in enumerate(scores.tolist())]
        database.executemany("insert into score values (?, ?)", rows)
        served = [task for (task,) in database.execute("select task from score order by value")]
        different = database.execute("select count(distinct value) from score").fetchone()[0]
    database.close()
    assert served == ours.tolist()
    assert different == n


@given(uncertainty=SHARES)
def test_the_kth_of_the_order_gets_the_kth_smallest_certainty_of_the_pool(uncertainty: list[float]) -> None:
    ours = np.arange(len(uncertainty))[::-1]
    scores = certainties(np.array(uncertainty), ours)
    assert scores[ours] == pytest.approx(np.sort(1 - np.array(uncertainty)), abs=1e-9 * len(uncertainty))


def test_fifty_thousand_equally_sure_tasks_still_have_an_order() -> None:
    for value in (0.0, 0.3, 1.0):
        scores = certainties(np.full(50_000, value), np.arange(50_000))
        assert (np.diff(scores) > 0).all()
        assert scores.min() >= 0
        assert scores.max() <= 1


@given(taken=SHARES, new=SHARES)
def test_certainties_of_new_tasks_differ_from_all_and_keep_their_order(taken: list[float], new: list[float]) -> None:
    placed = place(np.array(taken), np.array(new))
    assert ((placed >= 0) & (placed <= 1)).all()
    assert len(set(placed.tolist()) | set(taken)) == len(new) + len(set(taken))
    assert placed == pytest.approx(np.array(new), abs=1e-9)
    assert placed.argsort(kind="stable").tolist() == np.array(new).argsort(kind="stable").tolist()


def test_a_new_certainty_that_nobody_has_stays_as_it_is() -> None:
    assert place(np.array([0.25, 1.0]), np.array([0.5, 1.0, 0.25])).tolist() == [0.5, 1.0 - 5e-13, 0.25 + 1e-12]
    assert math.isclose(place(np.array([]), np.array([1.0]))[0], 1.0)
