"""The whole system, really running: our server with its worker beside a real Label Studio, and people who label."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from edgewise.services.store import Store
from edgewise.services.studio import Studio
from examples import wikigold
from examples.label_studio import RunningStudio, free_port

ROOT = Path(__file__).parents[2]
PATIENCE_S = 240.0


@dataclass
class RunningEdgewise:
    """Our server: its address, its data, and what one asks of it."""

    url: str
    data: Path
    process: "subprocess.Popen[bytes]" = field(repr=False)

    def get(self, path: str) -> Any:
        """A GET that must succeed."""
        answer = httpx.get(f"{self.url}{path}", timeout=60)
        assert answer.is_success, (path, answer.text)
        return answer.json()

    def post(self, path: str, body: object = None) -> Any:
        """A POST that must succeed."""
        answer = httpx.post(f"{self.url}{path}", json=body or {}, timeout=60)
        assert answer.is_success, (path, answer.text)
        return answer.json()

    def status(self, project: int) -> Any:
        """A project's status."""
        return self.get(f"/projects/{project}/status")

    def wait(self, project: int, condition: Callable[[Any], object], within_s: float = PATIENCE_S) -> Any:
        """The status as soon as the condition holds."""
        deadline = time.monotonic() + within_s
        while True:
            status = self.status(project)
            if condition(status):
                return status
            assert time.monotonic() < deadline, f"it did not happen within {within_s} s: {status}"
            time.sleep(0.3)

    def store(self) -> Store:
        """Its memory, to compare what Label Studio serves with what was decided."""
        return Store(f"sqlite:///{self.data / 'edgewise.db'}")

    def stop(self) -> None:
        """End it and its worker."""
        self.process.terminate()
        self.process.wait(timeout=30)


def quiet(status: Any) -> bool:
    """No job runs, and none is about to: those that wait for their time may."""
    return not any(
        job["state"] == "running" or (job["state"] == "queued" and not job["run_after"]) for job in status["jobs"]
    )


Start = Callable[..., RunningEdgewise]


@pytest.fixture
def start_edgewise(label_studio: RunningStudio, tmp_path: Path) -> Iterator[Start]:
    """Starts servers beside the test run's Label Studio; keyword arguments are variables of their environment."""
    running: list[RunningEdgewise] = []

    def start(data: Path = tmp_path / "data", port: int | None = None, **variables: str) -> RunningEdgewise:
        data.mkdir(exist_ok=True)
        port = port or free_port()
        environment = {
            name: os.environ[name] for name in ("PATH", "HOME", "LANG", "OMP_WAIT_POLICY") if name in os.environ
        }
        environment |= {
            "LABEL_STUDIO_HOST": label_studio.url,
            "LABEL_STUDIO_API_KEY": label_studio.token,
            "BASELINE_MODEL_NAME": "packaged:minilm",
            "LEARNING_RATE": "auto",
            "NUM_TRAIN_EPOCHS": "auto",
            "DATA_DIR": str(data),
            "MLFLOW_TRACKING_URI": f"sqlite:///{data / 'mlruns.db'}",
            "HF_HUB_OFFLINE": "1",
        }
        with (data / "server.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "_wsgi.py", "--port", str(port)],
                cwd=ROOT,
                env=environment | variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        server = RunningEdgewise(f"http://127.0.0.1:{port}", data, process)
        running.append(server)
        wait_for_health(server)
        return server

    yield start
    for server in running:
        if server.process.poll() is None:
            server.stop()
    if running and os.environ.get("EDGEWISE_SHOW_LOGS"):
        sys.stdout.write((running[0].data / "server.log").read_text())


def wait_for_health(server: RunningEdgewise) -> None:
    """Until the server answers."""
    deadline = time.monotonic() + 60
    while True:
        assert server.process.poll() is None, (server.data / "server.log").read_text()[-3000:]
        try:
            httpx.get(f"{server.url}/health", timeout=1).raise_for_status()
            return
        except httpx.HTTPError:
            assert time.monotonic() < deadline, (server.data / "server.log").read_text()[-3000:]
            time.sleep(0.2)


@dataclass(frozen=True)
class Annotator:
    """Somebody who labels with the gold labels, through Label Studio's own next-task call."""

    http: httpx.Client
    gold: Callable[[str], list[dict[str, Any]]]  # the right result for a text

    def next(self, project: int) -> dict[str, Any]:
        """The task that Label All Tasks shows this person now."""
        answer = self.http.get(f"/api/projects/{project}/next/")
        assert answer.is_success, answer.text
        task: dict[str, Any] = answer.json()
        return task

    def submit(self, task: dict[str, Any]) -> None:
        """Label a task with gold, starting from the pre-label that was shown."""
        shown = task.get("predictions") or []
        body = {
            "result": self.gold(task["data"]["text"]),
            "lead_time": 4.2,
            "parent_prediction": shown[0]["id"] if shown else None,
        }
        answer = self.http.post(f"/api/tasks/{task['id']}/annotations/", json=body)
        assert answer.is_success, answer.text


GoldAnnotators = Callable[[Any, Sequence[Any]], list[Annotator]]


@pytest.fixture
def gold_annotators(label_studio: RunningStudio) -> Iterator[GoldAnnotators]:
    """Two people with accounts of their own who know the gold of these rows of a sample (a package of examples/)."""
    tokens = [label_studio.token, second_token(label_studio)]
    clients = [
        httpx.Client(base_url=label_studio.url, headers={"Authorization": f"Token {token}"}, timeout=60)
        for token in tokens
    ]

    def knowing(sample: Any, rows: Sequence[Any]) -> list[Annotator]:
        gold = {row["text"]: sample.result(row) for row in rows}
        return [Annotator(client, gold.__getitem__) for client in clients]

    yield knowing
    for client in clients:
        client.close()


@pytest.fixture
def annotators(gold_annotators: GoldAnnotators) -> list[Annotator]:
    """Two people who know wikigold."""
    return gold_annotators(wikigold, wikigold.rows("train"))


def second_token(studio: RunningStudio) -> str:
    """The token of a new user, signed up as people do."""
    with httpx.Client(base_url=studio.url, timeout=60, follow_redirects=True) as http:
        http.get("/user/signup/")
        form = {
            "csrfmiddlewaretoken": http.cookies["csrftoken"],
            "email": f"second-{uuid4().hex[:12]}@example.com",
            "password": "second-password-1",
        }
        http.post("/user/signup/", data=form, headers={"Referer": f"{studio.url}/user/signup/"})
        return str(http.get("/api/current-user/token").json()["token"])


def wikigold_project(studio: Studio, rows: Sequence[dict[str, Any]]) -> tuple[int, list[int]]:
    """A project with these rows as unlabelled tasks: its id and theirs."""
    project = int(studio.create_project("wikigold", wikigold.LABEL_CONFIG)["id"])
    return project, studio.import_tasks(project, [wikigold.task(row) for row in rows])
