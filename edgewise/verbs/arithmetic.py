"""arithmetic: in which arithmetic the serving version is computed on this machine: measured, chosen, written down.

Runs in a process of its own after a version's first release is whole, so that no order waits for it. A kind of model is
measured at length once on a machine; what is chosen then, later versions are computed in from their first order on, and
behind that order each is examined by itself, as one may lose the ranking that the last one kept. Before any choice, and
where none holds, it is float32. Scores and the gate are always computed in float32 (judge.py).
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from edgewise.errors import EdgewiseError
from edgewise.files.whole import leftovers, whole
from edgewise.labels.schema import Head
from edgewise.labels.texts import text_of
from edgewise.learning.inference import export_trained
from edgewise.learning.inference.arithmetic import (
    FLOAT32,
    LEAST_GAIN,
    LEAST_TEXTS,
    ONNX,
    OTHERS,
    Figures,
    agreement,
    decide,
    machine,
    times_faster,
)
from edgewise.services.jobs import Progress
from edgewise.services.store import Arithmetic, Project, Version
from edgewise.verbs.models import Model, has_learned, kind_of, load_in
from edgewise.verbs.scoring import Report, Said, part, predict, readable
from edgewise.verbs.system import System, folder_name, schema_needed, schema_of

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
    heads = schema.heads if schema else ()
    return [one for one in heads if has_learned(version, one) and one.from_name not in known]


def arithmetic(system: System, project: Project, progress: Progress) -> None:
    """Examine what of the serving version was not yet. Killed anywhere, the next run goes on with the next head."""
    if project.serving is None:
        return
    version = system.store.version(project.key, project.serving)
    heads = unexamined(system, project, version)
    for number, head in enumerate(heads):
        report = part(progress, number, len(heads))
        made = system.store.save_arithmetic(project.key, examine(system, project, (version, head), report))
        forget_export(system, project, version, head)
        log.info("version %s, %s: %s: %s", version.id, head.from_name, made.choice, made.reason)
    progress(1.0, "every head has its arithmetic")


def examine(system: System, project: Project, of: tuple[Version, Head], report: Report) -> Arithmetic:
    """The choice for a head of a version on this machine, with what was measured."""
    version, head = of
    kind = kind_of(system, project, head, version)
    standing = system.store.standing_arithmetic(kind, machine().digest)
    measured = figures_of(standing)
    rounds = ROUNDS_AGAIN if measured else ROUNDS
    how = texts_of(system, project, head), rounds, report
    for names in turns(measured):
        measured |= measure(system, head, models_in(system, project, of, names), how)
        if decide(measured).arithmetic != FLOAT32:
            break
    choice = decide(measured)
    figures: dict[str, Any] = {"machine": machine().words, "rounds": rounds}
    if choice.arithmetic == ONNX:
        figures["export"] = system.registry.exported_hash(folder_name(project), version.id, head.from_name)
    return Arithmetic(
        version=version.id,
        head=head.from_name,
        machine=machine().digest,
        architecture=kind,
        choice=choice.arithmetic,
        reason=choice.reason,
        figures=figures | {name: asdict(one) for name, one in measured.items()},
    )


def figures_of(standing: Arithmetic | None) -> dict[str, Figures]:
    """How fast each arithmetic was on such a model, empty where one was not measured; nothing of how far it agreed."""
    if standing is None or not all(name in standing.figures for name in OTHERS):
        return {}
    return {name: Figures(standing.figures[name]["times_faster"]) for name in OTHERS}


def turns(known: Mapping[str, Figures]) -> list[list[str]]:
    """Which arithmetics are examined together, one group after another until one holds one that may be taken. With
    nothing known all at once; else each that was fast enough by itself, the fastest first."""
    if not known:
        return [list(OTHERS)]
    fast = {name: one.times_faster for name, one in known.items() if (one.times_faster or 0.0) >= LEAST_GAIN}
    return [[name] for name in sorted(fast, key=lambda name: -(fast[name] or 0.0))]


def models_in(
    system: System, project: Project, of: tuple[Version, Head], names: Sequence[str]
) -> dict[str, Model | None]:
    """The same weights in float32 and in each of these arithmetics; None: that cannot be had of such a model."""
    version, head = of
    folder = system.registry.folder(folder_name(project), version.id, head.from_name)
    exported = system.registry.exported(folder_name(project), version.id, head.from_name)
    length = system.settings.max_sequence_length
    can = {name: name != ONNX or exports(folder, head, exported) for name in (FLOAT32, *names)}
    return {name: load_in(name, folder, exported, head, length) if can[name] else None for name in can}


def exports(folder: Path, head: Head, exported: Path) -> bool:
    """Whether the model could be written for ONNX Runtime; whole, and where it stood already as it was."""
    if exported.is_file():
        return True
    try:
        with whole(exported) as staged:
            export_trained(folder, head, staged)
    except (OSError, EdgewiseError):  # a full disk says nothing of the model: this job fails, and runs again
        raise
    except Exception as error:  # an exporter of others, a model of anybody: whatever it is, there is float32
        log.warning("no export for ONNX Runtime: %s", type(error).__name__)
        return False
    return True


def forget_export(system: System, project: Project, version: Version, head: Head) -> None:
    """Remove what a killed export left, and the file if no machine has chosen it: ninety megabytes each."""
    exported = system.registry.exported(folder_name(project), version.id, head.from_name)
    for left in leftovers(exported):
        left.unlink(missing_ok=True)
    made = system.store.arithmetics(project.key, version.id)
    if not any(one.head == head.from_name and one.choice == ONNX for one in made):
        exported.unlink(missing_ok=True)


def texts_of(system: System, project: Project, head: Head) -> list[str]:
    """Open tasks' texts, drawn at random."""
    ids = system.store.open_task_ids(project.key)
    rng = np.random.default_rng([system.settings.seed, project.key])
    drawn = rng.choice(ids, min(COMPARED_ON, len(ids)), replace=False).tolist()
    data = [task.data for task in system.store.tasks(project.key, drawn).values()]
    schema = schema_needed(project)
    return [text_of(data[position], head) for position in readable(schema, data)[0]]


def measure(
    system: System, head: Head, models: Mapping[str, Model | None], how: tuple[Sequence[str], int, Report]
) -> dict[str, Figures]:
    """Every arithmetic but float32: its speed, and of those that are fast enough how far they agree."""
    texts, rounds, report = how
    here = {name: model for name, model in models.items() if model is not None}
    works = {name: (lambda model=model: predict(model, texts[:TIMED_ON])) for name, model in here.items()}
    speeds = dict.fromkeys(models, None) | times_faster(works, rounds)
    del speeds[FLOAT32]
    fast = [name for name, speed in speeds.items() if speed is not None and speed >= LEAST_GAIN]
    asked = [FLOAT32, *fast] if fast else []
    told = {
        name: told_by(system, head, predict(here[name], texts, part(report, number, len(asked))))
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
