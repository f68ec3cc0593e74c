"""How soon the server answers, at rest and while a training runs, and how much memory it takes.

    python -m benchmarks.serving [--predictions 10000] [--folder KEPT]

A real Label Studio with the sample project, whose first version has been trained. The server then starts anew, so
that the first answer has to load the model, and is left alone until it has nothing to do. The calls are those that
Label Studio makes: one task to /predict (texts that are in no project, so that each is a forward pass), and webhooks
with the project's secret, each over a connection of its own. At rest nothing else goes on; among webhooks the worker
reads the project after them, and while training it does that and trains. The yardstick is /health in the same run,
which does nothing: machines differ. --folder keeps Label Studio and project for the next run. The result goes to
benchmarks/results/serving.json.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from edgewise.labels.schema import Head
from edgewise.learning.inference import ModelCache, answers, load_trained
from edgewise.services.studio import Studio
from edgewise.settings import Settings
from edgewise.verbs.system import epoch_of
from examples import wikigold
from examples.demo import sample_project, server, wait_for_order
from examples.label_studio import RunningStudio, free_port, start

OUT = Path(__file__).resolve().parent / "results" / "serving.json"
CLIENTS, EACH = 20, 25
PROJECTS = 20
CALLS, LOOKED_AFTER = 300, 10
LABELLED = 20
QUIET_S = 5.0  # without a job

Json = dict[str, Any]


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--predictions", type=int, default=10_000)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgewise-serving-") as name:
        folder, port = options.folder or Path(name), free_port()
        studio = start(folder / "studio", free_port())
        try:
            with server(studio, folder / "data", port) as url:
                project = sample_project(studio, url)
                wait_for_order(url, project)
            found = measured(studio, folder / "data", port, project, options.predictions)
        finally:
            studio.stop()
    staged = OUT.with_suffix(".tmp")
    staged.write_text(json.dumps(found, indent=2) + "\n")
    staged.replace(OUT)
    print(json.dumps(found, indent=2))


def measured(studio: RunningStudio, data: Path, port: int, project: int, predictions: int) -> Json:
    """Everything, on a server that starts now."""
    with Studio(studio.url, studio.token) as api:
        raw = api.project(project)
        (hook,) = [one for one in api.webhooks(project) if f":{port}/" in one["url"]]
    bodies = questions(f"{project}.{epoch_of(raw['created_at'])}", raw["label_config"])
    event = json.dumps({"action": "ANNOTATION_UPDATED", "project": {"id": project}}).encode()
    began = time.perf_counter()
    with server(studio, data, port) as url:

        def predict() -> float:
            return ask(port, "/predict", next(bodies), {})

        def webhook() -> float:
            return ask(port, "/webhook", event, hook["headers"])

        predict()
        found: Json = {"cores": os.cpu_count(), "start_to_first_answer_s": round(time.perf_counter() - began, 2)}
        until_quiet(url)
        found["arithmetic"] = [f"{one['choice']}: {one['reason']}" for one in status(url, project)["arithmetic"]]
        calls = {"predict": predict, "health": lambda: ask(port, "/health", None, {})}
        found["at_rest"] = in_turn(calls, lambda done: done < CALLS)
        calls["webhook"] = webhook
        found["among_webhooks"] = in_turn(calls, lambda done: done < CALLS)
        until_quiet(url)
        train(studio, url, project)
        found["while_training"] = in_turn(calls, lambda done: is_training(url))
        until_quiet(url)
        found["clients_at_once"] = crowd(predict)
        version = serving_version(url, project)
        found["memory_mb"] = growth(port, predict, predictions)
        if serving_version(url, project) != version:
            found["memory_mb"]["another_version_came"] = 1  # its model is held beside the one before it
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        found["twenty_projects"] = process.submit(many_projects, data).result()
    return found


def questions(project: str, config: str) -> Iterator[bytes]:
    """Bodies for /predict: sentences that are in no project, one task each, again and again."""
    tasks = [{"id": 10_000_000 + i, "data": {"text": row["text"]}} for i, row in enumerate(wikigold.rows("test"))]
    known = {"label_config": config, "project": project, "params": {}}
    return cycle([json.dumps({"tasks": [task]} | known).encode() for task in tasks])


def ask(port: int, path: str, body: bytes | None, headers: Json) -> float:
    """A call over a connection of its own; seconds it took."""
    began = time.perf_counter()
    with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("POST" if body else "GET", path, body, {"Content-Type": "application/json"} | headers)
        answer = connection.getresponse()
        said = answer.read()
        if answer.status not in (200, 201) or (
            path == "/predict" and not json.loads(said)["results"][0]["model_version"]
        ):
            raise SystemExit(f"{path} answered {answer.status}: the benchmark measured something else")
    return time.perf_counter() - began


def train(studio: RunningStudio, url: str, project: int) -> None:
    """Label the next tasks with gold, as without news nothing trains, and begin a training."""
    gold = {row["text"]: row for row in wikigold.rows("train")}
    with Studio(studio.url, studio.token) as api:
        for _ in range(LABELLED):
            task = api.next_task(project)
            api._post(f"/api/tasks/{task['id']}/annotations/", {"result": wikigold.result(gold[task["data"]["text"]])})
    httpx.post(f"{url}/projects/{project}/train", json={}, timeout=30).raise_for_status()
    while not is_training(url):
        time.sleep(0.1)


def in_turn(calls: Mapping[str, Callable[[], float]], goes_on: Callable[[int], bool]) -> Json:
    """All kinds of calls in turn, so that whatever else the machine does slows all; after so many rounds, go on?"""
    took: dict[str, list[float]] = {name: [] for name in calls}
    done = 0
    while goes_on(done):
        for _ in range(LOOKED_AFTER):
            for name, call in calls.items():
                took[name].append(call())
        done += LOOKED_AFTER
    return {"calls_of_each": done} | {name: in_ms(seconds) for name, seconds in took.items()}


def in_ms(seconds: list[float]) -> dict[str, float]:
    """Quantiles."""
    return {f"p{share}": round(1e3 * float(np.percentile(seconds, share)), 1) for share in (50, 95, 99)}


def crowd(predict: Callable[[], float]) -> Json:
    """Twenty clients at once; an answer that is missing or wrong ends the benchmark."""
    began = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as clients:
        took = [one.result() for one in [clients.submit(predict) for _ in range(CLIENTS * EACH)]]
    rate = len(took) / (time.perf_counter() - began)
    return {"clients": CLIENTS, "answers": len(took), "lost": 0, "a_second": round(rate, 1), "ms": in_ms(took)}


def growth(port: int, predict: Callable[[], float], predictions: int) -> dict[str, float]:
    """Resident memory of the server's processes after a tenth and after all of so many predictions."""
    found = {}
    for done in range(1, predictions + 1):
        predict()
        if done in (predictions // 10, predictions):
            found[f"after_{done}"] = round(sum(resident(pid) for pid in processes(port)), 0)
    return found


def serving_version(url: str, project: int) -> str:
    """Which version answers."""
    return str(status(url, project)["model_version"]["id"])


def status(url: str, project: int) -> Json:
    """Where the project stands."""
    return dict(httpx.get(f"{url}/projects/{project}/status", timeout=30).json())


def many_projects(data: Path) -> Json:
    """The version's model as that of twenty projects, one after another and round again, through the server's cache."""
    newest = max(data.rglob("model.safetensors"), key=lambda file: file.stat().st_mtime)
    head, bound = Head("label", "text", "text", wikigold.LABELS), Settings().model_cache_mb
    texts, cache = [row["text"] for row in wikigold.rows("test")[:8]], ModelCache(bound)
    seen: list[float] = []
    for turn in range(2 * PROJECTS):
        model = cache.get(f"project {turn % PROJECTS}", lambda: load_trained(newest.parent, head, max_length=128))
        answers(model, texts)
        held = sum(one.nbytes for _, one in cache._held.values()) / 1e6
        seen.append(resident(os.getpid()))
        if held > bound:
            raise SystemExit(f"The cache holds {held:.0f} MB, more than {bound}.")
    return {
        "bound_mb": bound,
        "held_mb": round(held),
        "with_one_model_mb": round(seen[0]),
        "at_most_mb": round(max(seen)),
    }


def is_training(url: str) -> bool:
    """Whether one runs now."""
    return any(one["kind"] == "train" and one["state"] == "running" for one in jobs(url))


def jobs(url: str) -> list[Json]:
    """The newest ones: more than a training's length of webhooks brings."""
    return list(httpx.get(f"{url}/jobs", params={"limit": 500}, timeout=30).json()["jobs"])


def until_quiet(url: str) -> None:
    """Until nothing has waited or run for a while. A job that failed ends the benchmark."""
    quiet_since = time.monotonic()
    while time.monotonic() - quiet_since < QUIET_S:
        time.sleep(0.5)
        states = {one["state"] for one in jobs(url)}
        if "failed" in states:
            raise SystemExit("A job failed: the benchmark measured something else.")
        if states & {"queued", "running"}:
            quiet_since = time.monotonic()


def processes(port: int) -> list[int]:
    """The web server's processes, without the worker that it keeps."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if "_wsgi" in line and str(port) in line:
            found.append(int(folder.name))
    return found


def resident(pid: int) -> float:
    """MB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
