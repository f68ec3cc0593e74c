"""What happens without anybody asking: a timed sync of each live project, as webhooks get lost."""

import logging
from collections.abc import Iterable
from time import monotonic

from edgewise.errors import Conflict
from edgewise.services.store import Project
from edgewise.verbs.erasure import erase_project
from edgewise.verbs.places import addresses
from edgewise.verbs.system import System

log = logging.getLogger(__name__)


class Timers:
    """Called every second by the one worker that holds the lease."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._next_sync = 0.0
        self._left_alone: set[int] = set()
        self._kind = "sweep"  # what was deleted while nobody looked is found at the start; afterwards sync sees to it

    def __call__(self) -> None:
        """Queue what is due."""
        if monotonic() < self._next_sync:
            return
        self._next_sync = monotonic() + self._system.settings.sync_interval_s
        self._system.registry.sweep()
        for project in self._here(self._system.store.projects()):
            if project.state == "gone":  # Label Studio has said so, and whoever was to erase it was killed
                erase_project(self._system, project)
            elif project.state == "live":
                self._system.queue.enqueue(self._kind, project.key)
            elif project.state == "connecting" and addresses(project):  # the last try was refused: a wrong token, say
                self._system.queue.enqueue("connect", project.key)
        self._kind = "sync"
        if self._system.store.outbox_next(1) and not self._system.store.unfinished_jobs(None, "mirror"):
            self._system.queue.enqueue("mirror", None)  # one that waits is left to its pause: MLflow is away

    def _here(self, projects: Iterable[Project]) -> list[Project]:
        """Those recorded under our address of Label Studio. Of the others we say once what is to be done."""
        here = []
        for project in projects:
            try:
                self._system.refuse_elsewhere(project)
                here.append(project)
            except Conflict as error:
                if project.key not in self._left_alone:
                    log.warning("%s", error)
                self._left_alone.add(project.key)
        return here
