"""What the live tests share beside conftest.py: a server for a whole module, and shortcuts through both APIs."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from edgewise.services.store import Project, Store
from edgewise.services.studio import Studio
from examples.label_studio import RunningStudio, free_port
from tests.live.conftest import ROOT, RunningEdgewise, wait_for_health
from tests.studio_fixture import CONFIG, StudioProject

NEVER = "86400"  # for SYNC_INTERVAL_S: nothing is synced but by webhook or by hand
PEOPLE = ("Anna", "Boris", "Chloé", "Dmitri", "Elif", "Farid", "Grace", "Hiro", "Ines", "Jonas", "Kofi", "Lucía")
TEXTS = tuple(f"{name} lives in Paris and works for Acme." for name in PEOPLE)


@contextmanager
def edgewise(label_studio: RunningStudio, data: Path, **variables: str) -> Iterator[RunningEdgewise]:
    """Our server with its worker beside a real Label Studio, ended afterwards; variables: of its environment.

    Left to itself it never syncs and never trains, and hardly any task is held out.
    """
    data.mkdir(parents=True, exist_ok=True)
    port = free_port()
    environment = server_environment(label_studio, data) | variables
    with (data / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "_wsgi.py", "--port", str(port)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    server = RunningEdgewise(f"http://127.0.0.1:{port}", data, process)
    try:
        wait_for_health(server)
        yield server
    finally:
        server.stop()


def server_environment(label_studio: RunningStudio, data: Path) -> dict[str, str]:
    """The environment of a server on the embedded defaults, built from nothing."""
    ours = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return ours | {
        "LABEL_STUDIO_HOST": label_studio.url,
        "LABEL_STUDIO_API_KEY": label_studio.token,
        "BASELINE_MODEL_NAME": "packaged:minilm",
        "LEARNING_RATE": "auto",
        "DATA_DIR": str(data),
        "MLFLOW_TRACKING_URI": f"sqlite:///{data / 'mlruns.db'}",
        "HF_HUB_OFFLINE": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "OMP_NUM_THREADS": "1",
        "AUDIT_FRACTION": "0.000000001",
        "START_TRAINING_EACH_N_UPDATES": "1000",
        "SYNC_INTERVAL_S": NEVER,
    }


@contextmanager
def new_project(label_studio: RunningStudio, studio: Studio, config: str = CONFIG) -> Iterator[StudioProject]:
    """An empty project of Label Studio, and a client to work in it."""
    project = studio.create_project("Edgewise test", config)
    headers = {"Authorization": f"Token {label_studio.token}"}
    with httpx.Client(base_url=label_studio.url, headers=headers, timeout=120) as http:
        yield StudioProject(int(project["id"]), studio, http)


def connect(server: RunningEdgewise, project: StudioProject) -> Any:
    """Add our backend as people do and wait until the first sync is through; the status then."""
    project.studio.add_backend(project.id, server.url, "Edgewise")
    return server.wait(project.id, lambda status: status["phase"] != "connecting" and has_ended(status, "sync"))


def has_ended(status: Any, kind: str) -> bool:
    """A job of this kind went through, and none waits or runs."""
    states = {job["state"] for job in status["jobs"] if job["kind"] == kind}
    return "done" in states and not states & {"queued", "running"}


def run(server: RunningEdgewise, project: StudioProject, verb: str) -> Any:
    """Queue a verb and wait for the end of its job, which must be a good one; the status then."""
    job = server.post(f"/projects/{project.id}/{verb}")["id"]
    state = ended(server, job)
    assert state["state"] == "done", state
    return server.status(project.id)


def ended(server: RunningEdgewise, job: str, within_s: float = 120) -> Any:
    """The job once it has ended."""
    deadline = time.monotonic() + within_s
    while (state := server.get(f"/jobs/{job}"))["state"] in ("queued", "running"):
        assert time.monotonic() < deadline, state
        time.sleep(0.1)
    return state


@contextmanager
def memory(server: RunningEdgewise, ls_id: int) -> Iterator[tuple[Store, Project]]:
    """The server's store, and what it knows of a project."""
    store = server.store()
    try:
        yield store, next(known for known in store.projects() if known.ls_id == ls_id and known.state != "gone")
    finally:
        store.close()


def hook_of(project: StudioProject, server: RunningEdgewise) -> dict[str, Any]:
    """The webhook that Label Studio made for our backend; there must be exactly one."""
    hooks = [hook for hook in project.studio.webhooks(project.id) if hook["url"].startswith(server.url)]
    assert len(hooks) == 1, hooks
    return hooks[0]


def silence(project: StudioProject, server: RunningEdgewise) -> None:
    """Switch the webhook off in Label Studio, as a lost one would be."""
    hook = hook_of(project, server)
    project.studio.update_webhook(hook["id"], url=hook["url"], is_active=False)


def secret_of(project: StudioProject, server: RunningEdgewise) -> Mapping[str, str]:
    """The headers that Label Studio sends with our webhook."""
    headers: Mapping[str, str] = hook_of(project, server)["headers"]
    return headers
