"""A learner for spans: a head on the words that a frozen encoder has read, cross-fitted in seconds.

The counterpart of student.py, which is for choices. Knows nothing of rounds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgewise.labels.windows import IntArray, spans_of_texts, tags_of
from edgewise.learning.freeal.answers import Answer
from edgewise.learning.freeal.reading import Words
from edgewise.learning.training.exercises import folds
from edgewise.learning.training.regression import Floats, teach_one

FOLDS = 4
LEAST = 1e-6  # probability: its logarithm is finite
ITERATIONS = 60  # more change no third digit of the test's F1, and labels that contradict each other take hundreds
STRENGTH = 0.03  # C of the regression: a head on words is surer than it is right with that of a head on texts


@dataclass(frozen=True)
class SpanOpinion:
    """What heads say of texts that they were not taught on. shares: (N, n_tags), how likely each word's tags are."""

    words: Words
    labels: tuple[str, ...]
    shares: Floats = field(repr=False)

    @property
    def answers(self) -> list[Answer]:
        """The spans of the likeliest tags."""
        words, tags = self.words, self.shares.argmax(axis=1)
        return spans_of_texts(tags, words.places, self.labels, offsets=words.offsets, probabilities=self.shares)

    @property
    def sure(self) -> Floats:
        """(n,), the probability of the likeliest tags, the geometric mean over the words; 1 without words."""
        return np.asarray(np.exp(-self._mean_loss(self.shares.max(axis=1, initial=0.0))))

    def losses(self, labels: Sequence[Answer | None]) -> Floats:
        """(n,), the negative logarithm of the probability of each label's tags, the mean over the words."""
        tags = tags_in([label or () for label in labels], self.words, self.labels)
        found = self._mean_loss(self.shares[np.arange(len(tags)), tags])
        found[[label is None for label in labels]] = np.nan
        return found

    def _mean_loss(self, likely: Floats) -> Floats:
        counts = np.diff(self.words.offsets)
        sums = np.bincount(self.words.of_text, -np.log(np.maximum(LEAST, likely)), minlength=len(counts))
        return np.asarray(sums / np.maximum(counts, 1))


class SpanStudent:
    """Taught on the spans of some texts, asked about all of them, each by a head that did not see it."""

    def __init__(self, texts: Sequence[str], words: Words, labels: tuple[str, ...], *, seed: int = 0) -> None:
        """words: of the texts."""
        self._words, self._labels = words, labels
        self._part_of_text = np.zeros(len(texts), dtype=np.int64)
        for number, part in enumerate(folds(texts, FOLDS, seed)):
            self._part_of_text[part] = number

    @property
    def embeddings(self) -> NDArray[np.float32]:
        """(n, dim), of the texts."""
        return self._words.embeddings

    def learn(self, labels: Mapping[int, Answer]) -> SpanOpinion:
        """Heads taught on these labels, one for each fold."""
        taught, tags = self._lesson(labels)
        part = self._part_of_text[self._words.of_text]
        shares = np.zeros((len(part), 1 + 2 * len(self._labels)))
        for number in range(int(part.max(initial=0)) + 1):
            weights = self._teach(taught & (part != number), tags)
            shares[part == number] = _likely(self._words.features[part == number], weights)
        return SpanOpinion(self._words, self._labels, shares)

    def finished(self, labels: Mapping[int, Answer], words: Words) -> SpanOpinion:
        """One head taught on all these labels, and what it says of the words of other texts."""
        weights = self._teach(*self._lesson(labels))
        return SpanOpinion(words, self._labels, _likely(words.features, weights))

    def _lesson(self, labels: Mapping[int, Answer]) -> tuple[NDArray[np.bool_], IntArray]:
        """(N,), whether each word is taught, and its tag."""
        count = len(self._words.offsets) - 1
        tags = tags_in([labels.get(row, ()) for row in range(count)], self._words, self._labels)
        return np.isin(self._words.of_text, list(labels)), tags

    def _teach(self, which: NDArray[np.bool_], tags: IntArray) -> tuple[Floats, Floats]:
        given, columns = self._words.features[which], 1 + 2 * len(self._labels)
        return teach_one(given, tags[which], columns, strength=STRENGTH, iterations=ITERATIONS)


def tags_in(answers: Sequence[Answer], words: Words, labels: Sequence[str]) -> IntArray:
    """(N,), the tag id of each word of all texts."""
    bounds = zip(words.offsets[:-1], words.offsets[1:], strict=True)
    cut = [tags_of(one, words.places[a:b], labels) for one, (a, b) in zip(answers, bounds, strict=True)]
    return np.concatenate([np.zeros(0, dtype=np.int64), *cut])


def _likely(features: NDArray[np.float32], weights: tuple[Floats, Floats]) -> Floats:
    logits = features.astype(np.float64) @ weights[0].T + weights[1]
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))
