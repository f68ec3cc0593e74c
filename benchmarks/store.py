"""How large the database gets with the tasks in it, and how long it takes what is asked all the time.

    python -m benchmarks.store [--tasks 10000 100000] [--database postgresql+psycopg://…/empty]

Prints a Markdown table. Texts have 1,000 characters, every third task is labelled, one release ranks all of them; what
we do ourselves of that is "read" and "ranked". What is asked all the time is the median of nine.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from sqlalchemy import text

import llm_prelabel
from edgewise.labels.annotations import Annotation
from edgewise.services.store import Rank, Store, Task
from edgewise.settings import Settings
from edgewise.verbs.erasure import erase_tasks
from edgewise.verbs.gauges import gauges
from edgewise.verbs.system import System
from edgewise.web.metrics import Metrics
from model import uncertainty_functions

PAGE = 500
ERASED = 100
REGION = {"from_name": "label", "to_name": "text", "type": "labels", "value": {"start": 0, "end": 4, "labels": ["PER"]}}


def main() -> None:
    """A row for each size."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--tasks", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--database", help="An empty PostgreSQL database; SQLite in a new folder if left out.")
    given = parser.parse_args()
    names = ("tasks", "database", "read", "ranked", "100 hardest", "counts", "/metrics", "100 tasks erased")
    print("| " + " | ".join(names) + " |")
    print("|---" * len(names) + "|")
    for count in given.tasks:
        with tempfile.TemporaryDirectory(prefix="edgewise-store-") as folder:
            print(f"| {count:,} | " + " | ".join(row(count, Path(folder), given.database)) + " |")


def row(count: int, folder: Path, database: str | None) -> Iterator[str]:
    """What one size takes."""
    named: dict[str, Any] = {"DATABASE_URL": database} if database else {}
    system = System(Settings(data_dir=folder, **named), uncertainty_functions(), llm_prelabel.prelabel)
    store, rng = system.store, random.Random(0)
    project = store.record_project(system.address, count, "now")
    key = project.key
    words = ["".join(rng.choices("etaoin", k=rng.randint(2, 9))) for _ in range(999)]
    texts = (" ".join(rng.choices(words, k=180))[:1000] for _ in range(count))
    tasks = [Task(i, {"text": one}, str(i), digest=str(i) if i % 3 == 0 else None) for i, one in enumerate(texts)]
    written = seconds(lambda: fill(store, key, tasks))
    release = store.new_release(key, None, "schema").n
    ranks = [Rank(i, 0.5, rng.random(), "PER or LOC at 'some words'", (REGION,) * 5) for i in range(count)]
    ranked = seconds(lambda: store.save_ranks(key, release, ranks))
    metrics = Metrics(lambda: gauges(system))
    yield f"{size(store) / 1e6:.0f} MB"
    yield f"{written:.1f} s"
    yield f"{ranked:.1f} s"
    for asked in (lambda: store.hardest(key, release, 100), lambda: store.counts(key), metrics.page):
        yield f"{1000 * median(seconds(asked) for _ in range(9)):.0f} ms"
    yield f"{seconds(lambda: erase_tasks(system, project, range(ERASED))):.1f} s"
    store.erase_project(key)
    store.close()


def fill(store: Store, key: int, tasks: list[Task]) -> None:
    """As a sync does, page by page."""
    for start in range(0, len(tasks), PAGE):
        some = tasks[start : start + PAGE]
        labelled = {one.task_id: [annotation(one.task_id)] for one in some if one.digest}
        store.upsert_tasks(key, some, labelled)


def annotation(task_id: int) -> Annotation:
    """Somebody's, of five spans."""
    return Annotation(task_id, task_id, "2026-11-21T00:00:00Z", 1, False, False, False, 3.0, None, (REGION,) * 5)


def size(store: Store) -> int:
    """Bytes of the database."""
    query = "SELECT pg_database_size(current_database())"
    if store._engine.dialect.name == "sqlite":
        query = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
    with store._read() as connection:
        return int(connection.execute(text(query)).scalar_one())


def seconds(do: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    do()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
