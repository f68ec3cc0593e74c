"""A question to a language model, its answer and its price, as plain values.

Knows no vendor, prompt or label. Money is Decimal US dollars. What is unknown is None, never 0: a price, a usage, a
probability.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from hashlib import blake2b
from typing import Any, Literal

Json = dict[str, Any]
Form = Literal["schema", "object_schema", "object", "plain"]  # how an answer's shape is asked for, strongest first
Finish = Literal["stop", "length", "refused"]

CERTAIN = 0.999  # a token as likely as this has no alternatives worth keeping


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A question to one model of one endpoint: all that can change the answer, and nothing else.

    schema: JSON schema of the answer, None for free text. max_tokens: the most that it may answer, reasoning included.
    """

    endpoint: str
    model: str
    system: str
    user: str
    schema: Mapping[str, Any] | None
    max_tokens: int

    @property
    def cache_key(self) -> str:
        """The same key only for the same question to the same model. `v1` changes when this form does."""
        canonical = json.dumps(asdict(self), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return "v1:" + blake2b(canonical.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

    @property
    def input_bytes(self) -> int:
        """No tokenizer makes more tokens of it, but for what the vendor adds."""
        schema = "" if self.schema is None else json.dumps(self.schema)
        return len((self.system + self.user + schema).encode("utf-8", "surrogatepass"))


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that a vendor counted. `cached` of the `input` were cheaper; `output` has the reasoning in it."""

    input: int
    output: int
    cached: int = 0


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a million tokens. Cached input costs as much as other input unless told otherwise.

    source: who says so, for people.
    """

    input: Decimal
    output: Decimal
    cached: Decimal | None = None
    source: str = field(default="settings", compare=False)

    def of(self, usage: Usage) -> Decimal:
        """What this usage costs."""
        cached = self.input if self.cached is None else self.cached
        fresh = usage.input - usage.cached
        return (fresh * self.input + usage.cached * cached + usage.output * self.output) / 1_000_000


@dataclass(frozen=True, slots=True)
class Token:
    """A token of an answer, as bytes: one may be half a character. top: likely (token, log-probability) pairs."""

    data: bytes
    logprob: float
    top: tuple[tuple[bytes, float], ...] = ()


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """What a model answered, and what that took.

    usage: None if the vendor did not say. cost_usd: None if usage or price is unknown. latency_s: of the attempt that
    came through; attempts: calls that were sent for it. form: how its shape was asked for. model: as the vendor names
    it. tokens: None without log-probabilities.
    """

    text: str
    finish: Finish
    usage: Usage | None
    cost_usd: Decimal | None
    latency_s: float
    attempts: int
    form: Form
    model: str
    tokens: tuple[Token, ...] | None = None

    def to_json(self) -> Json:
        """For a cache; `from_json` is the inverse."""
        record = asdict(self) | {"cost_usd": None if self.cost_usd is None else str(self.cost_usd)}
        if self.tokens is not None:
            record["tokens"] = [
                [t.data.decode("latin-1"), t.logprob, [[d.decode("latin-1"), p] for d, p in t.top]] for t in self.tokens
            ]
        return record

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "ChatAnswer":
        """An answer from a cache."""
        usage, cost, tokens = record["usage"], record["cost_usd"], record["tokens"]
        restored = {
            "usage": usage and Usage(**usage),
            "cost_usd": None if cost is None else Decimal(cost),
            "tokens": None
            if tokens is None
            else tuple(
                Token(d.encode("latin-1"), p, tuple((e.encode("latin-1"), q) for e, q in top)) for d, p, top in tokens
            ),
        }
        return cls(**{**record, **restored})


@dataclass(frozen=True, slots=True)
class Abilities:
    """What an endpoint honours for a model, by trying: the strongest form of asking, log-probabilities, and whether it
    can be told how to sample (temperature 0) at all.
    """

    form: Form
    logprobs: bool
    sampling: bool


def option_probabilities(answer: ChatAnswer, at: int, options: Sequence[str]) -> dict[str, float] | None:
    """How the model spread its belief over options, each with the sign that ends it, where `answer.text[at:]` is one.

    Log-probabilities of a constrained answer are those before the constraint, so they are made to sum to 1 over the
    options. Along the tokens of the answer each alternative counts for the options that it leads to; an option never
    seen gets the smallest probability that was. None without log-probabilities that fit the text and the options.
    """
    inside = _tokens_from(answer, at)
    if inside is None:
        return None
    before, tokens = inside
    mass = dict.fromkeys(options, 0.0)
    path, reached, open_options = b"", 1.0, list(options)
    for token in tokens:
        for data, probability in _alternatives(token, before):
            fitting = _leads_to(path, data, options)
            if data != token.data.removeprefix(before) or len(fitting) == 1:
                for option in fitting:
                    mass[option] += reached * probability / len(fitting)
        path, before = path + token.data.removeprefix(before), b""
        reached *= math.exp(token.logprob)
        open_options = [option for option in open_options if _leads_to(path, b"", [option])]
        if len(open_options) <= 1:
            break
    if len(open_options) != 1:
        return None
    floor = min((math.exp(p) for _, p in tokens[0].top), default=1 - math.exp(tokens[0].logprob))
    mass = {option: value or floor for option, value in mass.items()}
    return {option: value / sum(mass.values()) for option, value in mass.items()}


def _alternatives(token: Token, before: bytes) -> Iterator[tuple[bytes, float]]:
    """What might have stood for a token, the token itself included, with probabilities; without what it has before."""
    for data, logprob in {**dict(token.top), token.data: token.logprob}.items():
        if data.startswith(before) and data != before:
            yield data.removeprefix(before), math.exp(logprob)


def _tokens_from(answer: ChatAnswer, at: int) -> tuple[bytes, Sequence[Token]] | None:
    """The tokens from the one that holds character `at` on, and what that one has before it.

    Servers cut off what stands around an answer, as fences and blanks, and keep its tokens.
    """
    begin = b"".join(token.data for token in answer.tokens or ()).rfind(answer.text.encode("utf-8", "surrogatepass"))
    if not answer.tokens or begin < 0:
        return None
    start, place = begin + len(answer.text[:at].encode("utf-8", "surrogatepass")), 0
    for number, token in enumerate(answer.tokens):
        if place + len(token.data) > start:
            return token.data[: start - place], answer.tokens[number:]
        place += len(token.data)
    return None


def _leads_to(path: bytes, data: bytes, options: Sequence[str]) -> list[str]:
    """The options that can still come of `path` when `data` follows it."""
    read = path + data
    names = {option: option.encode() for option in options}
    return [option for option, name in names.items() if name.startswith(read) or read.startswith(name)]
