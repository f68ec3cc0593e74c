"""Which labelled texts to show a language model with the question about another text.

Knows texts, the labels that occur in them, and whether a model got them wrong. Knows no prompt and no model: texts are
alike if they share runs of three to five characters, weighed by how rare these are, which needs no hub and no GPU.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

NEAR_COPY = 0.95
WRONG_WEIGHT = 2.0  # a text that a model got wrong, near the one at hand, teaches the most


class Pool:
    """Labelled texts to choose from. Several threads may choose at once, and the same pool chooses the same."""

    def __init__(self, texts: Sequence[str], labels: Sequence[set[str]], was_wrong: Sequence[bool]) -> None:
        """labels: of each text, those that occur in it; was_wrong: whether a language model got it wrong."""
        from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

        names = sorted(set[str]().union(*labels))
        self._plain = np.array([_plain(text) for text in texts], dtype=object)
        self._labels = np.array([[name in each for name in names] for each in labels], dtype=np.float32)
        self._labels = self._labels.reshape(len(texts), len(names))
        self._empty = np.array([not each for each in labels], dtype=bool)
        self._weights = np.where(np.array(was_wrong, dtype=bool), WRONG_WEIGHT, 1.0)
        # Hashed, so that what only the other text has counts as well: a text is no near copy of a part of it.
        self._count = HashingVectorizer(
            n_features=2**18, analyzer="char_wb", ngram_range=(3, 5), norm=None, alternate_sign=False
        )
        self._weigh = TfidfTransformer(sublinear_tf=True)
        if len(texts):
            self._vectors = self._weigh.fit_transform(self._count.transform(texts)).tocsr()
            self._by_run = self._vectors.T.tocsr()

    def choose(self, text: str, count: int) -> list[int]:
        """Numbers of at most `count` texts to show with this one, the most similar last.

        Similar ones, those that were got wrong preferred; then, as far as there is room, each label occurs, and one
        text has nothing to label. Never the text itself, a near copy of it, or near copies of each other.
        """
        if not len(self._plain):
            return []
        similar = self._similar(text)
        ranks = np.where((similar < NEAR_COPY) & (self._plain != _plain(text)), similar * self._weights, -1.0)
        chosen: list[int] = []
        while len(chosen) < count and (ranks >= 0).any():
            best = int(np.argmax(np.where(self._wanted(ranks >= 0, chosen, count - len(chosen)), ranks, -1.0)))
            ranks[best] = -1.0
            if not chosen or self._alike(best, chosen) < NEAR_COPY:
                chosen.append(best)
        return sorted(chosen, key=lambda i: (similar[i], -i))

    def _wanted(self, free: Mask, chosen: Sequence[int], room: int) -> Mask:
        """Those of the free ones that one must be of: the first is the best of all; the last may have to be empty."""
        if not chosen:
            return free
        lacks_empty = bool((free & self._empty).any()) and not self._empty[chosen].any()
        if lacks_empty and room == 1:
            return np.asarray(free & self._empty)
        missing = (self._labels[chosen].max(axis=0) == 0).astype(np.float32)
        new = np.where(free, self._labels @ missing, 0)
        if not new.any():
            return free
        to_come = int(((free.astype(np.float32) @ self._labels) * missing > 0).sum())
        fewest = new.max() if to_come >= room - lacks_empty else 1  # in a tight place the richest are taken
        return np.asarray(new >= fewest)

    def _similar(self, text: str) -> NDArray[np.float64]:
        """Of a text to each of the pool: cosines in [0, 1]."""
        vector: Any = self._weigh.transform(self._count.transform([text]))
        return np.asarray((vector @ self._by_run).toarray()[0], dtype=np.float64)

    def _alike(self, one: int, others: Sequence[int]) -> float:
        """The greatest cosine between one of the pool and some others of it."""
        return float((self._vectors[others] @ self._vectors[one].T).max())


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
