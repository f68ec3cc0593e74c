"""Everything that Edgewise is run with, as real processes on this machine, each of which can be killed and comes back.

Embedded: our server, which keeps its worker, on SQLite. Scaled: server, two workers, PostgreSQL, Redis, MLflow. Beside
both a Label Studio of the house's own. Knows no project.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import psycopg
import redis

from edgewise.services.children import title
from edgewise.services.store import Store
from examples.label_studio import RunningStudio, free_port
from examples.label_studio import start as start_studio
from tests.chaos.processes import Program, Server, await_gone, comm, family, named, send
from tests.live.conftest import ROOT
from tests.live.helpers import server_environment
from tests.services.conftest import POSTGRES
from tests.studio_fixture import _migrated

SYNC_EVERY_S = "10"  # what a webhook that nobody heard would have told is found so soon


@dataclass
class StudioServer:
    """A Label Studio of our own on a copy of a prepared folder."""

    folder: Path
    port: int
    running: RunningStudio | None = field(default=None, repr=False)

    @property
    def pids(self) -> list[int]:
        """See Server."""
        process = self.running.process if self.running else None
        return family(process.pid) if process is not None and process.poll() is None else []

    @property
    def database(self) -> Path:
        """Its SQLite file: the last word on what it holds."""
        return self.folder / "label_studio.sqlite3"

    def start(self) -> None:
        """See Server. Returns when it answers: about 8 s."""
        if self.pids:
            return
        if not self.folder.exists():
            shutil.copytree(_migrated(), self.folder)
        if self.running and self.running.process.stdin:
            self.running.process.stdin.close()
        self.running = start_studio(self.folder, self.port)

    def await_ready(self) -> None:
        """See Server."""

    def end(self) -> None:
        """See Server."""
        if self.running:
            self.running.stop()


@dataclass
class House:
    """The servers by name, in the order in which they start; `database`: the address of our store."""

    data: Path
    models: Path
    servers: dict[str, Server]
    database: str
    mlflow: str
    _frozen: list[int] = field(default_factory=list, repr=False)

    @property
    def url(self) -> str:
        """Our server."""
        server = self.servers["server"]
        assert isinstance(server, Program)
        return f"http://127.0.0.1:{server.command[server.command.index('--port') + 1]}"

    @property
    def studio(self) -> StudioServer:
        """Label Studio."""
        studio = self.servers["studio"]
        assert isinstance(studio, StudioServer)
        return studio

    @property
    def label_studio(self) -> RunningStudio:
        """Label Studio's address and token."""
        assert self.studio.running is not None
        return self.studio.running

    def names(self, victim: str) -> list[str]:
        """The servers of this name: `worker` is all workers."""
        return [name for name in self.servers if name.split("-")[0] == victim]

    def pids(self, victim: str) -> list[int]:
        """All processes of a server. On the embedded defaults the worker is the one that the server keeps."""
        if victim == "worker" and not self.names("worker"):
            return named(self.pids("server"), "-m edgewise work")
        return [pid for name in self.names(victim) for pid in self.servers[name].pids]

    def kill(self, *victims: str) -> None:
        """kill -9, all at once; those that were held go on."""
        pids = [pid for victim in victims for pid in self.pids(victim)]
        assert pids, f"{victims} do not run"
        send(pids, signal.SIGKILL)
        self.thaw()  # before the wait: who keeps a killed process has to reap it
        await_gone(pids)

    def workforce(self) -> list[int]:
        """The processes of all that works on jobs, and Label Studio's."""
        return [pid for name in ("server", "worker", "studio") for pid in self.pids(name)]

    def freeze(self, pids: Sequence[int]) -> None:
        """Hold these processes still."""
        self._frozen = list(pids)
        send(self._frozen, signal.SIGSTOP)

    def thaw(self, but: Sequence[int] = ()) -> None:
        """Go on, all who are held, but for these."""
        send([pid for pid in self._frozen if pid not in but], signal.SIGCONT)
        self._frozen = []

    def runners(self, job: str) -> list[int]:
        """The process that runs a heavy job on the embedded defaults."""
        return [pid for pid in self.pids("server") if comm(pid) == title(job)]

    def heal(self, *but: str) -> None:
        """Start whatever is down, but for these, and wait until all answer."""
        wanted = [server for name, server in self.servers.items() if name not in but]
        for server in wanted:
            server.start()
        for server in wanted:
            server.await_ready()

    def store(self) -> Store:
        """Our memory; close it."""
        return Store(self.database)

    def end(self) -> None:
        """End all servers, the last one first."""
        for server in self.servers.values():
            send(server.pids, signal.SIGCONT)
        for server in reversed(self.servers.values()):
            server.end()


@contextmanager
def embedded(folder: Path, **variables: str) -> Iterator[House]:
    """Server and worker on SQLite, beside a Label Studio. Variables: of the server's environment."""
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    studio = StudioServer(folder / "studio", free_port())
    models = Path(variables.get("MODEL_DIR", data / "models"))
    database, tracking = f"sqlite:///{data / 'edgewise.db'}", f"sqlite:///{data / 'mlruns.db'}"
    house = House(data, models, {"studio": studio}, database, tracking)
    with ended(house):
        environment = environment_of(studio, data) | variables
        house.servers["server"] = web_server(data, environment)
        house.heal()
        yield house


@contextmanager
def scaled(folder: Path, **variables: str) -> Iterator[House]:
    """Server and two workers on PostgreSQL, Redis and MLflow, beside a Label Studio."""
    with TemporaryDirectory(prefix="edgewise-postgres-") as place:  # pytest's own folders are closed to other users
        yield from _scaled(folder, Path(place), variables)


def _scaled(folder: Path, place: Path, variables: dict[str, str]) -> Iterator[House]:
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    postgres, database = postgres_server(place)
    redis_program, queue = redis_server(folder)
    mlflow, tracking = mlflow_server(folder)
    studio = StudioServer(folder / "studio", free_port())
    servers: dict[str, Server] = {"postgres": postgres, "redis": redis_program, "mlflow": mlflow, "studio": studio}
    house = House(data, data / "models", servers, f"{database}/edgewise", tracking)
    with ended(house):
        with psycopg.connect(f"{database}/postgres", autocommit=True) as connection:
            connection.execute("CREATE DATABASE edgewise")
        addresses = {"DATABASE_URL": house.database, "REDIS_URL": queue, "MLFLOW_TRACKING_URI": tracking}
        environment = environment_of(studio, data) | addresses | variables
        servers["server"] = web_server(data, environment)
        servers |= {f"worker-{number}": worker(data, environment, number) for number in (1, 2)}
        house.heal()
        yield house


@contextmanager
def ended(house: House) -> Iterator[None]:
    """The house with the servers that it has so far, until the block ends."""
    try:
        house.heal()
        yield
    finally:
        house.end()


def environment_of(studio: StudioServer, data: Path) -> dict[str, str]:
    """Our processes' variables: small and quick trainings, by command only; a timed sync every few seconds."""
    assert studio.running is not None
    quick = {"SYNC_INTERVAL_S": SYNC_EVERY_S, "FINE_TUNING_STRATEGY": "features", "MAX_SEQUENCE_LENGTH": "32"}
    return server_environment(studio.running, data) | {"PYTHONPATH": str(ROOT)} | quick


def web_server(data: Path, environment: dict[str, str], name: str = "server") -> Program:
    """Our server, under gunicorn."""
    port = free_port()
    command = [sys.executable, "_wsgi.py", "--port", str(port)]
    health = f"http://127.0.0.1:{port}/health"
    return Program(name, command, environment, data / f"{name}.log", lambda: responds(health), ROOT)


def worker(data: Path, environment: dict[str, str], number: int) -> Program:
    """A worker of the scaled house."""
    command = [sys.executable, "-m", "edgewise", "work"]
    return Program(f"worker-{number}", command, environment, data / f"worker-{number}.log", lambda: True, ROOT)


def postgres_server(place: Path) -> tuple[Program, str]:
    """PostgreSQL on a new cluster, as careful with its data as by default; its address without a database."""
    port = free_port()
    as_postgres: Sequence[str] = ()
    if os.getuid() == 0:
        as_postgres = ["runuser", "-u", "postgres", "--"]
        shutil.chown(place, "postgres", "postgres")
    initdb = [POSTGRES / "initdb", "-D", place / "data", "-A", "trust", "-U", "tests", "-E", "UTF8", "--locale=C"]
    subprocess.run([*as_postgres, *map(str, initdb)], check=True, stdout=subprocess.DEVNULL, cwd="/")
    options = ["-p", str(port), "-h", "127.0.0.1", "-k", str(place)]
    command = [*as_postgres, str(POSTGRES / "postgres"), "-D", str(place / "data"), *options]
    log = place / "postgres.log"
    return Program("postgres", command, os.environ, log, lambda: listens(port)), f"postgresql://tests@127.0.0.1:{port}"


def redis_server(folder: Path) -> tuple[Program, str]:
    """Redis that writes nothing down: killed, it has lost everything. And its address."""
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder)]
    address = f"redis://127.0.0.1:{port}/0"
    program = Program("redis", ["redis-server", *options], os.environ, folder / "redis.log", lambda: pongs(address))
    return program, address


def mlflow_server(folder: Path) -> tuple[Program, str]:
    """MLflow's server, with weights in a folder of its own; and its address."""
    place, port = folder / "mlflow", free_port()
    place.mkdir()
    command = [
        *(str(Path(sys.executable).parent / "mlflow"), "server", "--host=127.0.0.1", f"--port={port}", "--workers=1"),
        f"--backend-store-uri=sqlite:///{place / 'mlflow.db'}",
        f"--artifacts-destination={place / 'artifacts'}",
    ]
    told = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    address = f"http://127.0.0.1:{port}"
    log = folder / "mlflow.log"
    return Program("mlflow", command, os.environ | told, log, lambda: responds(f"{address}/health")), address


def responds(url: str) -> bool:
    """Whether a page is there."""
    try:
        return httpx.get(url, timeout=2).is_success
    except httpx.HTTPError:
        return False


def listens(port: int) -> bool:
    """Whether somebody takes connections at this port of ours."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def pongs(address: str) -> bool:
    """Whether Redis answers."""
    with redis.Redis.from_url(address) as client:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False
