"""What Prometheus is told of all projects: counts, queue, versions, scores on audit tasks, what language models cost.

Asked every few seconds, so it reads indexes and small tables only. Knows nothing of the page that shows it.
"""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from edgewise.services.store import Project, Version
from edgewise.verbs.placing import release_name
from edgewise.verbs.spending import paid
from edgewise.verbs.system import System

Sample = tuple[Mapping[str, str], float]
COUNTED = {
    "tasks": "tasks",
    "open_tasks": "open",
    "labelled_tasks": "labelled",
    "audit_labelled_tasks": "audit_labelled",
}


def gauges(system: System) -> dict[str, float | Sequence[Sample]]:
    """Numbers by name, those with labels as samples. Language models whose price is unknown have no dollars."""
    store = system.store
    projects = [project for project in store.projects() if project.state != "gone"]
    counts = store.watched_counts()
    jobs = store.job_counts()
    told: dict[str, float | Sequence[Sample]] = {
        "projects": float(len(projects)),
        "jobs": [({"kind": kind, "state": state}, float(count)) for (kind, state), count in sorted(jobs.items())],
        "unfinished_jobs": float(sum(count for (_, state), count in jobs.items() if state in ("queued", "running"))),
        "queue_age_seconds": store.waiting_s(),
        "project_info": [(info(project), 1.0) for project in projects],
        "project_in_trouble": [(label(project), float(project.trouble is not None)) for project in projects],
    }
    for name, counted in COUNTED.items():
        told[name] = [(label(one), float(counts[one.key][counted])) for one in projects if one.key in counts]
    serving = [
        (project, store.version(project.key, project.serving)) for project in projects if project.serving is not None
    ]
    told["held_out_score"] = [one for project, version in serving for one in scores(project, version)]
    return {**told, **costs(system, projects)}


def label(project: Project) -> dict[str, str]:
    """Which project: its id in Label Studio."""
    return {"project": str(project.ls_id)}


def info(project: Project) -> dict[str, str]:
    """What a project's annotators are served just now."""
    release = "" if project.active_release is None else release_name(project.active_release)
    return label(project) | {"state": project.state, "version": project.serving or "", "release": release}


def scores(project: Project, version: Version) -> Iterator[Sample]:
    """F1, precision and recall of each head on audit tasks, as measured when the version was made."""
    for head, found in version.scores.items():
        overall = ((found or {}).get("held_out") or {}).get("overall") or {}
        for measure in ("f1", "precision", "recall"):
            if overall.get(measure) is not None:
                yield label(project) | {"head": head, "measure": measure}, float(overall[measure])


def costs(system: System, projects: Sequence[Project]) -> Mapping[str, Sequence[Sample]]:
    """Calls, tokens and dollars so far, by project."""
    spent = system.store.spent()
    told: dict[str, list[Sample]] = {"llm_calls": [], "llm_tokens": [], "llm_spend_dollars": []}
    for project in projects:
        some = spent.get(project.key, [])
        dollars = [paid(one) for one in some]
        told["llm_calls"].append((label(project), float(sum(one["calls"] for one in some))))
        for way in ("input", "output"):
            tokens = sum(one[f"{way}_tokens"] for one in some)
            told["llm_tokens"].append((label(project) | {"way": way}, float(tokens)))
        if None not in dollars:
            known = sum((one for one in dollars if one is not None), Decimal(0))
            told["llm_spend_dollars"].append((label(project), float(known)))
    return told
