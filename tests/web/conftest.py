"""A backend in memory at the seam that `web.backend.Backend` is, and clients of the app over it."""

import json
import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from pydantic import SecretStr

from edgewise.errors import NotFound
from edgewise.settings import Settings
from edgewise.web.metrics import Sample
from edgewise.web.server import create_app
from edgewise.web.wire import Json, PredictRequest, SetupRequest, WebhookEvent

RECORDED = Path(__file__).parents[1] / "recorded"
USER, PASSWORD = "lsuser", "s3cret"  # as in the recordings
BASIC = {"Authorization": "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode()}


def recorded(name: str) -> Any:
    return json.loads((RECORDED / f"{name}.json").read_text())


@dataclass
class MemoryBackend:
    """Keeps what it is told, and takes every capitalised word for a person."""

    secrets: dict[int, str] = field(default_factory=dict)
    setups: list[SetupRequest] = field(default_factory=list)
    asked: list[PredictRequest] = field(default_factory=list)
    hints: list[WebhookEvent] = field(default_factory=list)
    trainings: list[WebhookEvent] = field(default_factory=list)
    samples: list[tuple[int, int | None, str | None, float | None]] = field(default_factory=list)
    queued: dict[str, Json] = field(default_factory=dict)
    works: bool = True
    gauges: dict[str, float | Sequence[Sample]] = field(default_factory=lambda: {"jobs_waiting": 2.0})
    known: Json = field(default_factory=dict)  # what pages show: status, numbers, projects, plan
    trouble: Exception | None = None  # raised by whatever is called next

    def _try(self) -> None:
        if self.trouble is not None:
            raise self.trouble

    def setup(self, request: SetupRequest) -> str:
        self._try()
        self.setups.append(request)
        return "ew-1"

    def predict(self, request: PredictRequest) -> list[Json]:
        self._try()
        self.asked.append(request)
        return [self._prediction(task) for task in request.tasks]

    def _prediction(self, task: Json) -> Json:
        text = task["data"].get("text", "")
        values = [
            {"start": m.start(), "end": m.end(), "text": m[0], "labels": ["PER"]}
            for m in re.finditer(r"[A-Z]\w+", text)
        ]
        result = [{"from_name": "label", "to_name": "text", "type": "labels", "value": value} for value in values]
        return {"result": result, "score": 0.25, "model_version": "ew-1"}

    def hint(self, event: WebhookEvent) -> None:
        self._try()
        self.hints.append(event)

    def start_training(self, event: WebhookEvent) -> None:
        self._try()
        self.trainings.append(event)

    def webhook_secret(self, ls_id: int) -> str | None:
        return self.secrets.get(ls_id)

    def webhook_secrets(self) -> list[str]:
        return list(self.secrets.values())

    def versions(self) -> list[str]:
        return ["ew-1"]

    def select_samples(self, ls_id: int, limit: int | None, strategy: str | None, threshold: float | None) -> Json:
        self._try()
        self.samples.append((ls_id, limit, strategy, threshold))
        return {"project_id": ls_id, "model_version": "ew-1", "task_ids": [], "samples": [], "pool_size": 0}

    def status(self, ls_id: int) -> Json:
        self._try()
        told: Json = self.known.get("status", {"project_id": ls_id, "phase": "cold start"})
        return told

    def projects(self) -> list[Json]:
        self._try()
        told: list[Json] = self.known.get("projects", [])
        return told

    def numbers(self, ls_id: int) -> Json:
        self._try()
        told: Json = self.known.get("numbers", {"curves": {}})
        return told

    def ready(self) -> Json:
        return {"ready": self.works}

    def jobs(self, limit: int) -> list[Json]:
        return list(self.queued.values())[:limit]

    def job(self, job_id: str) -> Json:
        if job_id not in self.queued:
            raise NotFound("There is no such job.", "GET /jobs lists them.")
        return self.queued[job_id]

    def cancel(self, job_id: str) -> Json:
        self.job(job_id)["state"] = "cancelled"
        return self.job(job_id)

    def enqueue(self, ls_id: int, verb: str, options: Json) -> Json:
        self._try()
        job: Json = {
            "id": f"job-{len(self.queued)}",
            "project_id": ls_id,
            "kind": verb,
            "args": options,
            "state": "queued",
        }
        self.queued[job["id"]] = job
        return job

    def llm_runs(self, ls_id: int) -> list[Json]:
        self._try()
        return [{"run": 1, "endpoint": "http://127.0.0.1:1"}]

    def reports(self, ls_id: int, limit: int) -> list[Json]:
        self._try()
        return [{"id": "r1", "kind": "plan", "at": "2026-11-21T00:00:00+00:00"}][:limit]

    def report(self, ls_id: int, report_id: str) -> Json:
        if report_id != "r1":
            raise NotFound("There is no such report.", "GET /projects/<id>/reports lists them.")
        return self.reports(ls_id, 1)[0] | {"report": self.known.get("plan") or {"tasks": 3}}

    def instructions(self, ls_id: int) -> Json:
        self._try()
        return {"version": None, "text": "", "created_at": None}

    def put_instructions(self, ls_id: int, text: str) -> Json:
        self._try()
        return {"version": 1, "text": text, "created_at": "2026-11-21T00:00:00+00:00"}

    def metrics(self) -> dict[str, float | Sequence[Sample]]:
        self._try()
        return self.gauges


@pytest.fixture
def backend() -> MemoryBackend:
    return MemoryBackend()


@pytest.fixture
def client(backend: MemoryBackend) -> FlaskClient:
    """Of a server without credentials."""
    return create_app(backend, Settings(basic_auth_user="")).test_client()


@pytest.fixture
def guarded(backend: MemoryBackend) -> FlaskClient:
    """Of a server with basic auth; the client sends none by itself."""
    return create_app(backend, Settings(basic_auth_user=USER, basic_auth_pass=SecretStr(PASSWORD))).test_client()
