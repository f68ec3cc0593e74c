"""prelabel: a language model's answers for the open tasks, before there is a model, and beside it afterwards.

A run is how a language model is asked: endpoint, model, labels, instructions, form, and the demonstrations known when
it began. It is resumable: an answer is paid for once and kept, and what a run has answered is not asked again. So
people who go on labelling change nothing in a run; the next one learns from them. `prelabel` goes on with the last run
while that has something left to ask. It begins another when how to ask has changed, or when nothing is left and people
have labelled twice as many tasks as the run could learn from. Its pre-labels serve as the release until a trained
version has passed its gate; they also stay under `llm-<n>`, seen when a task is opened.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from hashlib import blake2b
from typing import Any
from urllib.parse import urlsplit

from edgewise.errors import Conflict
from edgewise.labels.answers import Demonstration
from edgewise.labels.regions import regions
from edgewise.labels.schema import Head, Schema
from edgewise.labels.texts import text_of
from edgewise.services.jobs import Progress
from edgewise.services.llm import Price, ProviderChat, Spend, open_chat
from edgewise.services.llm.prices import price_of
from edgewise.services.store import LlmRun, Prelabelled, Project, Task
from edgewise.settings import Settings
from edgewise.verbs.demonstrate import Repertoire, shots_of
from edgewise.verbs.disagreement import is_newer
from edgewise.verbs.pushing import push_predictions
from edgewise.verbs.scoring import readable
from edgewise.verbs.spending import NOTHING, WrittenBudget, in_words
from edgewise.verbs.system import System, schema_needed, source_of
from edgewise.verbs.trust import believed, calibrate, curve_of

log = logging.getLogger(__name__)
CHUNK = 200
WORKERS = 8  # calls in flight
FEWEST_NEW = 10  # labelled tasks that a run must not know for another one to be worth its price

Json = dict[str, Any]


@dataclass
class Run:
    """One run of a language model over a project: how it asks, whom, and what it may spend and show."""

    system: System
    project: Project
    schema: Schema
    row: LlmRun
    told: str
    chat: ProviderChat
    budget: WrittenBudget
    repertoires: dict[str, Repertoire]  # by field
    progress: Progress
    left: int  # tasks to ask about when the job began
    demonstrated: set[int]  # tasks that the run has shown
    answered: int = 0  # of those that were left
    carried: set[int] = field(default_factory=set)  # tasks that show the run's answer already

    @property
    def number(self) -> int:
        """The run's number in its project."""
        return self.row.run

    @property
    def name(self) -> str:
        """What Label Studio sees in `model_version` of the predictions that only a person who opens a task sees."""
        return f"llm-{self.number}"


def prelabel(system: System, project: Project, progress: Progress) -> None:
    """Ask about every open task that this run has not answered, push what came back, and rank with it.

    Labelled audit tasks are asked about as well, and first: they tell how far the run can be believed.
    Raises Conflict: no language model is set, or the labelling config has nothing to ask for.
    """
    schema = schema_needed(project)
    with open_model(system.settings) as chat:
        run = open_run(system, project, schema, chat, progress)
        run.carried = system.studio.carrying(project.ls_id, run.name)
        show(run, system.store.prelabelled(project.key, run.number))  # a process before this one may have been killed
        while ids := system.store.not_prelabelled(project.key, run.number, limit=CHUNK):
            if not ask(run, ids):
                break  # the budget is spent: what was answered stays, and who raises it goes on
            run.row = calibrate(system, project, schema, run.row)
            show(run, ids)
    finish(run)
    progress(1.0, f"{run.answered} tasks pre-labelled as {run.name}")


def finish(run: Run) -> None:
    """Let releases show what the run has answered, and leave the ranking to the queue."""
    if publish(run.system, run.project, run.row):
        run.system.queue.enqueue("rank", run.project.key)
    row = run.system.store.llm_run(run.project.key, run.number)
    log.info(
        "%s of project %s: sent to %s: %s; %s",
        run.name,
        run.project.key,
        row.how["host"],
        row.sent,
        in_words(row.spend),
    )


def publish(system: System, project: Project, row: LlmRun) -> bool:
    """Let releases show what a run has answered; whether that takes a ranking. Counted, not remembered: who was killed
    after the last answer must show it all the same."""
    store, key = system.store, project.key
    kept = store.count_prelabelled(key, row.run)
    shown = system.by_key(key).llm or {}
    facts = {
        "run": row.run,
        "shown": kept,
        "schema": row.schema_digest,
        "calibration": row.calibration,
    }
    if kept and any(shown.get(name) != value for name, value in facts.items()):
        store.update_project(key, llm=facts | {"at": datetime.now(UTC).isoformat()})
    return bool(kept) and is_behind(system, system.by_key(key))


def is_behind(system: System, project: Project) -> bool:
    """Whether the active release does not know what the language model has answered."""
    if project.active_release is None:
        return True
    release = system.store.release(project.key, project.active_release)
    return release.version != source_of(project) or is_newer(project, release)


def open_model(settings: Settings) -> ProviderChat:
    """The language model that the settings name. Raises Conflict without one, SettingsError if PRIVATE forbids it."""
    if settings.llm_provider is None or not settings.llm_model:
        raise Conflict(
            "No language model is set.", "Set LLM_PROVIDER, LLM_MODEL and, for a model of your own, LLM_BASE_URL."
        )
    return open_chat(
        settings.llm_provider,
        settings.llm_model,
        base_url=settings.llm_base_url,
        api_key=settings.llm_api_key.get_secret_value(),
        price=price_set(settings) or price_of(settings.llm_provider, settings.llm_model, settings.llm_base_url),
        private=settings.private,
        allowed_hosts=settings.allowed_hosts,
    )


def price_set(settings: Settings) -> Price | None:
    """The price that people have set."""
    given, taken = settings.llm_price_input_usd, settings.llm_price_output_usd
    return Price(given, taken) if given is not None and taken is not None else None


def open_run(system: System, project: Project, schema: Schema, chat: ProviderChat, progress: Progress) -> Run:
    """The run to go on with: the last one if it asked the same way and is not to be followed by another."""
    store, key = system.store, project.key
    row, told = row_of(system, project, schema, chat, progress.job_id)
    budget = WrittenBudget(system.settings, row.spend, lambda spend: store.update_llm_run(key, row.run, spend=spend))
    repertoires = {name: Repertoire(system, project, row, heads) for name, heads in by_field(schema).items()}
    left = store.count_not_prelabelled(key, row.run)
    demonstrated = store.demonstrated(key, row.run)
    return Run(system, project, schema, row, told, chat, budget, repertoires, progress, left, demonstrated)


def row_of(system: System, project: Project, schema: Schema, chat: ProviderChat, job: str) -> tuple[LlmRun, str]:
    """That run as it is written down, and the instructions in force."""
    store, key = system.store, project.key
    instructions = store.instructions(key)
    told = instructions.text if instructions else ""
    how = {
        "provider": system.settings.llm_provider,
        "host": host_of(chat.endpoint),
        "model": chat.model,
        "instructions": instructions.version if instructions else None,
        "codec": system.settings.llm_codec,
        "variants": system.settings.llm_variants,
        "demonstrations": system.settings.llm_demonstrations,
    }
    asks = [*(str(how[name]) for name in ("provider", "model", "codec", "variants", "demonstrations")), chat.endpoint]
    digest = blake2b("|".join([*asks, schema.digest, told]).encode(), digest_size=8).hexdigest()
    row = store.last_llm_run(key)
    if row is None or row.digest != digest or is_outgrown(system, project, schema, row, job):
        shots = shots_of(system, project, schema) if system.settings.llm_demonstrations else []
        number = row.run + 1 if row else 1
        fresh = LlmRun(number, digest, schema.digest, job, how | {"known": len(shots)}, dict(NOTHING), {})
        row = store.add_llm_run(key, fresh, shots)
    elif row.job != job:
        store.drop_failed(key, row.run)  # somebody asks again: perhaps what failed can succeed now
        store.update_llm_run(key, row.run, job=job)
    return row, told


def host_of(endpoint: str) -> str:
    """The machine that an endpoint is on, with its port: never credentials or a path."""
    parts = urlsplit(endpoint)
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)


def is_outgrown(system: System, project: Project, schema: Schema, row: LlmRun, job: str) -> bool:
    """Whether a run that has nothing left to ask is to be followed by one that knows more demonstrations.

    Never by the job that worked on it last, which may run again after it was killed. Twice as many: asking about
    everything again costs as much each time, so that the times must become rare.
    """
    if row.job == job or not system.settings.llm_demonstrations:
        return False
    if system.store.count_not_prelabelled(project.key, row.run):
        return False
    known, now = int(row.how["known"]), len(shots_of(system, project, schema))
    return now >= max(2 * known, known + FEWEST_NEW)


def by_field(schema: Schema) -> dict[str, list[Head]]:
    """The heads by the field that they read: those of one field are asked for together."""
    fields: dict[str, list[Head]] = {}
    for head in schema.heads:
        fields.setdefault(head.field, []).append(head)
    return fields


def ask(run: Run, ids: Sequence[int]) -> bool:
    """Pre-label these tasks; False if the budget reached none of those that can be read."""
    store, key = run.system.store, run.project.key
    tasks = list(store.tasks(key, ids).values())
    good, bad = readable(run.schema, [task.data for task in tasks])
    store.set_problems(key, {tasks[position].task_id: what for position, what in bad.items()})
    made = answers(run, [tasks[position] for position in good])
    store.save_prelabels(key, made)
    run.answered += len(made)
    run.demonstrated.update(task for one in made for task in one.shown)
    write_down(run)
    return bool(made) or not good


def answers(run: Run, tasks: Sequence[Task]) -> list[Prelabelled]:
    """What the model says about tasks that every head can read, all heads together."""
    fields = by_field(run.schema)
    found: dict[int, list[Prelabelled]] = {task.task_id: [] for task in tasks}
    for number, name in enumerate(fields):
        report = partial(tell, run, number * len(tasks) / len(fields), len(tasks) / len(fields))
        for one in answers_in(run, tasks, (name, fields[name]), report):
            found[one.task_id].append(one)
    return [together(parts) for parts in found.values() if len(parts) == len(fields)]


def tell(run: Run, before: float, size: float, done: float, _: Spend) -> None:
    """Progress with the live spend: a share done of so many tasks, after so many others of the same chunk."""
    share = (run.answered + before + size * done) / max(run.left, 1)
    run.progress(0.95 * min(1.0, share), f"{run.name}: {in_words(run.budget.total())}")


def answers_in(
    run: Run, tasks: Sequence[Task], of: tuple[str, Sequence[Head]], report: Callable[[float, Spend], None]
) -> list[Prelabelled]:
    """What the model says about one field of the tasks; those that the budget did not reach are missing."""
    name, heads = of
    texts = [text_of(task.data, heads[0]) for task in tasks]
    repertoire = run.repertoires[name]
    chosen: dict[int, list[int]] = {}  # by position of the text

    def demonstrations(position: int) -> Sequence[Demonstration]:
        chosen[position] = repertoire.choose(texts[position])
        return repertoire.demonstrations(chosen[position])

    said = run.system.prelabel(
        texts,
        heads,
        run.chat,
        run.system.store.answers(run.project.key),
        budget=run.budget,
        instructions=run.told,
        demonstrations=demonstrations,
        codec=run.row.how["codec"],
        variants=run.row.how["variants"],
        workers=WORKERS,
        report=report,
    )
    return [
        as_prelabelled(run, task, (heads, text, one), repertoire.tasks(chosen.get(position, ())))
        for position, (task, text, one) in enumerate(zip(tasks, texts, said, strict=True))
        if one is not None
    ]


def as_prelabelled(run: Run, task: Task, said: tuple[Sequence[Head], str, Any], shown: Sequence[int]) -> Prelabelled:
    """What the model says about one text, of which heads, as the store keeps it."""
    heads, text, one = said
    return Prelabelled(
        task_id=task.task_id,
        run=run.number,
        result=tuple(region for head in heads for region in regions(one.spans.get(head.from_name, ()), head, text)),
        confidence=one.confidence,
        unplaced=one.unplaced,
        error=one.error,
        shown=tuple(shown),
    )


def together(parts: Sequence[Prelabelled]) -> Prelabelled:
    """One task's answers about all its fields; an error of one is an error of all."""
    known = [one.confidence for one in parts if one.confidence is not None]
    error = next((one.error for one in parts if one.error is not None), None)
    return replace(
        parts[0],
        result=() if error else tuple(region for one in parts for region in one.result),
        confidence=min(known) if len(known) == len(parts) and not error else None,
        unplaced=sum(one.unplaced for one in parts),
        error=error,
        shown=tuple(sorted({task for one in parts for task in one.shown})),
    )


def write_down(run: Run) -> None:
    """What has gone to the model so far, in numbers; the run's row says to whom."""
    store, key = run.system.store, run.project.key
    tasks = store.count_prelabelled(key, run.number)
    sent = {
        "tasks": tasks,
        "texts": tasks * len(run.repertoires),
        "demonstrations": len(run.demonstrated),
        "failed": store.count_failed(key, run.number),
    }
    store.update_llm_run(key, run.number, sent=sent)


def show(run: Run, ids: Sequence[int]) -> None:
    """Put answers where somebody who opens a task sees them; never on audit tasks, and never twice."""
    store, key = run.system.store, run.project.key
    fresh = [task for task in ids if task not in run.carried]
    hidden = set() if run.system.settings.audit_prelabel else {i for i, t in store.tasks(key, fresh).items() if t.audit}
    curve = curve_of(run.row.calibration)
    made = [believed(one, curve) for one in store.prelabels(key, run.number, fresh).values() if one.error is None]
    predictions = [
        {"task": one.task_id, "result": list(one.result), "score": one.confidence}
        for one in made
        if one.task_id not in hidden
    ]
    push_predictions(run.system, run.project, run.name, predictions)
    run.carried |= set(fresh)
