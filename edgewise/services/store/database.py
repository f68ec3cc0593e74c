"""The connection to SQLite or PostgreSQL: short transactions, leases, the outbox. Knows no table of a project.

SQLite is shared by threads and processes: WAL, writers start with BEGIN IMMEDIATE and wait up to 10 s for each other,
so every write here is small.
"""

import fcntl
import logging
import sqlite3
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from time import monotonic, sleep
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, Row, Table, create_engine, event, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, InterfaceError, NoSuchModuleError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from edgewise.errors import SettingsError, Unavailable
from edgewise.services.store.migrate import HEAD, TABLE, migrate
from edgewise.services.store.records import Json, Outgoing
from edgewise.services.store.tables import leases, outbox

CHUNK = 500  # ids of one IN, rows of one small read or delete
WRITE_CHUNK = 200  # rows of one bulk write: a web thread waits behind a job for one of these
BUSY_TIMEOUT_MS = 10_000
CONNECT_TIMEOUT_S = 10
LONG_WRITE_S = 0.005
CLOCK_ERROR = timedelta(minutes=5)  # so far may the clocks of our machines lie apart
COURTESY_S = 0.005  # after a long write, before our next one: others look for their turn every millisecond
POSTGRES_LOCK = 0x45646765  # "Edge": the advisory lock under which tables are made and changed

log = logging.getLogger(__name__)
Record = TypeVar("Record")
Item = TypeVar("Item")


def now() -> datetime:
    """This moment, UTC."""
    return datetime.now(UTC)


def chunks(items: Iterable[Item], size: int = CHUNK) -> Iterator[list[Item]]:
    """The items in lists of at most `size`."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def read_as(record: type[Record], row: Row[Any]) -> Record:
    """The row as a dataclass of the same column names; lists become tuples."""
    values = {f.name: row._mapping[f.name] for f in fields(record) if f.name in row._mapping}  # type: ignore[arg-type]  # a dataclass
    return record(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})


def columns_of(record: Any) -> dict[str, Any]:
    """A dataclass as a row of the same column names; tuples become lists. Unlike `asdict` it copies nothing that is
    nested, which took a tenth of a ranking's time."""
    values = {f.name: getattr(record, f.name) for f in fields(record)}
    return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}


class Database:
    """Transactions on either database. Safe to share between threads; every process makes its own."""

    def __init__(self, url: str) -> None:
        """url: SQLAlchemy's. Makes or upgrades the tables. SettingsError if we cannot work with it, or must not: it is
        newer than we are."""
        address = _address(url)
        self._is_sqlite = address.get_backend_name() == "sqlite"
        self._engine = _engine(address)
        self._writer = self._engine.execution_options(immediate=True)
        self._upsert = sqlite.insert if self._is_sqlite else postgresql.insert
        self._turn_file = Path(f"{address.database}.lock")
        self._next_write_at = 0.0
        try:
            self._bring_up_to_date()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def ping(self) -> None:
        """Unavailable if the database does not answer."""
        with self._read() as connection:
            connection.execute(text("SELECT 1"))

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with _translated(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with _translated(), self._turn(), self._writer.begin() as connection:
            yield connection

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """SQLite lets who has just written write again before who waits (it naps for up to 0.1 s), so that one job's
        many small writes could keep a web thread out for seconds. Whoever has no turn in time tries without."""
        if not self._is_sqlite:
            yield
            return
        sleep(max(0.0, self._next_write_at - monotonic()))
        with self._turn_file.open("a") as file:
            began = _lock_within(file.fileno(), BUSY_TIMEOUT_MS / 1000)
            yield
        if monotonic() - began > LONG_WRITE_S:
            self._next_write_at = monotonic() + COURTESY_S

    def _put(
        self, connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], keep: Container[str] = ()
    ) -> None:
        """Insert, or overwrite the row of the same primary key; columns named in `keep` stay as they are then."""
        if not rows:
            return
        statement = self._upsert(table)
        changed = {
            c.name: statement.excluded[c.name]
            for c in table.columns
            if not c.primary_key and c.name in rows[0] and c.name not in keep
        }
        keys = [c.name for c in table.primary_key]
        if changed:
            statement = statement.on_conflict_do_update(index_elements=keys, set_=changed)
        else:
            statement = statement.on_conflict_do_nothing(index_elements=keys)
        connection.execute(statement, list(rows))

    def _bring_up_to_date(self) -> None:
        """Make or upgrade the tables, one process at a time. SQLite: under the turn, as processes that start together
        must not switch to WAL at once either."""
        with _translated(), self._turn():
            if self._revision() == HEAD:
                return
            with self._writer.begin() as connection:
                if not self._is_sqlite:
                    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": POSTGRES_LOCK})
                migrate(connection)

    def _revision(self) -> str | None:
        """Which schema the database has; None before it has any."""
        try:
            with self._engine.connect() as connection:
                return connection.execute(text(f"SELECT version_num FROM {TABLE}")).scalar_one_or_none()
        except ProgrammingError:  # PostgreSQL: there is no such table
            return None
        except OperationalError as error:
            if getattr(error.orig, "sqlite_errorcode", None) != sqlite3.SQLITE_ERROR:
                raise
            return None

    def outbox_add(self, topic: str, payload: Json) -> int:
        """Keep a message until its receiver has it. Returns its id."""
        with self._write() as connection:
            row = {"topic": topic, "payload": payload, "created_at": now()}
            return int(connection.execute(outbox.insert().values(row).returning(outbox.c.id)).scalar_one())

    def outbox_next(self, limit: int) -> list[Outgoing]:
        """The oldest messages, oldest first."""
        with self._read() as connection:
            rows = connection.execute(outbox.select().order_by(outbox.c.id).limit(limit))
            return [read_as(Outgoing, row) for row in rows]

    def outbox_done(self, id: int) -> None:
        """The receiver has it."""
        with self._write() as connection:
            connection.execute(outbox.delete().where(outbox.c.id == id))

    def take_lease(self, name: str, holder: str, seconds: float) -> bool:
        """True if `holder` has the lease from now on for `seconds`: it was free, run out, or its own already. One that
        ends later than any could was taken by a clock that has been put right since: it is free, too."""
        moment = now()
        possible = moment + timedelta(seconds=seconds) + CLOCK_ERROR
        statement = self._upsert(leases).values(name=name, holder=holder, until=moment + timedelta(seconds=seconds))
        statement = statement.on_conflict_do_update(
            index_elements=["name"],
            set_={"holder": statement.excluded.holder, "until": statement.excluded.until},
            where=(leases.c.holder == holder) | (leases.c.until <= moment) | (leases.c.until > possible),
        )
        with self._write() as connection:
            return connection.execute(statement.returning(leases.c.name)).one_or_none() is not None

    def drop_lease(self, name: str, holder: str) -> None:
        """Give the lease back, if `holder` has it."""
        with self._write() as connection:
            connection.execute(leases.delete().where(leases.c.name == name, leases.c.holder == holder))


def _address(url: str) -> URL:
    mend = "Set DATABASE_URL to sqlite:///<file> or postgresql+psycopg://<user>:<password>@<host>/<database>."
    try:
        address = make_url(url)
    except ArgumentError:
        raise SettingsError("DATABASE_URL is not a database address.", mend) from None
    if address.get_backend_name() == "postgresql":
        if "@" in (address.host or ""):  # what the driver says of it would be half of the password
            raise SettingsError("DATABASE_URL has two @ in it.", "Write a @ in its password as %40.")
        return address.set(drivername="postgresql+psycopg")
    if address.get_backend_name() != "sqlite":
        raise SettingsError("DATABASE_URL names a database that we do not know.", mend)
    if not address.database or address.database == ":memory:" or address.query:
        raise SettingsError("DATABASE_URL names no SQLite file, and several processes must share one.", mend)
    Path(address.database).parent.mkdir(parents=True, exist_ok=True)
    return address


def _engine(address: URL) -> Engine:
    try:
        if address.get_backend_name() != "sqlite":
            patience = {} if "connect_timeout" in address.query else {"connect_timeout": CONNECT_TIMEOUT_S}
            return create_engine(
                address, pool_size=4, max_overflow=12, pool_pre_ping=True, hide_parameters=True, connect_args=patience
            )
        engine = create_engine(address, pool_size=8, max_overflow=24, hide_parameters=True)
    except (ImportError, NoSuchModuleError):
        raise SettingsError("The database's driver is not installed.", "Run `make setup`.") from None
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves: the driver's own is never IMMEDIATE
    usual = ("journal_mode=WAL", "foreign_keys=ON", "synchronous=NORMAL")
    for pragma in (f"busy_timeout={BUSY_TIMEOUT_MS}", *usual, "secure_delete=ON"):  # what is erased is zeroed
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _lock_within(file: int, timeout_s: float) -> float:
    """Lock the file for us, or give up after a while. Closing it unlocks. Returns the monotonic time of now."""
    end = monotonic() + timeout_s
    while monotonic() < end:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            sleep(0.001)
    return monotonic()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        cause = getattr(error, "orig", None)
        if getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
            raise  # a statement that can never work: our mistake, or the tables of another version
        log.warning("database: %s", cause or type(error).__name__)
        raise Unavailable("The database is away or busy.", "Start it, or wait: we try again by ourselves.") from None
