"""Chunks of a ranking: each task in one, each chunk held by one attempt of a job and only while that runs."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from edgewise.services.store import Chunk, Job, Store
from tests.services.test_store import a_rank, a_task

TASKS = 10
SIZE = 4


@pytest.fixture
def key(store: Store) -> int:
    """A project of ten tasks; the release 1 ranks two of them."""
    key = store.record_project("http://studio", 1, "t0").key
    store.upsert_tasks(key, [a_task(i, f"text {i}") for i in range(1, TASKS + 1)], {})
    store.new_release(key, None, "schema")
    store.save_ranks(key, 1, [a_rank(2, 1), a_rank(9, 2)])
    return key


def started(store: Store, key: int, kind: str = "rank") -> Job:
    job = store.start_job(store.add_job(kind, key, lane="rank").id, 60)
    assert job is not None
    return job


def test_the_chunks_cover_what_has_no_rank_once_and_grow_with_new_tasks(store: Store, key: int) -> None:
    job = started(store, key)
    store.cut_chunks(key, 1, SIZE, 1)
    assert store.count_chunks(key, 1) == 1
    store.cut_chunks(key, 1, SIZE, 9)
    store.cut_chunks(key, 1, SIZE, 9)
    store.upsert_tasks(key, [a_task(11, "new")], {})
    store.cut_chunks(key, 1, SIZE, 9)
    found = [store.claim_chunk(key, 1, job) or Chunk(0, 0) for _ in range(store.count_chunks(key, 1))]
    assert found == [Chunk(1, 5), Chunk(6, 10), Chunk(11, 11)]
    inside = [store.unranked(key, 1, above=chunk.first - 1, upto=chunk.last) for chunk in found]
    assert inside == [[1, 3, 4, 5], [6, 7, 8, 10], [11]]
    assert store.claim_chunk(key, 1, job) is None
    store.end_chunk(key, 1, found[1])
    assert store.count_chunks(key, 1) == 2


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_postgres_has_counted_before_chunks_are_read(store: Store, key: int) -> None:
    store.cut_chunks(key, 1, SIZE, 9)
    with store._read() as connection:
        counted = text("SELECT relname, reltuples FROM pg_class WHERE relname IN ('tasks', 'ranks') ORDER BY relname")
        assert [row.reltuples >= 0 for row in connection.execute(counted)] == [True, True]


def test_a_chunk_is_open_again_when_the_attempt_that_holds_it_runs_no_longer(store: Store, key: int) -> None:
    store.cut_chunks(key, 1, SIZE * 9, 1)
    first, second = started(store, key), started(store, key, "score-1")
    assert store.claim_chunk(key, 1, first) is not None
    assert store.claim_chunk(key, 1, second) is None
    store.put_back(first, error=None, faults=1)
    assert store.claim_chunk(key, 1, second) == Chunk(1, 10)
    again = store.start_job(first.id, 60)
    assert again is not None
    assert store.claim_chunk(key, 1, again) is None, "its first attempt's claim is not this one's"
    store.end_job(second, "failed")
    assert store.claim_chunk(key, 1, again) == Chunk(1, 10)


def test_of_many_who_claim_at_once_each_gets_another_chunk(store: Store, key: int) -> None:
    store.upsert_tasks(key, [a_task(i, f"text {i}") for i in range(TASKS + 1, 101)], {})
    store.cut_chunks(key, 1, 1, 99)
    workers = [started(store, key, f"score-{number}") for number in range(1, 9)]
    with ThreadPoolExecutor(len(workers)) as threads:
        claims = list(threads.map(lambda number: store.claim_chunk(key, 1, workers[number % 8]), range(100)))
    found = sorted(claim.first for claim in claims if claim is not None)
    assert found == store.unranked(key, 1), "each is somebody's, and nobody's twice"


def test_a_chunk_of_the_head_stays_with_what_is_said_until_its_step_is_whole(store: Store, key: int) -> None:
    store.cut_step(key, 1, [[1, 3], [4, 6, 7], [10]])
    first, second = started(store, key), started(store, key, "score-1")
    found = [store.claim_chunk(key, 1, job) for job in (first, second, first)]
    assert [chunk.tasks for chunk in found if chunk] == [(1, 3), (4, 6, 7), (10,)]
    for chunk, job, said in zip(found, (first, second, first), (b"one", b"\0two", b"three"), strict=True):
        assert chunk is not None
        assert store.count_chunks(key, 1) > 0
        store.keep_said(key, 1, chunk, job, said)
    assert (store.count_chunks(key, 1), store.claim_chunk(key, 1, first)) == (0, None)
    assert store.take_said(key, 1) == [b"one", b"\0two", b"three"]
    store.cut_chunks(key, 1, SIZE, 9)
    assert store.claim_chunk(key, 1, first) == Chunk(1, 5), "nothing is left of the head's"


def test_what_is_said_of_a_task_goes_with_it_and_its_chunk_is_scored_again(store: Store, key: int) -> None:
    store.cut_step(key, 1, [[1, 3], [4, 6]])
    job = started(store, key)
    for said in (b"of 1 and 3", b"of 4 and 6"):
        chunk = store.claim_chunk(key, 1, job)
        assert chunk is not None
        store.keep_said(key, 1, chunk, job, said)
    store.delete_tasks(key, [4])
    again = store.claim_chunk(key, 1, job)
    assert again is not None
    assert again.tasks == (4, 6)
    store.keep_said(key, 1, again, job, b"of 6")
    assert store.take_said(key, 1) == [b"of 1 and 3", b"of 6"]


def test_who_may_have_read_a_task_that_is_gone_says_nothing_of_it(store: Store, key: int) -> None:
    store.cut_step(key, 1, [[1, 3], [4, 6]])
    job = started(store, key)
    chunks = [store.claim_chunk(key, 1, job) for _ in range(2)]
    store.upsert_tasks(key, [a_task(4, "another text")], {})
    for chunk in chunks:
        assert chunk is not None
        store.keep_said(key, 1, chunk, job, b"of the text before")
    assert store.count_chunks(key, 1) == 1
    assert store.claim_chunk(key, 1, job) == chunks[1]


def test_a_chunk_that_is_held_for_too_long_can_be_taken_over(store: Store, key: int) -> None:
    store.cut_step(key, 1, [[1, 3], [4, 6]])
    stuck, ours = started(store, key, "score-1"), started(store, key)
    first, second = store.claim_chunk(key, 1, stuck), store.claim_chunk(key, 1, ours)
    assert first is not None
    assert second is not None
    store.keep_said(key, 1, second, ours, b"second")
    assert store.claim_chunk(key, 1, ours) is None
    assert store.take_over_chunk(key, 1, ours) == first
    store.keep_said(key, 1, first, stuck, b"late")
    assert store.count_chunks(key, 1) == 1
    store.keep_said(key, 1, first, ours, b"first")
    assert store.take_over_chunk(key, 1, ours) is None, "all are done"
    assert store.take_said(key, 1) == [b"first", b"second"]


def test_chunks_of_a_release_that_nobody_ranks_any_more_go(store: Store, key: int) -> None:
    store.new_release(key, None, "schema")
    store.cut_step(key, 1, [[1, 3]])
    store.cut_step(key, 2, [[1, 3]])
    store.drop_chunks_of_others(key, 2)
    assert (store.count_chunks(key, 1), store.count_chunks(key, 2)) == (0, 1)


def test_who_has_lost_a_chunk_says_nothing_in_it(store: Store, key: int) -> None:
    store.cut_step(key, 1, [[1, 3]])
    lost, found = started(store, key, "score-1"), started(store, key)
    chunk = store.claim_chunk(key, 1, lost)
    assert chunk is not None
    store.put_back(lost, error=None, faults=1)
    assert store.claim_chunk(key, 1, found) == chunk
    store.keep_said(key, 1, chunk, lost, b"late")
    assert store.count_chunks(key, 1) == 1
    store.keep_said(key, 1, chunk, found, b"mine")
    assert store.take_said(key, 1) == [b"mine"]
    store.cut_chunks(key, 1, SIZE, 9)
    store.keep_said(key, 1, chunk, found, b"later still")
    assert store.count_chunks(key, 1) == 2, "a chunk of the rest that begins with the same task is another one"


def test_what_is_added_late_changes_nothing_and_chunks_go_with_their_release(store: Store, key: int) -> None:
    store.cut_chunks(key, 1, SIZE, 9)
    store.mark_pushed(key, 1, [2])
    store.add_ranks(key, 1, [a_rank(2, 7), a_rank(3, 3)])
    ranks = store.ranks(key, 1, [2, 3])
    assert (ranks[2].score, ranks[2].pushed, ranks[3].score) == (0.001, True, 0.003)
    assert store.taken_scores(key, 1, [0.001, 0.002, 0.003]) == {0.001}, "what was not pushed can still be moved"
    assert (store.count_ranks(key, 1), store.count_ranks(key, 1, pushed=True)) == (3, 1)
    store.drop_ranks(key, 1)
    assert store.count_chunks(key, 1) == 0
    store.cut_chunks(key, 1, SIZE, 9)
    store.erase_project(key)
    assert store.projects() == []
