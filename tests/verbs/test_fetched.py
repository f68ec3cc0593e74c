"""Texts that lie at an address: fetched once by sync, served from memory, right to the character in Label Studio."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from edgewise.errors import StudioUnavailable
from edgewise.labels.schema import parse_schema
from edgewise.labels.spans import Document
from edgewise.labels.texts import text_of
from edgewise.services.store import Task
from edgewise.services.studio import Studio
from edgewise.verbs import fetched
from edgewise.verbs.answer import predict
from edgewise.verbs.doctor.project import read_now
from edgewise.verbs.doctor.scene import Scene
from edgewise.verbs.erasure import erase_tasks
from edgewise.verbs.fetched import as_kept
from edgewise.verbs.rank import rank
from edgewise.verbs.status import status
from edgewise.verbs.sync import sweep_now, sync, take_in
from edgewise.verbs.system import System
from examples.label_studio import RunningStudio
from tests.http_stand_in import PLAIN, Site, new_site
from tests.live.browser import browser, log_in, look_at_task
from tests.live.helpers import new_project
from tests.studio_fixture import StudioProject
from tests.verbs.conftest import CONFIG, Make, do, publish, synced
from tests.verbs.test_erasure import tables_with

REMOTE = CONFIG.replace('value="$text"', 'value="$url" valueType="url"')
SCHEMA = parse_schema(REMOTE)
HEAD = SCHEMA.heads[0]
TEXT = "Anna lives in Paris."
OWN = "/data/upload/7/{}.txt"
TOKEN = "Token 0123456789abcdef0123456789abcdef01234567"  # of a form that is sent as it is


class Town:
    """A project that we remember, beside a server that stands where Label Studio does."""

    def __init__(self, system: System, site: Site) -> None:
        self.system, self.site = system, site
        self.key = system.store.record_project(system.address, 7, "1700000000", label_config=REMOTE).key

    def take_in(self, *addresses: Any, **fields: Any) -> bool:
        """Tasks 1, 2, … with these addresses, as Label Studio lists them."""
        page = [
            {"id": n, "data": {"url": one, "note": "n"}, "updated_at": "2026-11-21T00:00:00Z", "annotations": []}
            | fields
            for n, one in enumerate(addresses, start=1)
        ]
        return take_in(self.system, self.system.by_key(self.key), SCHEMA, page)

    def task(self, task_id: int = 1) -> Task:
        return self.system.store.tasks(self.key, [task_id])[task_id]

    def answers(self, path: str, status: int, words: str = TEXT) -> None:
        self.site.answers[path] = (status, PLAIN, words.encode())

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.site.asked]


@pytest.fixture
def site() -> Iterator[Site]:
    with new_site() as made:
        yield made


@pytest.fixture
def town(offline: Make, site: Site) -> Iterator[Town]:
    system = offline(label_studio_host=site.url, label_studio_api_key=TOKEN.removeprefix("Token "))
    yield Town(system, site)
    system.studio.close()


def test_a_text_stands_where_every_head_looks_and_its_address_beside_it(town: Town) -> None:
    town.take_in(OWN.format("a"))
    task = town.task()
    assert text_of(task.data, HEAD) == TEXT
    assert task.data["note"] == "n"
    assert task.problem is None
    assert task.addresses is not None
    assert task.addresses["url"]["address"] == OWN.format("a")
    assert town.site.asked == [(OWN.format("a"), TOKEN)]


def test_an_address_that_has_not_changed_is_fetched_once_and_is_no_change(town: Town) -> None:
    town.take_in(OWN.format("a"))
    town.system.store.answers(town.key).put("asked", {"text": TEXT}, [TEXT])
    annotation = {"id": 5, "result": [], "updated_at": "2026-11-21T00:00:01Z", "lead_time": 3.0, "was_cancelled": False}
    town.answers(OWN.format("a"), 200, "Another text by now.")
    assert not town.take_in(OWN.format("a"), annotations=[annotation])
    assert text_of(town.task().data, HEAD) == TEXT
    assert len(town.paths) == 1
    assert town.system.store.answers(town.key).get("asked") is not None


def test_another_address_is_another_text_and_the_old_one_is_forgotten(town: Town) -> None:
    town.take_in(OWN.format("a"))
    town.system.store.answers(town.key).put("asked", {"text": TEXT}, [TEXT])
    town.answers(OWN.format("b"), 200, "Bob.")
    assert town.take_in(OWN.format("b"))
    assert text_of(town.task().data, HEAD) == "Bob."
    assert tables_with(town.system.store, TEXT) == set()


def test_one_that_cannot_be_had_is_named_and_the_others_are_read(town: Town) -> None:
    town.answers(OWN.format("b"), 404)
    town.take_in(OWN.format("a"), OWN.format("b"), "http://elsewhere.example/secret", 7, "no address", OWN.format("c"))
    problems = town.system.store.problems(town.key, limit=9)
    assert [(n, "404" in what, "ALLOWED_HOSTS" in what, "no address" in what) for n, what in problems.items()] == [
        (2, True, False, False),
        (3, False, True, False),
        (4, False, False, True),
        (5, False, False, True),
    ]
    assert "secret" not in str(problems)
    assert [text_of(town.task(n).data, HEAD) for n in (1, 6)] == [TEXT, TEXT]
    assert town.system.store.counts(town.key)["problems"] == 4


def test_what_could_not_be_had_is_tried_again_later_and_not_at_every_look(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    town.answers(OWN.format("a"), 503)
    for _ in range(3):
        town.take_in(OWN.format("a"))
    assert len(town.paths) == 1
    assert "503" in (town.task().problem or "")
    assert town.system.store.unfetched(town.key) == {1}
    monkeypatch.setattr(fetched, "AGAIN_AFTER", timedelta(0))
    town.answers(OWN.format("a"), 200)
    town.take_in(OWN.format("a"))
    assert text_of(town.task().data, HEAD) == TEXT
    assert town.task().problem is None
    assert town.system.store.unfetched(town.key) == set()


def test_a_copy_that_comes_late_falls_on_its_side_of_the_held_out_split(
    offline: Make, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The split goes by texts: a task whose text was not there has not been drawn yet."""
    monkeypatch.setattr(fetched, "AGAIN_AFTER", timedelta(0))
    town = Town(offline(label_studio_host=site.url, label_studio_api_key="x", audit_fraction=0.49), site)
    addresses = [OWN.format(n) for n in range(20)]
    town.take_in(addresses[0])
    for address in addresses[1:]:
        town.answers(address, 404)
    town.take_in(*addresses)
    early = [town.task(n).audit for n in range(1, 21)]
    for address in addresses[1:]:
        town.answers(address, 200)
    town.take_in(*addresses)
    assert len(set(early)) == 2
    assert {town.task(n).audit for n in range(1, 21)} == {early[0]}
    town.system.studio.close()


def test_a_label_studio_that_is_away_stops_the_sync_and_no_task_is_blamed(offline: Make) -> None:
    with new_site() as site:
        town = Town(offline(label_studio_host=site.url, label_studio_api_key="x"), site)
    with pytest.raises(StudioUnavailable):
        town.take_in(OWN.format("a"))
    assert town.system.store.task_ids(town.key) == set()
    town.system.studio.close()


def test_a_call_is_told_the_text_of_the_same_task_and_address_and_nothing_is_fetched(town: Town) -> None:
    town.take_in(OWN.format("a"), OWN.format("b"))
    asked = len(town.paths)
    tasks: list[dict[str, Any]] = [
        {"id": 1, "data": {"url": OWN.format("a")}},
        {"id": 1, "data": {"url": OWN.format("b")}},
        {"id": 99, "data": {"url": OWN.format("a")}},
        {"id": "1", "data": {"url": OWN.format("a")}},
        {"data": {"url": TEXT}},
        {"id": 2, "data": {"url": {"unread": "x"}}},
        {"id": 2},
    ]
    data = as_kept(town.system, town.system.by_key(town.key), SCHEMA, tasks)
    assert data[0] == {"url": TEXT}
    assert all("not been read yet" in str(item["url"]) for item in data[1:])
    assert len(town.paths) == asked
    assert as_kept(town.system, town.system.by_key(town.key), parse_schema(CONFIG), tasks)[0] == tasks[0]["data"]


def test_a_text_is_erased_with_its_task(town: Town) -> None:
    town.take_in(OWN.format("a"), OWN.format("b"))
    town.system.store.answers(town.key).put("asked", {"text": TEXT}, [TEXT])
    erase_tasks(town.system, town.system.by_key(town.key), [1, 2])
    assert tables_with(town.system.store, TEXT) == set()
    assert tables_with(town.system.store, "/data/upload") == set()


# Beside a real Label Studio


def with_astral(text: str) -> str:
    """The same text behind what Python, JavaScript and Label Studio count in three ways."""
    return f"👩‍👧 é\r\n{text}\n"


def upload(project: StudioProject, name: str, text: str) -> str:
    """Upload a file into the project; its address, as Label Studio writes it into tasks."""
    file = (name, b"\xef\xbb\xbf" + text.encode(), "text/plain")
    answer = project.http.post(
        f"api/projects/{project.id}/import", params={"commit_to_project": "false"}, files={"file": file}
    )
    (upload_id,) = answer.json()["file_upload_ids"]
    found = project.call("GET", f"api/import/file-upload/{upload_id}")
    return f"/data/{found['file']}"


@pytest.fixture
def remote(label_studio: RunningStudio, studio: Studio) -> Iterator[StudioProject]:
    with new_project(label_studio, studio, REMOTE) as project:
        yield project


def test_texts_at_addresses_are_ranked_and_predicted_with_offsets_into_them(
    remote: StudioProject,
    label_studio: RunningStudio,
    make_system: Make,
    tiny_tagger: Path,
    documents: list[Document],
    tmp_path: Path,
) -> None:
    """In our memory, in Label Studio, in a live answer, and on the page that people see."""
    texts = [with_astral(document.text) for document in documents[:6]]
    addresses = [upload(remote, f"{n}.txt", text) for n, text in enumerate(texts)]
    remote.studio.import_tasks(remote.id, [{"data": {"url": one}} for one in [*addresses, "/api/users/"]])
    system = make_system(baseline_model_name=str(tiny_tagger))
    project = synced(system, remote)
    publish(system, project, tiny_tagger, "first")
    do(system, project.key, rank)
    ids = sorted(system.store.task_ids(project.key))
    listed = {task["id"]: task for task in next(remote.studio.task_pages(remote.id))}
    assert [listed[task]["data"]["url"] for task in ids[:6]] == addresses
    pushed = {one["task"]: one for one in remote.call("GET", f"api/predictions/?project={remote.id}")}
    answers = predict(system, system.by_key(project.key), [listed[task] for task in ids], None)
    live = predict(system, system.by_key(project.key), [listed[task] for task in ids], [])
    assert ids[6] not in pushed
    assert answers[6]["result"] == live[6]["result"] == []
    assert sum(len(pushed[task]["result"]) for task in ids[:6]) > 6
    for place, text in enumerate(texts):
        for answer in (pushed[ids[place]], answers[place], live[place]):
            for region in answer["result"]:
                value = region["value"]
                assert text[value["start"] : value["end"]] == value["text"]
        assert len(live[place]["result"]) == len(answers[place]["result"]) == len(pushed[ids[place]]["result"])
    unreadable = status(system, system.by_key(project.key))["unreadable_tasks"]
    assert [(task, "not a file of this project" in what) for task, what in unreadable.items()] == [(ids[6], True)]
    with browser() as context:
        page = context.new_page()
        log_in(page, label_studio)
        drawn = look_at_task(page, label_studio, remote.id, tmp_path / "label.png")
    assert drawn == [region["value"]["text"] for region in pushed[remote.next_task()]["result"]]


def test_an_annotation_teaches_the_text_that_was_shown_and_a_file_that_comes_late_is_read_by_a_sweep(
    remote: StudioProject, make_system: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Label Studio's page saves no text with such a region: only offsets."""
    text = with_astral("Anna lives in Paris .")
    start = text.index("Paris")
    region = {"from_name": "label", "to_name": "text", "type": "labels"}
    value = {"start": start, "end": start + 5, "labels": ["LOC"]}
    with new_site() as files:
        files.answers["/late.txt"] = (404, PLAIN, b"")
        addresses = [upload(remote, "a.txt", text), f"{files.url}/late.txt"]
        remote.studio.import_tasks(remote.id, [{"data": {"url": one}} for one in addresses])
        system = make_system(ALLOWED_HOSTS=files.place)
        scene = Scene(system, remote.id)
        assert read_now(scene) == (2, 0, {}), "the doctor looks for addresses as long as nothing was fetched"
        scene.close()
        key = synced(system, remote).key
        first, late = sorted(system.store.task_ids(key))
        remote.annotate(first, [{**region, "value": value}])
        do(system, key, sync)
        ((task, (annotation,)),) = system.store.labelled(key)
        assert text_of(task.data, HEAD) == text
        assert annotation.result[0]["value"] == value
        assert system.store.updates(key) == 1
        assert "404" in system.store.problems(key, 9)[late]
        del files.answers["/late.txt"]
        do(system, key, sweep_now)
        assert len(files.asked) == 1, "it is not asked twice within minutes"
        monkeypatch.setattr(fetched, "AGAIN_AFTER", timedelta(0))
        do(system, key, sweep_now)
        assert text_of(system.store.tasks(key, [late])[late].data, HEAD) == TEXT
        assert system.store.problems(key, 9) == {}
        assert [token for _, token in files.asked] == [None, None]
        do(system, key, sweep_now)
        assert len(files.asked) == 2
