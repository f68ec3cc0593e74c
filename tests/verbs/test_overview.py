"""The list of all projects, as the dashboard shows it."""

from edgewise.services.store import Task
from edgewise.verbs.status import overview
from tests.verbs.conftest import Make


def test_projects_are_listed_by_their_id_without_those_that_are_gone(offline: Make) -> None:
    system = offline()
    store = system.store
    second = store.record_project(system.address, 9, "1", title="Later")
    store.record_project(system.address, 7, "1", title="First")
    store.record_project("http://another.test", 8, "1")
    store.record_project(system.address, 7, "2", title="Made anew")  # the id 7 of another database
    store.upsert_tasks(second.key, [Task(task_id=1, data={"text": "Anna"}, text_key="a", digest="d")], {})
    listed = overview(system)
    assert [(one["project_id"], one["title"]) for one in listed] == [(7, "Made anew"), (9, "Later")]
    assert [(one["tasks"], one["labelled"], one["phase"]) for one in listed] == [
        (0, 0, "connecting"),
        (1, 1, "connecting"),
    ]
