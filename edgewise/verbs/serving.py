"""Which version serves: make one serve, and go back to an earlier one. Label Studio follows with the next ranking."""

from edgewise.errors import Conflict
from edgewise.services.mirror import champion_message
from edgewise.services.store import Job, Project, Version
from edgewise.verbs.system import System, folder_name, schema_of


def serve(system: System, project: Project, version: Version) -> Job:
    """From now on this version answers; the ranking that follows shows it in Label Studio. Returns that job."""
    system.store.outbox_add("champion", champion_message(project, version.id))
    system.store.update_project(
        project.key, serving=version.id
    )  # killed from here on: the next sync queues the ranking
    system.queue.enqueue("mirror", None)
    return system.queue.enqueue("rank", project.key)


def rollback(system: System, project: Project, version_id: str) -> Job:
    """Serve an earlier version. Raises NotFound: no such version, or no weights; Conflict: made for another config."""
    version = system.store.version(project.key, version_id)
    schema = schema_of(project)
    if schema is None or version.schema_digest != schema.digest:
        raise Conflict(f"Version {version_id} was trained for another labelling config.", "Choose a later version.")
    system.registry.verify(folder_name(project), version.id)
    return serve(system, project, version)


def pin(system: System, project: Project, version_id: str) -> Version:
    """Keep a version's weights, however many are newer. Raises NotFound: no such version, or no weights."""
    version = system.store.version(project.key, version_id)
    system.registry.verify(folder_name(project), version.id)
    return system.store.update_version(project.key, version.id, pinned=True)


def unpin(system: System, project: Project, version_id: str) -> Version:
    """Its weights go, as others do, when three are newer and another serves. Raises NotFound: no such version."""
    return system.store.update_version(project.key, version_id, pinned=False)
