"""A release knows how many tasks it has to choose from, whatever happened: on SQLite and PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor
from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgewise.services.store import Store
from tests.services.test_store import a_rank, a_task, an_annotation, fill

PROJECTS = count(1)
TASKS = range(1, 7)
STEP = st.tuples(
    st.sampled_from(["rank", "add", "label", "unlabel", "retext", "delete", "drop", "skip"]),
    st.lists(st.sampled_from(TASKS), min_size=1, max_size=3, unique=True),
    st.sampled_from([1, 2]),
)


def do(store: Store, key: int, what: str, ids: list[int], n: int) -> None:
    """One of the things that change who may be asked for."""
    if what == "rank":
        store.save_ranks(key, n, [a_rank(i, i, audit=i == 3) for i in ids])
    elif what == "add":
        store.add_ranks(key, n, [a_rank(i, 9 - i, audit=i == 3) for i in ids])
    elif what == "delete":
        store.delete_tasks(key, ids)
    elif what == "drop":
        store.drop_ranks(key, n)
    else:
        said = {"label": [an_annotation(1, 1)], "skip": [an_annotation(1, 1, was_cancelled=True, completed_by=n)]}
        words = "another text" if what == "retext" else "text"
        store.upsert_tasks(key, [a_task(i, f"{words} {i}") for i in ids], {
            i: [an_annotation(10 * i + n, i, was_cancelled=one.was_cancelled, completed_by=one.completed_by)]
            for i in ids for one in said.get(what, [])
        })  # fmt: skip


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEP, max_size=12))
def test_a_pool_is_as_large_as_a_count_of_it_would_say(store: Store, steps: list[tuple[str, list[int], int]]) -> None:
    key = store.record_project("http://pools", next(PROJECTS), "t0").key
    fill(store, key, len(TASKS))
    store.save_ranks(key, 1, [a_rank(i, i, audit=i == 3) for i in TASKS])
    for step in [None, *steps]:
        if step:
            do(store, key, *step)
        for n in (1, 2):
            assert store.pool_size(key, n) == len(store.hardest(key, n, 100)), step


def test_a_pool_counted_while_it_grows_is_right_in_the_end(store: Store) -> None:
    key = store.record_project("http://pools", next(PROJECTS), "t0").key
    fill(store, key, 400)
    with ThreadPoolExecutor(3) as both:
        saving = [
            both.submit(store.save_ranks, key, 1, [a_rank(i, i) for i in range(first, 401, 2)]) for first in (1, 2)
        ]
        while not all(one.done() for one in saving):
            assert store.pool_size(key, 1) <= 400
        for one in saving:
            one.result()
    assert store.pool_size(key, 1) == 400
