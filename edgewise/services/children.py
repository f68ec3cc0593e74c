"""Processes for heavy jobs, from both sides: the worker that starts them, and what goes on in them.

A child lives a little longer than its job: a training is followed by a ranking, and to start Python and torch anew is
seconds that annotators wait for. Ids of further jobs come in over its stdin, a pipe; when that ends in the middle of a
job the worker has died, and so does the child.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from time import monotonic

from edgewise.errors import NotFound
from edgewise.services.store import Job, Store

COMMAND = (sys.executable, "-m", "edgewise", "job")


class Child:
    """A process for one job after the other, polite to the rest of the machine."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(["nice", "-n", "10", *command], stdin=subprocess.PIPE, env=environment())

    def give(self, job: Job) -> None:
        """The next job. A child that has died meanwhile says so by its exit code."""
        assert self._process.stdin is not None  # we asked for a pipe
        try:
            self._process.stdin.write(f"{job.id}\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            self._process.wait()

    @property
    def code(self) -> int | None:
        """How it ended; None while it lives."""
        return self._process.poll()

    def stop(self, grace_s: float) -> None:
        """Make it end, by force after `grace_s`."""
        self._process.terminate()
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """Nothing more to do: it ends by itself."""
        assert self._process.stdin is not None  # we asked for a pipe
        self._process.stdin.close()


class Spare:
    """At most one child that has done its job and waits for another, not for long: its memory is to go with it."""

    def __init__(self, command: Sequence[str], seconds: float) -> None:
        self._command, self._seconds = command, seconds
        self._child: Child | None = None
        self._until = 0.0
        self._leaving: list[Child] = []

    def take(self) -> Child:
        """The one that waits, else a new one."""
        child, self._child = self._child, None
        return child if child is not None and child.code is None else Child(self._command)

    def keep(self, child: Child) -> None:
        """It may wait."""
        self.drop()
        self._child, self._until = child, monotonic() + self._seconds

    def tidy(self) -> None:
        """Let go of one that has waited long enough, and see those off that have ended: none stays as a zombie."""
        if monotonic() >= self._until:
            self.drop()
        self._leaving = [child for child in self._leaving if child.code is None]

    def drop(self) -> None:
        """Let go of the one that waits."""
        if self._child is not None:
            self.let_go(self._child)
            self._child = None

    def let_go(self, child: Child) -> None:
        """A child with nothing more to do."""
        child.close()
        self._leaving.append(child)


class InChild:
    """A heavy job in a child. One that ends well leaves the child to the next."""

    def __init__(self, job: Job, store: Store, spare: Spare) -> None:
        self.job = job  # as it was before the start
        self._store, self._spare = store, spare
        self._child = spare.take()
        self._child.give(job)

    def ended(self) -> str | None:
        """None while it works; else how it ended, in words."""
        code = self._child.code
        if code is None:
            return None if self._state() in {"queued", "running"} else "end is recorded"
        return f"process was killed by signal {-code}" if code < 0 else f"process ended with code {code}"

    def stop(self, grace_s: float) -> None:
        """Make it end, by force after `grace_s`."""
        self._child.stop(grace_s)

    def close(self) -> None:
        """Let go of the child, or spare it if all went well."""
        if self._child.code is None and self._state() == "done":
            self._spare.keep(self._child)
        else:
            self._spare.let_go(self._child)

    def _state(self) -> str:
        """Of this attempt, as the job's row has it."""
        try:
            now = self._store.job(self.job.id)
        except NotFound:
            return "forgotten"
        is_again = now.state == "queued" and now.attempts > self.job.attempts
        return "put back" if is_again else now.state


def environment() -> dict[str, str]:
    """Our environment, with torch's threads kept from spinning and from taking every core, and oneDNN from keeping code
    for every shape that it has seen (0.6 MB each in bfloat16); what is set there stays."""
    threads = max(1, (os.cpu_count() or 2) // 2)
    shapes = {"LRU_CACHE_CAPACITY": "256", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "256"}
    return {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": str(threads), **shapes, **os.environ}


def run_given(run_job: Callable[[str], None]) -> None:
    """In the child: run the jobs whose ids come in over stdin, line by line, until it ends."""
    ids: SimpleQueue[str] = SimpleQueue()
    given = done = 0

    def listen() -> None:
        nonlocal given
        for line in sys.stdin.buffer:
            given += 1
            ids.put(line.decode().strip())
        if given > done:
            os._exit(1)
        ids.put("")

    Thread(target=listen, name="parent watch", daemon=True).start()
    while job_id := ids.get():
        with suppress(OSError):  # where there is no /proc, `ps` shows us as ever
            Path("/proc/self/comm").write_text(title(job_id))
        run_job(job_id)
        done += 1


def title(job_id: str) -> str:
    """What a child is called while it runs a job, and until the next: 15 characters at most."""
    return f"job {job_id[:8]}"
