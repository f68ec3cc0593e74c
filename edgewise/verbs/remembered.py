"""What was computed once and is asked for again, in this process: a value for each name, as long as its stamp is the
same. Knows nothing of what the values are; a stamp must hold all that can change them.
"""

from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, TypeVar

Value = TypeVar("Value")


class Remembered:
    """Values by name. Safe to share between threads: who asks for what another is making waits for that one."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, tuple[Hashable, Any]] = {}
        self._locks: dict[Hashable, Lock] = {}

    def once(self, name: Hashable, stamp: Hashable, make: Callable[[], Value]) -> Value:
        """What was made for this name under this stamp; anew under another one, which takes the place of the old. While
        it makes a value it may ask for others, but not for its own."""
        with self._locks.setdefault(name, Lock()):
            kept = self._kept.get(name)
            if kept is None or kept[0] != stamp:
                kept = self._kept[name] = (stamp, make())
        value: Value = kept[1]
        return value
