"""plan: what the next run of the language model will take, from a small pilot, before anything else is spent.

The pilot asks about some tasks exactly as the run will: its answers are kept, so that the run does not pay for them
again, and what it spends counts to the run's budget. The report names sizes and sums, and never a text.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from edgewise.errors import Conflict
from edgewise.labels.prompts import Questions
from edgewise.labels.schema import Head
from edgewise.labels.texts import text_of
from edgewise.learning.llm_evaluation import Forecast, Taken, amount, finite, forecast, taken_in_all, typical
from edgewise.services.jobs import Progress
from edgewise.services.store import Project, Task
from edgewise.verbs.measuring.asking import Clock, taken_of
from edgewise.verbs.measuring.candidates import whole_number
from edgewise.verbs.measuring.remaining import length
from edgewise.verbs.prelabel import WORKERS, Run, by_field, open_model, open_run
from edgewise.verbs.spending import in_words, paid
from edgewise.verbs.system import System, schema_needed

KIND = "plan"
PILOT = 20
MOST_IN_PILOT = 500
HEADER = ("of", "tasks", "calls", "tokens in", "tokens out", "dollars", "hours")

Options = Mapping[str, Any]
Json = dict[str, Any]


@dataclass
class Pilot:
    """Some of the tasks that the run is to ask about, and what they took. lengths: of all of them, by task."""

    run: Run
    lengths: dict[int, int]
    tasks: list[Task]
    clock: Clock
    taken: dict[int, list[Taken]]  # by task, one for each field
    failed: set[int]

    @property
    def sample(self) -> dict[int, Taken]:
        """What each task took that was asked about whole."""
        fields = len(by_field(self.run.schema))
        return {task: taken_in_all(parts) for task, parts in self.taken.items() if len(parts) == fields}


def plan(system: System, project: Project, options: Options, progress: Progress) -> None:
    """Ask about a few tasks, and keep the report: calls, tokens, dollars and hours of all that the run has left.

    options: "tasks", how many the pilot asks about, 20 unless told otherwise. Raises Conflict: no language model is
    set, there are no labels to ask for, nothing is left to ask, or the budget does not reach for one task.
    """
    schema = schema_needed(project)
    size = max(1, whole_number(options, "tasks", PILOT, MOST_IN_PILOT))
    with open_model(system.settings) as chat:
        run = open_run(system, project, schema, chat, progress)
        pilot = ask(run, size)
    if not pilot.sample:
        raise Conflict("The budget does not reach for one task.", "Raise LLM_BUDGET_USD or LLM_BUDGET_CALLS.")
    made = content(pilot)
    report = system.store.begin_report(project.key, progress.job_id, KIND)
    system.store.update_report(project.key, report.id, spend=run.budget.total())
    system.store.finish_report(project.key, report.id, made)
    progress(1.0, made["advice"][0])


def ask(run: Run, size: int) -> Pilot:
    """Ask about some of the tasks as the run will. Raises Conflict when there are none."""
    lengths = waiting(run)
    if not lengths:
        raise Conflict("Nothing is left to ask the language model.", "Import tasks, or change how it is asked.")
    ids = drawn(lengths, size, np.random.default_rng(run.system.settings.seed))
    tasks = list(run.system.store.tasks(run.project.key, ids).values())
    pilot = Pilot(run, lengths, tasks, Clock(), {task.task_id: [] for task in tasks}, set())
    fields = by_field(run.schema)
    for number, name in enumerate(fields):
        ask_field(pilot, (name, fields[name]), (number, len(fields)))
    return pilot


def waiting(run: Run) -> dict[int, int]:
    """How long each task is that the run has yet to ask about; those that cannot be read are left out."""
    store, key = run.system.store, run.project.key
    count = store.count_not_prelabelled(key, run.number)
    tasks = store.tasks(key, store.not_prelabelled(key, run.number, limit=max(1, count)))
    found = {task_id: length(run.schema, task) for task_id, task in tasks.items()}
    return {task_id: one for task_id, one in found.items() if one is not None}


def drawn(lengths: Mapping[int, int], size: int, rng: np.random.Generator) -> list[int]:
    """So many tasks at random: one of each of so many equal parts, by length, so that no length is left to luck."""
    in_order = sorted(lengths, key=lambda task: (lengths[task], task))
    parts = np.array_split(np.array(in_order), min(size, len(in_order)))
    return sorted(int(rng.choice(part)) for part in parts)


def ask_field(pilot: Pilot, of: tuple[str, Sequence[Head]], part: tuple[int, int]) -> None:
    """Ask about one field of the tasks."""
    run, (name, heads), (number, parts) = pilot.run, of, part
    texts = [text_of(task.data, heads[0]) for task in pilot.tasks]
    repertoire = run.repertoires[name]
    began = time.monotonic()
    said = run.system.prelabel(
        texts,
        heads,
        run.chat,
        run.system.store.answers(run.project.key),
        budget=run.budget,
        instructions=run.told,
        demonstrations=lambda i: repertoire.demonstrations(repertoire.choose(texts[i])),
        codec=run.row.how["codec"],
        variants=run.row.how["variants"],
        workers=WORKERS,
        report=lambda done, _: run.progress((number + done) / parts, f"Pilot: {in_words(run.budget.total())}"),
    )
    pilot.clock.add(said, time.monotonic() - began)
    for task, text, one in zip(pilot.tasks, texts, said, strict=True):
        if one is not None:
            pilot.taken[task.task_id].append(taken_of(text, one, run.chat.price))
            pilot.failed |= {task.task_id} if one.error is not None else set()


def content(pilot: Pilot) -> Json:
    """The report as JSON. left: what the run will still take; whole: with what the pilot took."""
    sample = pilot.sample
    rest = [length for task, length in pilot.lengths.items() if task not in sample]
    left = forecast(list(sample.values()), rest, concurrency=pilot.clock.concurrency)
    took = taken_in_all(list(sample.values()))
    made = {
        "run": pilot.run.number,
        "how": pilot.run.row.how,
        "pilot": {"tasks": len(sample), "failed": len(pilot.failed), **asdict(took)},
        "concurrency": {"value": left.concurrency, "measured": pilot.clock.is_measured},
        "left": asdict(left),
        "whole": whole(left, took, len(pilot.lengths)),
        "per_task": {
            name: asdict(one) if (one := typical([getattr(taken, name) for taken in sample.values()])) else None
            for name in ("calls", "input_tokens", "output_tokens", "usd", "latency_s")
        },
        "prompt": prompt_size(pilot),
        "budget": reach(pilot, left),
        "spend": pilot.run.budget.total(),
    }
    plain: Json = finite(made | {"advice": advice(left, made)})
    return plain


def whole(left: Forecast, took: Taken, tasks: int) -> Json:
    """The forecast for all tasks, those of the pilot with what they took."""
    tokens = None
    if took.input_tokens is not None and took.output_tokens is not None:
        tokens = took.input_tokens + took.output_tokens
    known = {
        "calls": took.calls,
        "input_tokens": took.input_tokens,
        "output_tokens": took.output_tokens,
        "tokens": tokens,
        "usd": took.usd,
    }
    summed: Json = {"tasks": tasks}
    for name, spent in known.items():
        more = getattr(left, name)
        bounds = {} if more is None or spent is None else {k: v + spent for k, v in asdict(more).items()}
        summed[name] = bounds or None
    return summed


def prompt_size(pilot: Pilot) -> Json:
    """Characters of the question about a task of the pilot of middling length: never the text."""
    tasks = sorted(pilot.tasks, key=lambda task: pilot.lengths[task.task_id])
    task = tasks[len(tasks) // 2]
    sizes: Json = {"system": 0, "user": 0, "document": 0, "demonstrations": 0}
    for name, heads in by_field(pilot.run.schema).items():
        text = text_of(task.data, heads[0])
        repertoire = pilot.run.repertoires[name]
        shown = repertoire.demonstrations(repertoire.choose(text))
        prompt = Questions(tuple(heads), pilot.run.told, pilot.run.row.how["codec"]).about(text, shown)
        parts = {"system": len(prompt.system), "user": len(prompt.user), "document": len(text)}
        for part, size in (parts | {"demonstrations": len(shown)}).items():
            sizes[part] += size
    return sizes


def reach(pilot: Pilot, left: Forecast) -> Json:
    """What is left of the budget, and for how many of the remaining tasks that is enough; None: unknown or no limit."""
    settings, spent = pilot.run.system.settings, pilot.run.budget.total()
    gone = paid(spent)
    usd = settings.llm_budget_usd
    usd_left = None if usd is None or gone is None else max(Decimal(0), usd - gone)
    calls = settings.llm_budget_calls
    calls_left = None if calls is None else max(0, calls - spent["calls"])
    within = []
    for budget, each in ((usd_left, left.usd), (calls_left, left.calls)):
        if budget is not None and each is not None and each.value > 0:
            within.append(min(left.tasks, int(float(budget) / (each.value / left.tasks))))
    return {
        "usd_left": None if usd_left is None else str(usd_left),
        "calls_left": calls_left,
        "tasks": min(within, default=None),
    }


def advice(left: Forecast, made: Json) -> list[str]:
    """What the run will take, in words."""
    if not left.tasks:
        return ["The pilot has asked about all there is; the run will cost nothing more."]
    sums = {name: amount(finite(made["left"][name])) for name in ("calls", "tokens", "usd", "hours")}
    told = [
        f"{left.tasks} tasks left. Calls: {sums['calls']}; tokens: {sums['tokens']}; dollars: {sums['usd']}; "
        f"hours: {sums['hours']}."
    ]
    if left.usd is None:
        told.append("The price is unknown: set LLM_PRICE_INPUT_USD and LLM_PRICE_OUTPUT_USD to learn what it costs.")
    if made["budget"]["tasks"] is not None and made["budget"]["tasks"] < left.tasks:
        told.append(f"The budget reaches for about {made['budget']['tasks']} of them.")
    if made["pilot"]["failed"]:
        told.append(f"{made['pilot']['failed']} of {made['pilot']['tasks']} tasks of the pilot got no answer.")
    return told


def table(made: Json) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows of a plan as JSON, for a terminal."""
    rows = []
    for name in ("left", "whole"):
        one = made[name]
        parts = ("calls", "input_tokens", "output_tokens", "usd", "hours")
        sums = [amount(one[part]) if part in one else "" for part in parts]
        rows.append((name, str(one["tasks"]), *sums))
    return HEADER, rows
