"""What asking a language model about many tasks will take, from what some of them took.

Knows characters, tokens, dollars and seconds; nothing of models, prompts or tasks. What is unknown is None, never 0.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgewise.learning.llm_evaluation.intervals import Interval, total

KNOWN_SHARE = 0.9  # of a sample that must say what it took; else nobody knows


@dataclass(frozen=True, slots=True)
class Taken:
    """What one task took. characters: of its text; latency_s: of its calls, one after the other."""

    characters: int
    calls: int
    input_tokens: float | None = None
    output_tokens: float | None = None
    usd: float | None = None
    latency_s: float | None = None


@dataclass(frozen=True, slots=True)
class Typical:
    """Of the sampled tasks: mean, half of them and 95 % of them at most."""

    mean: float
    p50: float
    p95: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """What `tasks` tasks will take, from `sampled` ones; each amount with its 95 % interval, None if unknown.

    concurrency: how many calls were in flight on average, by which the hours are reckoned.
    """

    tasks: int
    sampled: int
    concurrency: float | None
    calls: Interval | None
    input_tokens: Interval | None
    output_tokens: Interval | None
    tokens: Interval | None
    usd: Interval | None
    hours: Interval | None


def forecast(sample: Sequence[Taken], characters: Sequence[float], *, concurrency: float | None) -> Forecast:
    """The forecast for texts of these lengths. Tasks that nobody was asked about (no calls) teach nothing."""
    asked = [one for one in sample if one.calls]

    def whole(amount: Callable[[Taken], float | None]) -> Interval | None:
        known = [(value, one.characters) for one in asked if (value := amount(one)) is not None]
        if len(known) < KNOWN_SHARE * len(asked) or not known:
            return None
        return total([value for value, _ in known], [length for _, length in known], characters)

    seconds = whole(lambda one: one.latency_s)
    return Forecast(
        tasks=len(characters),
        sampled=len(asked),
        concurrency=concurrency,
        calls=whole(lambda one: one.calls),
        input_tokens=whole(lambda one: one.input_tokens),
        output_tokens=whole(lambda one: one.output_tokens),
        tokens=whole(tokens_of),
        usd=whole(lambda one: one.usd),
        hours=_scaled(seconds, 1 / (3600 * concurrency)) if seconds and concurrency else None,
    )


def per_day(sample: Sequence[Taken], characters: Sequence[float], tasks: int, *, concurrency: float | None) -> Forecast:
    """The forecast for so many tasks like these; like those of the sample, where no others are left."""
    lengths = list(characters) or [one.characters for one in sample]
    typical = float(np.mean(lengths)) if lengths else 0.0
    return forecast(sample, [typical] * tasks, concurrency=concurrency)


def typical(values: Sequence[float | None]) -> Typical | None:
    """Mean and quantiles of what is known; None if too little is."""
    known = [value for value in values if value is not None]
    if not known or len(known) < KNOWN_SHARE * len(values):
        return None
    half, most = np.quantile(known, [0.5, 0.95])
    return Typical(float(np.mean(known)), float(half), float(most))


def tokens_of(taken: Taken) -> float | None:
    """In and out together."""
    if taken.input_tokens is None or taken.output_tokens is None:
        return None
    return taken.input_tokens + taken.output_tokens


def _scaled(amount: Interval, by: float) -> Interval:
    return Interval(amount.value * by, amount.low * by, amount.high * by)
