"""arithmetic: in which arithmetic the serving version is computed on this machine: measured, chosen, written down.

Runs in a process of its own after a version's first release is whole, so that no order waits for it: until it has,
the version is computed in float32. Every version is examined by itself, as one may keep its ranking where the next
loses it; what is fast is measured at length once for a kind of model on a machine, and shortly again for each version.
Scores and the gate are always computed in float32 (judge.py).
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from edgewise.labels.schema import Head
from edgewise.labels.texts import text_of
from edgewise.learning.inference import load_trained
from edgewise.learning.inference.arithmetic import (
    ARITHMETICS,
    FLOAT32,
    LEAST_GAIN,
    LEAST_TEXTS,
    Figures,
    agreement,
    architecture_of,
    decide,
    machine,
    times_faster,
)
from edgewise.services.jobs import Progress
from edgewise.services.store import Arithmetic, Project, Version
from edgewise.verbs.scoring import Model, Report, Said, part, predict, readable
from edgewise.verbs.system import System, folder_name, schema_of

log = logging.getLogger(__name__)
KIND = "arithmetic"
TIMED_ON = 128  # texts of a round
COMPARED_ON = 1000  # texts at most, so that the top 100 are a tenth
ROUNDS, ROUNDS_AGAIN = 5, 2


def is_wanted(system: System, project: Project, version: Version | None) -> bool:
    """Whether a head of the version was not examined on this machine yet, and there are tasks enough to do so."""
    if version is None or system.store.counts(project.key)["open"] < LEAST_TEXTS:
        return False
    return bool(unexamined(system, project, version))


def unexamined(system: System, project: Project, version: Version) -> list[Head]:
    """The heads that the version has learned, and that nobody has examined on such a machine."""
    schema = schema_of(project)
    known = {one.head for one in system.store.arithmetics(project.key, version.id) if one.machine == machine().digest}
    learned = version.settings.get("heads", {})
    heads = schema.heads if schema else ()
    return [one for one in heads if learned.get(one.from_name) == one.digest and one.from_name not in known]


def arithmetic(system: System, project: Project, progress: Progress) -> None:
    """Examine what of the serving version was not yet. Killed anywhere, the next run goes on with the next head."""
    if project.serving is None:
        return
    version = system.store.version(project.key, project.serving)
    heads = unexamined(system, project, version)
    for number, head in enumerate(heads):
        report = part(progress, number, len(heads))
        made = system.store.save_arithmetic(project.key, examine(system, project, (version, head), report))
        log.info("version %s, %s: %s: %s", version.id, head.from_name, made.choice, made.reason)
    progress(1.0, "every head has its arithmetic")


def examine(system: System, project: Project, of: tuple[Version, Head], report: Report) -> Arithmetic:
    """The choice for a head of a version on this machine, with what was measured."""
    version, head = of
    folder = system.registry.folder(folder_name(project), version.id, head.from_name)
    length = system.settings.max_sequence_length
    architecture = architecture_of(json.loads((folder / "config.json").read_text(encoding="utf-8")), head.kind, length)
    standing = system.store.standing_arithmetic(architecture, machine().digest)
    rounds = ROUNDS_AGAIN if standing else ROUNDS
    measured = measure(system, head, models_in(folder, head, length), (texts_of(system, project, head), rounds, report))
    choice = decide(measured)
    figures = {"machine": machine().words, "rounds": rounds}
    return Arithmetic(
        version=version.id,
        head=head.from_name,
        machine=machine().digest,
        architecture=architecture,
        choice=choice.arithmetic,
        reason=choice.reason,
        figures=figures | {name: asdict(one) for name, one in measured.items()},
    )


def models_in(folder: Path, head: Head, length: int) -> dict[str, Model]:
    """The same weights in each arithmetic."""
    return {name: load_trained(folder, head, max_length=length, arithmetic=name) for name in ARITHMETICS}


def texts_of(system: System, project: Project, head: Head) -> list[str]:
    """Open tasks' texts, drawn at random."""
    ids = system.store.open_task_ids(project.key)
    rng = np.random.default_rng([system.settings.seed, project.key])
    drawn = rng.choice(ids, min(COMPARED_ON, len(ids)), replace=False).tolist()
    data = [task.data for task in system.store.tasks(project.key, drawn).values()]
    schema = schema_of(project)
    assert schema is not None  # it has this head
    return [text_of(data[position], head) for position in readable(schema, data)[0]]


def measure(
    system: System, head: Head, models: Mapping[str, Model], how: tuple[Sequence[str], int, Report]
) -> dict[str, Figures]:
    """Every arithmetic but float32: its speed, and of those that are fast enough how far they agree."""
    texts, rounds, report = how
    works = {name: (lambda model=model: predict(model, texts[:TIMED_ON])) for name, model in models.items()}
    speeds = times_faster(works, rounds)
    fast = [name for name, speed in speeds.items() if speed is not None and speed >= LEAST_GAIN]
    asked = [FLOAT32, *fast] if fast else []
    told = {
        name: told_by(system, head, predict(models[name], texts, part(report, number, len(asked))))
        for number, name in enumerate(asked)
    }
    agreed = {name: agreement(told[FLOAT32], told[name]) for name in fast}
    return {name: Figures(speed, agreed.get(name)) for name, speed in speeds.items()}


def told_by(system: System, head: Head, said: Said) -> tuple[Any, Any]:
    """(n,) how unsure a model is of each text, and (m,) what it decides."""
    unsure = np.asarray(system.uncertainty.of(head)(said.probabilities, said.offsets), np.float64)
    return unsure, decisions(head, said)


def decisions(head: Head, said: Said) -> Any:
    """(m,) what is decided: the tag of each word; the choice of each text, -1 for none; of several, each by itself."""
    if head.kind == "spans":
        return said.probabilities.argmax(axis=1)
    chosen = np.array([[any(s.label == label for s in spans) for label in head.labels] for spans in said.spans])
    if head.kind == "choices":
        return chosen.ravel()
    return np.where(chosen.any(axis=1), chosen.argmax(axis=1), -1)
