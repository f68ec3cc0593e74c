"""What the web server asks and the terminal too: edgewise.web.backend.Backend, answered by one System.

Every answer here is at once: what takes longer is queued.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from edgewise.errors import NotFound
from edgewise.labels.schema import parse_schema
from edgewise.services.store import Job
from edgewise.verbs import answer
from edgewise.verbs.connect import note_address, note_models, remember
from edgewise.verbs.gauges import Sample, gauges
from edgewise.verbs.gone import claim
from edgewise.verbs.numbers.summary import numbers
from edgewise.verbs.readiness import Readiness
from edgewise.verbs.serving import pin, rollback, unpin
from edgewise.verbs.status import job_summary, llm_runs, overview, told, version_summary
from edgewise.verbs.status import status as status_of
from edgewise.verbs.system import System

Json = dict[str, Any]


class Backend:
    """What the web server asks: edgewise.web.backend.Backend, answered by one System."""

    def __init__(self, system: System, verbs: Collection[str]) -> None:
        """verbs: those that can be queued."""
        self.system = system
        self._verbs = verbs
        self._readiness = Readiness(system)

    def setup(self, request: Any) -> str:
        """Record the project and queue `connect`; nothing is loaded. Returns the version we answer under.

        An id that we know of a project made at another time is only claimed: Label Studio is asked by a job, as it may
        itself be waiting for this answer.
        Raises SchemaError for a new project without anything to learn: Label Studio shows why the model is not added.
        """
        system = self.system
        known = system.store.find_project(system.address, request.ls_id)
        is_known = known is not None and known.created_at == request.created_at
        if not is_known:
            parse_schema(request.label_config)
        if known is not None and not is_known:
            claim(system, known, request.created_at, request.backend_url)
            return answer.LIVE
        project = system.store.record_project(
            system.address,
            request.ls_id,
            request.created_at,
            title=known.title if known else "",
            label_config=known.label_config if known else request.label_config,
        )
        is_new_address, project = note_address(system, note_models(system, project), request.backend_url)
        if project.state == "connecting" or is_new_address:
            system.queue.enqueue("connect", project.key)
        elif project.label_config != request.label_config:
            system.queue.enqueue("sync", project.key)
        return answer.version_name(system, project)

    def predict(self, request: Any) -> list[Json]:
        """One prediction per task, in order."""
        return answer.predict(self.system, self.system.project(request.ls_id), request.tasks, request.drawn)

    def hint(self, event: Any) -> None:
        """Something changed: what, the next sync finds out."""
        project = self.system.store.find_project(self.system.address, event.ls_id)
        if project is not None:
            kind = "sweep" if event.action == "TASKS_DELETED" else "sync"
            self.system.queue.enqueue(kind, project.key)

    def start_training(self, event: Any) -> None:
        """Start Training in Label Studio: at once, whatever was labelled since the last one."""
        self.system.queue.enqueue("train", self.system.project(event.ls_id).key)

    def webhook_secret(self, ls_id: int) -> str | None:
        """The secret on the project's webhook, once connect has installed it."""
        project = self.system.store.find_project(self.system.address, ls_id)
        return project.connection.get("secret") if project else None

    def webhook_secrets(self) -> list[str]:
        """The secrets on all projects' webhooks."""
        known = (project.connection.get("secret") for project in self.system.store.projects())
        return [secret for secret in known if secret]

    def versions(self) -> list[str]:
        """Every release that serves, of all projects: Label Studio does not say which project it asks for."""
        return [answer.version_name(self.system, project) for project in self.system.store.projects()]

    def select_samples(self, ls_id: int, limit: int | None, strategy: str | None, threshold: float | None) -> Json:
        """The hardest open tasks."""
        return answer.select_samples(self.system, self.system.project(ls_id), limit, strategy, threshold)

    def status(self, ls_id: int) -> Json:
        """Where a project stands."""
        return status_of(self.system, self.system.project(ls_id))

    def projects(self) -> list[Json]:
        """All projects in short."""
        return overview(self.system)

    def numbers(self, ls_id: int) -> Json:
        """What has been measured of a project."""
        return numbers(self.system, self.system.project(ls_id))

    def instructions(self, ls_id: int) -> Json:
        """What the language model is told of the project."""
        return told(self.system.store.instructions(self.system.project(ls_id).key))

    def put_instructions(self, ls_id: int, text: str) -> Json:
        """Tell it something else from now on: a new version."""
        return told(self.system.store.add_instructions(self.system.project(ls_id).key, text))

    def reports(self, ls_id: int, limit: int) -> list[Json]:
        """What was measured of a project, newest first."""
        found = self.system.store.reports(self.system.project(ls_id).key, limit)
        return [{"id": one.id, "kind": one.kind, "at": one.created_at.isoformat()} for one in found]

    def report(self, ls_id: int, report_id: str) -> Json:
        """One report, whole."""
        found = self.system.store.report(self.system.project(ls_id).key, report_id)
        return {"id": found.id, "kind": found.kind, "at": found.created_at.isoformat(), "report": found.content}

    def llm_runs(self, ls_id: int) -> list[Json]:
        """What was sent to which language model, run by run."""
        return llm_runs(self.system, self.system.project(ls_id))

    def ready(self) -> Json:
        """Whether we can work."""
        return self._readiness.now()

    def jobs(self, limit: int) -> list[Json]:
        """The newest jobs of all projects."""
        return self._as_told(self.system.queue.jobs(limit))

    def job(self, job_id: str) -> Json:
        """One job."""
        return self._as_told([self.system.queue.job(job_id)])[0]

    def cancel(self, job_id: str) -> Json:
        """Cancel a job."""
        return self._as_told([self.system.queue.cancel(job_id)])[0]

    def enqueue(self, ls_id: int, verb: str, options: Mapping[str, Any]) -> Json:
        """Queue a verb for a project."""
        project = self.system.project(ls_id)
        if verb == "rollback":
            return job_summary(rollback(self.system, project, str(options.get("version") or "")), ls_id)
        if verb == "connect" and options.get("rotate_secret") is True:
            project = remember(self.system, project, rotate=True)
        if verb not in self._verbs:
            raise NotFound(f"There is no verb {verb!r}.", f"Choose one of {', '.join(self._verbs)}.")
        return job_summary(self.system.queue.enqueue(verb, project.key, args=dict(options) or None), ls_id)

    def pin(self, ls_id: int, version: str) -> Json:
        """Keep a version's weights."""
        return version_summary(pin(self.system, self.system.project(ls_id), version))

    def unpin(self, ls_id: int, version: str) -> Json:
        """Let a version's weights go with the others."""
        return version_summary(unpin(self.system, self.system.project(ls_id), version))

    def _as_told(self, jobs: Sequence[Job]) -> list[Json]:
        """Jobs with their projects' ids."""
        ids: dict[int | None, int] = {project.key: project.ls_id for project in self.system.store.projects()}
        return [job_summary(job, ids.get(job.project_key)) for job in jobs]

    def metrics(self) -> dict[str, float | Sequence[Sample]]:
        """Numbers for Prometheus."""
        return gauges(self.system)
