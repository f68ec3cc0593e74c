"""`make run`: Label Studio, the server and its worker on this machine, with a sample project that is ready to label.

The first run makes the project, labels a few dozen of its tasks with gold and lets Edgewise train once; later runs pick
up where it was. Ctrl-C stops everything that it started.
"""

import argparse
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import httpx

from edgewise.errors import EdgewiseError
from edgewise.services.studio import Studio
from examples import wikigold
from examples.label_studio import RunningStudio, StartFailed, start

TITLE = "Edgewise: wikigold"
TAUGHT = 60
READY_S = 120.0
PLACES = ("DATABASE_URL", "MODEL_DIR", "FINETUNED_MODEL_NAME", "REDIS_URL")  # where a server may have been told to look
RANKED_S = 600.0
ROOT = Path(__file__).parent.parent


def main() -> None:
    """Start all, wait until the order is there, say what to do, and stay until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=ROOT / ".run")
    parser.add_argument("--label-studio-port", type=int, default=8080)
    parser.add_argument("--port", type=int, default=9090)
    options = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT):  # Ctrl-C too: whoever is started in the background ignores it
        signal.signal(number, interrupt)
    folder = options.folder.resolve()
    try:
        say("Starting Label Studio (the first time it makes its database: about a minute)")
        studio = start(folder / "label-studio", options.label_studio_port)
        try:
            say("Starting the Edgewise server and its worker")
            with server(studio, folder / "data", options.port) as url:
                project = sample_project(studio, url)
                wait_for_order(url, project)
                exports = written(folder / "edgewise.env", studio, folder / "data", options.port)
                say(goodbye(studio, url, project, exports))
                signal.pause()
        finally:
            studio.stop()
    except KeyboardInterrupt:
        say("\nStopped. Run `make run` again to go on where you were.")
    except StartFailed as error:
        raise SystemExit(str(error)) from None
    except EdgewiseError as error:
        raise SystemExit(f"{error.what}\n{error.mend}") from None


def say(text: str) -> None:
    """One line for the person who started us."""
    print(text, flush=True)


def interrupt(number: int, frame: FrameType | None) -> None:
    """Being told to end is the same as Ctrl-C."""
    raise KeyboardInterrupt


@contextmanager
def server(studio: RunningStudio, data: Path, port: int) -> Iterator[str]:
    """Our server on the embedded defaults, until the block ends."""
    data.mkdir(parents=True, exist_ok=True)
    with (data / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "_wsgi.py", "--port", str(port)],
            cwd=ROOT, env=os.environ | variables(studio, data, port), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for_health(process, url, data / "server.log")
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)


def variables(studio: RunningStudio, data: Path, port: int) -> dict[str, str]:
    """What the server is told, beside what our own environment says; commands that are to do what it does need both."""
    return {
        "LABEL_STUDIO_HOST": studio.url,
        "LABEL_STUDIO_API_KEY": studio.token,
        "BASELINE_MODEL_NAME": "packaged:minilm",
        "LEARNING_RATE": "auto",
        "NUM_TRAIN_EPOCHS": "auto",
        "DATA_DIR": str(data),
        "MLFLOW_TRACKING_URI": f"sqlite:///{data / 'mlruns.db'}",
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def written(path: Path, studio: RunningStudio, data: Path, port: int) -> Path:
    """The variables in a file that a shell reads, for our user alone: a token is among them."""
    elsewhere = {name: os.environ[name] for name in PLACES if name in os.environ}
    told = elsewhere | variables(studio, data, port)
    path.touch(mode=0o600)
    path.chmod(0o600)  # it may have been there
    path.write_text("".join(f"export {name}={shlex.quote(value)}\n" for name, value in told.items()))
    return path


def wait_for_health(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Until the server answers. Raises EdgewiseError if it ended instead: a taken port, say."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise EdgewiseError(
                "The Edgewise server did not start.", f"Its log says why: {log}. A taken port? make run PORT=9091"
            )
        try:
            httpx.get(f"{url}/health", timeout=1).raise_for_status()
            return
        except httpx.HTTPError:
            time.sleep(0.3)
    raise EdgewiseError("The Edgewise server does not answer.", f"Its log says why: {log}.")


def sample_project(studio: RunningStudio, url: str) -> int:
    """The sample project's id: made, filled and connected the first time."""
    with Studio(studio.url, studio.token) as api:
        found = [project["id"] for project in api.projects() if project["title"] == TITLE]
        project = int(found[0]) if found else int(api.create_project(TITLE, wikigold.LABEL_CONFIG)["id"])
        if not api.task_ids(project):
            say(f"Importing {len(wikigold.rows('train'))} sentences, {TAUGHT} of them with their gold labels")
            rows = wikigold.rows("train")
            tasks = [wikigold.labelled_task(row) for row in rows[:TAUGHT]] + [
                wikigold.task(row) for row in rows[TAUGHT:]
            ]
            api.import_tasks(project, tasks)
        if not any(str(backend["url"]).rstrip("/") == url for backend in api.backends(project)):
            say("Connecting the backend")
            api.add_backend(project, url, "Edgewise")
        return project


def wait_for_order(url: str, project: int) -> None:
    """Until a trained version ranks the open tasks, with a line whenever something changes."""
    deadline, last = time.monotonic() + RANKED_S, ""
    while time.monotonic() < deadline:
        status = httpx.get(f"{url}/projects/{project}/status", timeout=30).json()
        line, phase = told(status)
        if phase != last:
            say(line)
            last = phase
        if served_by_version(status):
            return
        time.sleep(1)
    raise EdgewiseError("There is no trained order yet.", f"Look at {url}/projects/{project}/status.")


def told(status: dict[str, Any]) -> tuple[str, str]:
    """A line on what happens now, and what must change before the next line: the phase, or a tenth of a training."""
    if "error" in status:
        return f"  {status['error']['what']}", status["error"]["what"]
    training = [job for job in status["jobs"] if job["kind"] == "train" and job["state"] == "running"]
    tenth = f"{training[0]['progress']:.1f}" if training else ""
    shown = f" ({training[0]['progress']:.0%})" if training else ""
    return f"  {status['phase']}{shown}", status["phase"] + tenth


def served_by_version(status: dict[str, Any]) -> bool:
    """Whether the active release comes from a trained model."""
    return bool(status.get("release") and status["release"]["version"])


def goodbye(studio: RunningStudio, url: str, project: int, exports: Path) -> str:
    """What to click, and what to type in another terminal."""
    return f"""
Ready.

  Label Studio   {studio.url}/projects/{project}/data
  log in with    {studio.username} / {studio.password}
  then click     Label All Tasks: the next task is always the one the model is least sure of
  to look        the tab "Hardest first": the same order, with scores
  dashboard      {url}/dashboard/{project}
  commands       . {shlex.quote(os.path.relpath(exports))} && .venv/bin/edgewise status -p {project}
  samples        curl -s -X POST {url}/select_samples -d '{{"project_id": {project}, "limit": 5}}'

After every ten tasks that you submit the model trains again and the order follows. Ctrl-C stops everything.
"""


if __name__ == "__main__":
    main()
