"""Tasks through the project's heads: one prediction, one uncertainty and one reason for each.

The same path serves ranking and /predict. Which model answers is the business of models.py; knows nothing of releases.
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
from edgewise.learning.inference import Classified, Tagged, Tagger, describe, describe_choice, load_encoder
from edgewise.verbs.models import Model, cache
from edgewise.verbs.system import System

Report = Callable[[float], None]
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


def joined(parts: Sequence[Scored]) -> Scored:
    """What models say of several lots of tasks, one after another, as of one; all on the same scales."""
    first = parts[0]
    return Scored(
        uncertainty=None if first.uncertainty is None else np.concatenate([part.uncertainty for part in parts]),
        embeddings=np.concatenate([part.embeddings for part in parts]),
        results=[result for part in parts for result in part.results],
        reasons=[reason for part in parts for reason in part.reasons],
        spans={head: [found for part in parts for found in part.spans[head]] for head in first.spans},
        by_head={head: np.concatenate([part.by_head[head] for part in parts]) for head in first.by_head},
    )


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
    if len(alone) == 1 or not len(alone[0]):  # of no tasks there is no scale
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
