"""What the figures say, in plain sentences. Knows scores, differences and prices; nothing of how they were measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgewise.learning.llm_evaluation.effort import Effort
from edgewise.learning.llm_evaluation.intervals import Interval
from edgewise.learning.llm_evaluation.scores import HeadScores

FEWEST_TASKS = 30  # below, an interval is about as wide as what there is to tell
NEAR_ENOUGH = 0.02  # a score: of two that differ by less, surely, either will do


@dataclass(frozen=True, slots=True)
class Comparison:
    """How much better `first` is than `second` at a head, on the same tasks; both are names of sources.

    level: of the interval; higher where a source is compared with many, so that one of them is not found by luck.
    """

    head: str
    metric: str
    first: str
    second: str
    tasks: int
    level: float
    difference: Interval | None


def advice(
    head: str,
    scores: Mapping[str, HeadScores],
    comparisons: Sequence[Comparison],
    efforts: Mapping[str, Effort],
) -> list[str]:
    """What to do about one head. scores: by source, candidates first; efforts: of the candidates."""
    candidates = [name for name in scores if name in efforts and scores[name].score is not None]
    if not candidates:
        return ["There is nothing to tell: no labelled task was answered that has anything to find."]
    best = max(candidates, key=lambda name: _value(scores[name].score))
    most = scores[best].tasks
    told = [_how_good(name, scores[name]) for name in candidates[:1] if len(candidates) == 1]
    if most < FEWEST_TASKS:
        return [
            *told,
            f"Too few tasks: {most}. Label {FEWEST_TASKS - most} more that no language model has pre-labelled; "
            f"{FEWEST_TASKS} tell large differences apart.",
        ]
    mine = [one for one in comparisons if one.head == head and best in (one.first, one.second)]
    return [*told, *(_verdict(_from(best, one), efforts) for one in mine)]


def _from(best: str, one: Comparison) -> Comparison:
    """The same comparison, told from the side of `best`."""
    if one.first == best:
        return one
    found = one.difference
    turned = None if found is None else Interval(-found.value, -found.high, -found.low)
    return Comparison(one.head, one.metric, one.second, one.first, one.tasks, one.level, turned)


def _how_good(name: str, scores: HeadScores) -> str:
    assert scores.score is not None
    low, high = scores.score.low, scores.score.high
    return (
        f"{name}: {scores.metric} {scores.score.value:.2f} (95 % interval {low:.2f} to {high:.2f}) "
        f"on {scores.tasks} tasks."
    )


def _verdict(one: Comparison, efforts: Mapping[str, Effort]) -> str:
    interval = f"{100 * one.level:.3g} % interval"
    found = one.difference
    if one.tasks < FEWEST_TASKS or found is None:
        return f"{one.first} and {one.second} have {one.tasks} tasks in common: too few to compare."
    if found.low > 0 or found.high < 0:
        better, worse = (one.first, one.second) if found.low > 0 else (one.second, one.first)
        low, high = sorted((abs(found.low), abs(found.high)))
        return (
            f"{better} is better than {worse} by {abs(found.value):.2f} {one.metric} "
            f"({interval} {low:.2f} to {high:.2f}) on {one.tasks} tasks.{_nothing_to_pay(better, efforts)}"
        )
    told = f"({one.metric} {found.value:+.2f}, {interval} {found.low:+.2f} to {found.high:+.2f})"
    alike = "differ too little to matter" if _is_narrow(found) else "cannot be told apart"
    return f"{one.first} and {one.second} {alike} on {one.tasks} tasks {told}; {_cheaper(one, efforts)}."


def _is_narrow(found: Interval) -> bool:
    return found.low > -NEAR_ENOUGH and found.high < NEAR_ENOUGH


def _nothing_to_pay(better: str, efforts: Mapping[str, Effort]) -> str:
    return "" if better in efforts else " It costs nothing to ask: let it pre-label."


def _cheaper(one: Comparison, efforts: Mapping[str, Effort]) -> str:
    """Which of two equals to take."""
    if one.second not in efforts:
        return f"take {one.second}, which costs nothing to ask"
    first, second = efforts[one.first], efforts[one.second]
    if first.usd is not None and second.usd is not None:
        cheap, dear = sorted([(first.usd.value, one.first), (second.usd.value, one.second)])
        return f"take the cheaper, {cheap[1]}: {cheap[0]:.2f} against {dear[0]:.2f} dollars for 1,000 tasks"
    tokens = [(_tokens(effort), name) for effort, name in ((first, one.first), (second, one.second))]
    known = sorted((count, name) for count, name in tokens if count is not None)
    if len(known) == 2:
        return (
            f"their prices are unknown; {known[0][1]} takes fewer tokens, "
            f"{known[0][0]:.0f} against {known[1][0]:.0f} for a task"
        )
    return "their prices are unknown"


def _tokens(effort: Effort) -> float | None:
    if effort.input_tokens is None or effort.output_tokens is None:
        return None
    return effort.input_tokens.mean + effort.output_tokens.mean


def _value(interval: Interval | None) -> float:
    return -1.0 if interval is None else interval.value
