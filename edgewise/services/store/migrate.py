"""The database's schema brought to ours: revisions of migrations/ that it has not had, in one transaction (Alembic).

Refuses what it does not know: a newer schema, and tables of before the first revision that are not as that makes them.
Alembic is imported only where there is something to do.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from sqlalchemy import Connection, MetaData, inspect, text

from edgewise.errors import SettingsError

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory

HEAD = "0008"  # tests compare it with migrations/
FIRST = "0001"
TABLE = "edgewise_revision"  # not Alembic's usual name: MLflow may have its tables in the same database
FOLDER = Path(__file__).parent / "migrations"

log = logging.getLogger(__name__)
_one_at_a_time = Lock()  # `alembic.op` is one for the whole process


def migrate(connection: Connection) -> None:
    """Upgrade to HEAD what is older or empty. The caller holds the database's lock and commits.

    Raises SettingsError for a database that we must not touch.
    """
    from alembic.migration import MigrationContext
    from alembic.operations import Operations

    with _one_at_a_time:
        scripts = revisions()
        options = {"version_table": TABLE, "fn": lambda now, _: scripts._upgrade_revs(HEAD, now)}
        context = MigrationContext.configure(connection, opts=options)
        current = context.get_current_revision()
        if current is None and is_older_than_revisions(connection, scripts):
            context.stamp(scripts, FIRST)
            current = FIRST
        elif current is not None and current not in {one.revision for one in scripts.walk_revisions()}:
            raise SettingsError(
                f"The database was written by a newer Edgewise: its schema is {current}, and this one knows {HEAD}.",
                "Start the newer Edgewise, or restore the back-up of before the upgrade: docs/operations.md says how.",
            )
        with Operations.context(context):
            context.run_migrations()
        if current not in (None, HEAD):
            log.info("the database was upgraded from schema %s to %s", current, HEAD)


def revisions() -> "ScriptDirectory":
    """All revisions of the schema."""
    from alembic.script import ScriptDirectory

    return ScriptDirectory(str(FOLDER), version_locations=[str(FOLDER)])


def is_older_than_revisions(connection: Connection, scripts: "ScriptDirectory") -> bool:
    """Whether our tables are there already, made before revisions were counted; False for an empty database.

    Raises SettingsError if they are others than the first revision makes.
    """
    first: MetaData = scripts.get_revision(FIRST).module.metadata
    if not first.tables.keys() & set(inspect(connection).get_table_names()):
        return False
    different = list(differences(first, connection))
    if different:
        raise SettingsError(
            f"The database has tables that no Edgewise with revisions made: {'; '.join(different)}.",
            "If it is another program's, set DATABASE_URL to a database of our own. If it is an old one of ours, start "
            "with an empty database, as Label Studio has all labels, and run `edgewise connect` for each project.",
        )
    return True


def differences(first: MetaData, connection: Connection) -> Iterator[str]:
    """In words, table by table, how a database differs from what the first revision makes."""
    there = inspect(connection)
    known, indexes = set(there.get_table_names()), index_names(connection)
    for name, table in first.tables.items():
        if name not in known:
            yield f"no {name}"
            continue
        columns = {column["name"] for column in there.get_columns(name)}
        yield from (f"no {name}.{column}" for column in sorted(set(table.columns.keys()) - columns))
        yield from (f"{name}.{column} too many" for column in sorted(columns - set(table.columns.keys())))
        yield from (f"no index {index}" for index in sorted({str(one.name) for one in table.indexes} - indexes))


def index_names(connection: Connection) -> set[str]:
    """Of the whole database. Not by SQLAlchemy, which cannot read SQLite's indexes of expressions."""
    query = "SELECT indexname FROM pg_indexes WHERE schemaname = current_schema()"
    if connection.dialect.name == "sqlite":
        query = "SELECT name FROM sqlite_master WHERE type = 'index'"
    return set(connection.execute(text(query)).scalars())
