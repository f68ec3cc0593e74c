"""What the store promises, on SQLite and on PostgreSQL."""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import run
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from edgewise.errors import NotFound, SettingsError, Unavailable
from edgewise.labels.annotations import Annotation
from edgewise.services.store import Rank, SnapshotRow, Store, Task, Version

ADDRESS = "http://studio"


def a_task(task_id: int, words: str = "Ada met Bob", **changes: object) -> Task:
    task = Task(task_id=task_id, data={"text": words}, text_key=words, updated_at="2026-01-01T00:00:00Z")
    return replace(task, **changes)  # type: ignore[arg-type]  # fields by name


def an_annotation(id: int, task_id: int, **changes: object) -> Annotation:
    blank = Annotation(id, task_id, "2026-01-01T00:00:00Z", 1, False, False, False, 2.5, None, ({"id": "a"},))
    return replace(blank, **changes)  # type: ignore[arg-type]  # fields by name


def a_rank(task_id: int, position: int, **changes: object) -> Rank:
    rank = Rank(task_id, 0.9 - position / 1000, position / 1000, "edge", ({"id": "r"},))
    return replace(rank, **changes)  # type: ignore[arg-type]  # fields by name


@pytest.fixture
def key(store: Store) -> int:
    return store.record_project(ADDRESS, 1, "t0").key


def fill(store: Store, key: int, count: int) -> None:
    store.upsert_tasks(key, [a_task(i, f"text {i}") for i in range(1, count + 1)], {})


# --- projects


def test_a_project_recorded_twice_is_one_and_keeps_what_it_was(store: Store) -> None:
    first = store.record_project(ADDRESS, 1, "t0", title="One")
    store.update_project(first.key, state="live", connection={"webhook": 3})
    second = store.record_project(ADDRESS, 1, "t0", label_config="<View/>")
    assert (second.key, second.title, second.state) == (first.key, "One", "live")
    assert store.project(first.key) == second
    assert second.connection == {"webhook": 3}
    moment = datetime.now(UTC)
    assert store.update_project(first.key, swept_at=moment).swept_at == moment


def test_a_recreated_project_is_another_one_and_the_older_is_gone(store: Store) -> None:
    old = store.record_project(ADDRESS, 1, "t0")
    new = store.record_project(ADDRESS, 1, "t1")
    assert new.key != old.key
    assert store.project(old.key).state == "gone"
    assert store.find_project(ADDRESS, 1) == new
    assert [p.key for p in store.projects()] == [old.key, new.key]


def test_many_setups_at_once_record_one_project(store: Store) -> None:
    with ThreadPoolExecutor(16) as pool:
        keys = set(pool.map(lambda _: store.record_project(ADDRESS, 7, "t0").key, range(64)))
    assert len(keys) == 1


def test_an_erased_project_leaves_nothing_and_its_key_is_not_given_again(store: Store, key: int) -> None:
    fill(store, key, 3)
    store.upsert_tasks(key, [a_task(1)], {1: [an_annotation(5, 1)]})
    store.add_snapshot(key, "h", [(1, "d", [5])])
    store.add_version(Version("v1", key, "s", "h"))
    store.save_version_predictions(key, "v1", "held_out", {1: []})
    store.save_ranks(key, store.new_release(key, "v1", "schema").n, [a_rank(1, 0)])
    store.erase_project(key)
    store.erase_project(key)
    with pytest.raises(NotFound):
        store.project(key)
    assert store.find_project(ADDRESS, 1) is None
    assert store.task_ids(key) == set()
    assert store.record_project(ADDRESS, 1, "t0").key > key


def test_writing_into_an_erased_project_is_not_found(store: Store, key: int) -> None:
    store.erase_project(key)
    with pytest.raises(NotFound):
        store.upsert_tasks(key, [a_task(1)], {})
    with pytest.raises(NotFound):
        store.update_project(key, note="hello")


# --- tasks


def test_an_upsert_tells_what_is_new_or_changed_and_a_second_one_nothing(store: Store, key: int) -> None:
    both = [a_task(1), a_task(2)]
    assert store.upsert_tasks(key, both, {1: [an_annotation(5, 1)]}) == {1, 2}
    assert store.upsert_tasks(key, both, {1: [an_annotation(5, 1)]}) == set()
    assert store.upsert_tasks(key, both, {1: [an_annotation(5, 1, updated_at="later")]}) == {1}
    assert store.upsert_tasks(key, [a_task(1), a_task(2, "other")], {1: [an_annotation(5, 1, updated_at="later")]}) == {
        2
    }
    assert store.upsert_tasks(key, both[:1], {}) == {1}
    assert [annotations for _, annotations in store.annotated(key)] == []


def test_annotations_come_back_as_they_went_in(store: Store, key: int) -> None:
    given = [an_annotation(5, 1), an_annotation(6, 1, completed_by=None, lead_time=None, ground_truth=True, result=())]
    store.upsert_tasks(key, [a_task(1, digest="d")], {1: given})
    assert list(store.labelled(key)) == [(a_task(1, digest="d"), given)]


@pytest.mark.parametrize(
    "words", ["a\0b", "\ud83d alone", "日本語 👩‍👩‍👧", "نص"], ids=["nul", "half", "emoji", "arabic"]
)
def test_any_text_survives(store: Store, key: int, words: str) -> None:
    told = an_annotation(1, 1, result=({"value": {"text": words}},))
    store.upsert_tasks(key, [a_task(1, data={"text": words}, problem=words)], {1: [told]})
    assert store.tasks(key, [1])[1].data == {"text": words}
    assert next(store.annotated(key))[1] == [told]
    store.save_ranks(key, 1, [a_rank(1, 0, reason=words, result=({"text": words},))])
    assert store.ranks(key, 1, [1])[1].result == ({"text": words},)


def test_the_audit_side_is_fixed_when_a_task_is_first_seen(store: Store, key: int) -> None:
    store.upsert_tasks(key, [a_task(1, audit=True)], {})
    store.upsert_tasks(key, [a_task(1, audit=False)], {})
    assert store.tasks(key, [1])[1].audit
    store.upsert_tasks(key, [a_task(1, "other", audit=False)], {})
    assert store.tasks(key, [1])[1].audit, "or a task that was learned from could become one to be examined in"


def test_a_task_is_open_until_it_has_enough_finished_annotations(store: Store, key: int) -> None:
    two = a_task(1, overlap=2)
    store.upsert_tasks(key, [two], {1: [an_annotation(1, 1), an_annotation(2, 1, was_cancelled=True, completed_by=2)]})
    assert store.open_task_ids(key) == [1]
    store.upsert_tasks(key, [two], {1: [an_annotation(1, 1), an_annotation(3, 1, completed_by=2)]})
    assert store.open_task_ids(key) == []
    store.upsert_tasks(key, [two], {1: [an_annotation(1, 1)]})
    assert store.open_task_ids(key) == [1]


def test_what_everybody_skipped_is_closed_until_somebody_new_comes(store: Store, key: int) -> None:
    store.upsert_tasks(key, [a_task(1), a_task(2), a_task(3)], {1: [an_annotation(1, 1, was_cancelled=True)]})
    store.save_ranks(key, 1, [a_rank(1, 0), a_rank(2, 1), a_rank(3, 2)])
    assert store.open_task_ids(key) == [2, 3]
    assert store.order(key, 1) == [2, 3]
    store.upsert_tasks(key, [a_task(2)], {2: [an_annotation(2, 2, completed_by=9)]})
    assert store.open_task_ids(key) == [1, 3]
    assert store.order(key, 1) == [1, 3]
    both = [an_annotation(1, 1, was_cancelled=True), an_annotation(3, 1, was_cancelled=True, completed_by=9)]
    store.upsert_tasks(key, [a_task(1)], {1: both})
    assert store.open_task_ids(key) == [3]


visits = st.tuples(st.integers(1, 4), st.integers(1, 3), st.booleans())  # task, person, skips it


@given(pages=st.lists(st.tuples(st.integers(1, 2), st.lists(visits, max_size=4)), min_size=1, max_size=6))
@settings(max_examples=25, deadline=None)
def test_open_is_what_the_design_says_and_ranks_know_it(pages: list[tuple[int, list[tuple[int, int, bool]]]]) -> None:
    with TemporaryDirectory() as folder, closing(Store(f"sqlite:///{folder}/edgewise.db")) as store:
        key = store.record_project(ADDRESS, 1, "t0").key
        fill(store, key, 4)
        store.save_ranks(key, 1, [a_rank(i, i) for i in range(1, 5)])
        last: dict[int, tuple[int, list[tuple[int, bool]]]] = {}
        people: set[int] = set()
        for overlap, made in pages:
            seen = {task: [(who, skips) for t, who, skips in made if t == task] for task, _, _ in made}
            told = {task: [an_annotation(n, task, completed_by=who, was_cancelled=skips)
                           for n, (who, skips) in enumerate(some)] for task, some in seen.items()}  # fmt: skip
            store.upsert_tasks(key, [a_task(task, f"text {task}", overlap=overlap) for task in seen], told)
            last |= {task: (overlap, some) for task, some in seen.items()}
            people |= {who for some in seen.values() for who, _ in some}
            closed = {task for task, (overlap, some) in last.items() if is_closed(overlap, some, people)}
            assert store.open_task_ids(key) == store.order(key, 1) == [i for i in range(1, 5) if i not in closed]


def is_closed(overlap: int, visits: list[tuple[int, bool]], people: set[int]) -> bool:
    finished, skippers = sum(not skips for _, skips in visits), {who for who, skips in visits if skips}
    return finished >= overlap or (finished == 0 and skippers == people)


def test_open_tasks_can_be_asked_for_by_side(store: Store, key: int) -> None:
    store.upsert_tasks(key, [a_task(1, audit=True), a_task(2)], {})
    assert (store.open_task_ids(key, audit=True), store.open_task_ids(key, audit=False)) == ([1], [2])


def test_labelled_tasks_come_page_by_page_and_all(store: Store, key: int) -> None:
    count = 1_003
    many = [a_task(i, f"text {i}", digest="d" if i % 3 else None) for i in range(1, count + 1)]
    store.upsert_tasks(key, many, {i: [an_annotation(i, i)] for i in range(1, count + 1)})
    assert [task.task_id for task, _ in store.labelled(key)] == [i for i in range(1, count + 1) if i % 3]
    assert sum(len(annotations) for _, annotations in store.annotated(key)) == count


def test_counts_and_problems(store: Store, key: int) -> None:
    store.upsert_tasks(key, [a_task(1, digest="d"), a_task(2, audit=True, digest="e"), a_task(3)], {})
    store.set_problems(key, {3: "no text", 1: None, 99: "not here"})
    expected = {"tasks": 3, "audit": 1, "open": 3, "open_audit": 1, "labelled": 1, "audit_labelled": 1, "problems": 1}
    assert store.counts(key) == expected | {"people": 0}
    assert store.tasks(key, [3, 1, 99])[3].problem == "no text"
    assert store.problems(key, limit=5) == {3: "no text"}


def test_deleted_tasks_take_their_annotations_and_ranks_along(store: Store, key: int) -> None:
    store.upsert_tasks(key, [a_task(1), a_task(2)], {1: [an_annotation(1, 1)]})
    store.save_ranks(key, 1, [a_rank(1, 0), a_rank(2, 1)])
    store.delete_tasks(key, [1, 77])
    assert store.task_ids(key) == {2}
    assert store.ranks(key, 1, [1, 2]).keys() == {2}
    assert list(store.annotated(key)) == []


# --- training


def test_updates_are_examples_new_changed_or_vanished_since_the_last_snapshot(store: Store, key: int) -> None:
    store.upsert_tasks(key, [a_task(i, f"text {i}", digest=f"d{i}") for i in (1, 2, 3)], {})
    assert store.updates(key) == 3
    store.add_snapshot(key, "h", [(i, f"d{i}", [i]) for i in (1, 2, 3)])
    assert store.updates(key) == 0
    store.upsert_tasks(key, [a_task(1, "text 1", digest="other"), a_task(4, "text 4", digest="d4")], {})
    store.upsert_tasks(key, [a_task(5, "text 5", digest="d5", audit=True), a_task(2, "text 2")], {})
    assert store.updates(key) == 3
    store.delete_tasks(key, [3])
    assert store.updates(key) == 4


def test_the_last_snapshot_is_the_one_added_last_even_again(store: Store, key: int) -> None:
    assert store.last_snapshot(key) is None
    rows = [(i, "d", [i, i + 1]) for i in range(1, 601)]
    store.add_snapshot(key, "h1", rows)
    store.add_snapshot(key, "h2", [])
    last = store.add_snapshot(key, "h1", rows)
    assert store.last_snapshot(key) == last
    assert store.snapshot_rows(key, "h1")[599] == SnapshotRow(600, "d", (600, 601))
    assert (last.size, len(store.snapshot_rows(key, "h1"))) == (600, 600)


def test_what_a_snapshot_taught_is_told_with_its_turn_which_another_addition_changes(store: Store, key: int) -> None:
    store.add_snapshot(key, "h1", [(2, "d", [4, 5]), (1, "d", [3])])
    store.add_snapshot(key, "h2", [])
    assert store.taught(key, "h1") == [(1, (3,)), (2, (4, 5))]
    assert (store.taught(key, "h2"), store.taught(key, "h3")) == ([], [])
    before = store.snapshot_turns(key)
    assert before.keys() == {"h1", "h2"}
    store.add_snapshot(key, "h1", [(2, "d", [6]), (1, "d", [3])])
    assert store.taught(key, "h1") == [(1, (3,)), (2, (6,))]
    assert store.snapshot_turns(key)["h1"] not in before.values()


def test_which_answers_are_kept_is_told_without_reading_them(store: Store, key: int) -> None:
    fill(store, key, 3)
    store.save_version_predictions(key, "a", "held_out", {1: "x", 2: "y"})
    store.save_version_predictions(key, "a", "out_of_fold", {3: "z"})
    store.save_version_predictions(key, "b", "held_out", {1: "x", 3: "z"})
    assert store.predicted(key) == {("a", "held_out"): (2, 3), ("a", "out_of_fold"): (1, 3), ("b", "held_out"): (2, 4)}
    store.delete_tasks(key, [1])
    assert store.predicted(key)[("a", "held_out")] == (1, 2)
    assert store.predicted(key + 1) == {}


def test_versions_are_kept_changed_and_listed_newest_first(store: Store, key: int) -> None:
    first = store.add_version(Version("a", key, "s", "h", scores={"f1": 0.5}, created_at=datetime.now(UTC)))
    second = store.add_version(Version("b", key, "s", "h", parent="a", state="refused", reason="worse"))
    assert store.version(key, "a") == first
    assert store.versions(key) == [second, first]
    assert store.update_version(key, "a", pinned=True) == replace(first, pinned=True)
    store.add_version(first)
    assert len(store.versions(key)) == 2
    with pytest.raises(NotFound):
        store.version(key, "c")
    with pytest.raises(NotFound):
        store.update_version(key, "c", pinned=True)


def test_version_predictions_are_kept_by_purpose(store: Store, key: int) -> None:
    store.save_version_predictions(key, "v", "held_out", {1: [{"start": 0}], 2: []})
    store.save_version_predictions(key, "v", "held_out", {2: [1]})
    store.save_version_predictions(key, "v", "out_of_fold", {3: []})
    assert store.version_predictions(key, "v", "held_out") == {1: [{"start": 0}], 2: [1]}
    assert store.version_predictions(key, "v", "out_of_fold") == {3: []}


# --- releases


def test_release_numbers_are_given_once_even_to_many_at_once(store: Store, key: int) -> None:
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda _: store.new_release(key, "v", "schema").n, range(24)))
    assert sorted(numbers) == list(range(1, 25))
    assert store.project(key).release_counter == 24
    assert store.update_release(key, 3, state="active", whole=True) == store.release(key, 3)
    assert [release.n for release in store.releases(key)] == list(range(24, 0, -1))
    with pytest.raises(NotFound):
        store.release(key, 25)


def test_the_hardest_are_open_not_audit_and_in_order(store: Store, key: int) -> None:
    fill(store, key, 6)
    store.save_ranks(key, 1, [a_rank(i, 6 - i, audit=i == 5) for i in range(1, 7)])
    store.save_ranks(key, 2, [a_rank(i, i) for i in range(1, 7)])
    store.upsert_tasks(key, [a_task(6, "text 6")], {6: [an_annotation(1, 6)]})
    assert [rank.task_id for rank in store.hardest(key, 1, 3)] == [4, 3, 2]
    assert [rank.task_id for rank in store.hardest(key, 1, 9, threshold=0.897)] == [4, 3]
    assert store.order(key, 1) == [5, 4, 3, 2, 1]
    assert store.order(key, 2) == [1, 2, 3, 4, 5]
    assert store.order(key, 2, limit=2) == [1, 2]
    assert (store.pool_size(key, 1), store.count_above(key, 1, 0.897)) == (4, 2)
    store.upsert_tasks(key, [a_task(6, "text 6")], {})
    assert store.hardest(key, 1, 1) == [a_rank(6, 0)]


def test_a_pushed_rank_stays_pushed_when_ranks_are_saved_again(store: Store, key: int) -> None:
    fill(store, key, 3)
    ranks = [a_rank(i, i) for i in (1, 2, 3, 99)]
    store.save_ranks(key, 1, ranks)
    store.mark_pushed(key, 1, [1, 3])
    store.save_ranks(key, 1, ranks)
    assert store.unpushed(key, 1) == store.unpushed(key, 1, 1) == [a_rank(2, 2)]
    assert store.ranks(key, 1, [1, 2, 3]) == {
        1: a_rank(1, 1, pushed=True),
        2: a_rank(2, 2),
        3: a_rank(3, 3, pushed=True),
    }
    store.drop_ranks(key, 1)
    assert store.ranks(key, 1, [1, 2, 3]) == {}


def test_a_task_that_no_release_ranks_can_be_found_unless_it_cannot_be_predicted(store: Store, key: int) -> None:
    fill(store, key, 5)
    store.save_ranks(key, 1, [a_rank(2, 3), a_rank(1, 7)])
    store.save_ranks(key, 2, [a_rank(3, 0)])
    store.set_problems(key, {4: "no text"})
    assert store.unranked(key, 1, 10) == [3, 5]
    assert store.unranked(key, 1, 1) == [3]
    assert store.taken_scores(key, 1, [0.003, 0.004, 0.007]) == set()


def test_ranks_of_a_cold_start_have_an_order_and_no_uncertainty(store: Store, key: int) -> None:
    fill(store, key, 2)
    store.save_ranks(key, 1, [a_rank(1, 1, uncertainty=None), a_rank(2, 0, uncertainty=None)])
    assert [(rank.task_id, rank.uncertainty) for rank in store.hardest(key, 1, 9)] == [(2, None), (1, None)]
    assert store.hardest(key, 1, 9, threshold=0.0) == []
    assert (store.pool_size(key, 1), store.count_above(key, 1, 0.0)) == (2, 0)


def test_a_changed_text_loses_its_ranks_and_other_changes_keep_them(store: Store, key: int) -> None:
    fill(store, key, 2)
    store.save_ranks(key, 1, [a_rank(1, 0), a_rank(2, 1)])
    store.upsert_tasks(key, [a_task(1, "new words"), a_task(2, "text 2", overlap=3)], {})
    assert store.ranks(key, 1, [1, 2]).keys() == {2}


# --- the rest


def test_messages_wait_in_order_until_they_are_done(store: Store) -> None:
    ids = [store.outbox_add("mlflow", {"n": n}) for n in range(3)]
    store.outbox_done(ids[0])
    assert [(m.id, m.payload) for m in store.outbox_next(5)] == [(ids[1], {"n": 1}), (ids[2], {"n": 2})]
    assert datetime.now(UTC) - store.outbox_next(1)[0].created_at < timedelta(seconds=30)


def test_a_lease_has_one_holder_until_it_runs_out_or_is_given_back(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda n: store.take_lease("tick", f"holder {n}", 60), range(16))) == 1
    assert store.take_lease("sync", "a", 0.05)
    assert store.take_lease("sync", "a", 0.05)
    time.sleep(0.06)
    assert store.take_lease("sync", "b", 60)
    assert not store.take_lease("sync", "a", 60)
    store.drop_lease("sync", "a")
    store.drop_lease("sync", "b")
    assert store.take_lease("sync", "a", 60)


def test_a_lease_taken_by_a_clock_that_was_hours_ahead_keeps_nobody_out(store: Store) -> None:
    assert store.take_lease("worker", "dead", 3 * 3600)
    assert store.take_lease("worker", "living", 15)
    assert not store.take_lease("worker", "another", 15)


def test_a_second_process_that_opens_the_store_sees_the_same(store: Store, database_url: str, key: int) -> None:
    program = """
import sys
from edgewise.services.store import Store
Store(sys.argv[1]).new_release(int(sys.argv[2]), None, "schema")
"""
    run([sys.executable, "-c", program, database_url, str(key)], check=True, cwd=Path(__file__).parents[2])
    assert store.release(key, 1).version is None


def test_many_processes_may_make_the_tables_at_once(sqlite_url: str, postgres_url: str) -> None:
    for url in (sqlite_url, postgres_url):
        with ThreadPoolExecutor(12) as pool:
            stores = list(pool.map(lambda _, url=url: Store(url), range(12)))
        for store in stores:
            store.ping()
            store.close()


def test_threads_that_write_at_once_all_succeed(store: Store, key: int) -> None:
    def write(n: int) -> None:
        store.upsert_tasks(key, [a_task(i, f"text {i}") for i in range(n, n + 40)], {n: [an_annotation(n, n)]})

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(write, range(1, 60)))
    assert len(store.task_ids(key)) == 98


def test_sqlite_is_set_up_for_many_processes(sqlite_store: Store) -> None:
    with sqlite_store._read() as connection:
        values = [connection.execute(text(f"PRAGMA {name}")).scalar_one() for name in
                  ("journal_mode", "busy_timeout", "foreign_keys", "synchronous")]  # fmt: skip
    assert values == ["wal", 10_000, 1, 1]


def test_the_hardest_are_found_by_the_index_alone(sqlite_store: Store) -> None:
    where = "project_key = 1 AND release = 1 AND open IS 1 AND audit IS 0"
    with sqlite_store._read() as connection:
        plan = connection.execute(
            text(f"EXPLAIN QUERY PLAN SELECT reason FROM ranks WHERE {where} ORDER BY score, task_id")
        ).all()
    used = "SEARCH ranks USING INDEX ranks_hardest (project_key=? AND release=? AND open=? AND audit=?)"
    assert [row.detail for row in plan] == [used]


def test_a_database_that_is_away_is_unavailable_without_its_address() -> None:
    with pytest.raises(Unavailable) as caught:
        Store("postgresql://someone:secret@127.0.0.1:1/none")
    assert "secret" not in str(caught.value)


def test_a_mistake_of_ours_is_not_called_away_and_its_error_holds_no_task_text(store: Store, key: int) -> None:
    with pytest.raises(IntegrityError) as broken:
        store.upsert_tasks(key, [a_task(1, "secret words", overlap=None)], {})
    assert "parameters hidden" in str(broken.value)
    with store._write() as connection:
        connection.execute(text("DROP TABLE outbox"))
    with pytest.raises(DBAPIError):
        store.outbox_next(1)


@pytest.mark.parametrize(
    "url", ["", "sqlite://", "mysql://here/x", "sqlite:///:memory:", "postgresql://u:half@canary@127.0.0.1:1/x"]
)
def test_a_database_that_we_cannot_use_is_a_settings_error(url: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(SettingsError) as told:
        Store(url)
    assert "canary" not in str(told.value) + caplog.text
