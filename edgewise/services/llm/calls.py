"""Calls to a language model that come through: what an endpoint honours, retries, pace, and the budget of each attempt.

Knows status codes no more than `vendors` tells: an attempt failed, or somebody said no. Knows no label and no prompt.
"""

import json
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, Literal, NoReturn, Protocol
from urllib.parse import urlsplit

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential

from edgewise.errors import EdgewiseError
from edgewise.services.llm.budget import Budget, refuse_outside
from edgewise.services.llm.values import Abilities, ChatAnswer, ChatRequest, Form, Json, Price, Usage
from edgewise.services.llm.vendors import (
    LONGEST_RETRY_AFTER_S,
    Anthropic,
    AttemptFailed,
    Call,
    ModelRefused,
    ModelUnavailable,
    OpenAI,
    RequestRefused,
    Vendor,
    until_reset_s,
)

log = logging.getLogger(__name__)

ATTEMPTS = 5
ATTEMPTS_OF_A_CRASH = 3  # a 500 is seldom a moment's weakness
HIDDEN_TOKENS = 600  # what vendors add to a prompt for its template and schema; more, if a usage shows more
LONGEST_PAUSE_S = 30.0
AWAY_S = 15.0  # so long other threads believe the one that could not reach the endpoint
VENDORS = {"openai": "https://api.openai.com/v1", "anthropic": "https://api.anthropic.com"}

PROBE_SYSTEM = "You greet people. Answer with one friendly word and never with JSON."
PROBE_USER = "Edgewise asks: hello?"
PROBE_SCHEMA: Json = {
    "type": "object",
    "properties": {"label": {"type": "string", "enum": ["zeta", "kappa"]}},
    "required": ["label"],
    "additionalProperties": False,
}
PROBE_TOKENS = 256


class Chat(Protocol):
    """A model of an endpoint that can be asked, by several threads at once."""

    endpoint: str
    model: str
    price: Price | None

    def ask(self, request: ChatRequest, budget: "Budget") -> ChatAnswer:
        """Ask once, with as many attempts as can help.

        Raises BudgetSpent; RequestRefused, a no to this question; ModelRefused, a no to all; ModelUnavailable.
        """
        ...


class Cache(Protocol):
    """What was paid for, kept. Several threads use it at once."""

    def get(self, key: str) -> Mapping[str, Any] | None:
        """The record under a key."""
        ...

    def put(self, key: str, record: Mapping[str, Any], texts: Sequence[str]) -> None:
        """Keep a record for good. texts: all that the question held, so that it goes when one of them is erased."""
        ...


def open_chat(
    provider: Literal["openai", "anthropic"],
    model: str,
    *,
    base_url: str | None = None,
    api_key: str = "",
    price: Price | None = None,
    private: bool = False,
    allowed_hosts: tuple[str, ...] = (),
    timeout_s: float = 120.0,
) -> "ProviderChat":
    """A chat with a model. "openai" is any endpoint that speaks its protocol; base_url None is the vendor's own.

    Raises SettingsError for an endpoint that PRIVATE forbids. Nothing is sent yet.
    """
    refuse_outside(base_url, private=private, allowed_hosts=allowed_hosts)
    for name in ("openai", "anthropic", "httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)  # below that they log what they send
    url = base_url or VENDORS[provider]
    kind = OpenAI if provider == "openai" else Anthropic
    return ProviderChat(kind(url, api_key, timeout_s, private=private), url, model, price)


class ProviderChat:
    """A model of an endpoint, asked by several threads at once; one pace and one set of abilities for all of them."""

    def __init__(self, vendor: Vendor, endpoint: str, model: str, price: Price | None) -> None:
        self.endpoint, self.model, self.price = endpoint, model, price
        self.abilities: Abilities | None = None
        self._vendor = vendor
        self._pace = _Pace()
        self._away: tuple[float, ModelUnavailable] | None = None  # until when not to probe, and why
        self._probing = threading.Lock()
        self._hidden_tokens = HIDDEN_TOKENS

    def __repr__(self) -> str:
        return f"ProviderChat({self.model!r} at {urlsplit(self.endpoint).hostname!r})"

    def __enter__(self) -> "ProviderChat":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its kept connections."""
        self._vendor.close()

    def ask(self, request: ChatRequest, budget: Budget) -> ChatAnswer:
        """Ask once; the first call also finds out what the endpoint honours. See `Chat.ask`."""
        abilities = self.learn_abilities(budget)
        form = abilities.form if request.schema else "plain"
        return self._ask(Call(request, form, abilities.sampling), budget)

    def learn_abilities(self, budget: Budget) -> Abilities:
        """What the endpoint honours: asked at the first call, by one thread, and known afterwards."""
        with self._probing:
            if self.abilities is None:
                if self._away and time.monotonic() < self._away[0]:
                    raise ModelUnavailable(*self._away[1].args)
                try:
                    self.abilities = self._probe(budget)
                except ModelUnavailable as error:
                    self._away = time.monotonic() + AWAY_S, error
                    raise
                if self.abilities.form != "schema":
                    log.warning("%r ignores or refuses JSON schemas: asked in the form %r.", self, self.abilities.form)
            return self.abilities

    def _probe(self, budget: Budget) -> Abilities:
        """Go down the forms until one is honoured. A 200 is no proof, so the question begs for another answer."""
        request = ChatRequest(self.endpoint, self.model, PROBE_SYSTEM, PROBE_USER, PROBE_SCHEMA, PROBE_TOKENS)
        refused: EdgewiseError | None = None
        for form in self._vendor.forms:
            for sampling in self._vendor.samplings:
                try:
                    answer = self._ask(Call(request, form, sampling), budget)
                except (RequestRefused, _AlwaysFails) as error:
                    refused = error
                    continue
                if _honours(answer, form):
                    return Abilities(form, answer.tokens is not None, sampling)
                break  # it takes the arguments and ignores the form
        raise ModelRefused(f"{self!r} refuses every form of question.", "See its log; correct LLM_MODEL.") from refused

    def _ask(self, call: Call, budget: Budget) -> ChatAnswer:
        attempts = Retrying(
            retry=retry_if_exception_type(AttemptFailed),
            stop=_enough,
            wait=_pause,
            before_sleep=self._log_retry,
            retry_error_callback=self._give_up,
        )
        for attempt in attempts:
            with attempt:
                answer = self._once(call, budget)
                number = attempt.retry_state.attempt_number
        return replace(answer, attempts=number)

    def _once(self, call: Call, budget: Budget) -> ChatAnswer:
        self._pace.wait()
        request = call.request
        most = Usage(request.input_bytes + self._hidden_tokens, request.max_tokens)
        worst = self.price.of(most) if self.price else None
        reservation = budget.reserve(worst)
        began = time.monotonic()
        cost: Decimal | None = None
        usage: Usage | None = None
        try:
            reply = self._vendor.send(call)
            usage = reply.usage
            if usage:
                self._hidden_tokens = max(self._hidden_tokens, usage.input - request.input_bytes)
            cost = self.price.of(usage) if self.price and usage else None
        except AttemptFailed as failure:
            cost = None if failure.billed else Decimal(0)
            self._pace.pause(failure.retry_after_s)
            raise
        except EdgewiseError:
            cost = Decimal(0)
            raise
        finally:
            budget.settle(reservation, cost, usage)
        self._pace.pause(until_reset_s(reply.headers))
        latency_s = time.monotonic() - began
        return ChatAnswer(reply.text, reply.finish, usage, cost, latency_s, 1, call.form, reply.model, reply.tokens)

    def _log_retry(self, state: RetryCallState) -> None:
        log.info("%r: attempt %d failed: %s.", self, state.attempt_number, _failure(state).why)

    def _give_up(self, state: RetryCallState) -> NoReturn:
        failure = _failure(state)
        kind = _AlwaysFails if failure.status == 500 else ModelUnavailable
        raise kind(
            f"The language model does not answer: {failure.why}, {state.attempt_number} times.",
            "See whether it is running and not overloaded; we try again by ourselves.",
        ) from None


class _AlwaysFails(ModelUnavailable):
    """Status 500 at every attempt: some servers crash on a form that they do not know."""


class _Pace:
    """A pause that all threads of a chat keep, as the vendor limits all of them together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._not_before = 0.0  # on the monotonic clock

    def pause(self, seconds: float | None) -> None:
        """Nothing is sent for so long, unless a longer pause is on already."""
        if seconds:
            with self._lock:
                self._not_before = max(self._not_before, time.monotonic() + min(seconds, LONGEST_RETRY_AFTER_S))

    def wait(self) -> None:
        """Sleep until sending is allowed."""
        while (left := self._not_before - time.monotonic()) > 0:
            time.sleep(left)


_BACK_OFF = wait_random_exponential(multiplier=0.5, max=LONGEST_PAUSE_S)


def _pause(state: RetryCallState) -> float:
    """Seconds until the next attempt; none if the vendor named a time, which the pace keeps for all threads."""
    return 0.0 if _failure(state).retry_after_s else _BACK_OFF(state)


def _enough(state: RetryCallState) -> bool:
    return state.attempt_number >= (ATTEMPTS_OF_A_CRASH if _failure(state).status == 500 else ATTEMPTS)


def _failure(state: RetryCallState) -> AttemptFailed:
    error = state.outcome and state.outcome.exception()
    assert isinstance(error, AttemptFailed)
    return error


def _honours(answer: ChatAnswer, form: Form) -> bool:
    """True if the probe's answer keeps the form. No text at all (all tokens went into reasoning) proves nothing."""
    if form == "plain" or not answer.text.strip():
        return True
    try:
        content = json.loads(answer.text)
    except ValueError:
        return False
    if form == "object":
        return isinstance(content, dict)
    return content in [{"label": label} for label in PROBE_SCHEMA["properties"]["label"]["enum"]]
