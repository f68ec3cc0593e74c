"""Texts through a token classifier: label distributions of words, spans and embeddings, from one forward pass.

Knows nothing of tasks, versions or uncertainty; where weights come from is the business of baseline.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgewise.labels.spans import Span
from edgewise.labels.windows import UNREAD, IntArray, spans_of_texts
from edgewise.learning.inference.encoder import Encoder, Report, softmax
from edgewise.learning.inference.networks import Float32, Network


@dataclass(frozen=True, slots=True)
class Tagged:
    """What a model says of some texts. N words in all, n texts.

    words: (N, 2) offsets in code points; offsets: (n + 1,), text i has the words offsets[i]:offsets[i + 1].
    probabilities: (N, n_tags), rows sum to 1, from each word's first sub-word; a word that has no token is O.
    spans: of the most probable tags, their scores as in `windows.spans_of_tags`.
    embeddings: (n, dim), mean of the last hidden state over the text's tokens, of length 1; 0 if it has no tokens.
    """

    words: IntArray
    offsets: IntArray
    probabilities: Float32
    spans: list[tuple[Span, ...]]
    embeddings: Float32


class Tagger(Encoder):
    """A model that tags words with our labels. Safe to share between threads.

    matrix: (n_model_tags, n_tags) as `baseline.fold` makes it, for a model whose tags are not ours.
    """

    def __init__(
        self,
        network: Network,
        tokenizer: Any,
        labels: Sequence[str],
        *,
        max_length: int,
        matrix: Float32 | None = None,
    ) -> None:
        super().__init__(network, tokenizer, max_length=max_length)
        self.labels = tuple(labels)
        self._matrix = matrix

    def tag(self, texts: Sequence[str], *, batch_size: int = 32, progress: Report | None = None) -> Tagged:
        """Tag texts of any length. Results do not depend on which texts are tagged together, but for rounding (1e-5).

        progress is told the share done, in [0, 1], after every batch; what it raises ends the tagging.
        """
        n_tags = 1 + 2 * len(self.labels)
        words: list[IntArray] = [np.zeros((0, 2), dtype=np.int64)]
        sizes: list[IntArray] = [np.zeros(1, dtype=np.int64)]
        probabilities: list[Float32] = [np.zeros((0, n_tags), dtype=np.float32)]
        embeddings: list[Float32] = [np.zeros((0, self._dim), dtype=np.float32)]
        for windows, report in self._chunks(texts, progress):
            pooled, found = self._by_word(windows, (batch_size, report), self._network.config.num_labels, softmax)
            ours: Float32 = found if self._matrix is None else found @ self._matrix
            ours[windows.window == UNREAD] = np.eye(1, n_tags, dtype=np.float32)
            words.append(windows.words)
            sizes.append(np.diff(windows.offsets))
            probabilities.append(ours)
            embeddings.append(pooled)
        return self._tagged(np.concatenate(words), np.cumsum(np.concatenate(sizes)), (probabilities, embeddings))

    def _tagged(self, words: IntArray, offsets: IntArray, parts: tuple[list[Float32], list[Float32]]) -> Tagged:
        probabilities, embeddings = (np.concatenate(one) for one in parts)
        tags = probabilities.argmax(axis=1)
        spans = spans_of_texts(tags, words, self.labels, offsets=offsets, probabilities=probabilities)
        return Tagged(words, offsets, probabilities, spans, embeddings)
