"""train: snapshot -> version -> gate. Runs in a process of its own.

Learns from the training examples of all labelled tasks that are not audit tasks, one model for each head, and lets
the new version serve unless it is worse. What judging means is in judge.py.
"""

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

from edgewise.errors import Conflict, NotFound
from edgewise.labels.schema import Head, Schema
from edgewise.learning.training import Recipe
from edgewise.learning.training import train as train_head
from edgewise.services.jobs import Progress
from edgewise.services.mirror import version_message
from edgewise.services.registry import Card, head_folder
from edgewise.services.store import Project, Version
from edgewise.verbs.code import code_version
from edgewise.verbs.files.datasets import keep_lessons
from edgewise.verbs.judge import Judgement, Trained, judge
from edgewise.verbs.lessons import HELD_OUT_MOST, Curriculum, Lesson, lesson_of
from edgewise.verbs.numbers.fixed_labels import fixed_labels
from edgewise.verbs.scoring import part
from edgewise.verbs.serving import serve
from edgewise.verbs.sync import digest_of, read_changes
from edgewise.verbs.system import System, folder_name, schema_needed

log = logging.getLogger(__name__)


def train(system: System, project: Project, progress: Progress) -> None:
    """Train, judge and register a version from all that people have taught so far; rank with it if it may serve."""
    started = datetime.now(UTC), time.monotonic()
    schema = schema_needed(project)
    progress(0.0, "reading what changed")
    read_changes(system, project, schema, progress.within(0.0, 0.05))
    every, held_out = lessons(system, project, schema)
    taught = teachable(every)
    snapshot = keep_snapshot(system, project, every)
    parent = parent_of(system, project)
    if parent is not None and is_same_lesson(system, parent, schema, snapshot):
        progress(1.0, "Nothing new was labelled since the serving version.")
        return
    examined = tuple(held_out[lesson.head.from_name] for lesson in taught)
    version = make_version(system, project, schema, Curriculum(snapshot, tuple(taught), examined, parent), progress)
    seconds = time.monotonic() - started[1]
    last_training = {"started": started[0].isoformat(), "seconds": seconds, "version": version.id}
    system.store.update_project(project.key, last_training=last_training, note="")
    if digest_of(system.by_key(project.key).label_config) != schema.digest:
        system.queue.enqueue("train", project.key)  # the labelling config changed meanwhile: these are not its labels
    if version.state == "accepted":
        serve(system, project, version)
    system.queue.enqueue("mirror", None)
    system.registry.prune(folder_name(project), keep=kept_versions(system, project))
    progress(1.0, f"Version {version.id} {version.state}. {version.reason}")


def parent_of(system: System, project: Project) -> Version | None:
    """The version that serves, to compare with and to start from; None also if its weights are lost: then this
    training is how the project comes back."""
    if project.serving is None:
        return None
    try:
        system.registry.verify(folder_name(project), project.serving)
    except (Conflict, NotFound) as error:
        log.warning("the serving version cannot be compared with: %s", error.what)
        return None
    return system.store.version(project.key, project.serving)


def is_same_lesson(system: System, parent: Version, schema: Schema, snapshot: str) -> bool:
    """Whether a training would only make the serving version again."""
    how = {"recipe": asdict(recipe_of(system)), "baseline": system.settings.baseline_model_name}
    before = {name: parent.settings.get(name) for name in how}
    return (parent.snapshot, parent.schema_digest, before) == (snapshot, schema.digest, how)


def lessons(system: System, project: Project, schema: Schema) -> tuple[list[Lesson], dict[str, Lesson]]:
    """What each head is taught, and by from_name what it is examined in: the two sides of the held-out split."""
    labelled = list(system.store.labelled(project.key))
    training = [pair for pair in labelled if not pair[0].audit]
    audit = [pair for pair in labelled if pair[0].audit][:HELD_OUT_MOST]
    held_out = {head.from_name: lesson_of(head, audit) for head in schema.heads}
    return [lesson_of(head, training) for head in schema.heads], held_out


def teachable(every: Sequence[Lesson]) -> list[Lesson]:
    """The lessons that a model can learn from; the others wait for a later version.

    Raises Conflict if that leaves none: then whatever serves goes on.
    """
    taught = [lesson for lesson in every if lesson.missing is None]
    if not taught:
        raise Conflict(
            " ".join(lesson.missing for lesson in every if lesson.missing),
            "Label a few more tasks; held-out tasks are not learned from.",
        )
    return taught


def keep_snapshot(system: System, project: Project, every: Sequence[Lesson]) -> str:
    """Write down exactly what this training uses, under a hash of its content; returns the hash.

    With the tasks of heads that wait: what is new to the next training is what differs from these.
    """
    annotations: dict[int, set[int]] = {}
    digests: dict[int, str] = {}
    content = blake2b(digest_size=16)
    for lesson in every:
        content.update(lesson.head.digest.encode())
        for task, document, example in zip(lesson.tasks, lesson.documents, lesson.examples, strict=True):
            annotations.setdefault(task.task_id, set()).update(example.annotation_ids)
            digests[task.task_id] = task.digest or ""
            content.update(json.dumps([task.task_id, document.text, example.digest]).encode())
    snapshot = content.hexdigest()
    rows = [(task, digests[task], tuple(sorted(ids))) for task, ids in sorted(annotations.items())]
    system.store.add_snapshot(project.key, snapshot, rows)
    keep_lessons(system, project, snapshot, every)
    return snapshot


def make_version(
    system: System, project: Project, schema: Schema, curriculum: Curriculum, progress: Progress
) -> Version:
    """Train every head, judge and publish them; the version is listed whether it may serve or not."""
    recipe = recipe_of(system)
    with system.registry.staging(folder_name(project)) as staged:
        details = train_heads(system, project, curriculum, staged, share(progress, 0.05, 0.45, "training"))
        report = share(progress, 0.5, 0.45, "scoring")
        # A fold sees each of its documents as often as the whole training did: fewer documents, as many epochs.
        recipes = {
            name: replace(recipe, strategy=detail["strategy"], epochs=detail["epochs"] or recipe.epochs)
            for name, detail in details.items()
        }
        judgement = judge(system, project, schema, curriculum, Trained(staged, recipes), report)
        described: dict[str, Any] = {
            "recipe": asdict(recipe),
            "baseline": system.settings.baseline_model_name,
            "heads": {lesson.head.from_name: lesson.head.digest for lesson in curriculum.taught},
            "training": details,
        }
        names = {"schema_digest": schema.digest, "snapshot": curriculum.snapshot}
        card = system.registry.publish(folder_name(project), staged, **names, settings=described)
    return keep_version(system, project, version_of(project, card, curriculum, judgement), judgement)


def train_heads(
    system: System, project: Project, curriculum: Curriculum, staged: Path, report: Callable[[float], None]
) -> dict[str, Any]:
    """Train each head into the staged folder; what was done, by from_name, without times: they are not the model."""
    recipe, details = recipe_of(system), {}
    for number, lesson in enumerate(curriculum.taught):
        trained = train_head(
            lesson.documents,
            lesson.head,
            base_of(system, project, lesson.head, curriculum.parent),
            head_folder(staged, lesson.head.from_name),
            recipe,
            report=part(report, number, len(curriculum.taught)),
        )
        details[lesson.head.from_name] = {
            "steps": trained.steps,
            "learning_rate": trained.learning_rate,
            "epochs": trained.epochs,
            "strategy": trained.strategy,
            "why": trained.why,
        }
    return details


def recipe_of(system: System) -> Recipe:
    """How to train, from settings."""
    settings = system.settings
    return Recipe(
        learning_rate=settings.learning_rate,
        epochs=settings.num_train_epochs,
        weight_decay=settings.weight_decay,
        max_length=settings.max_sequence_length,
        seed=settings.seed,
        strategy=settings.fine_tuning_strategy,
        minutes=settings.training_minutes,
    )


def base_of(system: System, project: Project, head: Head, parent: Version | None) -> str:
    """What training starts from: the baseline; when the head's labels changed, the encoder it had, with a new head."""
    if parent is not None and parent.settings.get("heads", {}).get(head.from_name, head.digest) != head.digest:
        return str(system.registry.folder(folder_name(project), parent.id, head.from_name))
    return system.settings.baseline_model_name


def share(progress: Progress, start: float, width: float, message: str) -> Callable[[float], None]:
    """Progress of one part of the job as progress of the whole."""
    return lambda done: progress(start + width * done, message)


def version_of(project: Project, card: Card, curriculum: Curriculum, judgement: Judgement) -> Version:
    """The version as we list it."""
    taught, parent = curriculum.taught, curriculum.parent
    return Version(
        id=card.id,
        project_key=project.key,
        schema_digest=card.schema_digest,
        snapshot=card.snapshot,
        created_at=datetime.now(UTC),
        parent=parent.id if parent else None,
        state="accepted" if judgement.accepted else "refused",
        provisional=judgement.provisional,
        reason=judgement.reason,
        scores=judgement.scores,
        settings=dict(card.settings),
        label_counts={lesson.head.from_name: label_counts(lesson) for lesson in taught},
        examples=max(len(lesson.tasks) for lesson in taught),
        weights_hash=card.weights_hash,
        code=code_version(),
    )


def label_counts(lesson: Lesson) -> dict[str, int]:
    """How often each label occurs in what the head was taught."""
    return dict(Counter(span.label for document in lesson.documents for span in document.spans))


def keep_version(system: System, project: Project, version: Version, judgement: Judgement) -> Version:
    """List the version with its answers on audit tasks and out of fold, and tell the mirror."""
    fixed = fixed_labels(system, project, version)
    if fixed is not None:
        reason = f"{version.reason} {fixed['sentence']}"
        version = replace(version, reason=reason, settings=dict(version.settings) | {"fixed_labels": fixed})
    for purpose, by_task in judgement.rows().items():
        system.store.save_version_predictions(project.key, version.id, purpose, by_task)
    system.store.add_version(version)
    folder = system.registry.verify(folder_name(project), version.id)
    system.store.outbox_add("version", version_message(project, version, folder))
    log.info("version %s %s: %s", version.id, version.state, version.reason)
    return version


def kept_versions(system: System, project: Project) -> set[str]:
    """The serving version, the last three and the pinned ones; the weights of the others are removed."""
    versions = system.store.versions(project.key)
    serving = system.by_key(project.key).serving
    return {version.id for version in versions[:3]} | {v.id for v in versions if v.pinned or v.id == serving}
