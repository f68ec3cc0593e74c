"""When a project's id in Label Studio is free, or another's: what we keep of it goes, and who has the id comes in.

Erasing cannot be undone, so only Label Studio's own answer counts, by the token from settings. A /setup is no answer:
another Label Studio that has our address and password calls it too. It leaves a claim, which the next look settles.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from edgewise.errors import StudioRefused
from edgewise.services.jobs import Progress
from edgewise.services.store import Project
from edgewise.verbs.erasure import erase_project
from edgewise.verbs.system import System, epoch_of

log = logging.getLogger(__name__)


def claim(system: System, project: Project, created_at: str, address: str) -> None:
    """Somebody says that the project's id is another project's: Label Studio is to be asked. address: how we were
    called."""
    system.store.remember_connection(project.key, {"claim": {"created_at": created_at, "address": address}})
    # Both look. Only connect runs for a project that is paused.
    system.queue.enqueue("sync" if project.state == "live" else "connect", project.key)


def drop_claim(system: System, project: Project) -> None:
    """Label Studio has the project as we know it: whoever claims its id is not from there."""
    claimed = project.connection.get("claim")
    if claimed is not None:
        log.warning(
            "Label Studio still has project %s as we know it, created at %s: a /setup for one created at %s is left "
            "alone. It is another Label Studio's, where our address is to be removed.",
            *(project.ls_id, project.created_at, claimed["created_at"]),
        )
        system.store.remember_connection(project.key, {"claim": None})


def make_way(system: System, project: Project, raw: Mapping[str, Any], progress: Progress) -> Project:
    """Label Studio has another project under the id, `raw`: that one is followed if it has called us, ours is erased.

    Raises StudioRefused as `leave` does, but for a project that was never connected: its organisation is not known.
    """
    if project.state != "connecting":
        refuse_hidden(system, project)
    claimed = system.by_key(project.key).connection.get("claim") or {}  # it may have come after this job's start
    if claimed.get("created_at") == epoch_of(raw["created_at"]):
        heir = system.record(project.ls_id, raw)  # first: killed after it, the timers erase the one that is gone
        here = {"addresses": [claimed["address"]], "backend_url": claimed["address"]}
        system.store.remember_connection(heir.key, here)
        system.queue.enqueue("connect", heir.key)
    return erase(system, project, progress)


def leave(system: System, project: Project, progress: Progress) -> Project:
    """Label Studio has no such project: its jobs stop and its data is erased.

    Raises StudioRefused if it is only out of our sight: Label Studio says 404 to somebody of another organisation too.
    """
    refuse_hidden(system, project)
    return erase(system, project, progress)


def refuse_hidden(system: System, project: Project) -> None:
    """Raises StudioRefused if the token is of another organisation than the project."""
    organization = project.connection.get("organization")
    if organization != system.studio.whoami().get("active_organization"):
        raise StudioRefused(
            f"Label Studio does not show us project {project.ls_id}: the token belongs to another organisation.",
            "Set LABEL_STUDIO_API_KEY to a token of the project's organisation. Nothing was erased.",
        )


def erase(system: System, project: Project, progress: Progress) -> Project:
    """Stop its jobs, but for the one that does this, and erase it."""
    log.info("project %s is gone in Label Studio: its data is erased", project.key)
    system.queue.cancel_all(project.key, spare=progress.job_id)
    erase_project(system, project)
    return replace(project, state="gone")
