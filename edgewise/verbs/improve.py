"""improve: the language model and a small model teach each other, round after round (FreeAL): learning/freeal.

Round 0 is what `prelabel` does. In each round after it a small model, taught on the language model's labels, finds out
which of them to believe; the language model is asked again about the others, shown believed ones as examples. A round
is a run of its own with a release of its own; what is in doubt comes first in people's order. Whoever is killed,
cancelled or out of budget goes on with the round that was not done, and pays for no answer twice.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgewise.errors import Conflict
from edgewise.labels.schema import Schema
from edgewise.learning.freeal import State, rounds
from edgewise.learning.freeal.learners import learner_for, rules_for
from edgewise.services import jobs
from edgewise.services.jobs import Progress
from edgewise.services.mirror import round_message
from edgewise.services.store import Improvement, LlmRun, Project
from edgewise.verbs.improving.annotator import Asking, Means, OutOfBudget
from edgewise.verbs.improving.leaving import States, line_of, prelabels_of, shots_of
from edgewise.verbs.improving.pool import Part, Pool, pool_of
from edgewise.verbs.measuring.candidates import whole_number
from edgewise.verbs.prelabel import open_model, prelabel, publish
from edgewise.verbs.rank import rank
from edgewise.verbs.spending import WrittenBudget, between
from edgewise.verbs.spending import in_words as spent_in_words
from edgewise.verbs.system import System, schema_needed

KIND = "improve"
ITERATIONS, MOST_ITERATIONS = 3, 20
FEWEST = 20  # tasks; fewer teach nothing
ASKED_ONCE, PLAYED = 0.4, 0.95  # of the work: after round 0, and after the others
SHOWN = 10  # examples with a question, where LLM_DEMONSTRATIONS says none
LOOK_EVERY_S = 0.2
MORE_BUDGET = "raise LLM_BUDGET_USD or LLM_BUDGET_CALLS and run `improve` again: nothing is paid for twice"

log = logging.getLogger(__name__)
Json = dict[str, Any]
Options = Mapping[str, Any]


def improve(system: System, project: Project, options: Options, progress: Progress) -> None:
    """Play the rounds and keep the report, which is listed from the first one on.

    options: "iterations", rounds at most after round 0; default 3. Raises Conflict without a language model, a label
    to ask for or twenty tasks; InputError for options that cannot be; ModelUnavailable and ModelRefused.
    """
    iterations = max(1, whole_number(options, "iterations", ITERATIONS, MOST_ITERATIONS))
    prelabel(system, project, progress.within(0, ASKED_ONCE))
    schema, row = schema_needed(project), system.store.last_llm_run(project.key)
    assert row is not None
    left = system.store.count_not_prelabelled(project.key, row.run)
    if left:
        progress(1.0, f"The budget ended in round 0 with {left} tasks to ask about: {MORE_BUDGET}.")
        return
    course = open_course(system, project, schema, row, progress)
    try:
        play(course, iterations)
    except OutOfBudget:
        progress(1.0, f"The budget ended in round {len(course.improvement.rounds)}: {MORE_BUDGET}.")
        return
    prelabel(system, project, progress.within(PLAYED, 1.0))  # nothing is left to ask: who opens a task sees the labels
    progress(1.0, in_words(course.improvement))


@dataclass
class Course:
    """An improvement at work. row: the run of its last round."""

    system: System
    project: Project
    progress: Progress
    pool: Pool
    row: LlmRun
    improvement: Improvement

    @property
    def played(self) -> int:
        """Rounds that are done, round 0 not counted."""
        return len(self.improvement.rounds) - 1


def open_course(system: System, project: Project, schema: Schema, row: LlmRun, progress: Progress) -> Course:
    """The improvement to go on with: the last one if it has not ended and nobody has asked anew since."""
    store, key = system.store, project.key
    pool = pool_of(system, project, schema)
    if len(pool.tasks) < FEWEST:
        raise Conflict(f"There are {len(pool.tasks)} tasks: too few to learn from.", f"It takes {FEWEST}.")
    known = store.improvement(key)
    if known is None or known.rounds[-1]["run"] != row.run or (known.ended and known.id != progress.job_id):
        asked, failed = int(row.sent.get("tasks", 0)), int(row.sent.get("failed", 0))
        states = {part.head.from_name: replace(pool.state(part, 0), asked=asked, failed=failed) for part in pool.parts}
        first = line_of(pool, states, row.run, system.settings.seed) | {"spend": row.spend}
        known = store.begin_improvement(key, Improvement(progress.job_id, dict(row.spend), (first,)))
    course = Course(system, project, progress, pool, row, known)
    show(course)  # again, if a process before this one was killed before it could
    return course


def play(course: Course, iterations: int) -> None:
    """The rounds that are left, each kept and shown before the next one begins. Raises OutOfBudget."""
    system, key = course.system, course.project.key
    told = system.store.told(key, course.row.how["instructions"] or 0)
    budget = WrittenBudget(
        system.settings, course.improvement.spend, lambda spend: system.store.update_improvement(key, spend=spend)
    )
    with open_model(system.settings) as chat:
        means = Means(system, course.project, course.row, told.text if told else "", chat, budget)
        players = {part.head.from_name: player(course, means, part, iterations) for part in course.pool.parts}
        states = {name: played.begins for name, played in players.items()}
        while course.improvement.ended is None:
            spent = budget.total()
            states = {name: played.next(states[name]) for name, played in players.items()}
            keep(course, states, [played.asking for played in players.values()], (spent, budget.total()))
            show(course)


@dataclass(frozen=True)
class Player:
    """A head's rounds, from where they go on, and who is asked in them."""

    begins: State
    asking: Asking
    coming: Iterator[State]

    def next(self, state: State) -> State:
        """The head's next state; a head that has ended stays as it is."""
        self.asking.asked = ()
        return replace(state, asked=0, failed=0, changed=0) if state.ended else next(self.coming)


def player(course: Course, means: Means, part: Part, iterations: int) -> Player:
    """The rounds of a head from where it stands."""
    settings, heads = course.system.settings, len(course.pool.parts)
    number = course.pool.parts.index(part)

    def report(done: float) -> None:
        share = (course.played + (number + done) / heads) / iterations
        words = f"round {course.played + 1}, {part.head.from_name}: {spent_in_words(means.budget.total())}"
        course.progress(ASKED_ONCE + (PLAYED - ASKED_ONCE) * min(1.0, share), words)

    report(0.0)
    base, length = settings.baseline_model_name, settings.max_sequence_length
    learner = learner_for(part.head, part.texts, base, max_length=length, seed=settings.seed)
    most = settings.llm_demonstrations or SHOWN
    rules = rules_for(part.head, iterations=iterations, shown=most, seed=settings.seed)
    begins, asking = course.pool.state(part, course.played), Asking(means, part, report)
    return Player(begins, asking, rounds(begins, asking, learner, part.human, rules))


def keep(course: Course, states: States, asked: Sequence[Asking], spent: tuple[Json, Json]) -> None:
    """Write the round down, all of it or nothing. spent: before it and after."""
    store, key, pool = course.system.store, course.project.key, course.pool
    number = course.row.run + 1
    shown = {i: near for one in asked for i, near in one.shown.items()}
    shots, made = shots_of(pool, states), prelabels_of(pool, states, number, shown)
    line = line_of(pool, states, number, course.system.settings.seed) | {"spend": between(*spent)}
    sent = {
        "tasks": len({i for one in asked for i in one.asked}),
        "texts": sum(state.asked for state in states.values()),
        "demonstrations": len(shots),
        "failed": sum(one.error is not None for one in made),
    }
    how = course.row.how | {"known": len(shots), "round": line["round"]}
    row = replace(
        course.row, run=number, job=course.progress.job_id, how=how, spend=line["spend"], sent=sent, calibration=None
    )
    over = all(state.ended for state in states.values())
    ended = " ".join(dict.fromkeys(str(state.ended) for state in states.values())) if over else None
    lines = (*course.improvement.rounds, line)
    store.keep_round(key, row, shots, made, rounds=lines, ended=ended, spend=spent[1])
    course.row = row
    course.improvement = replace(course.improvement, rounds=lines, ended=ended, spend=spent[1])
    log.info("improve of project %s: round %s is %s: %s", key, line["round"], row.run, spent_in_words(spent[1]))


def show(course: Course) -> None:
    """Let Label Studio, the report and MLflow's mirror follow the last round. Again is harmless."""
    system, key, improvement = course.system, course.project.key, course.improvement
    if publish(system, course.project, course.row):
        rank_now(system, key, course.progress)
    report = system.store.begin_report(key, course.progress.job_id, KIND)
    content = {"rounds": list(improvement.rounds), "ended": improvement.ended, "spend": improvement.spend}
    system.store.finish_report(key, report.id, content | {"sentence": in_words(improvement)})
    system.store.outbox_add("round", round_message(course.project, improvement))
    system.queue.enqueue("mirror", None)


def rank_now(system: System, key: int, progress: Progress) -> None:
    """A release for this round: made here if nobody else has begun it, so that one worker alone has one for each."""
    job = system.queue.enqueue("rank", key)
    jobs.perform(system.store, system.queue, job.id, lambda _, told: rank(system, system.by_key(key), told))
    while any((job.kind, job.state) == ("rank", "running") for job in system.queue.jobs(20, project_key=key)):
        progress(PLAYED, "waiting for the round's release")
        time.sleep(LOOK_EVERY_S)


def in_words(improvement: Improvement) -> str:
    """How far it has come, in a sentence or two."""
    last = improvement.rounds[-1]
    count = len(improvement.rounds) - 1
    told = f"{count} {'round' if count == 1 else 'rounds'}, {spent_in_words(improvement.spend)}."
    for name, one in last["heads"].items():
        if one["believed"] is not None:
            doubted = round((1 - one["believed"]) * one["tasks"])
            told += f" {name}: {doubted} of {one['tasks']} labels are in doubt; people get these first."
    return f"{told} {improvement.ended or ''}".strip()
