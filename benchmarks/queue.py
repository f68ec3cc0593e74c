"""How long `select_samples` takes as the pool and the limit grow, and whether it needs memory for the pool.

    python -m benchmarks.queue [--tasks 10000 100000 1000000]

A store on SQLite with one project, a release that ranks all its tasks, every fiftieth of them an audit task, and every
rank with a region. The call is the verb behind POST /select_samples, in turn with limits of 10, 100 and 1,000 and with
a threshold that the hardest tenth passes; between calls a task is labelled, as it would be. Beside it one SELECT 1
through the same store: machines differ. Each pool is measured in a process of its own. The result goes to
benchmarks/results/queue.json.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import text

import llm_prelabel
from edgewise.labels.annotations import Annotation
from edgewise.services.store import Project, Rank, Store, Task
from edgewise.services.store.tables import ranks, tasks
from edgewise.settings import Settings
from edgewise.verbs.answer import select_samples
from edgewise.verbs.system import System
from model import uncertainty_functions

OUT = Path(__file__).resolve().parent / "results" / "queue.json"
CALLS, PAGE, AUDIT = 100, 20_000, 50
REGION = {"from_name": "label", "to_name": "text", "type": "labels", "value": {"start": 0, "end": 4, "labels": ["PER"]}}

Json = dict[str, Any]


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    given = parser.parse_args()
    found = {f"{count:,} tasks": alone(count) for count in given.tasks}
    staged = OUT.with_suffix(".tmp")
    staged.write_text(json.dumps(found, indent=2) + "\n")
    staged.replace(OUT)
    print(json.dumps(found, indent=2))


def alone(count: int) -> Json:
    """A pool in a process of its own, so that its memory is its own; filled by another."""
    with tempfile.TemporaryDirectory(prefix="edgewise-queue-") as folder:
        for do in (fill, measure):
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
                found = process.submit(do, Path(folder), count).result()
    assert found is not None
    return found


def opened(folder: Path) -> tuple[System, Project]:
    """The system on this folder and its project."""
    system = System(Settings(data_dir=folder), uncertainty_functions(), llm_prelabel.prelabel)
    return system, system.store.record_project(system.address, 1, "now")


def fill(folder: Path, count: int) -> None:
    """All tasks and all ranks, past the checks that a worker makes: what is measured is reading."""
    system, project = opened(folder)
    store, key = system.store, project.key
    n = store.new_release(key, None, "schema").n
    store.upsert_tasks(key, [Task(0, {"text": "0"}, "0")], {})
    store.save_ranks(key, n, [Rank(0, 0.5, 1.0, "PER or LOC at 'some words'", (REGION,) * 5)])
    order = np.random.default_rng(0).permutation(count)
    with store._read() as connection:
        task = dict(connection.execute(tasks.select()).one()._mapping)
        rank = dict(connection.execute(ranks.select()).one()._mapping)
    for start in range(1, count, PAGE):
        ids = range(start, min(count, start + PAGE))
        places = [(i, float(order[i]) / count) for i in ids]
        with store._write() as connection:
            connection.execute(tasks.insert(), [task | {"task_id": i, "text_key": str(i)} for i in ids])
            new = [rank | {"task_id": i, "score": at, "uncertainty": 1 - at} for i, at in places]
            connection.execute(ranks.insert(), [one | {"audit": one["task_id"] % AUDIT == 0} for one in new])
    store.update_project(key, active_release=n)
    store.close()


def measure(folder: Path, count: int) -> Json:
    """Milliseconds and bytes."""
    system, project = opened(folder)
    calls: dict[str, Callable[[], object]] = {
        "limit 10": lambda: select_samples(system, project, 10, None, None),
        "limit 100": lambda: select_samples(system, project, 100, None, None),
        "limit 1,000": lambda: select_samples(system, project, 1000, None, None),
        "limit 100, threshold 0.9": lambda: select_samples(system, project, 100, None, 0.9),
        "SELECT 1": lambda: nothing(system.store),
    }
    began = resident_mb()
    first = seconds(calls["limit 100"])
    took: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(CALLS):
        label(system.store, project.key, turn + 1)
        for name, call in calls.items():
            took[name].append(seconds(call))
    open_now = select_samples(system, project, 1, None, None)["pool_size"]
    counted = len([i for i in range(CALLS + 1, count) if i % AUDIT]) + 1
    if open_now != counted:
        raise SystemExit(f"pool_size is {open_now}, not {counted}: the benchmark measured something else")
    ms = {
        name: {f"p{q}": round(1e3 * float(np.percentile(all_, q)), 2) for q in (50, 95)} for name, all_ in took.items()
    }
    grown = {"megabytes_at_first": began, "megabytes_in_the_end": resident_mb()}
    return {"first_call_ms": round(1e3 * first, 1), "ms": ms, **grown}


def label(store: Store, key: int, task_id: int) -> None:
    """Somebody labels a task, so that nothing stays as it was."""
    done = Annotation(task_id, task_id, "2026-11-22T00:00:00Z", 1, False, False, False, 3.0, None, (REGION,))
    store.upsert_tasks(key, [Task(task_id, {"text": str(task_id)}, str(task_id))], {task_id: [done]})


def nothing(store: Store) -> None:
    """The least that a call of the store costs."""
    with store._read() as connection:
        connection.execute(text("SELECT 1"))


def seconds(do: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    do()
    return time.perf_counter() - began


def in_ms(took: list[float]) -> dict[str, float]:
    """Quantiles."""
    return {f"p{share}": round(1e3 * float(np.percentile(took, share)), 2) for share in (50, 95)}


def resident_mb() -> int:
    """Of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)


if __name__ == "__main__":
    main()
