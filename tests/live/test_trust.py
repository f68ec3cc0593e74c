"""Secrets and strangers, on the real system: canaries are sent through every door, and looked for wherever we write."""

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgewise.services.studio import Studio
from examples.label_studio import RunningStudio
from tests.live.conftest import RunningEdgewise
from tests.live.helpers import TEXTS, edgewise, new_project, secret_of
from tests.live.test_plugin import predict_body
from tests.studio_fixture import StudioProject, region

USER, PASSWORD = "label-studio", "canary-password-91c2"
SETUP_TOKEN = "canary-setup-token-77aa0000000000000000000"
LLM_KEY = "canary-llm-key-55bb"
EXTRA = "canary-extra-params"
TASK_TEXT = "Quetzalcoatl-canary lives in Paris."


class Listener:
    """A host that nobody is to call, and who did."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __enter__(self) -> "Listener":
        calls = self.calls

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                calls.append(self.path)
                self.send_error(404)

            do_POST = do_HEAD = do_PUT = do_GET

            def log_message(self, *_: object) -> None:
                """Nobody wants to read it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    with Listener() as made:
        yield made


@pytest.fixture(scope="module")
def server(label_studio: RunningStudio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEdgewise]:
    """A server with credentials, at the most talkative log level."""
    variables = {
        "BASIC_AUTH_USER": USER, "BASIC_AUTH_PASS": PASSWORD, "LOG_LEVEL": "DEBUG", "LLM_API_KEY": LLM_KEY,
        "START_TRAINING_EACH_N_UPDATES": "1000",
    }  # fmt: skip
    with edgewise(label_studio, tmp_path_factory.mktemp("trust") / "data", **variables) as running:
        yield running


@pytest.fixture
def http(server: RunningEdgewise) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, auth=(USER, PASSWORD), timeout=60) as client:
        yield client


@pytest.fixture
def project(
    label_studio: RunningStudio, studio: Studio, server: RunningEdgewise, http: httpx.Client
) -> Iterator[StudioProject]:
    """A project with our backend, connected."""
    with new_project(label_studio, studio) as made:
        made.add_tasks([*TEXTS[:3], TASK_TEXT])
        backend = {"auth_method": "BASIC_AUTH", "basic_auth_user": USER, "basic_auth_pass": PASSWORD}
        made.call("POST", "api/ml/", {"project": made.id, "url": server.url, "title": "Edgewise", **backend})
        wait_for(http, made.id, "connect")
        yield made


def wait_for(http: httpx.Client, project: int, kind: str) -> None:
    """Until no job of this kind waits or runs, and one is done."""
    for _ in range(600):
        states = {job["state"] for job in http.get("/jobs").json()["jobs"] if job["kind"] == kind}
        if "done" in states and not states & {"queued", "running"}:
            return
        threading.Event().wait(0.2)
    raise AssertionError(http.get(f"/projects/{project}/status").text)


def run(http: httpx.Client, project: StudioProject, verb: str, **options: object) -> Any:
    """Queue a verb, and its job once it has ended."""
    job = http.post(f"/projects/{project.id}/{verb}", json=options).json()
    for _ in range(600):
        state = http.get(f"/jobs/{job['id']}").json()
        if state["state"] not in ("queued", "running"):
            return state
        threading.Event().wait(0.2)
    raise AssertionError(state)


def test_no_secret_is_kept_or_told_and_nobody_chooses_a_host_a_file_or_a_model(
    server: RunningEdgewise, project: StudioProject, http: httpx.Client, listener: Listener, label_studio: RunningStudio
) -> None:
    config = project.studio.project(project.id)["label_config"]
    answers = every_door(http, project, config, listener)
    state = run(http, project, "doctor")
    assert state["state"] == "done", state
    assert listener.calls == [], "somebody was called that a task, a config or extra_params named"
    secret = secret_of(project, server)["X-Edgewise-Secret"]
    kept = everything_written(server.data)
    never = (PASSWORD, SETUP_TOKEN, LLM_KEY, label_studio.token, EXTRA)
    for place, content in kept.items():
        found = [one for one in never if one.encode() in content]
        assert not found, f"{place} holds {found}"
        if place.suffix == ".log":
            assert secret.encode() not in content, "the log holds the webhook's secret"
            assert b"Quetzalcoatl" not in content, "the log quotes a task"
            assert b"unexpected, in" not in content, content[-3000:]
    assert any(secret.encode() in content for content in kept.values()), "it looked where secrets would be"
    told = "".join(answers)
    assert not [one for one in (*never, secret, str(server.data)) if one in told]


def every_door(http: httpx.Client, project: StudioProject, config: str, listener: Listener) -> list[str]:
    """What all our calls answer, good ones and bad ones, with canaries in whatever they carry."""
    evil = {"model": f"{listener.url}/model", "path": "/etc/passwd", "url": listener.url, "note": EXTRA}
    epoch = project.studio.project(project.id)["created_at"]
    setup = {
        "project": f"{project.id}.{_epoch(epoch)}", "schema": config, "hostname": listener.url,
        "access_token": SETUP_TOKEN, "extra_params": evil,
    }  # fmt: skip
    asked = predict_body(project)
    asked["params"] = {"login": "canary", "password": SETUP_TOKEN, "context": None, **evil}
    places = (f"{listener.url}/a.txt", "file:///etc/passwd", "/etc/passwd", "s3://bucket/a", "//127.0.0.1/a")
    asked["tasks"] += [{"id": 10**6 + n, "data": {"text": place}} for n, place in enumerate(places)]
    hostile = config.replace("<View>", f'<View><Style src="{listener.url}"/>').replace(
        'value="$text"', f'value="$text" valueType="url" savetextresult="yes" src="{listener.url}/x"'
    )
    bad = [(USER, SETUP_TOKEN), (PASSWORD, USER)]
    calls = [
        http.post("/setup", json=setup),
        http.post("/setup", json={**setup, "schema": hostile}),
        http.post("/setup", json=setup | {"project": SETUP_TOKEN}),
        http.post("/predict", json=asked),
        http.post("/predict", json=asked | {"label_config": hostile}),
        http.post("/predict", content=json.dumps(asked)[:-5]),
        http.post("/webhook", json={"action": "START_TRAINING", "project": {"id": SETUP_TOKEN}}),
        http.post("/webhook", json={"action": "PROJECT_UPDATED", "project": {"id": project.id}}),
        http.post("/select_samples", json={"project_id": project.id, "strategy": "canary-strategy"}),
        http.post(f"/projects/{project.id}/rollback", json={"version": "../../../etc/passwd"}),
        http.post(f"/projects/{project.id}/train", json={"base": f"{listener.url}/model", "model": "/etc/passwd"}),
        http.get(f"/projects/{project.id}/status"),
        http.get(f"/projects/{project.id}/numbers"),
        http.get(f"/dashboard/{project.id}"),
        http.get("/dashboard/static/../../../settings.py"),
        http.get("/metrics"),
        http.get("/jobs"),
        *(http.get("/versions", auth=pair) for pair in bad),
    ]
    assert [answer.status_code for answer in calls if answer.status_code >= 500] == []
    assert calls[0].status_code == 200
    assert calls[3].status_code == 200
    assert [bool(one["result"]) for one in calls[3].json()["results"][-len(places) :]].count(True) == 0
    return [answer.text for answer in calls if "results" not in answer.text[:20]]


def _epoch(created_at: str) -> str:
    from edgewise.verbs.system import epoch_of

    return epoch_of(created_at)


def everything_written(folder: Path) -> dict[Path, bytes]:
    """All files of a server: log, database with what is not yet in its main file, MLflow's, weights."""
    for path in folder.glob("*.db"):
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA wal_checkpoint(FULL)")
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_rotated_secret_is_new_on_both_sides_and_the_old_one_is_worth_nothing(
    server: RunningEdgewise, project: StudioProject, http: httpx.Client
) -> None:
    old = dict(secret_of(project, server))
    event = {"action": "ANNOTATION_CREATED", "project": {"id": project.id}}
    plain = httpx.Client(base_url=server.url, timeout=10)
    with plain:
        assert plain.post("/webhook", json=event, headers=old).status_code == 201
        state = run(http, project, "connect", rotate_secret=True)
        assert state["state"] == "done", state
        new = dict(secret_of(project, server))
        assert new != old
        assert plain.post("/webhook", json=event, headers=old).status_code == 401
        assert plain.post("/webhook", json=event, headers=new).status_code == 201
        run(http, project, "connect")
        assert dict(secret_of(project, server)) == new, "only who asks for a new one gets one"
    task = project.add_tasks([TASK_TEXT])[0]
    before = synced(http)
    project.annotate(task, [region(0, 12, TASK_TEXT, "PER", id="r1")])
    for _ in range(100):
        if synced(http) > before:
            return
        threading.Event().wait(0.2)
    raise AssertionError("Label Studio's webhook no longer reaches us")


def synced(http: httpx.Client) -> int:
    """How many syncs are through."""
    return sum(job["kind"] == "sync" and job["state"] == "done" for job in http.get("/jobs?limit=500").json()["jobs"])
