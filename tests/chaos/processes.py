"""Servers that a test kills with signal 9, freezes, and starts again on the same port and the same data.

A killed server takes all its processes along, as a container does. Knows nothing of what the servers are for.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

START_LIMIT_S = 120.0


class Server(Protocol):
    """One server of a house."""

    @property
    def pids(self) -> list[int]:
        """Its processes, parents first; none while it is down."""

    def start(self) -> None:
        """Start it; nothing happens while it runs."""

    def await_ready(self) -> None:
        """Until it answers."""

    def end(self) -> None:
        """End it, gently at first."""


@dataclass
class Program:
    """A server that is one command. `answers`: whether it does by now."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    answers: Callable[[], bool]
    cwd: Path = Path("/")
    process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @property
    def pids(self) -> list[int]:
        """See Server."""
        return family(self.process.pid) if self.process is not None and self.process.poll() is None else []

    def start(self) -> None:
        """See Server."""
        if self.pids:
            return
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", *self.command],  # nothing is left when the tests are killed
                cwd=self.cwd,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def await_ready(self) -> None:
        """See Server."""
        until(lambda: self.answers() or not self.pids, f"{self.name} answers", START_LIMIT_S, self._told)
        assert self.pids, f"{self.name} ended: {self._told()}"

    def end(self) -> None:
        """See Server."""
        if self.process is not None and self.process.poll() is None:
            for pid in self.pids[:2]:  # what runs a server as another user does not pass every signal on
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
            kill(self.pids)
            self.process.wait()

    def _told(self) -> str:
        return self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""


def until(
    condition: Callable[[], object], what: str, within_s: float, why: Callable[[], object] = str, every_s: float = 0.1
) -> None:
    """Fail unless the condition comes true in time; `why` is asked for what to say then."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s:.0f} s: {what}. {why()}"
        time.sleep(every_s)


def family(pid: int) -> list[int]:
    """The process and all that it started, parents first."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent = stat.read_text().rsplit(")", 1)[1].split()[:2]
            if state != "Z":
                children.setdefault(int(parent), []).append(int(stat.parent.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def named(pids: Iterable[int], words: str) -> list[int]:
    """Those of these processes whose command line has these words."""
    found = []
    for pid in pids:
        with suppress(OSError):
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            found += [pid] if words in line else []
    return found


def comm(pid: int) -> str:
    """What a process is called; empty if it is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def send(pids: Iterable[int], number: int) -> None:
    """This signal to each that is still there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def kill(pids: Sequence[int]) -> None:
    """kill -9, and wait until they are gone."""
    send(pids, signal.SIGKILL)
    await_gone(pids)


def await_gone(pids: Sequence[int]) -> None:
    """Until none of them is there, not even to be reaped."""
    until(lambda: not any(lives(pid) for pid in pids), "killed processes are gone", 20)


def lives(pid: int) -> bool:
    """Whether the process is there; one that waits for us to reap it is not. One that waits for somebody else is:
    PostgreSQL does not start as long as the number of the one before is taken."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[:2]
    except OSError:
        return False
    return state not in ("Z", "X") or int(parent) != os.getpid()
