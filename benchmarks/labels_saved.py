"""How many labels does an order save? Replays of the loop on four data sets, and a cheap proxy for many orders.

    python -m benchmarks.labels_saved DATA --proxy [--seeds 0,1]    orders on kept answers (hardest.py, orders.py)
    python -m benchmarks.labels_saved DATA [--sets wnut17] [--strategies random,boundary] [--seeds 0,1] [--rounds 8]
    python -m benchmarks.labels_saved DATA --render                 the page from what is kept; plays nothing
    python -m benchmarks.labels_saved DATA --again                  plays the start of one cell once more and compares

DATA: the folder of docs/data.md. A cell is a set, a strategy and a seed. Each is kept after every round in
.run/labels-saved, so that a run that was cut off goes on where it was; cells that nobody has played are shown as
missing. Encoder and recipe are those that the loop has with `auto`. The pool is 1,500 texts of the training split
(1,096 of wikigold), the test documents are 800 others: of the test split, of wikigold of dev and test. `spans+spread`
is `spans` with texts apart that are among the pool's closest 2 % of pairs; every other order keeps only near-duplicates
apart, as the loop does.
The result goes to benchmarks/results/labels-saved.json and .md.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads starve whoever shares the cores
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

import uncertainty
from benchmarks import labels_saved_page, orders
from benchmarks.coverage import read, write
from benchmarks.hardest import SETS
from edgewise.labels.schema import Head
from edgewise.learning.baseline import PACKAGED
from edgewise.learning.simulation import EVERYTHING, RANDOM, Course
from edgewise.learning.training import Recipe
from edgewise.verbs.files.simulate import Wanted, cell_path, read_cell, simulate

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "benchmarks" / "results"
NAME = "labels-saved"
KEPT = ROOT / ".run" / NAME
SIZES = (20, 40, 70, 100, 120, 200, 300, 400)
POOL, TEST = 1500, 800
OURS = "spans"
SPREAD = f"{OURS}+spread"
STRATEGIES = (RANDOM, OURS, "boundary", "entropy", "mnlp", SPREAD)
SEEDS = 5
FIRST_SETS = ("wnut17", "snips_slots", "wikigold", "ncbi_disease")  # in this order they are played
TOLERANCE = 0.03  # F1; another processor rounds otherwise, and the texts that follow are others then
AGAIN = ("wnut17", 0, 2)  # set, seed and rounds


def course(data: Path, name: str, *, rounds: int, spread: bool) -> Course:
    """A data set as it is replayed."""
    pool = read(data / name / "train.jsonl")
    test = read(data / name / "test.jsonl")
    if name == "wikigold":
        test = read(data / name / "dev.jsonl") + test
    labels = tuple(sorted({span.label for one in (*pool, *test) for span in one.spans}))
    rng = np.random.default_rng(0)
    pool, test = ([rows[i] for i in rng.permutation(len(rows))[:most]] for rows, most in ((pool, POOL), (test, TEST)))
    head = Head("label", "text", "text", labels)
    return Course(tuple(pool), tuple(test), head, PACKAGED, Recipe(), SIZES[:rounds], spread)


def folder_of(name: str, strategy: str) -> Path:
    """Where the cells of a set are kept."""
    return KEPT / "loops" / (f"{name}-spread" if strategy == SPREAD else name)


def play(data: Path, cells: Sequence[tuple[str, int]], strategies: Sequence[str], rounds: int, full: bool) -> None:
    """Play what is missing of some strategies on sets and seeds, in this order."""

    def said(done: float, words: str) -> None:
        pass

    for name, seed in cells:
        for spread in (False, True):
            some = [strategy for strategy in strategies if (strategy == SPREAD) == spread]
            if some:
                played = course(data, name, rounds=rounds, spread=spread)
                scores = {**uncertainty.SCORES, SPREAD: uncertainty.SCORES[OURS]}
                wanted = Wanted(name, tuple(some), (seed,), full=full and not spread)
                simulate(played, wanted, scores, folder_of(name, some[0]), said)


def found(committed: dict[str, Any]) -> Iterator[tuple[str, str, int, list[dict[str, Any]]]]:
    """The rounds of each cell that should be there, none of one that is missing: those that are kept here, or those of
    the committed result where it has more."""
    known = {(one["set"], one["strategy"], one["seed"]): one["rounds"] for one in committed.get("cells", [])}
    for name in SETS:
        for strategy in STRATEGIES:
            for seed in range(SEEDS):
                records = read_cell(folder_of(name, strategy), strategy, seed)["records"]
                rounds = [labels_saved_page.short(record) for record in records]
                yield name, strategy, seed, max(rounds, known.get((name, strategy, seed), []), key=len)


def ends(committed: dict[str, Any]) -> dict[str, dict[int, float]]:
    """F1 of the models that all labels of the pool make, by set and seed; kept here or committed."""
    held = committed.get("full", {})
    known = {name: {int(seed): score for seed, score in held.get(name, {}).items()} for name in SETS}
    for name in SETS:
        for seed in range(SEEDS):
            path = cell_path(folder_of(name, RANDOM), EVERYTHING, seed)
            if path.exists():
                known[name][seed] = round(json.loads(path.read_text())["test"]["score"], 4)
    return known


def before_centring(committed: dict[str, Any]) -> list[list[Any]]:
    """Set, strategy and seed of cells that nobody has played since texts are alike by embeddings less their mean."""
    cells: list[list[Any]] = committed.get("before_centring", [])
    return [
        [name, order, seed]
        for name, order, seed in cells
        if not cell_path(folder_of(name, order), order, seed).exists()
    ]


def rendered() -> dict[str, Any]:
    """All that is known, as it goes into the JSON file."""
    path = OUT / f"{NAME}.json"
    held = json.loads(path.read_text()) if path.exists() else {}
    committed = held.get("loops", {})
    held["loops"] = labels_saved_page.loops(list(found(committed)), ends(committed), SIZES)
    held["loops"]["before_centring"] = before_centring(committed)
    proxy = KEPT / "proxy.json"
    if proxy.exists():
        held["proxy"] = json.loads(proxy.read_text())
    return dict(held)


def render() -> None:
    """The page."""
    content = rendered()
    write(OUT / f"{NAME}.json", json.dumps(content, indent=1) + "\n")
    write(OUT / f"{NAME}.md", labels_saved_page.page(content))


def again(data: Path) -> list[str]:
    """The first rounds of one cell, played anew: a line for each, and whether it is what the committed result says."""
    name, seed, rounds = AGAIN
    held = json.loads((OUT / f"{NAME}.json").read_text())["loops"]["cells"]
    before = next(one for one in held if (one["set"], one["strategy"], one["seed"]) == (name, OURS, seed))
    with tempfile.TemporaryDirectory(prefix="edgewise-labels-saved-") as folder:
        wanted = Wanted(name, (OURS,), (seed,), full=False)
        played = course(data, name, rounds=rounds, spread=False)
        now = simulate(played, wanted, uncertainty.SCORES, Path(folder) / "loop", lambda done, words: None)["cells"]
    lines = []
    for was, record in zip(before["rounds"], now, strict=False):
        apart = abs(was["score"] - record["test"]["score"])
        verdict = "the same" if apart <= TOLERANCE else "NOT the same"
        lines.append(
            f"{name}, {OURS}, seed {seed}, {record['labelled']} labels: F1 {record['test']['score']:.3f}, "
            f"committed {was['score']:.3f}: {verdict} within {TOLERANCE}"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--proxy", action="store_true")
    parser.add_argument("--render", action="store_true")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--sets", default=",".join(FIRST_SETS))
    parser.add_argument("--strategies", default=",".join(STRATEGIES))
    parser.add_argument("--seeds", default=",".join(map(str, range(SEEDS))))
    parser.add_argument("--rounds", type=int, default=len(SIZES))
    parser.add_argument("--without-full", action="store_true")
    given = parser.parse_args()
    seeds = [int(seed) for seed in given.seeds.split(",")]
    if given.again:
        lines = again(given.data)
        print("\n".join(lines))
        sys.exit(any("NOT" in line for line in lines))
    if given.proxy:
        content = orders.measured(given.data, KEPT / "hardest", seeds)
        write(KEPT / "proxy.json", json.dumps(content, indent=1))
    elif not given.render:
        cells = [(name, seed) for name in given.sets.split(",") for seed in seeds]
        play(given.data, cells, given.strategies.split(","), given.rounds, not given.without_full)
    render()


if __name__ == "__main__":
    main()
