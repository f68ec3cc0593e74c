"""Corrections as preference data: what is asked, and that both answers are read back as what they stand for."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.labels.preferences import preferences
from edgewise.labels.prompts import CodecName, Questions
from edgewise.labels.quotes import WINDOW, place
from edgewise.labels.spans import Span, on_whole
from tests.labels.material import HEAD, MOOD, TEXT, TOPICS

ANNA, BOB = Span(0, 4, "PER"), Span(9, 12, "PER")
SPANS = Questions((HEAD,), "Only people.")
words = ["Anna", "met", "Bob", "in", "New", "York", "👍", "東京"]
sentences = st.lists(st.sampled_from(words), min_size=1, max_size=10).map(" ".join)


def said(pair: dict[str, Any], which: str) -> str:
    [message] = pair[which]
    assert message["role"] == "assistant"
    return str(message["content"])


def test_a_pair_is_the_question_as_a_run_asks_it_and_both_answers() -> None:
    [pair] = preferences(SPANS, TEXT, {"label": [ANNA, BOB]}, {"label": [ANNA]})
    asked = SPANS.about(TEXT)
    assert pair["prompt"] == [{"role": "system", "content": asked.system}, {"role": "user", "content": asked.user}]
    assert "Only people." in asked.system
    assert said(pair, "chosen") == (
        '{"entities": [{"text": "Anna", "label": "PER", "occurrence": 1}, '
        '{"text": "Bob", "label": "PER", "occurrence": 1}]}'
    )
    assert said(pair, "rejected") == '{"entities": [{"text": "Anna", "label": "PER", "occurrence": 1}]}'


def test_what_nobody_corrected_is_no_pair() -> None:
    assert not list(preferences(SPANS, TEXT, {"label": [BOB, ANNA]}, {"label": [ANNA, BOB]}))
    assert not list(preferences(SPANS, TEXT, {"label": [ANNA]}, {}))
    assert not list(preferences(SPANS, TEXT, {}, {"label": [ANNA]}))


@st.composite
def words_marked(draw: st.DrawFn, text: str) -> list[Span]:
    found = [word.span() for word in re.finditer(r"\S+", text)]
    labels = [draw(st.none() | st.sampled_from(HEAD.labels)) for _ in found]
    return [Span(*place, label) for place, label in zip(found, labels, strict=True) if label]


@given(sentences, st.data(), st.sampled_from(["json", "tags"]))
def test_both_answers_are_read_back_as_what_they_stand_for(text: str, data: st.DataObject, codec: CodecName) -> None:
    answers = [{"label": data.draw(words_marked(text))} for _ in range(2)]
    questions = Questions((HEAD,), "", codec)
    pairs = list(preferences(questions, text, *answers))
    assert len(pairs) == (answers[0] != answers[1])
    for pair in pairs:
        prompt = questions.about(text)
        for which, answer in zip(("chosen", "rejected"), answers, strict=True):
            reading = prompt.codec.read(said(pair, which), text)
            assert place(text, reading.quotes["label"]) == (tuple(answer["label"]), 0)


def test_a_long_text_is_asked_about_by_windows_and_only_where_the_answers_differ() -> None:
    text = "Anna met nobody at all. " * (2 * WINDOW // 24)
    last = text.rindex("Anna")
    choice = [on_whole(text, "good")], [on_whole(text, "bad")]
    heads = Questions((HEAD, MOOD))
    right, wrong = (
        {"label": [ANNA, *more], "mood": mood}
        for more, mood in zip(([Span(last, last + 4, "PER")], []), choice, strict=True)
    )
    [pair] = preferences(heads, text, right, wrong)
    assert "mood" not in said(pair, "chosen")
    assert '"Anna"' in said(pair, "chosen")
    assert said(pair, "rejected") == '{"entities": []}'
    assert len(pair["prompt"][1]["content"]) < 2 * WINDOW


@pytest.mark.parametrize(("right", "wrong", "pairs"), [("good", "bad", 1), ("good", "", 0), ("", "bad", 0)])
def test_a_single_choice_that_was_left_empty_is_not_asked_about(right: str, wrong: str, pairs: int) -> None:
    both = [{"mood": [on_whole(TEXT, label)] if label else []} for label in (right, wrong)]
    assert len(list(preferences(Questions((MOOD,)), TEXT, *both))) == pairs


def test_of_several_choices_none_is_an_answer_too() -> None:
    [pair] = preferences(Questions((TOPICS,)), TEXT, {"topics": []}, {"topics": [on_whole(TEXT, "a")]})
    assert (said(pair, "chosen"), said(pair, "rejected")) == ('{"topics": []}', '{"topics": ["a"]}')
