"""A loop that is replayed in seconds: the encoder is read once, and a round only teaches the head, by logistic
regression, as the strategy `features` does. The order of the labels is the loop's own (learning/simulation.py).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.coverage import read
from edgewise.labels.schema import Head
from edgewise.labels.spans import Document, Span, on_whole
from edgewise.learning.baseline import PACKAGED
from edgewise.learning.inference import Classified, embed
from edgewise.learning.simulation import Course, Learnt, counts_of, sizes_of
from edgewise.learning.training import Recipe
from edgewise.learning.training.regression import teach_one
from examples.banking77 import INTENTS

Floats = npt.NDArray[np.float64]

POOL = 3000
LENGTH = 128
PLAYED = {"snips_intent": (20, 1000, 26), "banking77": (200, 2600, 13), "dozen": (40, 1000, 25)}
"""Labelled documents of the first and the last round, and how many rounds."""


@dataclass(frozen=True)
class Game:
    """Documents with one choice each, and what the encoder gives for them."""

    course: Course
    pool: Floats
    test: Floats

    def learn(self, seed: int, labelled: Sequence[int]) -> Learnt:
        """A head taught on some of the pool, and what it says of all."""
        began = time.monotonic()
        labels = self.course.head.labels
        answers = np.array([labels.index(self.course.pool[i].spans[0].label) for i in labelled])
        weight, bias = teach_one(self.pool[list(labelled)], answers, len(labels))
        pool = self.say(self.pool, self.course.pool, (weight, bias))
        test = self.say(self.test, self.course.test, (weight, bias))
        counts = counts_of(self.course.test, test.spans, self.course.head)
        return Learnt(counts, pool, time.monotonic() - began)

    def say(self, given: Floats, documents: Sequence[Document], weights: tuple[Floats, Floats]) -> Classified:
        """What the head says, as a classifier would."""
        shares = softmax(given @ weights[0].T + weights[1])
        labels = self.course.head.labels
        spans: list[tuple[Span, ...]] = [
            (on_whole(document.text, labels[best]),)
            for document, best in zip(documents, shares.argmax(axis=1), strict=True)
        ]
        found = shares.astype(np.float32)
        return Classified(found, np.arange(len(found) + 1), found, spans, given.astype(np.float32))


def softmax(logits: Floats) -> Floats:
    """Each row's shares."""
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def game(data: Path, name: str) -> Game:
    """A data set as it is replayed."""
    folder = data / ("banking77" if name == "dozen" else name)
    taught, test = read(folder / "train.jsonl"), read(folder / "test.jsonl")
    if name == "dozen":
        taught, test = ([one for one in rows if one.spans[0].label in INTENTS] for rows in (taught, test))
    order = np.random.default_rng(0).permutation(len(taught))[:POOL]
    pool = [taught[i] for i in order]
    labels = tuple(sorted({span.label for one in (*pool, *test) for span in one.spans}))
    head = Head("label", "text", "text", labels, kind="choice")
    course = Course(tuple(pool), tuple(test), head, PACKAGED, Recipe(strategy="features"), sizes_of(*PLAYED[name]))
    given = [embed([one.text for one in rows], PACKAGED, max_length=LENGTH).astype(np.float64) for rows in (pool, test)]
    return Game(course, given[0], given[1])
