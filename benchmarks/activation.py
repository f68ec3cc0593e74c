"""From the end of a training to a next task that follows the new order, in a project of 5,000 tasks.

    python -m benchmarks.activation [--tasks 5000] [--rounds 3]

A real Label Studio on SQLite with wikigold's sentences, and pairs of them, in a project of that size; server and worker
as `make run` starts them. Each round labels tasks with gold and trains. Counted is from the moment the training has
ended until Label Studio answers with the new release's name and its next task is that order's first; the yardstick is
the same model's forward passes over the tasks that the head has, alone, right afterwards, in the same arithmetic and
with as many threads as a worker has. The result goes to benchmarks/results/activation.json.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads starve whoever shares the cores

import httpx
import numpy as np

import llm_prelabel
from benchmarks.head import taken
from edgewise.labels.schema import Head, Schema
from edgewise.services.children import environment
from edgewise.services.store import Store
from edgewise.services.studio import Studio
from edgewise.settings import Settings
from edgewise.verbs.placing import Run
from edgewise.verbs.system import System
from examples import wikigold
from examples.demo import server, wait_for_order
from examples.label_studio import free_port, start
from model import uncertainty_functions

OUT = Path(__file__).resolve().parent / "results" / "activation.json"
TAUGHT, MORE = 60, 60
ROUND_S = 1200.0
HEAD = Head("label", "text", "text", wikigold.LABELS)

Json = dict[str, Any]


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    rounds = list(measured(given.tasks, given.rounds))
    beyond = [one["seconds"] - one["forward_s"] for one in rounds]
    found = {
        "tasks": given.tasks,
        "cores": os.cpu_count(),
        "rounds": rounds,
        "beyond_forward_passes_s": {
            "median": round(median(beyond), 1), "lowest": round(min(beyond), 1), "highest": round(max(beyond), 1),
        },
    }  # fmt: skip
    staged = OUT.with_suffix(".tmp")
    staged.write_text(json.dumps(found, indent=2) + "\n")
    staged.replace(OUT)
    print(json.dumps(found, indent=2))


def rows(how_many: int) -> Iterator[Json]:
    """wikigold's training sentences, the others, and then pairs that make new ones."""
    known = [row for split in ("train", "dev", "test") for row in wikigold.rows(split)]
    yield from known[:how_many]
    for number in range(how_many - len(known)):
        first, second = known[number % len(known)], known[(7 * number + 1 + number // len(known)) % len(known)]
        shift = len(first["text"]) + 1
        moved = [span | {"start": span["start"] + shift, "end": span["end"] + shift} for span in second["spans"]]
        yield {"text": f"{first['text']} {second['text']}", "spans": [*first["spans"], *moved]}


def measured(tasks: int, rounds: int) -> Iterator[Json]:
    """A round each."""
    with tempfile.TemporaryDirectory(prefix="edgewise-activation-") as name:
        folder = Path(name)
        studio = start(folder / "studio", free_port())
        try:
            with server(studio, folder / "data", free_port()) as url, Studio(studio.url, studio.token) as api:
                project = int(api.create_project("activation", wikigold.LABEL_CONFIG)["id"])
                all_rows = list(rows(tasks))
                api.import_tasks(project, [wikigold.labelled_task(row) for row in islice(all_rows, TAUGHT)])
                api.import_tasks(project, [wikigold.task(row) for row in all_rows[TAUGHT:]])
                api.add_backend(project, url, "Edgewise")
                wait_for_order(url, project)
                until_quiet(url, project)
                for number in range(rounds):
                    label(api, project, all_rows, TAUGHT + MORE * number)
                    arithmetic = standing(folder / "data")
                    one = one_round(api, url, project, all_rows) | {"arithmetic": arithmetic}
                    until_quiet(url, project)
                    texts = head_texts(folder / "data")
                    one |= {"head": len(texts), "forward_s": forward_s(folder / "data", arithmetic, texts)}
                    print(one, flush=True)
                    yield one
        finally:
            studio.stop()


def label(api: Studio, project: int, all_rows: list[Json], first: int) -> None:
    """The next tasks, with gold."""
    ids = sorted(api.task_ids(project))
    for position in range(first, first + MORE):
        api._post(f"/api/tasks/{ids[position]}/annotations/", {"result": wikigold.result(all_rows[position])})


def one_round(api: Studio, url: str, project: int, all_rows: list[Json]) -> Json:
    """Train, wait for Label Studio to follow, and label what it gives: it would give us the same task again."""
    shown, known = api.project(project)["model_version"], finished(url)
    httpx.post(f"{url}/projects/{project}/train", json={}, timeout=30).raise_for_status()
    deadline = time.monotonic() + ROUND_S
    while api.project(project)["model_version"] == shown:
        if time.monotonic() > deadline:
            raise SystemExit("No new release within twenty minutes: see the status page.")
        time.sleep(0.25)
    followed = time.time()
    task = api.next_task(project)
    if all(one["model_version"] == shown for one in task["predictions"]):
        raise SystemExit("The next task does not follow the new release: the benchmark measured something else.")
    gold = next(row for row in all_rows if row["text"] == task["data"]["text"])
    api._post(f"/api/tasks/{task['id']}/annotations/", {"result": wikigold.result(gold)})
    _, ended = max(finished(url) - known, key=lambda one: one[1])
    return {"seconds": round(followed - ended, 2)}


def finished(url: str) -> set[tuple[str, float]]:
    """The trainings that have ended, and when."""
    jobs = httpx.get(f"{url}/jobs", params={"limit": 500}, timeout=30).json()["jobs"]
    done = [one for one in jobs if one["kind"] == "train" and one["state"] == "done"]
    return {(one["id"], datetime.fromisoformat(one["finished_at"]).timestamp()) for one in done}


def until_quiet(url: str, project: int) -> None:
    """Until the rest of the order is ranked too and the version examined, so that nothing runs beside the yardstick."""
    while True:
        status = httpx.get(f"{url}/projects/{project}/status", timeout=30).json()
        if status["release"]["whole"] and status["arithmetic"]:
            return
        time.sleep(1)


def standing(data: Path) -> str:
    """The arithmetic in which the next version's first order is computed: what was chosen for the one that serves."""
    from edgewise.learning.inference.arithmetic import FLOAT32, ONNX

    store = Store(f"sqlite:///{data / 'edgewise.db'}")
    (project,) = store.projects()
    made = store.arithmetics(project.key, project.serving) if project.serving else []
    store.close()
    choice = made[0].choice if made else FLOAT32
    return FLOAT32 if choice == ONNX else choice  # the next version is not exported yet


def forward_s(data: Path, arithmetic: str, texts: list[str]) -> float:
    """Seconds of the newest version's model over texts."""
    import torch

    from edgewise.learning.inference import Tagger, load_trained

    torch.set_num_threads(int(environment()["OMP_NUM_THREADS"]))
    newest = max(data.rglob("model.safetensors"), key=lambda file: file.stat().st_mtime)
    model = load_trained(newest.parent, HEAD, max_length=128, arithmetic=arithmetic)
    assert isinstance(model, Tagger)
    model.tag(texts[:32])
    began = time.perf_counter()
    model.tag(texts)
    return round(time.perf_counter() - began, 2)


def head_texts(data: Path) -> list[str]:
    """The tasks that the newest release began with."""
    system = System(Settings(data_dir=data), uncertainty_functions(), llm_prelabel.prelabel)
    (project,) = system.store.projects()
    assert project.active_release is not None
    release = system.store.release(project.key, project.active_release)
    known = system.store.ranks(project.key, release.n, system.store.order(project.key, release.n))
    run = Run(
        system, replace(project, active_release=release.n - 1), Schema((HEAD,), ()), None, None, {}, release,
        np.random.default_rng([system.settings.seed, project.key, release.n]),
    )  # fmt: skip
    ids = taken(run, lambda some: np.array([known[task].uncertainty for task in some if task in known]))
    texts = [str(task.data["text"]) for task in system.store.tasks(project.key, ids).values()]
    system.store.close()
    return texts


if __name__ == "__main__":
    main()
