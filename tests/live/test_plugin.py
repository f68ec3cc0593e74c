"""The folder as a Label Studio ML backend: started by gunicorn, by label-studio-ml, and inside its published server."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgewise.services.store import Store
from edgewise.services.studio import Studio
from edgewise.verbs.system import epoch_of
from examples.label_studio import RunningStudio, free_port
from tests.live.conftest import ROOT, RunningEdgewise, wait_for_health
from tests.live.helpers import TEXTS, ended, new_project, server_environment
from tests.studio_fixture import StudioProject

BIN = Path(sys.executable).parent
PUBLISHED_SERVER = """
import sys
import model
from label_studio_ml.api import init_app

if __name__ == "__main__":
    init_app(model_class=model.Edgewise, model_dir=sys.argv[1]).run("127.0.0.1", int(sys.argv[2]), threaded=True)
"""


@pytest.fixture
def project(label_studio: RunningStudio, studio: Studio) -> Iterator[StudioProject]:
    with new_project(label_studio, studio) as made:
        made.add_tasks(TEXTS[:2])
        yield made


@contextmanager
def started(
    label_studio: RunningStudio, command: Sequence[str], port: int, data: Path, folder: Path = ROOT
) -> Iterator[RunningEdgewise]:
    """A server that somebody starts by a command, in a folder; its own group of processes, ended with it."""
    data.mkdir()
    environment = server_environment(label_studio, data)
    environment["PATH"] = f"{BIN}{os.pathsep}{environment['PATH']}"
    with (data / "server.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        server = RunningEdgewise(f"http://127.0.0.1:{port}", data, process)
        wait_for_health(server)
        yield server
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def predict_body(project: StudioProject) -> dict[str, Any]:
    """As Label Studio asks for predictions of all tasks of a project."""
    raw = project.call("GET", f"api/projects/{project.id}/")
    tasks = project.call("GET", f"api/tasks/?project={project.id}&fields=all")["tasks"]
    return {
        "tasks": [task | {"project": project.id} for task in tasks],
        "project": f"{project.id}.{epoch_of(raw['created_at'])}",
        "label_config": raw["label_config"],
        "params": {"login": None, "password": None, "context": None},
    }


def assert_predicts(server: RunningEdgewise, project: StudioProject) -> None:
    """One prediction per task, such as Label Studio takes."""
    results = server.post("/predict", predict_body(project))["results"]
    assert len(results) == 2
    assert all(isinstance(one["result"], list) and 0 <= one["score"] <= 1 and one["model_version"] for one in results)


def test_the_folder_starts_with_gunicorn(label_studio: RunningStudio, project: StudioProject, tmp_path: Path) -> None:
    port = free_port()
    command = ["gunicorn", "_wsgi:app", "--bind", f"127.0.0.1:{port}", "--threads", "4"]
    with started(label_studio, [str(BIN / command[0]), *command[1:]], port, tmp_path / "data") as server:
        assert_predicts(server, project)
        job = server.post(f"/projects/{project.id}/pause")["id"]
        assert ended(server, job)["state"] == "done", "the worker comes with it"


@pytest.mark.parametrize(
    "where",
    ["inside", "beside"],
)
def test_the_folder_starts_with_the_published_label_studio_ml(
    where: str, label_studio: RunningStudio, project: StudioProject, tmp_path: Path
) -> None:
    port = free_port()
    inside = where == "inside"
    command = [str(BIN / "label-studio-ml"), "start", "." if inside else str(ROOT), "--port", str(port)]
    with started(label_studio, command, port, tmp_path / "data", ROOT if inside else tmp_path) as server:
        assert httpx.get(f"{server.url}/health", timeout=10).json() == {"status": "UP"}
        assert_predicts(server, project)


def test_the_published_server_works_with_our_class(
    label_studio: RunningStudio, project: StudioProject, tmp_path: Path
) -> None:
    port, script = free_port(), tmp_path / "published.py"
    script.write_text(PUBLISHED_SERVER)
    command = ["env", f"PYTHONPATH={ROOT}", sys.executable, str(script), str(tmp_path / "models"), str(port)]
    with started(label_studio, command, port, tmp_path / "data", tmp_path) as server:
        asked = predict_body(project)
        setup = {"project": asked["project"], "schema": asked["label_config"], "hostname": "", "access_token": "x"}
        assert server.post("/setup", setup)["model_version"]
        assert_predicts(server, project)
        assert server.post("/webhook", {"action": "ANNOTATION_CREATED", "project": {"id": project.id}})["job_id"]
        assert queued(server, "sync")


def queued(server: RunningEdgewise, kind: str) -> bool:
    """Whether a job of this kind waits, within a minute: the published server calls fit in a process of its own."""

    store = Store(f"sqlite:///{server.data / 'edgewise.db'}")
    try:
        for _ in range(300):
            if any(job.kind == kind for job in store.jobs(10)):
                return True
            time.sleep(0.2)
        return False
    finally:
        store.close()
