"""label-errors: which labels are likely wrong, and how far annotators agree; the report has the id of its job.

Every labelled task is judged by a model that was trained on others, with the recipe of the serving version. Audit tasks
are left out: labels that are looked at again only where a model disagrees would flatter the model's score. The report
holds places and labels and no text, so that a task that is deleted leaves nothing in it: shown_errors.py quotes.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from edgewise.errors import InputError, StudioRefused
from edgewise.labels.schema import Head, Schema
from edgewise.learning.label_errors import Suspect, said_unseen, suspects
from edgewise.learning.training import Recipe
from edgewise.services.jobs import Progress
from edgewise.services.store import Project
from edgewise.verbs.lessons import Lesson
from edgewise.verbs.numbers.agreements import agreements
from edgewise.verbs.numbers.fixed_labels import KIND
from edgewise.verbs.scoring import part
from edgewise.verbs.sync import read_changes
from edgewise.verbs.system import System, schema_needed
from edgewise.verbs.train import lessons, recipe_of, share, teachable
from edgewise.verbs.views import keep_labelled

log = logging.getLogger(__name__)

VIEW = "label_errors_view"
FOLDS, MOST_FOLDS = 4, 20
MOST_LISTED = 1000  # nobody reads further; the count says how many there are
READ, LEARNT = 0.05, 0.9  # shares of the work
JUDGING = "judging each task by a model that did not see it"

Json = dict[str, Any]
Options = Mapping[str, Any]
Report = Callable[[float], None]  # of progress


def label_errors(system: System, project: Project, options: Options, progress: Progress) -> None:
    """Look for label errors, keep the report, and bring the tab up to date.

    options: "folds", how many models are trained, each judging its share of the tasks; default 4. Raises Conflict
    without anything to learn from, InputError for options that cannot be.
    """
    schema = schema_needed(project)
    folds = folds_of(options)
    report = system.store.begin_report(project.key, progress.job_id, KIND)
    content = report.content
    if report.finished_at is None:  # else only the tab was left to do
        progress(0.0, "reading what changed")
        read_changes(system, project, schema, progress)
        content = look(system, project, schema, folds, share(progress, READ, LEARNT, JUDGING))
        system.store.finish_report(project.key, report.id, content)
    list_them(system, project, content["errors"])
    progress(1.0, in_words(content))


def look(system: System, project: Project, schema: Schema, folds: int, report: Report) -> Json:
    """The report."""
    taught = teachable(lessons(system, project, schema)[0])
    errors = [
        row
        for number, lesson in enumerate(taught)
        for row in judged(system, project, lesson, folds, part(report, number, len(taught)))
    ]
    errors.sort(key=lambda row: (row["score"], row["task_id"]))
    return {
        "tasks": len({task for lesson in taught for task in lesson.ids}),
        "folds": folds,
        "found": len(errors),
        "errors": errors[:MOST_LISTED],
        "agreement": agreements(system, project, schema),
        "schema": schema.digest,
    }


def folds_of(options: Options) -> int:
    """How many folds are asked for. Raises InputError."""
    folds = options.get("folds", FOLDS)
    if isinstance(folds, bool) or not isinstance(folds, int) or not 2 <= folds <= MOST_FOLDS:
        raise InputError(f"The option 'folds' is no number from 2 to {MOST_FOLDS}.", f"Leave it out for {FOLDS}.")
    return folds


def judged(system: System, project: Project, lesson: Lesson, folds: int, report: Report) -> list[Json]:
    """The likely errors among what a head is taught, as rows of the report."""
    said = said_unseen(
        lesson.documents,
        lesson.head,
        system.settings.baseline_model_name,  # never a version's encoder: it has seen the tasks
        recipe_for(system, project, lesson.head),
        folds=folds,
        report=report,
    )
    return [row_of(lesson, suspect) for suspect in suspects(lesson.documents, said, lesson.head)]


def recipe_for(system: System, project: Project, head: Head) -> Recipe:
    """How the serving version's head was trained, as far as that was chosen at the time; else as settings say."""
    recipe = recipe_of(system)
    if project.serving is None:
        return recipe
    chosen = system.store.version(project.key, project.serving).settings.get("training", {}).get(head.from_name)
    return replace(recipe, strategy=chosen["strategy"], epochs=chosen["epochs"] or recipe.epochs) if chosen else recipe


def row_of(lesson: Lesson, suspect: Suspect) -> Json:
    """A likely error as the report lists it. score: how sure the model is of what was given, the lowest is the worst;
    digest: of all that the task taught when it was judged."""
    task = lesson.tasks[suspect.document]
    whole = lesson.head.kind != "spans"
    row: Json = {"task_id": task.task_id, "head": lesson.head.from_name, "score": round(suspect.score, 4)}
    for side, span in (("given", suspect.given), ("thinks", suspect.thinks)):
        row[side] = span.label if span else None
        row[f"{side}_at"] = None if span is None or whole else [span.start, span.end]
    return row | {"digest": task.digest}


def list_them(system: System, project: Project, errors: Sequence[Json]) -> None:
    """Bring the tab up to date: the tasks of the worst."""
    ids = list(dict.fromkeys(row["task_id"] for row in errors))
    try:
        keep_labelled(system, system.by_key(project.key), VIEW, ids)
    except StudioRefused as error:  # for looking only: the report is there
        log.warning("the tab of label errors was not brought up to date: %s", error.what)


def in_words(content: Json) -> str:
    """What was found, in a sentence."""
    if not content["found"]:
        return f"No label of {content['tasks']} tasks is likely wrong."
    tasks = len({row["task_id"] for row in content["errors"]})
    return f"{content['found']} labels in {tasks} of {content['tasks']} tasks are likely wrong."
