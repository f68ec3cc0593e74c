"""Labelled documents as what a model is trained on: windows of tokens, each with what is right for it.

Knows documents, heads and tokenizers. Knows nothing of models or of how they learn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewise.errors import DataError
from edgewise.labels.schema import Head
from edgewise.labels.spans import Document
from edgewise.labels.windows import IGNORED, IntArray, Windows, encode, tags_of

PARTS = 10  # one of so many training documents is kept back where progress is looked at


@dataclass(frozen=True, slots=True)
class Exercises:
    """Documents of one head, cut into W windows of T token places in all.

    targets: (T,) tag ids laid out like windows.ids, of spans; answers: (n_documents, k), which labels each has, of
    choices. examples: the windows with something to learn in them, as the collator wants them.
    """

    documents: tuple[Document, ...]
    windows: Windows
    targets: IntArray
    answers: NDArray[np.bool_]
    examples: list[dict[str, Any]]


def exercises_of(documents: Sequence[Document], head: Head, tokenizer: Any, length: int) -> Exercises:
    """The documents as exercises. Of a single choice, those that nobody has chosen for teach nothing and are left out.

    Raises DataError if the tokenizer can read none of the texts.
    """
    taught = tuple(document for document in documents if document.spans or head.kind != "choice")
    windows = encode([document.text for document in taught], tokenizer, length, stride=length // 4)
    targets: IntArray = np.zeros(0, dtype=np.int64)
    answers: NDArray[np.bool_] = np.zeros((len(taught), len(head.labels)), dtype=bool)
    if head.kind == "spans":
        targets = _targets(taught, head.labels, windows)
        examples = _of_words(windows, targets)
    else:
        answers = answers_of(taught, head.labels)
        examples = _of_texts(windows, answers, head)
    if not examples:
        raise DataError(
            what="The base model's tokenizer can read no word of the training texts.",
            mend="Choose a base model for the language of your texts (BASELINE_MODEL_NAME).",
        )
    return Exercises(taught, windows, targets, answers, examples)


def _targets(documents: Sequence[Document], labels: Sequence[str], windows: Windows) -> IntArray:
    bounds = zip(windows.offsets[:-1], windows.offsets[1:], strict=True)
    tags = [
        tags_of(document.spans, windows.words[first:stop], labels)
        for document, (first, stop) in zip(documents, bounds, strict=True)
    ]
    return windows.targets(np.concatenate(tags))


def _of_words(windows: Windows, targets: IntArray) -> list[dict[str, Any]]:
    return [
        {"input_ids": windows.ids[first:stop].tolist(), "labels": targets[first:stop].tolist()}
        for first, stop in pairwise(windows.bounds)
        if (targets[first:stop] != IGNORED).any()
    ]


def answers_of(documents: Sequence[Document], labels: Sequence[str]) -> NDArray[np.bool_]:
    """(n_documents, k): which labels each document has. Raises ValueError for a label that is none of these."""
    answers = np.zeros((len(documents), len(labels)), dtype=bool)
    column = {label: index for index, label in enumerate(labels)}
    for row, document in zip(answers, documents, strict=True):
        for span in document.spans:
            if span.label not in column:
                raise ValueError(f"a choice is {span.label!r}, the head has {list(labels)}")
            row[column[span.label]] = True
    return answers


def _of_texts(windows: Windows, answers: NDArray[np.bool_], head: Head) -> list[dict[str, Any]]:
    right = answers.argmax(axis=1).tolist() if head.kind == "choice" else answers.astype(float).tolist()
    return [
        {"input_ids": windows.ids[first:stop].tolist(), "labels": right[text]}
        for (first, stop), text in zip(pairwise(windows.bounds), windows.text, strict=True)
    ]


def split(texts: Sequence[str], seed: int) -> tuple[list[int], list[int]]:
    """Positions of most of the texts, to learn from, and of a tenth, to look at progress with; like texts together."""
    kept = set(folds(texts, PARTS, seed)[0])
    return [index for index in range(len(texts)) if index not in kept], sorted(kept)


def folds(texts: Sequence[str], parts: int, seed: int) -> list[list[int]]:
    """Positions of the texts in at most so many parts of about one size, the same texts together."""
    places: dict[str, list[int]] = {}
    for index, text in enumerate(texts):
        places.setdefault(text, []).append(index)
    groups = list(places.values())
    shuffled = np.random.default_rng(seed).permutation(len(groups))
    found = [shuffled[first::parts] for first in range(parts)]
    return [[index for group in part for index in groups[group]] for part in found if len(part)]
