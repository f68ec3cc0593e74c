"""simulate: the loop replayed on a labelled file, several strategies and seeds side by side, into a folder.

A cell is a strategy and a seed: each is a file that is written after every round, so that a run that was cut off goes
on where it was. Then simulation.json, .md and .svg tell it together. Knows nothing of how a round is played.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from edgewise.errors import Conflict, InputError
from edgewise.files.whole import whole
from edgewise.labels.spans import Document
from edgewise.learning import simulation
from edgewise.learning.simulation import RANDOM, Cell, Course, Record, Score
from edgewise.learning.training import Recipe
from edgewise.verbs.files.material import Source, read_material
from edgewise.verbs.files.split import place_of

NAME = "simulation"
TEST = 0.2  # of the texts, where no file of test rows is named
SPLIT_SEED = 0  # the test rows are the same for every seed
Json = dict[str, Any]
Report = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Files:
    """What to replay, and how. test: a second file of the same form; None takes a fifth of the texts.

    labels: the set; empty for those that the file has. sizes: labelled rows of each round, rising.
    """

    pool: Path
    source: Source
    base: str
    recipe: Recipe
    sizes: tuple[int, ...]
    test: Path | None = None
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to play. dataset: its name, for people. full: also train on everything, once for each seed."""

    dataset: str
    strategies: tuple[str, ...]
    seeds: tuple[int, ...]
    full: bool = True


def read_course(files: Files) -> Course:
    """The rows with labels as a pool and test documents; a text is in one of them.

    Raises InputError and DataError for rows that cannot be read, or fewer of them than are to be labelled.
    """
    material = read_material(files.pool, files.source, labels=files.labels)
    pool, test = parted(material.documents)
    if files.test is not None:
        test = read_material(files.test, files.source, labels=material.head.labels).documents
        kept_out = {place_of(document.text, SPLIT_SEED) for document in test}
        pool = [one for one in material.documents if place_of(one.text, SPLIT_SEED) not in kept_out]
    if not test:
        raise InputError("No row is there to test with.", "Name a file of test rows, or one with more rows.")
    if len(pool) < files.sizes[-1]:
        raise InputError(
            f"{files.sizes[-1]} rows are to be labelled, and the pool has {len(pool)}.", "Ask for fewer with --to."
        )
    return Course(tuple(pool), tuple(test), material.head, files.base, files.recipe, files.sizes)


def parted(documents: Sequence[Document]) -> tuple[list[Document], list[Document]]:
    """The pool and a fifth of the texts to test with, by a hash of the text."""
    tests = [place_of(document.text, SPLIT_SEED) < TEST for document in documents]
    pairs = list(zip(documents, tests, strict=True))
    return [one for one, is_test in pairs if not is_test], [one for one, is_test in pairs if is_test]


def simulate(course: Course, wanted: Wanted, scores: Mapping[str, Score], out: Path, report: Report) -> Json:
    """Play what `out` does not hold yet, seed by seed, and tell all of it; returns what simulation.json holds.

    scores: functions of uncertainty.py by strategy. Raises InputError for a strategy that is none of these, Conflict if
    the folder holds another simulation.
    """
    known = {RANDOM: None, **scores}
    unknown = [name for name in wanted.strategies if name not in known]
    if unknown:
        raise InputError(f"{unknown[0]!r} is no strategy.", f"There are: {', '.join(known)}.")
    prepare(course, wanted, out)
    parts = len(wanted.seeds) * (1 + wanted.full)
    for number, seed in enumerate(wanted.seeds):
        cells = [read_cell(out, name, seed) for name in wanted.strategies]
        for cell in simulation.play_seed(course, cells, known, part(report, (number, parts), f"seed {seed}")):
            write_json(cell_path(out, cell["strategy"], seed), dict(cell))
            tell(course, wanted, out)
    for number, seed in enumerate(wanted.seeds if wanted.full else (), start=len(wanted.seeds)):
        path = cell_path(out, simulation.EVERYTHING, seed)
        if not path.exists():
            found = simulation.everything(course, seed, part(report, (number, parts), f"everything, seed {seed}"))
            write_json(path, dict(found))
    return tell(course, wanted, out)


def prepare(course: Course, wanted: Wanted, out: Path) -> None:
    """The folder for these cells, or the one that was begun with the same documents, recipe and sizes."""
    described = {"dataset": wanted.dataset, "course": digest(course), "sizes": list(course.sizes)}
    path = out / "course.json"
    if path.exists():
        held = json.loads(path.read_text(encoding="utf-8"))
        both = list(zip(held["sizes"], course.sizes, strict=False))  # more rounds, or fewer, of the same
        same = held["course"] == described["course"] and all(before == now for before, now in both)
        if not same:
            raise Conflict(
                f"'{out.name}' holds a simulation of other data or with other options.",
                "Name another folder; or repeat its options: then it goes on where it was.",
            )
        described["sizes"] = max(held["sizes"], described["sizes"], key=len)
    elif out.exists() and any(out.iterdir()):
        raise Conflict(f"'{out.name}' holds something else.", "Name a new folder.")
    (out / "cells").mkdir(parents=True, exist_ok=True)
    write_json(path, described)


def digest(course: Course) -> str:
    """What must be the same for a cell to go on: documents, head, encoder and recipe."""
    content = blake2b(digest_size=12)
    content.update(repr((course.head, course.base, sorted(asdict(course.recipe).items()))).encode())
    for document in (*course.pool, None, *course.test):
        content.update(repr(document).encode("utf-8", "surrogatepass"))
    return content.hexdigest()


def cell_path(out: Path, strategy: str, seed: int) -> Path:
    """Where a cell is kept."""
    return out / "cells" / f"{strategy}-{seed}.json"


def read_cell(out: Path, strategy: str, seed: int) -> Cell:
    """A cell as it was left; before its first round if it was never begun."""
    path = cell_path(out, strategy, seed)
    if not path.exists():
        return simulation.fresh(strategy, seed)
    found: Cell = json.loads(path.read_text(encoding="utf-8"))
    return found


def write_json(path: Path, content: Json) -> None:
    """Whole or not at all."""
    with whole(path, overwrite=True) as staged:
        staged.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")


def tell(course: Course, wanted: Wanted, out: Path) -> Json:
    """Write what there is so far as JSON, a line for each record, as a table and as a plot."""
    from edgewise.files.plot import curves

    records = [record for cell in cells_of(wanted, out) for record in cell["records"]]
    full = [json.loads(path.read_text(encoding="utf-8")) for path in full_paths(wanted, out)]
    content: Json = {
        "dataset": wanted.dataset,
        "measure": course.measure,
        "pool": len(course.pool),
        "test": len(course.test),
        "base": course.base,
        "recipe": asdict(course.recipe),
        "full": float(np.mean([one["test"]["score"] for one in full])) if full else None,
        "everything": full,
        "cells": records,
    }
    with whole(out / f"{NAME}.json", overwrite=True) as staged:
        staged.write_text(by_line(content), encoding="utf-8")
    with whole(out / f"{NAME}.md", overwrite=True) as staged:
        staged.write_text("\n".join(page(content)) + "\n", encoding="utf-8")
    with whole(out / f"{NAME}.svg", overwrite=True) as staged:
        curves(staged, means_of(records), title=wanted.dataset, measure=course.measure, full=content["full"])
    return content


def cells_of(wanted: Wanted, out: Path) -> list[Cell]:
    """The cells that are begun."""
    return [read_cell(out, strategy, seed) for seed in wanted.seeds for strategy in wanted.strategies]


def full_paths(wanted: Wanted, out: Path) -> list[Path]:
    """The trainings on everything that are done."""
    paths = [cell_path(out, simulation.EVERYTHING, seed) for seed in wanted.seeds]
    return [path for path in paths if path.exists()]


def by_line(content: Json) -> str:
    """JSON with one line for each record: the counts of documents would fill a screen each."""
    lists = {name: value for name, value in content.items() if name in ("everything", "cells")}
    head = [f"{json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in content.items() if k not in lists]
    for name, records in lists.items():
        lines = ",\n".join(json.dumps(record, ensure_ascii=False) for record in records)
        head.append(f"{json.dumps(name)}: [\n{lines}\n]")
    return "{\n" + ",\n".join(head) + "\n}\n"


def means_of(records: Sequence[Record]) -> dict[str, list[tuple[int, float, float, float]]]:
    """By strategy: labelled documents, mean, lowest and highest score over the seeds that came so far."""
    found: dict[str, list[tuple[int, float, float, float]]] = {}
    in_order = sorted(records, key=lambda one: (one["strategy"] != RANDOM, one["strategy"], one["labelled"]))
    for (strategy, labelled), each in groupby(in_order, key=lambda one: (one["strategy"], one["labelled"])):
        scores = [record["test"]["score"] for record in each]
        found.setdefault(strategy, []).append((labelled, float(np.mean(scores)), min(scores), max(scores)))
    return found


def rows_of(content: Json) -> list[list[str]]:
    """The table: a line for each size, a column for each strategy."""
    by_strategy = {name: {row[0]: row for row in rows} for name, rows in means_of(content["cells"]).items()}
    seeds = Counter((one["strategy"], one["labelled"]) for one in content["cells"])
    most = max(seeds.values(), default=0)
    rows = [["labelled", *by_strategy]]
    for size in sorted({size for rows in by_strategy.values() for size in rows}):
        missing = {name: most - seeds[name, size] for name in by_strategy}
        rows.append([str(size), *(told(rows.get(size), missing[name]) for name, rows in by_strategy.items())])
    if content["full"] is not None:
        rows.append([f"all {content['pool']}", *[f"{content['full']:.3f}" for _ in by_strategy]])
    return rows


def told(row: tuple[int, float, float, float] | None, missing: int) -> str:
    """A mean with the range of its seeds, and how many seeds have not come so far."""
    if row is None:
        return "-"
    return f"{row[1]:.3f} ({row[2]:.3f} to {row[3]:.3f}{f'; {missing} to come' if missing else ''})"


def page(content: Json) -> list[str]:
    """The table for people, in Markdown."""
    rows = rows_of(content)
    lines = [
        f"# {content['dataset']}",
        "",
        f"{content['measure']} on {content['test']} test documents by labelled documents of a pool of "
        f"{content['pool']}: mean over seeds (lowest to highest). Encoder {content['base']}; the first documents of a "
        "seed are random and the same for all strategies.",
        "",
        f"| {' | '.join(rows[0])} |",
        f"|{'---|' * len(rows[0])}",
    ]
    return lines + [f"| {' | '.join(row)} |" for row in rows[1:]]


def part(report: Report, place: tuple[int, int], words: str) -> Callable[[float], None]:
    """Progress of one of several parts as progress of the whole."""
    number, parts = place
    return lambda done: report((number + done) / parts, words)
