"""Our client of Label Studio, on a real one, and on one whose answers get lost on the way."""

import re
import threading
from collections.abc import Callable
from typing import Any

import pytest

from edgewise.errors import NotFound, StudioGone, StudioRefused, StudioUnavailable
from edgewise.services.studio import Studio
from examples.label_studio import RunningStudio
from tests.http_stand_in import Answer, Forward, as_json, proxy, serving
from tests.studio_fixture import StudioProject, region


def prediction(task_id: int, score: float = 0.5, label: str = "PER") -> dict[str, Any]:
    return {"task": task_id, "result": [region(0, 4, "Anna", label, id="r1")], "score": score}


# Tasks


def test_pages_hold_every_task_once_by_rising_id(studio_project: StudioProject) -> None:
    ids = studio_project.add_tasks([f"Anna {number}" for number in range(2500)])
    pages = list(studio_project.studio.task_pages(studio_project.id, page_size=400))
    assert [task["id"] for page in pages for task in page] == ids
    assert len(pages) == 7
    assert {"id", "data", "annotations", "updated_at", "overlap"} == set(pages[0][0])
    assert studio_project.studio.task_ids(studio_project.id) == set(ids)


def test_no_task_slips_between_two_pages_when_others_are_deleted_meanwhile(studio_project: StudioProject) -> None:
    ids = studio_project.add_tasks([f"Anna {number}" for number in range(20)])
    seen: list[int] = []
    for page in studio_project.studio.task_pages(studio_project.id, page_size=5):
        seen += [task["id"] for task in page]
        studio_project.call("DELETE", f"api/tasks/{page[0]['id']}/")
    assert seen == ids


def test_an_empty_project_has_no_page(studio_project: StudioProject) -> None:
    assert list(studio_project.studio.task_pages(studio_project.id)) == []
    assert studio_project.studio.task_ids(studio_project.id) == set()
    assert studio_project.studio.carrying(studio_project.id, "ew-1") == set()


def test_given_tasks_are_read_and_missing_ones_passed_over(studio_project: StudioProject) -> None:
    ids = studio_project.add_tasks([f"Anna {number}" for number in range(250)])
    wanted = [*ids[::2], 10**9]
    assert [task["id"] for task in studio_project.studio.tasks(studio_project.id, wanted)] == ids[::2]
    assert studio_project.studio.tasks(studio_project.id, []) == []


def test_predictions_of_tasks_are_read_of_every_version(studio_project: StudioProject) -> None:
    one, two, other = studio_project.add_tasks(["Anna"] * 3)
    studio = studio_project.studio
    for name, label in (("ew-1", "PER"), ("ew-2", "ORG")):
        studio.push_release(studio_project.id, name, [prediction(task, label=label) for task in (one, two, other)])
    found = studio.predictions(studio_project.id, [one, two])
    assert [(said["task"], said["model_version"]) for said in found] == [
        (task, name) for task in (one, two) for name in ("ew-1", "ew-2")
    ]
    assert {"id", "result"} <= set(found[0])
    assert [said["result"][0]["value"]["labels"] for said in found] == [["PER"], ["ORG"]] * 2
    assert studio.predictions(studio_project.id, []) == []


def test_every_kind_of_change_is_seen_after_a_watermark(studio_project: StudioProject) -> None:
    fresh, edited, unskipped, deleted, bulk, quiet = studio_project.add_tasks(["Anna"] * 6)
    annotation_ids = {
        edited: studio_project.annotate(edited),
        unskipped: studio_project.annotate(unskipped, was_cancelled=True),
        deleted: studio_project.annotate(deleted),
        quiet: studio_project.annotate(quiet),
    }
    studio_project.studio.push_release(studio_project.id, "ew-1", [prediction(bulk)])
    watermark = max(
        task["updated_at"] for task in studio_project.studio.tasks(studio_project.id, range(fresh, quiet + 1))
    )

    studio_project.annotate(fresh)
    studio_project.call(
        "PATCH", f"api/annotations/{annotation_ids[edited]}/", {"result": [region(0, 4, "Anna", "PER")]}
    )
    studio_project.call("PATCH", f"api/annotations/{annotation_ids[unskipped]}/", {"was_cancelled": False})
    studio_project.call("DELETE", f"api/annotations/{annotation_ids[deleted]}/")
    bulk_action = {"selectedItems": {"all": False, "included": [bulk]}, "model_version": "ew-1"}
    studio_project.call(
        "POST", f"api/dm/actions?id=predictions_to_annotations&project={studio_project.id}", bulk_action
    )

    pages = studio_project.studio.task_pages(studio_project.id, updated_after=watermark)
    changed = {task["id"]: task["annotations"] for page in pages for task in page}
    assert set(changed) == {fresh, edited, unskipped, deleted, bulk}
    assert changed[deleted] == []
    assert changed[bulk][0].get("lead_time") is None


# Releases


def test_dropped_predictions_are_named_and_the_rest_is_stored(
    studio_project: StudioProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgewise.services.studio_releases.CHUNK", 1000)
    ids = studio_project.add_tasks([f"Anna {number}" for number in range(1200)])
    release = [prediction(task_id, score=number / 1200) for number, task_id in enumerate(ids)]
    release[700]["result"][0]["value"]["labels"] = ["PLANET"]
    release[1100]["score"] = 1.5
    told: list[int] = []
    dropped = studio_project.studio.push_release(studio_project.id, "ew-1", release, progress=told.append)
    assert dropped == [ids[700], ids[1100]]
    assert told == [1000, 1200]
    assert studio_project.studio.model_versions(studio_project.id) == {"ew-1": 1198}
    assert studio_project.studio.carrying(studio_project.id, "ew-1") == {*ids} - {*dropped}


def test_a_release_is_not_taken_for_another_whose_name_begins_alike(studio_project: StudioProject) -> None:
    first, second, both = studio_project.add_tasks(["Anna"] * 3)
    studio_project.studio.push_release(studio_project.id, "ew-1", [prediction(first), prediction(both)])
    studio_project.studio.push_release(studio_project.id, "ew-12", [prediction(second), prediction(both)])
    assert studio_project.studio.carrying(studio_project.id, "ew-1") == {first, both}
    assert studio_project.studio.carrying(studio_project.id, "ew-12") == {second, both}


def test_a_task_with_many_versions_is_still_known_to_carry_the_last(studio_project: StudioProject) -> None:
    (task_id,) = studio_project.add_tasks(["Anna"])
    many = [prediction(task_id) | {"model_version": f"llm-{number}"} for number in range(90)]
    studio_project.call("POST", f"api/projects/{studio_project.id}/import/predictions", many)
    for name in ("llm-8", "llm-89"):
        assert studio_project.studio.carrying(studio_project.id, name) == {task_id}
    assert studio_project.studio.carrying(studio_project.id, "llm-") == set()


@pytest.mark.parametrize("fate", ["stored, answer lost", "lost on the way", "arrives late", "half stored"])
def test_a_chunk_without_answer_never_doubles_and_never_misses(
    fate: str, label_studio: RunningStudio, studio_project: StudioProject
) -> None:
    ids = studio_project.add_tasks([f"Anna {number}" for number in range(30)])
    release = [prediction(task_id) for task_id in ids]
    pushes: list[str] = []
    late: list[threading.Timer] = []

    def meddle(_method: str, path: str, forward: Forward) -> Answer | None:
        if "import/predictions" not in path:
            return forward()
        pushes.append(path)
        if len(pushes) > 1:
            return forward()
        if fate == "stored, answer lost":
            forward()
        if fate == "arrives late":
            late.append(threading.Timer(0.6, forward))
            late[0].start()
        if fate == "half stored":
            studio_project.studio.push_release(studio_project.id, "ew-1", release[:15])
        return None

    with proxy(label_studio, meddle) as url, Studio(url, label_studio.token, settle_s=1.0) as client:
        assert client.push_release(studio_project.id, "ew-1", release) == []
        for thread in late:
            thread.join()
    assert studio_project.studio.model_versions(studio_project.id) == {"ew-1": 30}
    assert studio_project.studio.carrying(studio_project.id, "ew-1") == set(ids)


def test_doubles_are_removed_and_the_newest_stays(studio_project: StudioProject) -> None:
    ids = studio_project.add_tasks(["Anna"] * 5)
    studio_project.studio.push_release(studio_project.id, "ew-1", [prediction(task_id) for task_id in ids])
    assert studio_project.studio.remove_doubles(studio_project.id, "ew-1") == 0
    studio_project.studio.push_release(studio_project.id, "ew-1", [prediction(task_id) for task_id in ids[:2]])
    newest = max(one["id"] for one in studio_project.call("GET", f"api/predictions/?task={ids[0]}"))
    assert studio_project.studio.remove_doubles(studio_project.id, "ew-1") == 2
    assert [one["id"] for one in studio_project.call("GET", f"api/predictions/?task={ids[0]}")] == [newest]
    assert studio_project.studio.model_versions(studio_project.id) == {"ew-1": 5}
    assert studio_project.studio.carrying(studio_project.id, "ew-1") == set(ids)


@pytest.mark.parametrize(("counted", "most"), [("at once", 4), ("late", 6)])
def test_one_double_among_many_tasks_is_found_in_few_calls(
    counted: str, most: int, label_studio: RunningStudio, studio_project: StudioProject
) -> None:
    ids = studio_project.add_tasks(["Anna"] * 300)
    studio_project.studio.push_release(studio_project.id, "ew-1", [prediction(task_id) for task_id in ids])
    studio_project.studio.push_one(studio_project.id, "ew-1", prediction(ids[-1]))
    calls: list[str] = []

    def meddle(method: str, _path: str, forward: Forward) -> Answer | None:
        calls.append(method)
        status, headers, content = forward()
        late = re.sub(rb'"total_predictions":\d+', b'"total_predictions":0', content)
        return status, headers, late if counted == "late" else content

    with proxy(label_studio, meddle) as url, Studio(url, label_studio.token) as client:
        assert client.remove_doubles(studio_project.id, "ew-1") == 1
    assert len(calls) <= most
    assert studio_project.studio.model_versions(studio_project.id) == {"ew-1": 300}


def test_a_push_that_never_gets_an_answer_is_unavailable(
    label_studio: RunningStudio, studio_project: StudioProject
) -> None:
    ids = studio_project.add_tasks(["Anna"] * 3)

    def meddle(_method: str, path: str, forward: Forward) -> Answer | None:
        return None if "import/predictions" in path else forward()

    with proxy(label_studio, meddle) as url:
        client = Studio(url, label_studio.token, settle_s=0.0)
        with client, pytest.raises(StudioUnavailable):
            client.push_release(studio_project.id, "ew-1", [prediction(task_id) for task_id in ids])
    assert studio_project.studio.model_versions(studio_project.id) == {}


def test_a_task_twice_in_a_release_is_our_own_mistake(studio: Studio) -> None:
    with pytest.raises(ValueError, match="twice"):
        studio.push_release(1, "ew-1", [prediction(7), prediction(7)])


def test_the_next_task_follows_the_active_release(studio_project: StudioProject) -> None:
    ids = studio_project.add_tasks([f"Anna {number}" for number in range(6)])
    studio = studio_project.studio
    for name, scores in {"ew-1": [0.9, 0.1, 0.5, 0.3, 0.7, 0.2], "ew-2": [0.9, 0.8, 0.7, 0.0, 0.6, 0.5]}.items():
        studio.push_release(studio_project.id, name, [prediction(*one) for one in zip(ids, scores, strict=True)])
    studio.activate(studio_project.id, "ew-1")
    assert studio_project.next_task() == ids[1]
    studio_project.annotate(ids[1])
    studio.activate(studio_project.id, "ew-2")
    assert studio_project.next_task() == ids[3]


def test_a_release_that_label_studio_does_not_know_cannot_be_activated(studio_project: StudioProject) -> None:
    with pytest.raises(StudioRefused, match="model_version"):
        studio_project.studio.activate(studio_project.id, "ew-404")


def test_deleting_an_old_release_keeps_the_active_one(studio_project: StudioProject) -> None:
    ids = studio_project.add_tasks(["Anna"] * 3)
    studio = studio_project.studio
    for name in ("ew-1", "ew-2"):
        studio.push_release(studio_project.id, name, [prediction(task_id) for task_id in ids])

    def backend(_method: str, path: str, _body: bytes, _headers: dict[str, str]) -> Answer:
        return as_json({"status": "UP", "model_class": "x", "model_version": "ew-2"})

    with serving(backend) as url:  # a backend of that title is what makes Label Studio forget the version
        studio.add_backend(studio_project.id, url, "ew-2")
        assert [one["url"] for one in studio.backends(studio_project.id)] == [url]
        studio.activate(studio_project.id, "ew-2")
        assert studio.delete_model_version(studio_project.id, "ew-1") == 3
        assert studio.delete_model_version(studio_project.id, "ew-1") == 0
        assert studio.project(studio_project.id)["model_version"] == "ew-2"
        assert studio.model_versions(studio_project.id) == {"ew-2": 3}


# Projects, webhooks, views


def test_a_project_that_is_no_more_is_gone_whatever_is_asked_of_it(
    studio: Studio, studio_project: StudioProject
) -> None:
    (task_id,) = studio_project.add_tasks(["Anna"])
    studio_project.call("DELETE", f"api/projects/{studio_project.id}/")
    gone = studio_project.id
    asks: list[Callable[[], object]] = [
        lambda: studio.project(gone),
        lambda: studio.update_project(gone, title="Another title"),
        lambda: list(studio.task_pages(gone)),
        lambda: studio.model_versions(gone),
        lambda: studio.push_release(gone, "ew-1", [prediction(task_id)]),
        lambda: studio.activate(gone, "ew-1"),
        lambda: studio.delete_model_version(gone, "ew-1"),
        lambda: studio.backends(gone),
        lambda: studio.webhooks(gone),
        lambda: studio.views(gone),
    ]
    for ask in asks:
        with pytest.raises(StudioGone):
            ask()
    assert gone not in [project["id"] for project in studio.projects()]


def test_a_refused_field_is_named_and_its_value_is_not(studio_project: StudioProject) -> None:
    with pytest.raises(StudioRefused, match="title") as refusal:
        studio_project.studio.update_project(studio_project.id, title="secret" * 20)
    assert "secret" not in str(refusal.value)


def test_a_webhook_is_made_with_headers_changed_and_deleted(studio: Studio, studio_project: StudioProject) -> None:
    made = studio.create_webhook(studio_project.id, "http://127.0.0.1:9/webhook", headers={"Authorization": "Bearer x"})
    assert made["headers"] == {"Authorization": "Bearer x"}
    assert studio.update_webhook(made["id"], headers={"X-Edgewise": "y"})["headers"] == {"X-Edgewise": "y"}
    assert [one["id"] for one in studio.webhooks(studio_project.id)] == [made["id"]]
    studio.delete_webhook(made["id"])
    studio.delete_webhook(made["id"])
    assert studio.webhooks(studio_project.id) == []
    with pytest.raises(NotFound):
        studio.update_webhook(made["id"], headers={})


def test_a_view_lists_the_tasks_it_was_given(studio: Studio, studio_project: StudioProject) -> None:
    ids = studio_project.add_tasks(["Anna"] * 5)

    def listing(chosen: list[int]) -> dict[str, Any]:
        item = {"filter": "filter:tasks:id", "operator": "in_list", "type": "List", "value": chosen}
        return {"title": "Hardest first", "filters": {"conjunction": "and", "items": [item]}}

    view = studio.create_view(studio_project.id, listing(ids[:2]))
    studio.update_view(view["id"], listing(ids[3:]))
    shown = studio_project.call("GET", f"api/tasks/?view={view['id']}&project={studio_project.id}")
    assert [task["id"] for task in shown["tasks"]] == ids[3:]
    assert [one["id"] for one in studio.views(studio_project.id)] == [view["id"]]
    studio.delete_view(view["id"])
    studio.delete_view(view["id"])
    with pytest.raises(NotFound):
        studio.update_view(view["id"], listing([]))
