"""Answers beside what people said of the same text: what is right, and in which way the rest is wrong.

Takes spans of one head, text by text. Knows nothing of who answered. A span is right only as a whole; but people select
half a word or a blank too much, so an answer that is a person's span made whole words of counts as that span.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

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
    true, said = sorted(set(gold) - set(answered)), sorted(set(answered) - set(gold))
    pairs = sorted((-_shared(a, b), i, j) for i, a in enumerate(true) for j, b in enumerate(said) if a.overlaps(b))
    kinds: Counter[str] = Counter()
    confused: Confusions = Counter()
    paired: tuple[set[int], set[int]] = (set(), set())
    for _, i, j in pairs:
        if i in paired[0] or j in paired[1]:
            continue
        paired[0].add(i)
        paired[1].add(j)
        kinds[_kind(true[i], said[j])] += 1
        if true[i].label != said[j].label:
            confused[true[i].label, said[j].label] += 1
    kinds["missed"] += len(true) - len(paired[0])
    kinds["invented"] += len(said) - len(paired[1])
    return kinds, confused


def _shared(one: Span, other: Span) -> int:
    return min(one.end, other.end) - max(one.start, other.start)


def _kind(true: Span, said: Span) -> str:
    if (true.start, true.end) == (said.start, said.end):
        return "wrong label"
    return "wrong boundary" if true.label == said.label else "wrong label and boundary"
