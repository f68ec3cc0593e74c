"""What connecting does in Label Studio, that doing it twice does nothing more, and that forget undoes it."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from edgewise.services.studio import Studio
from examples.label_studio import RunningStudio
from tests.live.conftest import RunningEdgewise, quiet
from tests.live.helpers import TEXTS, connect, edgewise, hook_of, memory, new_project, run
from tests.studio_fixture import CONFIG, StudioProject, region

SAMPLES = 3
EVENTS = {
    "PROJECT_UPDATED",
    "TASKS_CREATED",
    "TASKS_DELETED",
    "ANNOTATION_CREATED",
    "ANNOTATIONS_CREATED",
    "ANNOTATION_UPDATED",
    "ANNOTATIONS_DELETED",
}
OTHER_CONFIG = CONFIG.replace("PER", "RIVER").replace("ORG", "HILL").replace("LOC", "LAKE")
USER, PASSWORD = "label-studio", "a password: with a colon"


@pytest.fixture(scope="module")
def server(label_studio: RunningStudio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEdgewise]:
    """A server that holds out a third of the tasks."""
    variables = {"SAMPLES_PER_ITERATION": str(SAMPLES), "AUDIT_FRACTION": "0.33"}
    with edgewise(label_studio, tmp_path_factory.mktemp("connect"), **variables) as running:
        yield running


@pytest.fixture
def project(label_studio: RunningStudio, studio: Studio) -> Iterator[StudioProject]:
    with new_project(label_studio, studio) as made:
        yield made


def test_adding_the_backend_in_label_studio_is_all_it_takes(server: RunningEdgewise, project: StudioProject) -> None:
    tasks = project.add_tasks(TEXTS)
    connect(server, project)
    status = server.wait(project.id, lambda status: quiet(status) and status["release"])
    hook = hook_of(project, server)
    assert hook["url"] == f"{server.url}/webhook"
    assert hook["is_active"]
    assert not hook["send_for_all_actions"]
    assert set(hook["actions"]) == EVENTS
    assert len(hook["headers"]["X-Edgewise-Secret"]) >= 32
    raw = project.studio.project(project.id)
    assert raw["sampling"] == "Uncertainty sampling"
    assert raw["model_version"] == status["release"]["name"]
    (view,) = [view for view in project.studio.views(project.id) if view["data"]["title"] == "Hardest first"]
    assert view["data"]["ordering"] == ["tasks:predictions_score"]
    checks = run(server, project, "doctor")["checks"]
    assert all(check["ok"] for check in checks), checks
    with memory(server, project.id) as (store, known):
        order = store.order(known.key, known.active_release or 0)
        audit = {task.task_id for task in store.tasks(known.key, tasks).values() if task.audit}
    assert sorted(order) == sorted(tasks)
    assert audit, "the texts are such that some are held out"
    assert [project.next_task()] == order[:1]
    the_samples_are_the_order_without_audit_tasks(server, project, [task for task in order if task not in audit])

    before = in_label_studio(project)
    run(server, project, "connect")
    server.wait(project.id, quiet)
    assert in_label_studio(project) == before


def the_samples_are_the_order_without_audit_tasks(
    server: RunningEdgewise, project: StudioProject, expected: list[int]
) -> None:
    """select_samples: hardest first, as many as SAMPLES_PER_ITERATION unless a limit is given, each with a reason."""
    answer = server.post("/select_samples", {"project_id": project.id})
    assert answer["task_ids"] == expected[:SAMPLES]
    assert [sample["task_id"] for sample in answer["samples"]] == answer["task_ids"]
    assert all(sample["reason"] for sample in answer["samples"])
    assert (answer["project_id"], answer["pool_size"]) == (project.id, len(expected))
    everything = server.post("/select_samples", {"project_id": project.id, "limit": 1000})
    assert everything["task_ids"] == expected


def test_forget_undoes_all_of_it_and_keeps_the_annotations(server: RunningEdgewise, project: StudioProject) -> None:
    tasks = project.add_tasks(TEXTS)
    project.studio.update_project(project.id, sampling="Uniform sampling")
    mine = {"task": tasks[0], "result": [], "score": 0.5}
    project.studio.push_release(project.id, "mine", [mine])
    project.studio.activate(project.id, "mine")
    before = in_label_studio(project)
    connect(server, project)
    server.wait(project.id, lambda status: quiet(status) and status["release"])
    kept = project.annotate(tasks[0], [region(0, 4, TEXTS[0], "PER", id="r1")])
    job = server.post(f"/projects/{project.id}/forget")["id"]
    gone(server, project)
    after = in_label_studio(project)
    assert after == before
    assert not project.studio.backends(project.id), "it would be connected again at the next look at the Model page"
    (annotation,) = project.call("GET", f"api/tasks/{tasks[0]}/")["annotations"]
    assert annotation["id"] == kept
    assert not [path for path in (server.data / "models").glob(f"*/{project.id}-*")], job
    project.annotate(tasks[1])
    gone(server, project, "a webhook brought it back")


def test_projects_on_one_server_are_isolated(
    server: RunningEdgewise, project: StudioProject, label_studio: RunningStudio, studio: Studio
) -> None:
    with new_project(label_studio, studio, OTHER_CONFIG) as other:
        tasks = {one.id: set(one.add_tasks(TEXTS[:6])) for one in (project, other)}
        for one in (project, other):
            connect(server, one)
        for one in (project, other):
            server.wait(one.id, lambda status: quiet(status) and status["release"])
            samples = server.post("/select_samples", {"project_id": one.id, "limit": 100})["task_ids"]
            assert samples
            assert set(samples) <= tasks[one.id]
            assert server.status(one.id)["tasks"]["tasks"] == 6
        first, second = (hook_of(one, server)["headers"] for one in (project, other))
        assert first != second
        body = {"action": "ANNOTATION_CREATED", "project": {"id": other.id}}
        assert httpx.post(f"{server.url}/webhook", json=body, headers=first, timeout=10).status_code == 401
        server.post(f"/projects/{project.id}/forget")
        gone(server, project)
        assert server.status(other.id)["tasks"]["tasks"] == 6
        assert hook_of(other, server)["headers"] == second
        assert other.studio.project(other.id)["model_version"] == server.status(other.id)["release"]["name"]


def test_a_backend_that_is_added_again_under_another_address_is_taken_over_too(
    server: RunningEdgewise, project: StudioProject
) -> None:
    connect(server, project)
    (old,) = project.studio.backends(project.id)
    project.call("DELETE", f"api/ml/{old['id']}")
    elsewhere = server.url.replace("127.0.0.1", "localhost")
    project.studio.add_backend(project.id, elsewhere, "Edgewise")
    server.wait(project.id, lambda status: secret_at(project, elsewhere), within_s=20)
    checks = run(server, project, "doctor")["checks"]
    assert all(check["ok"] for check in checks), checks


def test_a_personal_access_token_and_basic_auth_work(
    label_studio: RunningStudio,
    personal_token: str,
    project: StudioProject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    variables = {"LABEL_STUDIO_API_KEY": personal_token, "BASIC_AUTH_USER": USER, "BASIC_AUTH_PASS": PASSWORD}
    project.add_tasks(TEXTS[:3])
    with edgewise(label_studio, tmp_path_factory.mktemp("guarded"), **variables) as guarded:
        assert httpx.get(f"{guarded.url}/jobs", timeout=10).status_code == 401
        wrong = httpx.post(
            f"{label_studio.url}/api/ml/",
            headers=project.http.headers,
            json={"project": project.id, "url": guarded.url},
            timeout=60,
        )
        assert wrong.status_code == 400, wrong.text
        assert project.studio.backends(project.id) == []
        login = {"auth_method": "BASIC_AUTH", "basic_auth_user": USER, "basic_auth_pass": PASSWORD}
        project.studio.add_backend(project.id, guarded.url, "Edgewise", **login)
        with httpx.Client(base_url=guarded.url, auth=(USER, PASSWORD), timeout=60) as http:
            labelled_tasks_arrive(http, project)


def labelled_tasks_arrive(http: httpx.Client, project: StudioProject) -> None:
    """A label comes through the webhook, although Label Studio sends no basic auth with it."""
    path = f"/projects/{project.id}/status"
    until(http, path, lambda status: status["phase"] != "connecting" and status["tasks"]["tasks"] == 3)
    assert http.get(path).json()["trouble"] is None
    project.annotate(project.next_task(), [region(0, 4, TEXTS[0], "PER", id="r1")])
    until(http, path, lambda status: status["tasks"]["labelled"] == 1)


def until(http: httpx.Client, path: str, condition: Any, within_s: float = 60) -> None:
    """Until the answer at a path is as it should be."""
    deadline = time.monotonic() + within_s
    while not condition(answer := http.get(path).raise_for_status().json()):
        assert time.monotonic() < deadline, answer
        time.sleep(0.2)


def secret_at(project: StudioProject, address: str) -> bool:
    """Whether the webhook to this address carries a secret."""
    hooks = project.studio.webhooks(project.id)
    return any(hook["url"].startswith(address) and hook["headers"] for hook in hooks)


def in_label_studio(project: StudioProject) -> dict[str, Any]:
    """All that connecting touches in Label Studio."""
    raw = project.studio.project(project.id)
    return {
        "sampling": raw["sampling"],
        "model_version": raw["model_version"],
        "show_collab_predictions": raw["show_collab_predictions"],
        "versions": {name: n for name, n in project.studio.model_versions(project.id).items() if n},
        "views": [(view["id"], view["data"]) for view in project.studio.views(project.id)],
        "hooks": [
            {name: value for name, value in hook.items() if name != "updated_at"}
            for hook in project.studio.webhooks(project.id)
        ],
    }


def gone(server: RunningEdgewise, project: StudioProject, why: str = "") -> None:
    """Until the server remembers nothing of the project, and still a moment later."""
    store = server.store()
    try:
        deadline = time.monotonic() + 60
        while any(known.ls_id == project.id for known in store.projects()):
            assert time.monotonic() < deadline, why
            time.sleep(0.1)
        time.sleep(1.0)
        assert not any(known.ls_id == project.id for known in store.projects()), why
    finally:
        store.close()
