"""An evaluation of language models: who was compared on what, how well each did, what it takes, and what to do.

Pure: gold and answers in, a report out. As JSON it holds numbers, names and labels, and never a text.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from edgewise.labels.schema import Head
from edgewise.learning.llm_evaluation.advice import Comparison, advice
from edgewise.learning.llm_evaluation.effort import Effort, Outlook, effort
from edgewise.learning.llm_evaluation.intervals import LEVEL, difference
from edgewise.learning.llm_evaluation.scores import HeadScores, good_and_bad, pairs_of, scores
from edgewise.learning.llm_evaluation.values import Examined, Source

Json = dict[str, Any]

HEADER = (
    "who", "head", "tasks", "score", "95 %", "precision", "recall", "unplaced", "invalid", "errors", "flips",
    "tokens in", "tokens out", "USD per 1,000", "h per 1,000", "p50 s", "p95 s", "USD remaining", "h remaining",
)  # fmt: skip
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Report:
    """An evaluation. scores: source -> from_name -> scores; efforts: of candidates, by name; advice: sentences."""

    tasks: Json
    sources: tuple[Source, ...]
    scores: Mapping[str, Mapping[str, HeadScores]]
    efforts: Mapping[str, Effort]
    comparisons: tuple[Comparison, ...]
    advice: tuple[str, ...]

    def to_json(self) -> Json:
        """All of it as JSON: what is unknown or without a bound is null."""
        whole: Json = finite(
            {
                "tasks": self.tasks,
                "sources": [
                    {
                        "name": source.name,
                        "candidate": source.is_candidate,
                        "facts": dict(source.facts),
                        "heads": {name: asdict(one) for name, one in self.scores[source.name].items()},
                        "effort": asdict(self.efforts[source.name]) if source.is_candidate else None,
                    }
                    for source in self.sources
                ],
                "comparisons": [asdict(one) for one in self.comparisons],
                "advice": list(self.advice),
            }
        )
        return whole

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Header and rows, a row for each source and head, for a terminal."""
        return table(self.to_json())


def evaluate(
    examined: Sequence[Examined],
    heads: Sequence[Head],
    sources: Sequence[Source],
    outlook: Outlook,
    rng: np.random.Generator,
) -> Report:
    """Compare sources, candidates and others, on tasks that people labelled. Names of sources are unique."""
    found = {one.name: {head.from_name: scores(one, head, examined, rng) for head in heads} for one in sources}
    efforts = {one.name: effort(one, outlook, rng) for one in sources if one.is_candidate}
    compared = [pair for head in heads for pair in _comparisons(head, examined, sources, rng)]
    return Report(
        tasks=_tasks(examined),
        sources=tuple(sources),
        scores=found,
        efforts=efforts,
        comparisons=tuple(compared),
        advice=tuple(_advice(heads, found, compared, efforts)),
    )


def _comparisons(
    head: Head, examined: Sequence[Examined], sources: Sequence[Source], rng: np.random.Generator
) -> list[Comparison]:
    """Each candidate with each other source, on the tasks that both answered and nobody had been shown an answer to."""
    pairs = [pair for pair in combinations(sources, 2) if pair[0].is_candidate or pair[1].is_candidate]
    level = 1 - (1 - LEVEL) / max(1, len(sources) - 1)  # Bonferroni: each is compared with all others
    found = []
    for pair in pairs:
        both = [task for task in examined if all(one.answers_for(task.task_id, head.from_name) for one in pair)]
        first, second = (pairs_of(one, head, both).clean for one in pair)
        metric = "accuracy" if head.kind == "choice" else "F1"
        gap = difference(good_and_bad(second), good_and_bad(first), rng=rng, level=level)
        found.append(Comparison(head.from_name, metric, pair[0].name, pair[1].name, len(first.tasks), level, gap))
    return found


def _tasks(examined: Sequence[Examined]) -> Json:
    return {
        "examined": len(examined),
        "audit": sum(task.audit for task in examined),
        "seen_language_model": sum(task.seen == "language model" for task in examined),
        "seen_model": sum(task.seen == "model" for task in examined),
    }


def _advice(
    heads: Sequence[Head],
    found: Mapping[str, Mapping[str, HeadScores]],
    compared: Sequence[Comparison],
    efforts: Mapping[str, Effort],
) -> list[str]:
    told = []
    for head in heads:
        mine = {name: by_head[head.from_name] for name, by_head in found.items()}
        before = f"{head.from_name}: " if len(heads) > 1 else ""
        told += [before + sentence for sentence in advice(head.from_name, mine, compared, efforts)]
    return told


def table(report: Json) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows of a report as JSON, a row for each source and head."""
    return HEADER, [
        (source["name"], name, *_quality(one), *_effort(source["effort"]))
        for source in report["sources"]
        for name, one in source["heads"].items()
    ]


def _quality(one: Json) -> tuple[str, ...]:
    score = one["score"]
    return (
        str(one["tasks"]),
        "–" if score is None else f"{one['metric']} {score['value']:.3f}",
        "–" if score is None else f"{score['low']:.3f} to {score['high']:.3f}",
        f"{one['precision']:.3f}",
        f"{one['recall']:.3f}",
    )


def _effort(one: Json | None) -> tuple[str, ...]:
    if one is None:
        return ("",) * (len(HEADER) - 7)
    latency = one["latency_s"]
    return (
        f"{one['unplaced']:.1%}",
        f"{one['invalid']:.1%}",
        "–" if one["error_rate"] is None else f"{one['error_rate']['value']:.1%}",
        "–" if one["flips"] is None else f"{one['flips']['value']:.0%} of {one['planted']}",
        UNKNOWN if one["input_tokens"] is None else f"{one['input_tokens']['mean']:.0f}",
        UNKNOWN if one["output_tokens"] is None else f"{one['output_tokens']['mean']:.0f}",
        amount(one["usd"]),
        amount(one["hours"]),
        UNKNOWN if latency is None else f"{latency['p50']:.2f}",
        UNKNOWN if latency is None else f"{latency['p95']:.2f}",
        amount(one["remaining"]["usd"]),
        amount(one["remaining"]["hours"]),
    )


def amount(interval: Json | None) -> str:
    """A forecast for people, with its interval where there is one."""
    if interval is None:
        return UNKNOWN
    low, value, high = ("?" if interval[name] is None else _short(interval[name]) for name in ("low", "value", "high"))
    return value if low == high else f"{value} ({low} to {high})"


def _short(value: float) -> str:
    """Three figures that count, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def finite(value: Any) -> Any:
    """A value of dicts and sequences as JSON: numbers that JSON does not have are null."""
    if isinstance(value, dict):
        return {str(key): finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
