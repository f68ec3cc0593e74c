"""Which model answers for a head: the serving version's, else a baseline whose labels fit, else nobody; and in which
arithmetic it computes on this machine. Knows nothing of tasks or releases.
"""

import json
from functools import lru_cache
from pathlib import Path

from edgewise.labels.schema import Head, Schema
from edgewise.learning.inference import (
    Classifier,
    ModelCache,
    Tagger,
    load_baseline,
    load_exported,
    load_trained,
)
from edgewise.learning.inference.arithmetic import FLOAT32, ONNX, architecture_of, machine
from edgewise.services.store import Arithmetic, Project, Version
from edgewise.verbs.system import System, folder_name

Model = Tagger | Classifier

_cache: ModelCache | None = None


def cache(system: System) -> ModelCache:
    """The models that this process has loaded, bounded by MODEL_CACHE_MB."""
    global _cache
    if _cache is None:
        _cache = ModelCache(system.settings.model_cache_mb)
    return _cache


def models_of(system: System, project: Project, schema: Schema, version: Version | None) -> dict[str, Model]:
    """from_name -> the model that answers for this head, in the arithmetic that was chosen for it on this machine; a
    head that nobody can answer for is missing."""
    found: dict[str, Model] = {}
    for head in schema.heads:
        arithmetic = FLOAT32
        if version is not None and has_learned(version, head):
            arithmetic = arithmetic_of(system, project, head, version)
        model = model_of(system, project, head, version, arithmetic=arithmetic)
        found |= {head.from_name: model} if model is not None else {}
    return found


def arithmetic_of(system: System, project: Project, head: Head, version: Version) -> str:
    """In which a head that the version has learned is computed: as it was decided on a machine like this one, until it
    was examined as it was decided for the last model of its kind, before any of those in float32.

    ONNX only where the file is there that was examined. Raises as `Registry.folder`.
    """
    made = system.store.arithmetics(project.key, version.id)
    own = next((one for one in made if one.head == head.from_name and one.machine == machine().digest), None)
    if own is not None:
        return own.choice if own.choice != ONNX or is_exported(system, project, version, own) else FLOAT32
    standing = system.store.standing_arithmetic(kind_of(system, project, head, version), machine().digest)
    return FLOAT32 if standing is None or standing.choice == ONNX else standing.choice


def is_exported(system: System, project: Project, version: Version, made: Arithmetic) -> bool:
    """Whether the version's file for ONNX Runtime is the one that this decision was made on."""
    found = system.registry.exported_hash(folder_name(project), version.id, made.head)
    return found is not None and found == made.figures.get("export")


def has_learned(version: Version, head: Head) -> bool:
    """Whether the version has learned this head, with these labels."""
    return bool(version.settings.get("heads", {}).get(head.from_name) == head.digest)


def kind_of(system: System, project: Project, head: Head, version: Version) -> str:
    """12 hex characters: the same for models that cost the same. Raises as `Registry.folder`."""
    folder = system.registry.folder(folder_name(project), version.id, head.from_name)
    return _kind_in(folder, head.kind, system.settings.max_sequence_length)


@lru_cache(maxsize=1000)
def _kind_in(folder: Path, kind: str, length: int) -> str:
    """Remembered: a version's folder never changes, and every /predict asks."""
    return architecture_of(json.loads((folder / "config.json").read_text(encoding="utf-8")), kind, length)


def model_of(
    system: System, project: Project, head: Head, version: Version | None, *, arithmetic: str = FLOAT32
) -> Model | None:
    """The version's model of this head if it learned these labels, else the baseline's, else None: never noise.

    arithmetic: of the version's model, as `arithmetic_of` has it. A baseline is examined by nobody, and computed in
    float32.
    """
    settings = system.settings
    if version is not None and has_learned(version, head):
        folder = system.registry.folder(folder_name(project), version.id, head.from_name)
        exported = system.registry.exported(folder_name(project), version.id, head.from_name)
        key, length = f"{project.key}/{head.from_name}", settings.max_sequence_length
        return cache(system).get(
            key, lambda: load_in(arithmetic, folder, exported, head, length), state=f"{version.id}/{arithmetic}"
        )
    key = f"baseline/{settings.baseline_model_name}/{head.digest}"
    baseline = cache(system).get(
        key,
        lambda: load_baseline(settings.baseline_model_name, head, max_length=settings.max_sequence_length),
    )
    return baseline.model


def load_in(arithmetic: str, folder: Path, exported: Path, head: Head, length: int) -> Model:
    """A trained model, to compute in this arithmetic. exported: where its file for ONNX Runtime is."""
    if arithmetic == ONNX:
        return load_exported(folder, head, exported, max_length=length)
    return load_trained(folder, head, max_length=length, arithmetic=arithmetic)
