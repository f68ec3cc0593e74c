"""What sync sees when no webhook tells it, what it leaves alone, and when a project counts as gone."""

import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgewise.errors import StudioRefused
from edgewise.services.jobs import Progress, perform
from edgewise.services.store import Project
from edgewise.services.studio import Studio
from edgewise.settings import Settings
from edgewise.verbs.sync import sync
from edgewise.verbs.system import System
from examples.label_studio import RunningStudio
from model import system_for
from tests.live.conftest import RunningEdgewise, second_token
from tests.live.helpers import TEXTS, connect, edgewise, memory, new_project, run, silence
from tests.studio_fixture import CONFIG, StudioProject, region

LONG_AGO = datetime.now(UTC) - timedelta(hours=2)


@pytest.fixture(scope="module")
def server(label_studio: RunningStudio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEdgewise]:
    """One server for this module; it syncs by hand only."""
    with edgewise(label_studio, tmp_path_factory.mktemp("sync"), NUM_TRAIN_EPOCHS="0.1") as running:
        yield running


@pytest.fixture
def project(label_studio: RunningStudio, studio: Studio) -> Iterator[StudioProject]:
    with new_project(label_studio, studio) as made:
        yield made


def person(text: str) -> dict[str, Any]:
    """The first word as a person."""
    return region(0, text.index(" "), text, "PER", id="r1")


def test_a_changed_labelling_config_is_noticed_and_the_project_goes_on(
    server: RunningEdgewise, project: StudioProject
) -> None:
    tasks = project.add_tasks(TEXTS)
    connect(server, project)
    silence(project, server)
    for position, task in enumerate(tasks[:4]):
        project.annotate(task, [person(TEXTS[position])])
    first = run(server, project, "train")["model_version"]
    project.call(
        "PATCH",
        f"api/projects/{project.id}/",
        {"label_config": CONFIG.replace('<Label value="LOC"/>', '<Label value="LOC"/><Label value="DAY"/>')},
    )
    note = run(server, project, "sync")["note"]
    assert "config" in note
    status = server.wait(project.id, lambda status: served(status) not in (None, first["id"]), within_s=90)
    assert "changed labelling config" in status["model_version"]["reason"]
    assert status["model_version"]["parent"] == first["id"]
    with memory(server, project.id) as (store, known):
        assert "DAY" in known.label_config
        assert known.active_release is not None
        assert (
            store.release(known.key, known.active_release).schema_digest
            == store.version(known.key, status["release"]["version"]).schema_digest
        )


def test_what_happens_without_a_webhook_is_seen_by_the_next_sync(
    server: RunningEdgewise, project: StudioProject
) -> None:
    tasks = project.add_tasks(TEXTS[:8])
    edited, skipped, unlabelled, opened, bulk, _, deleted, _ = tasks
    kept = {
        task: project.annotate(task, [person(TEXTS[i])]) for i, task in enumerate(tasks) if task in (edited, unlabelled)
    }
    project.annotate(skipped, was_cancelled=True)
    connect(server, project)
    silence(project, server)
    run(server, project, "sync")
    assert labelled(server, project) == {edited: ["PER"], unlabelled: ["PER"]}
    counts_before, jobs_before = server.status(project.id)["tasks"], kinds(server, project)

    edit = [person(TEXTS[0]), region(TEXTS[0].index("Paris"), TEXTS[0].index("Paris") + 5, TEXTS[0], "LOC", id="r2")]
    project.call("PATCH", f"api/annotations/{kept[edited]}/", {"result": edit})
    project.call(
        "PATCH", f"api/annotations/{skip_of(project, skipped)}/", {"was_cancelled": False, "result": [person(TEXTS[1])]}
    )
    project.call("DELETE", f"api/annotations/{kept[unlabelled]}/")
    annotations_from_predictions(project, [opened, bulk])
    project.annotate(opened, [person(TEXTS[3])])
    project.call("DELETE", f"api/tasks/{deleted}/")
    assert server.status(project.id)["tasks"] == counts_before, "the webhook is off, yet something was noticed"
    assert kinds(server, project) == jobs_before

    with memory(server, project.id) as (store, known):
        store.update_project(known.key, swept_at=LONG_AGO)  # the hour until the next sweep is over
    counts = run(server, project, "sync")["tasks"]
    assert labelled(server, project) == {edited: ["LOC", "PER"], skipped: ["PER"], opened: ["PER"]}
    assert (counts["labelled"], counts["tasks"]) == (3, 7)
    assert counts["open"] == 7 - 3 - 1, "a task with an annotation made in bulk is finished for Label Studio, too"
    with memory(server, project.id) as (store, known):
        assert deleted not in store.task_ids(known.key)
        assert {task.task_id for task, _ in store.annotated(known.key)} == {edited, skipped, opened, bulk}
        unopened = [one.unopened for task, many in store.annotated(known.key) for one in many if task.task_id == bulk]
        assert unopened == [True]


def test_a_sync_that_finds_nothing_queues_nothing(server: RunningEdgewise, project: StudioProject) -> None:
    connect(server, project)
    assert kinds(server, project).count("rank") == 0, "there is nothing to rank in an empty project"
    project.add_tasks(["http://example.com/text.txt"])
    run(server, project, "sync")
    before = kinds(server, project)
    status = run(server, project, "sync")
    assert sorted(kinds(server, project)) == sorted([*before, "sync"]), status["jobs"]


def test_a_project_deleted_in_label_studio_is_erased_here(server: RunningEdgewise, project: StudioProject) -> None:
    project.add_tasks(TEXTS[:3])
    connect(server, project)
    silence(project, server)
    with memory(server, project.id) as (_, known):
        key = known.key
    project.call("DELETE", f"api/projects/{project.id}/")
    server.post(f"/projects/{project.id}/sync")
    wait_until_gone(server, project.id, key)
    store = server.store()
    try:
        assert store.task_ids(key) == set()
        ended = {(job.kind, job.state) for job in store.jobs(100, key)}
        assert ("sync", "done") in ended, ended
        assert not any(state in ("queued", "running") for _, state in ended), ended
    finally:
        store.close()
    answer = httpx.get(f"{server.url}/projects/{project.id}/status", timeout=30)
    assert answer.status_code == 404, answer.text
    assert answer.json()["error"]["mend"]


@pytest.fixture
def system(label_studio: RunningStudio, tmp_path: Path) -> Iterator[System]:
    """The system of a terminal: no server, no worker."""
    opened = system_with(label_studio, tmp_path, label_studio.token)
    yield opened
    opened.store.close()
    opened.studio.close()


def test_a_wrong_token_erases_nothing(
    system: System, label_studio: RunningStudio, project: StudioProject, tmp_path: Path
) -> None:
    known = synced(system, project)
    assert refusal(label_studio, tmp_path, "0" * 40, known)
    assert system.store.counts(known.key)["tasks"] == 3


def test_the_token_of_another_organisation_erases_nothing(
    system: System,
    label_studio: RunningStudio,
    project: StudioProject,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    known = synced(system, project)
    token = second_token(label_studio)
    move_to_another_organisation(tmp_path_factory, token)
    with Studio(label_studio.url, token) as other:
        assert other.whoami()["email"], "the token itself is good"
    assert refusal(label_studio, tmp_path, token, known)
    assert system.store.counts(known.key)["tasks"] == 3


def synced(system: System, project: StudioProject) -> Project:
    """A project with three tasks, read once."""
    project.add_tasks(TEXTS[:3])
    known = system.project(project.id)
    perform_sync(system, known)
    assert system.store.counts(known.key)["tasks"] == 3
    return known


def refusal(label_studio: RunningStudio, data: Path, token: str, known: Project) -> bool:
    """Whether a sync with this token is refused, with what to do about it."""
    other = system_with(label_studio, data, token)
    try:
        perform_sync(other, known)
    except StudioRefused as error:
        return bool(error.mend)
    finally:
        other.store.close()
        other.studio.close()
    return False


def perform_sync(system: System, project: Project) -> None:
    """Run sync here and now, as a job; what it raises is raised."""
    job = system.queue.enqueue("sync", project.key)
    raised: list[BaseException] = []

    def run_it(_: object, progress: Progress) -> None:
        try:
            sync(system, system.by_key(project.key), progress)
        except Exception as error:
            raised.append(error)

    perform(system.store, system.queue, job.id, run_it)
    if raised:
        raise raised[0]


def system_with(label_studio: RunningStudio, data: Path, token: str) -> System:
    """A system on these data with this token."""
    settings = Settings(label_studio_host=label_studio.url, label_studio_api_key=token, data_dir=data)
    return system_for(settings)


def move_to_another_organisation(tmp_path_factory: pytest.TempPathFactory, token: str) -> None:
    """Put a user alone into a new organisation: the open source edition has no call for it."""
    (path,) = tmp_path_factory.getbasetemp().glob("label-studio[0-9]/data/label_studio.sqlite3")
    database = sqlite3.connect(path, timeout=30)
    try:
        with database:
            (user,) = database.execute("SELECT user_id FROM authtoken_token WHERE key = ?", (token,)).fetchone()
            moment = "2026-01-01 00:00:00"
            new = database.execute(
                "INSERT INTO organization (title, created_at, updated_at, created_by_id) VALUES ('Other', ?, ?, ?)",
                (moment, moment, user),
            ).lastrowid
            database.execute("UPDATE htx_user SET active_organization_id = ? WHERE id = ?", (new, user))
            database.execute(
                "UPDATE organizations_organizationmember SET organization_id = ? WHERE user_id = ?", (new, user)
            )
            database.execute(
                "INSERT INTO jwt_auth_jwtsettings (organization_id, api_tokens_enabled, legacy_api_tokens_enabled, "
                "api_token_ttl_days, created_at, updated_at) VALUES (?, 1, 1, 100, ?, ?)",
                (new, moment, moment),
            )
    finally:
        database.close()


def labelled(server: RunningEdgewise, project: StudioProject) -> dict[int, list[str]]:
    """The tasks that the server would learn from, and the labels in them."""
    with memory(server, project.id) as (store, known):
        return {
            task.task_id: sorted(one["value"]["labels"][0] for a in many if not a.unopened for one in a.result)
            for task, many in store.labelled(known.key)
        }


def kinds(server: RunningEdgewise, project: StudioProject) -> list[str]:
    """The kinds of all jobs of a project, whatever became of them."""
    with memory(server, project.id) as (store, known):
        return [job.kind for job in store.jobs(500, known.key)]


def skip_of(project: StudioProject, task: int) -> int:
    """The annotation that a skip left."""
    (annotation,) = project.call("GET", f"api/tasks/{task}/")["annotations"]
    assert annotation["was_cancelled"]
    return int(annotation["id"])


def annotations_from_predictions(project: StudioProject, tasks: list[int]) -> None:
    """The Data Manager's "Create Annotations From Predictions"."""
    predictions = [{"task": task, "result": [region(0, 4, TEXTS[3], "ORG", id="p1")], "score": 0.5} for task in tasks]
    assert project.studio.push_release(project.id, "someone-else", predictions) == []
    body = {"selectedItems": {"all": False, "included": tasks}, "model_version": "someone-else"}
    project.call("POST", f"api/dm/actions?id=predictions_to_annotations&project={project.id}", body)


def served(status: Any) -> str | None:
    """The version whose order Label Studio follows, once that order is there whole."""
    release = status["release"]
    return release["version"] if release and release["whole"] else None


def wait_until_gone(server: RunningEdgewise, ls_id: int, key: int) -> None:
    """Until the server has no such project any more, and the job that erased it, the one that is spared, has ended."""
    store = server.store()
    try:
        for _ in range(300):
            there = any(known.ls_id == ls_id and known.state != "gone" for known in store.projects())
            if not there and not any(job.state == "running" for job in store.jobs(100, key)):
                return
            time.sleep(0.1)
        raise AssertionError("it is still there")
    finally:
        store.close()
