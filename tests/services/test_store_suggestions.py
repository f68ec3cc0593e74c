"""What the store keeps of what annotations began from, on SQLite and on PostgreSQL."""

from dataclasses import replace

import pytest

from edgewise.labels.annotations import Annotation
from edgewise.services.store import Store, Suggestion, Task
from edgewise.services.store.suggestions import Taken

BLANK = Annotation(11, 1, "2026-01-01T00:00:00Z", 1, False, False, False, 2.5, 101, ())
SHOWN = Suggestion(1, 11, 101, {"label": "baseline"}, ({"id": "r"},))


@pytest.fixture
def key(store: Store) -> int:
    """A project with three tasks, of which the second is held out, each with an annotation."""
    key = store.record_project("http://studio", 1, "1", title="", label_config="<View/>").key
    put(store, key, {i: [replace(BLANK, id=10 + i, task_id=i)] for i in (1, 2, 3)})
    return key


def put(store: Store, key: int, annotated: dict[int, list[Annotation]]) -> None:
    tasks = [Task(i, {"text": f"text {i}"}, f"key {i}", audit=i == 2) for i in annotated]
    store.upsert_tasks(key, tasks, annotated)


def test_what_an_annotation_began_from_is_kept_beside_it(store: Store, key: int) -> None:
    store.save_suggestions(key, [SHOWN, replace(SHOWN, task_id=99, annotation_id=99)])
    assert store.begun_from(key, [1, 2, 99]) == {11: 101}
    [(task, annotations, begun)] = store.suggested(key)
    assert (task.task_id, annotations, begun) == (1, [replace(BLANK, id=11)], {11: SHOWN})
    store.save_suggestions(key, [replace(SHOWN, prediction=102, result=())])
    assert store.begun_from(key, [1]) == {11: 102}


def test_an_edit_keeps_it_and_a_deleted_annotation_takes_it_along(store: Store, key: int) -> None:
    store.save_suggestions(key, [SHOWN, replace(SHOWN, task_id=3, annotation_id=13)])
    put(store, key, {1: [replace(BLANK, id=11, updated_at="2026-01-02T00:00:00Z", parent_prediction=None)], 3: []})
    assert store.begun_from(key, [1, 3]) == {11: 101}


def test_it_is_erased_with_the_task_and_with_the_project(store: Store, key: int) -> None:
    store.save_suggestions(key, [SHOWN, replace(SHOWN, task_id=3, annotation_id=13)])
    store.delete_tasks(key, [1])
    assert store.begun_from(key, [1, 3]) == {13: 101}
    store.erase_project(key)
    assert store.begun_from(key, [1, 3]) == {}


def test_pages_leave_nothing_out(store: Store, key: int) -> None:
    many = {i: [replace(BLANK, id=i, task_id=i)] for i in range(1000, 2101)}
    put(store, key, many)
    store.save_suggestions(key, [replace(SHOWN, task_id=i, annotation_id=i) for i in many])
    assert [(task.task_id, list(begun)) for task, _, begun in store.suggested(key)] == [(i, [i]) for i in many]


def test_times_tell_who_was_helped(store: Store, key: int) -> None:
    store.save_suggestions(key, [SHOWN, replace(SHOWN, task_id=2, annotation_id=12, result=())])
    assert store.times(key) == [Taken(1, False, 2.5, True), Taken(2, True, 2.5, False), Taken(3, False, 2.5, False)]
    store.save_suggestions(key, [replace(SHOWN, sources={}), replace(SHOWN, task_id=2, annotation_id=12)])
    assert [one.helped for one in store.times(key)] == [False, True, False]


@pytest.mark.parametrize("left_out", [{"was_cancelled": True}, {"unopened": True}, {"lead_time": None}])
def test_no_time_is_taken_of_a_skip_or_of_what_nobody_opened(
    store: Store, key: int, left_out: dict[str, object]
) -> None:
    put(store, key, {i: [replace(BLANK, id=10 + i, task_id=i, **left_out)] for i in (1, 2, 3)})  # type: ignore[arg-type]
    assert store.times(key) == []
