"""Who else answers: the trained model that serves, and the baseline model, on the same tasks as the candidates.

The trained model never on what it was trained on: by the answers that its version keeps (held out, out of fold), and
anew on tasks that it never saw.
"""

from collections.abc import Sequence
from typing import Any

from edgewise.labels.schema import Schema
from edgewise.labels.spans import Span
from edgewise.learning.llm_evaluation import Answer, Examined, Source
from edgewise.services.store import Project, Version
from edgewise.verbs.judge import spans_from
from edgewise.verbs.models import Model, model_of, models_of
from edgewise.verbs.scoring import predict
from edgewise.verbs.system import System

Found = dict[int, dict[str, tuple[Span, ...]]]  # by task, then by from_name


def rivals(system: System, project: Project, schema: Schema, examined: Sequence[Examined]) -> list[Source]:
    """The models that answer for these heads; one that does not fit is missing."""
    found = []
    if project.serving is not None:
        version = system.store.version(project.key, project.serving)
        if version.schema_digest == schema.digest:
            facts = {"version": version.id, "examples": version.examples}
            found.append(_source("trained model", facts, trained(system, project, schema, version, examined)))
    models = models_of(system, project, schema, None)
    if models:
        answered: Found = {}
        for name, model in models.items():
            add(answered, name, model, examined)
        found.append(_source("baseline model", {"model": system.settings.baseline_model_name}, answered))
    return [one for one in found if one.answers]


def trained(system: System, project: Project, schema: Schema, version: Version, examined: Sequence[Examined]) -> Found:
    """What the version says about tasks that it was not trained on."""
    store, key = system.store, project.key
    kept: dict[int, dict[str, Any]] = {}
    for purpose in ("out_of_fold", "held_out"):
        for task, answers in store.version_predictions(key, version.id, purpose).items():
            kept[task] = kept.get(task, {}) | answers
    taught = {row.task_id for row in store.snapshot_rows(key, version.snapshot)}
    found: Found = {}
    for head in schema.heads:
        name = head.from_name
        for one in examined:
            if name in kept.get(one.task_id, {}):
                fits = [span for span in spans_from(kept[one.task_id][name]) if span.end <= len(one.texts[name])]
                found.setdefault(one.task_id, {})[name] = tuple(fits)
        fresh = [one for one in examined if name not in kept.get(one.task_id, {}) and one.task_id not in taught]
        model = model_of(system, project, head, version) if fresh else None
        if model is not None and name in version.settings.get("heads", {}):
            add(found, name, model, fresh)
    return found


def add(found: Found, name: str, model: Model, examined: Sequence[Examined]) -> None:
    """A model's answers at one head."""
    said = predict(model, [one.texts[name] for one in examined]).spans
    for one, spans in zip(examined, said, strict=True):
        found.setdefault(one.task_id, {})[name] = spans


def _source(name: str, facts: dict[str, Any], found: Found) -> Source:
    return Source(name, {task: Answer(spans) for task, spans in found.items()}, is_candidate=False, facts=facts)
