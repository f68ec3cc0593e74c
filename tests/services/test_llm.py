"""One chat call: both vendors' protocols against aimock, odd servers of our own, and a budget under fire."""

import json
import logging
import math
import random
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from decimal import Decimal
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewise.errors import SettingsError
from edgewise.services.llm import (
    PROBE_USER,
    Abilities,
    Budget,
    BudgetSpent,
    ChatAnswer,
    ChatRequest,
    ModelRefused,
    ModelUnavailable,
    Price,
    ProviderChat,
    RequestRefused,
    Token,
    Usage,
    open_chat,
    option_probabilities,
    price_of,
    refuse_outside,
)
from edgewise.services.llm.calls import HIDDEN_TOKENS
from tests.http_stand_in import Answer, as_json, serving
from tests.llm_peers import Aimock, Json, aimock_fixture, aimock_server_fixture, answer, completion, stand_in

__all__ = ["aimock_fixture", "aimock_server_fixture"]

Provider = Literal["openai", "anthropic"]
BOTH = pytest.mark.parametrize("provider", ["openai", "anthropic"])
KEY = "sk-very-secret"
DOLLAR = Price(Decimal(1), Decimal(2))
SCHEMA: Json = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}


CHATS = ExitStack()


@pytest.fixture(autouse=True)
def closed_chats() -> Iterator[None]:
    """Chats keep connections: none outlives its test."""
    yield
    CHATS.close()


def opened(provider: Provider, model: str, **options: Any) -> ProviderChat:
    """A chat that is closed with the test."""
    return CHATS.enter_context(open_chat(provider, model, **options))


def chat_with(aimock: Aimock, provider: Provider = "openai", price: Price | None = DOLLAR) -> ProviderChat:
    return opened(provider, "some-model", base_url=aimock.base_url(provider), api_key=KEY, price=price)


def question(chat: ProviderChat, user: str = "Alice met Bob", schema: Json | None = SCHEMA) -> ChatRequest:
    return ChatRequest(chat.endpoint, chat.model, "You label.", user, schema, 100)


@BOTH
def test_a_question_is_answered_with_usage_and_cost(aimock: Aimock, provider: Provider) -> None:
    aimock.script(answer("Alice", '{"x": 1}', usage=(1000, 50)))
    chat, budget = chat_with(aimock, provider), Budget()
    got = chat.ask(question(chat), budget)
    assert (got.text, got.finish, got.usage, got.attempts, got.form) == (
        '{"x": 1}', "stop", Usage(1000, 50), 1, "schema",
    )  # fmt: skip
    assert got.cost_usd == Decimal("0.0011")
    probe, asked = aimock.journal()
    assert probe["body"]["messages"][-1]["content"] == PROBE_USER
    assert [message["role"] for message in asked["body"]["messages"]] == ["system", "user"]
    assert not asked["body"].get("tools")
    assert budget.spend().calls == 2
    assert ChatAnswer.from_json(json.loads(json.dumps(got.to_json()))) == got


@BOTH
def test_a_vendor_that_counts_no_tokens_costs_an_unknown_sum_and_never_nothing(
    aimock: Aimock, provider: Provider
) -> None:
    aimock.script(answer("Alice", "{}", usage=(0, 0)))
    chat, budget = chat_with(aimock, provider), Budget(usd=Decimal(1))
    got = chat.ask(question(chat), budget)
    assert (got.usage, got.cost_usd) == (None, None)
    spend = budget.spend()
    assert spend.unknown == 1
    assert spend.usd is not None
    assert spend.usd > DOLLAR.of(Usage(500, 100))  # the worst case


def test_a_vendors_own_address_has_list_prices_and_names_their_source() -> None:
    price = price_of("openai", "gpt-4o-mini")
    assert price == Price(Decimal("0.15"), Decimal("0.60"), Decimal("0.075"))
    assert price.source.startswith("genai-prices ")
    assert price.source.endswith(": gpt-4o-mini")
    assert price_of("openai", "gpt-4o-mini", "https://api.openai.com/v1/") == price
    assert price_of("anthropic", "claude-haiku-4-5") == Price(Decimal(1), Decimal(5), Decimal("0.1"))


@pytest.mark.parametrize(
    ("model", "base_url"),
    [
        ("no-such-model", None),
        ("", None),
        ("claude-haiku-4-5", None),
        ("ft:gpt-4o-mini:somebody::x", None),
        ("text-embedding-3-small", None),
        ("gpt-4o-mini", "http://127.0.0.1:8000/v1"),
        ("gpt-4o-mini", "http://api.openai.com/v1"),
        ("gpt-4o-mini", "https://api.openai.com.example.org/v1"),
        ("gpt-4o-mini", "https://somebody.openai.azure.com/openai/v1"),
    ],
)
def test_an_unknown_price_is_none_and_never_zero(model: str, base_url: str | None) -> None:
    assert price_of("openai", model, base_url) is None


@BOTH
def test_a_rate_limit_is_waited_out_as_long_as_it_says_and_counted(aimock: Aimock, provider: Provider) -> None:
    limited = {"match": {"userMessage": "Alice", "sequenceIndex": 0},
               "response": {"error": {"message": "slow down", "type": "rate_limit_error"}, "status": 429}}  # fmt: skip
    aimock.script(limited, answer("Alice", "{}", usage=(1000, 0)))
    chat, budget = chat_with(aimock, provider), Budget()
    chat.learn_abilities(budget)
    began = time.monotonic()
    got = chat.ask(question(chat), budget)
    assert time.monotonic() - began >= 1.0  # aimock says Retry-After: 1
    assert (got.attempts, budget.spend().calls) == (2, 3)
    assert got.latency_s < 1.0


@BOTH
@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_cannot_succeed_is_asked_once(aimock: Aimock, provider: Provider, status: int) -> None:
    aimock.script({"match": {"userMessage": PROBE_USER},
                   "response": {"error": {"message": f"key {KEY} is bad", "type": "x"}, "status": status}})  # fmt: skip
    chat = chat_with(aimock, provider)
    with pytest.raises(ModelRefused) as refused:
        chat.ask(question(chat), Budget())
    assert len(aimock.journal()) == 1
    assert KEY not in f"{refused.value!r} {refused.value}"


def test_a_used_up_quota_is_not_tried_again() -> None:
    error = {"error": {"message": "no money", "type": "insufficient_quota", "code": "insufficient_quota"}}
    with stand_in(lambda body: as_json(error, 429)) as (url, bodies):
        chat = opened("openai", "m", base_url=url)
        with pytest.raises(ModelRefused, match="insufficient_quota"):
            chat.ask(question(chat), Budget())
        assert len(bodies) == 1


def test_an_endpoint_that_fails_for_a_moment_is_asked_again(aimock: Aimock) -> None:
    aimock.script(answer("Alice", "{}"))
    chat, budget = chat_with(aimock), Budget()
    chat.learn_abilities(budget)
    aimock.fail_next(503)
    assert chat.ask(question(chat), budget).attempts == 2
    assert budget.spend().usd == DOLLAR.of(Usage(140, 26))  # failures of the vendor cost nothing


@pytest.mark.parametrize("chaos", ["malformedRate", "disconnectRate", "dropRate"])
def test_an_endpoint_that_never_answers_is_given_up_and_the_worst_is_assumed_of_its_bill(
    aimock: Aimock, chaos: str
) -> None:
    aimock.script(answer("Alice", "{}"))
    chat, budget = chat_with(aimock), Budget()
    chat.learn_abilities(budget)
    before = budget.spend()
    aimock.chaos(**{chaos: 1.0})
    tries = 3 if chaos == "dropRate" else 5  # dropped is answered with a 500
    with pytest.raises(ModelUnavailable, match=f"{tries} times"):
        chat.ask(question(chat), budget)
    after = budget.spend()
    assert after.calls - before.calls == tries
    assert before.usd is not None
    assert after.usd is not None
    request = question(chat)
    worst = DOLLAR.of(Usage(request.input_bytes + HIDDEN_TOKENS, request.max_tokens))
    assert after.usd - before.usd == (0 if chaos == "dropRate" else tries * worst)


def test_to_wait_longer_than_a_worker_can_is_said_at_once() -> None:
    limited = (429, {"Content-Type": "application/json", "Retry-After": "3600"}, b"{}")
    with stand_in(lambda body: limited) as (url, bodies):
        chat = opened("openai", "m", base_url=url)
        with pytest.raises(ModelUnavailable, match="3600 s"):
            chat.ask(question(chat), Budget())
        assert len(bodies) == 1


@BOTH
def test_a_limit_that_is_used_up_is_not_run_into(provider: Provider) -> None:
    def respond(method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        moments.append(time.monotonic())
        content = '{"label": "zeta"}'
        if provider == "openai":
            limits = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "400ms"}
            status, _, payload = as_json(completion(content))
        else:
            reset = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2))
            limits = {"anthropic-ratelimit-requests-remaining": "0", "anthropic-ratelimit-requests-reset": reset}
            status, _, payload = as_json({
                "id": "m", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
                "content": [{"type": "text", "text": content}], "usage": {"input_tokens": 9, "output_tokens": 9},
            })  # fmt: skip
        return status, {**limits, "Content-Type": "application/json"}, payload

    moments: list[float] = []
    with serving(respond) as url:
        chat = opened(provider, "m", base_url=f"{url}/v1" if provider == "openai" else url)
        chat.ask(question(chat), Budget())
    assert moments[1] - moments[0] >= 0.35


def forms(bodies: list[Json]) -> list[str]:
    """The forms that a server was asked in, in order, + for sampling arguments."""
    shapes = [body.get("response_format", {}) for body in bodies]
    names = [shape.get("type", "plain") + ("+schema" if "schema" in shape else "") for shape in shapes]
    return [name + ("+" if "temperature" in body else "") for name, body in zip(names, bodies, strict=True)]


def test_an_endpoint_that_ignores_schemas_with_a_200_is_noticed_and_said(caplog: pytest.LogCaptureFixture) -> None:
    with stand_in(lambda body: completion("Hello!")) as (url, bodies):
        chat = opened("openai", "m", base_url=url)
        with caplog.at_level(logging.WARNING):
            got = chat.ask(question(chat), Budget())
    assert forms(bodies) == ["json_schema+", "json_object+schema+", "json_object+", "plain+", "plain+"]
    assert got.form == "plain"
    assert "ignores or refuses JSON schemas" in caplog.text


@pytest.mark.parametrize("status", [400, 422])
def test_an_endpoint_that_refuses_arguments_is_asked_without_them(status: int) -> None:
    def picky(body: Json) -> Answer | Json:
        if "temperature" in body or body["response_format"]["type"] == "json_schema":
            return as_json({"error": {"message": "unknown", "code": "unsupported_value"}}, status)
        return completion('{"label": "kappa"}')

    with stand_in(picky) as (url, bodies):
        chat = opened("openai", "m", base_url=url)
        chat.ask(question(chat), Budget())
    assert forms(bodies)[:4] == ["json_schema+", "json_schema", "json_object+schema+", "json_object+schema"]
    assert chat.abilities == Abilities("object_schema", logprobs=False, sampling=False)


def test_a_server_that_crashes_on_a_schema_is_asked_in_another_form() -> None:
    def crashing(body: Json) -> Answer | Json:
        if body["response_format"]["type"] == "json_schema":
            return as_json({"error": {"message": "1 validation error for response_format"}}, 500)
        return completion('{"label": "kappa"}')

    with stand_in(crashing) as (url, _):
        chat = opened("openai", "m", base_url=url)
        assert chat.learn_abilities(Budget()).form == "object_schema"


def test_a_model_that_wants_another_name_for_its_limit_gets_it() -> None:
    def newer(body: Json) -> Answer | Json:
        if "max_tokens" in body:
            error = {"message": "Use max_completion_tokens", "param": "max_tokens", "code": "unsupported_parameter"}
            return as_json({"error": error}, 400)
        return completion('{"label": "kappa"}')

    with stand_in(newer) as (url, bodies):
        chat = opened("openai", "m", base_url=url)
        assert chat.learn_abilities(Budget()).form == "schema"
    assert [body.get("max_completion_tokens") for body in bodies] == [None, 256]


def test_a_model_that_refuses_all_it_is_asked_is_not_asked_by_each_task() -> None:
    with stand_in(lambda body: as_json({"error": {"message": "no"}}, 400)) as (url, _):
        chat = opened("openai", "m", base_url=url)
        with pytest.raises(ModelRefused, match="every form"):
            chat.ask(question(chat), Budget())


def test_an_endpoint_that_is_away_is_not_probed_by_each_thread() -> None:
    chat = opened("openai", "m", base_url="http://127.0.0.1:9/v1")
    budget = Budget()
    for _ in range(8):
        with pytest.raises(ModelUnavailable, match="cannot be reached"):
            chat.ask(question(chat), budget)
    assert budget.spend().calls == 5


def test_a_refused_question_says_why_by_its_code_only() -> None:
    def too_long(body: Json) -> Answer | Json:
        if body["messages"][-1]["content"] == PROBE_USER:
            return completion('{"label": "kappa"}')
        return as_json({"error": {"message": "Alice met Bob is too long", "code": "context_length_exceeded"}}, 400)

    with stand_in(too_long) as (url, _):
        chat = opened("openai", "m", base_url=url)
        with pytest.raises(RequestRefused, match="context_length_exceeded") as refused:
            chat.ask(question(chat), Budget())
    assert "Alice" not in str(refused.value)


@BOTH
def test_no_log_line_and_no_repr_holds_a_key_or_a_text(
    aimock: Aimock, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    aimock.script(answer("Alice", "a secret answer"))
    with caplog.at_level(logging.DEBUG):
        chat = chat_with(aimock, provider)
        chat.learn_abilities(Budget())
        aimock.fail_next(503, {"message": f"{KEY} Alice"})
        chat.ask(question(chat), Budget())
    ours = " ".join(record.getMessage() for record in caplog.records if not record.name.startswith("hypothesis"))
    assert "attempt 1 failed: status 503" in ours
    assert not any(secret in ours + repr(chat) for secret in (KEY, "Alice", "a secret answer"))


def test_every_part_of_a_question_changes_its_key() -> None:
    asked = ChatRequest("e", "m", "s", "u", {"a": 1, "b": 2}, 1)
    changes: list[dict[str, Any]] = [
        {"endpoint": "f"}, {"model": "n"}, {"system": "t"}, {"user": "v"}, {"schema": None}, {"max_tokens": 2},
    ]  # fmt: skip
    keys = {asked.cache_key, *(replace(asked, **change).cache_key for change in changes)}
    assert len(keys) == 7
    assert asked.cache_key == replace(asked, schema={"b": 2, "a": 1}).cache_key
    assert asked.cache_key.startswith("v1:")


# Budget


@BOTH
def test_a_budget_is_never_overrun_with_16_calls_in_flight(aimock: Aimock, provider: Provider) -> None:
    aimock.script(answer("Alice", "{}", usage=(500, 100)))
    chat = chat_with(aimock, provider)
    request = question(chat)
    worst = DOLLAR.of(Usage(request.input_bytes + HIDDEN_TOKENS, request.max_tokens))
    limit = worst * 5 / 2
    budget = Budget(usd=limit)
    chat.learn_abilities(budget)
    aimock.chaos(latencyMs=20)

    def ask(_: int) -> ChatAnswer | None:
        with suppress(BudgetSpent):
            return chat.ask(request, budget)
        return None

    with ThreadPoolExecutor(16) as pool:
        answers = [got for got in pool.map(ask, range(40)) if got]
    spend = budget.spend()
    assert spend.usd is not None
    assert spend.usd <= limit
    assert len(answers) == len(aimock.asked()) == spend.calls - 1
    assert 0 < len(answers) < 40


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 60))
def test_neither_dollars_nor_calls_are_overrun_whatever_calls_cost(seed: int, dollars: int, calls: int) -> None:
    budget = Budget(usd=Decimal(dollars), calls=calls)
    true_costs: list[Decimal] = []
    in_flight: list[int] = [0]
    lock = threading.Lock()

    def spend_some(number: int) -> None:
        chance = random.Random(seed + number)
        worst = Decimal(chance.randint(1, 60)) / 10
        with suppress(BudgetSpent):
            reservation = budget.reserve(worst)
            with lock:
                in_flight[0] += 1
            time.sleep(chance.random() / 2000)
            cost = worst * chance.randint(0, 100) / 100
            with lock:
                true_costs.append(cost)
                assert sum(true_costs) <= dollars
            budget.settle(reservation, cost if chance.random() < 0.7 else None, None)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(spend_some, range(60)))
    spend = budget.spend()
    assert spend.usd is not None
    assert spend.calls == len(true_costs) <= calls
    assert sum(true_costs) <= spend.usd <= dollars


def test_what_a_vendor_adds_to_prompts_is_learnt_before_money_is_set_aside(aimock: Aimock) -> None:
    probe = answer(PROBE_USER, '{"label": "zeta"}', usage=(3000, 5))  # a gateway with a long prompt of its own
    aimock.script(probe, answer("Alice", "{}", usage=(3000, 5)))
    chat = chat_with(aimock)
    budget = Budget(usd=Decimal("0.006"))
    chat.learn_abilities(budget)
    with pytest.raises(BudgetSpent):
        chat.ask(question(chat), budget)
    assert budget.spend().usd == Decimal("0.00301")


def test_an_unknown_price_leaves_only_the_budget_of_calls(aimock: Aimock) -> None:
    aimock.script(answer("Alice", "{}"))
    chat = chat_with(aimock, price=None)
    budget = Budget(usd=Decimal("0.000001"), calls=3)
    got = [chat.ask(question(chat), budget), chat.ask(question(chat), budget)]
    with pytest.raises(BudgetSpent, match="3 calls"):
        chat.ask(question(chat), budget)
    assert [one.cost_usd for one in got] == [None, None]
    assert budget.spend().usd is None


def test_dollars_without_a_price_and_without_a_limit_of_calls_are_refused(aimock: Aimock) -> None:
    chat = chat_with(aimock, price=None)
    with pytest.raises(SettingsError, match="price"):
        chat.ask(question(chat), Budget(usd=Decimal(1)))
    assert aimock.journal() == []


def test_cached_input_costs_what_its_price_says() -> None:
    price = Price(Decimal(10), Decimal(0), Decimal(1))
    assert price.of(Usage(1_000_000, 0, cached=600_000)) == Decimal("4.6")
    assert DOLLAR.of(Usage(1_000_000, 0, cached=600_000)) == 1


# Private


@pytest.mark.parametrize(
    "url",
    [
        None, "https://api.openai.com/v1", "http://127.0.0.1.example.com/v1", "http://localhost@example.com/",
        "http://localhost.example.com", "http://0.0.0.0:1", "http://user@localhost/", "ftp://localhost/",
        "http://localhost\\@example.com/", "http://[::1", "http://2130706433/", "http://10.0.0.1", "localhost:11434",
    ],
)  # fmt: skip
def test_private_refuses_whatever_is_not_this_machine(url: str | None) -> None:
    with pytest.raises(SettingsError, match="PRIVATE"):
        refuse_outside(url, private=True, allowed_hosts=("llm.intern",))
    refuse_outside(url, private=False, allowed_hosts=())


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/v1", "http://localhost:11434/v1", "http://[::1]:1/", "https://LLM.intern/v1"]
)
def test_private_lets_loopback_and_allowed_hosts_pass(url: str) -> None:
    refuse_outside(url, private=True, allowed_hosts=("llm.intern",))


def test_private_is_checked_before_a_chat_exists() -> None:
    with pytest.raises(SettingsError, match=r"api\.example\.com"):
        opened("openai", "m", base_url="https://api.example.com/v1", private=True)


CONNECTED: list[Any] = []
WATCHING = threading.Event()


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("socket.connect", "socket.getaddrinfo") and WATCHING.is_set():
        CONNECTED.append(arguments[1] if event == "socket.connect" else arguments[:2])


@pytest.fixture
def connections() -> Iterator[list[Any]]:
    """Every address that this process connects to or looks up."""
    if _watch not in HOOKED:
        HOOKED.append(_watch)
        sys.addaudithook(_watch)  # there is no way to remove one
    CONNECTED.clear()
    WATCHING.set()
    yield CONNECTED
    WATCHING.clear()


HOOKED: list[Any] = []


@BOTH
def test_in_private_nothing_but_the_endpoint_is_connected_to(
    aimock: Aimock, provider: Provider, connections: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    aimock.script(answer("Alice", "{}"))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://10.1.2.3/v1")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://10.1.2.3")
    connections.clear()
    chat = opened(provider, "m", base_url=aimock.base_url(provider), api_key=KEY, private=True)
    chat.ask(question(chat), Budget())
    port = int(aimock.url.rsplit(":", 1)[1])
    assert {tuple(address)[:2] for address in connections} == {("127.0.0.1", port)}


@BOTH
def test_a_redirect_is_not_followed(provider: Provider, connections: list[Any]) -> None:
    away = (307, {"Location": "http://127.0.0.1:9/v1/chat/completions"}, b"")
    with stand_in(lambda body: away) as (url, bodies):
        chat = opened(provider, "m", base_url=url, private=True)
        with pytest.raises(ModelRefused):
            chat.ask(question(chat), Budget())
    assert len(bodies) == 1
    assert not any(9 in tuple(address) for address in connections)


# Log-probabilities


def among(answer: ChatAnswer, at: int, labels: Sequence[str]) -> dict[str, float] | None:
    """How the belief is spread where a quotation mark ends a label."""
    found = option_probabilities(answer, at, [f'{label}"' for label in labels])
    return found and {option[:-1]: probability for option, probability in found.items()}


def told(text: str, *tokens: tuple[str, float, dict[str, float]]) -> ChatAnswer:
    """An answer made of tokens with their probability and that of alternatives."""
    made = tuple(
        Token(piece.encode(), math.log(p), tuple((other.encode(), math.log(q)) for other, q in top.items()))
        for piece, p, top in tokens
    )
    return ChatAnswer(text, "stop", None, None, 0.0, 1, "schema", "m", made)


LABELS = ("PER", "PERSON", "LOC")


def test_belief_is_renormalised_over_the_labels() -> None:
    said = told('"LOC"', ('"', 1, {}), ("LOC", 0.02, {"LOC": 0.02, "PER": 0.005, "<": 0.9}), ('"', 1, {}))
    sure = among(said, 1, ("PER", "LOC"))
    assert sure == pytest.approx({"PER": 0.2, "LOC": 0.8})


def test_labels_that_share_a_beginning_are_told_apart_further_on() -> None:
    said = told(
        '"PERSON"',
        ('"PER', 0.6, {'"PER': 0.6, '"LOC': 0.4, "PER": 0.5}),
        ("SON", 0.75, {"SON": 0.75, '"': 0.25}),
        ('"', 1.0, {}),
    )
    sure = among(said, 1, LABELS)
    assert sure == pytest.approx({"PER": 0.15, "PERSON": 0.45, "LOC": 0.4})


def test_a_label_that_is_never_seen_gets_the_least_that_was() -> None:
    said = told('"LOC"', ('"', 1, {}), ("LOC", 0.9, {"LOC": 0.9, "PER": 0.06, "x": 0.01}), ('"', 1, {}))
    sure = among(said, 1, ("PER", "LOC", "ORG"))
    assert sure == pytest.approx({"PER": 0.06 / 0.97, "LOC": 0.9 / 0.97, "ORG": 0.01 / 0.97})


def test_tokens_that_are_half_characters_still_fit_the_text() -> None:
    snow = "雪".encode()
    tokens = tuple(Token(piece, math.log(0.5)) for piece in (b'"', snow[:1], snow[1:], b'"', b" "))
    said = ChatAnswer('"雪"', "stop", None, None, 0.0, 1, "schema", "m", tokens)
    assert among(said, 1, ("雪", "火")) == pytest.approx({"雪": 0.5, "火": 0.5})


def test_half_a_character_in_an_answer_is_a_character_like_others() -> None:
    half = "\ud83d".encode("utf-8", "surrogatepass")
    tokens = (Token(half, 0.0), *(Token(piece, math.log(0.5)) for piece in (b'"', b"LOC", b'"')))
    assert among(ChatAnswer('\ud83d"LOC"', "stop", None, None, 0.0, 1, "schema", "m", tokens), 2, LABELS)
    assert among(ChatAnswer('\ud83d"LOC"', "stop", None, None, 0.0, 1, "schema", "m", None), 2, LABELS) is None


def test_what_a_server_cuts_off_around_an_answer_is_passed_over() -> None:
    said = told(
        '"LOC"', ("```json\n\t", 1, {}), ('"', 1, {}), ("LOC", 0.6, {"LOC": 0.6, "PER": 0.2}), ('"\n```', 1, {})
    )
    assert among(said, 1, ("PER", "LOC")) == pytest.approx({"PER": 0.25, "LOC": 0.75})


def test_tokens_that_do_not_fit_the_text_tell_nothing() -> None:
    assert among(told('"LOC"', ("other", 0.5, {})), 1, LABELS) is None
    assert among(replace(told('"LOC"'), tokens=None), 1, LABELS) is None
    assert among(told('"XYZ"', ('"', 1, {}), ("XYZ", 0.5, {}), ('"', 1, {})), 1, LABELS) is None


@given(st.permutations(LABELS), st.lists(st.integers(1, 5), min_size=1, max_size=6), st.floats(0.01, 0.99))
def test_beliefs_always_sum_to_one_however_a_label_is_cut_into_tokens(
    labels: list[str], cuts: list[int], p: float
) -> None:
    text, pieces, at = f'"{labels[0]}"', [], 0
    for cut in [*cuts, 100]:
        pieces.append(text[at : at + cut])
        at += cut
    said = told(text, *((piece, p, {piece: p, "zzz": (1 - p) / 2}) for piece in pieces if piece))
    sure = among(said, 1, labels)
    assert sure is not None
    assert sum(sure.values()) == pytest.approx(1)
    assert all(0 <= value <= 1 for value in sure.values())


def test_log_probabilities_of_an_endpoint_are_read() -> None:
    entries = [
        {"token": piece, "logprob": math.log(p), "bytes": list(piece.encode()),
         "top_logprobs": [{"token": "LOC", "logprob": math.log(0.1), "bytes": None}]}
        for piece, p in (('{"label": "', 0.9999), ("zeta", 0.5), ('"}', 0.9))
    ]  # fmt: skip
    with stand_in(lambda body: completion('{"label": "zeta"}', logprobs=entries)) as (url, bodies):
        chat = opened("openai", "m", base_url=url)
        got = chat.ask(question(chat), Budget())
    assert chat.abilities == Abilities("schema", logprobs=True, sampling=True)
    assert got.tokens is not None
    other = ((b"LOC", math.log(0.1)),)
    assert [token.top for token in got.tokens] == [(), other, other]  # none where the model is certain
    assert (bodies[0]["logprobs"], bodies[0]["temperature"]) == (True, 0)
    assert ChatAnswer.from_json(json.loads(json.dumps(got.to_json()))) == got


def test_masked_probabilities_without_a_logarithm_are_none() -> None:
    entries: list[Json] = [{"token": "x", "prob": 0.5, "bytes": [120], "top_probs": []}]
    with stand_in(lambda body: completion('{"label": "zeta"}', logprobs=entries)) as (url, _):
        chat = opened("openai", "m", base_url=url)
        assert not chat.learn_abilities(Budget()).logprobs
