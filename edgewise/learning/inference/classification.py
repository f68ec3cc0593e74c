"""Texts through a sequence classifier: a share for each label, choices and embeddings, from one forward pass.

A text of several windows gets the mean of what the head says of each, weighted by their tokens: nothing is cut off.
Knows nothing of tasks, versions or uncertainty; where weights come from is the business of baseline.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewise.labels.spans import Span, on_whole
from edgewise.labels.windows import IntArray, Windows
from edgewise.learning.inference.encoder import Encoder, Report, softmax
from edgewise.learning.inference.networks import Float32, Network

HALF = 0.5  # the threshold of a label that has none of its own
MULTIPLE = "multi_label_classification"


@dataclass(frozen=True, slots=True)
class Classified:
    """What a model says of n texts, k labels.

    shares: (n, k), how likely each label is; of a single choice they sum to 1, or to less if the model has labels that
    are none of ours; of several each is in [0, 1] by itself. A text that the tokenizer cannot read has shares of 0, no
    row, and no choice.
    probabilities, offsets: the same in the shape of `uncertainty.CHOICE_SCORES`: text i has the rows
    offsets[i]:offsets[i + 1]; of a single choice one row of k columns, of several k rows of (no, yes).
    spans: the choices as labels on the whole text, their shares as scores. embeddings: (n, dim), of length 1.
    """

    probabilities: Float32
    offsets: IntArray
    shares: Float32
    spans: list[tuple[Span, ...]]
    embeddings: Float32


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a model's columns mean: labels of ours, and when one is chosen.

    multiple: any number of labels, else one. thresholds: share from which a label is chosen if there may be several,
    one for each label. matrix: (n_model_labels, k) of 0 and 1 for a model whose labels are not ours; a column of the
    model may fit none.
    """

    labels: tuple[str, ...]
    multiple: bool
    thresholds: tuple[float, ...] = ()
    matrix: Float32 | None = field(default=None, compare=False)


class Classifier(Encoder):
    """A model that chooses among our labels. Safe to share between threads."""

    def __init__(self, network: Network, tokenizer: Any, meaning: Meaning, *, max_length: int) -> None:
        super().__init__(network, tokenizer, max_length=max_length)
        self.meaning = meaning

    @property
    def labels(self) -> tuple[str, ...]:
        """Our labels, in the columns' order."""
        return self.meaning.labels

    def classify(self, texts: Sequence[str], *, batch_size: int = 32, progress: Report | None = None) -> Classified:
        """Choose for texts of any length. Results do not depend on which texts go together, but for rounding (1e-5).

        progress is told the share done, in [0, 1], after every batch; what it raises ends the work.
        """
        logits: list[Float32] = [np.zeros((0, self._network.config.num_labels), dtype=np.float32)]
        read: list[NDArray[np.bool_]] = [np.zeros(0, dtype=bool)]
        embeddings: list[Float32] = [np.zeros((0, self._dim), dtype=np.float32)]
        for windows, report in self._chunks(texts, progress):
            pooled, said, known = self._logits(windows, (batch_size, report))
            embeddings.append(pooled)
            logits.append(said)
            read.append(known)
        return self._classified(texts, np.concatenate(logits), np.concatenate(read), np.concatenate(embeddings))

    def _logits(self, windows: Windows, how: tuple[int, Report]) -> tuple[Float32, Float32, NDArray[np.bool_]]:
        """Embeddings (n, dim), logits (n, n_model_labels), and which of the texts have any tokens (n,)."""
        n_texts = len(windows.offsets) - 1
        sums, counts = np.zeros((n_texts, self._network.config.num_labels)), np.zeros(n_texts)

        def read(which: IntArray, content: NDArray[np.bool_], logits: Float32) -> None:
            weights = content.sum(axis=1)
            np.add.at(sums, windows.text[which], logits * weights[:, None])
            np.add.at(counts, windows.text[which], weights)

        embeddings = self._pass(windows, how, read)
        return embeddings, (sums / np.maximum(counts, 1)[:, None]).astype(np.float32), counts > 0

    def _classified(
        self, texts: Sequence[str], logits: Float32, read: NDArray[np.bool_], embeddings: Float32
    ) -> Classified:
        alone = getattr(self._network.config, "problem_type", None) == MULTIPLE  # each label is a question of its own
        said = np.asarray(1 / (1 + np.exp(-logits)), dtype=np.float32) if alone else softmax(logits)
        shares, elsewhere = self._ours(said)
        shares[~read], elsewhere[~read] = 0, np.inf
        chosen = self._chosen(shares, elsewhere)
        rows, per_text = self._rows(shares, read)
        offsets = np.concatenate(([0], np.cumsum(per_text))).astype(np.int64)
        return Classified(rows, offsets, shares, self._spans(texts, shares, chosen), embeddings)

    def _ours(self, said: Float32) -> tuple[Float32, Float32]:
        """Shares of our labels (n, k), and the largest that one of the model's other labels has (n,)."""
        matrix = self.meaning.matrix
        if matrix is None:
            return said.copy(), np.zeros(len(said), dtype=np.float32)
        others = said[:, matrix.sum(axis=1) == 0].max(axis=1, initial=0.0)
        ours = said @ matrix
        whole = ours if self.meaning.multiple else ours.sum(axis=1, keepdims=True)
        return ours / np.maximum(whole, 1.0), others

    def _chosen(self, shares: Float32, elsewhere: Float32) -> NDArray[np.bool_]:
        """(n, k): which labels are the answer. Where a label that is none of ours is likelier, nothing is."""
        if self.meaning.multiple:
            thresholds = self.meaning.thresholds or (HALF,) * len(self.labels)
            chosen = shares >= np.array(thresholds, dtype=np.float32)
            chosen[np.isinf(elsewhere)] = False
            return chosen
        best = shares.argmax(axis=1)
        chosen = np.arange(len(self.labels)) == best[:, None]
        sure: NDArray[np.bool_] = shares[np.arange(len(shares)), best] > elsewhere
        return np.asarray(chosen & sure[:, None], dtype=np.bool_)

    def _rows(self, shares: Float32, read: NDArray[np.bool_]) -> tuple[Float32, IntArray]:
        """Distributions of the texts that can be read, and how many rows each text has."""
        known = shares[read]
        if self.meaning.multiple:
            yes = known.reshape(-1, 1)
            return np.hstack([1 - yes, yes]), read * len(self.labels)
        whole = known.sum(axis=1, keepdims=True)
        even = np.full_like(known, 1 / len(self.labels))
        return np.where(whole > 0, known / np.where(whole > 0, whole, 1), even), read.astype(np.int64)

    def _spans(self, texts: Sequence[str], shares: Float32, chosen: NDArray[np.bool_]) -> list[tuple[Span, ...]]:
        return [
            tuple(on_whole(text, self.labels[i], float(share[i])) for i in np.flatnonzero(which))
            for text, share, which in zip(texts, shares, chosen, strict=True)
        ]
