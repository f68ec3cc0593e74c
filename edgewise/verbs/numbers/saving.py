"""saving: how many labels random order would have needed for the serving version's score; the report is its job's.

On the labels that the version learnt from and on today's held-out tasks. Trains several models on parts of these
labels, so it takes as long as so many trainings. What can be told and how is in learning/saving.py.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from edgewise.errors import Conflict, DataError
from edgewise.labels.schema import Head
from edgewise.labels.texts import text_of
from edgewise.learning.saving import Question, estimate
from edgewise.learning.simulation import counts_of
from edgewise.services.jobs import Progress
from edgewise.services.store import Project, Version
from edgewise.verbs.judge import parent_answers
from edgewise.verbs.lessons import Lesson
from edgewise.verbs.measuring.candidates import whole_number
from edgewise.verbs.scoring import part
from edgewise.verbs.system import System, schema_of
from edgewise.verbs.train import lessons, recipe_of

KIND = "saving"
OPEN_MOST = 1000  # open tasks, drawn at random, that stand for all
SUBSETS, MOST_SUBSETS = 2, 10  # of each size

Json = dict[str, Any]
Options = Mapping[str, Any]


def saving(system: System, project: Project, options: Options, progress: Progress) -> None:
    """Measure the saving of the serving version, and keep the report.

    options: "subsets", how many parts of the labels of each size are tried; default 2. Raises Conflict while no version
    serves or the labelling config has changed since, InputError for options that cannot be.
    """
    subsets = max(1, whole_number(options, "subsets", SUBSETS, MOST_SUBSETS))
    schema, version = schema_of(project), serving_version(system, project)
    if schema is None or version.schema_digest != schema.digest:
        raise Conflict("The labelling config has changed since the serving version.", "Train the project again.")
    report = system.store.begin_report(project.key, progress.job_id, KIND)
    if report.finished_at is not None:
        return
    every, held_out = lessons(system, project, schema)
    heads = [lesson for lesson in every if lesson.head.from_name in version.settings.get("heads", {})]
    found = {}
    for number, lesson in enumerate(heads):
        name = lesson.head.from_name
        tell = part(lambda done: progress(0.95 * done, "training on parts of the labels"), number, len(heads))
        question = question_of(system, project, version, (lesson, held_out[name]))
        found[name] = estimate(question, np.random.default_rng(system.settings.seed), tell, draws=subsets)
    content: Json = {"version": version.id, "sentence": in_words(found), "heads": found}
    system.store.finish_report(project.key, report.id, content)
    progress(1.0, content["sentence"])


def serving_version(system: System, project: Project) -> Version:
    """The version that serves. Raises Conflict if none does."""
    if project.serving is None:
        raise Conflict("No version of ours serves yet.", "Label some tasks and train first.")
    return system.store.version(project.key, project.serving)


def question_of(system: System, project: Project, version: Version, material: tuple[Lesson, Lesson]) -> Question:
    """What is asked of one head."""
    lesson, held = material
    learnt = {row.task_id for row in system.store.snapshot_rows(project.key, version.snapshot)}
    pairs = list(zip(lesson.ids, lesson.documents, strict=True))
    since = [document.text for task, document in pairs if task not in learnt]
    open_, how_many = open_texts(system, project, lesson.head)
    answers = parent_answers(system, project, version, "held_out", held)
    answered = [pair for pair in zip(held.ids, held.documents, strict=True) if pair[0] in answers]
    gold, said = [document for _, document in answered], [answers[task] for task, _ in answered]
    return Question(
        taught=[document for task, document in pairs if task in learnt],
        open=[*open_, *since],
        open_documents=how_many + len(since),
        held_out=gold,
        target=counts_of(gold, said, lesson.head),
        head=lesson.head,
        base=system.settings.baseline_model_name,
        recipe=recipe_of(system),
        score=system.uncertainty.of(lesson.head),
    )


def open_texts(system: System, project: Project, head: Head) -> tuple[list[str], int]:
    """Texts of open tasks, at most so many, drawn at random; and how many such tasks there are.

    Audit tasks are left out: they are not of the pool that the queue chooses from.
    """
    ids = system.store.open_task_ids(project.key, audit=False)
    rng = np.random.default_rng([system.settings.seed, len(ids)])
    drawn = sorted(rng.permutation(ids)[:OPEN_MOST].tolist())
    texts = []
    for task in system.store.tasks(project.key, drawn).values():
        with suppress(DataError):  # a text that nobody can read is not of the pool
            texts.append(text_of(task.data, head))
    return texts, round(len(ids) * len(texts) / max(len(drawn), 1))


def in_words(found: Mapping[str, Json]) -> str:
    """The heads' sentences as one; with the head's name where there are several."""
    if len(found) == 1:
        return str(next(iter(found.values()))["sentence"])
    return " ".join(f"{name}: {one['sentence']}" for name, one in found.items())
