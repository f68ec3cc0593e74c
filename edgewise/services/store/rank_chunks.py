"""Chunks of a ranking: which tasks are still to be scored, and which job is at it.

A chunk is held by one attempt of a job, as long as that runs; who ends without a word, and is no longer counted as
running, has given it back. What is said of a head's chunk is kept in it. Knows nothing of scores.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import ColumnElement, and_, func, select, text

from edgewise.services.store.database import WRITE_CHUNK, chunks, read_as
from edgewise.services.store.queue import JobsTable
from edgewise.services.store.records import Chunk, Job
from edgewise.services.store.tables import jobs, rank_chunks

AS_SEEN = ("project_key", "release", "first", "last", "tasks", "holder", "attempt")
UNHELD = {"holder": None, "attempt": None, "said": None}


class RankChunks(JobsTable):
    """Queries on chunks of rankings."""

    def cut_step(self, key: int, n: int, parts: Iterable[Sequence[int]]) -> None:
        """One chunk for each of these lists of a head's tasks, which are ascending and follow one another."""
        rows = [
            {"project_key": key, "release": n, "first": part[0], "last": part[-1], "tasks": list(part)} | UNHELD
            for part in parts
        ]
        with self._write() as connection:
            self._hold(connection, key)
            self._put(connection, rank_chunks, rows)

    def keep_said(self, key: int, n: int, chunk: Chunk, job: Job, said: bytes) -> None:
        """What is said of a head's chunk, by the attempt that holds it; whoever lost it meanwhile keeps nothing."""
        mine = and_(rank_chunks.c.holder == job.id, rank_chunks.c.attempt == job.attempts)
        with self._write() as connection:
            kept = rank_chunks.update().where(_of(key, n), rank_chunks.c.first == chunk.first, mine)
            connection.execute(kept.values(said=said))

    def take_said(self, key: int, n: int) -> list[bytes]:
        """What is said of a step's chunks, all of which are done, in their order; they go."""
        by_first = select(rank_chunks.c.first, rank_chunks.c.said).where(_of(key, n)).order_by(rank_chunks.c.first)
        with self._read() as connection:
            found = connection.execute(by_first).all()
        for some in chunks([first for first, _ in found], WRITE_CHUNK):  # megabytes: others want to write too
            self._delete(rank_chunks.delete().where(_of(key, n), rank_chunks.c.first.in_(some)))
        return [said for _, said in found]

    def cut_chunks(self, key: int, n: int, size: int, most: int) -> None:
        """At most so many new chunks, of `size` tasks each, of what has no rank in the release and lies above all
        chunks that are there."""
        self._count_anew()
        with self._read() as connection:
            last = connection.execute(select(func.max(rank_chunks.c.last)).where(_of(key, n))).scalar_one()
        ids = self.unranked(key, n, size * most, above=last)
        rows = [
            {"project_key": key, "release": n, "first": some[0], "last": some[-1], "holder": None, "attempt": None}
            for some in chunks(ids, size)
        ]
        if rows:
            with self._write() as connection:
                self._hold(connection, key)
                self._put(connection, rank_chunks, rows, keep=rank_chunks.columns.keys())

    def _count_anew(self) -> None:
        """PostgreSQL plans by statistics that it makes a minute later. Without them it compared each task with each
        rank of a first release: 9 s with 12,000 of them, four times as many for twice."""
        with self._write() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("ANALYZE tasks, ranks"))

    def drop_chunks_of_others(self, key: int, n: int) -> None:
        """Forget the chunks of all other releases: nobody will rank these any more."""
        self._delete(rank_chunks.delete().where(rank_chunks.c.project_key == key, rank_chunks.c.release != n))

    def count_chunks(self, key: int, n: int) -> int:
        """How many chunks of the release are not done, held ones too."""
        with self._read() as connection:
            counting = select(func.count()).select_from(rank_chunks).where(_of(key, n), rank_chunks.c.said.is_(None))
            return int(connection.execute(counting).scalar_one())

    def claim_chunk(self, key: int, n: int, job: Job) -> Chunk | None:
        """The first chunk that no running attempt of a job holds; it is this attempt's from now on. None without."""
        held = select(jobs.c.id).where(
            jobs.c.id == rank_chunks.c.holder, jobs.c.state == "running", jobs.c.attempts == rank_chunks.c.attempt
        )
        return self._claim(and_(_of(key, n), ~held.exists()), job)

    def take_over_chunk(self, key: int, n: int, job: Job) -> Chunk | None:
        """The first chunk that is not done, whoever holds it; it is this attempt's from now on. None without."""
        return self._claim(_of(key, n), job)

    def _claim(self, which: ColumnElement[bool], job: Job) -> Chunk | None:
        claimable = rank_chunks.select().where(which, rank_chunks.c.said.is_(None)).order_by(rank_chunks.c.first)
        while True:
            with self._read() as connection:  # who looks in vain, and often, keeps nobody from writing
                found = connection.execute(claimable.limit(1)).one_or_none()
            if found is None:
                return None
            # Not by a lock: PostgreSQL does not look at `jobs` again when somebody claimed it at this moment.
            as_seen = (rank_chunks.c[name].is_not_distinct_from(found._mapping[name]) for name in AS_SEEN)
            mine = rank_chunks.update().where(rank_chunks.c.said.is_(None), *as_seen)
            with self._write() as connection:
                if connection.execute(mine.values(holder=job.id, attempt=job.attempts)).rowcount:
                    return read_as(Chunk, found)

    def end_chunk(self, key: int, n: int, chunk: Chunk) -> None:
        """All of this chunk is done."""
        self._delete(rank_chunks.delete().where(_of(key, n), rank_chunks.c.first == chunk.first))


def _of(key: int, n: int) -> ColumnElement[bool]:
    return and_(rank_chunks.c.project_key == key, rank_chunks.c.release == n)
