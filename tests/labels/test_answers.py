"""Labels of several heads as a model writes them, and back: nothing is lost between."""

import json
import re

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from edgewise.labels.answers import (
    NOTHING,
    AsJson,
    Asked,
    AsTags,
    Codec,
    Demonstration,
    Unreadable,
    fenced,
    keys,
    mark,
    show,
)
from edgewise.labels.quotes import place
from edgewise.labels.schema import Head
from edgewise.labels.spans import Span, on_whole
from edgewise.labels.windows import words

NAMES = Head("label", "text", "text", ("PER", "two words", "<b>", "LOC"))
SHAPES = Head("shapes", "text", "text", ("PER", "label2", 'a "b" \\'))
TONE = Head("tone", "text", "text", ("neg", "neutral", "ne", "LOC", "</tone>"), kind="choice")
TOPICS = Head("the topics!", "text", "text", ("a; b", "two words", "<PER>"), kind="choices")
HEADS = (NAMES, SHAPES, TONE, TOPICS)
PIECES = (
    "Ada", "ada", "Bob", "Rome", "İstanbul", "straße", "ﬁn", "京都", "서울에서", "👩\u200d👩\u200d👧", "<PER>",
    "</PER>", "<LOC>", "<b>", "<tone>", "</tone>", "<the_topics>", "&amp;", '"', "\\", "{", "}", " ", "\n", "\r\n",
    "\u00a0", "\u200b", ".", ",", "\u0301", "\x00", "<|im_end|>", "\u202e",
)  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES), max_size=20).map("".join)
SOME_HEADS = st.lists(st.sampled_from(HEADS), min_size=1, unique_by=lambda head: head.from_name)


@st.composite
def marks(draw: st.DrawFn, text: str, head: Head) -> tuple[Span, ...]:
    """Spans of whole words that do not overlap."""
    borders = words(text).tolist()
    spans, at = [], 0
    while at < len(borders):
        length = draw(st.integers(1, 3))
        if draw(st.booleans()) and at + length <= len(borders):
            spans.append(Span(borders[at][0], borders[at + length - 1][1], draw(st.sampled_from(head.labels))))
        at += length
    return tuple(spans)


@st.composite
def demonstrations(draw: st.DrawFn, heads: list[Head]) -> Demonstration:
    """A text with answers of every head; a single choice is sometimes left empty."""
    text = draw(TEXTS)
    answers = {}
    for head in heads:
        if head.kind == "spans":
            answers[head.from_name] = draw(marks(text, head))
        else:
            most = 1 if head.kind == "choice" else len(head.labels)
            labels = draw(st.lists(st.sampled_from(head.labels), max_size=most, unique=True))
            answers[head.from_name] = tuple(sorted(on_whole(text, label) for label in labels))
    return Demonstration(text, answers)


def asked(heads: list[Head]) -> list[Asked]:
    """Heads as they are asked for, choices that may be left empty."""
    found = zip(heads, keys(heads), strict=True)
    return [Asked(head, key, (*head.labels, *([NOTHING] if head.kind == "choice" else []))) for head, key in found]


def codecs(heads: list[Head], text: str) -> list[Codec]:
    return [AsJson(asked(heads)), AsTags(asked(heads), [text], mark(text))]


def understood(codec: Codec, answer: str, text: str) -> tuple[dict[str, tuple[Span, ...]], int]:
    """The spans that an answer means, by head, and what of it was lost."""
    reading = codec.read(answer, text)
    placed = {name: place(text, quotes) for name, quotes in reading.quotes.items()}
    spans = {name: found for name, (found, _) in placed.items()}
    for name, labels in reading.chosen.items():
        spans[name] = tuple(sorted(on_whole(text, label) for label in labels if label != NOTHING))
    return spans, reading.invalid + sum(lost for _, lost in placed.values())


@settings(max_examples=300, deadline=None)
@given(st.data(), SOME_HEADS)
def test_what_is_written_and_read_is_the_same_answers(data: st.DataObject, heads: list[Head]) -> None:
    demonstration = data.draw(demonstrations(heads))
    for codec in codecs(heads, demonstration.text):
        answer = codec.write(demonstration)
        assert understood(codec, answer, demonstration.text) == (demonstration.answers, 0)


@settings(max_examples=200, deadline=None)
@given(st.data(), SOME_HEADS)
def test_a_label_is_found_where_the_answer_names_it(data: st.DataObject, heads: list[Head]) -> None:
    demonstration = data.draw(demonstrations(heads))
    for codec in codecs(heads, demonstration.text):
        answer = codec.write(demonstration)
        reading = codec.read(answer, demonstration.text)
        for one in asked(heads):
            name = one.head.from_name
            labels = reading.chosen.get(name) or [quote.label for quote in reading.quotes.get(name, ())]
            for label, at in zip(labels, reading.label_at[name], strict=True):
                assert at is not None
                assert answer.startswith(codec.spelled(one, label), at)


@settings(max_examples=200, deadline=None)
@given(demonstrations([NAMES]))
@example(Demonstration("Ada\u200b\u0301", {"label": ()}))  # what is shown composes: another text than the original
def test_a_model_that_reads_what_is_shown_is_understood_about_the_original(demonstration: Demonstration) -> None:
    # Without what keeps a mark from its letter the two compose: a quote of both is another text. Empty ones are read.
    assume(not (demonstration.answers["label"] and re.search("[\x00\u200b\u202e]\u0301", demonstration.text)))
    for codec in codecs([NAMES], demonstration.text):
        reading = codec.read(show(codec.write(demonstration)), demonstration.text)
        assert place(demonstration.text, reading.quotes["label"])[1] == 0


def test_tags_of_two_heads_may_cross() -> None:
    text = "the New York Times today"
    demonstration = Demonstration(text, {"label": (Span(4, 18, "PER"),), "shapes": (Span(0, 12, "PER"),)})
    codec = AsTags(asked([NAMES, SHAPES]), [text], mark(text))
    assert codec.write(demonstration) == "<label5>the <PER>New York</label5> Times</PER> today"
    assert understood(codec, codec.write(demonstration), text) == (demonstration.answers, 0)


def test_keys_are_like_the_names_of_heads_and_unique() -> None:
    def head(name: str, kind: str = "choice") -> Head:
        return Head(name, "text", "text", ("a", "b"), kind=kind)  # type: ignore[arg-type]

    names = ["my label", "my-label", "entities", "text", "שלום", "???"]
    assert keys([head(name) for name in names]) == [
        "my_label", "my_label_2", "entities_2", "text_2", "answer", "answer_2",
    ]  # fmt: skip
    assert keys([head("x", "spans"), head("tone")]) == ["entities", "tone"]
    assert keys([head("x", "spans"), head("y", "spans")]) == ["x", "y"]


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ({"tone": "happy"}, "not among"),
        ({"tone": ["neg"]}, "another shape"),
        ({"tone": None}, "another shape"),
        ({"the_topics": "a; b"}, "another shape"),
        ({"the_topics": {"a; b": True}}, "another shape"),
        ({"note": "<img onerror>"}, "another shape"),
    ],
)
def test_an_answer_that_chooses_in_another_form_cannot_be_read(said: dict[str, object], wrong: str) -> None:
    codec = AsJson(asked([TONE, TOPICS]))
    with pytest.raises(Unreadable, match=wrong):
        codec.read(json.dumps({"tone": "neg", "the_topics": []} | said), "Ada")


def test_of_several_choices_those_that_are_no_labels_are_left_out_and_counted() -> None:
    for codec, answer in (
        (AsJson(asked([TOPICS])), '{"the_topics": ["TWO WORDS", "no label", "two words", 3]}'),
        (
            AsTags(asked([TOPICS]), [], ""),
            "".join(f"<the_topics>{x}</the_topics>" for x in ("TWO WORDS", "no", "a", "")),
        ),
    ):
        reading = codec.read(answer, "Ada")
        assert (reading.chosen["the topics!"], reading.invalid >= 2) == (("two words",), True)


@pytest.mark.parametrize("answer", ["", "neg", "<tone>neg", "<tone>neg</tone>\n<tone>ne</tone>", "<tone>joy</tone>"])
def test_tags_that_choose_not_once_cannot_be_read(answer: str) -> None:
    with pytest.raises(Unreadable):
        AsTags(asked([TONE]), [], "").read(answer, "Ada")


def test_nothing_is_chosen_only_where_that_is_an_option() -> None:
    one = Asked(TONE, "tone", TONE.labels)
    with pytest.raises(Unreadable):
        AsJson([one]).read('{"tone": ""}', "Ada")
    assert AsJson(asked([TONE])).read('{"tone": ""}', "Ada").chosen == {"tone": (NOTHING,)}


def test_the_last_of_equal_keys_counts_and_is_where_its_label_is_sought() -> None:
    answer = '{"tone": "neg", "tone": "ne"}'
    reading = AsJson(asked([TONE])).read(answer, "Ada")
    assert (reading.chosen["tone"], reading.label_at["tone"]) == (("ne",), (answer.rindex("ne"),))


def test_schemas_are_of_the_subset_that_all_vendors_enforce() -> None:
    schema = AsJson(asked(list(HEADS))).schema
    assert schema is not None
    words = set(re.findall(r'"(\w+)": ', json.dumps(schema))) - {one.key for one in asked(list(HEADS))}
    assert words == {
        "type",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "enum",
        *("text", "label", "occurrence"),
    }
    assert schema["properties"]["tone"] == {"type": "string", "enum": [*TONE.labels, ""]}
    assert schema["properties"]["the_topics"] == {
        "type": "array", "items": {"type": "string", "enum": list(TOPICS.labels)},
    }  # fmt: skip


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
