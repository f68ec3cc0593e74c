"""A sampler that enforces schemas and tells log-probabilities: what we ask for is what a real server understands.

Its model knows nothing, so whatever comes back under the schema is chance: what holds here holds for any model.
"""

import json
import math
from itertools import product

import pytest

from edgewise.labels.answers import NOTHING, Demonstration
from edgewise.labels.canaries import KINDS, canaries
from edgewise.labels.prompts import Questions
from edgewise.labels.quotes import windows
from edgewise.labels.schema import Head
from edgewise.labels.spans import Span
from edgewise.services.llm import Abilities, Budget, ChatRequest, ProviderChat, RequestRefused, option_probabilities
from llm_prelabel import Prelabel, prelabel
from tests.peers.conftest import Llama
from tests.test_llm_prelabel import Shelf

NAMES = Head("label", "text", "text", ("PER", "LOC", "PERSON"))
TONE = Head("tone", "text", "text", ("neg", "neutral", "ne"), kind="choice")
TOPICS = Head("topics", "text", "text", ("war", 'two "words"', "art"), kind="choices")
ALL = [NAMES, TONE, TOPICS]
TEXTS = [
    "Ada met Bob.",
    "Rome was not built in a day, said Ada to Bob, who was there.",
    "War! What is it good for?",
    "I hate this. Bob and Bob and Ada.",
    "art for the sake of art 京都 👩\u200d👩\u200d👧",
]


def ask(chat: ProviderChat, heads: list[Head], texts: list[str], **options: object) -> list[Prelabel]:
    """The pre-labels of texts, each of which must have an answer."""
    options = {"cache": Shelf(), "budget": Budget(), "workers": 2} | options
    results = prelabel(texts, heads, chat, options.pop("cache"), **options)  # type: ignore[arg-type]
    assert [result and result.error for result in results] == [None] * len(texts)
    return [result for result in results if result]


def test_the_probe_finds_a_strict_schema_and_log_probabilities(chat: ProviderChat) -> None:
    budget = Budget()
    assert chat.learn_abilities(budget) == Abilities("schema", logprobs=True, sampling=True)
    assert budget.spend().calls == 1
    assert budget.spend().input_tokens > 0


@pytest.mark.parametrize("heads", [[NAMES], [TONE], [TOPICS], ALL], ids=["spans", "choice", "choices", "all"])
def test_even_a_random_model_names_only_labels_and_says_how_sure_it_is(chat: ProviderChat, heads: list[Head]) -> None:
    results = ask(chat, heads, TEXTS)
    for text, result in zip(TEXTS, results, strict=True):
        spans = [(head, span) for head in heads for span in result.spans[head.from_name]]
        assert result.invalid == 0
        assert all(span.label in head.labels for head, span in spans)
        assert all(0 <= span.start < span.end <= len(text) for _, span in spans)
        assert all(span.score is not None and 0 <= span.score <= 1 for _, span in spans)
        assert result.confidence == min((span.score or 0.0 for _, span in spans), default=None)
        assert all(len(result.spans[head.from_name]) == 1 for head in heads if head.kind == "choice")
    assert any(result.confidence not in (None, 0.0, 1.0) for result in results)


def test_all_heads_are_one_call_each_text_and_the_second_run_asks_nothing(chat: ProviderChat) -> None:
    cache, budget = Shelf(), Budget()
    first = ask(chat, ALL, TEXTS, cache=cache, budget=budget)
    calls = budget.spend().calls
    longer = sum(len(result.answers) - 1 for result in first)  # an answer that was cut short is asked for once more
    assert calls == 1 + len(TEXTS) + longer
    again = ask(chat, ALL, TEXTS, cache=cache, budget=budget)
    assert budget.spend().calls == calls
    assert [result.cached for result in again] == [True] * len(TEXTS)
    for one, other in zip(first, again, strict=True):
        assert (one.spans, one.confidence) == (other.spans, other.confidence)
        scores = [[span.score for spans in result.spans.values() for span in spans] for result in (one, other)]
        assert scores[0] == scores[1]


def test_choices_are_answered_before_what_is_marked(chat: ProviderChat) -> None:
    (result,) = ask(chat, ALL, TEXTS[:1])
    assert list(json.loads(result.answers[-1].text)) == ["tone", "topics", "entities"]


@pytest.mark.parametrize("labels", [("neg", "neutral", "ne"), ("P", "PER", "PERSON"), ("n", "neu", "neutral", "neg")])
def test_labels_that_begin_alike_are_told_apart(chat: ProviderChat, labels: tuple[str, ...]) -> None:
    head = Head("tone", "text", "text", labels, kind="choice")
    prompt = Questions((head,)).about("Ada met Bob.")
    request = ChatRequest(chat.endpoint, chat.model, prompt.system, prompt.user, prompt.schema, prompt.max_tokens)
    answer = chat.ask(request, Budget())
    (at,) = prompt.codec.read(answer.text, "Ada met Bob.").label_at["tone"]
    assert at is not None
    sure = option_probabilities(answer, at, [f'{label}"' for label in labels])
    assert sure is not None
    assert math.isclose(sum(sure.values()), 1.0)
    assert sure[f'{json.loads(answer.text)["tone"]}"'] > 1 / 50
    assert len({round(value, 9) for value in sure.values()}) > 1


def test_a_choice_may_be_left_empty_where_people_did(chat: ProviderChat) -> None:
    examples = [Demonstration("Hm.", {}), Demonstration("Ha!", {"tone": (Span(0, 3, "ne"),)})]
    questions = Questions((TONE,))
    prompt = questions.about(TEXTS[0], examples)
    assert NOTHING in prompt.asked[0].options
    (result,) = ask(chat, [TONE], TEXTS[:1], demonstrations=lambda _: examples)
    assert result.confidence is not None
    assert 0 <= result.confidence <= 1


def test_a_long_text_is_labelled_in_windows(chat: ProviderChat) -> None:
    text = "Ada met Bob in Rome, and there was much talk of it all over the town for a day. " * 90
    assert len(windows(text)) == 2
    (result,) = ask(chat, [TONE, TOPICS], [text])
    assert len(result.answers) == 2
    assert [(span.start, span.end) for span in result.spans["tone"]] == [(0, len(text))]
    assert result.confidence is not None


def test_orders_in_a_text_change_no_label_that_is_not_allowed(chat: ProviderChat) -> None:
    found = canaries(TEXTS, ALL, len(KINDS))
    results = ask(chat, ALL, [one.text for one in found])
    for one, result in zip(found, results, strict=True):
        assert all(span.label in head.labels for head in ALL for span in result.spans[head.from_name])
        assert all(span.end <= len(one.text) for spans in result.spans.values() for span in spans)
        assert len(result.spans["tone"]) == 1


def test_a_model_that_only_babbles_is_an_error_and_no_label(chat: ProviderChat) -> None:
    (result,) = prelabel(TEXTS[:1], [TONE], chat, Shelf(), budget=Budget(), codec="tags", workers=1)
    assert result is not None
    assert result.error
    assert result.spans == {"tone": ()}


def test_a_text_that_is_too_long_for_the_server_costs_only_itself(chat: ProviderChat) -> None:
    endless = Demonstration("Ada " * 20_000, {"tone": (Span(0, 80_000, "ne"),)})
    results = prelabel(
        TEXTS[:2], [TONE], chat, Shelf(), budget=Budget(), demonstrations=lambda i: [endless] if i else [], workers=1
    )
    assert [bool(result and result.error) for result in results] == [False, True]


def test_what_the_server_cannot_do_is_said_no_to(chat: ProviderChat) -> None:
    request = ChatRequest(chat.endpoint, chat.model, "You label.", "Ada", {"type": "no such type"}, 10)
    with pytest.raises(RequestRefused):
        chat.ask(request, Budget())


def test_the_server_has_seen_both_slots_and_no_error(llama: Llama, chat: ProviderChat) -> None:
    ask(chat, [TONE], [f"{text} {i}" for text, i in product(TEXTS, range(3))])
    assert "what():" not in llama.log.read_text(errors="replace")
