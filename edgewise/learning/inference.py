"""Texts through a model: label distributions of words, spans and embeddings, from one forward pass.

Texts of any length go in as overlapping windows. All arithmetic is in `_run`, in 32-bit floats. Knows nothing of tasks,
versions or uncertainty; where weights come from is the business of baseline.py.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgewise.errors import Conflict
from edgewise.labels.spans import Span
from edgewise.labels.windows import UNREAD, IntArray, Windows, encode, spans_of_texts, tag_names
from edgewise.learning.baseline import fold, load_classifier, load_pretrained, load_tokenizer, resolve
from edgewise.learning.describe import describe

__all__ = [
    "Baseline",
    "Encoder",
    "ModelCache",
    "Tagged",
    "Tagger",
    "describe",
    "embed",
    "load_baseline",
    "load_encoder",
    "load_tagger",
    "resolve",
]

Float32 = NDArray[np.float32]
Report = Callable[[float], None]

CHUNK = 1024  # texts that are cut and sorted at a time: bounds memory, and padding is already next to nothing
OVERLAP = 4  # windows share a quarter of their length


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


class Encoder:
    """A model and its tokenizer, for embeddings. Safe to share between threads."""

    def __init__(self, model: Any, tokenizer: Any, *, max_length: int) -> None:
        self._model = model.eval().float()
        self._tokenizer = tokenizer
        self._lock = threading.Lock()  # fast tokenizers are not re-entrant
        self._max_length = min(max_length, _positions(model), tokenizer.model_max_length)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the weights take."""
        held = (*self._model.parameters(), *self._model.buffers())
        return sum(one.numel() * one.element_size() for one in held)

    def embed(self, texts: Sequence[str], *, batch_size: int = 32, progress: Report | None = None) -> Float32:
        """(n, dim): as `Tagged.embeddings`. progress is told the share done, in [0, 1], after every batch."""
        parts = [self._pass(windows, batch_size, report)[0] for windows, report in self._chunks(texts, progress)]
        return np.concatenate([np.zeros((0, self._dim), dtype=np.float32), *parts])

    @property
    def _dim(self) -> int:
        return int(self._model.config.hidden_size)

    def _chunks(self, texts: Sequence[str], progress: Report | None) -> Iterator[tuple[Windows, Report]]:
        for start in range(0, len(texts), CHUNK):
            chunk = texts[start : start + CHUNK]
            with self._lock:
                windows = encode(chunk, self._tokenizer, self._max_length, self._max_length // OVERLAP)

            def report(share: float, start: int = start, size: int = len(chunk)) -> None:
                if progress is not None:
                    progress((start + share * size) / len(texts))

            yield windows, report

    def _pass(self, windows: Windows, batch_size: int, report: Report) -> tuple[Float32, Float32]:
        """Embeddings of the texts (n, dim) and the model's tag distributions of the words (N, n_model_tags)."""
        n_texts = len(windows.offsets) - 1
        sums, counts = np.zeros((n_texts, self._dim)), np.zeros(n_texts)
        n_tags = self._model.config.num_labels
        probabilities = np.zeros((len(windows.words), n_tags), dtype=np.float32)
        by_window = np.argsort(windows.window, kind="stable")
        cuts = np.searchsorted(windows.window[by_window], np.arange(len(windows.text) + 1))
        order = np.argsort(windows.lengths, kind="stable")
        for start in range(0, len(order), batch_size):
            which = order[start : start + batch_size]
            ids, mask, content = windows.pad(which, self._tokenizer.pad_token_id or 0)
            owned = [by_window[cuts[window] : cuts[window + 1]] for window in which]
            rows = np.repeat(np.arange(len(which)), [len(one) for one in owned])
            read = np.concatenate(owned)
            pooled, probabilities[read] = self._run((ids, mask, content), (rows, windows.position[read]))
            np.add.at(sums, windows.text[which], pooled)
            np.add.at(counts, windows.text[which], content.sum(axis=1))
            report((start + len(which)) / len(order))
        return _unit(sums / np.maximum(counts, 1)[:, None]), probabilities

    def _run(
        self, batch: tuple[IntArray, IntArray, NDArray[np.bool_]], places: tuple[IntArray, IntArray]
    ) -> tuple[Float32, Float32]:
        """The forward pass. batch: (ids, mask, content), each (b, length); places: (row, position) of words.

        Returns the last hidden state summed over content (b, dim), and the distributions at the places
        (words, n_model_tags).
        """
        import torch

        ids, mask, content = (torch.from_numpy(one) for one in batch)
        with torch.inference_mode():
            answer = self._model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
            pooled = (answer.hidden_states[-1] * content.unsqueeze(-1)).sum(dim=1)
            logits = getattr(answer, "logits", None)
            if logits is None:
                return pooled.numpy(), np.zeros((len(places[0]), self._model.config.num_labels), dtype=np.float32)
            rows, positions = (torch.from_numpy(one) for one in places)
            return pooled.numpy(), torch.softmax(logits[rows, positions], dim=-1).numpy()


class Tagger(Encoder):
    """A model that tags words with our labels. Safe to share between threads.

    matrix: (n_model_tags, n_tags) as `baseline.fold` makes it, for a model whose tags are not ours.
    """

    def __init__(
        self, model: Any, tokenizer: Any, labels: Sequence[str], *, max_length: int, matrix: Float32 | None = None
    ) -> None:
        super().__init__(model, tokenizer, max_length=max_length)
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
            pooled, found = self._pass(windows, batch_size, report)
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


@dataclass(frozen=True, slots=True)
class Baseline:
    """A model that others trained. tagger: None if it has no trained head, or none that fits our labels.

    unmatched: its labels that fit none of ours, and are read as O.
    """

    tagger: Tagger | None
    unmatched: tuple[str, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the weights take."""
        return self.tagger.nbytes if self.tagger else 0


def load_tagger(folder: Path, labels: Sequence[str], *, max_length: int) -> Tagger:
    """The model that training wrote into `folder`, for these labels in this order.

    Raises SettingsError if it cannot be read, Conflict if it has learnt other labels or its weights are not whole.
    """
    model, missing = load_classifier(str(folder))
    learnt = tuple(model.config.id2label[i] for i in range(model.config.num_labels))
    if missing or learnt != tag_names(labels):
        raise Conflict("The model on disk has learnt other labels, or is not whole.", "Train the project again.")
    return Tagger(model, load_tokenizer(str(folder)), labels, max_length=max_length)


def load_baseline(
    name: str, label_for: Callable[[str], str | None], labels: Sequence[str], *, max_length: int
) -> Baseline:
    """The model `name` (hub name, folder or packaged:minilm) as far as it can tag with our labels.

    label_for: our label for one of the model's, without its B- or I-, or None.
    Raises SettingsError if there is no such model or it cannot be read, Unavailable if the hub cannot be reached.
    """
    config = load_pretrained("AutoConfig", name)
    if not any(kind.endswith("ForTokenClassification") for kind in config.architectures or ()):
        return Baseline(None, ())
    matrix, unmatched = fold(config.id2label, label_for, labels)
    if not matrix[:, 1:].any():
        return Baseline(None, unmatched)
    model, missing = load_classifier(name)
    if missing:
        return Baseline(None, unmatched)
    return Baseline(Tagger(model, load_tokenizer(name), labels, max_length=max_length, matrix=matrix), unmatched)


def load_encoder(name: str, *, max_length: int) -> Encoder:
    """The encoder of the model `name`, without any head. Raises as `load_baseline` does."""
    model = load_pretrained("AutoModel", name, use_safetensors=True)
    return Encoder(model, load_tokenizer(name), max_length=max_length)


def embed(texts: Sequence[str], name: str, *, max_length: int, progress: Report | None = None) -> Float32:
    """(n, dim): texts in the space of the model `name`, as `Tagged.embeddings`. Raises as `load_baseline` does."""
    return load_encoder(name, max_length=max_length).embed(texts, progress=progress)


def _positions(model: Any) -> int:
    """The longest window that the model's position table allows."""
    limit = getattr(model.config, "max_position_embeddings", None) or 0
    table = getattr(getattr(model.base_model, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    limit -= 0 if padding is None else padding + 1  # RoBERTa begins to count behind the padding
    return limit if limit > 0 else int(np.iinfo(np.int64).max)


def _unit(vectors: NDArray[np.float64]) -> Float32:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1.0), dtype=np.float32)


class Sized(Protocol):
    """What a cache can hold."""

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""


Held = TypeVar("Held", bound=Sized)


class ModelCache:
    """Models in memory, at most `megabytes` of them, the least recently used out first. Safe to share between threads.

    The newest model stays even if it alone is larger. Two threads that ask for the same one wait for one loading.
    """

    def __init__(self, megabytes: float) -> None:
        self._limit_bytes = megabytes * 1e6
        self._held: OrderedDict[str, Sized] = OrderedDict()
        self._loading: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: str, loader: Callable[[], Held]) -> Held:
        """The model of this key, loaded by `loader` if it is not here. What the loader raises is passed on."""
        with self._lock:
            turn = self._loading.setdefault(key, threading.Lock())
        with turn:
            with self._lock:
                if key in self._held:
                    self._held.move_to_end(key)
                    return self._held[key]  # type: ignore[return-value]  # a key always has the same kind
            loaded = loader()
            with self._lock:
                self._held[key] = loaded
                while len(self._held) > 1 and sum(one.nbytes for one in self._held.values()) > self._limit_bytes:
                    self._loading.pop(self._held.popitem(last=False)[0], None)
            return loaded
