"""Spans of text: offsets and overlaps.

Offsets are Unicode code points, half open: text[start:end] is the span, as Label Studio and Python both count. A choice
about a text is a label on the whole of it.
Knows nothing of Label Studio, tokens or models.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A labelled stretch of a text. `score`, in [0, 1], is how sure its source was; None when a person drew it."""

    start: int
    end: int
    label: str
    score: float | None = field(default=None, compare=False)

    def overlaps(self, other: "Span") -> bool:
        """True if they share at least one character."""
        return self.start < other.end and other.start < self.end


@dataclass(frozen=True, slots=True)
class Document:
    """A text with all its spans: what a model learns from, or what it answers."""

    text: str
    spans: tuple[Span, ...]


def on_whole(text: str, label: str, score: float | None = None) -> Span:
    """A choice: the label on the whole text."""
    return Span(0, len(text), label, score)


def longest_first(spans: Iterable[Span]) -> tuple[tuple[Span, ...], int]:
    """The spans without overlaps, in text order, and how many were dropped.

    Of two that overlap the longer stays, of two as long the leftmost; an exact double counts as dropped too.
    """
    kept: list[Span] = []
    candidates = sorted(spans, key=lambda span: (span.start - span.end, span.start, span.label))
    for span in candidates:
        if not any(span.overlaps(other) for other in kept):
            kept.append(span)
    return tuple(sorted(kept)), len(candidates) - len(kept)
