"""Answers beside what people said of the same text: what is right, and in which way the rest is wrong.

Takes spans of one head, text by text. Knows nothing of who answered. A span is right only as a whole; but people select
half a word or a blank too much, so an answer that is a person's span made whole words of counts as that span.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgewise.labels.pairs import differences
from edgewise.labels.schema import Head
from edgewise.labels.spans import Span
from edgewise.labels.windows import words

IntArray = npt.NDArray[np.int64]

KINDS = ("missed", "invented", "wrong label", "wrong boundary", "wrong label and boundary")
Confusions = Counter[tuple[str, str]]  # (people's label, the answer's) where both mark the same place


def as_drawn(text: str, gold: Sequence[Span], answered: Sequence[Span]) -> tuple[Span, ...]:
    """The answered spans, each that is a gold one made whole words of in the gold one's place."""
    found = words(text)
    meant: dict[Span, Span] = {}
    for span in gold:
        inside = found[(found[:, 0] < span.end) & (found[:, 1] > span.start)]
        if len(inside):
            meant.setdefault(Span(int(inside[0, 0]), int(inside[-1, 1]), span.label), span)
    exact = set(gold)
    claimed = [span if span in exact else meant.get(span, span) for span in answered]
    return tuple(
        Span(claim.start, claim.end, claim.label, span.score) for claim, span in zip(claimed, answered, strict=True)
    )


def counts(gold: Sequence[Span], answered: Sequence[Span], head: Head) -> IntArray:
    """Of one text, (n_labels, 3): right, wrong and missed spans of each label, in the head's order."""
    place = {label: number for number, label in enumerate(head.labels)}
    found = np.zeros((len(place), 3), dtype=np.int64)
    true, said = set(gold), set(answered)
    for column, spans in enumerate((true & said, said - true, true - said)):
        for span in spans:
            found[place[span.label], column] += 1
    return found


def mistakes(gold: Sequence[Span], answered: Sequence[Span]) -> tuple[Counter[str], Confusions]:
    """Of one text: how many of each of KINDS, and which labels were taken for which others.

    Wrong spans are paired with missed ones that they overlap, most shared characters first; a pair is one mistake.
    """
    kinds: Counter[str] = Counter()
    confused: Confusions = Counter()
    for true, said in differences(gold, answered):
        kinds[_kind(true, said)] += 1
        if true is not None and said is not None and true.label != said.label:
            confused[true.label, said.label] += 1
    return kinds, confused


def _kind(true: Span | None, said: Span | None) -> str:
    if said is None:
        return "missed"
    if true is None:
        return "invented"
    if (true.start, true.end) == (said.start, said.end):
        return "wrong label"
    return "wrong boundary" if true.label == said.label else "wrong label and boundary"
