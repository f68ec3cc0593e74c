"""What callers are told of tasks: predictions and the hardest ones. Reads the store first, a model only when it must.

Everything here answers within Label Studio's deadlines; whatever takes longer is a job.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from edgewise.errors import Conflict, EdgewiseError, InputError
from edgewise.labels.schema import Schema
from edgewise.services.store import Project, Rank, Release
from edgewise.verbs.fetched import as_kept
from edgewise.verbs.models import Model, models_of
from edgewise.verbs.placing import release_name
from edgewise.verbs.scoring import Scales, Scored, readable, score
from edgewise.verbs.sync import is_audit, key_of
from edgewise.verbs.system import System, schema_of

log = logging.getLogger(__name__)
LIVE = "ew-live"
DEADLINE_S = 60.0  # Label Studio waits 100 s for /predict, and drops the whole batch when it passes
BATCH = 64
UNKNOWN_SCORE = 0.5

Json = dict[str, Any]


def version_name(system: System, project: Project) -> str:
    """The version that /setup and /predict answer under.

    While a release is being pushed it is another name: Label Studio would store our answer beside the pushed
    prediction, and the task's score would count double.
    """
    return name_of(active(system, project))


def active(system: System, project: Project) -> Release | None:
    """The release that serves."""
    return None if project.active_release is None else system.store.release(project.key, project.active_release)


def name_of(release: Release | None) -> str:
    """See `version_name`."""
    return release_name(release.n) if release is not None and release.whole else LIVE


def predict(system: System, project: Project, tasks: Sequence[Json], drawn: Sequence[Json] | None) -> list[Json]:
    """One prediction per task, in order: from the active release, else from a model, else empty.

    drawn: regions that the annotator has just drawn; then only spans that do not overlap them are answered.
    """
    release = active(system, project)
    name = name_of(release)
    known = ranks_of(system, project, tasks) if drawn is None else {}
    answers = [prediction(known.get(task.get("id", -1)), name) for task in tasks]
    missing = [position for position, task in enumerate(tasks) if task.get("id") not in known]
    scales = release.scales if release is not None else {}  # how uncertainties were spread over the pool
    for position, answer in live(system, project, [tasks[position] for position in missing], scales).items():
        answers[missing[position]] = answer | {"model_version": name}
    if drawn:
        return [without_overlaps(answer, drawn) for answer in answers]
    return answers


def ranks_of(system: System, project: Project, tasks: Sequence[Json]) -> dict[int, Rank]:
    """The active release's ranks of these tasks."""
    if project.active_release is None:
        return {}
    ids = [task["id"] for task in tasks if isinstance(task.get("id"), int)]
    return system.store.ranks(project.key, project.active_release, ids)


def prediction(rank: Rank | None, name: str) -> Json:
    """A rank as Label Studio's prediction; an empty one for a task without."""
    if rank is None:
        return {"result": [], "score": UNKNOWN_SCORE, "model_version": name}
    return {"result": list(rank.result), "score": rank.score, "model_version": name}


def live(system: System, project: Project, tasks: Sequence[Json], scales: Scales) -> dict[int, Json]:
    """Position -> prediction by the model that serves, until the deadline; tasks that cannot be read are left out."""
    schema = schema_of(project)
    if schema is None or not tasks:
        return {}
    models = models_now(system, project, schema)
    if not models:
        return {}
    data = as_kept(system, project, schema, tasks)
    unseen = hidden(system, project, schema, tasks)
    good = [position for position in readable(schema, data)[0] if position not in unseen]

    def ask(some: Sequence[Json]) -> Scored:
        return score(system, schema, models, some, lambda done: None, scales)

    answers: dict[int, Json] = {}
    started = time.monotonic()
    for start in range(0, len(good), BATCH):
        if time.monotonic() - started > DEADLINE_S:
            log.warning("%d of %d tasks were not predicted within the deadline", len(good) - start, len(good))
            break
        answers |= predict_batch(ask, data, good[start : start + BATCH])
    return answers


def predict_batch(
    ask: Callable[[Sequence[Json]], Scored], data: Sequence[Json], positions: Sequence[int]
) -> dict[int, Json]:
    """Position -> prediction. If the batch fails each task is tried alone, so that one bad text costs only itself."""
    try:
        scored = ask([data[position] for position in positions])
    except Exception as error:
        if len(positions) == 1:
            log.warning("a task could not be predicted: %s", type(error).__name__)
            return {}
        alone = [predict_batch(ask, data, [position]) for position in positions]
        return {position: answer for answers in alone for position, answer in answers.items()}
    assert scored.uncertainty is not None
    return {
        position: {"result": result, "score": float(1 - uncertainty)}
        for position, result, uncertainty in zip(positions, scored.results, scored.uncertainty, strict=True)
    }


def models_now(system: System, project: Project, schema: Schema) -> dict[str, Model]:
    """The models that answer; none when they cannot be loaded, as an error costs the caller the whole batch."""
    try:
        version = system.store.version(project.key, project.serving) if project.serving else None
        return models_of(system, project, schema, version)
    except EdgewiseError as error:
        log.warning("nothing can be predicted: %s", error.what)
        return {}


def hidden(system: System, project: Project, schema: Schema, tasks: Sequence[Json]) -> set[int]:
    """Positions of the audit tasks: people label them without our suggestion, also before a release holds them."""
    if system.settings.audit_prelabel:
        return set()
    ids = {position: task["id"] for position, task in enumerate(tasks) if isinstance(task.get("id"), int)}
    known = system.store.tasks(project.key, ids.values())

    def is_held_out(position: int, task_id: int) -> bool:
        if task_id in known:
            return known[task_id].audit
        key = key_of(tasks[position].get("data") or {}, schema, task_id)
        return is_audit(project, key, system.settings.audit_fraction)

    return {position for position, task_id in ids.items() if is_held_out(position, task_id)}


def without_overlaps(answer: Json, drawn: Sequence[Json]) -> Json:
    """The answer without regions that overlap what is drawn, and without choices that are made."""
    taken = [(region.get("to_name"), *place) for region in drawn if (place := offsets(region)) is not None]
    chosen = {region.get("from_name") for region in drawn if offsets(region) is None}

    def is_free(region: Json) -> bool:
        place = offsets(region)
        if place is None:
            return region["from_name"] not in chosen
        return not any(region["to_name"] == text and place[0] < end and start < place[1] for text, start, end in taken)

    return answer | {"result": [region for region in answer["result"] if is_free(region)]}


def offsets(region: Json) -> tuple[int, int] | None:
    """Where a drawn region is in its text; None for one that is nowhere, a choice, or measured in something else."""
    value = region.get("value")
    start, end = (value.get("start"), value.get("end")) if isinstance(value, dict) else (None, None)
    return (start, end) if isinstance(start, int) and isinstance(end, int) else None


def refuse_another(system: System, project: Project, strategy: str) -> None:
    """An order was made by one strategy; another one's would be another order. Raises Conflict or InputError."""
    schema = schema_of(project)
    used = sorted(system.uncertainty.names(schema)) if schema else []
    if strategy in used:
        return
    known = sorted({*system.uncertainty.scores, *system.uncertainty.choice_scores})
    if strategy not in known:
        raise InputError(f"There is no strategy {strategy!r}.", f"Choose one of {', '.join(known)}, or leave it out.")
    raise Conflict(
        f"The order was made by {' and '.join(map(repr, used))}, not by {strategy!r}.",
        "Leave strategy out of the call.",
    )


def select_samples(
    system: System, project: Project, limit: int | None, strategy: str | None, threshold: float | None
) -> Json:
    """The hardest open tasks, first to be labelled first; never audit tasks. `threshold` filters."""
    settings = system.settings
    limit = settings.samples_per_iteration if limit is None else limit
    if strategy is not None:
        refuse_another(system, project, strategy)
    if project.active_release is None:
        raise Conflict(
            f"Project {project.ls_id} has no order yet.",
            "Wait for the first ranking: GET /projects/<id>/status says when.",
        )
    ranks = system.store.hardest(project.key, project.active_release, limit, threshold=threshold)
    release = system.store.release(project.key, project.active_release)
    samples = [
        {
            "task_id": rank.task_id,
            "uncertainty": rank.uncertainty,
            "above_threshold": rank.uncertainty is not None and rank.uncertainty >= settings.uncertainty_threshold,
            "reason": rank.reason,
        }
        for rank in ranks
    ]
    return {
        "project_id": project.ls_id,
        "model_version": release.version,
        "task_ids": [rank.task_id for rank in ranks],
        "samples": samples,
        "pool_size": system.store.pool_size(project.key, project.active_release),
    }
