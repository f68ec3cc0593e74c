"""When two answers are the same, and what an answer counts as where classes are kept apart."""

from edgewise.labels.spans import Span

Answer = tuple[Span, ...]


def equal(one: Answer, other: Answer) -> bool:
    """Whether two answers are the same: of choices, agreement."""
    return _plain(one) == _plain(other)


def half_equal(one: Answer, other: Answer) -> bool:
    """Whether at least half of the spans of two answers are in both, so that F1 is 0.5 or more: of spans, agreement.

    Two markings of a text are seldom the same throughout: where they had to be, hardly a text would be believed. That
    both mark nothing is no agreement: who has learnt little finds nothing.
    """
    mine, theirs = _plain(one), _plain(other)
    both = len(mine & theirs)
    return both > 0 and 4 * both >= len(mine) + len(theirs)


def label_set(answer: Answer) -> str:
    """What an answer counts as where classes are kept apart: its labels."""
    return "+".join(sorted({span.label for span in answer}))


def _plain(answer: Answer) -> frozenset[tuple[int, int, str]]:
    return frozenset((span.start, span.end, span.label) for span in answer)
