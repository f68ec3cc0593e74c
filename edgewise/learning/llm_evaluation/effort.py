"""What one candidate took, and what it would take: errors, tokens, money, time, and the forecast for more.

Knows what answers took; nothing of what they say. What is unknown is None, never 0.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgewise.learning.llm_evaluation.forecast import Forecast, Taken, Typical, forecast, per_day, typical
from edgewise.learning.llm_evaluation.intervals import Interval, share
from edgewise.learning.llm_evaluation.values import Answer, Source

THOUSAND = 1000


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is still to be asked about: how long each remaining task is, and how many tasks come in a day."""

    characters: Sequence[int] = ()
    tasks_a_day: int = THOUSAND


@dataclass(frozen=True, slots=True)
class Effort:
    """Of one candidate. Shares are in [0, 1].

    unplaced, invalid: of all parts of answers; tasks_with_either: of the tasks. errors: why there was no answer, how
    often. flips: of the texts with an order to us planted in them, those that got other labels; None if none was.
    usd, hours: for 1,000 tasks like these.
    """

    answered: int
    error_rate: Interval | None
    errors: dict[str, int]
    unplaced: float
    invalid: float
    tasks_with_either: float
    flips: Interval | None
    planted: int
    calls: Typical | None
    input_tokens: Typical | None
    output_tokens: Typical | None
    latency_s: Typical | None
    usd: Interval | None
    hours: Interval | None
    remaining: Forecast
    a_day: Forecast


def effort(source: Source, outlook: Outlook, rng: np.random.Generator) -> Effort:
    """What a candidate's answers took; of whatever task, as asking costs the same for each."""
    answers = list(source.answers.values())
    taken = [answer.taken for answer in answers if answer.taken is not None and answer.taken.calls]
    failed = np.array([answer.error is not None for answer in answers], dtype=np.float64)
    flips = np.repeat([1.0, 0.0], [source.flipped, source.planted - source.flipped])
    thousand = per_day(taken, [], THOUSAND, concurrency=source.concurrency)
    return Effort(
        answered=len(answers),
        error_rate=share(failed, 1 - failed, rng=rng),
        errors=dict(Counter(answer.error for answer in answers if answer.error is not None).most_common()),
        **_left_out(answers),
        flips=share(flips, 1 - flips, rng=rng),
        planted=source.planted,
        calls=typical([one.calls for one in taken]),
        input_tokens=typical([one.input_tokens for one in taken]),
        output_tokens=typical([one.output_tokens for one in taken]),
        latency_s=typical([one.latency_s for one in taken]),
        usd=thousand.usd,
        hours=thousand.hours,
        remaining=forecast(taken, outlook.characters, concurrency=source.concurrency),
        a_day=per_day(taken, outlook.characters, outlook.tasks_a_day, concurrency=source.concurrency),
    )


def taken_in_all(parts: Sequence[Taken]) -> Taken:
    """What several questions about one task took together; unknown is what is unknown of any."""

    def together(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return sum(known) if len(known) == len(values) else None

    return Taken(
        characters=sum(one.characters for one in parts),
        calls=sum(one.calls for one in parts),
        input_tokens=together([one.input_tokens for one in parts]),
        output_tokens=together([one.output_tokens for one in parts]),
        usd=together([one.usd for one in parts]),
        latency_s=together([one.latency_s for one in parts]),
    )


def _left_out(answers: Sequence[Answer]) -> dict[str, float]:
    """How much of the answers was no use."""
    unplaced, invalid = sum(one.unplaced for one in answers), sum(one.invalid for one in answers)
    said = unplaced + invalid + sum(len(spans) for one in answers for spans in one.spans.values())
    tasks = sum(bool(one.unplaced or one.invalid) for one in answers)
    return {
        "unplaced": unplaced / said if said else 0.0,
        "invalid": invalid / said if said else 0.0,
        "tasks_with_either": tasks / len(answers) if answers else 0.0,
    }
