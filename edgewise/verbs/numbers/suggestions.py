"""What annotations began from, read in time: Label Studio forgets it as soon as a release is deleted.

Knows whose answers a prediction's name stands for. What people made of them: `feedback`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from edgewise.errors import NotFound
from edgewise.labels.annotations import Annotation
from edgewise.labels.schema import Schema
from edgewise.services.store import Project, Suggestion
from edgewise.verbs.system import System

BASELINE = "baseline"
NAME = re.compile(r"(ew|llm)-([0-9]{1,9}|live)")  # of predictions that are ours
LLM_RELEASE = re.compile(r"llm-([0-9]+)/.*")  # system.source_of

Sources = dict[str, str]  # from_name -> who suggested, in words for people


def keep_suggestions(system: System, project: Project, schema: Schema, annotations: Sequence[Annotation]) -> None:
    """Read and keep the predictions that these annotations began from, but for those that we know."""
    begun = [one for one in annotations if one.parent_prediction is not None]
    known = system.store.begun_from(project.key, {one.task_id for one in begun})
    unknown = [one for one in begun if known.get(one.id) != one.parent_prediction]
    if not unknown:
        return
    said = {one["id"]: one for one in system.studio.predictions(project.ls_id, {one.task_id for one in unknown})}
    made = [
        suggestion(system, project, schema, one, said[one.parent_prediction])
        for one in unknown
        if one.parent_prediction in said  # else it was deleted a moment ago
    ]
    system.store.save_suggestions(project.key, made)


def suggestion(
    system: System, project: Project, schema: Schema, annotation: Annotation, shown: Mapping[str, Any]
) -> Suggestion:
    """A prediction of Label Studio as what an annotation began from."""
    result = shown.get("result")
    regions = tuple(region for region in result if isinstance(region, dict)) if isinstance(result, list) else ()
    sources = sources_of(system, project, schema, str(shown.get("model_version") or ""))
    if not regions:
        sources = {
            name: source
            for name, source in sources.items()
            if not is_language_model(source) or has_answered(system, project, annotation.task_id)
        }
    return Suggestion(annotation.task_id, annotation.id, int(shown["id"]), sources, regions)


def sources_of(system: System, project: Project, schema: Schema, name: str) -> Sources:
    """Who answered for each head under a prediction's name; nobody in the cold start, or where we cannot tell.

    `ew-live` stands for whatever served while a release was on its way.
    """
    heads = [head.from_name for head in schema.heads]
    ours = NAME.fullmatch(name)
    if ours is None:
        return dict.fromkeys(heads, f"other: {name}" if name else "other")
    kind, number = ours.groups()
    if number == "live":
        return {}
    return dict.fromkeys(heads, run_name(number)) if kind == "llm" else of_release(system, project, heads, int(number))


def of_release(system: System, project: Project, heads: Sequence[str], n: int) -> Sources:
    """The same for a release of ours. A version has no model for a head that it was not taught: the baseline has."""
    try:
        release = system.store.release(project.key, n)
        if release.version is None:
            return dict.fromkeys(release.scales, BASELINE)
        run = LLM_RELEASE.fullmatch(release.version)
        if run is not None:
            return dict.fromkeys(heads, run_name(run[1]))
        taught = system.store.version(project.key, release.version).settings.get("heads", {})
    except NotFound:  # of a life of this project that we have forgotten
        return {}
    return {name: f"model {release.version}" if name in taught else BASELINE for name in release.scales}


def run_name(number: str) -> str:
    """A run of a language model, for people."""
    return f"language model run {number}"


def is_language_model(source: str) -> bool:
    """Whether this is the name of such a run."""
    return source.startswith(run_name(""))


def has_answered(system: System, project: Project, task_id: int) -> bool:
    """Whether a language model had an answer for a task: it says nothing also where it failed, or was not asked."""
    said = system.store.latest_prelabels(project.key, [task_id]).get(task_id)
    return said is not None and said.error is None
