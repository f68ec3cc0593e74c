"""What the store keeps of reports, on SQLite and on PostgreSQL."""

import pytest

from edgewise.errors import NotFound
from edgewise.services.store import Store


@pytest.fixture
def project(store: Store) -> int:
    return store.record_project("http://studio", 1, "1", title="", label_config="<View/>").key


def test_a_report_is_listed_once_it_is_finished(store: Store, project: int) -> None:
    begun = store.begin_report(project, "job-1", "plan")
    assert store.reports(project, 9) == []
    with pytest.raises(NotFound):
        store.report(project, "job-1")
    store.finish_report(project, "job-1", {"advice": ["Cheap."]})
    found = store.report(project, "job-1")
    assert (found.kind, found.created_at, found.content) == ("plan", begun.created_at, {"advice": ["Cheap."]})
    assert store.reports(project, 9) == [found]


def test_a_job_that_runs_again_finds_what_it_has_spent(store: Store, project: int) -> None:
    store.begin_report(project, "job-1", "plan")
    store.update_report(project, "job-1", spend={"calls": 7})
    assert store.begin_report(project, "job-1", "plan").spend == {"calls": 7}


def test_the_newest_reports_come_first_and_each_project_has_its_own(store: Store, project: int) -> None:
    other = store.record_project("http://studio", 2, "1", title="", label_config="<View/>").key
    for key, id, kind in ((project, "a", "plan"), (project, "b", "evaluate-llm"), (other, "c", "plan")):
        store.begin_report(key, id, kind)
        store.finish_report(key, id, {"id": id})
    assert [report.id for report in store.reports(project, 9)] == ["b", "a"]
    assert [report.id for report in store.reports(project, 1)] == ["b"]
    assert [report.id for report in store.reports(project, 9, kind="plan")] == ["a"]
    with pytest.raises(NotFound):
        store.report(other, "a")


def test_instructions_are_found_by_their_version(store: Store, project: int) -> None:
    first = store.add_instructions(project, "people only")
    store.add_instructions(project, "places too")
    assert store.told(project, 1) == first
    assert store.told(project, 3) is None


def test_erasing_a_project_erases_its_reports(store: Store, project: int) -> None:
    store.begin_report(project, "job-1", "plan")
    store.finish_report(project, "job-1", {})
    store.erase_project(project)
    assert store.reports(project, 9) == []
