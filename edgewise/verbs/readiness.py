"""Whether we can work, for those who ask every few seconds: one question at a time, its answer good for a moment.

Anybody may ask, without credentials: however many do, and however long Label Studio takes, one thread is busy with it.
"""

import threading
import time
from typing import Any

from edgewise.errors import EdgewiseError
from edgewise.services.studio import Studio
from edgewise.verbs.system import System

Json = dict[str, Any]
PATIENCE_S = 3.0  # who asks gives up soon
GOOD_FOR_S = 2.0


class Readiness:
    """Of one process. Several threads may share it."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._turn = threading.Lock()
        self._known: Json = {"ready": False, "parts": {}}
        self._until_s = 0.0

    def now(self) -> Json:
        """Database and Label Studio, each with what is wrong. While somebody else is asking them: the answer before."""
        if time.monotonic() < self._until_s or not self._turn.acquire(blocking=False):
            return self._known
        try:
            self._known = look(self._system)
            self._until_s = time.monotonic() + GOOD_FOR_S
        finally:
            self._turn.release()
        return self._known


def look(system: System) -> Json:
    """Ask both."""

    def studio() -> None:
        with Studio(system.address, system.settings.label_studio_api_key.get_secret_value(), PATIENCE_S, tries=1) as it:
            it.version()

    parts: Json = {}
    for name, probe in (("database", system.store.ping), ("label_studio", studio)):
        try:
            probe()
            parts[name] = {"ready": True}
        except EdgewiseError as error:
            parts[name] = {"ready": False, "what": error.what, "mend": error.mend}
        except Exception as error:
            parts[name] = {"ready": False, "what": type(error).__name__, "mend": "See the server's log."}
    return {"ready": all(part["ready"] for part in parts.values()), "parts": parts}
