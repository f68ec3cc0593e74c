"""What the store keeps of language models, on SQLite and on PostgreSQL."""

import pytest

from edgewise.errors import NotFound
from edgewise.labels.annotations import Annotation
from edgewise.services.store import LlmRun, Prelabelled, Shot, Store, Task


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


def a_run(number: int, digest: str = "d") -> LlmRun:
    return LlmRun(number, digest, "schema", "job", {"model": "m"}, {"usd": "0"}, {})


def test_a_run_is_kept_whole_with_what_it_may_show(store: Store, project: int) -> None:
    assert store.last_llm_run(project) is None
    shots = [Shot(3, {"label": [[0, 4, "PER"]]}, True), Shot(1, {"label": []}, False), Shot(99, {}, False)]
    made = store.add_llm_run(project, a_run(1), shots)
    assert made.created_at is not None
    assert store.last_llm_run(project) == made == store.llm_run(project, 1)
    assert store.shots(project, 1) == [shots[1], shots[0]], "a task that is not here has nothing to show"
    store.add_llm_run(project, a_run(2), shots[:1])
    store.update_llm_run(project, 1, spend={"usd": None}, calibration={"items": 60})
    newest, oldest = store.llm_runs(project)
    assert (newest.run, oldest.run, oldest.spend, oldest.calibration) == (2, 1, {"usd": None}, {"items": 60})
    assert len(store.shots(project, 1)) == 2
    with pytest.raises(NotFound):
        store.llm_run(project, 3)
    store.delete_tasks(project, [3])
    assert [shot.task_id for shot in store.shots(project, 1)] == [1]
    store.erase_project(project)
    assert store.llm_runs(project) == []


def test_a_text_that_changes_takes_its_prelabel_and_its_demonstration_along(store: Store, project: int) -> None:
    store.save_prelabels(project, [Prelabelled(1, 1), Prelabelled(2, 1)])
    store.add_llm_run(project, a_run(1), [Shot(1, {}, False), Shot(2, {}, False)])
    store.upsert_tasks(project, [Task(1, {"text": "new"}, "another key"), Task(2, {"text": "text 2"}, "key 2")], {})
    assert set(store.latest_prelabels(project, [1, 2])) == {2}
    assert [shot.task_id for shot in store.shots(project, 1)] == [2]


def test_who_was_shown_is_remembered(store: Store, project: int) -> None:
    store.save_prelabels(project, [Prelabelled(1, 1, shown=(7, 8)), Prelabelled(2, 2, shown=(8, 9)), Prelabelled(3, 2)])
    assert store.demonstrated(project) == {7, 8, 9}
    assert store.demonstrated(project, 2) == {8, 9}


def test_what_failed_is_counted_and_can_be_asked_again(store: Store, project: int) -> None:
    store.save_prelabels(project, [Prelabelled(1, 1, error="no"), Prelabelled(2, 1), Prelabelled(3, 2, error="no")])
    assert (store.count_failed(project, 1), store.count_prelabelled(project, 1)) == (1, 2)
    assert store.prelabelled(project, 1) == [2]
    store.drop_failed(project, 1)
    assert store.not_prelabelled(project, 1, limit=10) == [1, 3]
    assert set(store.latest_prelabels(project, [1, 2, 3])) == {2, 3}


def test_labelled_audit_tasks_are_asked_about_first(store: Store, project: int) -> None:
    done = [
        Annotation(8, 8, "2026-01-01T00:00:00Z", 1, False, False, False, 1.0, None, ()),
        Annotation(9, 9, "2026-01-01T00:00:00Z", 1, False, False, False, 1.0, None, ()),
    ]
    tasks = [Task(8, {"text": "a"}, "key 8", audit=True, digest="d"), Task(9, {"text": "b"}, "key 9", digest="d")]
    store.upsert_tasks(project, tasks, {8: done[:1], 9: done[1:]})
    assert store.not_prelabelled(project, 1, limit=10) == [8, 1, 2, 3]
    assert [(task.task_id, theirs) for task, theirs in store.examined(project)] == [(8, done[:1])]


def test_disagreements_are_listed_worst_first_and_only_where_somebody_can_label(store: Store, project: int) -> None:
    store.upsert_tasks(project, [Task(7, {"text": "c"}, "key 7", audit=True)], {})
    store.save_prelabels(project, [Prelabelled(task, 1) for task in (1, 2, 3, 7)])
    store.set_disagreements(project, {1: 0.2, 2: 0.9, 3: 0.0, 7: 1.0})
    assert store.disagreeing(project, 10) == [2, 1]
    assert store.disagreeing(project, 1) == [2]
    assert store.latest_prelabels(project, [2])[2].disagreement == 0.9
    store.set_disagreements(project, {2: None})
    store.save_prelabels(project, [Prelabelled(1, 2)])
    assert store.disagreeing(project, 10) == [], "a new answer has not been compared yet"
