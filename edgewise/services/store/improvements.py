"""Improvements: what a project's last `improve` has spent and shown round by round. Knows nothing of how a round is
played.

A round is kept whole or not at all, with the pre-labels that it leaves and the demonstrations that it found: that is
all the next round needs, in whichever process.
"""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import select

from edgewise.services.store.database import columns_of, now, read_as
from edgewise.services.store.prelabels import prelabel_row
from edgewise.services.store.records import Improvement, Json, LlmRun, Prelabelled, Shot
from edgewise.services.store.suggestions import Suggestions
from edgewise.services.store.tables import improvements, llm_demonstrations, llm_runs, prelabels, tasks

COLUMNS = [improvements.c[f.name] for f in fields(Improvement)]


class Improvements(Suggestions):
    """Queries on improvements."""

    def begin_improvement(self, key: int, made: Improvement) -> Improvement:
        """Keep a new one in place of the project's last. Its time is set here."""
        row = columns_of(made) | {"created_at": now()}
        with self._write() as connection:
            self._hold(connection, key)
            self._put(connection, improvements, [row | {"project_key": key}])
        return Improvement(**row)

    def improvement(self, key: int) -> Improvement | None:
        """The project's last, None if there never was one."""
        with self._read() as connection:
            row = connection.execute(select(*COLUMNS).where(improvements.c.project_key == key)).one_or_none()
        return None if row is None else read_as(Improvement, row)

    def update_improvement(self, key: int, **facts: Any) -> None:
        """Set these fields of it."""
        with self._write() as connection:
            connection.execute(improvements.update().where(improvements.c.project_key == key).values(facts))

    def keep_round(
        self, key: int, run: LlmRun, shots: Sequence[Shot], made: Sequence[Prelabelled], **facts: Any
    ) -> None:
        """A round's run with its demonstrations and pre-labels, and these fields of the improvement, in one go.

        Tasks that are gone are left out. Again, by whoever was killed before it knew, it changes nothing.
        """
        owner: Json = {"project_key": key, "run": run.run}
        with self._write() as connection:
            self._hold(connection, key)
            ours = select(tasks.c.task_id).where(tasks.c.project_key == key)
            here = set(connection.execute(ours).scalars())
            self._put(connection, llm_runs, [columns_of(run) | owner | {"created_at": now()}])
            self._put(connection, llm_demonstrations, [columns_of(s) | owner for s in shots if s.task_id in here])
            self._put(connection, prelabels, [prelabel_row(key, one) for one in made if one.task_id in here])
            connection.execute(improvements.update().where(improvements.c.project_key == key).values(facts))
