"""Why a task is hard, in one sentence for a person: what the model is least sure of, and between what it wavers.

Numbers come from the caller; knows nothing of models. Of spans the sentence quotes one word of the text.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgewise.labels.schema import Head

QUOTE = 40  # characters of a word that are shown at most
DOUBT = 0.1  # a share of the probability below this is not worth a word


class Distributions(Protocol):
    """The part of `inference.Tagged` that is needed here."""

    @property
    def words(self) -> NDArray[np.int64]: ...
    @property
    def offsets(self) -> NDArray[np.int64]: ...
    @property
    def probabilities(self) -> NDArray[np.float32]: ...


def describe(
    tagged: Distributions, index: int, text: str, contributions: NDArray[np.floating[Any]], labels: Sequence[str]
) -> str:
    """What makes text number `index` hard, said of the word that adds most to its uncertainty.

    contributions: (n_words,), of all texts' words, as `uncertainty.word_contributions` gives them. For instance
    "ORG or LOC at 'Washington', edge of the span unsure", "PER or nothing at 'Young'", "edge of ORG at 'University'".
    """
    first, stop = int(tagged.offsets[index]), int(tagged.offsets[index + 1])
    if first == stop:
        return "no words to read"
    word = first + int(contributions[first:stop].argmax())
    start, end = tagged.words[word].tolist()
    quote = text[start:end] if end - start <= QUOTE else f"{text[start : start + QUOTE - 1]}…"
    beside = tagged.probabilities[[near for near in (word - 1, word + 1) if first <= near < stop]]
    doubt = _doubt(tagged.probabilities[word], beside, labels)
    return "sure of every word" if doubt is None else doubt.replace("{}", f"at '{quote}'")


def describe_choice(shares: NDArray[np.floating[Any]], head: Head) -> str:
    """What makes a text hard to choose for: of a single choice the two likeliest labels, of several the least sure one.

    shares: (k,), as `Classified.shares` has them for the text. For instance "billing (48 %) or refund (41 %)",
    "unsure of urgent (46 %)", "sure of billing (97 %)".
    """
    if not shares.any():
        return "no words to read"
    if head.kind == "choices":
        nearest = int(np.abs(shares - 0.5).argmin())
        sure = min(shares[nearest], 1 - shares[nearest]) < DOUBT / 2
        return "sure of every label" if sure else f"unsure of {_share(shares, nearest, head)}"
    best, second = (int(k) for k in np.argsort(-shares, kind="stable")[:2])
    if shares[second] < DOUBT / 2:
        return f"sure of {_share(shares, best, head)}"
    return f"{_share(shares, best, head)} or {_share(shares, second, head)}"


def _share(shares: NDArray[np.floating[Any]], which: int, head: Head) -> str:
    return f"{head.labels[which]} ({100 * shares[which]:.0f} %)"


def _doubt(tags: NDArray[np.float32], beside: NDArray[np.float32], labels: Sequence[str]) -> str | None:
    """What a word's distribution wavers between, {} standing for the quote. beside: those of its neighbours."""
    entity = tags[1::2] + tags[2::2]
    masses = np.concatenate((tags[:1], entity))
    best, second = (int(k) for k in np.argsort(-masses, kind="stable")[:2])  # 0 is nothing, 1 + i is labels[i]
    begins, inside = float(tags[1::2].sum()), float(tags[2::2].sum())
    edge = min(begins, inside)
    if max(float(masses[second]), edge) < DOUBT / 2:
        return None
    if best and edge >= masses[second]:
        return f"edge of {labels[best - 1]} {{}}"
    if best and second:
        tail = ", edge of the span unsure" if max(edge, float(tags[0])) >= DOUBT else ""
        return f"{labels[best - 1]} or {labels[second - 1]} {{}}{tail}"
    kind = max(best, second)
    if ((beside.argmax(axis=1) + 1) // 2 == kind).any():  # whether the entity next to it reaches so far
        return f"edge of {labels[kind - 1]} {{}}"
    return f"{labels[kind - 1]} or nothing {{}}"
