"""How much of the final order's top 100 was in the head of a release: what people label by before the rest is scored.

    python -m benchmarks.head DATA [--sets wnut17,snips_slots,ncbi_disease] [--seeds 0,1,2,3,4]

DATA: the folder of docs/data.md. The pool is all of a data set's texts. A version is trained on 40 of them, drawn at
random, the next ones on 100 and 200: what is added is the hardest by the version before, with gold labels. The head is
what edgewise.verbs.head_first takes for a version's release, from the order of the version before, until the top has
settled; the final top 100 are the hardest by the version itself. "by_chance" is the share that as many tasks drawn
at random would hold, "if_hardest" what it would be if the head had so many of the last order's hardest, and nothing
drawn. Orders are by uncertainty alone. The releases go to benchmarks/results/head.json, after each set and seed (some
minutes on a core); of what is not measured, those of the last time stay there.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads starve whoever shares the cores

import numpy as np
from numpy.typing import NDArray

import llm_prelabel
import uncertainty
from benchmarks.coverage import read
from edgewise.labels.schema import Head, Schema
from edgewise.labels.spans import Document
from edgewise.learning.baseline import PACKAGED
from edgewise.learning.inference import Tagger, load_trained
from edgewise.learning.selection import certainties
from edgewise.learning.training import Recipe, train
from edgewise.services.store import Rank, Task
from edgewise.settings import Settings
from edgewise.verbs.head_first import has_settled, steps
from edgewise.verbs.placing import Run
from edgewise.verbs.system import System
from model import uncertainty_functions

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "benchmarks" / "results" / "head.json"
SIZES, TOP = (40, 100, 200), 100
LARGER = (500, 1000, 2000, 3000)

Floats = NDArray[np.float64]
Json = dict[str, Any]


def versions(pool: list[Document], seed: int) -> Iterator[tuple[set[int], Floats]]:
    """What each version was taught, and the uncertainty of every text by it."""
    labels = tuple(sorted({span.label for one in pool for span in one.spans}))
    head, recipe = Head("label", "text", "text", labels), Recipe(seed=seed)
    order = np.random.default_rng(seed).permutation(len(pool)).tolist()
    done: list[int] = []
    with tempfile.TemporaryDirectory(prefix="edgewise-head-") as name:
        for size in SIZES:
            done += [one for one in order if one not in set(done)][: size - len(done)]
            folder = Path(name) / str(size)
            train([pool[one] for one in done], head, PACKAGED, folder, recipe, report=lambda _: None)
            tagger = load_trained(folder, head, max_length=128)
            assert isinstance(tagger, Tagger)
            said = tagger.tag([one.text for one in pool])
            unsure = uncertainty.SCORES[uncertainty.DEFAULT](said.probabilities, said.offsets)
            order = hardest(np.asarray(unsure, dtype=np.float64))
            yield set(done), np.asarray(unsure, dtype=np.float64)


def hardest(unsure: Floats) -> list[int]:
    """All texts, hardest first."""
    found: list[int] = np.argsort(-unsure, kind="stable").tolist()
    return found


def head(pool: list[Document], labelled: set[int], before: Floats, after: Floats, seed: int) -> set[int]:
    """What a ranking takes as the head of the second release, whose texts are as unsure as `after` says."""
    with tempfile.TemporaryDirectory(prefix="edgewise-head-") as folder:
        system = System(Settings(data_dir=Path(folder), seed=seed), uncertainty_functions(), llm_prelabel.prelabel)
        store = system.store
        key = store.record_project(system.address, 1, "now").key
        still = [one for one in range(len(before)) if one not in labelled]
        store.upsert_tasks(key, [Task(one, {"text": pool[one].text}, str(one)) for one in still], {})
        first, second = (store.new_release(key, None, "schema") for _ in range(2))
        scores = certainties(before[still], np.argsort(-before[still], kind="stable"))
        ranks = [Rank(one, float(before[one]), float(score)) for one, score in zip(still, scores, strict=True)]
        store.save_ranks(key, first.n, ranks)
        project = store.update_project(key, active_release=first.n)
        rng = np.random.default_rng([seed, key, second.n])
        schema = Schema((Head("label", "text", "text", ()),), ())
        run = Run(system, project, schema, None, None, {}, second, rng)
        chosen = taken(run, lambda ids: after[ids])
        store.close()
    return set(chosen)


def taken(run: Run, unsure_of: Callable[[list[int]], Floats]) -> list[int]:
    """The tasks of a head, whose uncertainties are known."""
    chosen: list[int] = []
    parts: list[Floats] = []
    known: dict[int, float] = {}
    for ids in steps(run, known):
        chosen += ids
        parts.append(unsure_of(ids))
        known |= zip(ids, parts[-1].tolist(), strict=True)
        if has_settled(parts):
            break
    return chosen


def recall(pool: list[Document], seed: int) -> Iterator[Json]:
    """The shares of one set and seed: for each version but the first."""
    for (_, before), (labelled, after) in pairwise(versions(pool, seed)):
        chosen = head(pool, labelled, before, after, seed)
        last, final = ([one for one in hardest(unsure) if one not in labelled] for unsure in (before, after))
        top = set(final[:TOP])
        yield {
            "labelled": len(labelled),
            "tasks": len(final),
            "head": len(chosen),
            "held": len(chosen & top) / TOP,
            "by_chance": round(len(chosen) / len(final), 3),
            "if_hardest": {str(size): len(set(last[:size]) & top) / TOP for size in LARGER},
        }


def kept() -> list[Json]:
    """The releases that are in the file."""
    return list(json.loads(OUT.read_text())["releases"]) if OUT.exists() else []


def keep(name: str, seed: int, measured: list[Json]) -> None:
    """Put a set and seed into the file, in place of what was there of them, with the sum of it all."""
    others = [one for one in kept() if (one["set"], one["seed"]) != (name, seed)]
    releases = sorted([*others, *measured], key=lambda one: (one["set"], one["seed"], one["labelled"]))
    staged = OUT.with_suffix(".tmp")
    staged.write_text(json.dumps({"top": TOP, "held": told(releases), "releases": releases}, indent=1) + "\n")
    staged.replace(OUT)


def told(releases: list[Json]) -> Json:
    """Mean and least share of the final top that is held, and what part of the open tasks was scored for it."""
    held = [one["held"] for one in releases]
    sets = sorted({one["set"] for one in releases})
    return {
        "releases": len(held), "mean": round(mean(held), 3), "least": min(held),
        "by_chance": round(mean(one["by_chance"] for one in releases), 3),
        "sets": {name: round(mean(one["held"] for one in releases if one["set"] == name), 3) for name in sets},
    }  # fmt: skip


def main() -> None:
    """Measure, keep and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", default="wnut17,snips_slots,ncbi_disease")
    parser.add_argument("--seeds", default="0,1,2,3,4")
    given = parser.parse_args()
    for name in given.sets.split(","):
        pool = [one for split in ("train", "dev", "test") for one in read(given.data / name / f"{split}.jsonl")]
        for seed in map(int, given.seeds.split(",")):
            measured = [{"set": name, "seed": seed} | one for one in recall(pool, seed)]
            keep(name, seed, measured)
            print(*(json.dumps(one) for one in measured), sep="\n", flush=True)
    print(json.dumps(told(kept()), indent=1))


if __name__ == "__main__":
    main()
