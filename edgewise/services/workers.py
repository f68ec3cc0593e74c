"""The processes that run jobs: a local worker with its supervisor, and a worker on Redis (RQ).

The local worker looks into the jobs table: one job at a time in each lane, those with torch in a child process each, so
that its memory goes with it, the rest in a thread. Knows nothing of what the jobs do: it is given a function and
a command.

Nobody outlives his parent: server, worker and child hold a pipe each, and its end means the end. Who died anyway
loses his lease, and his jobs run again.
"""

import contextlib
import logging
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from time import monotonic
from typing import Protocol
from uuid import uuid4

from edgewise.errors import NotFound, Unavailable
from edgewise.services import children
from edgewise.services.children import InChild, Spare
from edgewise.services.jobs import LANES, Pace, RedisQueue, reap, record_fault
from edgewise.services.store import Job, Store
from edgewise.settings import Settings

WORKER_COMMAND = (sys.executable, "-m", "edgewise", "work")
HEAVY_LANES = frozenset({"train", "rank", "score"})
HEAVY_KINDS = ("arithmetic", "evaluate-llm", "improve", "label-errors", "saving")  # they ask a trained model, or train
PRUNE_EVERY_S = 3600.0

log = logging.getLogger(__name__)


class Running(Protocol):
    """A job that was started and may still be at work."""

    job: Job  # as it was before the start

    def ended(self) -> str | None:
        """None while it works; else how it ended, in words."""

    def stop(self, grace_s: float) -> None:
        """Make it end, by force after `grace_s`."""

    def close(self) -> None:
        """Let go of what it held."""


class InThread:
    """A light job. Its thread cannot be stopped: what it does after its job was put back is never recorded."""

    def __init__(self, job: Job, run_job: Callable[[str], None]) -> None:
        self.job = job
        self._run_job = run_job
        self._thread = Thread(target=self._run, name=f"job {job.kind}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._run_job(self.job.id)
        except Exception:
            log.exception("job %s (%s) could not be run", self.job.id, self.job.kind)

    def ended(self) -> str | None:
        """See Running."""
        return None if self._thread.is_alive() else "thread ended early"

    def stop(self, grace_s: float) -> None:
        """See Running."""

    def close(self) -> None:
        """See Running."""


class Sweep:
    """What is due every second, on one machine only: silent jobs, old ones, and the caller's own tick."""

    def __init__(self, store: Store, tick: Callable[[], None], pace: Pace) -> None:
        self._store, self._tick, self._pace = store, tick, pace
        self._prune_at = 0.0

    def __call__(self) -> None:
        reap(self._store, self._pace)
        if monotonic() >= self._prune_at:
            self._prune_at = monotonic() + PRUNE_EVERY_S
            self._store.prune_jobs()
        try:
            self._tick()
        except Exception:
            log.exception("the timers failed")


class Worker:
    """One worker of the local queue. Only the one that holds the database's lease works; others stand by."""

    def __init__(
        self, store: Store, run_job: Callable[[str], None], child_command: Sequence[str], pace: Pace | None = None
    ) -> None:
        self._store, self._run_job, self._pace = store, run_job, pace or Pace()
        self._spare = Spare(child_command, self._pace.spare_s)
        self._name = uuid4().hex
        self._running: dict[str, Running] = {}
        self._renew_at = self._sweep_at = 0.0

    def run(self, until: Event, tick: Callable[[], None]) -> None:
        """Work until the event is set; then stop all children and put their jobs back."""
        sweep = Sweep(self._store, tick, self._pace)
        while not until.is_set():
            try:
                self._turn(sweep)
            except Unavailable:
                log.warning("the worker waits for its database")
            until.wait(self._pace.poll_s)
        self._stop()

    def _turn(self, sweep: Sweep) -> None:
        self._settle_ended()
        self._spare.tidy()
        if not self._leads():
            return
        if monotonic() >= self._sweep_at:
            self._sweep_at = monotonic() + self._pace.sweep_s
            self._stop_cancelled()
            sweep()
        for lane in LANES:
            if lane not in self._running:
                self._start_next(lane)

    def _leads(self) -> bool:
        if monotonic() < self._renew_at:
            return True
        leads = self._store.take_lease("worker", self._name, self._pace.worker_lease_s)
        self._renew_at = monotonic() + self._pace.worker_lease_s / 3 if leads else 0.0
        return leads

    def _start_next(self, lane: str) -> None:
        for job in self._store.due_jobs(lane):
            is_heavy = lane in HEAVY_LANES or job.kind in HEAVY_KINDS
            self._running[lane] = InChild(job, self._store, self._spare) if is_heavy else InThread(job, self._run_job)

    def _settle_ended(self) -> None:
        for lane, running in list(self._running.items()):
            how = running.ended()
            if how is not None:
                settle(self._store, running.job, f"The job's {how}.", self._pace)
                running.close()
                del self._running[lane]

    def _stop_cancelled(self) -> None:
        for running in self._running.values():
            with contextlib.suppress(NotFound):
                if ignored_cancel(self._store.job(running.job.id), self._pace):
                    running.stop(self._pace.kill_grace_s)

    def _stop(self) -> None:
        for running in self._running.values():
            running.stop(self._pace.kill_grace_s)
            running.close()
            with contextlib.suppress(Unavailable, NotFound):
                job = self._store.job(running.job.id)
                self._store.put_back(job, error=job.error, faults=job.faults)
        self._spare.drop()
        with contextlib.suppress(Unavailable):
            self._store.drop_lease("worker", self._name)


def settle(store: Store, before: Job, what: str, pace: Pace) -> None:
    """A process or thread ended: if its job did not, that is a fault. `before` is the job as it was at the start."""
    try:
        job: Job | None = store.job(before.id)
    except NotFound:
        return
    if job is not None and job.state == "queued" and job.attempts == before.attempts:
        job = store.start_job(job.id, pace.lease_s)  # it ended before it began; an attempt all the same, or we spin
    if job is not None and job.state == "running" and job.attempts == before.attempts + 1:
        log.warning("job %s (%s): %s", job.id, job.kind, what)
        record_fault(store, job, what, pace)


def ignored_cancel(job: Job, pace: Pace) -> bool:
    """True if the job was told to stop long ago, and runs on."""
    grace = timedelta(seconds=pace.cancel_grace_s)
    return job.state == "running" and job.cancel_at is not None and job.cancel_at + grace < datetime.now(UTC)


def no_timers() -> None:
    """A tick that does nothing."""


def work(
    settings: Settings,
    run_job: Callable[[str], None],
    *,
    child_command: Sequence[str] = children.COMMAND,
    tick: Callable[[], None] = no_timers,
    pace: Pace | None = None,
) -> None:
    """Be the local worker, until SIGTERM or until our stdin, if it is a pipe, ends: the server that started us died.

    run_job: runs a light job by its id; child_command: runs a heavy one, told its id; tick: called every second.
    """
    until = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: until.set())
    _when_stdin_ends(until.set)
    store = Store(settings.database_url.get_secret_value())
    Worker(store, run_job, child_command, pace).run(until, tick)


def _when_stdin_ends(act: Callable[[], None]) -> None:
    """Nothing happens where stdin is no pipe: a terminal, or /dev/null in a container."""
    if sys.stdin is None or not stat.S_ISFIFO(os.fstat(0).st_mode):
        return

    def watch() -> None:
        while os.read(0, 1024):
            pass
        act()

    Thread(target=watch, name="parent watch", daemon=True).start()


class Supervisor:
    """Keeps a worker process alive from a thread of the server. The worker ends by itself when the server is killed."""

    def __init__(
        self,
        command: Sequence[str] = WORKER_COMMAND,
        *,
        environment: Mapping[str, str] | None = None,
        pause_s: float = 1.0,
        longest_pause_s: float = 30.0,
    ) -> None:
        self._command, self._environment = command, environment
        self._pause_s, self._longest_pause_s = pause_s, longest_pause_s
        self._stopped = Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = Thread(target=self._keep, name="supervisor", daemon=True)

    @property
    def pid(self) -> int | None:
        """The worker's process id while it lives."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        """Start the worker, and start it again whenever it ends."""
        self._thread.start()

    def stop(self, grace_s: float = 15.0) -> None:
        """End the worker; it puts its jobs back first."""
        self._stopped.set()
        self._thread.join(grace_s)
        if self._thread.is_alive() and self._process is not None:
            self._process.kill()
            self._thread.join()

    def _keep(self) -> None:
        pause_s = self._pause_s
        while not self._stopped.is_set():
            began = monotonic()
            self._run_once()
            lived_long = monotonic() - began > self._longest_pause_s
            pause_s = self._pause_s if lived_long else min(self._longest_pause_s, pause_s * 2)
            if not self._stopped.wait(pause_s):
                log.warning("the worker ended; it is started again")

    def _run_once(self) -> None:
        with subprocess.Popen(self._command, stdin=subprocess.PIPE, env=self._environment) as process:
            self._process = process
            while process.poll() is None and not self._stopped.wait(0.1):
                pass
            assert process.stdin is not None  # we asked for a pipe
            process.stdin.close()
            process.wait()


def work_redis(
    settings: Settings,
    store: Store,
    *,
    lanes: Sequence[str] = LANES,
    function: str = "model.run_job",
    tick: Callable[[], None] = no_timers,
    pace: Pace | None = None,
) -> None:
    """Be a worker on Redis for these lanes, first ones first, until SIGTERM. Any number may run, on any machines.

    function: dotted name of what is called with a job's id, in a process of its own. tick: see work(); of all workers
    one calls it.
    """
    from redis import Redis
    from rq import Queue as Transport
    from rq import SpawnWorker

    assert settings.redis_url is not None  # the caller chose Redis because it is set
    url, pace = settings.redis_url.get_secret_value(), pace or Pace()
    os.environ.update(children.environment())
    queue = RedisQueue(store, url, function)
    Thread(target=_sweep_redis, args=(queue, tick, pace), name="sweep", daemon=True).start()
    connection = Redis.from_url(url)
    transports = [Transport(f"edgewise-{lane}", connection=connection, serializer="json") for lane in lanes]
    SpawnWorker(transports, connection=connection, serializer="json").work(with_scheduler=False)


def _sweep_redis(queue: RedisQueue, tick: Callable[[], None], pace: Pace) -> None:
    name, sweep = uuid4().hex, Sweep(queue.store, tick, pace)
    while True:
        try:
            if queue.store.take_lease("sweep", name, pace.worker_lease_s):
                for job in queue.store.running_jobs():
                    if ignored_cancel(job, pace):
                        queue.stop(job)
                        record_fault(queue.store, job, "The job was killed.", pace)
                sweep()
                queue.resend_lost()
        except Unavailable:
            log.warning("the sweep waits for its database")
        Event().wait(pace.sweep_s)
