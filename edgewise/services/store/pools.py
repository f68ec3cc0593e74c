"""How many tasks each release has to choose from, kept as they come and go: nobody counts a million of them to answer.

Knows nothing of why ranks change: whoever changes some does it within `_recounting`.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from sqlalchemy import ColumnElement, Connection, and_, func, select

from edgewise.services.store.projects import Projects
from edgewise.services.store.tables import pools, ranks


class Pools(Projects):
    """Queries on how large pools are."""

    def pool_size(self, key: int, n: int) -> int:
        """How many tasks `hardest` chooses from. Of a release that is older than these numbers it is counted once."""
        mine = and_(pools.c.project_key == key, pools.c.release == n)
        with self._read() as connection:
            known = connection.execute(select(pools.c.size).where(mine)).scalar_one_or_none()
        if known is not None:
            return int(known)
        with self._write() as connection:
            self._hold(connection, key)
            counting = select(func.count()).select_from(ranks).where(_waiting(key), ranks.c.release == n)
            size = int(connection.execute(counting).scalar_one())
            self._put(connection, pools, [{"project_key": key, "release": n, "size": size}])
        return size

    def _begin_pool(self, key: int, n: int) -> None:
        """The release ranks nothing."""
        with self._write() as connection:
            self._hold(connection, key)
            self._put(connection, pools, [{"project_key": key, "release": n, "size": 0}])

    @contextmanager
    def _recounting(self, connection: Connection, key: int, ids: Collection[int]) -> Iterator[None]:
        """The block changes ranks of these tasks only, few enough for one IN, and holds the project."""
        before = self._among(connection, key, ids)
        yield
        after = self._among(connection, key, ids)
        for n in sorted(before.keys() | after.keys()):
            if before[n] != after[n]:
                mine = and_(pools.c.project_key == key, pools.c.release == n)
                size = pools.c.size + (after[n] - before[n])
                connection.execute(pools.update().where(mine).values(size=size))

    def _among(self, connection: Connection, key: int, ids: Collection[int]) -> Counter[int]:
        """How many of these tasks each release has to choose from."""
        counting = select(ranks.c.release, func.count()).where(_waiting(key), ranks.c.task_id.in_(ids))
        return Counter({n: int(count) for n, count in connection.execute(counting.group_by(ranks.c.release))})


def _waiting(key: int) -> ColumnElement[bool]:
    return and_(ranks.c.project_key == key, ranks.c.open.is_(True), ranks.c.audit.is_(False))
