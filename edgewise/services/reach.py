"""Whether Redis and MLflow are there, asked once and for a few seconds at most. Nothing is changed in them."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from edgewise.errors import SettingsError, Unavailable
from edgewise.services.jobs import connect

TIMEOUT_S = 3.0
MLFLOW_MEND = "Start it, or correct MLFLOW_TRACKING_URI. Nothing is lost: what it is to show waits."


def reach_redis(url: str) -> None:
    """Raises Unavailable when Redis is away or refuses us, SettingsError for an address that is none."""
    from redis import RedisError

    mend = "Start it, or correct REDIS_URL (its password is part of it). Jobs wait in the database meanwhile."
    try:
        with closing(connect(url)) as client:
            client.ping()
    except RedisError as error:
        raise Unavailable(f"Redis does not answer us ({type(error).__name__}).", mend) from error


def reach_mlflow(tracking_uri: str) -> None:
    """Raises Unavailable when MLflow is away or its file cannot be used, SettingsError for what we cannot look into."""
    scheme, path = urlsplit(tracking_uri).scheme, tracking_uri.split("sqlite:///", 1)[-1]
    if scheme in ("http", "https"):
        _reach_server(tracking_uri)
    elif scheme == "sqlite":
        _open_file(Path(path))
    else:
        raise SettingsError(
            "MLFLOW_TRACKING_URI is neither a server nor a SQLite file: whether it works is told by status alone.",
            "Use http://host:5000 or sqlite:///file.db.",
        )


def _reach_server(tracking_uri: str) -> None:
    try:
        answer = httpx.get(f"{tracking_uri.rstrip('/')}/health", timeout=TIMEOUT_S)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unavailable(f"MLflow does not answer ({type(error).__name__}).", MLFLOW_MEND) from error
    if not answer.is_success:
        raise Unavailable(f"MLflow answers with {answer.status_code}.", MLFLOW_MEND)


def _open_file(path: Path) -> None:
    """A file that is there must be a database that we may write; else its folder must be one that we can make it in."""
    if not path.exists():
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        if not os.access(folder, os.W_OK):
            raise Unavailable("MLflow's file is not there, and its folder cannot be written to.", MLFLOW_MEND)
        return
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=TIMEOUT_S)) as file:
            file.execute("SELECT count(*) FROM sqlite_master").close()
            file.execute("BEGIN IMMEDIATE").close()
            file.rollback()
    except sqlite3.Error as error:
        raise Unavailable(f"MLflow's file cannot be used ({type(error).__name__}).", MLFLOW_MEND) from error
