"""In which arithmetic a version is computed, by head and machine. Knows nothing of how one is chosen."""

from dataclasses import fields, replace

from sqlalchemy import and_, select

from edgewise.services.store.database import columns_of, now, read_as
from edgewise.services.store.improvements import Improvements
from edgewise.services.store.records import Arithmetic
from edgewise.services.store.tables import arithmetics

COLUMNS = [arithmetics.c[f.name] for f in fields(Arithmetic)]


class Arithmetics(Improvements):
    """Queries on arithmetics."""

    def save_arithmetic(self, key: int, made: Arithmetic) -> Arithmetic:
        """Keep what was decided for a head of a version on a machine; a newer decision overwrites."""
        dated = replace(made, created_at=now())
        with self._write() as connection:
            self._hold(connection, key)
            self._put(connection, arithmetics, [columns_of(dated) | {"project_key": key}])
        return dated

    def arithmetics(self, key: int, version: str) -> list[Arithmetic]:
        """All decisions on a version, by head, the newest machine first."""
        mine = and_(arithmetics.c.project_key == key, arithmetics.c.version == version)
        ordered = select(*COLUMNS).where(mine).order_by(arithmetics.c.head, arithmetics.c.created_at.desc())
        with self._read() as connection:
            return [read_as(Arithmetic, row) for row in connection.execute(ordered)]

    def standing_arithmetic(self, architecture: str, machine: str) -> Arithmetic | None:
        """The last decision that was measured, for whatever project, on such a model and machine; None before any."""
        alike = and_(arithmetics.c.architecture == architecture, arithmetics.c.machine == machine)
        newest = select(*COLUMNS).where(alike).order_by(arithmetics.c.created_at.desc())
        with self._read() as connection:
            rows = [read_as(Arithmetic, row) for row in connection.execute(newest)]
        return next((row for row in rows if row.figures), None)
