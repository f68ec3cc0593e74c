"""What the store keeps of language models, on SQLite and on PostgreSQL."""

import pytest

from edgewise.services.store import Prelabelled, Store, Task


@pytest.fixture
def project(store: Store) -> int:
    """A project with four open tasks, the last of which cannot be read."""
    key = store.record_project("http://studio", 1, "1", title="", label_config="<View/>").key
    tasks = [Task(i, {"text": f"text {i}"}, f"key {i}") for i in range(1, 4)]
    store.upsert_tasks(key, [*tasks, Task(4, {}, "key 4", problem="no text")], {})
    return key


def test_a_run_goes_on_with_the_tasks_that_it_has_not_answered(store: Store, project: int) -> None:
    assert store.not_prelabelled(project, 1, limit=10) == [1, 2, 3]
    store.save_prelabels(project, [Prelabelled(2, 1, ({"id": "r"},), 0.5), Prelabelled(99, 1)])
    assert store.not_prelabelled(project, 1, limit=10) == [1, 3]
    assert store.not_prelabelled(project, 2, limit=2) == [1, 2]
    assert store.count_not_prelabelled(project, 1) == 2
    assert (store.count_prelabelled(project, 1), store.count_prelabelled(project, 2)) == (1, 0)
    assert store.prelabels(project, 1, [1, 2]) == {2: Prelabelled(2, 1, ({"id": "r"},), 0.5)}
    assert store.prelabels(project, 2, [2]) == {}


def test_the_next_run_replaces_the_last_ones_prelabels(store: Store, project: int) -> None:
    store.save_prelabels(project, [Prelabelled(1, 1, confidence=0.2)])
    store.save_prelabels(project, [Prelabelled(1, 2, error="refused")])
    assert store.prelabels(project, 1, [1]) == {}
    assert store.prelabels(project, 2, [1])[1].error == "refused"


def test_an_erased_text_takes_every_answer_along_that_it_was_part_of(store: Store, project: int) -> None:
    answers = store.answers(project)
    answers.put("one", {"text": "a"}, ["text 1"])
    answers.put("shown", {"text": "b"}, ["text 2", "text 1"])
    answers.put("other", {"text": "c"}, ["text 3"])
    assert answers.get("shown") == {"text": "b"}
    assert store.erase_texts(project, ["text 1"]) == 2
    assert [answers.get(key) for key in ("one", "shown", "other")] == [None, None, {"text": "c"}]


def test_an_answer_is_kept_once_and_of_its_project_only(store: Store, project: int) -> None:
    other = store.record_project("http://studio", 2, "1", title="", label_config="<View/>").key
    for text in ("first", "second"):
        store.answers(project).put("key", {"text": text}, ["text 1"])
    assert store.answers(project).get("key") == {"text": "second"}
    assert store.answers(other).get("key") is None


def test_instructions_have_versions_and_the_same_text_is_the_same_one(store: Store, project: int) -> None:
    assert store.instructions(project) is None
    first = store.add_instructions(project, "people only")
    assert store.add_instructions(project, "people only") == first
    second = store.add_instructions(project, "places too")
    assert (first.version, second.version, store.instructions(project)) == (1, 2, second)


def test_erasing_a_project_erases_all_of_it(store: Store, project: int) -> None:
    store.answers(project).put("key", {}, ["text 1"])
    store.add_instructions(project, "people only")
    store.save_prelabels(project, [Prelabelled(1, 1)])
    store.erase_project(project)
    assert store.answers(project).get("key") is None
    assert store.instructions(project) is None
