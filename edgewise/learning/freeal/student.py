"""A learner for choices: a head on the features of a frozen encoder, cross-fitted in seconds.

The encoder reads each text once, whatever number of rounds is played. Knows nothing of rounds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgewise.labels.schema import Head
from edgewise.labels.spans import on_whole
from edgewise.learning.freeal.answers import Answer
from edgewise.learning.training.exercises import folds
from edgewise.learning.training.regression import Floats, teach_each, teach_one

FOLDS = 4
LEAST = 1e-6  # probability: its logarithm is finite
HALF = 0.5


@dataclass(frozen=True)
class Opinion:
    """What heads say of texts that they were not taught on. shares: (n, k), how likely each label is."""

    texts: Sequence[str]
    head: Head
    shares: Floats

    @property
    def answers(self) -> list[Answer]:
        """The likeliest label, or all that are likelier than not."""
        names = self.head.labels
        return [
            tuple(on_whole(text, names[column], float(row[column])) for column in self._chosen(row))
            for text, row in zip(self.texts, self.shares, strict=True)
        ]

    @property
    def sure(self) -> Floats:
        """(n,), the probability of the answer as a whole."""
        if self.head.kind == "choice":
            return np.asarray(self.shares.max(axis=1))
        return np.asarray(np.maximum(self.shares, 1 - self.shares).prod(axis=1))

    def losses(self, labels: Sequence[Answer | None]) -> Floats:
        """(n,), the negative logarithm of each label's probability; of several choices the mean over the choices."""
        found = np.full(len(labels), np.nan)
        for row, label in enumerate(labels):
            if label is not None:
                found[row] = self._loss(self.shares[row], _columns(label, self.head))
        return found

    def _loss(self, shares: Floats, given: NDArray[np.bool_]) -> float:
        if self.head.kind == "choice":
            return float(-np.log(max(LEAST, shares[given].sum() if given.any() else LEAST)))
        return float(-np.log(np.maximum(LEAST, np.where(given, shares, 1 - shares))).mean())

    def _chosen(self, shares: Floats) -> list[int]:
        if self.head.kind == "choice":
            return [int(shares.argmax())]
        return [int(column) for column in np.flatnonzero(shares >= HALF)]


class Student:
    """Taught on the labels of some texts, asked about all of them, each by a head that did not see it."""

    def __init__(self, texts: Sequence[str], features: NDArray[np.float32], head: Head, *, seed: int = 0) -> None:
        """features: (n, dim), rows of length 1."""
        self._texts, self._features, self._head = list(texts), features, head
        self._parts = folds(self._texts, FOLDS, seed)

    @property
    def embeddings(self) -> NDArray[np.float32]:
        """(n, dim), the features."""
        return self._features

    def learn(self, labels: Mapping[int, Answer]) -> Opinion:
        """Heads taught on these labels, one for each fold."""
        rows = np.array(sorted(labels), dtype=np.int64)
        answers = np.stack([_columns(labels[int(row)], self._head) for row in rows])
        shares = np.zeros((len(self._texts), len(self._head.labels)))
        for part in self._parts:
            others = ~np.isin(rows, part)
            weights = self._teach(rows[others], answers[others])
            shares[part] = self._said(part, weights)
        return Opinion(self._texts, self._head, shares)

    def finished(self, labels: Mapping[int, Answer], features: NDArray[np.float32], texts: Sequence[str]) -> Opinion:
        """One head taught on all these labels, and what it says of other texts; features: theirs, (m, dim)."""
        rows = np.array(sorted(labels), dtype=np.int64)
        weights = self._teach(rows, np.stack([_columns(labels[int(row)], self._head) for row in rows]))
        return Opinion(texts, self._head, self._likely(features.astype(np.float64), weights))

    def _teach(self, rows: NDArray[np.int64], answers: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        given = self._features[rows].astype(np.float64)
        if self._head.kind == "choice":
            there = answers.any(axis=1)
            return teach_one(given[there], answers[there].argmax(axis=1), len(self._head.labels))
        return teach_each(given, answers)

    def _said(self, part: Sequence[int], weights: tuple[Floats, Floats]) -> Floats:
        return self._likely(self._features[part].astype(np.float64), weights)

    def _likely(self, features: Floats, weights: tuple[Floats, Floats]) -> Floats:
        logits = features @ weights[0].T + weights[1]
        if self._head.kind == "choice":
            raised = np.exp(logits - logits.max(axis=1, keepdims=True))
            return np.asarray(raised / raised.sum(axis=1, keepdims=True))
        return np.asarray(1 / (1 + np.exp(-logits)))


def _columns(label: Answer, head: Head) -> NDArray[np.bool_]:
    names = {span.label for span in label}
    return np.array([name in names for name in head.labels], dtype=bool)
