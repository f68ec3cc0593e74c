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
from edgewise.learning.inference import ModelCache, Tagger, describe, load_baseline, load_encoder, load_tagger
from edgewise.services.store import Project, Version
from edgewise.verbs.system import System, folder_name

Report = Callable[[float], None]


@dataclass(frozen=True)
class Scored:
    """What the heads say about n tasks, in their order.

    uncertainty: (n,) in [0, 1), higher is less sure; None in the cold start, when nobody can tell.
    embeddings: (n, dim) float32, rows of length 1. spans: per head, per task.
    """

    uncertainty: NDArray[np.float64] | None
    embeddings: NDArray[np.float32]
    results: list[list[dict[str, Any]]]
    reasons: list[str]
    spans: dict[str, list[tuple[Span, ...]]]


_cache: ModelCache | None = None


def cache(system: System) -> ModelCache:
    """The models that this process has loaded, bounded by MODEL_CACHE_MB."""
    global _cache
    if _cache is None:
        _cache = ModelCache(system.settings.model_cache_mb)
    return _cache


def taggers(system: System, project: Project, schema: Schema, version: Version | None) -> dict[str, Tagger]:
    """from_name -> the model that answers for this head; a head that nobody can answer for is missing."""
    found = {head.from_name: tagger(system, project, head, version) for head in schema.heads}
    return {name: model for name, model in found.items() if model is not None}


def tagger(system: System, project: Project, head: Head, version: Version | None) -> Tagger | None:
    """The version's model of this head if it learned these labels, else the baseline's, else None: never noise."""
    settings = system.settings
    if version is not None and version.settings.get("heads", {}).get(head.from_name) == head.digest:
        folder = system.registry.folder(folder_name(project), version.id, head.from_name)
        key = f"{project.key}/{version.id}/{head.from_name}"
        return cache(system).get(key, lambda: load_tagger(folder, head.labels, max_length=settings.max_sequence_length))
    key = f"baseline/{settings.baseline_model_name}/{head.digest}"
    baseline = cache(system).get(
        key,
        lambda: load_baseline(
            settings.baseline_model_name, head.label_for, head.labels, max_length=settings.max_sequence_length
        ),
    )
    return baseline.tagger


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
    models: Mapping[str, Tagger],
    data: Sequence[Mapping[str, Any]],
    report: Report,
) -> Scored:
    """Predict and score tasks that are readable. With no model at all: embeddings only, for the cold start."""
    if not models:
        return cold(system, schema, data, report)
    strategy = system.uncertainty.scores[system.uncertainty.default]
    uncertainties, reasons, spans, embeddings = [], [], {}, None
    results: list[list[dict[str, Any]]] = [[] for _ in data]
    heads = [head for head in schema.heads if head.from_name in models]
    for number, head in enumerate(heads):
        texts = [text_of(item, head) for item in data]
        tagged = models[head.from_name].tag(texts, progress=part(report, number, len(heads)))
        contributions = system.uncertainty.contributions(tagged.probabilities, tagged.offsets)
        uncertainties.append(strategy(tagged.probabilities, tagged.offsets))
        reasons.append([describe(tagged, i, text, contributions, head.labels) for i, text in enumerate(texts)])
        spans[head.from_name] = tagged.spans
        embeddings = tagged.embeddings if embeddings is None else embeddings
        for result, text, found in zip(results, texts, tagged.spans, strict=True):
            result.extend(regions(found, head, text))
    combined, leading = combine(np.stack(uncertainties))
    chosen = [reasons[head][task] for task, head in enumerate(leading)]
    assert embeddings is not None
    return Scored(combined, embeddings, results, chosen, spans)


def part(report: Report, number: int, of: int) -> Report:
    """Progress of one of several equal parts as progress of the whole."""
    return lambda done: report((number + done) / of)


def combine(uncertainties: NDArray[np.floating[Any]]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """One number per task from (n_heads, n_tasks), and the head that leads it.

    A single head's own number; of several, the mean of each head's quantile in the pool, as their scales differ.
    """
    if len(uncertainties) == 1:
        return uncertainties[0].astype(np.float64), np.zeros(uncertainties.shape[1], dtype=np.int64)
    ranks = uncertainties.argsort(axis=1).argsort(axis=1)
    quantiles = (ranks + 0.5) / uncertainties.shape[1]
    return quantiles.mean(axis=0), quantiles.argmax(axis=0)


def cold(system: System, schema: Schema, data: Sequence[Mapping[str, Any]], report: Report) -> Scored:
    """Before the first training: nothing is predicted, the texts are only placed in the encoder's space."""
    texts = [text_of(item, schema.heads[0]) for item in data]
    name, length = system.settings.baseline_model_name, system.settings.max_sequence_length
    encoder = cache(system).get(f"encoder/{name}", lambda: load_encoder(name, max_length=length))
    embeddings = encoder.embed(texts, progress=report)
    reason = "Cold start: unlike the tasks before it; nothing is learned yet."
    empty: list[list[dict[str, Any]]] = [[] for _ in data]
    return Scored(None, embeddings, empty, [reason] * len(texts), {})
