"""Real services for this folder's tests: SQLite files, PostgreSQL and Redis servers, started once and ended by pid."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import redis

from edgewise.services.store import Store

POSTGRES = Path("/usr/lib/postgresql/15/bin")
PATIENCE_S = 30.0


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(condition: Callable[[], object], within_s: float = PATIENCE_S) -> None:
    """Fail unless the condition comes true in time."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a process that we started, and reap it."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The address of a PostgreSQL server of our own, without a database name."""
    if not (POSTGRES / "postgres").exists():
        pytest.fail("PostgreSQL is missing: apt-get install postgresql-15")
    as_postgres = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    folder = tempfile.mkdtemp(prefix="edgewise-postgres-")
    if as_postgres:
        shutil.chown(folder, "postgres", "postgres")
    data, port = f"{folder}/data", free_port()
    # --no-sync and fsync=off: these data live for one test session.
    initdb = [
        str(POSTGRES / "initdb"),
        "-D",
        data,
        "-A",
        "trust",
        "-U",
        "tests",
        "--no-sync",
        "-E",
        "UTF8",
        "--locale=C",
    ]
    subprocess.run(as_postgres + initdb, check=True, stdout=subprocess.DEVNULL, cwd="/")
    options = ["-p", str(port), "-h", "127.0.0.1", "-k", folder, "-c", "fsync=off", "-c", "max_connections=300"]
    command = [*as_postgres, str(POSTGRES / "postgres"), "-D", data, *options]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
    address = f"postgresql://tests@127.0.0.1:{port}"
    try:
        eventually(lambda: _answers(address))
        yield address
    finally:
        _end_postgres(Path(data), server)
        shutil.rmtree(folder)


def _answers(address: str) -> bool:
    try:
        psycopg.connect(f"{address}/postgres").close()
    except psycopg.OperationalError:
        return False
    return True


def _end_postgres(data: Path, server: "subprocess.Popen[bytes]") -> None:
    """The server's own pid, as `runuser` stands between: SIGINT is PostgreSQL's fast shutdown."""
    pid_file = data / "postmaster.pid"
    if pid_file.exists():
        os.kill(int(pid_file.read_text().split()[0]), 2)
    try:
        server.wait(20)
    except subprocess.TimeoutExpired:
        end(server)


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """An empty PostgreSQL database."""
    name = f"test_{uuid4().hex[:12]}"
    with psycopg.connect(f"{postgres_server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield f"{postgres_server}/{name}"
    with psycopg.connect(f"{postgres_server}/postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'edgewise.db'}"


@pytest.fixture
def sqlite_store(sqlite_url: str) -> Iterator[Store]:
    """An empty store on SQLite."""
    store = Store(sqlite_url)
    yield store
    store.close()


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty database of either kind."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """An empty store on either database."""
    store = Store(database_url)
    yield store
    store.close()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """The address of a Redis server of our own."""
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.fail("Redis is missing: apt-get install redis-server")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="edgewise-redis-") as folder:
        command = [
            binary,
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
            folder,
        ]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        address = f"redis://127.0.0.1:{port}/0"
        try:
            eventually(lambda: _pongs(address))
            yield address
        finally:
            end(server)


def _pongs(address: str) -> bool:
    with redis.Redis.from_url(address) as client:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """An empty Redis."""
    with redis.Redis.from_url(redis_server) as client:
        client.flushall()
    return redis_server
