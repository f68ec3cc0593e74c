"""The loop replayed on wikigold: random order, plain entropy and `boundary`, three seeds each.

    python -m benchmarks.simulate_wikigold [--folder .run/simulate-wikigold] [--seeds 3] [--rounds 7] [--without-full]

The pool is the training split, the test documents are the dev and the test split together. Encoder and recipe are those
that the loop has with `auto`. A run that was cut off goes on where it was, and fewer rounds can be played first. The
result goes to benchmarks/results/simulate-wikigold.json, .md and .svg.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads starve whoever shares the cores
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import uncertainty
from edgewise.cli.shell import Bar
from edgewise.labels.schema import Head
from edgewise.labels.spans import Document, Span
from edgewise.learning.baseline import PACKAGED
from edgewise.learning.simulation import RANDOM, Course
from edgewise.learning.training import Recipe
from edgewise.verbs.files.simulate import NAME, Wanted, simulate
from examples.wikigold import LABELS, rows

OUT = Path(__file__).resolve().parent / "results"
SIZES = (20, 60, 110, 170, 240, 320, 400)
STRATEGIES = (RANDOM, "entropy", "boundary")


def documents(*splits: str) -> tuple[Document, ...]:
    """The rows of some splits with their gold spans."""
    found = [row for split in splits for row in rows(split)]
    return tuple(
        Document(row["text"], tuple(Span(span["start"], span["end"], span["label"]) for span in row["spans"]))
        for row in found
    )


def course(rounds: int = len(SIZES)) -> Course:
    """wikigold as it is replayed."""
    return Course(
        pool=documents("train"),
        test=documents("dev", "test"),
        head=Head("label", "text", "text", LABELS),
        base=PACKAGED,
        recipe=Recipe(),
        sizes=SIZES[:rounds],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(".run/simulate-wikigold"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=len(SIZES))
    parser.add_argument("--without-full", action="store_true")
    given = parser.parse_args()
    wanted = Wanted("wikigold", STRATEGIES, tuple(range(given.seeds)), full=not given.without_full)
    with Bar("simulate") as bar:
        simulate(course(given.rounds), wanted, uncertainty.SCORES, given.folder, bar)
    for suffix in ("json", "md", "svg"):
        shutil.copyfile(given.folder / f"{NAME}.{suffix}", OUT / f"simulate-wikigold.{suffix}")
    print((OUT / "simulate-wikigold.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
