"""Start a Label Studio of our own on this machine: for `make run` and for the tests.

Label Studio reads bare HOST, PORT, USERNAME and many more, so its environment is built from nothing. It may call a
backend on 127.0.0.1, which it refuses by default, yet no cloud metadata address; it calls nobody else: no analytics, no
version check. Knows nothing of Edgewise. Standard library only; checked with Label Studio 1.23.2.

    python examples/label_studio.py FOLDER PORT
"""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

EXECUTABLE = Path(__file__).resolve().parents[1] / ".venv-label-studio" / "bin" / "label-studio"
USERNAME = "admin@example.com"  # a demonstration on loopback: written down in the README, and worth nothing elsewhere
PASSWORD = "edgewise-demo"
START_LIMIT_S = 300.0  # the first start on a folder migrates the database: 50 s on two busy cores
STOP_LIMIT_S = 20.0

# Runs Label Studio as its child and ends it when our end of the pipe closes: also when we are killed.
GUARD = """
import subprocess, sys, threading
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
threading.Thread(target=lambda: (sys.stdin.buffer.read(), child.terminate()), daemon=True).start()
sys.exit(child.wait())
"""

NETWORK = {
    # Loopback and private networks are allowed, as a backend lives there; link-local (cloud metadata) is not.
    "USE_DEFAULT_BANNED_SUBNETS": "false",
    "USER_ADDITIONAL_BANNED_SUBNETS": "169.254.0.0/16,fe80::/10",
    "LATEST_VERSION_CHECK": "false",
    "COLLECT_ANALYTICS": "false",
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
}


class StartFailed(Exception):
    """Label Studio did not come up. The message says why and where its log is."""


@dataclass
class RunningStudio:
    """A Label Studio that answers. `process` is its guard, in a session of its own: `stop` ends both."""

    url: str
    token: str = field(repr=False)
    username: str
    password: str = field(repr=False)
    process: subprocess.Popen[bytes] = field(repr=False)

    def stop(self) -> None:
        """End it and wait; harmless when it has ended already."""
        if self.process.stdin:
            self.process.stdin.close()
        try:
            self.process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def start(
    folder: Path, port: int, *, executable: Path = EXECUTABLE, switches: Mapping[str, str] | None = None
) -> RunningStudio:
    """Start Label Studio on 127.0.0.1:`port` with its data in `folder` (created), and wait until it answers as ours.

    Takes about 50 s on a new folder, 5 to 10 s afterwards. switches: variables that it is told besides. Raises
    StartFailed: no program, port taken, ended, too slow.
    """
    if not executable.is_file():
        raise StartFailed(f"There is no Label Studio at {executable}: run `make setup`.")
    if _taken(port):
        raise StartFailed(f"Port {port} is taken: choose another, or end what listens there.")
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    token = _token(folder)
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", GUARD, *_command(executable, folder, port)],
            env=_environment(folder, port, token) | dict(switches or {}),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    studio = RunningStudio(f"http://127.0.0.1:{port}", token, USERNAME, PASSWORD, process)
    try:
        _wait(studio, folder / "server.log")
    except BaseException:
        studio.stop()
        raise
    return studio


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _token(folder: Path) -> str:
    """The API token of the folder: random, made once, readable by its owner only."""
    path = folder / "token"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_hex(20))
    return path.read_text()


def _command(executable: Path, folder: Path, port: int) -> list[str]:
    return [
        *(str(executable), "start", "--no-browser", "--internal-host", "127.0.0.1"),
        *("--port", str(port), "--data-dir", str(folder), "--enable-legacy-api-token"),
    ]


def _environment(folder: Path, port: int, token: str) -> dict[str, str]:
    """All that Label Studio is told. Credentials go here, as everybody on the machine can read a command line."""
    ours = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return ours | {
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder),
        "LABEL_STUDIO_HOST": f"http://127.0.0.1:{port}",
        "LABEL_STUDIO_USERNAME": USERNAME,
        "LABEL_STUDIO_PASSWORD": PASSWORD,
        "LABEL_STUDIO_USER_TOKEN": token,
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",  # only read when the organisation is made, on the first start
        "LABEL_STUDIO_LOG_LEVEL": "WARNING",
        **NETWORK,
    }


def _wait(studio: RunningStudio, log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while not _healthy(studio.url):
        if studio.process.poll() is not None:
            raise StartFailed(f"Label Studio ended with code {studio.process.returncode}: see {log}.")
        if time.monotonic() > deadline:
            raise StartFailed(f"Label Studio did not answer within {START_LIMIT_S:.0f} s: see {log}.")
        time.sleep(0.25)
    if not _ours(studio):  # when the port was taken in between, Label Studio silently took the next one
        raise StartFailed(f"What answers at {studio.url} is another Label Studio, or another folder's: see {log}.")


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            return bool(json.load(answer).get("status") == "UP")
    except (OSError, ValueError, AttributeError):
        return False


def _ours(studio: RunningStudio) -> bool:
    request = urllib.request.Request(
        f"{studio.url}/api/current-user/whoami", headers={"Authorization": f"Token {studio.token}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return bool(json.load(answer)["email"] == studio.username)
    except urllib.error.HTTPError as error:
        error.close()
        return False
    except (OSError, ValueError, KeyError):
        return False


def main(folder: str, port: str) -> None:
    """Run until interrupted."""
    studio = start(Path(folder), int(port))
    print(f"{studio.url}  user {studio.username}  password {studio.password}  token in {folder}/token", flush=True)

    def end(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    try:
        studio.process.wait()
    except KeyboardInterrupt:
        studio.stop()


if __name__ == "__main__":
    main(*sys.argv[1:3])
