"""Releases and the rank of each task in them. Higher `uncertainty` is less sure; the lowest `score` is
labelled first."""

from collections.abc import Container, Iterable
from dataclasses import fields
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, func, select

from edgewise.errors import NotFound
from edgewise.services.store.database import CHUNK, WRITE_CHUNK, chunks, columns_of, now, read_as
from edgewise.services.store.records import Rank, Release
from edgewise.services.store.tables import projects, rank_chunks, ranks, releases, tasks
from edgewise.services.store.training import Training

RANK_COLUMNS = [ranks.c[f.name] for f in fields(Rank)]


class Releases(Training):
    """Queries on releases and ranks."""

    def new_release(self, key: int, version: str | None, schema_digest: str, above: int = 0) -> Release:
        """The project's next release, in state "ranking". Numbers are never used twice; it is `above` one given."""
        with self._write() as connection:
            self._hold(connection, key)
            highest = case((projects.c.release_counter > above, projects.c.release_counter), else_=above)
            counting = projects.update().where(projects.c.key == key).values(release_counter=highest + 1)
            n = connection.execute(counting.returning(projects.c.release_counter)).scalar_one()
            release = Release(n, key, version, "ranking", False, now(), schema_digest)
            connection.execute(releases.insert().values(columns_of(release)))
        return release

    def release(self, key: int, n: int) -> Release:
        """The release `ew-<n>`. NotFound if the project has none."""
        with self._read() as connection:
            mine = releases.select().where(releases.c.project_key == key, releases.c.n == n)
            row = connection.execute(mine).one_or_none()
        if row is None:
            raise _unknown(key, n)
        return read_as(Release, row)

    def releases(self, key: int) -> list[Release]:
        """All releases of the project, newest first."""
        with self._read() as connection:
            mine = releases.select().where(releases.c.project_key == key).order_by(releases.c.n.desc())
            return [read_as(Release, row) for row in connection.execute(mine)]

    def update_release(self, key: int, n: int, **fields: Any) -> Release:
        """Set these fields. NotFound if there is no such release."""
        mine = releases.update().where(releases.c.project_key == key, releases.c.n == n)
        with self._write() as connection:
            row = connection.execute(mine.values(fields).returning(*releases.columns)).one_or_none()
        if row is None:
            raise _unknown(key, n)
        return read_as(Release, row)

    def save_ranks(self, key: int, n: int, new: Iterable[Rank]) -> None:
        """Keep ranks of a release, in small steps. Again is harmless: a rank stays pushed. Those of tasks that are
        not here (any more) are left out."""
        self._keep_ranks(key, n, new, keep=("pushed",))

    def add_ranks(self, key: int, n: int, new: Iterable[Rank]) -> None:
        """The same, but a task that has a rank in the release keeps it: it may have been pushed by now."""
        self._keep_ranks(key, n, new, keep=ranks.columns.keys())

    def _keep_ranks(self, key: int, n: int, new: Iterable[Rank], keep: Container[str]) -> None:
        for some in chunks(new, WRITE_CHUNK):
            by_id = {rank.task_id: rank for rank in some}
            with self._write() as connection:
                self._hold(connection, key)
                mine = select(tasks.c.task_id, tasks.c.open).where(
                    tasks.c.project_key == key, tasks.c.task_id.in_(by_id)
                )
                here = connection.execute(mine.order_by(tasks.c.task_id)).all()
                who = {"project_key": key, "release": n}
                rows = [columns_of(by_id[i]) | who | {"open": is_open} for i, is_open in here]
                with self._recounting(connection, key, by_id):
                    self._put(connection, ranks, rows, keep)

    def ranks(self, key: int, n: int, ids: Iterable[int]) -> dict[int, Rank]:
        """The ranks of these tasks in the release, by task id; a task without one is missing."""
        found: dict[int, Rank] = {}
        for some in chunks(ids):
            with self._read() as connection:
                mine = select(*RANK_COLUMNS).where(_of(key, n), ranks.c.task_id.in_(some))
                found.update({row.task_id: read_as(Rank, row) for row in connection.execute(mine)})
        return found

    def unpushed(self, key: int, n: int, limit: int | None = None) -> list[Rank]:
        """The first ranks that Label Studio has not got yet, in order; closed tasks too."""
        return self._in_order(select(*RANK_COLUMNS).where(_of(key, n), ranks.c.pushed.is_(False)), limit)

    def mark_pushed(self, key: int, n: int, ids: Iterable[int]) -> None:
        """Label Studio has the ranks of these tasks."""
        for some in chunks(ids):
            with self._write() as connection:
                connection.execute(ranks.update().where(_of(key, n), ranks.c.task_id.in_(some)).values(pushed=True))

    def hardest(self, key: int, n: int, limit: int, threshold: float | None = None) -> list[Rank]:
        """The first open ranks that are not audit tasks, in order. threshold: only those at least so uncertain.
        Its time grows with `limit`, not with the pool."""
        wanted = and_(_of(key, n), ranks.c.open.is_(True), ranks.c.audit.is_(False))
        if threshold is not None:
            wanted = and_(wanted, ranks.c.uncertainty >= threshold)
        return self._in_order(select(*RANK_COLUMNS).where(wanted), limit)

    def _in_order(self, query: Select[Any], limit: int | None) -> list[Rank]:
        ordered = query.order_by(ranks.c.score, ranks.c.task_id).limit(limit)
        with self._read() as connection:
            return [read_as(Rank, row) for row in connection.execute(ordered)]

    def order(self, key: int, n: int, limit: int | None = None) -> list[int]:
        """The open tasks of the release, audit tasks too, in the order in which Label Studio serves them: lowest
        score first."""
        mine = select(ranks.c.task_id).where(_of(key, n), ranks.c.open.is_(True))
        with self._read() as connection:
            return list(connection.execute(mine.order_by(ranks.c.score, ranks.c.task_id).limit(limit)).scalars())

    def unranked(
        self, key: int, n: int, limit: int | None = None, *, above: int | None = None, upto: int | None = None
    ) -> list[int]:
        """Open tasks that the release has no rank of, ascending; those that cannot be predicted are left out. Only
        those with an id greater than `above`, and not greater than `upto`, where given."""
        same = and_(ranks.c.project_key == key, ranks.c.release == n, ranks.c.task_id == tasks.c.task_id)
        mine = (
            select(tasks.c.task_id)
            .where(tasks.c.project_key == key, tasks.c.open.is_(True), tasks.c.problem.is_(None))
            .where(~select(ranks.c.task_id).where(same).exists())
        )
        if above is not None:
            mine = mine.where(tasks.c.task_id > above)
        if upto is not None:
            mine = mine.where(tasks.c.task_id <= upto)
        with self._read() as connection:
            return list(connection.execute(mine.order_by(tasks.c.task_id).limit(limit)).scalars())

    def taken_scores(self, key: int, n: int, among: Iterable[float]) -> set[float]:
        """Which of these scores tasks have that were pushed: another one needs another."""
        found: set[float] = set()
        both = (True, False)  # so that the index is of use
        for some in chunks(among):
            mine = and_(_of(key, n), ranks.c.open.in_(both), ranks.c.audit.in_(both), ranks.c.score.in_(some))
            with self._read() as connection:
                found.update(connection.execute(select(ranks.c.score).where(mine, ranks.c.pushed)).scalars())
        return found

    def count_ranks(self, key: int, n: int, *, pushed: bool | None = None) -> int:
        """How many ranks the release has; of them those that were pushed, or were not, where given."""
        return self._count(_of(key, n), *([] if pushed is None else [ranks.c.pushed.is_(pushed)]))

    def count_above(self, key: int, n: int, threshold: float) -> int:
        """How many of them are at least so uncertain."""
        unsure = ranks.c.uncertainty >= threshold
        return self._count(_of(key, n), ranks.c.open.is_(True), ranks.c.audit.is_(False), unsure)

    def _count(self, *wanted: ColumnElement[bool]) -> int:
        with self._read() as connection:
            return int(connection.execute(select(func.count()).select_from(ranks).where(*wanted)).scalar_one())

    def drop_ranks(self, key: int, n: int) -> None:
        """Forget the ranks of a release, in small steps, and what is left of its chunks."""
        self._delete(rank_chunks.delete().where(rank_chunks.c.project_key == key, rank_chunks.c.release == n))
        some = select(ranks.c.task_id).where(_of(key, n)).limit(CHUNK).scalar_subquery()
        while self._delete(ranks.delete().where(_of(key, n), ranks.c.task_id.in_(some))):
            pass
        self._begin_pool(key, n)


def _of(key: int, n: int) -> ColumnElement[bool]:
    return and_(ranks.c.project_key == key, ranks.c.release == n)


def _unknown(key: int, n: int) -> NotFound:
    return NotFound(f"Project {key} has no release {n}.", "See /projects/<id>/status for its release.")
