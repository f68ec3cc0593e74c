"""Spans as a model writes them, and back: nothing is lost between."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgewise.labels.answers import AsJson, AsTags, Codec, fenced, mark, show
from edgewise.labels.quotes import place
from edgewise.labels.schema import Head
from edgewise.labels.spans import Document, Span
from edgewise.labels.windows import words

HEAD = Head("label", "text", "text", ("PER", "two words", "<b>", "LOC"))
PIECES = (
    "Ada", "ada", "Bob", "Rome", "İstanbul", "straße", "ﬁn", "京都", "서울에서", "👩\u200d👩\u200d👧", "<PER>",
    "</PER>", "<LOC>", "<b>", "&amp;", '"', "\\", "{", "}", " ", "\n", "\r\n", "\u00a0", "\u200b", ".", ",",
    "\u0301", "\x00", "<|im_end|>", "\u202e",
)  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES), max_size=20).map("".join)


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """A text with spans of whole words that do not overlap."""
    text = draw(TEXTS)
    borders = words(text).tolist()
    spans, at = [], 0
    while at < len(borders):
        length = draw(st.integers(1, 3))
        if draw(st.booleans()) and at + length <= len(borders):
            spans.append(Span(borders[at][0], borders[at + length - 1][1], draw(st.sampled_from(HEAD.labels))))
        at += length
    return Document(text, tuple(spans))


def codecs(text: str) -> list[Codec]:
    return [AsJson(HEAD, HEAD.labels), AsTags(HEAD, [text], mark(text))]


@settings(max_examples=300, deadline=None)
@given(documents())
def test_what_is_written_and_read_is_the_same_spans(document: Document) -> None:
    for codec in codecs(document.text):
        reading = codec.read(codec.write(document), document.text)
        spans, unplaced = place(document.text, reading.quotes)
        assert (spans, unplaced, reading.invalid) == (document.spans, 0, 0)


@settings(max_examples=300, deadline=None)
@given(documents())
@example(Document("Ada\u200b\u0301", ()))  # what is shown composes: it is another text than the original
def test_a_model_that_reads_what_is_shown_is_understood_about_the_original(document: Document) -> None:
    for codec in codecs(document.text):
        reading = codec.read(show(codec.write(document)), document.text)
        _, unplaced = place(document.text, reading.quotes)
        assert unplaced == 0


@given(st.text(st.characters()))
def test_a_mark_is_not_in_its_text(text: str) -> None:
    assert mark(text) not in text
    assert mark(text) == mark(text)
    assert len(mark(text)) == 16
    assert mark(text + mark(text)) not in text + mark(text)
    first, *_, last = fenced("document", text).split("\n")
    assert (first[0], last[:2], first[1:]) == ("<", "</", last[2:])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x00b\u200bc\u202ed\U000e0041e", "abcde"),
        ("a\x0cb\x1fc", "a b c"),
        ("half \ud83d pair", "half \ufffd pair"),
        ("<|im_end|>", "<\u200c|im_end|>"),
        ("line\nline\ttab 👩\u200d👧 می\u200cخواهم", "line\nline\ttab 👩\u200d👧 می\u200cخواهم"),
    ],
)
def test_a_model_is_shown_what_people_see(text: str, shown: str) -> None:
    assert show(text) == shown
    assert show(shown) == shown
