"""Spans: what overlaps, and which of overlapping ones stay."""

from hypothesis import given
from hypothesis import strategies as st

from edgewise.labels.spans import Span, longest_first

SPANS = st.lists(
    st.builds(lambda start, length, label: Span(start, start + length, label), st.integers(0, 20), st.integers(1, 9),
              st.sampled_from("AB")),
    max_size=9,
)  # fmt: skip


def test_spans_that_only_touch_do_not_overlap() -> None:
    assert not Span(0, 3, "A").overlaps(Span(3, 5, "A"))
    assert Span(0, 4, "A").overlaps(Span(3, 5, "B"))


def test_the_longest_stays_then_the_leftmost_and_the_dropped_are_counted() -> None:
    long, left, right = Span(2, 8, "A"), Span(10, 13, "A"), Span(12, 15, "A")
    kept, dropped = longest_first([right, Span(0, 3, "B"), left, long, long])
    assert kept == (long, left)
    assert dropped == 3


def test_a_score_does_not_make_two_spans_different() -> None:
    assert Span(0, 1, "A", 0.5) == Span(0, 1, "A")


@given(SPANS)
def test_what_stays_never_overlaps_and_each_dropped_span_meets_a_kept_one_at_least_as_long(spans: list[Span]) -> None:
    kept, dropped = longest_first(spans)
    assert len(kept) + dropped == len(spans)
    assert list(kept) == sorted(kept)
    assert not any(a.overlaps(b) for i, a in enumerate(kept) for b in kept[i + 1 :])
    for span in set(spans) - set(kept):
        assert any(span.overlaps(one) and one.end - one.start >= span.end - span.start for one in kept)
