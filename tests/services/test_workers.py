"""What the workers promise, with real processes that are killed for good."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from edgewise.services import children
from edgewise.services.jobs import FAULTS, HELPERS, LANE_OF, LocalQueue, RedisQueue
from edgewise.services.store import Job, Store
from edgewise.services.workers import Supervisor
from tests.services.conftest import end, eventually

ROOT = Path(__file__).parents[2]
# The doors of the real system in small: `work`, `job <id>`, `serve` and `redis`.
# The verb writes down who ran it, then does what its args say.
PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from edgewise.errors import Conflict
from edgewise.services import children, jobs, workers
from edgewise.services.store import Store
from edgewise.settings import read_settings

PACE = jobs.Pace(lease_s=1.5, pause_s=0.01, store_every_s=0.05, poll_s=0.05, sweep_s=0.1, worker_lease_s=1.0,
                 cancel_grace_s=0.5, kill_grace_s=0.5, spare_s=1.0)
HERE = Path(__file__).parent

def note(name, *words):
    with (HERE / name).open("a") as file:
        file.write(" ".join(map(str, words)) + "\\n")

def verb(job, progress):
    omp = os.environ.get("OMP_WAIT_POLICY", "-")
    note("runs", job.kind, job.project_key, job.attempts, os.getpid(), os.nice(0), omp)
    act = job.args.get("act", "return")
    if act == "die" or act == "die once" and job.attempts == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if act == "fail":
        raise Conflict("It failed.", "As it should.")
    if act == "ignore":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while act in ("hang", "ignore") or act == "hang once" and job.attempts == 1:
        time.sleep(0.02)
    while act == "report":
        progress(0.5)
    time.sleep(job.args.get("seconds", 0))
    note("ends", job.kind, job.project_key)

def run_job(id):
    store = Store(read_settings().database_url.get_secret_value())
    jobs.perform(store, jobs.open_queue(read_settings(), store), id, verb, pace=PACE)
    store.close()

def serve():
    supervisor = workers.Supervisor([sys.executable, __file__, "work"])
    supervisor.start()
    note("worker", supervisor.pid)
    time.sleep(600)

if __name__ == "__main__":
    door = sys.argv[1]
    if door == "job":
        children.run_given(run_job)
    elif door == "broken":
        sys.exit(3)
    elif door == "work":
        note("workers", os.getpid())
        child = [sys.executable, __file__, sys.argv[2] if len(sys.argv) > 2 else "job"]
        workers.work(read_settings(), run_job, child_command=child, tick=lambda: note("ticks", os.getpid()), pace=PACE)
    elif door == "serve":
        serve()
    else:
        store = Store(read_settings().database_url.get_secret_value())
        tick = lambda: note("ticks", os.getpid())
        workers.work_redis(read_settings(), store, function="small.run_job", tick=tick, pace=PACE)
"""


class House:
    """A folder with the small system, its database, and the processes started from it."""

    def __init__(self, folder: Path, url: str, stack: ExitStack) -> None:
        self.folder, self.url, self._stack = folder, url, stack
        self.program = folder / "small.py"
        self.program.write_text(PROGRAM)
        self.store = Store(url)
        self.queue = LocalQueue(self.store)
        self.environment = {**os.environ, "DATABASE_URL": url, "PYTHONPATH": f"{folder}:{ROOT}"}
        stack.callback(self.store.close)

    def start(self, *words: str) -> "subprocess.Popen[bytes]":
        # A session of its own: RQ kills process groups.
        command = [sys.executable, str(self.program), *words]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, env=self.environment, cwd=self.folder, start_new_session=True
        )
        self._stack.callback(self._end, process)
        return process

    def _end(self, process: "subprocess.Popen[bytes]") -> None:
        end(process)
        assert process.stdin is not None
        process.stdin.close()

    def lines(self, name: str) -> list[list[str]]:
        path = self.folder / name
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def becomes(self, job: Job, state: str) -> Job:
        eventually(lambda: self.store.job(job.id).state == state)
        return self.store.job(job.id)

    def runs(self, count: int) -> list[list[str]]:
        eventually(lambda: len(self.lines("runs")) >= count)
        return self.lines("runs")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def house(tmp_path: Path, sqlite_url: str, stack: ExitStack) -> House:
    return House(tmp_path, sqlite_url, stack)


def lives(pid: int) -> bool:
    """A zombie that nobody reaps in this container is dead all the same."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def test_heavy_jobs_run_in_polite_children_and_light_ones_in_the_worker(house: House) -> None:
    made = [house.queue.enqueue(kind, 1) for kind in ("train", "rank", "sync")]
    worker = house.start("work")
    for job in made:
        assert house.becomes(job, "done").attempts == 1
    ran = {kind: (int(pid), nice, omp) for kind, _, _, pid, nice, omp in house.lines("runs")}
    assert ran["sync"][0] == worker.pid
    assert len({pid for pid, _, _ in ran.values()}) == 3
    assert ran["train"][1:] == ran["rank"][1:] == ("10", "PASSIVE")
    eventually(lambda: len(house.lines("ticks")) >= 2)


def test_the_local_worker_works_on_postgres(tmp_path: Path, postgres_url: str, stack: ExitStack) -> None:
    house = House(tmp_path, postgres_url, stack)
    made = [
        house.queue.enqueue(kind, 1, args={"act": "die once"} if kind == "train" else None)
        for kind in ("train", "sync")
    ]
    house.start("work")
    assert [house.becomes(job, "done").attempts for job in made] == [2, 1]


def test_each_lane_runs_one_job_at_a_time_beside_the_others(house: House) -> None:
    made = [house.queue.enqueue("train", project, args={"seconds": 0.3}) for project in (1, 2)]
    sync = house.queue.enqueue("sync", 1)
    house.start("work")
    house.becomes(sync, "done")
    ended = [house.becomes(job, "done") for job in made]
    assert ended[0].finished_at is not None
    assert ended[1].started_at is not None
    assert ended[0].finished_at <= ended[1].started_at


def test_a_mirror_that_hangs_keeps_nothing_else_waiting(house: House) -> None:
    mirror = house.queue.enqueue("mirror", None, args={"act": "hang"})
    house.start("work")
    house.becomes(mirror, "running")
    for kind in ("sync", "rank", "prelabel", "train"):
        house.becomes(house.queue.enqueue(kind, 1), "done")
    assert house.store.job(mirror.id).state == "running"


def test_a_child_that_has_done_its_job_does_the_next_one_and_does_not_stay_for_ever(house: House) -> None:
    house.start("work")
    pids = []
    for kind in ("train", "rank", "train"):
        last = house.becomes(house.queue.enqueue(kind, 1), "done")
        pids.append(int(house.lines("runs")[-1][3]))
    assert len(set(pids)) == 1
    assert Path(f"/proc/{pids[0]}/comm").read_text().strip() == children.title(last.id)
    eventually(lambda: not Path(f"/proc/{pids[0]}").exists())  # and no zombie
    house.becomes(house.queue.enqueue("rank", 1), "done")
    assert int(house.lines("runs")[-1][3]) != pids[0]


def test_a_child_whose_job_failed_does_no_other(house: House) -> None:
    house.start("work")
    house.becomes(house.queue.enqueue("train", 1, args={"act": "fail"}), "failed")
    failed = int(house.lines("runs")[-1][3])
    eventually(lambda: not lives(failed))
    house.becomes(house.queue.enqueue("rank", 1), "done")
    assert int(house.lines("runs")[-1][3]) != failed


def test_a_spare_child_ends_with_its_worker_and_a_killed_one_is_replaced(house: House) -> None:
    worker = house.start("work")
    house.becomes(house.queue.enqueue("train", 1), "done")
    first = int(house.lines("runs")[-1][3])
    kill(first)
    house.becomes(house.queue.enqueue("rank", 1), "done")
    second = int(house.lines("runs")[-1][3])
    assert second != first
    kill(worker.pid)
    worker.wait()
    eventually(lambda: not lives(second))


def test_a_killed_child_has_its_job_run_again(house: House) -> None:
    job = house.queue.enqueue("train", 1, args={"act": "hang once"})
    house.start("work")
    kill(int(house.runs(1)[0][3]))
    done = house.becomes(job, "done")
    assert (done.attempts, done.faults) == (2, 1)


def test_a_job_whose_child_dies_every_time_is_given_up(house: House) -> None:
    job = house.queue.enqueue("train", 1, args={"act": "die"})
    house.start("work")
    failed = house.becomes(job, "failed")
    assert (failed.attempts, failed.error and failed.error["what"]) == (
        FAULTS,
        "The job's process was killed by signal 9.",
    )


def test_a_child_that_never_begins_is_given_up_too(house: House) -> None:
    job = house.queue.enqueue("train", 1)
    house.start("work", "broken")
    failed = house.becomes(job, "failed")
    assert (failed.attempts, failed.error and failed.error["what"]) == (FAULTS, "The job's process ended with code 3.")


@pytest.mark.parametrize("kind", ["train", "sync"])
def test_a_killed_workers_job_is_taken_by_another_worker(house: House, kind: str) -> None:
    job = house.queue.enqueue(kind, 1, args={"act": "hang once"})
    first = house.start("work")
    runner = int(house.runs(1)[0][3])
    kill(first.pid)
    first.wait()
    eventually(lambda: not lives(runner))
    house.start("work")
    done = house.becomes(job, "done")
    assert (done.attempts, done.faults) == (2, 1)


def test_a_worker_that_is_told_to_end_puts_its_jobs_back_without_a_fault(house: House) -> None:
    made = [house.queue.enqueue(kind, 1, args={"act": "hang once"}) for kind in ("train", "sync")]
    worker = house.start("work")
    pids = [int(run[3]) for run in house.runs(2)]
    worker.terminate()
    assert worker.wait(20) == 0
    assert not any(map(lives, pids))
    assert [(house.store.job(job.id).state, house.store.job(job.id).faults) for job in made] == [("queued", 0)] * 2
    house.start("work")
    for job in made:
        assert house.becomes(job, "done").attempts == 2


def test_only_one_of_several_workers_works(house: House) -> None:
    first = house.start("work")
    eventually(lambda: house.lines("ticks"))
    second = house.start("work")
    eventually(lambda: len(house.lines("workers")) == 2)
    made = [house.queue.enqueue("sync", project, args={"seconds": 0.1}) for project in range(1, 5)]
    for job in made:
        house.becomes(job, "done")
    assert {int(run[3]) for run in house.lines("runs")} == {first.pid}
    kill(first.pid)
    job = house.queue.enqueue("sync", 9)
    house.becomes(job, "done")
    assert int(house.lines("runs")[-1][3]) == second.pid


@pytest.mark.parametrize("act", ["report", "hang", "ignore"])
def test_a_cancelled_child_ends_by_itself_or_by_force(house: House, act: str) -> None:
    job = house.queue.enqueue("train", 1, args={"act": act})
    house.start("work")
    pid = int(house.runs(1)[0][3])
    house.queue.cancel(job.id)
    cancelled = house.becomes(job, "cancelled")
    assert (cancelled.attempts, cancelled.faults) == (1, 0)
    eventually(lambda: not lives(pid))


def test_worker_and_child_end_when_the_server_is_killed(house: House) -> None:
    job = house.queue.enqueue("train", 1, args={"act": "hang once"})
    server = house.start("serve")
    child = int(house.runs(1)[0][3])
    worker = int(house.lines("workers")[0][0])
    kill(server.pid)
    server.wait()
    eventually(lambda: not lives(worker) and not lives(child))
    assert (house.store.job(job.id).state, house.store.job(job.id).faults) == ("queued", 0)


def test_the_supervisor_starts_a_killed_worker_again_and_ends_it_at_last(house: House) -> None:
    command = [sys.executable, str(house.program), "work"]
    supervisor = Supervisor(command, environment=house.environment, pause_s=0.01)
    supervisor.start()
    try:
        eventually(lambda: house.lines("ticks"))
        first = supervisor.pid
        assert first is not None
        kill(first)
        eventually(lambda: supervisor.pid not in (None, first))
        second = supervisor.pid
        eventually(lambda: len(house.lines("workers")) == 2)
    finally:
        supervisor.stop()
    assert second is not None
    assert not lives(second)
    assert supervisor.pid is None


@pytest.mark.parametrize("transport", ["table", "redis"])
def test_two_servers_on_one_database_run_each_job_once_and_one_keeps_the_time(
    tmp_path: Path, postgres_url: str, stack: ExitStack, transport: str, request: pytest.FixtureRequest
) -> None:
    """And when that one is killed the other goes on, with the job that was running."""
    house = House(tmp_path, postgres_url, stack)
    door = "work"
    if transport == "redis":
        door, address = "redis", str(request.getfixturevalue("redis_url"))
        house.environment["REDIS_URL"] = address
        house.queue = queue = RedisQueue(house.store, address, "small.run_job")
        stack.callback(queue.close)
    servers = {one.pid: one for one in (house.start(door), house.start(door))}
    eventually(lambda: house.lines("ticks"))
    made = [house.queue.enqueue("sync", project) for project in range(1, 7) for _ in range(2)]
    for job in made:
        house.becomes(job, "done")
    again = len({job.id for job in made})
    assert len(house.runs(again)) == again
    timekeepers = {int(line[0]) for line in house.lines("ticks")}
    assert len(timekeepers) == 1
    first = servers[timekeepers.pop()]
    job = house.queue.enqueue("train", 1, args={"act": "hang once"})
    child = int(house.runs(again + 1)[-1][3])
    for pid in (first.pid, child):
        kill(pid)
    first.wait()
    assert house.becomes(job, "done").attempts == 2
    assert [run[:2] for run in house.lines("runs")[again:]] == [["train", "1"]] * 2
    eventually(lambda: int(house.lines("ticks")[-1][0]) != first.pid)


# --- Redis


@pytest.fixture
def redis_house(house: House, redis_url: str, stack: ExitStack) -> House:
    house.environment["REDIS_URL"] = redis_url
    queue = RedisQueue(house.store, redis_url, "small.run_job")
    stack.callback(queue.close)
    house.queue = queue
    return house


def test_a_redis_worker_runs_what_was_sent_and_what_was_not(redis_house: House) -> None:
    sent = redis_house.queue.enqueue("train", 1)
    unsent = LocalQueue(redis_house.store).enqueue("sync", 1)
    redis_house.start("redis")
    assert [redis_house.becomes(job, "done").attempts for job in (sent, unsent)] == [1, 1]
    assert {run[5] for run in redis_house.lines("runs")} == {"PASSIVE"}
    eventually(lambda: redis_house.lines("ticks"))


def test_a_killed_redis_worker_and_its_horse_leave_the_job_to_another(redis_house: House) -> None:
    job = redis_house.queue.enqueue("train", 1, args={"act": "hang once"})
    first = redis_house.start("redis")
    horse = int(redis_house.runs(1)[0][3])
    kill(first.pid)
    kill(horse)
    first.wait()
    redis_house.start("redis")
    done = redis_house.becomes(job, "done")
    assert (done.attempts, done.faults) == (2, 1)


def test_a_redis_job_that_ignores_its_cancelling_is_killed(redis_house: House) -> None:
    job = redis_house.queue.enqueue("train", 1, args={"act": "ignore"})
    redis_house.start("redis")
    horse = int(redis_house.runs(1)[0][3])
    redis_house.queue.cancel(job.id)
    redis_house.becomes(job, "cancelled")
    eventually(lambda: not lives(horse))
    after = redis_house.queue.enqueue("sync", 1)
    redis_house.becomes(after, "done")


def test_workers_are_counted_as_idle_while_they_have_no_job(redis_house: House) -> None:
    lane = LANE_OF[HELPERS[0]]
    assert redis_house.queue.idle_workers(lane) == 0
    for _ in range(2):
        redis_house.start("redis")
    eventually(lambda: redis_house.queue.idle_workers(lane) == 2)
    redis_house.queue.enqueue(HELPERS[0], 1, args={"seconds": 4})
    redis_house.runs(1)
    eventually(lambda: redis_house.queue.idle_workers(lane) == 1)  # the sweep may have sent it twice
    eventually(lambda: redis_house.queue.idle_workers(lane) == 2)
    assert LocalQueue(redis_house.store).idle_workers(lane) == 0
