"""Run a verb later: a queue over the jobs table, alone or with Redis (RQ) as transport, and how one job is run.

The table is the truth on both back ends; Redis only carries ids, and may lose them. Jobs are at-least-once: a verb
must be harmless when run again. Knows nothing of what the verbs do.
"""

import errno
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from edgewise.errors import Cancelled, EdgewiseError, SettingsError, Unavailable
from edgewise.logs import about
from edgewise.services.store import Job, Store
from edgewise.services.store.database import CLOCK_ERROR
from edgewise.services.store.queue import HELPERS_LANE
from edgewise.settings import Settings

if TYPE_CHECKING:
    import redis
    import rq

# Each one job at a time; a worker of several takes the quickest first, and helps when nothing else waits.
# `mirror` is among the last and alone: an MLflow that hangs holds its lane for minutes.
LANES = ("light", "rank", "prelabel", "train", "mirror", HELPERS_LANE)
HELPERS = tuple(f"score-{number}" for number in range(1, 65))  # several kinds, as of one only one runs in a project
UNHURRIED = ("arithmetic", "evaluate-llm", "improve", "plan", "label-errors", "saving")  # minutes, and no order waits
# The others are light.
LANE_OF = {lane: lane for lane in LANES} | dict.fromkeys(UNHURRIED, "prelabel") | dict.fromkeys(HELPERS, HELPERS_LANE)
FAULTS = 3  # so often may a job end unexpectedly before we give it up
LOST_AFTER = timedelta(seconds=30)
RECORD_WITHIN_S = 60  # how long we try to write down how a job ended

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """How quick we are; tests are quicker. A job whose process says nothing for `lease_s` is run again."""

    lease_s: float = 60.0
    pause_s: float = 1.0  # after attempt n a job waits pause_s * 2**n, at most longest_pause_s
    longest_pause_s: float = 300.0
    store_every_s: float = 0.5  # progress is written no oftener
    poll_s: float = 0.25
    sweep_s: float = 1.0
    worker_lease_s: float = 15.0  # after a worker's sudden death the next one waits so long
    cancel_grace_s: float = 10.0  # a child that was told to stop has this long
    kill_grace_s: float = 5.0  # between SIGTERM and SIGKILL
    spare_s: float = 10.0  # a child that has done its job waits so long for another


class Queue(Protocol):
    """What the verbs and the web know of jobs."""

    def enqueue(
        self,
        kind: str,
        project_key: int | None,
        *,
        args: dict[str, Any] | None = None,
        run_after: datetime | None = None,
    ) -> Job:
        """A job of this kind waits from now on. If one did already it is returned, to start at the earlier of both
        times, with the newer `args` where these are given."""

    def job(self, id: str) -> Job:
        """The job of this id. NotFound if there is none."""

    def jobs(self, limit: int, project_key: int | None = None) -> list[Job]:
        """The newest jobs, newest first."""

    def cancel(self, id: str) -> Job:
        """A waiting job is cancelled at once; a running one is told to stop. NotFound if there is none."""

    def cancel_all(self, project_key: int, *, spare: str | None = None) -> None:
        """Cancel all jobs of a project, but for the job `spare`."""

    def nudge(self, project_key: int | None, kind: str) -> None:
        """A job of this kind has ended: its waiting sibling may start."""

    def idle_workers(self, lane: str) -> int:
        """How many workers would take a job of this lane at once, as they have none."""


class LocalQueue:
    """The jobs table alone: a worker process looks into it by itself."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def enqueue(
        self,
        kind: str,
        project_key: int | None,
        *,
        args: dict[str, Any] | None = None,
        run_after: datetime | None = None,
    ) -> Job:
        """See Queue."""
        lane = LANE_OF.get(kind, "light")
        job = self.store.add_job(kind, project_key, lane=lane, args=args, run_after=run_after)
        log.info("%s of project %s waits as job %s", kind, project_key, job.id)  # which request or job wanted it
        return job

    def job(self, id: str) -> Job:
        """See Queue."""
        return self.store.job(id)

    def jobs(self, limit: int, project_key: int | None = None) -> list[Job]:
        """See Queue."""
        return self.store.jobs(limit, project_key)

    def cancel(self, id: str) -> Job:
        """See Queue."""
        return self.store.cancel_job(id)

    def cancel_all(self, project_key: int, *, spare: str | None = None) -> None:
        """See Queue."""
        self.store.cancel_jobs(project_key, spare)

    def nudge(self, project_key: int | None, kind: str) -> None:
        """See Queue."""

    def idle_workers(self, lane: str) -> int:
        """None: one worker works, on the machine that serves, and does not help itself."""
        return 0


class RedisQueue(LocalQueue):
    """The jobs table, with ids of jobs sent through Redis. When Redis is away nothing is lost: resend_lost() sends
    later what it has not got."""

    def __init__(self, store: Store, url: str, function: str = "model.run_job") -> None:
        """function: the dotted name of what a worker calls with a job's id."""
        super().__init__(store)
        self._redis = connect(url)
        self._function = function

    def enqueue(
        self,
        kind: str,
        project_key: int | None,
        *,
        args: dict[str, Any] | None = None,
        run_after: datetime | None = None,
    ) -> Job:
        """See Queue."""
        job = super().enqueue(kind, project_key, args=args, run_after=run_after)
        is_due = job.run_after is None or job.run_after <= datetime.now(UTC)
        if is_due and job.sent_at is None:
            self._send(job)
        return job

    def nudge(self, project_key: int | None, kind: str) -> None:
        """See Queue."""
        for job in self.store.due_jobs(limit=1, of=(project_key, kind)):
            self._send(job)

    def idle_workers(self, lane: str) -> int:
        """See Queue. A worker that was killed counts for some minutes."""
        import redis
        from rq import Worker

        try:
            return sum(one.get_state() == "idle" for one in Worker.all(queue=self._transport(lane), serializer="json"))
        except redis.RedisError:  # nobody can be asked
            return 0

    def resend_lost(self) -> None:
        """Send the due jobs that were never sent, and those sent 30 s ago or more that no queue in Redis has."""
        import redis

        long_ago = datetime.now(UTC) - LOST_AFTER
        due = [job for job in self.store.due_jobs(limit=1000) if job.sent_at is None or job.sent_at < long_ago]
        try:
            known = {id for lane in {job.lane for job in due} for id in self._transport(lane).get_job_ids()}
        except redis.RedisError as error:
            log.warning("Redis is away (%s); %d jobs wait", type(error).__name__, len(due))
            return
        for job in due:
            if job.id not in known:
                self._send(job)

    def stop(self, job: Job) -> None:
        """Kill the process that runs this job, wherever it is."""
        import redis
        from rq.command import send_stop_job_command
        from rq.exceptions import InvalidJobOperation, NoSuchJobError

        try:
            send_stop_job_command(self._redis, job.id, serializer="json")
        except (InvalidJobOperation, NoSuchJobError, redis.RedisError) as error:
            log.info("job %s could not be stopped: %s", job.id, type(error).__name__)

    def close(self) -> None:
        """Close the connection to Redis."""
        self._redis.close()

    def _transport(self, lane: str) -> "rq.Queue":
        from rq import Queue as Transport

        return Transport(f"edgewise-{lane}", connection=self._redis, serializer="json")

    def _send(self, job: Job) -> None:
        import redis

        try:
            self._transport(job.lane).enqueue(
                self._function, job.id, job_id=job.id, job_timeout=-1, result_ttl=0, failure_ttl=3600
            )
        except redis.RedisError as error:
            log.warning("Redis is away (%s); job %s waits", type(error).__name__, job.id)
            return
        self.store.mark_sent(job.id)


def connect(url: str) -> "redis.Redis":
    """A connection that gives up soon: a webhook's answer waits for it, and the sweep tries again anyway.

    Raises SettingsError for an address that is none."""
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    try:
        return Redis.from_url(url, socket_connect_timeout=0.5, socket_timeout=2, retry=Retry(NoBackoff(), 0))
    except ValueError:  # its words quote the password
        mend = "Write it as redis://host:6379, and @, / and : in its password as %40, %2F and %3A."
        raise SettingsError("REDIS_URL is not the address of a Redis.", mend) from None


def open_queue(settings: Settings, store: Store) -> Queue:
    """The queue that the settings ask for: Redis where REDIS_URL is set, else the table alone."""
    if settings.redis_url is None:
        return LocalQueue(store)
    return RedisQueue(store, settings.redis_url.get_secret_value())


class Progress:
    """Called by a verb with how far it is, in [0, 1]: stored twice a second at most, and never less than before, even
    where there is more to do than it seemed. Raises Cancelled when it is to stop: somebody cancelled it, or another
    process has taken the job over."""

    def __init__(self, store: Store, job: Job, pace: Pace) -> None:
        self._store, self._job, self._pace = store, job, pace
        self._next, self._reached = 0.0, 0.0

    @property
    def job(self) -> Job:
        """The job that reports here, as it was when it started."""
        return self._job

    @property
    def job_id(self) -> str:
        """Its id."""
        return self.job.id

    def __call__(self, fraction: float, message: str = "") -> None:
        if monotonic() < self._next and fraction < 1.0:
            return
        self._next = monotonic() + self._pace.store_every_s
        self._reached = min(1.0, max(self._reached, fraction))
        try:
            row = self._store.renew_job(self._job, self._pace.lease_s, progress=self._reached, message=message)
        except Unavailable:
            return  # a database that is away for a moment must not end an hour's training
        if row is None or row.cancel_at is not None:
            raise Cancelled("The job was cancelled.", "Run the verb again if you want it.")

    def within(self, low: float, high: float) -> "Progress":
        """For a part of the work, which takes the whole from one share to another."""
        return _Part(self, low, high)


class _Part(Progress):
    def __init__(self, whole: Progress, low: float, high: float) -> None:
        self._whole, self._low, self._high = whole, low, high

    @property
    def job(self) -> Job:
        return self._whole.job

    def __call__(self, fraction: float, message: str = "") -> None:
        self._whole(self._low + (self._high - self._low) * min(1.0, max(0.0, fraction)), message)


def perform(
    store: Store, queue: Queue, job_id: str, run: Callable[[Job, Progress], None], *, pace: Pace | None = None
) -> None:
    """Start this job if it waits and may start, run it, record how it ended. Errors of the verb end in its row."""
    pace = pace or Pace()
    job = store.start_job(job_id, pace.lease_s)
    if job is None:
        return
    began = monotonic()
    with about(job=job.id), _heartbeat(store, job, pace):
        record = _attempt(store, job, lambda: run(job, Progress(store, job, pace)), pace)
        patient = Retrying(
            retry=retry_if_exception_type(Unavailable),
            stop=stop_after_delay(RECORD_WITHIN_S),
            wait=wait_fixed(pace.pause_s),
            reraise=True,
        )
        patient(record)
        log.info("%s of project %s, attempt %d: %.1f s", job.kind, job.project_key, job.attempts, monotonic() - began)
    queue.nudge(job.project_key, job.kind)


def _attempt(store: Store, job: Job, run: Callable[[], None], pace: Pace) -> Callable[[], None]:
    """Run it. Returns what writes down how it ended."""
    try:
        run()
    except Cancelled:
        return lambda: store.end_job(job, "cancelled")
    except Unavailable as error:
        why = _told(error)
        return lambda: store.put_back(job, error=why, faults=job.faults, pause_s=pause_s(job, pace))
    except EdgewiseError as error:
        told = _told(error)
        return lambda: store.end_job(job, "failed", error=told)
    except Exception as error:
        log.exception("job %s (%s) failed unexpectedly", job.id, job.kind)
        disk = _disk_trouble(error)
        if disk is not None:
            return lambda: store.put_back(job, error=_told(disk), faults=job.faults, pause_s=pause_s(job, pace))
        what = f"The job failed unexpectedly ({type(error).__name__})."
        return lambda: record_fault(store, job, what, pace)
    return lambda: store.end_job(job, "done")


def _disk_trouble(error: Exception) -> Unavailable | None:
    """What a full or read-only disk is called; safetensors keeps but the operating system's words of it."""
    if any(os.strerror(number) in str(error) for number in (errno.ENOSPC, errno.EDQUOT)):
        return Unavailable("The disk is full.", "Make room for DATA_DIR and MODEL_DIR; we try again by ourselves.")
    if os.strerror(errno.EROFS) in str(error):
        return Unavailable("A disk of ours is read-only.", "Mount DATA_DIR and MODEL_DIR writable; we try again then.")
    return None


def record_fault(store: Store, job: Job, what: str, pace: Pace) -> None:
    """A running attempt ended as it should not: the job waits again, or failed if that happened too often."""
    when = datetime.now(UTC).isoformat(timespec="seconds")
    error = {"what": what, "mend": f"See the server's log around {when}; run the verb again."}
    faults = job.faults + 1
    if job.cancel_at is not None:
        store.end_job(job, "cancelled")
    elif faults < FAULTS:
        store.put_back(job, error=error, faults=faults, pause_s=pause_s(job, pace))
    else:
        store.end_job(job, "failed", error=error)


def reap(store: Store, pace: Pace) -> None:
    """Put back the jobs whose process has said nothing for too long."""
    for job in store.running_jobs():
        if job.lease_until is None:
            continue
        left = job.lease_until - datetime.now(UTC)
        if left > timedelta(seconds=pace.lease_s) + CLOCK_ERROR:  # the clock was wrong then: whoever lives renews it
            store.renew_job(job, pace.lease_s)
        elif left < timedelta(0):
            log.warning("job %s (%s) went silent", job.id, job.kind)
            record_fault(store, job, "The job's process ended without a word.", pace)


def pause_s(job: Job, pace: Pace) -> float:
    """Seconds that a job waits after this attempt."""
    return min(pace.longest_pause_s, pace.pause_s * 2.0 ** min(job.attempts, 30))


def _told(error: EdgewiseError) -> dict[str, Any]:
    return {"what": error.what, "mend": error.mend}


@contextmanager
def _heartbeat(store: Store, job: Job, pace: Pace) -> Iterator[None]:
    """Keep the job's lease while the block runs, however seldom the verb reports."""
    ended = Event()

    def beat() -> None:
        while not ended.wait(pace.lease_s / 3):
            try:
                if store.renew_job(job, pace.lease_s) is None:
                    return
            except Unavailable:
                log.warning("job %s could not renew its lease", job.id)

    thread = Thread(target=beat, name=f"heartbeat {job.id}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
