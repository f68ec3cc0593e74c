"""One run of docker-compose.yml under a name, ports and secrets of its own. Knows Compose, and nothing of Edgewise."""

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SERVICES = ("worker", "backend", "redis", "mlflow", "label-studio", "postgres")
HEALTHY_S = 240.0


class Failed(Exception):
    """Something did not hold. The message says what."""


class Stack:
    """The services of one Compose project, with its variables in `folder`/env."""

    def __init__(self, folder: Path) -> None:
        self.name = f"edgewise-test-{secrets.token_hex(3)}"
        self._file = folder / "env"
        self._file.write_text(filled_in((ROOT / ".env.example").read_text()))

    @cached_property
    def variables(self) -> dict[str, str]:
        """What is in our .env."""
        lines = (line for line in self._file.read_text().splitlines() if line and not line.startswith("#"))
        return dict(line.split("=", 1) for line in lines)

    def url(self, port: str) -> str:
        """The address of a port variable on this machine."""
        return f"http://127.0.0.1:{self.variables[port]}"

    def compose(self, *arguments: str, timeout_s: float = 600) -> str:
        """`docker compose` with our file; its output. Raises Failed."""
        command = ["docker", "compose", "-p", self.name, "--env-file", str(self._file), *arguments]
        return run(command, timeout_s)

    def containers(self, service: str) -> list[Any]:
        """What `docker inspect` says of a service's containers."""
        found = json.loads(run(["docker", "inspect", *self.compose("ps", "-aq", service).split()]))
        return sorted(found, key=lambda container: str(container["Name"]))

    def kill(self, service: str) -> float:
        """kill -9 the main process of each of its containers; seconds until all are healthy again. Raises Failed."""
        before, began = self.containers(service), time.monotonic()
        for container in before:
            os.kill(container["State"]["Pid"], signal.SIGKILL)
        wanted = [(container["RestartCount"] + 1, "healthy") for container in before]
        wait(f"{service} comes back", lambda: [life(one) for one in self.containers(service)] == wanted, HEALTHY_S)
        return time.monotonic() - began


def life(container: Any) -> tuple[int, str]:
    """How often it was restarted, and what its health check says."""
    return container["RestartCount"], container["State"].get("Health", {}).get("Status", "unknown")


def filled_in(example: str) -> str:
    """.env.example with every empty secret made, as it says itself, and every port free on this machine."""
    # TORCH_PIP_ARGS comes from our own environment, which Compose prefers to the file.
    filled = re.sub(r"^(\w*(?:KEY|PASS|PASSWORD))=$", lambda m: f"{m[1]}={secrets.token_hex(20)}", example, flags=re.M)
    return re.sub(r"^(\w+_PORT)=.*$", lambda m: f"{m[1]}={free_port()}", filled, flags=re.M)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run(command: list[str], timeout_s: float = 600) -> str:
    """A command's output. Raises Failed with the end of what it said."""
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        raise Failed(f"{' '.join(command[-4:])} took more than {timeout_s:.0f} s") from None
    if done.returncode:
        raise Failed(f"{' '.join(command[-4:])}: {(done.stderr or done.stdout)[-2000:]}")
    return done.stdout


def wait(what: str, holds: Callable[[], Any], timeout_s: float) -> Any:
    """The first true answer of `holds`, asked every second. Raises Failed."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if answer := holds():
            return answer
        time.sleep(1)
    raise Failed(f"not within {timeout_s:.0f} s: {what}")
