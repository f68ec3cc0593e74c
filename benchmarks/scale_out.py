"""How much faster two workers rank a pool than one, each with one thread: same pool, weights and run.

    python -m benchmarks.scale_out [--tasks 30000] [--rounds 3]

Real workers, Redis and PostgreSQL. Label Studio is a stand-in that takes every prediction at once: what pushing costs
there is in push.json, and only one worker pushes, however many there are. Each round ranks the whole pool anew under
another version of the same weights, first with one worker, then with two, which are started before the clock is. Texts
are wikigold's sentences, again and again with their first words left out; the encoder is the packaged MiniLM, its head
drawn at random.

Counted is from the job's start in the queue to its end, wall time; and each worker's CPU time, its jobs' processes
included. Where other work shares the cores wall time says little. "cpu" is then what two free cores would have given: a
lone worker's CPU seconds by those of the busier of two. The result goes to benchmarks/results/scale-out.json.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads starve whoever shares the cores

import psycopg
import torch

import llm_prelabel
from edgewise.labels.schema import Head
from edgewise.labels.windows import tag_names
from edgewise.learning.baseline import PACKAGED, load_pretrained
from edgewise.services.registry import head_folder
from edgewise.services.store import Project, Task, Version
from edgewise.services.store.queue import HELPERS_LANE
from edgewise.settings import Settings
from edgewise.verbs.system import System, folder_name, schema_of
from examples import wikigold
from model import uncertainty_functions
from tests.chaos.house import postgres_server, redis_server
from tests.chaos.processes import Program, until
from tests.http_stand_in import Answer, as_json, serving

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "benchmarks" / "results" / "scale-out.json"
RANKED_S = 3600.0
TICKS = os.sysconf("SC_CLK_TCK")
LS_ID = 1

Json = dict[str, Any]


@dataclass
class StandIn:
    """As much of Label Studio as a ranking asks of it; it keeps nothing but numbers."""

    active: str = ""
    held: dict[str, int] = field(default_factory=dict)
    tasks: list[int] = field(default_factory=list)  # that predictions came for, in the order of their coming

    def respond(self, method: str, path: str, body: bytes, _: dict[str, str]) -> Answer:
        """See serving."""
        place = urlsplit(path).path
        if method == "POST" and place.endswith("predictions/"):
            one = json.loads(body)
            self.held[one["model_version"]] = self.held.get(one["model_version"], 0) + 1
            self.tasks.append(one["task"])
            return as_json(one, 201)
        if place.endswith("/import/predictions"):
            predictions = json.loads(body)
            name = predictions[0]["model_version"]
            self.held[name] = self.held.get(name, 0) + len(predictions)
            self.tasks += [one["task"] for one in predictions]
            return as_json({"created": len(predictions)}, 201)
        if place.endswith("/model-versions/"):
            if method == "DELETE":
                return as_json({"deleted_predictions": self.held.pop(json.loads(body)["model_version"], 0)})
            return as_json(self.held)
        if place.endswith(f"/projects/{LS_ID}/"):
            if method == "PATCH":
                self.active = json.loads(body)["model_version"]
            return as_json({"id": LS_ID, "model_version": self.active, "created_at": "2026-11-22T00:00:00Z"})
        return as_json({"tasks": [], "total": 0, "results": []})


@dataclass
class Town:
    """A project in a database of its own, and what its workers are started with."""

    system: System
    studio: StandIn
    environment: dict[str, str]
    folder: Path
    project: Project

    @contextmanager
    def workers(self, count: int) -> Iterator[list[Program]]:
        """So many that wait for jobs."""
        command = [sys.executable, "-m", "edgewise", "work", "--lanes", f"rank,{HELPERS_LANE}"]
        made = [
            Program(f"worker-{number}", command, self.environment, self.folder / f"worker-{number}.log", bool, ROOT)
            for number in range(count)
        ]
        try:
            for one in made:
                one.start()
            until(lambda: self.system.queue.idle_workers(HELPERS_LANE) == count, "workers wait", 120)
            yield made
        finally:
            for one in made:
                one.end()

    def serve(self, version: str) -> None:
        """Another version's answers from now on."""
        self.system.store.update_project(self.project.key, serving=version)

    def rank(self, meanwhile: Callable[[], None] = lambda: None) -> float:
        """Seconds that a ranking of the pool takes."""
        store, key = self.system.store, self.project.key
        self.system.queue.cancel_all(key)  # what a ranking has queued, and nobody here does: helpers would make room
        began = time.monotonic()
        job = self.system.queue.enqueue("rank", key)
        while store.job(job.id).state in ("queued", "running"):
            if time.monotonic() > began + RANKED_S:
                raise SystemExit("the ranking does not end")
            meanwhile()
            time.sleep(0.05)
        took = time.monotonic() - began
        ended = store.job(job.id)
        if ended.state != "done":
            raise SystemExit(f"the ranking {ended.state}: {ended.error}; see the log of {self.folder}")
        until(lambda: not store.unfinished_jobs(key, HELPERS_LANE), "helpers have ended", 120)
        return took

    def check(self, tasks: int) -> None:
        """Every task has one rank, one score and one prediction of the newest release."""
        store, key = self.system.store, self.project.key
        release = store.releases(key)[0]
        ranks = store.ranks(key, release.n, store.order(key, release.n)).values()
        if not (release.whole and len(ranks) == tasks == self.studio.held[f"ew-{release.n}"]):
            raise SystemExit("not every task was ranked once: the benchmark measured something else")
        if len({rank.score for rank in ranks}) < tasks:
            raise SystemExit("two tasks have one score")


@contextmanager
def town(tasks: int, versions: int) -> Iterator[Town]:
    """One with so many tasks and versions; nothing is ranked yet."""
    with ExitStack() as stack:
        folder, place = (Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgewise-town-"))) for _ in "ab")
        (postgres, database), (redis, queue) = postgres_server(place), redis_server(folder)
        for program in (postgres, redis):
            program.start()
            stack.callback(program.end)
            program.await_ready()
        until(lambda: made_database(database), "PostgreSQL has a database", 60)
        studio = StandIn()
        told = {
            "DATABASE_URL": f"{database}/edgewise", "REDIS_URL": queue, "DATA_DIR": str(folder / "data"),
            "LABEL_STUDIO_HOST": stack.enter_context(serving(studio.respond)), "LABEL_STUDIO_API_KEY": "any",
            "BASELINE_MODEL_NAME": "packaged:minilm", "HF_HUB_OFFLINE": "1", "AUDIT_FRACTION": "0.01",
            "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE",
        }  # fmt: skip
        named: dict[str, Any] = {name if name == "DATABASE_URL" else name.lower(): told[name] for name in told}
        settings = Settings(**named)
        system = System(settings, uncertainty_functions(), llm_prelabel.prelabel)
        stack.callback(system.store.close)
        stack.callback(system.queue.close)  # type: ignore[attr-defined]  # it is one on Redis
        yield Town(system, studio, os.environ | told, folder, new_project(system, tasks, versions))


def made_database(address: str) -> bool:
    """Whether there is one now."""
    try:
        with psycopg.connect(f"{address}/postgres", autocommit=True) as connection:
            connection.execute("CREATE DATABASE edgewise")
    except psycopg.OperationalError:  # it listens before it lets anybody in
        return False
    return True


def new_project(system: System, tasks: int, versions: int) -> Project:
    """The pool, and versions of the same weights. It stays "connecting", so that no timer looks for its tasks."""
    project = system.store.record_project(
        system.address, LS_ID, "now", title="scale-out", label_config=wikigold.LABEL_CONFIG
    )
    made = [Task(number, {"text": one}, str(number)) for number, one in enumerate(islice(texts(), tasks), 1)]
    if len(made) < tasks:
        raise SystemExit(f"there are {len(made):,} texts, not {tasks:,}: ask for fewer")
    for start in range(0, tasks, 500):
        system.store.upsert_tasks(project.key, made[start : start + 500], {})
    schema = schema_of(project)
    assert schema is not None
    heads = {head.from_name: head.digest for head in schema.heads}
    for number in range(versions):
        with system.registry.staging(folder_name(project)) as staged:
            for head in schema.heads:
                write_weights(head_folder(staged, head.from_name), head)
            facts: dict[str, Any] = {"snapshot": str(number), "settings": {"heads": heads}}
            card = system.registry.publish(folder_name(project), staged, schema_digest=schema.digest, **facts)
        system.store.add_version(Version(card.id, project.key, schema.digest, str(number), settings={"heads": heads}))
    return project


def write_weights(folder: Path, head: Head) -> None:
    """The packaged encoder with a head that leans to O and else was drawn at random: speed does not feel it."""
    torch.manual_seed(0)
    names = dict(enumerate(tag_names(head.labels)))
    model = load_pretrained("AutoModelForTokenClassification", PACKAGED, id2label=names, num_labels=len(names))
    with torch.no_grad():
        model.classifier.bias[0] = 1.0
    model.save_pretrained(folder)
    load_pretrained("AutoTokenizer", PACKAGED).save_pretrained(folder)


def texts() -> Iterator[str]:
    """Some 39,000: wikigold's sentences, each turn with one of their first words less, until none has a word left."""
    sentences = [row["text"].split() for split in ("train", "dev", "test") for row in wikigold.rows(split)]
    for turn in range(max(map(len, sentences))):
        yield from (" ".join(words[turn:]) for words in sentences if len(words) > turn)


def cpu_s(workers: Sequence[Program]) -> list[float]:
    """CPU seconds of each worker, with those of its jobs that have ended."""
    found = []
    for one in workers:
        pid = one.pids[0]
        spent = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:15]
        found.append(sum(map(int, spent)) / TICKS)
    return found


def measured(place: Town, tasks: int, rounds: int) -> Iterator[Json]:
    """One ranking after the other."""
    versions = [version.id for version in place.system.store.versions(place.project.key)]
    for number in range(2 * rounds):
        count = 1 + number % 2
        place.serve(versions[number])
        with place.workers(count) as workers:
            before = cpu_s(workers)
            seconds = place.rank()
            time.sleep(1)  # a job's process is counted when its worker has reaped it
            spent = [after - earlier for after, earlier in zip(cpu_s(workers), before, strict=True)]
        place.check(tasks)
        yield {"workers": count, "wall_s": round(seconds, 2), "cpu_s": [round(one, 2) for one in sorted(spent)]}
        print(f"{count} worker(s): {seconds:.1f} s, CPU {spent}", file=sys.stderr)


def compared(found: Sequence[Json]) -> Json:
    """Median and spread over rounds."""
    pairs = list(zip(found[::2], found[1::2], strict=True))
    wall = [alone["wall_s"] / both["wall_s"] for alone, both in pairs]
    cpu = [alone["cpu_s"][-1] / both["cpu_s"][-1] for alone, both in pairs]
    extra = [sum(both["cpu_s"]) / sum(alone["cpu_s"]) for alone, both in pairs]
    free = [alone["cpu_s"][-1] / alone["wall_s"] for alone, _ in pairs]
    return {
        "times_faster": {"wall": spread(wall), "cpu": spread(cpu)},
        "cpu_of_two_by_cpu_of_one": spread(extra),
        "share_of_a_core_that_one_worker_had": spread(free),
    }


def spread(values: Sequence[float]) -> Json:
    """Median, lowest and highest."""
    return {
        "median": round(median(values), 2), "lowest": round(min(values), 2), "highest": round(max(values), 2)
    }  # fmt: skip


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=30_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with town(given.tasks, 2 * given.rounds) as place:
        found = list(measured(place, given.tasks, given.rounds))
    result = {
        "tasks": given.tasks,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "rounds": found,
        **compared(found),
    }
    staged = OUT.with_suffix(".tmp")
    staged.write_text(json.dumps(result, indent=2) + "\n")
    staged.replace(OUT)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
