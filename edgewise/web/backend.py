"""What the server needs of the rest of the system, as a protocol: answers are JSON-safe and at once.

Knows what each call is for. Knows nothing of who answers it, and nothing of Flask.
"""

from collections.abc import Collection
from typing import Protocol

from edgewise.web.metrics import Gauges
from edgewise.web.wire import Json, PredictRequest, SetupRequest, WebhookEvent


class Backend(Protocol):
    """What the server calls. Errors on purpose are EdgewiseErrors; answers are JSON-safe."""

    def setup(self, request: SetupRequest) -> str:
        """Record the project; the model version that predictions carry. Within 3 s, as often as Label Studio likes."""
        ...

    def predict(self, request: PredictRequest) -> list[Json]:
        """One prediction for each task, in order: `result`, `score` in [0, 1], `model_version`."""
        ...

    def hint(self, event: WebhookEvent) -> None:
        """Note that a project may have changed. At once: Label Studio waits one second inside the annotator's click."""
        ...

    def start_training(self, event: WebhookEvent) -> None:
        """Queue a training that somebody asked for."""
        ...

    def webhook_secret(self, ls_id: int) -> str | None:
        """The secret that we put on a project's webhook; None until we have."""
        ...

    def webhook_secrets(self) -> Collection[str]:
        """Those of all projects: who brings one of them may send a large body."""
        ...

    def versions(self) -> list[str]:
        """Names of the model versions."""
        ...

    def select_samples(self, ls_id: int, limit: int | None, strategy: str | None, threshold: float | None) -> Json:
        """The hardest open tasks, hardest first."""
        ...

    def status(self, ls_id: int) -> Json:
        """What a project is doing, and why not more."""
        ...

    def projects(self) -> list[Json]:
        """All projects: `project_id`, `title`, `phase`, `tasks`, `labelled`, `serving`."""
        ...

    def numbers(self, ls_id: int) -> Json:
        """What has been measured of a project: curves, advice, versions, feedback. Cheap enough for a page."""
        ...

    def instructions(self, ls_id: int) -> Json:
        """What the language model is told of a project: `version`, `text`, `created_at`."""
        ...

    def put_instructions(self, ls_id: int, text: str) -> Json:
        """Tell it something else from now on; the new version."""
        ...

    def reports(self, ls_id: int, limit: int) -> list[Json]:
        """What was measured of a project, newest first: `id`, `kind`, `at`."""
        ...

    def report(self, ls_id: int, report_id: str) -> Json:
        """One of them, with `report`. NotFound."""
        ...

    def llm_runs(self, ls_id: int) -> list[Json]:
        """Runs of language models, newest first: what was sent to whom, and what it cost."""
        ...

    def ready(self) -> Json:
        """What works: `ready`, a bool, and parts for people."""
        ...

    def jobs(self, limit: int) -> list[Json]:
        """The latest jobs, newest first."""
        ...

    def job(self, job_id: str) -> Json:
        """One job. NotFound."""
        ...

    def cancel(self, job_id: str) -> Json:
        """Cancel a job; the job as it is then. NotFound."""
        ...

    def enqueue(self, ls_id: int, verb: str, options: Json) -> Json:
        """Queue a verb for a project; the job."""
        ...

    def metrics(self) -> Gauges:
        """Gauges by name: lower-case words joined by underscores, unit last; a number, or samples with labels."""
        ...
