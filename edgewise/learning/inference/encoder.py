"""Texts of any length through a model, as overlapping windows: embeddings, and what its head says of each window.

Knows nothing of labels: what the head's numbers mean is the business of tagging.py and classification.py; how they are
computed is that of networks.py.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewise.labels.windows import IntArray, Windows, encode
from edgewise.learning.inference.networks import Float32, Network

Report = Callable[[float], None]
Read = Callable[[IntArray, NDArray[np.bool_], Float32], None]  # (b,) windows, (b, length) content, logits (b, …)

CHUNK = 1024  # texts that are cut and sorted at a time: bounds memory
PADDING = 0.05  # of a batch at most
ENOUGH = 256  # tokens of a batch: below, a forward pass costs more by the call than by the token
OVERLAP = 4  # windows share a quarter of their length


class Encoder:
    """A network and its tokenizer, for embeddings. Safe to share between threads."""

    def __init__(self, network: Network, tokenizer: Any, *, max_length: int) -> None:
        self._network = network
        self._tokenizer = tokenizer
        self._lock = threading.Lock()  # fast tokenizers are not re-entrant
        self._max_length = min(max_length, network.positions, tokenizer.model_max_length)

    @property
    def arithmetic(self) -> str:
        """In which it computes."""
        return self._network.arithmetic

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the weights take."""
        return self._network.nbytes

    def embed(self, texts: Sequence[str], *, batch_size: int = 32, progress: Report | None = None) -> Float32:
        """(n, dim), the mean of the last hidden state over each text's tokens, of length 1; 0 without tokens.

        progress is told the share done, in [0, 1], after every batch; what it raises ends the embedding.
        """
        chunks = self._chunks(texts, progress)
        parts = [self._pass(windows, (batch_size, report), lambda *_: None) for windows, report in chunks]
        return np.concatenate([np.zeros((0, self._dim), dtype=np.float32), *parts])

    @property
    def _dim(self) -> int:
        return int(self._network.config.hidden_size)

    def _chunks(self, texts: Sequence[str], progress: Report | None) -> Iterator[tuple[Windows, Report]]:
        for start in range(0, len(texts), CHUNK):
            chunk = texts[start : start + CHUNK]
            with self._lock:
                windows = encode(chunk, self._tokenizer, self._max_length, self._max_length // OVERLAP)

            def report(share: float, start: int = start, size: int = len(chunk)) -> None:
                if progress is not None:
                    progress((start + share * size) / len(texts))

            yield windows, report

    def _pass(self, windows: Windows, how: tuple[int, Report], read: Read) -> Float32:
        """Embeddings of the texts (n, dim); `read` is given the head's logits, batch by batch."""
        batch_size, report = how
        n_texts = len(windows.offsets) - 1
        sums, counts = np.zeros((n_texts, self._dim)), np.zeros(n_texts)
        done = 0
        for which in alike(windows.lengths, batch_size):
            batch = windows.pad(which, self._tokenizer.pad_token_id or 0)
            pooled, logits = self._network.run(batch)
            if logits is not None:
                read(which, batch[2], logits)
            np.add.at(sums, windows.text[which], pooled)
            np.add.at(counts, windows.text[which], batch[2].sum(axis=1))
            done += len(which)
            report(done / len(windows.lengths))
        return _unit(sums / np.maximum(counts, 1)[:, None])

    def _by_word(
        self, windows: Windows, how: tuple[int, Report], width: int, of_word: Callable[[Float32], Float32]
    ) -> tuple[Float32, Float32]:
        """Embeddings of the texts (n, dim), and (N, width) what `of_word` makes of the head's logits at each word's
        first sub-word; 0 of a word that the tokenizer cannot read."""
        found = np.zeros((len(windows.words), width), dtype=np.float32)
        by_window = np.argsort(windows.window, kind="stable")
        cuts = np.searchsorted(windows.window[by_window], np.arange(len(windows.text) + 1))

        def read(which: IntArray, _: NDArray[np.bool_], logits: Float32) -> None:
            owned = [by_window[cuts[window] : cuts[window + 1]] for window in which]
            rows = np.repeat(np.arange(len(which)), [len(one) for one in owned])
            words = np.concatenate(owned)
            found[words] = of_word(logits[rows, windows.position[words]])

        return self._pass(windows, how, read), found


def alike(lengths: IntArray, most: int) -> Iterator[IntArray]:
    """Positions in batches, shortest first: at most so many, and at most PADDING of a batch is no token once it has
    ENOUGH of them."""
    order = np.argsort(lengths, kind="stable")
    start = tokens = 0
    for end, length in enumerate(lengths[order].tolist()):
        whole = (end - start + 1) * length
        is_wasteful = tokens >= ENOUGH and whole - tokens - length > PADDING * whole
        if end - start == most or is_wasteful:
            yield order[start:end]
            start, tokens = end, 0
        tokens += length
    if start < len(order):
        yield order[start:]


def softmax(logits: Float32) -> Float32:
    """Distributions along the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), dtype=np.float32)


def _unit(vectors: NDArray[np.float64]) -> Float32:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1.0), dtype=np.float32)
