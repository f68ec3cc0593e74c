"""The vendors' own SDKs: any OpenAI-compatible endpoint, and Anthropic. One attempt each, and what came of it.

Knows SDKs, status codes and rate-limit headers. Knows no retry, label or prompt. The SDKs' own retries are off, so that
each attempt is counted and paid for. No error of ours holds a key, a prompt or an answer; errors of the SDKs, which
quote what was sent, are not even chained.
"""

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Protocol
from urllib.parse import urlsplit

from edgewise.errors import EdgewiseError, Unavailable
from edgewise.services.llm.values import CERTAIN, ChatRequest, Finish, Form, Json, Token, Usage

LONGEST_RETRY_AFTER_S = 120.0  # told to wait longer, we say so instead of holding a worker
CONNECT_TIMEOUT_S = 5.0
TOP_TOKENS = 20


class ModelRefused(EdgewiseError):
    """The endpoint answers, and says no to whatever we ask: key, model, quota."""

    status = 409


class RequestRefused(EdgewiseError):
    """The endpoint says no to this one question: too long, against its rules, a form that it does not know."""

    status = 409


class ModelUnavailable(Unavailable):
    """No answer after all attempts, or told to come back much later."""


class AttemptFailed(Exception):
    """One attempt failed and another may not. billed: the vendor may have charged for it all the same."""

    def __init__(self, why: str, *, retry_after_s: float | None = None, billed: bool = False, status: int = 0) -> None:
        super().__init__(why)
        self.why, self.retry_after_s, self.billed, self.status = why, retry_after_s, billed, status


@dataclass(frozen=True, slots=True)
class Reply:
    """What an SDK brought back, in one shape for all."""

    text: str
    finish: Finish
    usage: Usage | None
    model: str
    tokens: tuple[Token, ...] | None
    headers: Mapping[str, str]


class Vendor(Protocol):
    """One of the SDKs. forms, samplings: what the probe tries, strongest first."""

    forms: tuple[Form, ...]
    samplings: tuple[bool, ...]

    def send(self, call: "Call") -> Reply:
        """One attempt. Raises AttemptFailed, RequestRefused, ModelRefused or ModelUnavailable, nothing else."""
        ...

    def close(self) -> None:
        """Close its kept connections."""
        ...


@dataclass(frozen=True, slots=True)
class Call:
    """A request in the form that the endpoint honours. sampling: temperature 0 and log-probabilities are asked for."""

    request: ChatRequest
    form: Form
    sampling: bool


class OpenAI:
    """Any endpoint of OpenAI's chat protocol."""

    forms: tuple[Form, ...] = ("schema", "object_schema", "object", "plain")
    samplings: tuple[bool, ...] = (True, False)

    def __init__(self, url: str, api_key: str, timeout_s: float, *, private: bool) -> None:
        import openai

        self._sdk = openai
        self._client = openai.OpenAI(
            api_key=api_key or "none",  # local servers want none, the SDK wants some
            base_url=url,
            timeout=openai.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S),
            max_retries=0,
            http_client=openai.DefaultHttpxClient(**_straight(private=private)),
        )
        # Reasoning models know only the new name, most other servers only the old one.
        own = (urlsplit(url).hostname or "").endswith((".openai.com", ".azure.com"))
        self._limit = "max_completion_tokens" if own else "max_tokens"

    def send(self, call: Call) -> Reply:
        request = call.request
        options: Json = {self._limit: request.max_tokens} | _response_format(call)
        if call.sampling:
            options |= {"temperature": 0, "logprobs": True, "top_logprobs": TOP_TOKENS}
        messages: Any = [{"role": "system", "content": request.system}, {"role": "user", "content": request.user}]
        try:
            raw = self._client.chat.completions.with_raw_response.create(
                model=request.model, messages=messages, **options
            )
            return self._read(raw.parse(), raw.headers)
        except self._sdk.BadRequestError as error:
            if error.param == self._limit == "max_tokens":
                self._limit = "max_completion_tokens"
                raise AttemptFailed("it wants another name for max_tokens") from None
            raise _meaning(error, self._sdk) from None
        except (self._sdk.OpenAIError, *_UNREADABLE) as error:
            raise _meaning(error, self._sdk) from None

    def close(self) -> None:
        """Close its kept connections."""
        self._client.close()

    def _read(self, completion: Any, headers: Mapping[str, str]) -> Reply:
        choice = completion.choices[0]
        ends: dict[str, Finish] = {"stop": "stop", "length": "length"}
        finish = ends.get(choice.finish_reason, "refused")
        if choice.message.refusal:
            finish = "refused"
        details = completion.usage and completion.usage.prompt_tokens_details
        usage = completion.usage and _usage(
            completion.usage.prompt_tokens, completion.usage.completion_tokens, (details and details.cached_tokens) or 0
        )
        tokens = _tokens((choice.logprobs and choice.logprobs.content) or ())
        return Reply(choice.message.content or "", finish, usage, completion.model, tokens, headers)


class Anthropic:
    """Anthropic's messages. They have no log-probabilities and take no temperature."""

    forms: tuple[Form, ...] = ("schema", "plain")
    samplings: tuple[bool, ...] = (False,)

    def __init__(self, url: str, api_key: str, timeout_s: float, *, private: bool) -> None:
        import anthropic

        self._sdk = anthropic
        self._client = anthropic.Anthropic(
            api_key=api_key or "none",
            base_url=url,
            timeout=anthropic.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S),
            max_retries=0,
            open_telemetry=False,
            http_client=anthropic.DefaultHttpxClient(**_straight(private=private)),
        )

    def send(self, call: Call) -> Reply:
        request = call.request
        config: Any = {"format": {"type": "json_schema", "schema": request.schema}}
        try:
            raw = self._client.messages.with_raw_response.create(
                model=request.model,
                max_tokens=request.max_tokens,
                system=request.system,
                messages=[{"role": "user", "content": request.user}],
                **({"output_config": config} if call.form == "schema" else {}),
            )
            return self._read(raw.parse(), raw.headers)
        except (self._sdk.AnthropicError, *_UNREADABLE) as error:
            raise _meaning(error, self._sdk) from None

    def close(self) -> None:
        """Close its kept connections."""
        self._client.close()

    def _read(self, message: Any, headers: Mapping[str, str]) -> Reply:
        text = "".join(block.text for block in message.content if block.type == "text")
        ends: dict[str, Finish] = {"end_turn": "stop", "stop_sequence": "stop", "refusal": "refused"}
        cached = message.usage.cache_read_input_tokens or 0
        written = message.usage.cache_creation_input_tokens or 0
        usage = _usage(message.usage.input_tokens + cached + written, message.usage.output_tokens, cached)
        return Reply(text, ends.get(message.stop_reason, "length"), usage, message.model, None, headers)


# What reading a body that is no answer raises in the SDKs: no JSON, a list for an object, no choices.
_UNREADABLE = (ValueError, TypeError, AttributeError, LookupError)


def _straight(*, private: bool) -> Json:
    """An HTTP client that goes nowhere but where it is told: no redirects; no proxy to this machine or if private."""
    loopback = dict.fromkeys(("all://localhost", "all://127.0.0.1", "all://[::1]"))
    return {"follow_redirects": False, "trust_env": not private, "mounts": loopback}


def _response_format(call: Call) -> Json:
    schema = call.request.schema
    forms: dict[Form, Json] = {
        "schema": {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}},
        "object_schema": {"type": "json_object", "schema": schema},
        "object": {"type": "json_object"},
    }
    return {"response_format": forms[call.form]} if call.form in forms else {}


def _usage(given: int, answered: int, cached: int) -> Usage | None:
    """None for zeros, which servers that do not count report."""
    return Usage(given, answered, cached) if given and answered is not None else None


def _tokens(content: Any) -> tuple[Token, ...] | None:
    """Tokens with their log-probabilities; None if any lacks one, as under llama.cpp's `post_sampling_probs`."""
    tokens = []
    for entry in content:
        if entry.logprob is None:
            return None
        sure = entry.logprob > math.log(CERTAIN)
        top = () if sure else tuple((_bytes(t), t.logprob) for t in entry.top_logprobs if t.logprob is not None)
        tokens.append(Token(_bytes(entry), entry.logprob, top))
    return tuple(tokens) or None


def _bytes(entry: Any) -> bytes:
    return bytes(entry.bytes) if entry.bytes is not None else entry.token.encode("utf-8", "surrogatepass")


def _meaning(error: Exception, sdk: Any) -> Exception:
    """What an SDK's error means for us: worth another attempt, or no to this question, or no to all of them."""
    if isinstance(error, sdk.APITimeoutError):
        return AttemptFailed("no answer in time", billed=True)
    if isinstance(error, sdk.APIConnectionError):
        unsent = "Connect" in type(error.__cause__).__name__
        return AttemptFailed("it cannot be reached" if unsent else "the connection broke", billed=not unsent)
    if isinstance(error, sdk.APIStatusError):
        return _refusal(error.status_code, _code(error.body), error.response.headers)
    return AttemptFailed("its answer cannot be read", billed=True)


def _refusal(status: int, code: str, headers: Mapping[str, str]) -> Exception:
    said = f"status {status}{f' ({code})' if code else ''}"
    again = status in (408, 409, 429) or status >= 500
    if headers.get("x-should-retry") in ("true", "false"):
        again = headers["x-should-retry"] == "true"
    retry_after_s = _retry_after_s(headers)
    if again and code not in _NO_MONEY:
        if retry_after_s and retry_after_s > LONGEST_RETRY_AFTER_S:
            return ModelUnavailable(
                f"The language model says {said}: not for {retry_after_s:.0f} s.", "Wait, or slow down."
            )
        return AttemptFailed(said, retry_after_s=retry_after_s, status=status)
    if status in (400, 413, 422):
        return RequestRefused(f"The language model refuses a question: {said}.", "See its documentation for the code.")
    return ModelRefused(
        f"The language model's endpoint says no: {said}.", "Correct LLM_API_KEY, LLM_MODEL and LLM_BASE_URL."
    )


_NO_MONEY = {"insufficient_quota", "billing_error", "billing_hard_limit_reached"}


def _code(body: object) -> str:
    """The error's own code, if it looks like one: texts may quote what was sent."""
    inner = body.get("error", body) if isinstance(body, dict) else None
    code = (inner.get("code") or inner.get("type")) if isinstance(inner, dict) else None
    return code if isinstance(code, str) and re.fullmatch(r"[a-z0-9_.-]{1,60}", code) else ""


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    with suppress(KeyError, ValueError):
        return float(headers["retry-after-ms"]) / 1000
    with suppress(KeyError, ValueError):
        return float(headers["retry-after"])
    with suppress(KeyError, ValueError):
        return (parsedate_to_datetime(headers["retry-after"]) - datetime.now(UTC)).total_seconds()
    return None


def until_reset_s(headers: Mapping[str, str]) -> float | None:
    """How long nothing is left of a limit, by the headers of a good answer: OpenAI's spans, Anthropic's times."""
    waits = [
        _span_s(headers.get(f"x-ratelimit-reset-{what}", ""))
        for what in ("requests", "tokens")
        if headers.get(f"x-ratelimit-remaining-{what}") == "0"
    ]
    for what in ("requests", "tokens", "input-tokens", "output-tokens"):
        if headers.get(f"anthropic-ratelimit-{what}-remaining") == "0":
            with suppress(KeyError, ValueError):
                until = datetime.fromisoformat(headers[f"anthropic-ratelimit-{what}-reset"])
                waits.append((until - datetime.now(UTC)).total_seconds())
    return max(waits, default=None)


def _span_s(text: str) -> float:
    """Seconds of OpenAI's "6m0s", "1.5s" or "20ms"; 0 for anything else."""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s)", text))
