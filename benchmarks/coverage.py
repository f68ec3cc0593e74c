"""Do the intervals hold? A 95 % interval from few tasks drawn at random, beside the score on the whole test set.

    python -m benchmarks.coverage DATA [--slices 500] [--sizes 50,100,200]

DATA has the folders wnut17, banking77 and snips_intent, each with train.jsonl and test.jsonl. Three versions of each,
taught with ever more random training rows, answer the whole test set; their answers are kept in .run/coverage, so that
a run that was cut off goes on. Then, for each version and size, as many audit sets as slices are drawn at random from
the test set, and it is counted how often the interval that a dashboard would show holds the score of the whole test
set. Beside it stands what the same estimate says on the hardest tasks first. The result goes to
benchmarks/results/coverage.json and coverage.md.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads starve whoever shares the cores
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import numpy.typing as npt

import uncertainty
from edgewise.labels.schema import Head
from edgewise.labels.spans import Document, Span, on_whole
from edgewise.learning import progress
from edgewise.learning.baseline import PACKAGED
from edgewise.learning.evaluation import on_words
from edgewise.learning.inference import Tagger, load_trained
from edgewise.learning.llm_evaluation.intervals import Interval, share
from edgewise.learning.training import Recipe, train

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "benchmarks" / "results"
KEPT = ROOT / ".run" / "coverage"
TAUGHT = {"wnut17": (100, 400, 1600), "banking77": (385, 1540, 9003), "snips_intent": (20, 50, 200)}
STRATEGY = {"wnut17": "auto", "banking77": "features", "snips_intent": "features"}
ASKED = ("wnut17", "banking77")
LEAST, MOST = 0.92, 0.98  # coverage of what calls itself 95 %

Floats = npt.NDArray[np.float64]


def read(path: Path) -> list[Document]:
    """The rows of a file as documents, with spans or with one choice each."""
    documents = []
    with path.open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            text = row["text"]
            spans = [Span(s["start"], s["end"], s["label"]) for s in row.get("spans", [])]
            documents.append(Document(text, tuple(spans) if "spans" in row else (on_whole(text, row["label"]),)))
    return documents


def head_of(name: str, taught: Sequence[Document]) -> Head:
    """The head of a data set: all labels that occur."""
    labels = tuple(sorted({span.label for document in taught for span in document.spans}))
    return Head("label", "text", "text", labels, kind="spans" if name == "wnut17" else "choice")


def version(folder: Path, name: str, size: int) -> dict[str, Any]:
    """What a version that was taught `size` random rows says of the test set; kept, and read again if it is there."""
    kept = KEPT / f"{name}-{size}.json"
    if kept.exists():
        return dict(json.loads(kept.read_text()))
    taught, test = read(folder / "train.jsonl"), read(folder / "test.jsonl")
    head = head_of(name, [*taught, *test])
    some = [taught[i] for i in np.random.default_rng(size).permutation(len(taught))[:size]]
    texts = [document.text for document in test]
    with tempfile.TemporaryDirectory(prefix="edgewise-coverage-") as out:
        recipe = Recipe(strategy=STRATEGY[name])
        trained = train(some, head, PACKAGED, Path(out) / "model", recipe, report=lambda done: None)
        model = load_trained(trained.folder, head, max_length=recipe.max_length)
        if isinstance(model, Tagger):
            tagged = model.tag(texts)
            spans, unsure = tagged.spans, uncertainty.SCORES[uncertainty.DEFAULT](tagged.probabilities, tagged.offsets)
        else:
            said = model.classify(texts)
            measure = uncertainty.CHOICE_SCORES[uncertainty.CHOICE_DEFAULT]
            spans, unsure = said.spans, measure(said.probabilities, said.offsets)
    gold = on_words(texts, [document.spans for document in test], head)
    made = {
        "head": {"kind": head.kind, "labels": head.labels},
        "gold": [[[s.start, s.end, s.label] for s in found] for found in gold],
        "answers": [[[s.start, s.end, s.label] for s in found] for found in on_words(texts, spans, head)],
        "uncertainty": np.asarray(unsure).tolist(),
    }
    KEPT.mkdir(parents=True, exist_ok=True)
    staged = kept.with_suffix(".tmp")
    staged.write_text(json.dumps(made))
    staged.replace(kept)
    return made


def said(rows: Sequence[Sequence[Any]]) -> tuple[Span, ...]:
    """Spans from JSON."""
    return tuple(Span(*row) for row in rows)


def plain(counted: Floats, rng: np.random.Generator) -> tuple[float, float]:
    """The percentile bootstrap, which is what most would do: 95 % of the scores of documents drawn again."""
    drawn = rng.multinomial(len(counted), [1 / len(counted)] * len(counted), size=1000)
    good, bad = np.moveaxis(np.tensordot(drawn, counted, axes=1), -1, 0)  # (draws, n_columns)
    there = counted.any(axis=(0, 2))
    whole = np.maximum((good + bad)[:, there], 1e-12)
    low, high = np.quantile((good[:, there] / whole).mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def cell(counted: Floats, unsure: Floats, size: int, slices: int, rng: np.random.Generator) -> dict[str, Any]:
    """How often the interval from `size` documents held the score of all, how wide it was, and what the hardest say.

    counted: (n_documents, n_columns, 2), `progress.tallies`; unsure: (n_documents,), higher is harder.
    """
    truth = progress.score_of(counted)
    held, widths, values, usual = [], [], [], []
    for _ in range(slices):
        some = counted[rng.choice(len(counted), size, replace=False)]
        found = share(some[..., 0], some[..., 1], rng=rng)
        found = found or Interval(0.0, 0.0, 1.0)
        held.append(found.low <= truth <= found.high)
        widths.append(found.high - found.low)
        values.append(found.value)
        low, high = plain(some, rng)
        usual.append(low <= truth <= high)
    hardest = progress.score_of(counted[np.argsort(-unsure, kind="stable")[:size]])
    return {
        "size": size,
        "truth": round(truth, 4),
        "coverage": round(float(np.mean(held)), 4),
        "mean_width": round(float(np.mean(widths)), 4),
        "bias": round(float(np.mean(values)) - truth, 4),
        "coverage_of_percentile_bootstrap": round(float(np.mean(usual)), 4),
        "bias_on_hardest_first": round(hardest - truth, 4),
    }


def measured(name: str, taught: int, made: dict[str, Any], sizes: Sequence[int], slices: int) -> list[dict[str, Any]]:
    """The cells of one version: by the measure that is shown, and of choices by the other one too."""
    head = Head("label", "text", "text", tuple(made["head"]["labels"]), kind=made["head"]["kind"])
    gold, answers = ([said(rows) for rows in made[side]] for side in ("gold", "answers"))
    unsure = np.asarray(made["uncertainty"])
    found = []
    for size in sizes:
        shown = progress.measure_of(head, size)
        for measure in (shown,) if head.kind == "spans" else (progress.ACCURACY, progress.MACRO_F1):
            rng = np.random.default_rng([taught, size])
            counted = progress.tallies(gold, answers, head, measure)
            about = {"data": name, "taught": taught, "measure": measure, "shown": measure == shown}
            found.append(about | cell(counted, unsure, size, slices, rng))
    return found


def table(cells: Sequence[dict[str, Any]]) -> str:
    """As Markdown."""
    names = {
        "data": "data", "taught": "taught", "measure": "measure", "shown": "shown", "size": "audit tasks",
        "truth": "whole test set", "coverage": "coverage", "mean_width": "mean width", "bias": "bias",
        "coverage_of_percentile_bootstrap": "coverage, percentile bootstrap",
        "bias_on_hardest_first": "bias on hardest first",
    }  # fmt: skip
    lines = [f"| {' | '.join(names.values())} |", f"|{'---|' * len(names)}"]
    for one in cells:
        texts = [("yes" if one[key] else "no") if key == "shown" else str(one[key]) for key in names]
        lines.append(f"| {' | '.join(texts)} |")
    return "\n".join(lines)


def report(cells: Sequence[dict[str, Any]], slices: int) -> str:
    """What was measured, in Markdown."""
    shown = [one for one in cells if one["shown"] and one["data"] in ASKED]
    inside = [one for one in shown if LEAST <= one["coverage"] <= MOST]
    together = 100 * float(np.mean([one["coverage"] for one in shown]))
    return f"""# Do the intervals hold?

`python -m benchmarks.coverage DATA`: {slices} random audit sets for each row, a nominal 95 % interval from each.
Of the {len(shown)} rows of wnut17 and banking77 whose measure is the one that is shown, {len(inside)} cover the score
of the whole test set in 92 to 98 %; all together in {together:.1f} %. "Bias": mean estimate less truth. "shown":
whether this measure is the one that so many tasks are scored by: macro F1 of choices from {progress.TASKS_PER_LABEL}
tasks a label on, below that accuracy. snips_intent (7 labels) is there to see macro F1 where it is shown; 200 of its
700 test documents, drawn without putting any back, are so many that the interval is rather wide for them.

{table(cells)}
"""


def write(path: Path, text: str) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_suffix(".tmp")
    staged.write_text(text)
    staged.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--slices", type=int, default=500)
    parser.add_argument("--sizes", default="50,100,200")
    given = parser.parse_args()
    sizes = [int(size) for size in given.sizes.split(",")]
    cells = []
    for name, every in TAUGHT.items():
        for taught in every:
            made = version(given.data / name, name, taught)
            found = measured(name, taught, made, sizes, given.slices)
            print(table(found), flush=True)
            cells += found
            write(OUT / "coverage.json", json.dumps({"slices": given.slices, "cells": cells}, indent=1) + "\n")
    text = report(cells, given.slices)
    write(OUT / "coverage.md", text)
    print(text)


if __name__ == "__main__":
    main()
