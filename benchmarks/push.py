"""How long Label Studio takes to have and follow 5,000 predictions: pushed in bulk, then activated.

    python -m benchmarks.push [--tasks 5000]

A real Label Studio on SQLite, with wikigold's regions in each prediction. The peer is Label Studio's own way, "Retrieve
Predictions": one POST of all tasks to the backend, the answers stored one by one; it is measured on fewer tasks and
given per task. Then what a small push costs in a project where all tasks have predictions already, in one call and one
by one, and the same in a Label Studio that was told (SWITCH) to recount only the tasks that a push names. The result
goes to benchmarks/results/push.json.
"""

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from edgewise.services.studio import Studio
from examples import wikigold
from examples.label_studio import RunningStudio, free_port, start

OUT = Path(__file__).resolve().parent / "results" / "push.json"
RETRIEVED = 200
SIZES = (1, 100, 2200)
SINGLY = 12
SWITCH = "fflag_fix_back_4620_memory_efficient_predictions_import_08012025_short"


def predictions(tasks: list[int]) -> list[dict[str, Any]]:
    """One for each task, from wikigold's own spans."""
    rows = wikigold.rows("train")
    return [
        {"task": task, "result": wikigold.result(rows[number % len(rows)]), "score": (number + 1) / (len(tasks) + 1)}
        for number, task in enumerate(tasks)
    ]


def push_and_activate(studio: Studio, project: int, tasks: list[int]) -> dict[str, float]:
    """Seconds until all are stored, and until the next task follows them."""
    began = time.monotonic()
    dropped = studio.push_release(project, "ew-1", predictions(tasks))
    pushed = time.monotonic()
    studio.activate(project, "ew-1")
    ended = time.monotonic()
    if dropped or studio.model_versions(project)["ew-1"] != len(tasks):
        raise SystemExit("not all predictions were stored: the benchmark measured something else")
    return {"push_s": pushed - began, "activate_s": ended - pushed, "both_s": ended - began}


class InstantBackend(BaseHTTPRequestHandler):
    """A backend that answers at once: what is left is Label Studio's own time."""

    def do_GET(self) -> None:
        """/health."""
        self.answer({"status": "UP"})

    def do_POST(self) -> None:
        """/setup and /predict."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "tasks" not in body:
            return self.answer({"model_version": "peer"})
        rows = wikigold.rows("train")
        results = [
            {"result": wikigold.result(rows[number % len(rows)]), "score": 0.5, "model_version": "peer"}
            for number in range(len(body["tasks"]))
        ]
        return self.answer({"results": results})

    def answer(self, value: object) -> None:
        """JSON."""
        content = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@contextmanager
def instant_backend() -> Iterator[str]:
    """Its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), InstantBackend)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def retrieve(studio: Studio, running: RunningStudio) -> float:
    """Seconds per task by Retrieve Predictions."""
    project = new_project(studio, RETRIEVED)
    with instant_backend() as url:
        studio.add_backend(project, url, "peer")
        began = time.monotonic()
        httpx.post(
            f"{running.url}/api/dm/actions",
            params={"id": "retrieve_tasks_predictions", "project": project},
            json={"selectedItems": {"all": True, "excluded": []}},
            headers={"Authorization": f"Token {running.token}"},
            timeout=600,
        ).raise_for_status()
        took = time.monotonic() - began
    if sum(studio.model_versions(project).values()) != RETRIEVED:
        raise SystemExit("Label Studio did not store what it retrieved: the benchmark measured something else")
    return took / RETRIEVED


def small_pushes(studio: Studio, tasks: list[int], project: int) -> dict[str, float]:
    """Seconds of a push of each size, and of some predictions one by one; all tasks have a prediction before."""
    found, every = {}, predictions(tasks)
    for size in SIZES:
        began = time.monotonic()
        studio.push_release(project, f"ew-{size}", every[:size])
        found[f"{size}_in_one_call_s"] = round(time.monotonic() - began, 2)
    began = time.monotonic()
    for one in every[:SINGLY]:
        studio.push_one(project, "ew-singly", one)
    return found | {f"{SINGLY}_one_by_one_s": round(time.monotonic() - began, 2)}


def switched(folder: Path, how_many: int) -> dict[str, float]:
    """Small pushes to a Label Studio that recounts only what a push names."""
    running = start(folder, free_port(), switches={SWITCH: "true"})
    try:
        with Studio(running.url, running.token) as studio:
            project = new_project(studio, how_many)
            tasks = sorted(studio.task_ids(project))
            push_and_activate(studio, project, tasks)
            return small_pushes(studio, tasks, project)
    finally:
        running.stop()


def new_project(studio: Studio, how_many: int) -> int:
    """A project with so many tasks."""
    project = int(studio.create_project("push", wikigold.LABEL_CONFIG)["id"])
    rows = wikigold.rows("train")
    studio.import_tasks(project, [wikigold.task(rows[number % len(rows)]) for number in range(how_many)])
    return project


def main() -> None:
    """Measure both, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=5000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgewise-push-") as folder:
        running = start(Path(folder), free_port())
        try:
            with Studio(running.url, running.token) as studio:
                project = new_project(studio, options.tasks)
                tasks = sorted(studio.task_ids(project))
                ours = push_and_activate(studio, project, tasks)
                small = small_pushes(studio, tasks, project)
                theirs = retrieve(studio, running)
        finally:
            running.stop()
        small_switched = switched(Path(folder), options.tasks)
    ratio = theirs / (ours["both_s"] / options.tasks)
    found: dict[str, Any] = {"tasks": options.tasks, **{name: round(value, 2) for name, value in ours.items()}}
    found |= {"retrieve_s_per_task": round(theirs, 4), "times_faster_than_retrieve": round(ratio, 1)}
    found |= {"small_pushes": small, "small_pushes_with_the_switch": small_switched}
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
