"""What people did with pre-labels: each rule by an example, and what holds for any spans."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.labels.feedback import OUTCOMES, Counts, compare
from edgewise.labels.schema import Kind
from edgewise.labels.spans import Span, on_whole

KINDS: tuple[Kind, ...] = ("spans", "choice", "choices")
LABELS = ("PER", "ORG", "LOC")
kinds = st.sampled_from(KINDS)


@st.composite
def spans(draw: st.DrawFn) -> Span:
    start = draw(st.integers(0, 12))
    score = draw(st.none() | st.floats(0, 1))
    return Span(start, start + draw(st.integers(1, 6)), draw(st.sampled_from(LABELS)), score)


several = st.lists(spans(), max_size=8)


def total(counts: Counts, *outcomes: str) -> int:
    return sum(count for (_, outcome), count in counts.items() if outcome in outcomes)


PER, ORG = Span(0, 4, "PER"), Span(10, 14, "ORG")
RULES = {
    "accepted": ([PER, ORG], [ORG, PER], {("PER", "accepted"): 1, ("ORG", "accepted"): 1}),
    "moved": ([PER], [Span(0, 9, "PER")], {("PER", "moved"): 1}),
    "changed": ([PER], [Span(0, 4, "LOC")], {("PER", "changed"): 1}),
    "changed and moved": ([PER], [Span(2, 9, "LOC")], {("PER", "changed"): 1}),
    "deleted": ([PER, ORG], [PER], {("PER", "accepted"): 1, ("ORG", "deleted"): 1}),
    "missed": ([], [PER], {("PER", "missed"): 1}),
    "apart": ([PER], [Span(4, 8, "PER")], {("PER", "deleted"): 1, ("PER", "missed"): 1}),
    "split": ([Span(0, 9, "PER")], [Span(0, 4, "PER"), Span(5, 9, "PER")], {("PER", "moved"): 1, ("PER", "missed"): 1}),
    "joined": ([PER, Span(5, 9, "PER")], [Span(0, 9, "PER")], {("PER", "moved"): 1, ("PER", "deleted"): 1}),
    "the place goes before the label": (
        [PER],
        [Span(0, 4, "LOC"), Span(0, 6, "PER")],
        {("PER", "changed"): 1, ("PER", "missed"): 1},
    ),
    "two labels at one place": (
        [PER, Span(0, 4, "LOC")],
        [PER, Span(0, 4, "ORG")],
        {("PER", "accepted"): 1, ("LOC", "changed"): 1},
    ),
    "a double is one too many": ([PER, PER], [PER], {("PER", "accepted"): 1, ("PER", "deleted"): 1}),
    "nothing": ([], [], {}),
}


@pytest.mark.parametrize("name", RULES)
def test_spans_are_judged_by_the_rules(name: str) -> None:
    suggested, given_, expected = RULES[name]
    assert compare(suggested, given_) == expected


@pytest.mark.parametrize(
    ("kind", "before", "after", "expected"),
    [
        ("choice", "a", "a", {("a", "accepted"): 1}),
        ("choice", "a", "b", {("a", "changed"): 1}),
        ("choice", "a", "", {("a", "deleted"): 1}),
        ("choice", "", "b", {("b", "missed"): 1}),
        ("choices", "ab", "ac", {("a", "accepted"): 1, ("b", "deleted"): 1, ("c", "missed"): 1}),
    ],
)
@pytest.mark.parametrize("text", ["Some text", ""])
def test_choices_are_judged_as_a_whole(
    kind: Kind, before: str, after: str, expected: dict[tuple[str, str], int], text: str
) -> None:
    suggested, chosen = ([on_whole(text, label) for label in labels] for labels in (before, after))
    assert compare(suggested, chosen, kind) == expected


@given(several, several, kinds)
def test_every_span_has_one_outcome_and_none_is_lost(suggested: list[Span], given_: list[Span], kind: Kind) -> None:
    counts = compare(suggested, given_, kind)
    assert {outcome for _, outcome in counts} <= set(OUTCOMES)
    assert all(count > 0 for count in counts.values())
    for label in LABELS:
        judged = sum(counts[label, outcome] for outcome in OUTCOMES if outcome != "missed")
        assert judged == sum(span.label == label for span in suggested)
    assert total(counts, "accepted", "moved", "changed", "missed") == len(given_)


@given(several, several, kinds)
def test_accepted_is_what_both_have(suggested: list[Span], given_: list[Span], kind: Kind) -> None:
    both = Counter(span.label for span in (Counter(suggested) & Counter(given_)).elements())
    counts = compare(suggested, given_, kind)
    assert {label: count for (label, outcome), count in counts.items() if outcome == "accepted"} == both


@given(several, several, kinds, st.randoms())
def test_the_order_of_regions_changes_nothing(
    suggested: list[Span], given_: list[Span], kind: Kind, dice: object
) -> None:
    expected = compare(suggested, given_, kind)
    dice.shuffle(suggested)  # type: ignore[attr-defined]  # a random.Random
    dice.shuffle(given_)  # type: ignore[attr-defined]
    assert compare(suggested, given_, kind) == expected


@given(several, kinds)
def test_what_stays_as_it_is_is_all_accepted(suggested: list[Span], kind: Kind) -> None:
    assert total(compare(suggested, suggested, kind)) == 0
    assert total(compare(suggested, suggested, kind), "accepted") == len(suggested)
    assert total(compare(suggested, [], kind), "deleted") == len(suggested)
    assert total(compare([], suggested, kind), "missed") == len(suggested)


@given(several, several)
def test_what_is_deleted_and_what_is_missed_share_no_character(suggested: list[Span], given_: list[Span]) -> None:
    counts = compare(suggested, given_)
    apart_of_all = sum(not any(span.overlaps(other) for other in given_) for span in suggested)
    assert total(counts, "deleted") >= apart_of_all
    if total(counts, "deleted") and total(counts, "missed"):
        assert any(not one.overlaps(other) for one in suggested for other in given_)


@given(several, several, several)
def test_texts_apart_are_judged_apart(suggested: list[Span], given_: list[Span], more: list[Span]) -> None:
    far = [Span(span.start + 100, span.end + 100, span.label) for span in more]
    assert compare(suggested + far, given_ + far) == compare(suggested, given_) + compare(far, far)
