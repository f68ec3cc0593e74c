"""How long people needed for the examples that each version learned from.

Which examples a snapshot has is read once; how long they took is asked anew each time, as people correct labels later.
"""

import math
from collections.abc import Iterable, Mapping
from threading import Lock

import numpy as np
from numpy.typing import NDArray

KNOWN_SHARE = 0.5  # of the examples whose time must be known to tell the time of all

Marks = NDArray[np.uint8]
Taught = tuple[int, tuple[int, ...]]  # a task, and the annotations that its example was made of


class Examples:
    """Numbers for the training examples of a project, so that a snapshot is a bit for each: hundreds of snapshots
    share most of theirs. Safe to share between threads."""

    def __init__(self) -> None:
        self._numbers: dict[Taught, int] = {}
        self._lock = Lock()

    def marks(self, rows: Iterable[Taught]) -> Marks:
        """(n_known_so_far / 8,), packed: which examples these are. An example that is new gets the next number."""
        with self._lock:
            numbers = [self._numbers.setdefault(row, len(self._numbers)) for row in rows]
            marked = np.zeros(len(self._numbers), dtype=np.bool_)
        marked[numbers] = True
        return np.packbits(marked)

    def seconds(self, lead_times: Mapping[int, float]) -> NDArray[np.float64]:
        """(n_known,), what each example took, of all its annotations together; nan where nobody knows."""
        with self._lock:
            every = list(self._numbers)
        times = ([lead_times[i] for i in ids if i in lead_times] for _, ids in every)
        return np.array([sum(some) if some else math.nan for some in times], dtype=np.float64)


def minutes(marks: Marks, seconds: NDArray[np.float64]) -> float | None:
    """What the marked examples took; None if that is known of less than half of them. seconds: as of `Examples`, asked
    for after the marks."""
    times = seconds[np.flatnonzero(np.unpackbits(marks))]
    known = times[~np.isnan(times)]
    if not len(known) or len(known) < KNOWN_SHARE * len(times):
        return None
    return math.fsum(known) / len(known) * len(times) / 60
