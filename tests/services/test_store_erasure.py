"""What annotations have taught is erased with them, on SQLite and on PostgreSQL; what others say as well stays."""

from pathlib import Path

import pytest

from edgewise.labels.annotations import Annotation
from edgewise.labels.datasets import Content
from edgewise.labels.spans import Span
from edgewise.services.store import Store, Task, erasure
from tests.services.test_store import an_annotation

SECRET = "Qozzuvex"
PERSON, PLACE = (Content({"text": "x"}, {"label": (Span(0, 1, label),)}) for label in ("PER", "LOC"))


def annotated(*ids: int) -> dict[int, list[Annotation]]:
    """Task 1 with these annotations; tasks 2 and 3 with those of ten and eleven times their number."""
    return {1: [an_annotation(i, 1) for i in ids], 2: [an_annotation(20, 2), an_annotation(22, 2)]} | {
        3: [an_annotation(30, 3)]
    }


@pytest.fixture
def key(store: Store) -> int:
    """Three tasks; two trainings: in the first annotation 10 taught task 1, in the second annotation 11 did."""
    key = store.record_project("http://studio", 1, "1").key
    store.upsert_tasks(key, [Task(i, {"text": "x"}, str(i)) for i in (1, 2, 3)], annotated(10, 11))
    store.add_snapshot(key, "s1", [(1, "d", [10]), (2, "d", [20, 22]), (3, "d", [30])])
    store.add_dataset(key, "s1", {1: PLACE, 2: PERSON, 3: PERSON}, config="c")
    store.add_snapshot(key, "s2", [(1, "e", [11]), (2, "d", [20, 22])])
    store.add_dataset(key, "s2", {1: Content({"text": "y"}, {}), 2: PERSON}, config="c")
    return key


def said(store: Store, key: int, dataset: str) -> list[str]:
    """The tasks whose content a dataset version still has."""
    rows = store.dataset_rows(key, dataset)
    kept = store.dataset_contents(key, [row.content for row in rows])
    return [row.key for row in rows if row.content in kept]


def test_annotations_that_are_not_there_any_more_are_found(store: Store, key: int) -> None:
    assert store.vanished(key, {1: {10, 11}, 2: {20, 22}}) == {}
    assert store.vanished(key, {1: {11}, 2: (), 9: {1}}) == {1: {10}, 2: {20, 22}}


def test_who_learned_is_told_by_task_or_by_annotation(store: Store, key: int) -> None:
    assert store.learned_from(key, {1: None, 3: None}) == {"s1": {1: [10], 3: [30]}, "s2": {1: [11]}}
    assert store.learned_from(key, {1: {11}, 2: {99}}) == {"s2": {1: [11]}}
    assert store.learned_from(key, {9: None}) == {}


def test_only_what_the_deleted_annotation_said_is_erased(store: Store, key: int) -> None:
    store.erase_lessons(key, {1: {10}})
    assert (said(store, key, "s1"), said(store, key, "s2")) == (["2", "3"], ["1", "2"])


def test_what_another_task_says_as_well_stays_until_nobody_says_it(store: Store, key: int) -> None:
    store.erase_lessons(key, {2: {22}})  # half of what taught it: the rest is another lesson
    assert said(store, key, "s1") == ["1", "2", "3"]
    store.upsert_tasks(key, [Task(2, {"text": "x"}, "2")], {2: [an_annotation(20, 2)]})
    store.erase_lessons(key, {3: {30}})
    assert (said(store, key, "s1"), said(store, key, "s2")) == (["1"], ["1"])


def test_what_was_deleted_during_a_training_is_not_kept(store: Store, key: int) -> None:
    store.upsert_tasks(key, [Task(1, {"text": "x"}, "1")], {1: [an_annotation(11, 1)]})
    store.add_snapshot(key, "s3", [(1, "d", [10]), (3, "d", [30])])
    store.add_dataset(key, "s3", {1: Content({"text": "late"}, {}), 3: PERSON}, config="c")
    assert said(store, key, "s3") == ["3"]


@pytest.mark.parametrize("most", [0, erasure.MOST_VACUUMED_BYTES])
def test_no_file_has_what_was_erased(sqlite_store: Store, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasure, "MOST_VACUUMED_BYTES", most)  # 0: as for a large file, which is zeroed only
    key = sqlite_store.record_project("http://studio", 1, "1").key
    sqlite_store.upsert_tasks(key, [Task(i, {"text": f"{SECRET} {i} " * 200}, str(i)) for i in range(200)], {})
    folder = Path(str(sqlite_store._engine.url.database)).parent
    assert any(SECRET.encode() in file.read_bytes() for file in folder.iterdir())
    sqlite_store.delete_tasks(key, range(200))
    sqlite_store.scrub()
    assert not [file.name for file in folder.iterdir() if SECRET.encode() in file.read_bytes()]
    assert sqlite_store.task_ids(key) == set()


def test_a_reader_is_waited_for_no_longer_than_writers_can_bear(
    sqlite_store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """It gives up when its time is over, and says that traces may be left."""
    with sqlite_store._read() as reader:
        reader.exec_driver_sql("SELECT count(*) FROM tasks").all()
        sqlite_store.record_project("http://studio", 2, "1")
        sqlite_store.scrub()
    assert "traces" in caplog.text
    assert sqlite_store.find_project("http://studio", 2) is not None
    caplog.clear()
    sqlite_store.scrub()
    assert not caplog.text
