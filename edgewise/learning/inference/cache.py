"""Models in memory, the least recently used out first. Knows of a model only how large it is."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol, TypeVar


class Sized(Protocol):
    """What a cache can hold."""

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""


Held = TypeVar("Held", bound=Sized)


class ModelCache:
    """Models in memory, at most `megabytes` of them, the least recently used out first. Safe to share between threads.

    The newest model stays even if it alone is larger. Two threads that ask for the same one wait for one loading.
    """

    def __init__(self, megabytes: float) -> None:
        self._limit_bytes = megabytes * 1e6
        self._held: OrderedDict[str, tuple[str, Sized]] = OrderedDict()
        self._loading: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: str, loader: Callable[[], Held], *, state: str = "") -> Held:
        """The model of this key, loaded by `loader` if it is not here. What the loader raises is passed on.

        state: which of the key's models is meant, where there is one after another, as a project's versions are; one
        that is loaded takes the place of the one before.
        """
        with self._lock:
            turn = self._loading.setdefault(key, threading.Lock())
        with turn:
            with self._lock:
                if key in self._held and self._held[key][0] == state:
                    self._held.move_to_end(key)
                    return self._held[key][1]  # type: ignore[return-value]  # a key always has the same kind
            loaded = loader()
            with self._lock:
                self._held[key] = (state, loaded)
                self._held.move_to_end(key)
                while len(self._held) > 1 and sum(one.nbytes for _, one in self._held.values()) > self._limit_bytes:
                    self._loading.pop(self._held.popitem(last=False)[0], None)
            return loaded
