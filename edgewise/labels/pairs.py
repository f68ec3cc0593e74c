"""Two sets of spans of one text side by side: what only one of them has, and which of these are about the same place.

Knows nothing of who drew them: people, models, the same person on another day.
"""

from collections.abc import Iterable

from edgewise.labels.spans import Span

Pair = tuple[Span | None, Span | None]


def differences(one: Iterable[Span], other: Iterable[Span]) -> list[Pair]:
    """The spans that only one of the two has, in text order; equal sets have none.

    Those that overlap are paired, most shared characters first, each span once; the others stand alone, beside None.
    """
    mine, theirs = set(one), set(other)
    left, right = sorted(mine - theirs), sorted(theirs - mine)
    candidates = sorted(
        (-_shared(a, b), i, j) for i, a in enumerate(left) for j, b in enumerate(right) if a.overlaps(b)
    )
    partner: dict[int, int] = {}
    taken: set[int] = set()
    for _, i, j in candidates:
        if i not in partner and j not in taken:
            partner[i] = j
            taken.add(j)
    found: list[Pair] = [(span, right[partner[i]] if i in partner else None) for i, span in enumerate(left)]
    found += [(None, span) for j, span in enumerate(right) if j not in taken]
    return sorted(found, key=_place)


def _shared(one: Span, other: Span) -> int:
    return min(one.end, other.end) - max(one.start, other.start)


def _place(pair: Pair) -> Span:
    return next(span for span in pair if span is not None)
