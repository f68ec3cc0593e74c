"""Where the server starts: `gunicorn _wsgi:app`, `label-studio-ml start .`, or `python _wsgi.py`.

As a script it becomes gunicorn, bound by HOST and PORT or -p and --host. As a module it makes the app; on the embedded
defaults that also starts the worker process and keeps it alive.
"""

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edgewise.errors import SettingsError, Unavailable
from edgewise.settings import Settings, is_loopback, read_settings
from edgewise.verbs.private import refuse_endpoint

if TYPE_CHECKING:
    from flask import Flask


log = logging.getLogger("edgewise.start")
# What people wait for here is one short text: a second thread costs it more than it brings. Workers have their own.
# oneDNN keeps code for every shape that it has seen, 0.6 MB in bfloat16; making it again takes a millisecond.
SHORT_TEXTS = {
    "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE",
    "LRU_CACHE_CAPACITY": "32", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "32",
}  # fmt: skip
WORKER_BOOT_ERROR = 3  # for gunicorn: do not try again


def make_app() -> "Flask":
    """The Flask app of this process, and the worker that belongs to it when there is no Redis.

    A database that is away may come back; one that we must not touch ends the server. Raises SystemExit.
    """
    inherited = dict(os.environ)
    for name, value in SHORT_TEXTS.items():
        os.environ.setdefault(name, value)
    import model
    from edgewise.logs import set_up_logging
    from edgewise.services.workers import Supervisor
    from edgewise.web.server import create_app

    system = model.open_system()
    set_up_logging(system.settings.log_level, system.settings.log_format)
    try:
        system.store.ping()
    except Unavailable as error:
        log.warning("%s %s", error.what, error.mend)
    except SettingsError as error:
        log.critical("%s %s", error.what, error.mend)
        raise SystemExit(WORKER_BOOT_ERROR) from None
    if system.settings.redis_url is None:
        Supervisor(environment=inherited).start()
    return create_app(model.backend_of(system), system.settings)


def gunicorn_command(settings: Settings, host: str, port: int) -> list[str]:
    """gunicorn with threads, and a worker that gives none to a caller who drips."""
    return [
        sys.executable, "-m", "gunicorn", "_wsgi:app", "--bind", f"{host}:{port}", "--workers", str(settings.workers),
        "--worker-class", "edgewise.web.patient.PatientWorker", "--threads", str(settings.threads),
        "--timeout", "120", "--graceful-timeout", "10", "--no-control-socket",
    ]  # fmt: skip


def refuse_exposure(settings: Settings, host: str) -> None:
    """Raises SystemExit rather than let everybody in: other machines reach us, and nobody must say who they are."""
    if not is_loopback(host) and not settings.basic_auth_user and not settings.allow_anonymous:
        raise SystemExit(
            f"{host} can be reached by others, and there are no credentials. Set BASIC_AUTH_USER and BASIC_AUTH_PASS, "
            "or listen on --host 127.0.0.1, or allow it with ALLOW_ANONYMOUS=true."
        )


def settings_or_exit() -> Settings:
    """The settings. Raises SystemExit for those that we cannot start with."""
    try:
        settings = read_settings()
        refuse_endpoint(settings)
    except SettingsError as error:
        raise SystemExit(f"{error.what} {error.mend}") from None
    return settings


def main() -> None:
    """`python _wsgi.py`, with the options that label-studio-ml's `start` passes on."""
    settings = settings_or_exit()
    parser = argparse.ArgumentParser(description="Start the Edgewise server.")
    parser.add_argument("-p", "--port", type=int, default=settings.port)
    parser.add_argument("--host", default=settings.host)
    known, _ = parser.parse_known_args()
    refuse_exposure(settings, known.host)
    command = gunicorn_command(settings, known.host, known.port)
    os.chdir(Path(__file__).resolve().parent)  # `label-studio-ml start DIR` starts us from anywhere
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
else:
    app = make_app()
