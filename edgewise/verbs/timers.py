"""What happens without anybody asking: a timed sync of each live project, as webhooks get lost."""

from time import monotonic

from edgewise.verbs.system import System


class Timers:
    """Called every second by the one worker that holds the lease."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._next_sync = 0.0

    def __call__(self) -> None:
        """Queue what is due."""
        if monotonic() < self._next_sync:
            return
        self._next_sync = monotonic() + self._system.settings.sync_interval_s
        self._system.registry.sweep()
        for project in self._system.store.projects():
            if project.state == "live":
                self._system.queue.enqueue("sync", project.key)
