"""Wrong labels put into wikigold and banking77 on purpose, and who finds them: Edgewise, cleanlab by hand, or chance.

    python -m benchmarks.label_errors [DATA:SEED[:TEXTS] …] [--folds 4]

DATA is wikigold or banking77, TEXTS how many of the training texts are used, drawn at random; default all.
5 % of the training labels are corrupted at random: an intent becomes another one; an entity gets another label, is left
out, or loses or gains a word at one edge, a third each. Models that did not see a text say what they think of it
(`learning.label_errors.said_unseen`, the recipe of `make run`). On the same probabilities lists are made: ours; those
of cleanlab by hand (`find_label_issues` as its documentation has it, on tokens for entities; and with the filter that
we use, which was chosen on wikigold); and random ones of the same length, a thousand draws. The data's own mistakes
count as false alarms, as nobody has listed them: all precisions are lower bounds.

What models said is kept in .run/label-errors, a file for each data set and seed, so that a run goes on where it was.
The result goes to benchmarks/results/label-errors.json and .md.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads starve whoever shares the cores
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cleanlab
import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from edgewise.labels.schema import Head
from edgewise.labels.spans import Document, Span, on_whole
from edgewise.labels.windows import tags_of, words
from edgewise.learning.baseline import PACKAGED
from edgewise.learning.label_errors import Suspect, said_unseen, suspects
from edgewise.learning.training import Recipe
from examples import banking77, wikigold

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "benchmarks" / "results" / "label-errors.json"
KEPT = ROOT / ".run" / "label-errors"
SHARE = 0.05
KINDS = ("another label", "left out", "another edge")
DRAWS = 1000
FILTERS = {"cleanlab_by_hand": "prune_by_noise_rate", "cleanlab_low_self_confidence": "low_self_confidence"}
CELLS = ("wikigold:0", "banking77:0")

Json = dict[str, Any]
Said = list[NDArray[np.float32]]


@dataclass(frozen=True)
class Place:
    """Something listed, or a label that was corrupted: a text, and where in it."""

    document: int
    start: int
    end: int

    def meets(self, other: "Place") -> bool:
        return self.document == other.document and self.start < other.end and other.start < self.end


@dataclass(frozen=True)
class Corruption:
    """A label that is wrong on purpose: where it was and, unless it is left out, where it is now."""

    kind: str
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Cell:
    """A data set with wrong labels in it, and what models say that did not see them."""

    name: str
    head: Head
    documents: list[Document]
    wrong: list[Corruption]
    said: Said


def read(name: str) -> tuple[Head, list[Document]]:
    """The training texts of a data set."""
    if name == "wikigold":
        head = Head("label", "text", "text", wikigold.LABELS)
        rows = wikigold.rows("train")
        return head, [
            Document(row["text"], tuple(Span(s["start"], s["end"], s["label"]) for s in row["spans"])) for row in rows
        ]
    rows = banking77.rows("train")
    labels = tuple(sorted({row["label"] for row in rows}))
    head = Head("intent", "text", "text", labels, kind="choice")
    return head, [Document(row["text"], (on_whole(row["text"], row["label"]),)) for row in rows]


def corrupted(
    documents: Sequence[Document], head: Head, rng: np.random.Generator
) -> tuple[list[Document], list[Corruption]]:
    """The documents with wrong labels in them, and which."""
    every = [(i, j) for i, document in enumerate(documents) for j in range(len(document.spans))]
    chosen = rng.choice(len(every), round(SHARE * len(every)), replace=False)
    kinds = KINDS if head.kind == "spans" else KINDS[:1]
    todo = {every[place]: kinds[number % len(kinds)] for number, place in enumerate(chosen)}
    noisy, log = [], []
    for i, document in enumerate(documents):
        spans = list[Span]()
        for j, span in enumerate(document.spans):
            now: Span | None = span
            if (i, j) in todo:
                others = [other for k, other in enumerate(document.spans) if k != j]
                kind, now = CORRUPT[todo[i, j]](document.text, span, (others, head), rng)
                log.append(Corruption(kind, tuple(Place(i, s.start, s.end) for s in (span, now) if s is not None)))
            spans += [now] if now is not None else []
        noisy.append(Document(document.text, tuple(spans)))
    return noisy, log


Made = tuple[str, Span | None]
Around = tuple[Sequence[Span], Head]


def another_label(text: str, span: Span, around: Around, rng: np.random.Generator) -> Made:
    label = str(rng.choice([label for label in around[1].labels if label != span.label]))
    return KINDS[0], Span(span.start, span.end, label)


def left_out(text: str, span: Span, around: Around, rng: np.random.Generator) -> Made:
    return KINDS[1], None


def another_edge(text: str, span: Span, around: Around, rng: np.random.Generator) -> Made:
    """A word more or less at one side; left out where neither is possible."""
    found = words(text)
    first = int(np.searchsorted(found[:, 1], span.start, side="right"))
    stop = int(np.searchsorted(found[:, 0], span.end, side="left"))
    moves = [(first - 1, stop), (first + 1, stop), (first, stop - 1), (first, stop + 1)]
    inside = [(a, b) for a, b in moves if 0 <= a < b <= len(found)]
    spans = [Span(int(found[a, 0]), int(found[b - 1, 1]), span.label) for a, b in inside]
    free = [one for one in spans if not any(one.overlaps(other) for other in around[0])]
    return (KINDS[2], free[int(rng.integers(len(free)))]) if free else (KINDS[1], None)


CORRUPT: dict[str, Callable[[str, Span, Around, np.random.Generator], Made]] = {
    KINDS[0]: another_label,
    KINDS[1]: left_out,
    KINDS[2]: another_edge,
}


def cell(name: str, seed: int, folds: int, tasks: int | None) -> Cell:
    """The cell; what models say is computed once."""
    head, clean = read(name)
    if tasks is not None and tasks < len(clean):
        clean = [clean[i] for i in sorted(np.random.default_rng(seed).choice(len(clean), tasks, replace=False))]
    documents, wrong = corrupted(clean, head, np.random.default_rng(seed))
    kept = KEPT / f"{name}-{len(clean)}-{seed}-{folds}.npz"
    if not kept.exists():
        keep(kept, documents, head, seed, folds)
    with np.load(kept) as found:
        said = list(np.split(found["rows"], found["bounds"][1:-1]))
    return Cell(name, head, documents, wrong, said if head.kind == "spans" else [row[0] for row in said])


def keep(kept: Path, documents: Sequence[Document], head: Head, seed: int, folds: int) -> None:
    """Train the folds' models and write down what they say, whole or not at all."""
    began = time.monotonic()

    def report(done: float) -> None:
        sys.stderr.write(f"\r{kept.stem}: {done:.0%}, {time.monotonic() - began:.0f} s ")

    found = said_unseen(documents, head, PACKAGED, Recipe(seed=seed), folds=folds, report=report)
    rows = [np.atleast_2d(row) for row in found if row is not None]
    assert len(rows) == len(documents), "every text was judged"
    KEPT.mkdir(parents=True, exist_ok=True)
    staged = kept.with_suffix(".part.npz")
    np.savez_compressed(staged, rows=np.concatenate(rows), bounds=np.cumsum([0, *map(len, rows)]))
    staged.replace(kept)


def ours(found: Cell) -> list[Place]:
    """What `edgewise label-errors` lists, worst first."""
    return [place_of(one) for one in suspects(found.documents, found.said, found.head)]


def place_of(one: Suspect) -> Place:
    spans = [span for span in (one.given, one.thinks) if span is not None]
    return Place(one.document, min(span.start for span in spans), max(span.end for span in spans))


def by_hand(found: Cell, filter_by: str) -> list[Place]:
    """cleanlab as its documentation has it, worst first; neighbouring words that it lists are one place."""
    if found.head.kind == "spans":
        return tokens_by_hand(found, filter_by)
    from cleanlab.filter import find_label_issues

    column = {label: number for number, label in enumerate(found.head.labels)}
    labels = np.array([column[document.spans[0].label] for document in found.documents])
    shares = np.stack(found.said).astype(np.float64)
    shares /= shares.sum(axis=1, keepdims=True)
    ranked: Json = {"return_indices_ranked_by": "self_confidence", "filter_by": filter_by, "n_jobs": 1}
    issues = find_label_issues(labels, shares, **ranked)
    return [Place(int(i), 0, len(found.documents[i].text)) for i in issues]


def tokens_by_hand(found: Cell, filter_by: str) -> list[Place]:
    from cleanlab.token_classification.filter import find_label_issues

    here = [words(document.text) for document in found.documents]
    tags = [tags_of(d.spans, w, found.head.labels).tolist() for d, w in zip(found.documents, here, strict=True)]
    shares = [said.astype(np.float64) / said.sum(axis=1, keepdims=True) for said in found.said]
    issues = find_label_issues(tags, shares, filter_by=filter_by, n_jobs=1)
    listed = set(issues)
    places: dict[tuple[int, int], Place] = {}
    for i, j in issues:  # worst first: a run of words stands where its worst word does
        first, last = j, j
        while (i, first - 1) in listed:
            first -= 1
        while (i, last + 1) in listed:
            last += 1
        places.setdefault((i, first), Place(i, int(here[i][first, 0]), int(here[i][last, 1])))
    return list(places.values())


def measured(found: Cell, listed: Sequence[Place]) -> Json:
    """Precision and recall of a list: by text, and by place; and of as many of the worst as there are wrong labels."""
    wrong_texts = {one.places[0].document for one in found.wrong}
    by_text: dict[int, list[Place]] = {}
    for corruption in found.wrong:
        for place in corruption.places:
            by_text.setdefault(place.document, []).append(place)
    hits = [any(place.meets(other) for other in by_text.get(place.document, ())) for place in listed]
    flagged = {place.document for place in listed}
    caught = [any(p.meets(other) for p in one.places for other in listed_in(listed, p.document)) for one in found.wrong]
    worst = hits[: len(found.wrong)]
    kinds = Counter(one.kind for one, yes in zip(found.wrong, caught, strict=True) if yes)
    total = Counter(one.kind for one in found.wrong)
    return {
        "listed": len(listed),
        "texts": scores(len(flagged & wrong_texts), len(flagged), len(wrong_texts)) | {"listed": len(flagged)},
        "labels": {
            "precision": ratio(sum(hits), len(listed)),
            "recall": ratio(sum(caught), len(caught)),
            "worst_precision": ratio(sum(worst), len(worst)),
        },
        "recall_by_kind": {kind: ratio(kinds[kind], count) for kind, count in sorted(total.items())},
    }


def listed_in(listed: Iterable[Place], document: int) -> list[Place]:
    return [place for place in listed if place.document == document]


def scores(both: float, listed: int, wrong: int) -> Json:
    return {"precision": ratio(both, listed), "recall": ratio(both, wrong)}


def ratio(part: float, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def at_random(found: Cell, texts: int, labels: int, rng: np.random.Generator) -> Json:
    """Lists of so many texts, and of so many given labels, drawn at random: means over the draws."""
    wrong = np.zeros(len(found.documents), dtype=bool)
    wrong[[one.places[0].document for one in found.wrong]] = True
    drawn = float(np.mean([wrong[rng.choice(len(wrong), texts, replace=False)].sum() for _ in range(DRAWS)]))
    given = [Place(i, span.start, span.end) for i, one in enumerate(found.documents) for span in one.spans]
    hit = np.array([any(place.meets(p) for one in found.wrong for p in one.places) for place in given])
    hits = float(np.mean([hit[rng.choice(len(hit), min(labels, len(hit)), replace=False)].sum() for _ in range(DRAWS)]))
    return {
        "listed": labels,
        "texts": scores(drawn, texts, int(wrong.sum())) | {"listed": texts},
        "labels": {"precision": ratio(hits, labels), "recall": ratio(hits, len(found.wrong))},
    }


def result_of(name: str, seed: int, folds: int, tasks: int | None) -> Json:
    """One data set and seed: the three lists side by side."""
    found = cell(name, seed, folds, tasks)
    mine = measured(found, ours(found))
    return {
        "data": name,
        "seed": seed,
        "folds": folds,
        "texts": len(found.documents),
        "labels": sum(len(document.spans) for document in found.documents),
        "wrong": dict(sorted(Counter(one.kind for one in found.wrong).items())),
        "wrong_texts": len({one.places[0].document for one in found.wrong}),
        "edgewise": mine,
        **{name: measured(found, by_hand(found, filter_by)) for name, filter_by in FILTERS.items()},
        "random": at_random(found, mine["texts"]["listed"], mine["listed"], np.random.default_rng(seed)),
    }


COLUMNS = (
    "data", "texts", "seed", "wrong labels", "list", "labels listed", "precision", "recall", "of the worst",
    "texts listed", "precision", "recall",
)  # fmt: skip


def table(cells: Sequence[Json]) -> str:
    """The cells for people."""
    rows: list[Sequence[object]] = [COLUMNS, ["---"] * len(COLUMNS)]
    for one in cells:
        for name in ("edgewise", *FILTERS, "random"):
            labels, texts = one[name]["labels"], one[name]["texts"]
            what = [one["data"], one["texts"], one["seed"], sum(one["wrong"].values()), name.replace("_", " ")]
            found = [one[name]["listed"], labels["precision"], labels["recall"], labels.get("worst_precision")]
            rows.append([*what, *found, texts["listed"], texts["precision"], texts["recall"]])
    return "\n".join(f"| {' | '.join(map(shown, row))} |" for row in rows)


def shown(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def write(cells: Sequence[Json]) -> None:
    """Both files, each whole or not at all."""
    OUT.parent.mkdir(parents=True, exist_ok=True)
    versions = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "cleanlab": cleanlab.__version__,
    }
    told = {"share_corrupted": SHARE, "base": PACKAGED, "cells": list(cells), "versions": versions}
    by_kind = [
        f"- {one['data']}, seed {one['seed']}: "
        + "; ".join(
            f"{kind} {one['edgewise']['recall_by_kind'][kind]} ({one['cleanlab_by_hand']['recall_by_kind'][kind]})"
            for kind in one["wrong"]
        )
        for one in cells
    ]
    page = [HEADING, table(cells), "", "Recall by kind of mistake, in brackets that of cleanlab by hand:", "", *by_kind]
    for path, content in (
        (OUT, json.dumps(told, indent=2) + "\n"),
        (OUT.with_suffix(".md"), "\n".join(page) + "\n"),
    ):
        staged = path.with_suffix(".tmp")
        staged.write_text(content, encoding="utf-8")
        staged.replace(path)


HEADING = """# Label errors: who finds wrong labels that were put in on purpose

Made by `python -m benchmarks.label_errors`, whose docstring says how. "Of the worst": precision among as many of the
first in the list as there are wrong labels. The data's own mistakes count as false alarms. A random list is of the same
length as ours; it draws given labels, or texts. How many to list, and the score of an entity, were chosen on wikigold's
seed 0; banking77 was looked at afterwards. For intents our list is cleanlab's with that filter.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", nargs="*", default=CELLS, metavar="DATA:SEED[:TEXTS]")
    parser.add_argument("--folds", type=int, default=4)
    given = parser.parse_args()
    cells: list[Json] = []
    for asked in given.cells:
        name, seed, *texts = asked.split(":")
        cells.append(result_of(name, int(seed), given.folds, int(texts[0]) if texts else None))
        write(cells)
    print(table(cells))


if __name__ == "__main__":
    main()
