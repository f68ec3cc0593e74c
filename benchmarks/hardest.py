"""Which texts is a model wrong about? Answers of models that were taught 200 random labels, kept to try orders on.

Each cell, a data set and a seed, is taught once: a model on all its labels, and one on each half of them, whose answers
about the other half are honest. What they say is kept in a folder, so that an order costs no training. The files are
those of docs/data.md: wikigold, snips_slots, wnut17 and ncbi_disease.
"""

import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads starve whoever shares the cores
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import numpy.typing as npt

from benchmarks.coverage import read
from edgewise.labels.schema import Head
from edgewise.labels.spans import Document
from edgewise.labels.windows import UNREAD, spans_of_texts, tags_of
from edgewise.learning.baseline import PACKAGED, TOKENS, load_classifier, load_tokenizer
from edgewise.learning.evaluation import on_words, span_counts
from edgewise.learning.inference import Tagger, TorchNetwork
from edgewise.learning.inference.encoder import softmax
from edgewise.learning.training import Recipe, train
from edgewise.learning.training.exercises import folds

SETS = ("wikigold", "snips_slots", "wnut17", "ncbi_disease")
LABELLED = 200
POOL = 1500  # texts to be ordered; wikigold has 1,496 with its dev and test rows, which the others do not need
FOLDS = 2

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a model says of some texts. N words, n texts.

    offsets (n + 1,); probabilities (N, n_tags); hidden (N, dim): what the last layer is given at each word's first
    sub-word; pieces (N,): sub-words of each; embeddings (n, dim); counts (n, 3): spans right, wrong and missed.
    """

    offsets: Ints
    probabilities: Floats
    hidden: Floats
    pieces: Ints
    embeddings: Floats
    counts: Ints

    @property
    def errors(self) -> Ints:
        """(n,): wrong and missed spans of each text."""
        return np.asarray(self.counts[:, 1] + self.counts[:, 2], dtype=np.int64)

    @property
    def sizes(self) -> Ints:
        """(n,): words of each text."""
        return np.diff(self.offsets)


@dataclass(frozen=True, slots=True)
class Cell:
    """A data set and a seed. texts: the labelled ones first, then the pool; labelled: how many those are.

    tags (N,): the right ones. whole: what the model that was taught all labels says of all texts; halves: those that
    were taught without the texts `folds[k]`, of all texts too; none where nobody taught them.
    """

    name: str
    seed: int
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    labelled: int
    tags: Ints
    whole: Seen
    halves: tuple[Seen, ...]
    folds: tuple[Ints, ...]


class Reader(Tagger):
    """A tagger that also tells what its last layer is given."""

    def look(self, texts: Sequence[str]) -> tuple[Any, Floats, Floats, Floats]:
        """Windows, then probabilities, hidden states and embeddings as of `Seen`. For fewer texts than CHUNK twice."""
        tags, dim = self._network.config.num_labels, self._dim
        found = []
        for windows, report in self._chunks(texts, None):
            pooled, rows = self._by_word(windows, (32, report), tags + dim, lambda laid: laid)
            shares = softmax(rows[:, :tags])
            shares[windows.window == UNREAD] = np.eye(1, tags, dtype=np.float32)
            found.append((windows, shares, rows[:, tags:], pooled))
        shares, given, pooled = (np.concatenate([one[i] for one in found]) for i in (1, 2, 3))
        return [one[0] for one in found], shares, given, pooled


class Open(TorchNetwork):
    """A network that gives its last hidden states beside the logits."""

    def run(self, batch: Any) -> tuple[Any, Any]:
        import torch

        ids, mask, content = (torch.from_numpy(one) for one in batch)
        with torch.inference_mode():
            answer = self.model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
            last = answer.hidden_states[-1]
            pooled = (last * content.unsqueeze(-1)).sum(dim=1)
            return pooled.numpy(), torch.cat([answer.logits, last], dim=-1).numpy()


def drawn(data: Path, name: str, seed: int) -> tuple[list[Document], Head]:
    """LABELLED random rows of the training split, then the pool; and the head, of all labels that occur."""
    splits = {split: read(data / name / f"{split}.jsonl") for split in ("train", "dev", "test")}
    labels = tuple(sorted({span.label for rows in splits.values() for one in rows for span in one.spans}))
    rows = splits["train"] + (splits["dev"] + splits["test"] if name == "wikigold" else [])
    order = np.random.default_rng(seed).permutation(len(rows))[: LABELLED + POOL]
    return [rows[i] for i in order], Head("label", "text", "text", labels)


def taught(documents: Sequence[Document], every: Sequence[Document], head: Head, seed: int) -> tuple[Seen, Ints]:
    """What a model that learnt from `documents` says of all, and the right tags of their words."""
    texts = [document.text for document in every]
    with tempfile.TemporaryDirectory(prefix="edgewise-hardest-") as out:
        recipe = Recipe(seed=seed)
        trained = train(documents, head, PACKAGED, Path(out) / "model", recipe, report=lambda done: None)
        network = Open(load_classifier(str(trained.folder), TOKENS)[0])
        reader = Reader(network, load_tokenizer(str(trained.folder)), head.labels, max_length=recipe.max_length)
        chunks, shares, hidden, embeddings = reader.look(texts)
    sizes = np.concatenate([np.diff(windows.offsets) for windows in chunks])
    words = np.concatenate([windows.words for windows in chunks])
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    pieces = np.concatenate([pieces_of(windows) for windows in chunks])
    said = spans_of_texts(shares.argmax(axis=1), words, head.labels, offsets=offsets, probabilities=shares)
    counts = span_counts(on_words(texts, [document.spans for document in every], head), said)
    tags = [
        tags_of(document.spans, words[first:stop], head.labels)
        for document, first, stop in zip(every, offsets[:-1], offsets[1:], strict=True)
    ]
    return Seen(offsets, shares, hidden, pieces, embeddings, counts), np.concatenate(tags)


def pieces_of(windows: Any) -> Ints:
    """Sub-words of each word, as far as its window shows them; 0 of a word that is not read."""
    place = windows.bounds[np.maximum(windows.window, 0)] + windows.position
    read = np.flatnonzero(windows.window != UNREAD)
    found = np.zeros(len(windows.words), dtype=np.int64)
    starts = place[read]
    by_place = np.argsort(starts, kind="stable")
    ends = np.append(starts[by_place][1:], len(windows.ids))
    last = windows.bounds[1:][windows.window[read[by_place]]] - 1  # the token that closes the window
    found[read[by_place]] = np.minimum(ends, last) - starts[by_place]
    return found


def keep(path: Path, seen: Seen, **more: Any) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_suffix(".tmp.npz")
    arrays: dict[str, Any] = {
        "offsets": seen.offsets,
        "probabilities": seen.probabilities.astype(np.float32),
        "hidden": seen.hidden.astype(np.float16),
        "pieces": seen.pieces,
        "embeddings": seen.embeddings.astype(np.float32),
        "counts": seen.counts,
    }
    np.savez(staged, **arrays, **more)
    staged.replace(path)


def kept(path: Path) -> tuple[Seen, dict[str, Any]]:
    """What `keep` wrote."""
    with np.load(path) as held:
        arrays = dict(held)
    seen = Seen(
        offsets=arrays.pop("offsets"),
        probabilities=arrays.pop("probabilities"),
        hidden=arrays.pop("hidden").astype(np.float32),
        pieces=arrays.pop("pieces"),
        embeddings=arrays.pop("embeddings"),
        counts=arrays.pop("counts"),
    )
    return seen, arrays


def paths(folder: Path, name: str, seed: int) -> tuple[Path, list[Path]]:
    """Where a cell is kept: the whole model's answers, and each half's."""
    return folder / f"{name}-{seed}.npz", [folder / f"{name}-{seed}-without-{k}.npz" for k in range(FOLDS)]


def make(data: Path, folder: Path, name: str, seed: int, *, halves: bool) -> None:
    """Teach what is missing of a cell."""
    every, head = drawn(data, name, seed)
    whole, parts = paths(folder, name, seed)
    if not whole.exists():
        seen, tags = taught(every[:LABELLED], every, head, seed)
        keep(whole, seen, tags=tags)
    split = folds([document.text for document in every[:LABELLED]], FOLDS, seed)
    for path, part in zip(parts if halves else (), split, strict=False):
        if not path.exists():
            others = [every[i] for i in range(LABELLED) if i not in set(part)]
            seen, _ = taught(others, every, head, seed)
            keep(path, seen, part=np.array(part))


def load(data: Path, folder: Path, name: str, seed: int) -> Cell:
    """A cell that is kept."""
    every, head = drawn(data, name, seed)
    path, parts = paths(folder, name, seed)
    whole, more = kept(path)
    found = [kept(part) for part in parts if part.exists()]
    return Cell(
        name,
        seed,
        tuple(document.text for document in every),
        head.labels,
        LABELLED,
        more["tags"],
        whole,
        tuple(seen for seen, _ in found),
        tuple(about["part"] for _, about in found),
    )
