"""Replay of the loop on documents with known labels: what would a model be worth, had people labelled in this order?

Every round trains from the base encoder, is scored on the same test documents, scores the rest of the pool and takes
the next documents from it: the hardest first as selection.py orders them, or at random. Strategies come from outside.
Knows nothing of files, tasks or people: its annotators make no mistakes, and audit tasks are the test documents.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from edgewise.errors import DataError
from edgewise.labels.schema import Head
from edgewise.labels.spans import Document, Span
from edgewise.labels.windows import words
from edgewise.learning.evaluation import NO_CHOICE, f1_of, on_words, span_counts
from edgewise.learning.inference import Classified, Tagged, Tagger, load_trained
from edgewise.learning.selection import SIMILAR, close, order
from edgewise.learning.training import Recipe, train

Score = Callable[[NDArray[Any], NDArray[Any]], NDArray[np.floating[Any]]]
Report = Callable[[float], None]
Said = Tagged | Classified
Learn = Callable[[int, Sequence[int]], "Learnt"]

RANDOM = "random"
EVERYTHING = "everything"
TEACHING = 0.8  # of a round's progress; the rest is answering


class Record(TypedDict):
    """One round. test: score in [0, 1] and counts (tp, fp, fn) of each test document; changed: share of the documents
    still open whose answer differs from the round before, None in the first."""

    strategy: str
    seed: int
    round: int
    labelled: int
    tokens: int
    test: dict[str, Any]
    changed: float | None
    seconds: float


class Cell(TypedDict):
    """A strategy and a seed, after so many rounds. labelled: positions in the pool, in the order of labelling; next:
    those that follow; said: a fingerprint of the last answer about each document of the pool."""

    strategy: str
    seed: int
    records: list[Record]
    labelled: list[int]
    next: list[int]
    said: list[str]


@dataclass(frozen=True, slots=True)
class Course:
    """What is replayed. sizes: labelled documents of each round, rising; those of the first are drawn at random.

    spread: whether documents that are among a pool's closest stand apart, as the loop does with choices; documents
    with spans otherwise do so only where they are near-duplicates.
    """

    pool: tuple[Document, ...]
    test: tuple[Document, ...]
    head: Head
    base: str
    recipe: Recipe
    sizes: tuple[int, ...]
    spread: bool = False

    @property
    def measure(self) -> str:
        """What the scores are, by name: strict F1 over all spans or choices, of a single choice its accuracy."""
        return "accuracy" if self.head.kind == "choice" else "F1"


@dataclass(frozen=True, slots=True)
class Learnt:
    """A trained model's answers. counts: (n_test, 3); pool: what it says of the pool, None if nobody asked."""

    counts: NDArray[np.int64]
    pool: Said | None
    seconds: float


def sizes_of(first: int, to: int, rounds: int) -> tuple[int, ...]:
    """From the first random ones to all, in even steps."""
    return tuple(sorted({int(size) for size in np.linspace(first, to, rounds).round()}))


def fresh(strategy: str, seed: int) -> Cell:
    """A cell before its first round."""
    return Cell(strategy=strategy, seed=seed, records=[], labelled=[], next=[], said=[])


def play_seed(
    course: Course, cells: Sequence[Cell], scores: Mapping[str, Score | None], report: Report
) -> Iterator[Cell]:
    """Play cells of one seed to their end, one after another; a cell as it is after each further round.

    scores: by strategy, as of uncertainty.py; None is random order. A cell that has rounds already goes on from
    there, and comes out as if it had never stopped. The first round is the same for all and is taught once.
    """
    taught: dict[tuple[int, ...], Learnt] = {}
    todo = sum(max(0, len(course.sizes) - len(cell["records"])) for cell in cells)
    done = 0

    def learn(seed: int, labelled: Sequence[int]) -> Learnt:
        key = (seed, *labelled)
        found = taught.get(key) or learn_from(course, labelled, seed, lambda share: report((done + share) / todo))
        if len(labelled) <= course.sizes[0]:
            taught[key] = found
        return found

    for cell in cells:
        while len(cell["records"]) < len(course.sizes):
            cell = play_round(course, cell, scores[cell["strategy"]], learn)
            done += 1
            report(done / todo)
            yield cell


def play_round(course: Course, cell: Cell, score: Score | None, learn: Learn) -> Cell:
    """The cell after one more round."""
    number, seed = len(cell["records"]), cell["seed"]
    labelled = first_of(course, seed)
    if number:
        labelled = cell["labelled"] + cell["next"][: course.sizes[number] - len(cell["labelled"])]
    learnt = learn(seed, labelled)
    assert learnt.pool is not None
    said = [fingerprint(spans) for spans in learnt.pool.spans]
    left = np.setdiff1d(np.arange(len(course.pool)), labelled)
    record = Record(
        strategy=cell["strategy"],
        seed=seed,
        round=number,
        labelled=len(labelled),
        tokens=sum(len(words(course.pool[position].text)) for position in labelled),
        test={"score": score_of(learnt.counts), "counts": learnt.counts.tolist()},
        changed=share_changed(cell["said"], said, left),
        seconds=round(learnt.seconds, 2),
    )
    chosen = choose(course, learnt.pool, left, score, np.random.default_rng([seed, number]))
    return Cell(
        strategy=cell["strategy"],
        seed=seed,
        records=[*cell["records"], record],
        labelled=labelled,
        next=chosen[: course.sizes[-1]].tolist(),
        said=said,
    )


def first_of(course: Course, seed: int) -> list[int]:
    """The documents that a seed begins with. Raises DataError if there is nothing to learn from them."""
    drawn: list[int] = np.random.default_rng(seed).permutation(len(course.pool))[: course.sizes[0]].tolist()
    found = {span.label for position in drawn for span in course.pool[position].spans}
    if len(found) < (2 if course.head.kind == "choice" else 1):
        raise DataError(
            f"The {len(drawn)} documents that seed {seed} begins with have {len(found)} labels in them.",
            "Begin with more documents.",
        )
    return drawn


def choose(
    course: Course, said: Said, left: NDArray[np.int64], score: Score | None, rng: np.random.Generator
) -> NDArray[np.int64]:
    """The documents that are left, first to be labelled first."""
    if score is None:
        return rng.permutation(left)
    unsure = np.asarray(score(said.probabilities, said.offsets), dtype=np.float64)[left]
    embeddings = said.embeddings[left]
    similar = SIMILAR if course.head.kind == "spans" and not course.spread else close(embeddings, rng)
    nobody = np.zeros(len(left), dtype=bool)
    return left[order(unsure, embeddings, audit=nobody, audit_fraction=0.1, labelled=(0, 0), rng=rng, similar=similar)]


def learn_from(course: Course, labelled: Sequence[int], seed: int, report: Report, *, answer: bool = True) -> Learnt:
    """A model from so many documents of the pool, in a process and folder that nobody keeps."""
    began = time.monotonic()
    taught = [course.pool[position] for position in labelled]
    recipe = replace(course.recipe, seed=seed)
    with tempfile.TemporaryDirectory(prefix="edgewise-simulation-") as folder:
        trained = train(
            taught,
            course.head,
            course.base,
            Path(folder) / "model",
            recipe,
            report=lambda done: report(TEACHING * done),
        )
        model = load_trained(trained.folder, course.head, max_length=recipe.max_length)
        ask = model.tag if isinstance(model, Tagger) else model.classify
        tested = ask([document.text for document in course.test]).spans
        pool = ask([document.text for document in course.pool]) if answer else None
    return Learnt(counts_of(course.test, tested, course.head), pool, time.monotonic() - began)


def counts_of(gold: Sequence[Document], said: Sequence[Sequence[Span]], head: Head) -> NDArray[np.int64]:
    """(n, 3): right, wrong and missed of each document. No answer to a single choice counts as one that is wrong."""
    texts = [document.text for document in gold]
    true: Sequence[Sequence[Span]] = on_words(texts, [document.spans for document in gold], head)
    if head.kind == "choice":
        true, said = ([tuple(spans) or NO_CHOICE for spans in column] for column in (true, said))
    return span_counts(true, said)


def score_of(counts: Any) -> float:
    """Micro F1 of counts (n, 3)."""
    return float(f1_of(np.asarray(counts).reshape(-1, 3).sum(axis=0)))


def everything(course: Course, seed: int, report: Report) -> Record:
    """The model that all labels of the pool make: where every strategy ends."""
    learnt = learn_from(course, range(len(course.pool)), seed, report, answer=False)
    return Record(
        strategy=EVERYTHING,
        seed=seed,
        round=0,
        labelled=len(course.pool),
        tokens=sum(len(words(document.text)) for document in course.pool),
        test={"score": score_of(learnt.counts), "counts": learnt.counts.tolist()},
        changed=None,
        seconds=round(learnt.seconds, 2),
    )


def fingerprint(spans: Sequence[Span]) -> str:
    """Equal for equal answers, whatever their scores."""
    content = repr([(span.start, span.end, span.label) for span in spans]).encode("utf-8", "surrogatepass")
    return blake2b(content, digest_size=6).hexdigest()


def share_changed(before: Sequence[str], now: Sequence[str], left: NDArray[np.int64]) -> float | None:
    """Of the documents that are left, how many have another answer; None if there is nothing to compare."""
    if not before or not len(left):
        return None
    return round(float(np.mean([before[position] != now[position] for position in left])), 4)
