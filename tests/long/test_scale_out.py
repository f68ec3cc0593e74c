"""A big pool ranked by two real workers on Redis and PostgreSQL, one of which is killed with a chunk in its hands.

Label Studio is a stand-in that counts predictions.
"""

import os
import signal
import time

import pytest
from sqlalchemy import text

from benchmarks.scale_out import Town, town
from tests.chaos.processes import Program, family, named

TASKS = 5000
AT_WORK_S = 1.0
HELD = "SELECT jobs.id FROM rank_chunks JOIN jobs ON jobs.id = holder WHERE lane = 'score' AND state = 'running'"


class Assassin:
    """Kills the worker that helps, and its job's process, when it has been at a chunk for a while."""

    def __init__(self, place: Town, workers: list[Program]) -> None:
        self.place, self.workers = place, workers
        self.killed: str | None = None  # the job
        self._since = 0.0

    def __call__(self) -> None:
        held = self.held()
        if self.killed is not None or held is None:
            return
        self._since = self._since or time.monotonic()
        if time.monotonic() < self._since + AT_WORK_S:
            return
        (victim,) = [one for one in self.workers if named(family(one.pids[0]), held)]
        for pid in family(victim.pids[0]):
            os.kill(pid, signal.SIGKILL)
        self.killed = held

    def held(self) -> str | None:
        """The helper's job that holds a chunk."""
        with self.place.system.store._read() as connection:
            found = connection.execute(text(HELD)).scalars().all()
        return found[0] if found else None


@pytest.mark.timeout(900)
def test_a_worker_killed_while_it_helps_costs_its_chunk() -> None:
    with town(TASKS, 1) as place:
        place.serve(place.system.store.versions(place.project.key)[0].id)
        with place.workers(2) as workers:
            assassin = Assassin(place, workers)
            place.rank(assassin)
            assert assassin.killed is not None, "nobody helped"
        place.check(TASKS)
        assert sorted(place.studio.tasks) == list(range(1, TASKS + 1)), "each was pushed once"
        job = place.system.store.job(assassin.killed)
        assert job.faults == 1
