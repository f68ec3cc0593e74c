"""Two sets of spans side by side: what differs is paired where it is about the same place."""

from hypothesis import given
from hypothesis import strategies as st

from edgewise.labels.pairs import differences
from edgewise.labels.spans import Span

PER, ORG = "PER", "ORG"


def test_equal_sets_differ_in_nothing() -> None:
    spans = [Span(0, 3, PER), Span(5, 9, ORG)]
    assert differences(spans, reversed(spans)) == []


def test_what_overlaps_is_paired_and_the_rest_stands_alone() -> None:
    one = [Span(0, 3, PER), Span(5, 9, PER), Span(20, 22, ORG)]
    other = [Span(0, 3, ORG), Span(5, 12, PER), Span(30, 33, ORG)]
    assert differences(one, other) == [
        (Span(0, 3, PER), Span(0, 3, ORG)),
        (Span(5, 9, PER), Span(5, 12, PER)),
        (Span(20, 22, ORG), None),
        (None, Span(30, 33, ORG)),
    ]


def test_the_partner_is_the_one_with_most_characters_in_common() -> None:
    assert differences([Span(0, 10, PER)], [Span(0, 2, PER), Span(2, 10, ORG)]) == [
        (None, Span(0, 2, PER)),
        (Span(0, 10, PER), Span(2, 10, ORG)),
    ]


SPANS = st.builds(
    lambda start, length, label: Span(start, start + length, label),
    st.integers(0, 30),
    st.integers(1, 8),
    st.sampled_from((PER, ORG)),
)


@given(st.sets(SPANS, max_size=8), st.sets(SPANS, max_size=8))
def test_each_differing_span_stands_once_and_the_two_sides_are_treated_alike(one: set[Span], other: set[Span]) -> None:
    found = differences(one, other)
    assert sorted(a for a, _ in found if a) == sorted(one - other)
    assert sorted(b for _, b in found if b) == sorted(other - one)
    assert all(a.overlaps(b) for a, b in found if a and b)
    assert sum(bool(a and b) for a, b in differences(other, one)) == sum(bool(a and b) for a, b in found)
