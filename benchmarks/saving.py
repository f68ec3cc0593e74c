"""What saving.py estimates from a queue's own labels, beside what random order really needed: on simulated runs.

    python -m benchmarks.saving banking77 [--folder .run/simulate-banking77] [--seeds 2]
    python -m benchmarks.saving wikigold [--folder .run/simulate-wikigold]

Of each seed the labels that our default had chosen after some rounds are taken as a project's, a random part of the
test documents as its held-out set. The truth is where the mean score of the random cells reaches the queue's score on
all test documents, read between rounds. The runs of wikigold are those of benchmarks.simulate_wikigold; banking77 is
played here first, on frozen features, which takes minutes. Goes on where it was cut off; the result goes to
benchmarks/results/saving-<name>.json.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads starve whoever shares the cores
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

import uncertainty
from benchmarks import simulate_wikigold
from edgewise.cli.shell import Bar
from edgewise.labels.schema import Head
from edgewise.labels.spans import Document, on_whole
from edgewise.learning.baseline import PACKAGED
from edgewise.learning.saving import Question, Score, estimate
from edgewise.learning.simulation import RANDOM, Cell, Course
from edgewise.learning.training import Recipe
from edgewise.verbs.files.simulate import Wanted, read_cell, simulate
from examples.banking77 import FOLDER

OUT = Path(__file__).resolve().parent / "results"
HELD_OUT = 200
POOL, TEST = 1000, 400
SIZES = (50, 100, 150, 200, 300, 450, 700)
ASKED = {"banking77": (150, 200, 300), "wikigold": (60, 110)}
STRATEGY = {"banking77": uncertainty.CHOICE_DEFAULT, "wikigold": uncertainty.DEFAULT}


def banking77() -> Course:
    """A thousand of the training rows to choose from, and some of the test rows."""
    parts = []
    for split, many in (("train", POOL), ("test", TEST)):
        lines = (FOLDER / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(lines[i]) for i in np.random.default_rng(0).permutation(len(lines))[:many]]
        parts.append(tuple(Document(row["text"], (on_whole(row["text"], row["label"]),)) for row in rows))
    labels = tuple(sorted({span.label for part in parts for document in part for span in document.spans}))
    head = Head("label", "text", "text", labels, kind="choice")
    return Course(parts[0], parts[1], head, PACKAGED, Recipe(strategy="features"), SIZES)


def truth(cells: Sequence[Cell], score: float) -> float | None:
    """Labels at which the mean of the random cells reaches a score; None if it never does."""
    rounds = min(len(cell["records"]) for cell in cells)
    sizes = [cells[0]["records"][number]["labelled"] for number in range(rounds)]
    means = [float(np.mean([cell["records"][number]["test"]["score"] for cell in cells])) for number in range(rounds)]
    rising = np.maximum.accumulate(means)
    if score > rising[-1]:
        return None
    return float(np.exp(np.interp(score, rising, np.log(sizes))))


def ask(course: Course, cell: Cell, size: int, score: Score, report: Any) -> dict[str, Any]:
    """The estimate from the first so many labels of a cell, and the cell's score with them."""
    record = next(one for one in cell["records"] if one["labelled"] == size)
    labelled = cell["labelled"][:size]
    rng = np.random.default_rng([cell["seed"], size])
    held = rng.permutation(len(course.test))[:HELD_OUT]
    question = Question(
        taught=[course.pool[i] for i in labelled],
        open=[course.pool[i].text for i in sorted(set(range(len(course.pool))) - set(labelled))],
        held_out=[course.test[i] for i in held],
        target=np.array(record["test"]["counts"])[held],
        head=course.head,
        base=course.base,
        recipe=course.recipe,
        score=score,
    )
    found = estimate(question, rng, report)
    return {"seed": cell["seed"], "labels": size, "test_score": record["test"]["score"], "estimate": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(ASKED))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--seeds", type=int, default=2)
    given = parser.parse_args()
    folder, name, strategy = given.folder or Path(f".run/simulate-{given.name}"), given.name, STRATEGY[given.name]
    scores = uncertainty.SCORES if name == "wikigold" else uncertainty.CHOICE_SCORES
    course = simulate_wikigold.course() if name == "wikigold" else banking77()
    if name == "banking77":
        with Bar("simulate") as bar:
            simulate(course, Wanted(name, (RANDOM, strategy), tuple(range(given.seeds)), False), scores, folder, bar)
    random = [read_cell(folder, RANDOM, seed) for seed in range(given.seeds)]
    out = OUT / f"saving-{name}.json"
    held = json.loads(out.read_text(encoding="utf-8")) if out.exists() else []
    known = {(one["seed"], one["labels"]): one for one in held}
    for seed in range(given.seeds):
        cell = read_cell(folder, strategy, seed)
        for size in ASKED[name]:
            if size not in {record["labelled"] for record in cell["records"]}:
                continue
            with Bar(f"estimate, seed {seed}, {size} labels") as bar:
                found = known.get((seed, size)) or ask(course, cell, size, scores[strategy], lambda done: bar(done))
            known[seed, size] = found | {"true": truth(random, found["test_score"])}
            staged = out.with_suffix(".tmp")
            staged.write_text(json.dumps(list(known.values()), indent=1) + "\n", encoding="utf-8")
            staged.replace(out)
    for one in known.values():
        true = "more than were simulated" if one["true"] is None else f"{one['true']:.0f}"
        print(f"seed {one['seed']}, {one['labels']} labels: really {true}. {one['estimate']['sentence']}")


if __name__ == "__main__":
    main()
