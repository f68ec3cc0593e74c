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
from edgewise.services.store import Project, Version
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
    chosen = arithmetics_of(system, project, schema, version)
    found = {
        head.from_name: model_of(system, project, head, version, arithmetic=chosen.get(head.from_name, FLOAT32))
        for head in schema.heads
    }
    return {name: model for name, model in found.items() if model is not None}


def arithmetics_of(system: System, project: Project, schema: Schema, version: Version | None) -> dict[str, str]:
    """from_name -> the arithmetic of each head that the version has learned, as it was decided on a machine like this
    one; until the version is examined, as it was for the last model of its kind. A head without any is missing."""
    if version is None:
        return {}
    made = system.store.arithmetics(project.key, version.id)
    chosen = {one.head: one.choice for one in made if one.machine == machine().digest}
    for head in schema.heads:
        if head.from_name not in chosen and has_learned(version, head):
            standing = system.store.standing_arithmetic(kind_of(system, project, head, version), machine().digest)
            chosen |= {head.from_name: standing.choice} if standing else {}
    return chosen


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

    arithmetic: of the version's model; ONNX is float32 until somebody has exported it. A baseline is examined by
    nobody, and computed in float32.
    """
    settings = system.settings
    if version is not None and has_learned(version, head):
        folder = system.registry.folder(folder_name(project), version.id, head.from_name)
        exported = system.registry.exported(folder_name(project), version.id, head.from_name)
        taken = FLOAT32 if arithmetic == ONNX and not exported.is_file() else arithmetic
        key, length = f"{project.key}/{head.from_name}", settings.max_sequence_length
        return cache(system).get(
            key, lambda: load_in(taken, folder, exported, head, length), state=f"{version.id}/{taken}"
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
