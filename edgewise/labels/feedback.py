"""What people did with a pre-label: the spans that were suggested against those of the annotation that began from them.

Knows nothing of who suggested, of Label Studio's regions (their `origin` says less than it seems to), or of databases.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from edgewise.labels.schema import Kind
from edgewise.labels.spans import Span

Outcome = Literal["accepted", "moved", "changed", "deleted", "missed"]
OUTCOMES: tuple[Outcome, ...] = ("accepted", "moved", "changed", "deleted", "missed")

Fits = Callable[[Span, Span], bool]
Counts = Counter[tuple[str, Outcome]]


def compare(suggested: Iterable[Span], given: Iterable[Span], kind: Kind = "spans") -> Counts:
    """How often each outcome befell each label; (label, outcome) -> count.

    Every suggested span has one outcome, under its own label: accepted as it was; moved (same label, other boundary,
    some characters shared); changed (another label at the same place, or at one that it shares characters with);
    deleted. What was given and answers none of them is missed, under its label. Pairs are made one to one: the same
    place first, then where most characters are shared. Of several `choices` each stands for itself: none is changed.
    """
    ours, theirs = Counter(suggested), Counter(given)
    kept = ours & theirs
    counts: Counts = Counter((span.label, "accepted") for span in kept.elements())
    left, new = sorted((ours - kept).elements()), sorted((theirs - kept).elements())
    for outcome, fits in _STEPS[kind]:
        for one, other in _pairs(left, new, fits):
            left.remove(one)
            new.remove(other)
            counts[one.label, outcome] += 1
    counts.update((span.label, "deleted") for span in left)
    counts.update((span.label, "missed") for span in new)
    return counts


def _same_place(one: Span, other: Span) -> bool:
    return (one.start, one.end) == (other.start, other.end)


def _same_label(one: Span, other: Span) -> bool:
    return one.label == other.label and one.overlaps(other)


# What is tried in turn on the spans that are still without a partner.
_STEPS: dict[Kind, tuple[tuple[Outcome, Fits], ...]] = {
    "spans": (("changed", _same_place), ("moved", _same_label), ("changed", Span.overlaps)),
    "choice": (("changed", _same_place),),
    "choices": (),
}


def _pairs(left: Sequence[Span], new: Sequence[Span], fits: Fits) -> list[tuple[Span, Span]]:
    """Partners, none of them twice; those that share most characters find each other first."""
    candidates = sorted(
        (max(one.start, other.start) - min(one.end, other.end), i, j)
        for i, one in enumerate(left)
        for j, other in enumerate(new)
        if fits(one, other)
    )
    taken: set[int] = set()
    answered: set[int] = set()
    found = []
    for _, i, j in candidates:
        if i not in taken and j not in answered:
            taken.add(i)
            answered.add(j)
            found.append((left[i], new[j]))
    return found
