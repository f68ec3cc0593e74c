"""Runs of language models over a project: how each asks, what it has sent and spent, what it may show.

Knows nothing of what is asked or answered.
"""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import and_, select

from edgewise.errors import NotFound
from edgewise.services.store.database import columns_of, now, read_as
from edgewise.services.store.prelabels import Prelabels
from edgewise.services.store.records import LlmRun, Shot
from edgewise.services.store.tables import llm_demonstrations, llm_runs, prelabels, tasks

SHOT_COLUMNS = [llm_demonstrations.c[f.name] for f in fields(Shot)]


class LlmRuns(Prelabels):
    """Queries on runs of language models."""

    def add_llm_run(self, key: int, run: LlmRun, shots: Sequence[Shot]) -> LlmRun:
        """Keep a new run with the demonstrations that it may show, all of it or nothing. Its time is set here."""
        made = columns_of(run) | {"created_at": now()}
        wanted = {shot.task_id: shot for shot in shots}
        with self._write() as connection:
            self._hold(connection, key)
            here = select(tasks.c.task_id).where(tasks.c.project_key == key, tasks.c.task_id.in_(wanted))
            known = sorted(connection.execute(here).scalars())
            owner = {"project_key": key, "run": run.run}
            self._put(connection, llm_demonstrations, [columns_of(wanted[task]) | owner for task in known])
            connection.execute(llm_runs.insert().values(made | owner))
        return LlmRun(**made)

    def llm_run(self, key: int, run: int) -> LlmRun:
        """One run. NotFound if there is none of this number."""
        found = [one for one in self.llm_runs(key) if one.run == run]
        if not found:
            raise NotFound(f"Project {key} has no language-model run {run}.", "See /projects/<id>/status for its runs.")
        return found[0]

    def llm_runs(self, key: int) -> list[LlmRun]:
        """All runs, newest first."""
        mine = llm_runs.select().where(llm_runs.c.project_key == key).order_by(llm_runs.c.run.desc())
        with self._read() as connection:
            return [read_as(LlmRun, row) for row in connection.execute(mine)]

    def last_llm_run(self, key: int) -> LlmRun | None:
        """The newest run, None if there never was one."""
        mine = llm_runs.select().where(llm_runs.c.project_key == key).order_by(llm_runs.c.run.desc()).limit(1)
        with self._read() as connection:
            row = connection.execute(mine).one_or_none()
        return None if row is None else read_as(LlmRun, row)

    def update_llm_run(self, key: int, run: int, **facts: Any) -> None:
        """Set these fields of a run."""
        mine = and_(llm_runs.c.project_key == key, llm_runs.c.run == run)
        with self._write() as connection:
            connection.execute(llm_runs.update().where(mine).values(facts))

    def shots(self, key: int, run: int) -> list[Shot]:
        """What the run may show, by task; a task that was erased takes its demonstration along."""
        mine = and_(llm_demonstrations.c.project_key == key, llm_demonstrations.c.run == run)
        ordered = select(*SHOT_COLUMNS).where(mine).order_by(llm_demonstrations.c.task_id)
        with self._read() as connection:
            return [read_as(Shot, row) for row in connection.execute(ordered)]

    def demonstrated(self, key: int, run: int | None = None) -> set[int]:
        """The tasks that were shown as demonstrations, in this run or in any whose answers are kept."""
        mine = select(prelabels.c.shown).where(prelabels.c.project_key == key)
        if run is not None:
            mine = mine.where(prelabels.c.run == run)
        with self._read() as connection:
            return {task for shown in connection.execute(mine).scalars() for task in shown}
