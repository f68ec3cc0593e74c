"""Quotes to places: what is found is what was quoted, and what is not in the text is nowhere."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewise.labels.quotes import OVERLAP, WINDOW, Quote, fold, place, windows
from edgewise.labels.spans import Span
from edgewise.labels.windows import words

PIECES = (
    "Ada", "ADA", "ada", "bill", "billboard", "İstanbul", "istanbul", "İSTANBUL", "straße", "STRASSE", "ﬁ", "fi",
    "e\u0301te\u0301", "été", "Ω", "Ω", "ＡＤＡ", "…", "...", "“", "”", '"', "’", "'", "–", "-", " ", "  ", "\n",
    "\r\n", "\t", "\u00a0", "\u200b", "\ufeff", "co\u00adop", "👩\u200d👩\u200d👧", "👩", "👍🏽", "🇩🇪🇫🇷", "🇩🇪",
    "1️⃣", "東京タワー", "東京", "你好", "ไทย", "ฉันรักเมืองไทย", "서울에서", "서울", "مرحبا", "שלום", ".", ",",
    "Washington, D.C.", "\u0301", "\ud83d", "½", "①", "\x00",
)  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES), max_size=25).map("".join) | st.text(st.characters(), max_size=30)


@st.composite
def texts_and_quotes(draw: st.DrawFn) -> tuple[str, list[Quote]]:
    """A text and quotes that may or may not be in it, with any occurrence."""
    text = draw(TEXTS)
    cuts = st.tuples(st.integers(0, len(text)), st.integers(0, len(text)))
    cut = cuts.map(lambda pair: text[min(pair) : max(pair)])
    disguise = st.sampled_from([str, str.upper, str.lower, str.casefold, lambda t: t.replace(" ", "\n ")])
    words_of_it = st.builds(lambda change, quote: change(quote), disguise, cut | TEXTS | st.sampled_from(PIECES))
    occurrences = st.none() | st.integers(-2, 6)
    return text, draw(st.lists(st.builds(Quote, words_of_it, st.just("A"), occurrences), max_size=8))


def found(text: str, *quotes: str | tuple[str, int]) -> list[tuple[int, str]]:
    """Where quotes are placed, and what stands there."""
    pairs = [(quote, None) if isinstance(quote, str) else quote for quote in quotes]
    spans, unplaced = place(text, [Quote(quote, "A", k) for quote, k in pairs])
    assert unplaced == len(quotes) - len(spans)
    return [(span.start, text[span.start : span.end]) for span in spans]


@settings(max_examples=400)
@given(texts_and_quotes())
def test_a_found_quote_is_the_text_at_its_offsets(case: tuple[str, list[Quote]]) -> None:
    text, quotes = case
    for quote in quotes:
        spans, unplaced = place(text, [quote])
        assert len(spans) + unplaced == 1
        for span in spans:
            assert fold(text[span.start : span.end]) == fold(quote.text)
            assert 0 <= span.start < span.end <= len(text)


@settings(max_examples=400)
@given(texts_and_quotes())
def test_no_two_spans_share_a_place_and_none_cuts_a_word_of_a_cased_script(case: tuple[str, list[Quote]]) -> None:
    text, quotes = case
    spans, unplaced = place(text, quotes)
    assert len(spans) + unplaced == len(quotes)
    assert not any(a.end > b.start for a, b in pairwise(spans))
    for start, end in words(text).tolist():
        if text[start:end].isascii():
            assert not any(start < edge < end for span in spans for edge in (span.start, span.end))


@settings(max_examples=200)
@given(TEXTS, st.data())
def test_all_words_of_a_text_quoted_in_order_are_placed_where_they_are(text: str, data: st.DataObject) -> None:
    marks = [(start, end) for start, end in words(text).tolist() if data.draw(st.booleans())]
    every = [(start, end) for start, end in words(text).tolist() if text[start:end] in {text[a:b] for a, b in marks}]
    quotes = [Quote(text[start:end], "A", None) for start, end in every]
    spans, unplaced = place(text, quotes)
    assert unplaced == 0
    assert [(span.start, span.end) for span in spans] == every


@pytest.mark.parametrize(
    ("text", "quote", "where"),
    [
        ("İstanbul and İSTANBUL visited Ankara", "ankara", (30, "Ankara")),
        ("İstanbul and İSTANBUL", "istanbul", (0, "İstanbul")),
        ("in der Straße", "STRASSE", (7, "Straße")),
        ("the ﬁnal Office", "final", (4, "ﬁnal")),
        ("New\r\n  York", "New York", (0, "New\r\n  York")),
        ("New York", "New\n York", (0, "New York")),
        ("he said “Ada’s”", "Ada's", (9, "Ada’s")),
        ("Jean–Luc", "Jean-Luc", (0, "Jean–Luc")),
        ("cafe\u0301 Noir", "café noir", (0, "cafe\u0301 Noir")),
        ("👩\u200d👩\u200d👧 met 👩", "👩", (10, "👩")),
        ("🇩🇪🇫🇷", "🇫🇷", (2, "🇫🇷")),
        ("我在東京タワー", "東京", (2, "東京")),
        ("서울에서 만나요", "서울", (0, "서울")),
        ("Washington, D.C., is", "Washington, D.C.", (0, "Washington, D.C.")),
        ("a\u200bb Ada\u202eX", "ada x", None),
        ("ra\u200bw Ad\u00ada", "Ada", (5, "Ad\u00ada")),
        ("straße", "s", None),
        ("billboard", "bill", None),
        ("Ada", "", None),
        ("Ada", " \n", None),
    ],
)
def test_a_quote_is_found_as_a_reader_would(text: str, quote: str, where: tuple[int, str] | None) -> None:
    assert found(text, quote) == ([where] if where else [])


def test_repeated_quotes_take_one_occurrence_after_another() -> None:
    assert found("Bob and Bob and Bob", "Bob", "Bob") == [(0, "Bob"), (8, "Bob")]
    assert found("Bob and Bob", "Bob", "Bob", "Bob") == [(0, "Bob"), (8, "Bob")]


def test_a_quote_is_the_next_occurrence_after_the_one_before() -> None:
    assert found("Paris, then Alice in Paris", "Alice", "Paris") == [(12, "Alice"), (21, "Paris")]
    assert found("Paris, then Alice", "Alice", "Paris") == [(0, "Paris"), (12, "Alice")]


def test_a_named_occurrence_that_exists_is_believed() -> None:
    assert found("May met May in May", ("May", 2)) == [(8, "May")]
    assert found("May met May in May", ("May", 1), ("May", 3)) == [(0, "May"), (15, "May")]


@pytest.mark.parametrize("numbers", [(1, 1), (2, 2), (5, 6), (2, 1), (0, 1), (-1, 0)])
def test_occurrences_that_make_no_sense_leave_the_order_to_decide(numbers: tuple[int, int]) -> None:
    assert found("Bob and Bob", *(("Bob", k) for k in numbers)) == [(0, "Bob"), (8, "Bob")]


def test_a_quote_is_never_placed_inside_another() -> None:
    assert found("bill paid the bill on the billboard", "bill", "bill", "bill") == [(0, "bill"), (14, "bill")]
    assert found("University of Paris", "University of Paris", "Paris") == [(0, "University of Paris")]


def test_the_score_of_a_quote_goes_to_its_span() -> None:
    (span,), _ = place("Ada", [Quote("Ada", "A", 1, 0.25)])
    assert span.score == 0.25


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 4 * WINDOW), st.integers(1, 50))
def test_windows_cover_a_text_and_each_place_belongs_to_one(length: int, word: int) -> None:
    text = (("w" * word + " ") * (length // (word + 1) + 1))[:length]
    cut = windows(text)
    assert (cut[0].start, cut[0].first, cut[-1].end) == (0, 0, len(text))
    assert all(window.end - window.start <= WINDOW for window in cut)
    assert all(a.stop == b.first and b.start < a.stop < a.end for a, b in pairwise(cut))
    assert all(b.first - b.start >= OVERLAP // 2 for b in cut[1:])


def test_a_span_in_two_windows_is_one_with_the_offsets_of_the_text() -> None:
    text = "x " * (WINDOW // 2 - OVERLAP // 4) + "Ada" + " y" * WINDOW
    spans = [
        span
        for window in windows(text)
        for span in window.own(place(text[window.start : window.end], [Quote("Ada", "A")])[0])
    ]
    at = text.index("Ada")
    assert spans == [Span(at, at + 3, "A")]
