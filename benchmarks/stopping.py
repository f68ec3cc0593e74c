"""The record of the stop advice by replay: how often it would have stopped too early, by more than a point.

    python -m benchmarks.stopping DATA [--seeds 3] [--draws 5]

Replays of three data sets whose end is known, long enough to have one: snips_intent, banking77 and a dozen of its
intents, in random order and in the loop's. So that a round takes seconds, only the head is taught: replays.py. Every
round is kept in .run/stopping. To these comes benchmarks/results/simulate-wikigold.json, as soon as it says where its
runs end: the loop's whole recipe, on spans. Test documents drawn at random play the held-out set. The result goes to
benchmarks/results/stopping.json and stopping.md.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads starve whoever shares the cores
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

import uncertainty
from benchmarks.coverage import write
from benchmarks.replays import PLAYED, game
from edgewise.learning.simulation import RANDOM, Score, fresh, play_round, score_of
from edgewise.learning.stopping import Record, stop_record

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "benchmarks" / "results"
KEPT = ROOT / ".run" / "stopping"
WIKIGOLD = OUT / "simulate-wikigold.json"


def played(data: Path, name: str, seeds: int) -> dict[str, Any]:
    """The runs of a data set in the form that `simulate` writes; what is kept is not played again."""
    own = uncertainty.CHOICE_DEFAULT
    scores: Mapping[str, Score | None] = {RANDOM: None, own: uncertainty.CHOICE_SCORES[own]}
    paths = {(s, seed): KEPT / f"{name}-{s}-{seed}.json" for s in scores for seed in range(seeds)}
    missing = [cell for cell, path in paths.items() if not path.exists()]
    if missing:
        found = game(data, name)
        everything = found.learn(0, range(len(found.course.pool)))
        for strategy, seed in missing:
            cell = fresh(strategy, seed)
            while len(cell["records"]) < len(found.course.sizes):
                cell = play_round(found.course, cell, scores[strategy], found.learn)
            full = score_of(everything.counts)
            about = {"full": full, "pool": len(found.course.pool), "cells": cell["records"]}
            write(paths[strategy, seed], json.dumps(about))
            print(name, strategy, seed, [round(one["test"]["score"], 3) for one in cell["records"]], full, flush=True)
    kept = [json.loads(path.read_text()) for path in paths.values()]
    cells = [record for one in kept for record in one["cells"]]
    return {"full": kept[0]["full"], "pool": kept[0]["pool"], "cells": cells}


def table(records: Mapping[str, Sequence[Record]]) -> str:
    """As Markdown."""
    lines = [
        "| data | order | held-out tasks | runs | stopped | too early | labels then | points lost | advices "
        "| gain above | points promised too much |",
        f"|{'---|' * 11}",
    ]
    for name, every in records.items():
        for one in every:
            at = "-" if one.stopped_at is None else f"{one.stopped_at:.0f}"
            lost = "-" if one.mean_lost is None else f"{100 * one.mean_lost:.1f}"
            above = "-" if one.above is None else f"{one.above:.0%}"
            bias = "-" if one.bias is None else f"{100 * one.bias:.1f}"
            came = [one.advices, above, bias]
            cells = [name, one.strategy, one.audit, one.runs, one.stopped, one.too_early, at, lost, *came]
            lines.append(f"| {' | '.join(str(cell) for cell in cells)} |")
    return "\n".join(lines)


def report(records: Mapping[str, Sequence[Record]]) -> str:
    """What was measured, in Markdown."""
    every = [one for some in records.values() for one in some]
    queue, drawn = ([one for one in every if (one.strategy == RANDOM) == by] for by in (False, True))
    lines = [
        f"{name}: {sum(one.stopped for one in some)} of {sum(one.runs for one in some)} replays were told that they "
        f"may stop, {sum(one.too_early for one in some)} of these too early."
        for name, some in (("In the loop's order", queue), ("In random order", drawn))
    ]
    return f"""# The stop advice's record, by replay

`python -m benchmarks.stopping DATA`. Too early: the score then was more than a point below the one that all labels of
the pool give. {" ".join(lines)}

"Gain above": how often the next 100 labels brought more (mean over the seeds) than the upper end of the 95 % interval.

{table(records)}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--draws", type=int, default=5)
    given = parser.parse_args()
    runs = {name: played(given.data, name, given.seeds) for name in PLAYED}
    wikigold = json.loads(WIKIGOLD.read_text()) if WIKIGOLD.exists() else {}
    if wikigold.get("full") is not None:  # else it is not known yet where the runs end
        runs["wikigold, the whole recipe"] = wikigold
    records = {name: stop_record(one, draws=given.draws, rng=np.random.default_rng(0)) for name, one in runs.items()}
    write(
        OUT / "stopping.json", json.dumps({name: [asdict(one) for one in e] for name, e in records.items()}, indent=1)
    )
    text = report(records)
    write(OUT / "stopping.md", text)
    print(text)


if __name__ == "__main__":
    main()
