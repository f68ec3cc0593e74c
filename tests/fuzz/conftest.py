"""A real server with credentials beside a real Label Studio, and what must hold for each of its answers."""

import json
import math
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

import llm_prelabel
from edgewise.labels.spans import Document
from edgewise.settings import Settings
from edgewise.verbs.rank import rank
from edgewise.verbs.system import System
from edgewise.web.openapi import document
from edgewise.web.server import VERBS
from examples.label_studio import RunningStudio, free_port
from model import uncertainty_functions
from tests.learning.conftest import documents, tiny_base, tiny_tagger
from tests.live.helpers import server_environment
from tests.verbs.conftest import do, labelled_task, new_studio_project, publish, synced

__all__ = ["documents", "tiny_base", "tiny_tagger"]

ROOT = Path(__file__).parents[2]
REQUESTS = int(os.environ.get("EDGEWISE_FUZZ_REQUESTS", "1000"))
WHOLE = 20_000  # what `make fuzz` sends
USER, PASSWORD = "fuzz", "canary-password-4711"
OPEN_TASK = "Zanzibar-canary stays in Oslo."

# Label Studio's own limits where it has some; ours for the rest. One call in a hundred may take longer: the machine is
# shared, and a webhook that is lost costs a sync.
DEADLINES_S = {"/health": 1.0, "/webhook": 1.0, "/setup": 3.0, "/predict": 100.0}
DEADLINE_S = 10.0
ROUTES = {path.split("/")[1] for path in document(VERBS)["paths"]}


def share_of(whole: int, *, at_least: int = 1) -> int:
    """How many of so many, when `make fuzz` sends 20,000 requests and this run EDGEWISE_FUZZ_REQUESTS."""
    return max(at_least, math.ceil(whole * REQUESTS / WHOLE))


@dataclass
class Caller:
    """Sends requests, counts their answers and examines each."""

    url: str
    project: int
    secrets: tuple[str, ...]
    session: requests.Session = field(default_factory=requests.Session)
    statuses: Counter[int] = field(default_factory=Counter)
    late: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    slowest_s: dict[str, float] = field(default_factory=dict)

    def send(self, method: str, path: str, **options: Any) -> requests.Response:
        """One request with credentials; its answer is as every answer must be."""
        began = time.monotonic()
        answer = self.session.request(
            method, f"{self.url}{path}", auth=(USER, PASSWORD), timeout=120, allow_redirects=False, **options
        )
        self.examine(path.partition("?")[0], answer, time.monotonic() - began)
        return answer

    def examine(self, path: str, answer: requests.Response, took_s: float) -> None:
        """Count it; no 500, nothing secret, every refusal in our form."""
        limit_s = next((limit for begin, limit in DEADLINES_S.items() if path.startswith(begin)), DEADLINE_S)
        first = path.split("/")[1]
        route = f"/{first}" if first in ROUTES else "elsewhere"
        self.statuses[answer.status_code] += 1
        self.calls[route] += 1
        self.late[route] += took_s > limit_s
        self.slowest_s[route] = max(took_s, self.slowest_s.get(route, 0.0))
        said = answer.text
        assert answer.status_code != 500, said
        assert "Traceback" not in said
        assert not [secret for secret in self.secrets if secret in said], "an answer holds a secret, or a path of ours"
        if answer.status_code >= 400:
            assert "canary" not in said, "a refusal quotes a task"
            if not path.startswith("/dashboard") and path != "/ready":
                refused_in_form(answer)

    def told(self) -> str:
        """How many requests, and what became of them."""
        by_status = ", ".join(f"{status}: {count:,}" for status, count in sorted(self.statuses.items()))
        slow = ", ".join(f"{route} {seconds:.2f} s" for route, seconds in sorted(self.slowest_s.items()))
        return f"{self.statuses.total():,} requests\nby status   {by_status}\nslowest     {slow}"


def refused_in_form(answer: requests.Response) -> None:
    """An error is what and mend, and nothing else."""
    told = answer.json()
    assert list(told) == ["error"], told
    assert list(told["error"]) == ["what", "mend"], told
    assert all(isinstance(text, str) and text for text in told["error"].values()), told


@pytest.fixture(scope="session")
def studied(
    label_studio: RunningStudio,
    tmp_path_factory: pytest.TempPathFactory,
    documents: list[Document],
    tiny_tagger: Path,
) -> tuple[Path, int]:
    """The data of a server that knows a project of Label Studio, with a tiny model that serves it; the project's id."""
    from edgewise.services.studio import Studio

    data = tmp_path_factory.mktemp("fuzz") / "canary-folder"
    named: dict[str, Any] = {"data_dir": data, "audit_fraction": 1e-12, "max_sequence_length": 32}
    named |= {"label_studio_host": label_studio.url, "label_studio_api_key": label_studio.token}
    system = System(Settings(**named), uncertainty_functions(), llm_prelabel.prelabel)
    with Studio(label_studio.url, label_studio.token, settle_s=0.2) as studio:
        tasks: list[dict[str, Any]] = [labelled_task(one) for one in documents[:4]]
        tasks += [{"data": {"text": one.text}} for one in documents[4:8]] + [{"data": {"text": OPEN_TASK}}]
        made = new_studio_project(label_studio, studio, tasks)
        project = synced(system, made)
        publish(system, project, tiny_tagger, "fuzz")
        do(system, project.key, rank)
        made.http.close()
    system.store.close()
    system.studio.close()
    return data, made.id


@pytest.fixture(scope="session")
def caller(label_studio: RunningStudio, studied: tuple[Path, int]) -> Iterator[Caller]:
    """Of a running server; says at its end how many requests there were."""
    data, project = studied
    port = free_port()
    environment = server_environment(label_studio, data) | {
        "BASIC_AUTH_USER": USER, "BASIC_AUTH_PASS": PASSWORD, "CALLS_PER_MINUTE": "100000000", "THREADS": "4",
        "MAX_SEQUENCE_LENGTH": "32",
    }  # fmt: skip
    command = [sys.executable, "_wsgi.py", "--port", str(port)]
    if REQUESTS < WHOLE:
        command = [
            sys.executable, "-m", "gunicorn", "tests.fuzz.app:app", "--bind", f"127.0.0.1:{port}", "--threads", "4",
            "--worker-class", "edgewise.web.patient.PatientWorker", "--no-control-socket",
        ]  # fmt: skip
    with (data / "server.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    secrets = (PASSWORD, label_studio.token, str(ROOT), str(data), sys.prefix)
    made = Caller(f"http://127.0.0.1:{port}", project, secrets)
    try:
        await_health(made, data / "server.log", process)
        yield made
    finally:
        made.session.close()
        process.terminate()
        process.wait(timeout=60)
    said = (data / "server.log").read_text(errors="replace")
    assert "Traceback" not in said, said[-4000:]
    assert "unexpected, in" not in said, said[-4000:]
    assert not [secret for secret in (PASSWORD, label_studio.token) if secret in said]


def await_health(caller: Caller, log: Path, process: "subprocess.Popen[bytes]") -> None:
    """Until the server answers."""
    for _ in range(600):
        try:
            if requests.get(f"{caller.url}/health", timeout=1).ok:
                return
        except requests.RequestException:
            assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    raise AssertionError(log.read_text())


@pytest.fixture(scope="session")
def bodies() -> dict[str, Any]:
    """Every recorded body of Label Studio, by name."""
    folder = ROOT / "tests" / "recorded"
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
