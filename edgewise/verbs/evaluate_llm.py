"""evaluate-llm: how good language models are at this project's labels, what they cost, and which to take.

On tasks that people labelled, never on those that it may show as demonstrations; those whose annotators had been shown
a language model's answer are reported apart. Candidates are compared with each other, with the trained model and with
the baseline model on the same tasks. What is asked is paid for once: a report made again from the same answers costs
nothing. The report has the id of its job.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgewise.errors import Conflict
from edgewise.learning.llm_evaluation import Outlook, Source, evaluate
from edgewise.services.jobs import Progress
from edgewise.services.mirror import report_message
from edgewise.services.store import Project, Report
from edgewise.verbs.measuring.asking import Exam, ask_candidate
from edgewise.verbs.measuring.candidates import Candidate, candidates, whole_number
from edgewise.verbs.measuring.material import Material, material
from edgewise.verbs.measuring.remaining import characters_of
from edgewise.verbs.measuring.rivals import rivals
from edgewise.verbs.prelabel import open_model
from edgewise.verbs.spending import NOTHING, WrittenBudget, in_words
from edgewise.verbs.system import System, schema_needed

KIND = "evaluate-llm"
TASKS = 200
MOST_TASKS = 2000
CANARIES = 12  # two of each kind
MOST_CANARIES = 200
TASKS_A_DAY = 1000
MOST_A_DAY = 10**7
ASKING = 0.9  # share of the work

Options = Mapping[str, Any]


def evaluate_llm(system: System, project: Project, options: Options, progress: Progress) -> None:
    """Ask every candidate about the examined tasks, and keep the report.

    options, all of them optional: those of `candidates`; "tasks": how many to examine at most; "canaries": texts with
    an order planted in them, for each candidate and field; "tasks_a_day". Raises Conflict without a language model, a
    label to ask for or a labelled task; InputError for options that cannot be.
    """
    schema = schema_needed(project)
    open_model(system.settings).close()  # without one nothing else matters
    named = candidates(system, project, options)
    found = material(
        system,
        project,
        schema,
        most=whole_number(options, "tasks", TASKS, MOST_TASKS),
        demonstrations=any(one.demonstrations for one in named),
    )
    if not found.examined:
        raise Conflict("No labelled task can be examined.", "Label some tasks first: about 60 tell candidates apart.")
    report = system.store.begin_report(project.key, progress.job_id, KIND)
    exam = Exam(
        system,
        project,
        schema,
        found,
        budget_of(system, report),
        whole_number(options, "canaries", CANARIES, MOST_CANARIES),
    )
    asked = ask(exam, named, progress)
    a_day = whole_number(options, "tasks_a_day", TASKS_A_DAY, MOST_A_DAY)
    keep(exam, report, content(exam, asked, a_day, progress), progress)


def budget_of(system: System, report: Report) -> WrittenBudget:
    """The budget that is set, less what this job has spent before it was killed."""
    store, key = system.store, report.project_key
    return WrittenBudget(
        system.settings,
        report.spend or dict(NOTHING),
        lambda spend: store.update_report(key, report.id, spend=spend),
    )


def ask(exam: Exam, named: list[Candidate], progress: Progress) -> list[Source]:
    """Every candidate's answers. The budget is that of all of them together."""
    asked = []
    for number, one in enumerate(named):
        name = one.name_among(named)

        def report(done: float, *, number: int = number, name: str = name) -> None:
            spent = in_words(exam.budget.total())
            progress(ASKING * (number + done) / len(named), f"{name}: {done:.0%} asked; {spent}")

        asked.append(ask_candidate(exam, one, name, report))
    return asked


def content(exam: Exam, asked: list[Source], a_day: int, progress: Progress) -> dict[str, Any]:
    """The report as JSON: the evaluation, and what it was made from."""
    progress(ASKING, "The models of our own answer")
    others = rivals(exam.system, exam.project, exam.schema, exam.material.examined)
    outlook = Outlook(characters_of(exam.system, exam.project, exam.schema), a_day)
    rng = np.random.default_rng(exam.system.settings.seed)
    made = evaluate(exam.material.examined, exam.schema.heads, [*asked, *others], outlook, rng).to_json()
    made["tasks"] |= {"left_out": exam.material.left_out}
    made["advice"] += notes(exam.material, asked)
    return made | {"spend": exam.budget.total(), "schema": exam.schema.digest, "tasks_a_day": a_day}


def notes(found: Material, asked: list[Source]) -> list[str]:
    """What else to know before believing the figures."""
    told = []
    for one in asked:
        missing = len(found.examined) - len(one.answers)
        if missing:
            told.append(f"The budget ended before {one.name} was asked about {missing} of {len(found.examined)} tasks.")
        if one.facts["codec"] == "json" and any(form != "schema" for form in one.facts["forms"]):
            told.append(f"{one.name} does not honour schemas; it was asked in a weaker form.")
        if one.facts["price_usd"] is None:
            told.append(f"The price of {one.name} is unknown, and so is what it costs.")
    return told


def keep(exam: Exam, report: Report, made: dict[str, Any], progress: Progress) -> None:
    """List the report, and tell the mirror. Again is harmless."""
    store = exam.system.store
    store.finish_report(report.project_key, report.id, made)
    store.outbox_add("report", report_message(exam.project, report, made))
    exam.system.queue.enqueue("mirror", None)
    progress(1.0, made["advice"][0])
