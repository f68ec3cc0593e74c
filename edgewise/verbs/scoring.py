"""Tasks through the project's heads: one prediction, one uncertainty and one reason for each.

The same path serves ranking and /predict. Knows which model answers (the serving version, else a baseline whose labels
fit, else nobody); knows nothing of releases.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewise.errors import DataError
from edgewise.labels.regions import regions
from edgewise.labels.schema import Head, Schema
from edgewise.labels.spans import Span
from edgewise.labels.texts import text_of
from edgewise.learning.inference import (
    Classified,
    Classifier,
    ModelCache,
    Tagged,
    Tagger,
    describe,
    describe_choice,
    load_baseline,
    load_encoder,
    load_trained,
)
from edgewise.learning.inference.arithmetic import FLOAT32, machine
from edgewise.services.store import Project, Version
from edgewise.verbs.system import System, folder_name

Report = Callable[[float], None]
Model = Tagger | Classifier
Said = Tagged | Classified
Scales = Mapping[str, Sequence[float]]  # from_name -> the quantiles at STEPS of a head's uncertainty in the pool

STEPS = np.linspace(0, 1, 101)
PLACES = (np.arange(101) + 0.5) / 101  # what stands at a step: never 0, never 1


@dataclass(frozen=True)
class Scored:
    """What the heads say about n tasks, in their order.

    uncertainty: (n,) in [0, 1), higher is less sure; None in the cold start, when nobody can tell.
    embeddings: (n, dim) float32, rows of length 1. spans: per head, per task. by_head: (n,) of each head.
    priority: (n,), what to label first where that is not the uncertainty; higher is sooner. urgent: (n,), what comes
    before all others.
    """

    uncertainty: NDArray[np.float64] | None
    embeddings: NDArray[np.float32]
    results: list[list[dict[str, Any]]]
    reasons: list[str]
    spans: dict[str, list[tuple[Span, ...]]]
    by_head: dict[str, NDArray[np.float64]]
    priority: NDArray[np.float64] | None = None
    urgent: NDArray[np.bool_] | None = None


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
    chosen = arithmetics_of(system, project, version)
    found = {
        head.from_name: model_of(system, project, head, version, arithmetic=chosen.get(head.from_name, FLOAT32))
        for head in schema.heads
    }
    return {name: model for name, model in found.items() if model is not None}


def arithmetics_of(system: System, project: Project, version: Version | None) -> dict[str, str]:
    """from_name -> the arithmetic of each head of the version that was examined on a machine like this one."""
    if version is None:
        return {}
    made = system.store.arithmetics(project.key, version.id)
    return {one.head: one.choice for one in made if one.machine == machine().digest}


def model_of(
    system: System, project: Project, head: Head, version: Version | None, *, arithmetic: str = FLOAT32
) -> Model | None:
    """The version's model of this head if it learned these labels, else the baseline's, else None: never noise.

    arithmetic: of the version's model; a baseline is examined by nobody, and computed in float32.
    """
    settings = system.settings
    if version is not None and version.settings.get("heads", {}).get(head.from_name) == head.digest:
        folder = system.registry.folder(folder_name(project), version.id, head.from_name)
        key, length = f"{project.key}/{version.id}/{head.from_name}/{arithmetic}", settings.max_sequence_length
        return cache(system).get(key, lambda: load_trained(folder, head, max_length=length, arithmetic=arithmetic))
    key = f"baseline/{settings.baseline_model_name}/{head.digest}"
    baseline = cache(system).get(
        key,
        lambda: load_baseline(settings.baseline_model_name, head, max_length=settings.max_sequence_length),
    )
    return baseline.model


def readable(schema: Schema, tasks: Sequence[Mapping[str, Any]]) -> tuple[list[int], dict[int, str]]:
    """Positions of the tasks that every head can read, and what is wrong with each of the others."""
    good: list[int] = []
    bad: dict[int, str] = {}
    for position, data in enumerate(tasks):
        try:
            for head in schema.heads:
                text_of(data, head)
            good.append(position)
        except DataError as error:
            bad[position] = error.what
    return good, bad


def score(
    system: System,
    schema: Schema,
    models: Mapping[str, Model],
    data: Sequence[Mapping[str, Any]],
    report: Report,
    scales: Scales | None = None,
) -> Scored:
    """Predict and score tasks that are readable. With no model at all: embeddings only, for the cold start.

    scales: of the pool that these tasks are a part of; without, they are the pool.
    """
    if not models:
        return cold(system, schema, data, report)
    by_head, reasons, spans = {}, [], {}
    embeddings: NDArray[np.float32] | None = None
    results: list[list[dict[str, Any]]] = [[] for _ in data]
    heads = [head for head in schema.heads if head.from_name in models]
    for number, head in enumerate(heads):
        texts = [text_of(item, head) for item in data]
        said = predict(models[head.from_name], texts, part(report, number, len(heads)))
        by_head[head.from_name] = np.asarray(system.uncertainty.of(head)(said.probabilities, said.offsets), np.float64)
        reasons.append(reasons_of(system, head, said, texts))
        spans[head.from_name] = said.spans
        embeddings = said.embeddings if embeddings is None else embeddings
        for result, text, found in zip(results, texts, said.spans, strict=True):
            result.extend(regions(found, head, text))
    combined, leading = combine(by_head, scales or scales_of(by_head))
    chosen = [reasons[head][task] for task, head in enumerate(leading)]
    assert embeddings is not None
    return Scored(combined, embeddings, results, chosen, spans, by_head)


def predict(model: Model, texts: Sequence[str], report: Report | None = None) -> Said:
    """What a model of either kind says of texts."""
    if isinstance(model, Tagger):
        return model.tag(texts, progress=report)
    return model.classify(texts, progress=report)


def reasons_of(system: System, head: Head, said: Said, texts: Sequence[str]) -> list[str]:
    """Why each text is hard for a head."""
    if isinstance(said, Classified):
        return [describe_choice(shares, head) for shares in said.shares]
    contributions = system.uncertainty.contributions(said.probabilities, said.offsets)
    return [describe(said, i, text, contributions, head.labels) for i, text in enumerate(texts)]


def part(report: Report, number: int, of: int) -> Report:
    """Progress of one of several equal parts as progress of the whole."""
    return lambda done: report((number + done) / of)


def scales_of(by_head: Mapping[str, NDArray[np.floating[Any]]]) -> Scales:
    """How uncertainty is spread over a pool, for each head."""
    return {name: np.quantile(unsure, STEPS).tolist() for name, unsure in by_head.items() if len(unsure)}


def combine(
    by_head: Mapping[str, NDArray[np.floating[Any]]], scales: Scales
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """One number per task, (n,), and the number of the head that leads it, (n,).

    A single head's own number; of several, the mean of each head's quantile in the pool, as their scales differ.
    """
    alone = [np.asarray(unsure, np.float64) for unsure in by_head.values()]
    if len(alone) == 1:
        return alone[0], np.zeros(len(alone[0]), dtype=np.int64)
    quantiles = np.stack([np.interp(unsure, scales[name], PLACES) for name, unsure in by_head.items()])
    return quantiles.mean(axis=0), quantiles.argmax(axis=0)


def cold(system: System, schema: Schema, data: Sequence[Mapping[str, Any]], report: Report) -> Scored:
    """Before the first training: nothing is predicted, the texts are only placed in the encoder's space."""
    texts = [text_of(item, schema.heads[0]) for item in data]
    name, length = system.settings.baseline_model_name, system.settings.max_sequence_length
    encoder = cache(system).get(f"encoder/{name}", lambda: load_encoder(name, max_length=length))
    embeddings = encoder.embed(texts, progress=report)
    reason = "Cold start: unlike the tasks before it; nothing is learned yet."
    empty: list[list[dict[str, Any]]] = [[] for _ in data]
    return Scored(None, embeddings, empty, [reason] * len(texts), {}, {})
