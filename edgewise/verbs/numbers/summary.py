"""A project's numbers: how good each version is on today's held-out tasks, what more labels should bring, and the
newest reports. Everything here is cheap: computed when asked, from what the store has, and for a version once for the
same held-out tasks; no model is run.
"""

from typing import Any

from edgewise.services.store import Project, Version
from edgewise.verbs.judge import SHOWN_ENOUGH
from edgewise.verbs.numbers.curves import advice, curve, last_changed
from edgewise.verbs.numbers.feedback import feedback, pace
from edgewise.verbs.numbers.scored import Labelled
from edgewise.verbs.numbers.shown_errors import newest_errors
from edgewise.verbs.status import stamp
from edgewise.verbs.system import System, folder_name, schema_of

Json = dict[str, Any]


def numbers(system: System, project: Project) -> Json:
    """Held-out tasks, curves, advice, versions' cards and the newest reports."""
    held_out = system.store.counts(project.key)["audit_labelled"]
    schema = schema_of(project)
    heads = schema.heads if schema else ()
    labelled = Labelled(system, project)
    found = {head.from_name: curve(labelled, head) for head in heads}
    measured = {name: (shown["measure"], known) for name, (shown, known) in found.items()}
    return {
        "held_out": {"tasks": held_out, "enough": held_out >= SHOWN_ENOUGH},
        "curves": {name: shown for name, (shown, _) in found.items()},
        "advice": advice(held_out, measured, last_changed(system, project)),
        "versions": cards(system, project),
        "pace": pace(system, project),
        "feedback": feedback(system, project),
        "saving": newest(system, project, "saving"),
        "label_errors": newest_errors(system, project),
        "improve": newest(system, project, "improve"),
    }


def cards(system: System, project: Project) -> list[Json]:
    """Each version's card, newest first. `kept`: its weights are here, so that it can serve again."""
    kept = system.registry.versions(folder_name(project))
    return [card(version, version.id in kept) for version in system.store.versions(project.key)]


def card(version: Version, kept: bool) -> Json:
    """What a version was made of, by which code, and how good it was when it was made."""
    recipe = version.settings.get("recipe", {})
    return {
        "id": version.id,
        "state": version.state,
        "provisional": version.provisional,
        "reason": version.reason,
        "parent": version.parent,
        "dataset": version.snapshot,
        "examples": version.examples,
        "settings": version.settings,
        "seed": recipe.get("seed"),
        "scores": version.scores,
        "label_counts": version.label_counts,
        "code": version.code,
        "pinned": version.pinned,
        "kept": kept,
        "at": stamp(version.created_at),
    }


def newest(system: System, project: Project, kind: str) -> Json | None:
    """The newest finished report of this kind, whole."""
    found = system.store.reports(project.key, 1, kind)
    return {"id": found[0].id, "at": stamp(found[0].created_at), "report": found[0].content} if found else None
