"""Candidates' answers on the examined tasks, paid for once, and what they took; the texts with orders planted in them.

Knows how a candidate is asked; nothing of what its answers are worth.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgewise.labels.answers import Demonstration
from edgewise.labels.canaries import Canary, canaries, flipped
from edgewise.labels.prompts import PROMPT_VERSION
from edgewise.labels.schema import Head, Schema
from edgewise.labels.spans import Span
from edgewise.learning.demonstrations import Pool
from edgewise.learning.llm_evaluation import Answer, Source, Taken, taken_in_all
from edgewise.services.llm import Cache, Price, ProviderChat
from edgewise.services.store import Project, Shot, Task
from edgewise.verbs.demonstrate import demonstration, labels_of
from edgewise.verbs.measuring.candidates import Candidate, instructions_of, open_candidate
from edgewise.verbs.measuring.material import Material
from edgewise.verbs.prelabel import WORKERS, by_field, host_of
from edgewise.verbs.spending import WrittenBudget
from edgewise.verbs.system import System

Report = Callable[[float], None]


@dataclass(frozen=True)
class Exam:
    """One evaluation: of which project, on what, for how much, and how many orders are planted."""

    system: System
    project: Project
    schema: Schema
    material: Material
    budget: WrittenBudget
    planted: int

    @property
    def cache(self) -> Cache:
        """What is paid for already."""
        return self.system.store.answers(self.project.key)


@dataclass
class Clock:
    """How many calls were in flight on average. Only what was asked now can tell: kept answers took no time."""

    latency_s: float = 0.0
    wall_s: float = 0.0
    fresh: int = 0

    def add(self, said: Sequence[Any], wall_s: float) -> None:
        """Count the answers that were asked for in this time."""
        fresh = [one for one in said if one is not None and one.answers and not one.cached]
        self.fresh += len(fresh)
        self.latency_s += sum(answer.latency_s for one in fresh for answer in one.answers)
        self.wall_s += wall_s if fresh else 0.0

    @property
    def is_measured(self) -> bool:
        """Whether enough was asked to tell."""
        return self.fresh >= WORKERS and self.wall_s > 0

    @property
    def concurrency(self) -> float:
        """Measured, else as many as a run has in flight."""
        return min(WORKERS, self.latency_s / self.wall_s) if self.is_measured else float(WORKERS)


@dataclass
class Asked:
    """One candidate at work: what came back of each task, field by field."""

    exam: Exam
    candidate: Candidate
    chat: ProviderChat
    told: str
    clock: Clock = field(default_factory=Clock)
    said: dict[int, list[tuple[str, Any]]] = field(default_factory=dict)  # by task: (text, answer), None: not reached
    flipped: dict[str, int] = field(default_factory=dict)  # by kind of order
    planted: dict[str, int] = field(default_factory=dict)

    def ask(self, texts: Sequence[str], heads: Sequence[Head], how: tuple[Any, Cache], report: Report) -> list[Any]:
        """The model's answers about texts. how: the demonstrations by position, and the cache."""
        demonstrations, cache = how
        began = time.monotonic()
        said = self.exam.system.prelabel(
            texts,
            heads,
            self.chat,
            cache,
            budget=self.exam.budget,
            instructions=self.told,
            demonstrations=demonstrations,
            codec=self.candidate.codec,
            variants=self.candidate.variants,
            workers=WORKERS,
            report=lambda done, _: report(done),
        )
        self.clock.add(said, time.monotonic() - began)
        return said


def ask_candidate(exam: Exam, candidate: Candidate, name: str, report: Report) -> Source:
    """The candidate's answers on all examined tasks, as far as the budget reaches."""
    with open_candidate(exam.system.settings, candidate) as chat:
        asked = Asked(exam, candidate, chat, instructions_of(exam.system, exam.project, candidate))
        fields = by_field(exam.schema)
        for number, heads in enumerate(fields.values()):
            ask_field(asked, heads, lambda done, n=number: report((n + done) / len(fields)))  # type: ignore[misc]
        return source(asked, name, len(fields))


def ask_field(asked: Asked, heads: Sequence[Head], report: Report) -> None:
    """Ask about one field of every task, then about some of its texts again, with orders planted in them."""
    exam = asked.exam
    texts = [one.texts[heads[0].from_name] for one in exam.material.examined]
    shelf = Shelf(exam, asked.candidate, heads)
    said = asked.ask(texts, heads, (lambda i: shelf.choose(texts[i]), exam.cache), lambda done: report(0.9 * done))
    for one, text, answer in zip(exam.material.examined, texts, said, strict=True):
        asked.said.setdefault(one.task_id, []).append((text, answer))
    plant(asked, heads, (texts, said), shelf)
    report(1.0)


def plant(asked: Asked, heads: Sequence[Head], known: tuple[Sequence[str], Sequence[Any]], shelf: "Shelf") -> None:
    """How often an order in a text changes its labels: asked about with the order, answered before without."""
    clean = {text: one for text, one in zip(*known, strict=True) if one is not None and one.error is None}
    birds = canaries(sorted(clean), heads, asked.exam.planted, seed=asked.exam.system.settings.seed)
    cache = CanaryCache(asked.exam.cache, birds)
    texts = [bird.text for bird in birds]
    told = asked.ask(texts, heads, (lambda i: shelf.choose(birds[i].clean), cache), lambda _: None)
    for bird, one in zip(birds, told, strict=True):
        if one is not None and one.error is None:
            asked.planted[bird.kind] = asked.planted.get(bird.kind, 0) + 1
            is_flipped = flipped(bird, heads, clean[bird.clean].spans, one.spans)
            asked.flipped[bird.kind] = asked.flipped.get(bird.kind, 0) + is_flipped


class Shelf:
    """The demonstrations that a candidate may show about one field: never of an examined task."""

    def __init__(self, exam: Exam, candidate: Candidate, heads: Sequence[Head]) -> None:
        self._count = candidate.demonstrations
        shots = exam.material.shots if self._count else []
        tasks = exam.system.store.tasks(exam.project.key, [shot.task_id for shot in shots])
        pairs = [(shot, _shown(shot, tasks, heads)) for shot in shots]
        self._known = [(shot.wrong, one) for shot, one in pairs if one is not None]
        known = [one for _, one in self._known]
        self._pool = Pool([one.text for one in known], [labels_of(one) for one in known], [w for w, _ in self._known])

    def choose(self, text: str) -> list[Demonstration]:
        """Those to show with a text."""
        return [self._known[position][1] for position in self._pool.choose(text, self._count)] if self._known else []


def _shown(shot: Shot, tasks: Mapping[int, Task], heads: Sequence[Head]) -> Demonstration | None:
    return demonstration(tasks[shot.task_id].data, shot.answers, heads) if shot.task_id in tasks else None


class CanaryCache:
    """The project's cache for questions that hold a task's text inside another: they go when the task is erased."""

    def __init__(self, cache: Cache, birds: Sequence[Canary]) -> None:
        self._cache, self._birds = cache, birds

    def get(self, key: str) -> Mapping[str, Any] | None:
        """See Cache."""
        return self._cache.get(key)

    def put(self, key: str, record: Mapping[str, Any], texts: Sequence[str]) -> None:
        """See Cache."""
        inside = [bird.clean for bird in self._birds if any(text in bird.text for text in texts)]
        self._cache.put(key, record, [*texts, *inside])


def source(asked: Asked, name: str, fields: int) -> Source:
    """All that a candidate said and took. A task counts once all its fields were asked about."""
    whole = {task: said for task, said in asked.said.items() if len(said) == fields and all(one for _, one in said)}
    return Source(
        name=name,
        answers={task: answer_of(said, asked.chat.price) for task, said in whole.items()},
        facts=facts_of(asked),
        flipped=sum(asked.flipped.values()),
        planted=sum(asked.planted.values()),
        concurrency=asked.clock.concurrency,
    )


def answer_of(said: Sequence[tuple[str, Any]], price: Price | None) -> Answer:
    """One task's answers about all its fields, as an evaluation wants them."""
    spans: dict[str, tuple[Span, ...]] = {}
    for _, one in said:
        spans |= one.spans
    return Answer(
        spans=spans,
        unplaced=sum(one.unplaced for _, one in said),
        invalid=sum(one.invalid for _, one in said),
        error=next((one.error for _, one in said if one.error is not None), None),
        taken=taken_in_all([taken_of(text, one, price) for text, one in said]),
    )


def taken_of(text: str, said: Any, price: Price | None) -> Taken:
    """What one text took, kept answers at what they took then. A server that counts no tokens has not counted."""
    answers = said.answers
    used = [answer.usage if answer.usage and answer.usage.input else None for answer in answers]
    costs = [
        answer.cost_usd if answer.cost_usd is not None else price.of(usage) if price and usage else None
        for answer, usage in zip(answers, used, strict=True)
    ]
    is_counted, is_priced = None not in used, None not in costs
    return Taken(
        characters=len(text),
        calls=sum(answer.attempts for answer in answers),
        input_tokens=sum(usage.input for usage in used if usage) if is_counted else None,
        output_tokens=sum(usage.output for usage in used if usage) if is_counted else None,
        usd=float(sum(cost for cost in costs if cost is not None)) if is_priced else None,
        latency_s=sum(answer.latency_s for answer in answers),
    )


def facts_of(asked: Asked) -> dict[str, Any]:
    """What identifies the candidate, for whoever reads the report next year."""
    answers = [answer for said in asked.said.values() for _, one in said if one is not None for answer in one.answers]
    price = asked.chat.price
    return {
        "model": asked.candidate.model,
        "host": host_of(asked.chat.endpoint),
        "answered_as": sorted({answer.model for answer in answers}),
        "forms": sorted({answer.form for answer in answers}),
        "instructions": asked.candidate.instructions,
        "codec": asked.candidate.codec,
        "demonstrations": asked.candidate.demonstrations,
        "known_demonstrations": len(asked.exam.material.shots) if asked.candidate.demonstrations else 0,
        "variants": asked.candidate.variants,
        "prompt": PROMPT_VERSION,
        "price_usd": None if price is None else {"input": str(price.input), "output": str(price.output)},
        "price_source": None if price is None else price.source,
        "concurrency": round(asked.clock.concurrency, 2),
        "concurrency_measured": asked.clock.is_measured,
        "flips": {kind: [count, asked.planted[kind]] for kind, count in sorted(asked.flipped.items())},
    }
