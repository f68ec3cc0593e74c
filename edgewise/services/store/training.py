"""Snapshots of what was trained on, and model versions. Knows nothing of weights or files."""

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import Text, and_, func, or_, select, type_coerce

from edgewise.errors import NotFound
from edgewise.services.store.database import WRITE_CHUNK, chunks, now, read_as
from edgewise.services.store.records import Snapshot, SnapshotRow, Version
from edgewise.services.store.tables import (
    annotations,
    snapshot_rows,
    snapshots,
    tasks,
    version_predictions,
    versions,
)
from edgewise.services.store.tasks import Tasks


class Training(Tasks):
    """Queries on snapshots and versions."""

    def add_snapshot(self, key: int, hash: str, rows: Iterable[tuple[int, str, Iterable[int]]]) -> Snapshot:
        """Keep (task id, example's digest, annotation ids) of a training; from then on it is the last snapshot.
        It is seen only when whole. The same hash again only makes it the last one."""
        size = 0
        for some in chunks(rows, WRITE_CHUNK):
            size += len(some)
            made = [
                {"project_key": key, "hash": hash, "task_id": i, "digest": d, "annotation_ids": list(a)}
                for i, d, a in some
            ]
            with self._write() as connection:
                self._hold(connection, key)
                self._put(connection, snapshot_rows, made)
        with self._write() as connection:
            self._hold(connection, key)
            highest = select(func.coalesce(func.max(snapshots.c.turn), 0)).where(snapshots.c.project_key == key)
            turn = connection.execute(highest).scalar_one() + 1
            row = {"project_key": key, "hash": hash, "turn": turn, "created_at": now(), "size": size}
            self._put(connection, snapshots, [row])
        return Snapshot(hash, row["created_at"], size)

    def last_snapshot(self, key: int) -> Snapshot | None:
        """The snapshot that was added last."""
        mine = snapshots.select().where(snapshots.c.project_key == key).order_by(snapshots.c.turn.desc()).limit(1)
        with self._read() as connection:
            row = connection.execute(mine).one_or_none()
        return None if row is None else read_as(Snapshot, row)

    def snapshot_rows(self, key: int, hash: str) -> list[SnapshotRow]:
        """The examples of a snapshot, by task id."""
        mine = snapshot_rows.select().where(snapshot_rows.c.project_key == key, snapshot_rows.c.hash == hash)
        with self._read() as connection:
            return [read_as(SnapshotRow, row) for row in connection.execute(mine.order_by(snapshot_rows.c.task_id))]

    def snapshot_turns(self, key: int) -> dict[str, int]:
        """When each snapshot was last added, by hash: one that is added again may have other annotations, and is later
        than all others."""
        mine = select(snapshots.c.hash, snapshots.c.turn).where(snapshots.c.project_key == key)
        with self._read() as connection:
            return {row.hash: row.turn for row in connection.execute(mine)}

    def taught(self, key: int, hash: str) -> list[tuple[int, tuple[int, ...]]]:
        """Task and annotations of a snapshot's examples, by task id: what is asked of hundreds of snapshots at once, in
        a tenth of the time that snapshot_rows() takes."""
        rows = select(snapshot_rows.c.task_id, type_coerce(snapshot_rows.c.annotation_ids, Text))
        mine = rows.where(snapshot_rows.c.project_key == key, snapshot_rows.c.hash == hash)
        with self._read() as connection:
            found = connection.execute(mine.order_by(snapshot_rows.c.task_id)).all()
        return [(task, _ids(dumped)) for task, dumped in found]

    def lead_times(self, key: int) -> dict[int, float]:
        """Seconds that people needed, by annotation id; those of which nobody knows are missing."""
        known = and_(annotations.c.project_key == key, annotations.c.lead_time.is_not(None))
        with self._read() as connection:
            rows = connection.execute(select(annotations.c.id, annotations.c.lead_time).where(known))
            return {row.id: row.lead_time for row in rows}

    def updates(self, key: int) -> int:
        """How many tasks, audit tasks left out, have another training example than in the last snapshot: new,
        changed, or vanished since."""
        last = self.last_snapshot(key)
        examples = and_(tasks.c.project_key == key, tasks.c.digest.is_not(None), tasks.c.audit.is_(False))
        taught = and_(snapshot_rows.c.project_key == key, snapshot_rows.c.hash == (last.hash if last else ""))
        same = and_(snapshot_rows.c.task_id == tasks.c.task_id, taught)
        fresh = select(func.count()).select_from(tasks.outerjoin(snapshot_rows, same))
        differs = or_(snapshot_rows.c.digest.is_(None), snapshot_rows.c.digest != tasks.c.digest)
        still = select(tasks.c.task_id).where(examples, tasks.c.task_id == snapshot_rows.c.task_id).exists()
        vanished = select(func.count()).select_from(snapshot_rows).where(taught, ~still)
        with self._read() as connection:
            changed = connection.execute(fresh.where(examples, differs)).scalar_one()
            return int(changed) + int(connection.execute(vanished).scalar_one())

    def add_version(self, version: Version) -> Version:
        """Keep a version; `created_at` is now where it has none. The same id again overwrites: it is the same model."""
        row = {c.name: getattr(version, c.name) for c in versions.columns}
        row["created_at"] = version.created_at or now()
        with self._write() as connection:
            self._hold(connection, version.project_key)
            self._put(connection, versions, [row])
        return Version(**row)

    def version(self, key: int, id: str) -> Version:
        """The version of this id. NotFound if the project has none."""
        with self._read() as connection:
            mine = versions.select().where(versions.c.project_key == key, versions.c.id == id)
            row = connection.execute(mine).one_or_none()
        if row is None:
            raise _unknown(key, id)
        return read_as(Version, row)

    def versions(self, key: int) -> list[Version]:
        """All versions of the project, newest first."""
        mine = versions.select().where(versions.c.project_key == key)
        with self._read() as connection:
            rows = connection.execute(mine.order_by(versions.c.created_at.desc(), versions.c.id))
            return [read_as(Version, row) for row in rows]

    def update_version(self, key: int, id: str, **fields: Any) -> Version:
        """Set these fields. NotFound if there is no such version."""
        mine = versions.update().where(versions.c.project_key == key, versions.c.id == id)
        with self._write() as connection:
            row = connection.execute(mine.values(fields).returning(*versions.columns)).one_or_none()
        if row is None:
            raise _unknown(key, id)
        return read_as(Version, row)

    def save_version_predictions(self, key: int, version: str, purpose: str, results: Mapping[int, Any]) -> None:
        """Keep what the version answered for these tasks. purpose: "held_out" or "out_of_fold"; results: any JSON."""
        for some in chunks(sorted(results.items()), WRITE_CHUNK):
            who = {"project_key": key, "version": version, "purpose": purpose}
            with self._write() as connection:
                self._hold(connection, key)
                self._put(connection, version_predictions, [who | {"task_id": i, "result": r} for i, r in some])

    def version_predictions(self, key: int, version: str, purpose: str) -> dict[int, Any]:
        """What save_version_predictions() kept, by task id."""
        table = version_predictions
        mine = (table.c.project_key == key) & (table.c.version == version) & (table.c.purpose == purpose)
        with self._read() as connection:
            rows = connection.execute(select(table.c.task_id, table.c.result).where(mine).order_by(table.c.task_id))
            return {row.task_id: row.result for row in rows}

    def predicted(self, key: int) -> dict[tuple[str, str], tuple[int, int]]:
        """By version and purpose, how many tasks have an answer, and the sum of their ids: what is erased, or added,
        shows in it. One look at the index, however long the answers are."""
        table = version_predictions
        ids = func.sum(table.c.task_id)
        counts = select(table.c.version, table.c.purpose, func.count(), ids).where(table.c.project_key == key)
        with self._read() as connection:
            rows = connection.execute(counts.group_by(table.c.version, table.c.purpose))
            return {(version, purpose): (int(count), int(total)) for version, purpose, count, total in rows}


@lru_cache(maxsize=50_000)  # 10 MB: one snapshot's, as the next one has nearly the same
def _ids(dumped: str) -> tuple[int, ...]:
    return tuple(json.loads(dumped))


def _unknown(key: int, id: str) -> NotFound:
    return NotFound(f"Project {key} has no version {id!r}.", "See /projects/<id>/status for its versions.")
