"""Dataset versions of projects in the store, on SQLite and on PostgreSQL."""

import pytest

from edgewise.errors import NotFound
from edgewise.labels.datasets import Content
from edgewise.labels.spans import Span
from edgewise.services.store import Store, Task, Version

ODD = 'a "text"\r\n👩‍👧 \0 half \ud800'


@pytest.fixture
def project(store: Store) -> int:
    """A project with four tasks; the first two say the same."""
    key = store.record_project("http://studio", 1, "1", title="", label_config="<View/>").key
    store.upsert_tasks(key, [Task(i, {"text": text}, text) for i, text in enumerate(("x", "x", ODD, "z"), start=1)], {})
    return key


def labelled(text: str, label: str = "PER") -> Content:
    return Content({"text": text}, {"label": (Span(0, 1, label),)})


def kept(store: Store, project: int, id: str) -> list[str]:
    """The texts of a version that are still there, by task."""
    rows = store.dataset_rows(project, id)
    found = store.dataset_contents(project, [row.content for row in rows])
    return [found[row.content].texts["text"] for row in rows if row.content in found]


def test_a_version_is_kept_with_its_contents(store: Store, project: int) -> None:
    contents = {1: labelled("x"), 2: labelled("x"), 3: labelled(ODD, "LOC")}
    store.add_dataset(project, "s1", contents, config="c")
    store.add_dataset(project, "s2", {**contents, 2: labelled("x", "LOC")}, config="c", parents=["s1"])
    store.add_version(Version("v1", project, "schema", "s2"))
    newest, oldest = store.datasets(project)
    assert (newest.id, newest.parents, newest.models, newest.size) == ("s2", ("s1",), ("v1",), 3)
    assert newest.label_counts == {"label": {"LOC": 2, "PER": 1}}
    assert (oldest.id, oldest.config, oldest.models) == ("s1", "c", ())
    rows = store.dataset_rows(project, "s1")
    assert [row.key for row in rows] == ["1", "2", "3"]
    found = store.dataset_contents(project, [row.content for row in rows])
    assert len(found) == 2
    assert [found[row.content] for row in rows] == list(contents.values())
    with pytest.raises(NotFound):
        store.dataset_rows(project, "s3")


def test_the_same_training_again_changes_nothing(store: Store, project: int) -> None:
    store.add_dataset(project, "s1", {1: labelled("x")}, config="c", parents=["s0"])
    before = store.datasets(project)
    store.add_dataset(project, "s1", {1: labelled("x")}, config="c")
    assert store.datasets(project) == before


def test_a_forgotten_task_takes_its_text_out_of_every_version(store: Store, project: int) -> None:
    for id, label in (("s1", "PER"), ("s2", "LOC")):
        contents = {1: labelled("x", label), 2: labelled("x", label), 4: labelled("z", label)}
        store.add_dataset(project, id, contents, config="c")
    store.delete_tasks(project, [1, 4])
    assert (kept(store, project, "s1"), kept(store, project, "s2")) == (["x", "x"], ["x", "x"])
    store.delete_tasks(project, [2])
    assert (kept(store, project, "s1"), kept(store, project, "s2")) == ([], [])
    assert len(store.dataset_rows(project, "s1")) == 3


def test_what_was_forgotten_during_a_training_is_not_kept(store: Store, project: int) -> None:
    store.delete_tasks(project, [4])
    store.add_dataset(project, "s1", {1: labelled("x"), 4: labelled("z")}, config="c")
    assert kept(store, project, "s1") == ["x"]


def test_an_erased_project_leaves_no_version(store: Store, project: int) -> None:
    store.add_dataset(project, "s1", {1: labelled("x")}, config="c")
    digests = [row.content for row in store.dataset_rows(project, "s1")]
    store.erase_project(project)
    assert store.datasets(project) == []
    assert store.dataset_contents(project, digests) == {}
