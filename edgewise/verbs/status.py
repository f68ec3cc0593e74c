"""Where a project stands, why nothing happens now if nothing does, and the next step: status, jobs, readiness.

Reads only.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from edgewise.services.store import Instructions, Job, LlmRun, Project, Version
from edgewise.verbs.erasure import erased
from edgewise.verbs.placing import release_name
from edgewise.verbs.system import System, schema_of

OUTDATED = "The serving version was trained for another labelling config: what it did not learn is not predicted."

Json = dict[str, Any]


def status(system: System, project: Project) -> Json:
    """Where a project stands, why nothing happens now if nothing does, and the next step."""
    store = system.store
    counts = store.counts(project.key)
    updates = store.updates(project.key)
    running = [job for job in store.running_jobs() if job.project_key == project.key]
    newest = system.queue.jobs(20, project_key=project.key)
    jobs = [*newest, *(job for job in running if job.id not in {one.id for one in newest})]
    versions = store.versions(project.key)
    serving = next((version for version in versions if version.id == project.serving), None)
    schema = schema_of(project)
    outdated = schema is not None and serving is not None and serving.schema_digest != schema.digest
    phase = phase_of(project, serving is not None, {job.kind for job in running})
    return {
        "project_id": project.ls_id,
        "title": project.title,
        "phase": phase,
        "why": why(system, project, updates, running),
        "next_step": next_step(system, project, updates),
        "labels_since_last_training": updates,
        "training_starts_at": system.settings.start_training_each_n_updates,
        "tasks": counts,
        "tasks_left_above_threshold": above(system, project),
        "model_version": version_summary(serving) if serving else None,
        "versions": [version_summary(version) for version in versions],
        "release": release_summary(system, project),
        "arithmetic": arithmetic_summary(system, project),
        "language_model": llm_summary(system, project),
        "note": project.note or (OUTDATED if outdated else ""),
        "trouble": project.trouble,
        "erased": erased(system, project),
        "ignored": list(schema.ignored) if schema else [],
        "unreadable_tasks": store.problems(project.key, limit=20),
        "checks": project.connection.get("checks", []),
        "jobs": [job_summary(job, project.ls_id) for job in jobs],
        "at": datetime.now(UTC).isoformat(),
    }


def overview(system: System) -> list[Json]:
    """Every project that is still there, in short, by Label Studio's id."""
    busy: dict[int | None, set[str]] = {}
    for job in system.store.running_jobs():
        busy.setdefault(job.project_key, set()).add(job.kind)
    ours = [one for one in system.store.projects() if one.address == system.address and one.state != "gone"]
    return [in_short(system, one, busy.get(one.key, set())) for one in sorted(ours, key=lambda one: one.ls_id)]


def in_short(system: System, project: Project, running: set[str]) -> Json:
    """A project as a list of them shows it."""
    counts = system.store.counts(project.key)
    return {
        "project_id": project.ls_id,
        "title": project.title,
        "phase": phase_of(project, project.serving is not None, running),
        "tasks": counts["tasks"],
        "labelled": counts["labelled"] + counts["audit_labelled"],
        "serving": project.serving,
    }


def phase_of(project: Project, has_version: bool, running: set[str]) -> str:
    """One word for where the project stands."""
    if project.state != "live":
        return project.state
    if "train" in running:
        return "training"
    if "rank" in running:
        return "ranking"
    return "live" if has_version else "cold start"


def why(system: System, project: Project, updates: int, running: Sequence[Job]) -> str:
    """Why nothing happens now, or what does."""
    if running:
        return "; ".join(f"{job.kind} is running ({job.progress:.0%}) {job.message}".strip() for job in running)
    if project.trouble:
        return str(project.trouble["what"])
    if project.state == "paused":
        return "The project is paused."
    if project.state == "connecting":
        return "The connection is being made."
    left = system.settings.start_training_each_n_updates - updates
    if left > 0:
        return f"{left} more labels start the next training."
    jobs = system.queue.jobs(20, project_key=project.key)
    moments = [job.run_after for job in jobs if (job.kind, job.state) == ("train", "queued") and job.run_after]
    if moments:
        return f"A training is due. Trainings keep a distance: the next may start at {moments[0]:%H:%M:%S} UTC."
    return "A training is due and waits for its turn."


def next_step(system: System, project: Project, updates: int) -> str:
    """What a person can do now."""
    if project.trouble:
        return str(project.trouble["mend"])
    if project.state == "paused":
        return f"Run `edgewise resume -p {project.ls_id}` when you want it to go on."
    failed = [check for check in project.connection.get("checks", []) if not check["ok"]]
    if failed:
        return str(failed[0]["mend"])
    return "In Label Studio, choose Label All Tasks: the next task is the one worth most."


def above(system: System, project: Project) -> int | None:
    """How many open tasks the model is still unsure of, by UNCERTAINTY_THRESHOLD; None before the first order."""
    if project.active_release is None:
        return None
    return system.store.count_above(project.key, project.active_release, system.settings.uncertainty_threshold)


def version_summary(version: Version) -> Json:
    """A version as status shows it."""
    names = (
        "id",
        "state",
        "provisional",
        "reason",
        "scores",
        "examples",
        "label_counts",
        "parent",
        "pinned",
        "snapshot",
    )
    return {name: getattr(version, name) for name in names} | {"created_at": stamp(version.created_at)}


def llm_summary(system: System, project: Project) -> Json | None:
    """The last run of a language model as status shows it; what it spent is unknown where a price was."""
    run = system.store.last_llm_run(project.key)
    if run is None:
        return None
    left = system.store.count_not_prelabelled(project.key, run.run)
    return run_summary(run) | {"open_tasks_left": left}


def llm_runs(system: System, project: Project) -> list[Json]:
    """Every run of a language model over the project, newest first: what was sent to whom, and what it cost."""
    return [run_summary(run) for run in system.store.llm_runs(project.key)]


def run_summary(run: LlmRun) -> Json:
    """A run as callers see it. calibrated_on: how many spans of held-out tasks its confidences were put right by, None
    while people have labelled too few."""
    calibrated = run.calibration["items"] if run.calibration else None
    facts = {"run": run.run, "at": stamp(run.created_at), **run.how, "sent": run.sent, "spend": run.spend}
    return facts | {"calibrated_on": calibrated}


def told(instructions: Instructions | None) -> Json:
    """Instructions as callers see them."""
    if instructions is None:
        return {"version": None, "text": "", "created_at": None}
    return {"version": instructions.version, "text": instructions.text, "created_at": stamp(instructions.created_at)}


def release_summary(system: System, project: Project) -> Json | None:
    """The active release as status shows it."""
    if project.active_release is None:
        return None
    release = system.store.release(project.key, project.active_release)
    return {
        "name": release_name(release.n),
        "version": release.version,
        "whole": release.whole,
        "tasks": system.store.pool_size(project.key, release.n),
    }


def arithmetic_summary(system: System, project: Project) -> list[Json]:
    """In which arithmetic each head of the serving version is computed, on which machine, and what was measured. A head
    that nobody has examined yet is missing: it is computed in float32."""
    made = system.store.arithmetics(project.key, project.serving) if project.serving else []
    names = ("head", "choice", "reason", "figures")
    return [{name: getattr(one, name) for name in names} | {"at": stamp(one.created_at)} for one in made]


def job_summary(job: Job, ls_id: int | None) -> Json:
    """A job as callers see it. ls_id: of its project in Label Studio, None for a job of no project."""
    return {
        "id": job.id,
        "project_id": ls_id,
        "kind": job.kind,
        "state": job.state,
        "progress": job.progress,
        "message": job.message,
        "attempts": job.attempts,
        "error": job.error,
        "created_at": stamp(job.created_at),
        "started_at": stamp(job.started_at),
        "finished_at": stamp(job.finished_at),
        "run_after": stamp(job.run_after),
    }


def stamp(moment: datetime | None) -> str | None:
    """A moment in JSON."""
    return moment.isoformat() if moment else None
