"""Where the server starts: what it refuses to start with, and the command that it becomes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# _wsgi.py as a script; in place of becoming gunicorn it says what it would become.
START = """
import os, runpy, sys
os.execv = lambda program, command: print(*command)
sys.argv[0] = "_wsgi.py"
runpy.run_path("_wsgi.py", run_name="__main__")
"""
CREDENTIALS = {"BASIC_AUTH_USER": "somebody", "BASIC_AUTH_PASS": "canary-password"}


def started(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """The server, as far as it gets."""
    environment = {"PATH": os.environ["PATH"], **variables}
    return subprocess.run(
        [sys.executable, "-c", START, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "127.example", ""])
def test_others_are_not_let_in_without_credentials(host: str) -> None:
    ended = started("--host", host)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert "BASIC_AUTH_USER" in ended.stderr
    assert "ALLOW_ANONYMOUS" in ended.stderr


def test_the_variable_counts_like_the_option() -> None:
    assert started(HOST="0.0.0.0").returncode == 1


@pytest.mark.parametrize("variables", [CREDENTIALS, {"ALLOW_ANONYMOUS": "true"}], ids=["credentials", "anonymous"])
def test_others_are_let_in_with_credentials_or_when_told_so(variables: dict[str, str]) -> None:
    ended = started("--host", "0.0.0.0", "-p", "9191", **variables)
    assert ended.returncode == 0, ended.stderr
    assert "--bind 0.0.0.0:9191" in ended.stdout
    assert "--worker-class edgewise.web.patient.PatientWorker" in ended.stdout
    assert "canary" not in ended.stdout + ended.stderr


@pytest.mark.parametrize("missing", list(CREDENTIALS))
def test_half_credentials_are_refused(missing: str) -> None:
    ended = started("--host", "0.0.0.0", **{name: value for name, value in CREDENTIALS.items() if name != missing})
    assert ended.returncode == 1
    assert "belong together" in ended.stderr
    assert "canary" not in ended.stderr


@pytest.mark.parametrize("given", ["LLM_PRICE_INPUT_USD", "LLM_PRICE_OUTPUT_USD"])
def test_half_a_price_is_refused_as_a_budget_would_hold_nothing(given: str) -> None:
    ended = started(**{given: "0.4"})
    assert ended.returncode == 1
    assert "belong together" in ended.stderr


def test_this_machine_alone_needs_none() -> None:
    assert "--bind 127.0.0.1:9090" in started().stdout


# The worker's start is told instead of done.
MADE = """
import os
from edgewise.services import workers

class Told:
    def __init__(self, environment):
        print("worker", environment.get("OMP_NUM_THREADS"))

    def start(self):
        pass

workers.Supervisor = Told
import _wsgi
print("server", *(os.environ[name] for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "LRU_CACHE_CAPACITY")))
"""


@pytest.mark.parametrize(
    ("given", "told"),
    [({}, "worker None\nserver 1 PASSIVE 32\n"), ({"OMP_NUM_THREADS": "3"}, "worker 3\nserver 3 PASSIVE 32\n")],
)
def test_the_server_computes_with_one_thread_and_the_worker_as_it_would_without(
    given: dict[str, str], told: str, tmp_path: Path
) -> None:
    environment = {"PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path), "LABEL_STUDIO_API_KEY": "key", **given}
    ended = subprocess.run([sys.executable, "-c", MADE], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ended.stdout == told, ended.stderr
