"""What the queue promises: alone on both databases, and with Redis."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Barrier, Event, Thread

import pytest
import redis

from edgewise.errors import Cancelled, InputError, NotFound, StudioUnavailable
from edgewise.services import jobs as jobs_module
from edgewise.services.jobs import FAULTS, LocalQueue, Pace, Progress, RedisQueue, open_queue, perform, reap
from edgewise.services.store import Job, Store
from edgewise.services.store.queue import ASKING
from edgewise.settings import Settings
from tests.services.conftest import eventually, free_port

QUICK = Pace(lease_s=30, pause_s=0.001, store_every_s=0)


def nothing(job: Job, progress: Progress) -> None:
    """A verb that does nothing."""


def raising(error: Exception) -> Callable[[Job, Progress], None]:
    def verb(job: Job, progress: Progress) -> None:
        raise error

    return verb


@pytest.fixture(params=["local-sqlite", "local-postgres", "redis-sqlite"])
def queue(request: pytest.FixtureRequest) -> Iterator[LocalQueue]:
    transport, database = request.param.split("-")
    store = Store(request.getfixturevalue(f"{database}_url"))
    made = RedisQueue(store, request.getfixturevalue("redis_url")) if transport == "redis" else LocalQueue(store)
    yield made
    if isinstance(made, RedisQueue):
        made.close()
    store.close()


@pytest.fixture
def redis_queue(sqlite_store: Store, redis_url: str) -> Iterator[RedisQueue]:
    queue = RedisQueue(sqlite_store, redis_url)
    yield queue
    queue.close()


def states(queue: LocalQueue) -> list[str]:
    return sorted(job.state for job in queue.jobs(1000))


def ready(queue: LocalQueue, job: Job) -> None:
    """Wait until the job may start again."""
    eventually(lambda: job.id in {due.id for due in queue.store.due_jobs(limit=10)})


# --- waiting


def test_a_job_that_waits_is_returned_again_at_the_earlier_time(queue: LocalQueue) -> None:
    soon, later = (datetime.now(UTC) + timedelta(hours=h) for h in (1, 2))
    first = queue.enqueue("sync", 1, run_after=later, args={"a": 1})
    assert (first.state, first.run_after, first.args) == ("queued", later, {"a": 1})
    second = queue.enqueue("sync", 1, run_after=soon)
    assert (second.id, second.run_after, second.args) == (first.id, soon, {"a": 1})
    assert queue.enqueue("sync", 1, run_after=later).run_after == soon
    third = queue.enqueue("sync", 1, args={"a": 2})
    assert (third.id, third.run_after, third.args) == (first.id, None, {"a": 2})
    assert queue.job(first.id).created_at.tzinfo == UTC


def test_two_hundred_calls_at_once_leave_one_running_and_one_waiting(queue: LocalQueue) -> None:
    running = queue.enqueue("train", 1)
    assert queue.store.start_job(running.id, 60) is not None
    with ThreadPoolExecutor(24) as pool:
        ids = set(pool.map(lambda _: queue.enqueue("train", 1).id, range(200)))
    assert len(ids) == 1
    assert states(queue) == ["queued", "running"]


def test_a_waiting_job_starts_only_after_its_running_sibling_has_ended(queue: LocalQueue) -> None:
    first = queue.enqueue("train", 1)
    started = queue.store.start_job(first.id, 60)
    assert started is not None
    second = queue.enqueue("train", 1)
    perform(queue.store, queue, second.id, nothing)
    assert queue.job(second.id).state == "queued"
    assert queue.store.due_jobs("train") == []
    queue.store.end_job(started, "done")
    perform(queue.store, queue, second.id, nothing)
    assert queue.job(second.id).state == "done"


def test_other_projects_and_kinds_do_not_wait_for_each_other(queue: LocalQueue) -> None:
    for kind, project in (("train", 1), ("train", 2), ("rank", 1), ("train", None)):
        assert queue.store.start_job(queue.enqueue(kind, project).id, 60) is not None
    assert states(queue) == ["running"] * 4


@pytest.mark.parametrize("kind", sorted(ASKING))
def test_who_asks_a_language_model_waits_for_the_others_that_do(queue: LocalQueue, kind: str) -> None:
    started = queue.store.start_job(queue.enqueue(kind, 1).id, 60)
    assert started is not None
    others = [queue.enqueue(other, 1) for other in sorted(ASKING - {kind})]
    assert [queue.store.start_job(other.id, 60) for other in others] == [None] * len(others)
    assert queue.store.due_jobs("prelabel") == []
    assert queue.store.start_job(queue.enqueue(others[0].kind, 2).id, 60) is not None
    assert queue.store.start_job(queue.enqueue("train", 1).id, 60) is not None
    queue.store.end_job(started, "done")
    assert queue.store.start_job(others[0].id, 60) is not None


def test_of_all_that_begin_to_ask_a_language_model_at_once_one_does(queue: LocalQueue) -> None:
    key = queue.store.record_project("http://studio", 1, "t0").key
    barrier = Barrier(len(ASKING))

    def contend(job: Job) -> Job | None:
        barrier.wait()
        return queue.store.start_job(job.id, 60)

    with ThreadPoolExecutor(len(ASKING)) as pool:
        for _ in range(10):
            found = pool.map(contend, [queue.enqueue(kind, key) for kind in sorted(ASKING)])
            (started,) = [job for job in found if job is not None]
            queue.store.end_job(started, "done")


def test_the_oldest_due_job_of_a_lane_comes_first(queue: LocalQueue) -> None:
    later = queue.enqueue("sync", 1, run_after=datetime.now(UTC) + timedelta(hours=1))
    second = queue.enqueue("doctor", 1, run_after=datetime.now(UTC) - timedelta(hours=1))
    third = queue.enqueue("sync", 2)
    train = queue.enqueue("train", 2)
    assert [job.id for job in queue.store.due_jobs("light", limit=9)] == [second.id, third.id]
    assert [job.id for job in queue.store.due_jobs("train", limit=9)] == [train.id]
    assert queue.store.start_job(later.id, 60) is None


def test_a_paused_project_starts_nothing_of_its_own(queue: LocalQueue) -> None:
    key = queue.store.record_project("http://studio", 1, "t0").key
    queue.store.update_project(key, state="paused")
    train, doctor = queue.enqueue("train", key), queue.enqueue("doctor", key)
    assert [job.id for job in queue.store.due_jobs(limit=9)] == [doctor.id]
    assert queue.store.start_job(train.id, 60) is None
    queue.store.update_project(key, state="live")
    assert queue.store.start_job(train.id, 60) is not None


def test_a_job_that_many_want_to_run_is_run_once(queue: LocalQueue) -> None:
    job, barrier, runs = queue.enqueue("sync", 1), Barrier(12), []

    def contend(_: int) -> None:
        barrier.wait()
        perform(queue.store, queue, job.id, lambda job, progress: runs.append(job.attempts))

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(contend, range(12)))
    assert runs == [1]


# --- endings


def test_a_job_that_returns_is_done(queue: LocalQueue) -> None:
    job = queue.enqueue("sync", 1)
    perform(queue.store, queue, job.id, nothing)
    done = queue.job(job.id)
    assert (done.state, done.progress, done.attempts, done.error) == ("done", 1.0, 1, None)
    assert done.started_at is not None
    assert done.finished_at is not None
    assert job.created_at <= done.started_at <= done.finished_at


def test_what_is_unavailable_is_tried_again_without_end_and_says_why(queue: LocalQueue) -> None:
    job = queue.enqueue("sync", 1)
    for attempt in range(1, FAULTS + 3):
        ready(queue, job)
        perform(
            queue.store, queue, job.id, raising(StudioUnavailable("Label Studio is away.", "Start it.")), pace=QUICK
        )
        waiting = queue.job(job.id)
        assert (waiting.state, waiting.attempts, waiting.faults) == ("queued", attempt, 0)
        assert waiting.error == {"what": "Label Studio is away.", "mend": "Start it."}
        assert waiting.run_after is not None
    ready(queue, job)
    perform(queue.store, queue, job.id, nothing)
    assert (queue.job(job.id).state, queue.job(job.id).error) == ("done", None)


def test_each_pause_is_twice_the_last_and_five_minutes_at_most(sqlite_store: Store) -> None:
    queue = LocalQueue(sqlite_store)
    started = sqlite_store.start_job(queue.enqueue("sync", 1).id, 60)
    assert started is not None
    pauses = [jobs_module.pause_s(replace(started, attempts=n), Pace()) for n in (1, 2, 8, 9, 5000)]
    assert pauses == [2, 4, 256, 300, 300]


def test_an_error_on_purpose_fails_at_once_with_its_mend(queue: LocalQueue) -> None:
    job = queue.enqueue("sync", 1)
    perform(queue.store, queue, job.id, raising(InputError("No such label.", "Add it.")))
    failed = queue.job(job.id)
    assert (failed.state, failed.attempts, failed.error) == ("failed", 1, {"what": "No such label.", "mend": "Add it."})


def test_an_unexpected_error_fails_the_third_time_and_tells_its_class_alone(queue: LocalQueue) -> None:
    job = queue.enqueue("sync", 1)
    for _ in range(FAULTS):
        ready(queue, job)
        perform(queue.store, queue, job.id, raising(RuntimeError("the text of a task")), pace=QUICK)
    failed = queue.job(job.id)
    assert (failed.state, failed.attempts) == ("failed", FAULTS)
    assert failed.error is not None
    assert failed.error["what"] == "The job failed unexpectedly (RuntimeError)."
    assert failed.error["mend"].startswith("See the server's log around 20")
    assert queue.enqueue("sync", 1).id != job.id


def test_a_job_put_back_gives_way_to_a_newer_one_which_takes_over_its_counts(queue: LocalQueue) -> None:
    old = queue.enqueue("sync", 1)
    newer: list[Job] = []

    def verb(job: Job, progress: Progress) -> None:
        newer.append(queue.enqueue("sync", 1))
        raise StudioUnavailable("Label Studio is away.", "Start it.")

    perform(queue.store, queue, old.id, verb)
    waiting = queue.job(newer[0].id)
    assert queue.job(old.id).state == "cancelled"
    assert (waiting.state, waiting.attempts) == ("queued", 1)
    assert waiting.error == queue.job(old.id).error == {"what": "Label Studio is away.", "mend": "Start it."}
    assert waiting.run_after is not None


# --- cancelling


def test_a_waiting_job_is_cancelled_at_once(queue: LocalQueue) -> None:
    job = queue.enqueue("sync", 1)
    assert queue.cancel(job.id).state == "cancelled"
    perform(queue.store, queue, job.id, nothing)
    assert queue.job(job.id).state == "cancelled"
    with pytest.raises(NotFound):
        queue.cancel("unknown")


def test_a_running_job_is_cancelled_at_its_next_report(queue: LocalQueue) -> None:
    job = queue.enqueue("train", 1)

    def verb(running: Job, progress: Progress) -> None:
        progress(0.5, "half")
        assert queue.job(job.id).progress == 0.5
        assert queue.cancel(job.id).state == "running"
        progress(0.6)
        raise AssertionError("it was to stop")

    perform(queue.store, queue, job.id, verb, pace=QUICK)
    assert (queue.job(job.id).state, queue.job(job.id).message) == ("cancelled", "half")


def test_all_jobs_of_a_project_can_be_cancelled_but_one(queue: LocalQueue) -> None:
    forget, sync, other = queue.enqueue("forget", 1), queue.enqueue("sync", 1), queue.enqueue("sync", 2)
    queue.cancel_all(1, spare=forget.id)
    assert [queue.job(job.id).state for job in (forget, sync, other)] == ["queued", "cancelled", "queued"]


# --- progress and leases


def test_progress_is_stored_no_oftener_than_the_pace_says(queue: LocalQueue) -> None:
    job = queue.enqueue("train", 1)
    seen: list[float] = []

    def verb(running: Job, progress: Progress) -> None:
        for step in range(1, 100):
            progress(step / 100)
            seen.append(queue.job(job.id).progress)

    perform(queue.store, queue, job.id, verb, pace=Pace(store_every_s=3600))
    assert set(seen) == {0.01}


def test_progress_never_falls(queue: LocalQueue) -> None:
    job = queue.enqueue("train", 1)
    seen: list[float] = []

    def verb(running: Job, progress: Progress) -> None:
        for fraction in (0.3, 0.2, -1.0, 0.4, 0.1):
            progress(fraction)
            progress.within(0.0, 0.1)(1.0)
            seen.append(queue.job(job.id).progress)

    perform(queue.store, queue, job.id, verb, pace=Pace(store_every_s=0))
    assert seen == [0.3, 0.3, 0.3, 0.4, 0.4]


def test_a_silent_job_keeps_its_lease_while_its_process_lives(queue: LocalQueue) -> None:
    pace = Pace(lease_s=0.6)
    job = queue.enqueue("train", 1)

    def verb(running: Job, progress: Progress) -> None:
        time.sleep(1.5)
        reap(queue.store, pace)

    perform(queue.store, queue, job.id, verb, pace=pace)
    assert (queue.job(job.id).state, queue.job(job.id).faults) == ("done", 0)


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (OSError(28, "No space left on device"), "full"),
        (RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"), "full"),
        (OSError(30, "Read-only file system"), "read-only"),
    ],
)
def test_a_job_waits_for_a_disk_as_long_as_it_takes(sqlite_store: Store, error: Exception, word: str) -> None:
    queue = LocalQueue(sqlite_store)
    job = queue.enqueue("train", 1)
    for _ in range(FAULTS + 1):
        ready(queue, job)
        perform(sqlite_store, queue, job.id, raising(error), pace=QUICK)
        assert (queue.job(job.id).state, queue.job(job.id).faults) == ("queued", 0)
    told = queue.job(job.id).error
    assert told is not None
    assert word in told["what"]


def test_a_job_leased_by_a_clock_that_was_hours_ahead_gives_a_sign_of_life_soon_or_waits_again(
    queue: LocalQueue,
) -> None:
    job = queue.enqueue("train", 1)
    assert queue.store.start_job(job.id, 3 * 3600) is not None
    reap(queue.store, QUICK)
    row = queue.job(job.id)
    assert (row.state, row.faults) == ("running", 0), "it may be at work"
    assert row.lease_until is not None
    assert row.lease_until <= datetime.now(UTC) + timedelta(seconds=QUICK.lease_s)


def test_a_job_without_a_sign_of_life_waits_again_and_its_late_report_is_refused(queue: LocalQueue) -> None:
    job = queue.enqueue("train", 1)
    lost = queue.store.start_job(job.id, 0.01)
    assert lost is not None
    time.sleep(0.02)
    reap(queue.store, QUICK)
    assert (queue.job(job.id).state, queue.job(job.id).faults) == ("queued", 1)
    with pytest.raises(Cancelled):
        Progress(queue.store, lost, QUICK)(0.9)
    ready(queue, job)
    again = queue.store.start_job(job.id, 60)
    assert again is not None
    queue.store.end_job(lost, "failed")
    assert (queue.job(job.id).state, queue.job(job.id).attempts) == ("running", 2)
    queue.store.end_job(again, "done")
    assert queue.job(job.id).state == "done"


def test_jobs_that_ended_long_ago_are_forgotten(queue: LocalQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    ended, waiting = queue.enqueue("sync", 1), queue.enqueue("rank", 1)
    perform(queue.store, queue, ended.id, nothing)
    queue.store.prune_jobs()
    assert len(queue.jobs(9)) == 2
    monkeypatch.setattr("edgewise.services.store.queue.KEPT", timedelta(0))
    queue.store.prune_jobs()
    assert [job.id for job in queue.jobs(9)] == [waiting.id]


# --- Redis


def sent(queue: RedisQueue, lane: str) -> list[str]:
    return list(queue._transport(lane).get_job_ids())


def test_the_settings_choose_the_queue(sqlite_store: Store, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    assert type(open_queue(Settings(), sqlite_store)) is LocalQueue
    monkeypatch.setenv("REDIS_URL", redis_url)
    queue = open_queue(Settings(), sqlite_store)
    assert isinstance(queue, RedisQueue)
    queue.close()


def test_redis_carries_the_id_once_into_the_queue_of_its_lane(redis_queue: RedisQueue) -> None:
    train, sync = redis_queue.enqueue("train", 1), redis_queue.enqueue("sync", 1)
    redis_queue.enqueue("train", 1)
    later = redis_queue.enqueue("rank", 1, run_after=datetime.now(UTC) + timedelta(hours=1))
    assert (sent(redis_queue, "train"), sent(redis_queue, "light"), sent(redis_queue, "rank")) == (
        [train.id],
        [sync.id],
        [],
    )
    redis_queue.enqueue("rank", 1)
    assert sent(redis_queue, "rank") == [later.id]


def test_a_waiting_sibling_is_sent_again_when_the_running_one_ends(redis_queue: RedisQueue) -> None:
    first = redis_queue.enqueue("train", 1)
    second: list[Job] = []

    def verb(job: Job, progress: Progress) -> None:
        second.append(redis_queue.enqueue("train", 1))
        redis_queue._transport("train").empty()  # a worker took it and found that it may not start

    perform(redis_queue.store, redis_queue, first.id, verb)
    assert sent(redis_queue, "train") == [second[0].id]


def test_what_redis_lost_is_sent_again_after_half_a_minute(
    redis_queue: RedisQueue, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = redis_queue.enqueue("sync", 1)
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    redis_queue.resend_lost()
    assert sent(redis_queue, "light") == []
    monkeypatch.setattr(jobs_module, "LOST_AFTER", timedelta(0))
    redis_queue.resend_lost()
    redis_queue.resend_lost()
    assert sent(redis_queue, "light") == [job.id]


def test_a_job_enqueued_while_redis_is_away_is_kept_and_sent_later(sqlite_store: Store, redis_url: str) -> None:
    away = RedisQueue(sqlite_store, f"redis://127.0.0.1:{free_port()}/0")
    began = time.monotonic()
    job = away.enqueue("sync", 1)
    away.resend_lost()
    assert time.monotonic() - began < 2
    assert (away.job(job.id).state, away.job(job.id).sent_at) == ("queued", None)
    back = RedisQueue(sqlite_store, redis_url)
    back.resend_lost()
    assert sent(back, "light") == [job.id]
    for queue in (away, back):
        queue.close()


def test_a_job_put_back_is_sent_when_its_pause_is_over(redis_queue: RedisQueue) -> None:
    job = redis_queue.enqueue("sync", 1)
    redis_queue._transport("light").empty()
    perform(redis_queue.store, redis_queue, job.id, raising(StudioUnavailable("Away.", "Start it.")), pace=QUICK)
    ready(redis_queue, job)
    redis_queue.resend_lost()
    assert sent(redis_queue, "light") == [job.id]


def test_who_asked_a_language_model_has_the_next_one_sent_that_waits_to(redis_queue: RedisQueue) -> None:
    first = redis_queue.enqueue("prelabel", 1)

    def verb(job: Job, progress: Progress) -> None:
        waits = redis_queue.enqueue("plan", 1)
        perform(redis_queue.store, redis_queue, waits.id, nothing)  # a worker took it and put it away
        redis_queue._transport("prelabel").empty()

    perform(redis_queue.store, redis_queue, first.id, verb)
    assert sent(redis_queue, "prelabel") == [job.id for job in redis_queue.jobs(9) if job.kind == "plan"]


def test_a_verb_may_enqueue_its_own_kind_again_from_a_thread(queue: LocalQueue) -> None:
    job, go = queue.enqueue("sync", 1), Event()

    def verb(running: Job, progress: Progress) -> None:
        go.set()
        time.sleep(0.05)

    thread = Thread(target=perform, args=(queue.store, queue, job.id, verb))
    thread.start()
    assert go.wait(10)
    second = queue.enqueue("sync", 1)
    thread.join()
    assert second.id != job.id
    assert [queue.job(id).state for id in (job.id, second.id)] == ["done", "queued"]
