"""prelabel: a language model's answers for the open tasks, before there is a model, and beside it afterwards.

Resumable: an answer is paid for once and kept, and what a run has answered is not asked again. Its pre-labels serve as
the release until a trained version has passed its gate; they also stay under `llm-<n>`, seen when a task is opened.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import blake2b
from typing import Any

from edgewise.errors import Conflict
from edgewise.labels.regions import regions
from edgewise.labels.schema import Schema
from edgewise.labels.texts import text_of
from edgewise.services.jobs import Progress
from edgewise.services.llm import Budget, Price, ProviderChat, Spend, open_chat
from edgewise.services.store import Prelabelled, Project, Task
from edgewise.settings import Settings
from edgewise.verbs.scoring import readable
from edgewise.verbs.system import System, schema_of

CHUNK = 200
WORKERS = 8


@dataclass(frozen=True)
class Run:
    """One run of a language model over a project: its number, whom it asks and what it may spend."""

    system: System
    project: Project
    schema: Schema
    number: int
    told: str
    chat: ProviderChat
    budget: Budget
    before: dict[str, Any]  # what the run had spent before this process took it up

    @property
    def name(self) -> str:
        """What Label Studio sees in `model_version` of the predictions that only a person who opens a task sees."""
        return f"llm-{self.number}"


def prelabel(system: System, project: Project, progress: Progress) -> None:
    """Ask about every open task that this run has not answered, push what came back, and rank with it.

    Raises Conflict: no language model is set, or the labelling config has nothing to ask for.
    """
    schema = schema_of(project)
    if schema is None:
        raise Conflict("The labelling config has no labels to ask for.", "Add <Labels> that point at a <Text>.")
    with open_model(system.settings) as chat:
        run = open_run(system, project, schema, chat)
        answered = 0
        while ids := system.store.not_prelabelled(project.key, run.number, limit=CHUNK):
            answered += ask(run, ids, progress)
            if not system.store.prelabels(project.key, run.number, ids):
                break  # the budget is spent: what was answered stays, and the next run goes on
    # Counted, not remembered: who was killed after the last answer must show it all the same.
    kept = system.store.count_prelabelled(project.key, run.number)
    if kept != (system.by_key(project.key).llm or {}).get("shown", 0):
        note(run, shown=kept)
        system.queue.enqueue("rank", project.key)
    progress(1.0, f"{answered} tasks pre-labelled as {run.name}")


def open_model(settings: Settings) -> ProviderChat:
    """The language model that the settings name. Raises Conflict without one, SettingsError if PRIVATE forbids it."""
    if settings.llm_provider is None or not settings.llm_model:
        raise Conflict(
            "No language model is set.", "Set LLM_PROVIDER, LLM_MODEL and, for a model of your own, LLM_BASE_URL."
        )
    prices = settings.llm_price_input_usd, settings.llm_price_output_usd
    return open_chat(
        settings.llm_provider,
        settings.llm_model,
        base_url=settings.llm_base_url,
        api_key=settings.llm_api_key.get_secret_value(),
        price=Price(prices[0], prices[1]) if prices[0] is not None and prices[1] is not None else None,
        private=settings.private,
        allowed_hosts=settings.allowed_hosts,
    )


def open_run(system: System, project: Project, schema: Schema, chat: ProviderChat) -> Run:
    """The run to go on with: the last one if it asked the same model the same way, else the next."""
    instructions = system.store.instructions(project.key)
    told = instructions.text if instructions else ""
    how = "|".join([chat.endpoint, chat.model, schema.digest, told])
    digest = blake2b(how.encode(), digest_size=8).hexdigest()
    last = project.llm or {}
    if last.get("digest") != digest:
        last = {
            "run": last.get("run", 0) + 1,
            "digest": digest,
            "model": chat.model,
            "endpoint": chat.endpoint,
            "instructions": instructions.version if instructions else None,
            "at": datetime.now(UTC).isoformat(),
            "spend": {"usd": "0", "calls": 0, "input_tokens": 0, "output_tokens": 0},
        }
        system.store.update_project(project.key, llm=last)
    budget = what_is_left(system.settings, last["spend"])
    return Run(system, project, schema, last["run"], told, chat, budget, last["spend"])


def what_is_left(settings: Settings, spent: dict[str, Any]) -> Budget:
    """The budget less what the run has spent. What was unknown cannot be subtracted: then the calls must limit it."""
    usd, calls = settings.llm_budget_usd, settings.llm_budget_calls
    return Budget(
        usd=None if usd is None else max(Decimal(0), usd - Decimal(spent["usd"] or 0)),
        calls=None if calls is None else max(0, calls - spent["calls"]),
    )


def ask(run: Run, ids: Sequence[int], progress: Progress) -> int:
    """Pre-label these tasks; how many got an answer. Those that the budget did not reach stay for the next run."""
    store, key = run.system.store, run.project.key
    tasks = list(store.tasks(key, ids).values())
    good, bad = readable(run.schema, [task.data for task in tasks])
    store.set_problems(key, {tasks[position].task_id: what for position, what in bad.items()})
    kept = [tasks[position] for position in good]
    made = answers(run, kept, progress)
    store.save_prelabels(key, made)
    show(run, kept, made)
    return len(made)


def answers(run: Run, tasks: Sequence[Task], progress: Progress) -> list[Prelabelled]:
    """What the model says about tasks that every head can read, all heads together."""
    store, key = run.system.store, run.project.key
    found: dict[int, list[Any]] = {task.task_id: [] for task in tasks}
    results: dict[int, list[dict[str, Any]]] = {task.task_id: [] for task in tasks}
    for head in run.schema.heads:
        texts = [text_of(task.data, head) for task in tasks]
        said = run.system.prelabel(
            texts,
            head,
            run.chat,
            store.answers(key),
            budget=run.budget,
            instructions=run.told,
            workers=WORKERS,
            report=lambda done, spend: tell(run, progress, done, spend),
        )
        for task, text, one in zip(tasks, texts, said, strict=True):
            if one is not None:
                found[task.task_id].append(one)
                results[task.task_id].extend(regions(one.spans, head, text))
    whole = [task.task_id for task in tasks if len(found[task.task_id]) == len(run.schema.heads)]
    return [as_prelabelled(run, task, found[task], results[task]) for task in whole]


def as_prelabelled(run: Run, task: int, said: Sequence[Any], result: Sequence[dict[str, Any]]) -> Prelabelled:
    """One task's answers, kept together."""
    known = [one.confidence for one in said if one.confidence is not None]
    errors = [one.error for one in said if one.error is not None]
    return Prelabelled(
        task_id=task,
        run=run.number,
        result=tuple(result),
        confidence=min(known) if len(known) == len(said) else None,
        unplaced=sum(one.unplaced for one in said),
        error=errors[0] if errors else None,
    )


def tell(run: Run, progress: Progress, done: float, spend: Spend) -> None:
    """Progress with the live spend, which is written down at once: a killed run must not forget what it paid."""
    note(run, spend=total(run.before, spend))
    dollars = "unknown dollars" if spend.usd is None else f"{spend.usd:.4f} dollars"
    progress(0.9 * done, f"{run.name}: {spend.calls} calls, {dollars}")


def note(run: Run, **facts: Any) -> None:
    """Add to what the project knows of its last run."""
    known = dict(run.system.by_key(run.project.key).llm or {})
    run.system.store.update_project(run.project.key, llm=known | facts)


def total(before: dict[str, Any], spend: Spend) -> dict[str, Any]:
    """What the run has spent in all; dollars are None, unknown, as soon as any of it is."""
    usd = None if spend.usd is None or before["usd"] is None else str(Decimal(before["usd"]) + spend.usd)
    counts = {name: before[name] + getattr(spend, name) for name in ("calls", "input_tokens", "output_tokens")}
    return {"usd": usd, **counts}


def show(run: Run, tasks: Sequence[Task], made: Sequence[Prelabelled]) -> None:
    """Put the answers where somebody who opens a task sees them; never on audit tasks, and never twice."""
    audit = set() if run.system.settings.audit_prelabel else {task.task_id for task in tasks if task.audit}
    carried = run.system.studio.carrying(run.project.ls_id, run.name)
    run.system.studio.push_release(
        run.project.ls_id,
        run.name,
        [
            {"task": one.task_id, "result": list(one.result), "score": one.confidence or 0.0}
            for one in made
            if one.error is None and one.task_id not in audit | carried
        ],
    )
