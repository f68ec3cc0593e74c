"""How often one caller may call: so many times in a minute. Counted by each server process for itself.

Knows kinds of calls and callers as words. Knows nothing of Flask, routes or credentials.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable

WINDOW_S = 60.0

# Label Studio speaks for all annotators, in up to four calls a task: 200 a second at the default, where a person with a
# script has 20.
STUDIO_SHARE = 10

# Different wrong passwords of one address in a minute: people mistype, and a wrong setting is always the same one.
WRONG_PASSWORDS = 30


class Rates:
    """Counts calls of each caller in windows of one minute. Several threads may share it."""

    def __init__(self, calls_per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        """calls_per_minute: of one caller, of our own calls. clock: in seconds, never backwards."""
        self._most = {"ours": calls_per_minute, "studio": calls_per_minute * STUDIO_SHARE, "wrong": WRONG_PASSWORDS}
        self._clock = clock
        self._lock = threading.Lock()
        self._ends = clock() + WINDOW_S
        self._counts: Counter[tuple[str, str]] = Counter()
        self._known_wrong: set[tuple[str, str]] = set()

    def count_ours(self, caller: str) -> int:
        """Count one of our own calls; seconds until the next is welcome, 0 if this one is."""
        return self._count("ours", caller)

    def count_studio(self, caller: str) -> int:
        """The same for the calls that Label Studio makes."""
        return self._count("studio", caller)

    def guesses(self, caller: str) -> int:
        """Seconds for which no password of this caller is looked at: it tried too many. 0: go on."""
        with self._lock:
            return self._wait_s("wrong", caller)

    def count_wrong(self, caller: str, attempt: str) -> None:
        """Count a wrong password. The same one again is no new guess: a wrong setting must lock nobody out.

        attempt: stands for user and password, and tells neither.
        """
        with self._lock:
            is_new = not self._wait_s("wrong", caller) and (caller, attempt) not in self._known_wrong
            if is_new:
                self._known_wrong.add((caller, attempt))
                self._counts["wrong", caller] += 1

    def _count(self, kind: str, caller: str) -> int:
        with self._lock:
            wait_s = self._wait_s(kind, caller)
            if not wait_s:
                self._counts[kind, caller] += 1
            return wait_s

    def _wait_s(self, kind: str, caller: str) -> int:
        """Whole seconds until the window ends, if this caller has no more calls of this kind in it."""
        now = self._clock()
        if now >= self._ends:
            self._ends = now + WINDOW_S
            self._counts.clear()
            self._known_wrong.clear()
        return 0 if self._counts[kind, caller] < self._most[kind] else max(1, round(self._ends - now))
