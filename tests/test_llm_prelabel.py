"""Asking a language model for labels: the prompt as it is sent, and runs against aimock that lose and repay nothing."""

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgewise.errors import Cancelled
from edgewise.labels.answers import Demonstration
from edgewise.labels.prompts import AGAIN, CodecName
from edgewise.labels.quotes import windows
from edgewise.labels.schema import Head
from edgewise.labels.spans import Span
from edgewise.services.llm import (
    PROBE_USER,
    Budget,
    ChatAnswer,
    ChatRequest,
    ModelRefused,
    ModelUnavailable,
    Price,
    ProviderChat,
    Spend,
    Token,
    Usage,
    open_chat,
    option_probabilities,
)
from llm_prelabel import Prelabel, prelabel
from tests.labels.test_prompts import HOSTILE
from tests.llm_peers import (
    Aimock,
    IgnorantServer,
    Json,
    aimock_fixture,
    aimock_server_fixture,
    answer,
    completion,
    ignorant_server_fixture,
    stand_in,
)
from tests.services.conftest import eventually

__all__ = ["aimock_fixture", "aimock_server_fixture", "ignorant_server_fixture"]

HEAD = Head("label", "text", "text", ("PER", "LOC"), (("Human", "PER"),))
TONE = Head("tone", "text", "text", ("neg", "neutral", "ne"), kind="choice")
TOPICS = Head("topics", "text", "text", ("war", "two words", "art"), kind="choices")
ALL = [HEAD, TONE, TOPICS]
ROME = Demonstration("Eve saw Rome. Rome!", {"label": (Span(0, 3, "PER"), Span(14, 18, "LOC"))})
EMPTY = Demonstration("It rained.", {})
DOLLAR = Price(Decimal(1), Decimal(2))
KEY = "sk-very-secret"


class Shelf:
    """A cache in memory."""

    def __init__(self) -> None:
        self.records: dict[str, Mapping[str, Any]] = {}
        self.texts: dict[str, Sequence[str]] = {}

    def get(self, key: str) -> Mapping[str, Any] | None:
        return self.records.get(key)

    def put(self, key: str, record: Mapping[str, Any], texts: Sequence[str]) -> None:
        self.records[key] = json.loads(json.dumps(record))
        self.texts[key] = texts


class Folder:
    """A cache on disk, for a run that is killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str) -> Mapping[str, Any] | None:
        path = self._folder / f"{key}.json"
        return json.loads(path.read_text()) if path.exists() else None

    def put(self, key: str, record: Mapping[str, Any], texts: Sequence[str]) -> None:
        part = self._folder / f"{key}.part{threading.get_ident()}"
        part.write_text(json.dumps(record))
        part.rename(self._folder / f"{key}.json")


class Scripted:
    """A chat without a vendor, for answers that no server could be told to give."""

    def __init__(self, say: Callable[[ChatRequest], str | ChatAnswer]) -> None:
        self.endpoint, self.model = "nowhere", "none"
        self.price: Price | None = None
        self.say = say
        self.asked: list[ChatRequest] = []

    def ask(self, request: ChatRequest, budget: Budget) -> ChatAnswer:
        self.asked.append(request)
        budget.settle(budget.reserve(None), None, None)
        said = self.say(request)
        return said if isinstance(said, ChatAnswer) else in_words(said)


def in_words(content: str, tokens: tuple[Token, ...] | None = None) -> ChatAnswer:
    return ChatAnswer(content, "stop", None, None, 0.0, 1, "plain", "none", tokens)


def weighed(*pieces: str | dict[str, float]) -> ChatAnswer:
    """An answer with log-probabilities: where a piece is a choice of tokens the first is taken."""
    tokens = []
    for piece in pieces:
        options = {piece: 1.0} if isinstance(piece, str) else piece
        top = tuple((option.encode(), math.log(p)) for option, p in options.items())
        tokens.append(Token(*top[0], top if len(top) > 1 else ()))
    return in_words("".join(token.data.decode() for token in tokens), tuple(tokens))


CHATS = ExitStack()


@pytest.fixture(autouse=True)
def closed_chats() -> Iterator[None]:
    """Chats keep connections: none outlives its test."""
    yield
    CHATS.close()


def opened(url: str, provider: Literal["openai", "anthropic"] = "openai", model: str = "some-model") -> ProviderChat:
    return CHATS.enter_context(open_chat(provider, model, base_url=url, api_key=KEY, price=DOLLAR))


def entities(*found: tuple[str, str, int]) -> str:
    return json.dumps({"entities": [{"text": t, "label": label, "occurrence": k} for t, label, k in found]})


def ask(chat: Any, *texts: str, **options: Any) -> list[Prelabel]:
    """The pre-labels of texts, all of which must have come."""
    heads, cache = options.pop("heads", [HEAD]), options.pop("cache", Shelf())
    results = prelabel(texts, heads, chat, cache, budget=Budget(), **options)
    assert None not in results
    return [result for result in results if result]


def says(content: str, *, text: str = "Ada met Bob", **options: Any) -> Prelabel:
    """The pre-label of a text when this is the answer."""
    return ask(Scripted(lambda _: content), text, **options)[0]


# Hostile texts

SETS_OF_HEADS = [[HEAD], [TONE], [TOPICS], ALL]
LABELS = st.sampled_from(["PER", "LOC", "per", "Human", "EVIL", "neg", "NE", "war", "two words", ""])
JSON_ISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | LABELS,
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(["entities", "text", "label", "occurrence", "tone", "x"]), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip
ENTITY = st.fixed_dictionaries(
    {"text": st.sampled_from(["Ada", "Rome", "ada", "nobody", ""]) | JSON_ISH, "label": LABELS | JSON_ISH},
    optional={"occurrence": st.integers(-1, 5) | JSON_ISH},
)  # fmt: skip
KEYS = {
    "entities": st.lists(ENTITY, max_size=6),
    "tone": LABELS | JSON_ISH,
    "topics": st.lists(LABELS | JSON_ISH, max_size=4) | JSON_ISH,
}
TAGGED = st.lists(
    st.sampled_from([
        "<tone>neg</tone>", "<tone></tone>", "<tone>EVIL</tone>", "<topics>war</topics>", "<topics>x</topics>\n",
        "<PER>Ada</PER>", "<LOC>Rome", "</LOC>", "Ada ",
    ]), max_size=8,
).map("".join)  # fmt: skip
ANSWERS = (
    st.sampled_from([["entities"], ["tone"], ["topics"], ["tone", "topics", "entities"]])
    .flatmap(lambda keys: st.fixed_dictionaries({key: KEYS[key] for key in keys})).map(json.dumps)
    | JSON_ISH.map(json.dumps) | st.text() | HOSTILE | TAGGED
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(HOSTILE, ANSWERS, st.sampled_from(["json", "tags"]), st.sampled_from(SETS_OF_HEADS))
@example("Rome", "<LOC>Rome</LOC>\ud800", "tags", [HEAD])
@example("Rome", json.dumps({"entities": [{"text": "Rome", "label": "LOC"}]}) + "\ud800", "json", [HEAD])
def test_whatever_is_answered_only_allowed_labels_on_the_text_itself_come_of_it(
    text: str, content: str, codec: CodecName, heads: list[Head]
) -> None:
    got = says(content, text=text, codec=codec, heads=heads)
    assert set(got.spans) == {head.from_name for head in heads}
    for head in heads:
        spans = got.spans[head.from_name]
        assert {span.label for span in spans} <= set(head.labels)
        assert all(0 <= span.start < span.end <= len(text) for span in spans)
        assert head.kind == "spans" or all((span.start, span.end) == (0, len(text)) for span in spans)
        assert head.kind != "choice" or len(spans) <= 1
    assert not (got.error and any(got.spans.values()))


def test_a_quote_from_the_prompt_or_from_an_example_is_not_in_the_text() -> None:
    got = says(entities(("Rome", "LOC", 1), ("Labels", "PER", 1), ("Ada", "PER", 1)), demonstrations=lambda _: [ROME])
    assert got.spans["label"] == (Span(0, 3, "PER"),)
    assert got.unplaced == 2


def test_a_text_with_our_tags_gets_other_tags() -> None:
    text = "<PER>Ada</PER> met Bob"
    tag = ""

    def say(request: ChatRequest) -> str:
        nonlocal tag
        tag = request.system.split("- PER <")[1].split(">")[0]
        return f"<PER>Ada</PER> met <{tag}>Bob</{tag}>"

    (got,) = ask(Scripted(say), text, codec="tags")
    assert tag.startswith("PER-")
    assert got.spans["label"] == (Span(19, 22, "PER"),)


def test_ten_thousand_entities_are_not_believed() -> None:
    got = says(entities(*[("Ada", "PER", 1)] * 10_000), text="Ada " * 1_000)
    assert (len(got.spans["label"]), got.invalid) == (200, 9_800)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"entities":' * 50_000, '{"entities": [' + "9" * 10_000 + "]}"])
def test_answers_made_to_break_a_parser_break_their_own_document(content: str) -> None:
    assert says(content).error


# Answers


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("I cannot do that.", "no JSON"),
        ("", "no JSON"),
        ("[]", "another shape"),
        ('{"spans": []}', "another shape"),
        ('{"entities": {}}', "another shape"),
        ('{"entities": [], "note": "<img onerror>"}', "another shape"),
        ('{"entities": [{"te', "no JSON"),
    ],
)
def test_an_answer_of_another_form_is_an_error_and_not_an_empty_document(content: str, error: str) -> None:
    got = says(content)
    assert got.error
    assert error in got.error
    assert got.spans["label"] == ()


def test_an_empty_document_is_not_asked_about() -> None:
    chat = Scripted(lambda _: "What?")
    (got,) = ask(chat, " \n")
    assert (got.spans["label"], got.error, got.cost_usd, len(chat.asked)) == ((), None, Decimal(0), 0)


def test_an_unreadable_answer_is_asked_for_once_more_and_the_second_counts() -> None:
    chat = Scripted(lambda request: entities(("Ada", "PER", 1)) if AGAIN in request.user else "What?")
    (got,) = ask(chat, "Ada met Bob")
    assert (got.spans["label"], got.error, len(chat.asked)) == ((Span(0, 3, "PER"),), None, 2)


def test_prose_and_fences_around_an_answer_are_passed_over() -> None:
    got = says(f"Sure!\n```json\n{entities(('Ada', 'PER', 1))}\n```")
    assert got.spans["label"] == (Span(0, 3, "PER"),)


def test_labels_are_matched_as_a_head_does_and_others_are_counted() -> None:
    got = says(entities(("Ada", "Human", 1), ("Bob", "per", 1), ("met", "VERB", 1)))
    assert [span.label for span in got.spans["label"]] == ["PER", "PER"]
    assert got.invalid == 1


def test_tags_find_the_mention_that_they_are_around() -> None:
    got = says("Rome, Rome and <LOC>Rome</LOC>, <PER>unclosed", text="Rome, Rome  and Rome, unclosed", codec="tags")
    assert got.spans["label"] == (Span(16, 20, "LOC"),)
    assert got.invalid == 1
    assert says("I see nobody.", codec="tags").error
    assert says("Ada  met Bob\n", codec="tags").error is None


def test_a_long_text_is_read_in_windows_with_its_own_offsets() -> None:
    text = "Ada met someone else, and there was much talk of it all over the town. " * 240
    chat = Scripted(lambda request: entities(*[("Ada", "PER", k) for k in range(1, 201)]))
    (got,) = ask(chat, text)
    assert len(chat.asked) == len(windows(text)) == 3
    assert [text[span.start : span.end] for span in got.spans["label"]] == ["Ada"] * 240


def test_all_heads_are_answered_in_one_call() -> None:
    content = '{"tone": "ne", "topics": ["art", "war"], "entities": [{"text": "Ada", "label": "PER", "occurrence": 1}]}'
    chat = Scripted(lambda _: content)
    (got,) = ask(chat, "Ada met Bob", heads=ALL)
    assert len(chat.asked) == 1
    assert got.spans == {
        "label": (Span(0, 3, "PER"),), "tone": (Span(0, 11, "ne"),),
        "topics": (Span(0, 11, "art"), Span(0, 11, "war")),
    }  # fmt: skip
    tags = "<tone>ne</tone>\n<topics>art</topics>\n<topics>war</topics>\n<PER>Ada</PER> met Bob"
    assert says(tags, heads=ALL, codec="tags").spans == got.spans


def test_a_choice_that_is_no_label_is_asked_for_again_and_then_an_error() -> None:
    chat = Scripted(lambda request: '{"tone": "neutral"}' if AGAIN in request.user else '{"tone": "angry"}')
    assert ask(chat, "Ada met Bob", heads=[TONE])[0].spans == {"tone": (Span(0, 11, "neutral"),)}
    got = says('{"tone": "angry"}', heads=[TONE])
    assert (got.spans, bool(got.error)) == ({"tone": ()}, True)


def test_a_single_choice_is_left_empty_only_where_people_did() -> None:
    empty, full = Demonstration("Hm.", {}), Demonstration("Hm!", {"tone": (Span(0, 3, "neg"),)})
    for shown, error in (([empty], False), ([full], True), ([], True)):
        got = says('{"tone": ""}', heads=[TONE], demonstrations=lambda _, shown=shown: shown)
        assert (got.spans, bool(got.error)) == ({"tone": ()}, error)


def test_a_choice_about_a_long_text_is_voted_on_by_its_characters() -> None:
    text = "Ada met someone else, and there was much talk of it all over the town. " * 240
    owned = [window.characters for window in windows(text)]
    assert sum(owned) == len(text)
    assert owned[2] < owned[0]

    def vote(*choices: str) -> tuple[Prelabel, ...]:
        contents = iter(choices)
        return tuple(ask(Scripted(lambda _: next(contents)), text, heads=[TONE, TOPICS], workers=1))

    whole = (0, len(text))
    neg = '{"tone": "neg", "topics": ["war"]}'
    ne = '{"tone": "ne", "topics": ["art", "war"]}'
    (got,) = vote(neg, ne, ne)
    assert got.spans == {"tone": (Span(*whole, "ne"),), "topics": (Span(*whole, "art"), Span(*whole, "war"))}
    (got,) = vote(neg, '{"tone": "neutral", "topics": []}', ne)
    assert got.spans == {"tone": (Span(*whole, "neg"),), "topics": (Span(*whole, "war"),)}
    assert got.confidence is None


# Confidence


def test_a_choice_is_as_sure_as_it_was_among_the_options() -> None:
    answers = weighed(
        '{"tone": "', {"ne": 0.5, "n": 0.2, "pos": 0.2, "neg": 0.1}, {"utral": 0.4, '"': 0.6}, '", "topics": ["',
        {"art": 0.6, "war": 0.2, "two": 0.2}, '", "', {"war": 0.3, "two": 0.1, "art": 0.5}, '"]}',
    )  # fmt: skip
    (got,) = ask(Scripted(lambda _: answers), "Ada met Bob", heads=[TONE, TOPICS], variants=3)
    among = {"neutral": 0.5 * 0.4 + 0.2 / 3, "neg": 0.1 + 0.2 / 3, "ne": 0.5 * 0.6 + 0.2 / 3}
    assert got.spans["tone"][0].label == "neutral"
    assert got.spans["tone"][0].score == pytest.approx(among["neutral"] / sum(among.values()))
    assert {span.label: span.score for span in got.spans["topics"]} == pytest.approx({"art": 0.6, "war": 0.75})
    assert got.confidence == pytest.approx(min(0.6, among["neutral"] / sum(among.values())))


@pytest.mark.parametrize("codec", ["json", "tags"])
def test_how_sure_a_choice_was_is_known_in_both_forms_also_of_nothing(codec: CodecName) -> None:
    begin, end = ('{"tone": "', "}") if codec == "json" else ("<tone>", "tone>")
    close = '"' if codec == "json" else "</"
    nothing = weighed(begin, {close: 0.6, "neg": 0.2}, end)
    (got,) = ask(Scripted(lambda _: nothing), "Ada", heads=[TONE], codec=codec, demonstrations=lambda _: [EMPTY])
    assert got.spans == {"tone": ()}
    assert got.confidence is not None
    assert 0.3 < got.confidence < 0.7  # labels that were not seen get as much as the least that was


def test_tags_are_as_sure_as_their_names() -> None:
    answers = weighed("<", {"PER": 0.6, "LOC": 0.2}, ">Ada</PER> met Bob")
    (got,) = ask(Scripted(lambda _: answers), "Ada met Bob", codec="tags", variants=3)
    assert got.spans["label"][0].score == pytest.approx(0.75)


def test_a_long_text_is_as_sure_of_its_choice_as_its_windows_are_on_the_whole() -> None:
    text = "Ada met someone else, and there was much talk of it all over the town. " * 160
    first, second = (window.characters / len(text) for window in windows(text))
    neg = weighed('{"tone": "', {"neg": 0.8, "neutral": 0.1, "ne": 0.1}, '"}')
    neutral = weighed('{"tone": "', {"neutral": 0.6, "neg": 0.3, "ne": 0.1}, '"}')
    answers = iter([neg, neutral])
    (got,) = ask(Scripted(lambda _: next(answers)), text, heads=[TONE], workers=1)
    assert got.spans["tone"][0].label == "neg"
    sure = [_among(neg, "neg"), _among(neutral, "neg")]
    assert got.confidence == pytest.approx(first * sure[0] + second * sure[1])


def _among(answer: ChatAnswer, label: str) -> float:
    found = option_probabilities(answer, len('{"tone": "'), [f'{one}"' for one in TONE.labels])
    assert found
    return found[f'{label}"']


def test_variants_agree_on_choices_by_most_votes() -> None:
    contents = iter(['{"tone": "neg", "topics": ["war"]}', '{"tone": "ne", "topics": ["war", "art"]}',
                     '{"tone": "ne", "topics": ["war"]}'])  # fmt: skip
    (got,) = ask(Scripted(lambda _: next(contents)), "Ada met Bob", heads=[TONE, TOPICS], variants=3)
    assert got.spans == {"tone": (Span(0, 11, "ne"),), "topics": (Span(0, 11, "war"),)}
    assert [span.score for span in (*got.spans["tone"], *got.spans["topics"])] == [pytest.approx(2 / 3), 1.0]
    assert got.confidence == pytest.approx(2 / 3)
    split = iter(['{"tone": "neutral"}', '{"tone": "ne"}', '{"tone": "neg"}'])
    (got,) = ask(Scripted(lambda _: next(split)), "Ada met Bob", heads=[TONE], variants=3)
    assert got.spans["tone"][0].label == "neutral"
    assert got.confidence == pytest.approx(1 / 3)


def test_a_span_is_as_sure_as_its_label_was_among_the_labels() -> None:
    pieces = [
        ('{"entities": [{"text": "Ada", "label": "', 0.99), ("PER", 0.6), ('", "occurrence": 1}', 0.9),
        (', {"text": "Bob", "label": "', 0.5), ("LOC", 0.1), ('", "occurrence": 1}]}', 0.9),
    ]  # fmt: skip
    entries = [
        {"token": piece, "logprob": math.log(p), "bytes": list(piece.encode()), "top_logprobs": [
            {"token": other, "logprob": math.log(q), "bytes": list(other.encode())}
            for other, q in ((piece, p), ("LOC" if piece == "PER" else "PER", 0.2), ("zzz", 0.01))
        ]} for piece, p in pieces
    ]  # fmt: skip
    content = "".join(piece for piece, _ in pieces)

    def respond(body: Json) -> Json:
        if body["messages"][-1]["content"] == PROBE_USER:
            token = {"token": '{"label": "zeta"}', "logprob": -0.1, "bytes": None, "top_logprobs": []}
            return completion('{"label": "zeta"}', logprobs=[token])
        return completion(content, logprobs=entries)

    cache = Shelf()
    with stand_in(respond) as (url, bodies):
        first, again = (ask(opened(url), "Ada met Bob", cache=cache, variants=3)[0] for _ in range(2))
    assert [span.label for span in first.spans["label"]] == ["PER", "LOC"]
    assert [span.score for span in first.spans["label"]] == pytest.approx([0.75, 1 / 3])
    assert first.confidence == pytest.approx(1 / 3)
    assert len(bodies) == 2  # no variants where log-probabilities tell
    assert (again.spans["label"], again.confidence, again.cached) == (first.spans["label"], first.confidence, True)
    assert [span.score for span in again.spans["label"]] == [span.score for span in first.spans["label"]]


def test_without_log_probabilities_agreement_tells() -> None:
    ada = ("Ada", "PER", 1)
    contents = iter([entities(ada, ("Bob", "PER", 1)), entities(ada), entities(ada, ("Bob", "LOC", 1))])
    (got,) = ask(Scripted(lambda _: next(contents)), "Ada met Bob", variants=3, demonstrations=lambda _: [ROME, EMPTY])
    assert [(span.start, span.score) for span in got.spans["label"]] == [(0, 1.0)]
    assert got.confidence == pytest.approx(2 / 3)
    (none,) = ask(Scripted(lambda _: entities()), "Ada met Bob", variants=2)
    assert none.confidence == 1.0


def test_where_nothing_tells_confidence_is_none() -> None:
    got = says(entities(("Ada", "PER", 1)))
    assert (got.confidence, got.spans["label"][0].score) == (None, None)


# Runs


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize("codec", ["json", "tags"])
def test_documents_are_labelled_once_and_paid_for_once(
    aimock: Aimock, provider: Literal["openai", "anthropic"], codec: CodecName
) -> None:
    content = entities(("Ada", "PER", 1)) if codec == "json" else "<PER>Ada</PER> met number"
    aimock.script(answer("number", content, usage=(100, 20)))
    texts, cache, budget = [f"Ada met number {i}" for i in range(40)], Shelf(), Budget()
    chat = opened(aimock.base_url(provider), provider)
    shares: list[tuple[float, Spend]] = []
    for _ in range(2):
        results = prelabel(
            texts, [HEAD], chat, cache, budget=budget, codec=codec, report=lambda f, s: shares.append((f, s))
        )
        assert all(result and result.spans["label"] == (Span(0, 3, "PER"),) for result in results)
    assert [result.cost_usd for result in results if result] == [0] * 40
    assert len(aimock.asked()) == 40
    assert budget.spend().usd == 40 * DOLLAR.of(Usage(100, 20)) + DOLLAR.of(Usage(40, 6))
    assert [share for share, _ in shares] == [pytest.approx((i + 1) / 40) for i in range(40)] * 2
    assert not any(KEY in json.dumps(record) for record in cache.records.values())


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_both_vendors_answer_for_all_heads_in_one_call(
    aimock: Aimock, provider: Literal["openai", "anthropic"]
) -> None:
    content = '{"tone": "ne", "topics": ["art"], "entities": [{"text": "Ada", "label": "PER", "occurrence": 1}]}'
    aimock.script(answer("number", content, usage=(100, 20)))
    budget = Budget()
    texts = [f"Ada met number {i}" for i in range(4)]
    results = prelabel(texts, ALL, opened(aimock.base_url(provider), provider), Shelf(), budget=budget)
    for text, result in zip(texts, results, strict=True):
        assert result is not None
        assert result.spans == {
            "label": (Span(0, 3, "PER"),), "tone": (Span(0, len(text), "ne"),), "topics": (Span(0, len(text), "art"),),
        }  # fmt: skip
    assert budget.spend().calls == 5  # the probe


def test_a_cache_is_told_every_text_that_a_question_holds() -> None:
    cache = Shelf()
    ask(Scripted(lambda _: entities()), "Ada met Bob", cache=cache, demonstrations=lambda _: [ROME, EMPTY])
    assert [set(texts) for texts in cache.texts.values()] == [{"Ada met Bob", ROME.text, EMPTY.text}]


def test_what_was_asked_about_the_windows_of_a_long_text_is_kept_under_the_whole_text() -> None:
    cache, text = Shelf(), "Ada met someone else, and there was much talk of it all over the town. " * 240
    ask(Scripted(lambda _: entities()), text, cache=cache, demonstrations=lambda _: [ROME])
    assert [set(texts) for texts in cache.texts.values()] == [{text, ROME.text}] * len(windows(text))


def test_the_same_text_is_asked_about_once_even_at_the_same_time(aimock: Aimock) -> None:
    aimock.script(answer("Ada", entities(("Ada", "PER", 1))))
    aimock.chaos(latencyMs=50)
    results = ask(opened(aimock.base_url("openai")), *["Ada met Bob"] * 16, workers=16)
    assert len(aimock.asked()) == 1
    assert sum(not result.cached for result in results) == 1


def test_one_bad_document_costs_only_itself(aimock: Aimock) -> None:
    aimock.script(
        answer("PROSE", "I would rather not."),
        answer("REFUSED", "no", finishReason="content_filter"),
        answer("ENDLESS", '{"entities": [{"te', finishReason="length"),
        {"match": {"userMessage": "TOO LONG"},
         "response": {"error": {"message": "x", "code": "context_length_exceeded"}, "status": 400}},
        answer("Ada", entities(("Ada", "PER", 1))),
    )  # fmt: skip
    texts = ["Ada 1", "PROSE", "Ada 2", "REFUSED", "ENDLESS", "Ada 3", "TOO LONG", "Ada 4"]
    results = ask(opened(aimock.base_url("openai")), *texts)
    assert [bool(result.spans["label"]) for result in results] == [text.startswith("Ada") for text in texts]
    assert [result.error is None for result in results] == [text.startswith("Ada") for text in texts]
    asked = Counter(next(t for t in texts if t in body["messages"][-1]["content"]) for body in aimock.asked())
    assert (asked["PROSE"], asked["REFUSED"], asked["ENDLESS"], asked["TOO LONG"]) == (2, 1, 2, 1)
    limits = [body["max_tokens"] for body in aimock.asked() if "ENDLESS" in body["messages"][-1]["content"]]
    assert limits[1] == 4 * limits[0]


def test_a_model_that_says_no_to_all_ends_the_run(aimock: Aimock) -> None:
    denied = {"match": {"userMessage": "Ada"}, "response": {"error": {"message": "x"}, "status": 401}}
    aimock.script(denied)
    with pytest.raises(ModelRefused):
        ask(opened(aimock.base_url("openai")), *[f"Ada {i}" for i in range(100)], workers=4)
    assert len(aimock.asked()) < 20


def test_an_endpoint_that_went_away_ends_the_run_to_be_resumed() -> None:
    class Away(Scripted):
        def ask(self, request: ChatRequest, budget: Budget) -> ChatAnswer:
            if len(self.asked) >= 10:
                raise ModelUnavailable("It is away.", "Wait.")
            return super().ask(request, budget)

    cache, texts = Shelf(), [f"Ada {i}" for i in range(50)]
    with pytest.raises(ModelUnavailable):
        ask(Away(lambda _: entities(("Ada", "PER", 1))), *texts, cache=cache, workers=1)
    chat = Scripted(lambda _: entities(("Ada", "PER", 1)))
    ask(chat, *texts, cache=cache)
    assert len(chat.asked) == 40


def test_a_run_through_bad_weather_labels_everything(aimock: Aimock) -> None:
    aimock.script(answer("Ada", entities(("Ada", "PER", 1))))
    chat, budget, cache = opened(aimock.base_url("openai")), Budget(), Shelf()
    chat.learn_abilities(budget)
    texts = [f"Ada {i}" for i in range(40)]
    aimock.chaos(rateLimitRate=0.02, dropRate=0.05, malformedRate=0.05, disconnectRate=0.05)
    results = prelabel(texts, [HEAD], chat, cache, budget=budget, workers=16)
    missing = sum(not (result and result.spans["label"]) for result in results)
    assert missing <= 1  # an unlucky one failed at each of its attempts
    assert budget.spend().calls == len(aimock.journal()) > 41


def test_a_spent_budget_leaves_the_rest_for_later(aimock: Aimock) -> None:
    aimock.script(answer("Ada", entities(("Ada", "PER", 1)), usage=(500, 50)))
    aimock.chaos(latencyMs=10)
    chat, cache, texts = opened(aimock.base_url("openai")), Shelf(), [f"Ada {i}" for i in range(60)]
    limit = Decimal("0.02")
    poor = Budget(usd=limit)
    first = prelabel(texts, [HEAD], chat, cache, budget=poor, workers=16)
    done = sum(result is not None for result in first)
    assert 0 < done < 60
    assert poor.spend().usd == done * DOLLAR.of(Usage(500, 50)) + DOLLAR.of(Usage(40, 6)) <= limit
    assert len(aimock.asked()) == done
    few = Budget(calls=5)
    second = prelabel(texts, [HEAD], chat, cache, budget=few, workers=16)
    assert sum(result is not None for result in second) == done + 5
    assert few.spend().calls == 5
    rest = prelabel(texts, [HEAD], chat, cache, budget=Budget(), workers=16)
    assert None not in rest
    assert len(aimock.asked()) == 60


def test_a_cancelled_run_keeps_what_it_paid_for(aimock: Aimock) -> None:
    aimock.script(answer("Ada", entities(("Ada", "PER", 1))))
    aimock.chaos(latencyMs=20)
    chat, cache, texts = opened(aimock.base_url("openai")), Shelf(), [f"Ada {i}" for i in range(60)]

    def cancel(share: float, _: Spend) -> None:
        if share > 0.2:
            raise Cancelled("Somebody cancelled this job.", "Start it again.")

    with pytest.raises(Cancelled):
        prelabel(texts, [HEAD], chat, cache, budget=Budget(), report=cancel)
    assert len(cache.records) == len(aimock.asked()) < 60
    ask(chat, *texts, cache=cache)
    assert len(aimock.asked()) == 60


CHILD = """
import sys
from pathlib import Path
from edgewise.services.llm import Budget, open_chat
from llm_prelabel import prelabel
from tests.test_llm_prelabel import DOLLAR, HEAD, Folder
chat = open_chat("openai", "some-model", base_url=sys.argv[1], price=DOLLAR)
prelabel([f"Ada {i}" for i in range(80)], [HEAD], chat, Folder(Path(sys.argv[2])), budget=Budget(), workers=4)
"""


def test_a_run_that_is_killed_pays_for_no_answer_twice(aimock: Aimock, tmp_path: Path) -> None:
    aimock.script(answer("Ada", entities(("Ada", "PER", 1))))
    aimock.chaos(latencyMs=60)
    url = aimock.base_url("openai")
    child = subprocess.Popen([sys.executable, "-c", CHILD, url, str(tmp_path)], cwd=Path(__file__).parent.parent)
    eventually(lambda: len(list(tmp_path.glob("*.json"))) >= 10, within_s=60)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    kept = len(list(tmp_path.glob("*.json")))
    time.sleep(0.3)  # what was on its way arrives in the journal
    asked = len(aimock.asked())
    results = ask(opened(url), *[f"Ada {i}" for i in range(80)], cache=Folder(tmp_path), workers=4)
    assert all(result.spans["label"] for result in results)
    assert 10 <= kept < 80
    assert sum(result.cached for result in results) == kept
    times = Counter(body["messages"][-1]["content"] for body in aimock.asked())
    assert len(times) == 80
    assert sum(times.values()) == asked + 80 - kept
    assert sum(count - 1 for count in times.values()) == asked - kept <= 4  # those whose answer never arrived


def test_a_real_server_that_ignores_schemas_makes_errors_and_no_labels(ignorant_server: IgnorantServer) -> None:
    chat = opened(ignorant_server.base_url, model=ignorant_server.model)
    budget = Budget()
    results = prelabel(["Ada met Bob"] * 2, [HEAD], chat, Shelf(), budget=budget, workers=1)
    assert chat.abilities is not None
    assert (chat.abilities.form, chat.abilities.logprobs) == ("plain", False)
    assert all(result and result.error and not result.spans["label"] for result in results)
    assert budget.spend().output_tokens > 0
