"""A retrain on 200 sentences against a plain Trainer: seconds and F1, and what twice the data costs.

    python -m benchmarks.training [--sentences 200] [--seeds 3]

The peer is benchmarks/plain_trainer.py: a plain Trainer, all layers, 200 steps of 8 at 3e-4, with the same encoder
(packaged:minilm) and sentences; its documentation's own 2e-5 and two epochs would be 26 steps. Ours is the recipe that
a project trains with. Both are trained in turn on wikigold's training split, each seed on sentences of its own, and
scored on its test split, which nobody has seen (strict span F1). Then ours on twice the sentences. Each training is a
process of its own, so that none profits from what another has loaded; its time is counted without imports, and it has
the threads that it takes by itself: half of the cores ours, all of them the peer. The result goes to
benchmarks/results/training.json.
"""

import argparse
import json
import multiprocessing
import os
import random
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import mean, median
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads starve whoever shares the cores

from edgewise.labels.schema import Head
from edgewise.labels.spans import Document, Span
from edgewise.services.children import environment
from examples import wikigold

OUT = Path(__file__).resolve().parent / "results" / "training.json"
HEAD = Head("label", "text", "text", wikigold.LABELS)
PACKAGED = "packaged:minilm"

Json = dict[str, Any]
Teach = Callable[[list[Document], Path], Path]


def main() -> None:
    """Train, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    cores = os.cpu_count() or 1
    half = int(environment()["OMP_NUM_THREADS"])
    courses = {
        "edgewise": (ours, 1, half), "plain Trainer": (plain, 1, cores), "edgewise, twice the data": (ours, 2, half),
    }  # fmt: skip
    runs: dict[str, list[Json]] = {name: [] for name in courses}
    for seed in range(given.seeds):
        for name, (teach, times, threads) in courses.items():
            runs[name].append(alone(teach, sentences(seed, times * given.sentences), threads))
            print(f"seed {seed}, {name}: {runs[name][-1]}", flush=True)
    found = {"sentences": given.sentences, "cores": cores, "runs": runs, **summary(runs)}
    staged = OUT.with_suffix(".tmp")
    staged.write_text(json.dumps(found, indent=2) + "\n")
    staged.replace(OUT)
    print(json.dumps(found, indent=2))


def summary(runs: dict[str, list[Json]]) -> Json:
    """Ratios within a seed, their median and spread."""
    mine = runs["edgewise"]

    def ratios(name: str, kind: str, upside_down: bool) -> Json:
        pairs = zip(mine, runs[name], strict=True)
        each = [round(a[kind] / b[kind] if upside_down else b[kind] / a[kind], 2) for a, b in pairs]
        return {"median": median(each), "lowest": min(each), "highest": max(each)}

    return {
        "times_of_a_plain_trainer": {kind: ratios("plain Trainer", kind, True) for kind in ("wall_s", "cpu_s")},
        "times_for_twice_the_data": {
            kind: ratios("edgewise, twice the data", kind, False) for kind in ("wall_s", "cpu_s")
        },
        "f1": {name: round(mean(run["f1"] for run in every), 3) for name, every in runs.items()},
    }


def sentences(seed: int, how_many: int) -> list[Document]:
    """Of the training split, drawn; twice as many begin with the same ones."""
    rows = wikigold.rows("train")
    return [document(row) for row in random.Random(seed).sample(rows, len(rows))[:how_many]]


def document(row: Json) -> Document:
    """A row of wikigold."""
    return Document(row["text"], tuple(Span(one["start"], one["end"], one["label"]) for one in row["spans"]))


def alone(teach: Teach, taught: list[Document], threads: int) -> Json:
    """A training in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(measured, teach, taught, threads).result()


def measured(teach: Teach, taught: list[Document], threads: int) -> Json:
    """Seconds of wall and of processor, and F1 on the test split."""
    import torch
    from transformers import Trainer  # noqa: F401  # not counted, nor what it needs
    from transformers.models.bert import modeling_bert  # noqa: F401

    from edgewise.learning.evaluation import evaluate
    from edgewise.learning.inference import answers, load_trained

    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory(prefix="edgewise-training-") as name:
        wall, cpu = time.perf_counter(), time.process_time()
        folder = teach(taught, Path(name))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        test = [document(row) for row in wikigold.rows("test")]
        model = load_trained(folder, HEAD, max_length=128)
        texts = [one.text for one in test]
        f1 = evaluate(texts, [one.spans for one in test], answers(model, texts), HEAD).overall.f1
    return {"wall_s": round(wall, 1), "cpu_s": round(cpu, 1), "f1": round(f1, 3), "threads": threads}


def ours(taught: list[Document], folder: Path) -> Path:
    """As a project trains."""
    from edgewise.learning.training import Recipe, train

    return train(taught, HEAD, PACKAGED, folder / "model", Recipe(), report=lambda done: None).folder


def plain(taught: list[Document], folder: Path) -> Path:
    """As the documentation does."""
    from benchmarks.plain_trainer import plain_trainer

    return plain_trainer(taught, wikigold.LABELS, folder)


if __name__ == "__main__":
    main()
