"""The schema's revisions on SQLite and PostgreSQL: from nothing, from the first one with data in it, and refused."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection, Engine, inspect, text

from edgewise.errors import SettingsError
from edgewise.services.store import Store, Task, migrate
from edgewise.services.store.database import _address, _engine
from edgewise.services.store.tables import metadata
from tests.services.conftest import free_port
from tests.services.test_store import an_annotation

ROOT = Path(__file__).parents[2]
EXPRESSIONS = {"one_job_waits", "one_job_runs"}  # SQLAlchemy cannot read SQLite's indexes of expressions


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An empty database, opened as the store opens it."""
    engine = _engine(_address(database_url)).execution_options(immediate=True)
    yield engine
    engine.dispose()


def upgrade(engine: Engine, revision: str) -> None:
    """Bring an empty database to a revision, as an older Edgewise did."""
    scripts = migrate.revisions()
    options = {"version_table": migrate.TABLE, "fn": lambda now, _: scripts._upgrade_revs(revision, now)}
    with engine.begin() as connection:
        context = MigrationContext.configure(connection, opts=options)
        with Operations.context(context):
            context.run_migrations()


def made_before_revisions(engine: Engine) -> Any:
    """The tables of the first revision, without its number. Returns their metadata."""
    upgrade(engine, migrate.FIRST)
    with engine.begin() as connection:
        connection.execute(text(f"DROP TABLE {migrate.TABLE}"))
    return migrate.revisions().get_revision(migrate.FIRST).module.metadata


def revision(engine: Engine) -> str:
    """Which schema the database says that it has."""
    with engine.begin() as connection:
        return str(connection.execute(text(f"SELECT version_num FROM {migrate.TABLE}")).scalar_one())


def definitions(connection: Connection) -> set[tuple[str, ...]]:
    """All tables and indexes in the database's own words."""
    if connection.dialect.name == "sqlite":
        mine = """SELECT name, sql FROM sqlite_master
                  WHERE sql IS NOT NULL AND name NOT IN (:ours, 'sqlite_sequence')"""
    else:
        mine = """SELECT table_name, column_name, data_type, is_nullable, coalesce(column_default, '')
                  FROM information_schema.columns WHERE table_schema = current_schema() AND table_name != :ours"""
    rows = connection.execute(text(mine), {"ours": migrate.TABLE})
    found = {tuple(" ".join(word.split()) for word in row) for row in rows}
    if connection.dialect.name != "sqlite":
        indexes = text("SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema()")
        found |= {tuple(row) for row in connection.execute(indexes) if migrate.TABLE not in row.indexname}
    return found


def fill(url: str) -> int:
    """A project with a labelled task and a job; its key."""
    store = Store(url)
    key = store.record_project("http://studio", 1, "2026-11-21T00:00:00Z", title="News").key
    store.upsert_tasks(key, [Task(7, {"text": "Anna"}, "k")], {7: [an_annotation(1, 7)]})
    store.add_job("sync", key, lane="light")
    store.close()
    return key


def test_the_head_is_the_newest_revision_and_there_is_one_way_to_it() -> None:
    scripts = migrate.revisions()
    assert scripts.get_heads() == [migrate.HEAD]
    assert scripts.get_bases() == [migrate.FIRST]


@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")
@pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression-based index")
def test_the_revisions_make_the_tables_that_the_queries_know(database_url: str, engine: Engine) -> None:
    Store(database_url).close()
    with engine.begin() as connection:
        options = {"version_table": migrate.TABLE, "compare_type": True, "compare_server_default": True}
        found = compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
        assert [change for change in found if getattr(change[1], "name", None) not in EXPRESSIONS] == []
    assert revision(engine) == migrate.HEAD


def test_a_difference_would_be_seen(engine: Engine, database_url: str) -> None:
    Store(database_url).close()
    with engine.begin() as connection:
        before = definitions(connection)
        connection.execute(text("DROP INDEX one_job_waits"))
        connection.execute(text("ALTER TABLE tasks ADD COLUMN more TEXT"))
        assert len(before ^ definitions(connection)) >= 2


def test_the_revisions_write_the_same_definitions_as_the_queries_tables(
    database_url: str, sqlite_url: str, engine: Engine
) -> None:
    with engine.begin() as connection:
        metadata.create_all(connection)
        wanted = definitions(connection)
        metadata.drop_all(connection)
    Store(database_url).close()
    with engine.begin() as connection:
        made = definitions(connection)
    assert {one for one in made if "sqlite_sequence" not in one} == {
        one for one in wanted if "sqlite_sequence" not in one
    }


def test_an_upgrade_from_the_first_revision_keeps_the_data(database_url: str, engine: Engine) -> None:
    upgrade(engine, migrate.FIRST)
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO projects (address, ls_id, created_at, title, label_config, maximum_annotations, state,"
                " release_counter, note, connection) VALUES ('studio', 1, 'c', 'News', '', 1, 'live', 3, '', '{}')"
            )
        )
    assert revision(engine) == migrate.FIRST
    store = Store(database_url)
    (project,) = store.projects()
    store.close()
    assert (project.title, project.release_counter) == ("News", 3)
    assert revision(engine) == migrate.HEAD


def test_a_database_of_before_the_revisions_is_taken_over_with_its_data(database_url: str, engine: Engine) -> None:
    made_before_revisions(engine)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO leases VALUES ('worker', 'somebody', '2026-11-21 00:00:00')"))
    Store(database_url).close()
    assert revision(engine) == migrate.HEAD
    with engine.begin() as connection:
        assert connection.execute(text("SELECT holder FROM leases")).scalars().all() == ["somebody"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("DROP TABLE reports", "no reports"),
        ("ALTER TABLE tasks DROP COLUMN problem", "no tasks.problem"),
        ("ALTER TABLE tasks ADD COLUMN colour TEXT", "tasks.colour too many"),
        ("DROP INDEX one_job_runs", "no index one_job_runs"),
    ],
)
def test_a_database_of_before_the_revisions_that_differs_is_left_alone(
    database_url: str, engine: Engine, change: str, told: str
) -> None:
    made_before_revisions(engine)
    with engine.begin() as connection:
        connection.execute(text(change))
        before = definitions(connection)
    with pytest.raises(SettingsError, match=told) as raised:
        Store(database_url)
    assert "edgewise connect" in raised.value.mend
    with engine.begin() as connection:
        assert definitions(connection) == before
        assert not inspect(connection).has_table(migrate.TABLE)


def test_a_newer_database_is_refused_and_left_alone(database_url: str, engine: Engine) -> None:
    fill(database_url)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {migrate.TABLE} SET version_num = '9999'"))
        before = definitions(connection)
    with pytest.raises(SettingsError, match=rf"newer Edgewise.*9999.*{migrate.HEAD}") as raised:
        Store(database_url)
    assert "docs/operations.md" in raised.value.mend
    assert revision(engine) == "9999"
    with engine.begin() as connection:
        assert definitions(connection) == before


def test_a_revision_that_breaks_off_changes_nothing(
    database_url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the power is gone")

    with monkeypatch.context() as patch:
        patch.setattr("alembic.runtime.migration.HeadMaintainer.update_to_step", fail)
        with pytest.raises(RuntimeError):
            Store(database_url)
    with engine.begin() as connection:
        assert definitions(connection) == set()
    fill(database_url)


def test_processes_that_start_at_once_upgrade_it_once(database_url: str, engine: Engine) -> None:
    """Each waits for the other's lock: none fails, and all find the whole schema."""
    made_before_revisions(engine)
    code = f"""
import sys
from edgewise.services.store import Store
print("ready", flush=True)
sys.stdin.readline()
store = Store({database_url!r})
store.record_project("http://studio", 1, "2026-11-21T00:00:00Z")
assert len(store.projects()) == 1
store.close()
"""
    command = [sys.executable, "-W", "error", "-c", code]
    pipes: dict[str, Any] = {
        "stdin": subprocess.PIPE,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
    }
    started = [subprocess.Popen(command, **pipes) for _ in range(3)]
    assert all(one.stdout is not None and one.stdout.readline() == "ready\n" for one in started)
    ended = [one.communicate("go\n", timeout=60) for one in started]
    assert [(one.returncode, words[1]) for one, words in zip(started, ended, strict=True)] == [(0, "")] * 3
    assert revision(engine) == migrate.HEAD


def test_opening_a_database_that_is_up_to_date_takes_one_query_and_no_alembic(sqlite_url: str) -> None:
    Store(sqlite_url).close()
    code = f"""
import sys
from sqlalchemy import event
from sqlalchemy.engine import Engine
from edgewise.services.store import Store
asked = []
event.listen(Engine, "before_cursor_execute", lambda c, cursor, statement, *_: asked.append(statement))
Store({sqlite_url!r}).close()
assert "alembic" not in sys.modules
print([one for one in asked if one != "BEGIN"])
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout.strip() == f"['SELECT version_num FROM {migrate.TABLE}']"


def test_a_server_refuses_to_start_on_a_newer_database_and_says_why(sqlite_url: str, tmp_path: Path) -> None:
    Store(sqlite_url).close()
    engine = _engine(_address(sqlite_url)).execution_options(immediate=True)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {migrate.TABLE} SET version_num = '9999'"))
    engine.dispose()
    environment = {**os.environ, "DATABASE_URL": sqlite_url, "DATA_DIR": str(tmp_path), "PORT": str(free_port())}
    command = [sys.executable, "_wsgi.py"]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 3
    assert "newer Edgewise" in ended.stderr
    assert "docs/operations.md" in ended.stderr
    assert "Traceback" not in ended.stderr
