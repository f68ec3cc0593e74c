"""Rows into train, validation and test by a hash of their text: for good, and copies of a text on one side.

A text is the same to us whatever its blanks and its case, as in a project's held-out set.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from edgewise.labels.spans import Document

TEST = 0.1
VALIDATION = 0.1


@dataclass(frozen=True, slots=True)
class Split:
    """The three parts, each in the order of the rows."""

    train: list[Document]
    validation: list[Document]
    test: list[Document]


def split(documents: Sequence[Document], *, seed: int) -> Split:
    """About 80, 10 and 10 per cent of the texts; another seed draws others."""
    parts = Split([], [], [])
    for document in documents:
        place = place_of(document.text, seed)
        part = parts.test if place < TEST else parts.validation if place < TEST + VALIDATION else parts.train
        part.append(document)
    return parts


def place_of(text: str, seed: int) -> float:
    """Where in [0, 1) a text falls."""
    normalised = f"{seed}|{' '.join(text.split()).casefold()}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(normalised, digest_size=8).digest(), "big") / 2**64
