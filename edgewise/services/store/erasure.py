"""What goes when Label Studio has deleted an annotation or a task, and what had learned from it.

A task takes its rows along (Tasks.delete_tasks); here is what an annotation has taught, and what a file keeps of rows
that are gone. Knows nothing of Label Studio.
"""

import logging
import sqlite3
from collections.abc import Collection, Mapping
from pathlib import Path

from sqlalchemy import Connection, and_, select

from edgewise.services.store.database import BUSY_TIMEOUT_MS, chunks
from edgewise.services.store.datasets import Datasets
from edgewise.services.store.tables import (
    annotations,
    dataset_contents,
    dataset_rows,
    llm_demonstrations,
    snapshot_rows,
)

MOST_VACUUMED_BYTES = 200_000_000  # a second or two, in which nobody else writes
SCRUB_TIMEOUT_MS = 2000  # while it waits for who reads, nobody else writes either

log = logging.getLogger(__name__)
Learned = dict[str, dict[int, list[int]]]  # snapshot -> task -> its annotations in it


class Erasures(Datasets):
    """Queries on what is to be erased."""

    def vanished(self, key: int, present: Mapping[int, Collection[int]]) -> dict[int, set[int]]:
        """Annotations that we keep of these tasks and that are not present any more, by task."""
        found: dict[int, set[int]] = {}
        for some in chunks(present):
            mine = and_(annotations.c.project_key == key, annotations.c.task_id.in_(some))
            with self._read() as connection:
                rows = connection.execute(select(annotations.c.task_id, annotations.c.id).where(mine))
                for task_id, annotation in rows:
                    if annotation not in present[task_id]:
                        found.setdefault(task_id, set()).add(annotation)
        return found

    def learned_from(self, key: int, gone: Mapping[int, Collection[int] | None]) -> Learned:
        """The snapshots that have these tasks: only with these annotations of theirs, where they are named (None: with
        any). A version that was trained on one of them, now or later, has learned from what is gone."""
        columns = (snapshot_rows.c.hash, snapshot_rows.c.task_id, snapshot_rows.c.annotation_ids)
        found: Learned = {}
        for some in chunks(gone):
            mine = and_(snapshot_rows.c.project_key == key, snapshot_rows.c.task_id.in_(some))
            with self._read() as connection:
                for snapshot, task_id, taught in connection.execute(select(*columns).where(mine)):
                    named = gone[task_id]
                    learned = sorted(taught if named is None else set(taught) & set(named))
                    if learned or named is None:
                        found.setdefault(snapshot, {})[task_id] = learned
        return found

    def erase_lessons(self, key: int, gone: Mapping[int, Collection[int]]) -> None:
        """Erase what these annotations, by task, said in dataset versions and as demonstrations; the same said by
        others stays."""
        for some in chunks(gone):
            with self._write() as connection:
                self._hold(connection, key)
                doomed = self._lessons(connection, key, {task: gone[task] for task in some})
                mine = and_(dataset_contents.c.project_key == key, dataset_contents.c.content.in_(doomed))
                connection.execute(dataset_contents.delete().where(mine))
                shown = and_(llm_demonstrations.c.project_key == key, llm_demonstrations.c.task_id.in_(some))
                connection.execute(llm_demonstrations.delete().where(shown))

    def _lessons(self, connection: Connection, key: int, gone: Mapping[int, Collection[int]]) -> list[str]:
        """Contents that nobody but these annotations stands for."""
        own = and_(
            dataset_rows.c.project_key == snapshot_rows.c.project_key,
            dataset_rows.c.dataset == snapshot_rows.c.hash,
            dataset_rows.c.task_id == snapshot_rows.c.task_id,
        )
        row = select(dataset_rows.c.content, dataset_rows.c.task_id, snapshot_rows.c.annotation_ids).join(
            snapshot_rows, own
        )
        mine = row.where(dataset_rows.c.project_key == key)
        theirs = connection.execute(mine.where(dataset_rows.c.task_id.in_(gone)))
        named = {content for content, task, taught in theirs if set(taught) & set(gone[task])}
        alive: set[str] = set()
        for some in chunks(sorted(named)):
            rows = connection.execute(mine.where(dataset_rows.c.content.in_(some))).all()
            there = self._annotation_ids(connection, key, {task for _, task, _ in rows})
            for content, task, taught in rows:
                if task in there and set(taught) <= there[task] - set(gone.get(task, ())):
                    alive.add(content)
        return sorted(named - alive)

    def scrub(self) -> None:
        """Take what was erased out of SQLite's files too: rows that are gone are zeroed at once, but the log, and pages
        that were split, keep some for a while. A large file is only zeroed; PostgreSQL's VACUUM is its own affair."""
        if not self._is_sqlite:
            return
        with self._turn(), self._engine.connect() as connection:
            raw = connection.connection.driver_connection
            assert raw is not None  # it is open
            raw.execute(f"PRAGMA busy_timeout={SCRUB_TIMEOUT_MS}").close()
            try:
                if Path(str(self._engine.url.database)).stat().st_size <= MOST_VACUUMED_BYTES:
                    raw.execute("VACUUM").close()
                if raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                    raise sqlite3.OperationalError("somebody reads")
            except sqlite3.OperationalError as error:  # busy, or a full disk
                log.warning("the database's files may keep traces of what was erased: %s", error)
            finally:
                raw.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}").close()
