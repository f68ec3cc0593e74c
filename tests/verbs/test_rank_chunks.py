"""An order with help: who scores which chunk of its head and of the rest, and what is lost when a helper is killed.

The head and the chunks are made small; the helper that is killed is a process of its own.
"""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rq import Queue as Transport
from rq import Worker as RqWorker

from edgewise.services.jobs import HELPERS, LANE_OF, Pace, RedisQueue, perform, reap
from edgewise.services.store import Chunk, Job
from edgewise.verbs import placing, rank_chunks
from edgewise.verbs import rank as ranking
from edgewise.verbs.placing import release_name
from edgewise.verbs.rank_chunks import help_rank
from edgewise.verbs.sync import sync
from tests.services.conftest import eventually, redis_server, redis_url
from tests.studio_fixture import REPOSITORY
from tests.verbs.conftest import Make, do, publish
from tests.verbs.test_rank import World, memory, own_world, shared, small, tasks, world

__all__ = ["memory", "own_world", "redis_server", "redis_url", "shared", "small", "tasks", "world"]

PART = 3  # of a head of ten
PACE = Pace(lease_s=2.0, pause_s=0.01)
# A worker's process that helps: it writes down what it scored, and stops for ever before it keeps the ranks.
HELPER = """
import sys, time
from pathlib import Path
from edgewise.services import jobs
from edgewise.services.store import Store
from edgewise.verbs import rank_chunks
from model import open_system, run_verb

def stop(*_):
    (HERE / "at work").touch()
    time.sleep(600)

def wait(report):
    (HERE / "waits").touch()
    waits(report)

def scored(run, ids, report):
    with (HERE / "scored").open("a") as file:
        file.writelines(f"{task}\\n" for task in ids)
    return real(run, ids, report)

HERE, real, waits = Path(sys.argv[1]), rank_chunks.said_by_models, rank_chunks.wait
rank_chunks.said_by_models, rank_chunks.wait, Store.add_ranks, Store.keep_said = scored, wait, stop, stop
system, pace = open_system(), jobs.Pace(lease_s=2.0, pause_s=0.01)
jobs.perform(system.store, system.queue, sys.argv[2], lambda job, told: run_verb(system, job, told), pace=pace)
"""


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_chunks, "PART", PART)


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The tasks that went through a model in this process, each as often as it did."""
    found: list[int] = []
    real = placing.said_by_models

    def said_by_models(run: Any, ids: Any, report: Any) -> Any:
        found.extend(ids)
        return real(run, ids, report)

    monkeypatch.setattr(rank_chunks, "said_by_models", said_by_models)
    return found


def helper(world: World, number: int = 0) -> Job:
    """A helper's job, waiting."""
    return world.system.store.add_job(HELPERS[number], world.key, lane=LANE_OF[HELPERS[number]])


def help_now(world: World) -> Job:
    """A helper that does its job in this process; the job afterwards."""
    job, store = helper(world), world.system.store
    perform(store, world.system.queue, job.id, lambda _, told: help_rank(world.system, world.project, told), pace=PACE)
    return store.job(job.id)


@pytest.fixture
def process(world: World, tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """The helper that will be killed, on its way."""
    settings = world.system.settings
    told = {
        "DATA_DIR": str(settings.data_dir),
        "BASELINE_MODEL_NAME": settings.baseline_model_name,
        "LABEL_STUDIO_HOST": settings.label_studio_host,
        "LABEL_STUDIO_API_KEY": settings.label_studio_api_key.get_secret_value(),
        "MAX_SEQUENCE_LENGTH": str(settings.max_sequence_length),
        "AUDIT_FRACTION": str(settings.audit_fraction),
        "PYTHONPATH": str(REPOSITORY),
    }
    command = [sys.executable, "-c", HELPER, str(tmp_path), helper(world).id]
    with subprocess.Popen(command, env=os.environ | told, start_new_session=True) as started:
        try:
            yield started
        finally:
            started.kill()


@pytest.fixture
def check_lost(world: World, scored: list[int], tmp_path: Path) -> Callable[[int], None]:
    """Checks that all was ranked, and nothing scored twice but one chunk, of so many tasks, of the lost helper."""

    def check(size: int) -> None:
        world.check()
        lost = [int(line) for line in (tmp_path / "scored").read_text().split()]
        assert len(lost) == size
        times = Counter(scored + lost)
        assert {task for task, count in times.items() if count > 1} == set(lost)
        assert set(times.values()) == {1, 2}
        assert set(times) == set(world.system.store.open_task_ids(world.key))
        assert world.system.store.count_chunks(world.key, world.active.n) == 0

    return check


def test_a_helper_that_is_killed_costs_its_chunk_and_nothing_else(
    world: World,
    process: "subprocess.Popen[bytes]",
    check_lost: Callable[[int], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = world.system.store

    def each_turn(*_: object) -> None:
        """In the place of who asks for helpers: see to it that one is killed, then do what the sweep does."""
        if world.project.active_release is None:
            return
        if process.poll() is None:
            eventually((tmp_path / "at work").exists)
            process.send_signal(signal.SIGKILL)
            process.wait()
        reap(store, PACE)

    monkeypatch.setattr(rank_chunks, "ask_for_help", each_turn)
    world.rank()
    check_lost(ranking.SCORED)
    assert process.returncode == -signal.SIGKILL
    (job,) = [job for job in store.jobs(50, world.key) if job.kind == HELPERS[0]]
    assert (job.state, job.faults) == ("cancelled", 1), "it was put back, and at the end nobody needed it"


def test_a_helper_that_is_stuck_in_the_rest_costs_its_chunk_and_nothing_else(
    world: World,
    process: "subprocess.Popen[bytes]",
    check_lost: Callable[[int], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def as_soon_as_it_is_at_work(*_: object) -> None:
        if world.project.active_release is not None:
            eventually((tmp_path / "at work").exists)

    monkeypatch.setattr(rank_chunks, "STUCK_S", 0.5)
    monkeypatch.setattr(rank_chunks, "ask_for_help", as_soon_as_it_is_at_work)
    world.rank()
    check_lost(ranking.SCORED)
    assert process.poll() is None, "it holds its chunk still"


@pytest.mark.parametrize("killed", [True, False])
def test_a_helper_that_is_lost_in_the_head_costs_its_chunk_and_nothing_else(
    world: World,
    process: "subprocess.Popen[bytes]",
    check_lost: Callable[[int], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    killed: bool,
) -> None:
    """Killed, it costs no more than its lease; stuck, no more than the ranking's patience."""
    store, claim, wait = world.system.store, world.system.store.claim_chunk, rank_chunks.wait

    def as_soon_as_it_is_at_work(*told: Any) -> Chunk | None:
        """The first chunk is the helper's; the ranking itself scores all others."""
        eventually((tmp_path / "at work").exists)
        return claim(*told)

    def nothing_else_is_left(report: Any) -> None:
        if killed:
            process.kill()
            process.wait()
        reap(store, PACE)
        wait(report)

    monkeypatch.setattr(rank_chunks, "STUCK_S", 60.0 if killed else 0.5)
    monkeypatch.setattr(rank_chunks, "ask_for_help", lambda *_: eventually((tmp_path / "waits").exists))
    monkeypatch.setattr(store, "claim_chunk", as_soon_as_it_is_at_work)
    monkeypatch.setattr(rank_chunks, "wait", nothing_else_is_left)
    world.rank()
    check_lost(PART)
    assert (process.poll() is None) == (not killed)


def test_helpers_take_chunks_and_the_ranking_alone_pushes(
    world: World, scored: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One helps as soon as the head is active: when the ranking looks, nothing is left but to push."""
    helped: list[Job] = []
    pushed = world.predictions

    def once(*_: object) -> None:
        if world.project.active_release is not None and not helped:
            before = pushed(release_name(world.active.n))
            helped.append(help_now(world))
            assert pushed(release_name(world.active.n)) == before
            monkeypatch.setattr(rank_chunks, "score_chunk", lambda *_: pytest.fail("the helper has left nothing"))

    monkeypatch.setattr(rank_chunks, "ask_for_help", once)
    world.rank()
    world.check()
    assert [job.state for job in helped] == ["done"]
    assert sorted(scored) == sorted(world.system.store.open_task_ids(world.key))


def test_a_helper_ends_at_once_when_nothing_is_ranked(world: World, scored: list[int]) -> None:
    assert help_now(world).state == "done"
    world.rank()
    del scored[:]
    began = time.monotonic()
    assert help_now(world).state == "done"
    assert scored == []
    assert time.monotonic() - began < 2


def test_a_helper_makes_room_after_a_chunk_when_another_job_waits(
    world: World, scored: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, helped = world.system.store, list[int]()

    def once(*_: object) -> None:
        if world.project.active_release is not None and not helped:
            store.add_job("train", world.key, lane="train")
            eventually(lambda: store.waiting_s() > rank_chunks.PATIENCE_S)
            before = len(scored)
            help_now(world)
            helped.append(len(scored) - before)

    monkeypatch.setattr(rank_chunks, "ask_for_help", once)
    world.rank()
    world.check()
    assert helped == [ranking.SCORED]


def test_each_idle_worker_is_asked_once_and_nobody_where_little_is_left(offline: Make, redis_url: str) -> None:
    system = offline(redis_url=redis_url)
    queue = system.queue
    assert isinstance(queue, RedisQueue)
    project = system.store.record_project("studio", 1, "c")
    lane = Transport(f"edgewise-{LANE_OF[HELPERS[0]]}", connection=queue._redis, serializer="json")

    def asked(left: int) -> list[str]:
        rank_chunks.ask_for_help(system, project, left)
        return [job.kind for job in system.store.unfinished_jobs(project.key)]

    assert asked(99) == [], "there is no worker"
    workers = [RqWorker([lane], name=f"worker-{number}", serializer="json") for number in range(3)]
    for worker in workers:
        worker.register_birth()
        worker.set_state("idle")
    assert asked(rank_chunks.ALONE) == []
    assert asked(rank_chunks.ALONE + 1) == list(HELPERS[:3])
    assert asked(99) == list(HELPERS[:3]), "one for each"
    started = system.store.start_job(system.store.unfinished_jobs(project.key)[1].id, 60)
    assert started is not None
    workers[0].set_state("busy")
    assert asked(99) == list(HELPERS[:3])
    rank_chunks.dismiss(system, project)
    assert [job.kind for job in system.store.unfinished_jobs(project.key)] == [HELPERS[1]]
    for worker in workers:
        worker.register_death()
    queue.close()


def test_after_new_tasks_only_they_are_scored(own_world: World, scored: list[int]) -> None:
    own_world.rank()
    known = own_world.system.store.open_task_ids(own_world.key)
    assert sorted(scored) == sorted(known)
    del scored[:]
    own_world.studio.add_tasks(["Noether came from Lisbon by train .", "We met Ada Young near Paris ."])
    do(own_world.system, own_world.key, sync)
    own_world.rank()
    own_world.check()
    assert sorted(scored) == sorted(set(own_world.system.store.open_task_ids(own_world.key)) - set(known))
    assert len(scored) == 2
    publish(own_world.system, own_world.project, Path(own_world.system.settings.baseline_model_name), "newer")
    own_world.rank()
    assert len(scored) == 2 + len(known) + 2, "a new version's order is a new one"
