"""What Label Studio has deleted is erased here too; a report says what, and which versions had learned from it.

The report comes first: killed in between we have said too much, and the next sync erases the rest. Numbers learned from
a text are no text: versions stay, until a training without it takes their place.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from edgewise.labels.quotes import windows
from edgewise.services.store import Project
from edgewise.verbs.numbers.fixed_labels import KIND as LABEL_ERRORS
from edgewise.verbs.system import System, folder_name

Json = dict[str, Any]
KIND = "erasure"
PAGE = 500
MOST_REPORTS = 500


def erase_tasks(system: System, project: Project, ids: Collection[int]) -> None:
    """Forget tasks, and every answer of a language model that their texts were part of."""
    store, key = system.store, project.key
    doomed = sorted(ids)
    if not doomed:
        return
    note(system, project, dict.fromkeys(doomed))
    for some in (doomed[start : start + PAGE] for start in range(0, len(doomed), PAGE)):
        forget_answers(
            system, project, [text for task in store.tasks(key, some).values() for text in words_of(task.data)]
        )
        store.delete_tasks(key, some)
    erase_suspicions(system, project, set(doomed))
    store.scrub()


def erase_deleted(system: System, project: Project, page: Sequence[Mapping[str, Any]]) -> bool:
    """Of tasks that are about to be brought up to date, as Label Studio has them: forget what annotations have taught
    that are deleted, and answers about texts that were changed; whether there was any. Their own rows are the upsert's
    business, and `scrub` afterwards the caller's."""
    present = {raw["id"]: {one["id"] for one in raw.get("annotations") or []} for raw in page}
    gone = system.store.vanished(project.key, present)
    if gone:
        note(system, project, gone)
        system.store.erase_lessons(project.key, gone)
        erase_suspicions(system, project, gone.keys())
    now = {raw["id"]: raw.get("data") or {} for raw in page}
    known = system.store.tasks(project.key, now).values()
    old = [text for task in known for text in words_of(task.data) if text not in now[task.task_id].values()]
    forget_answers(system, project, old)
    return bool(gone or old)


def erase_project(system: System, project: Project) -> None:
    """Forget all of it, its models first."""
    system.registry.erase(folder_name(project))
    system.store.erase_project(project.key)
    system.store.scrub()


def words_of(data: Mapping[str, Any]) -> list[str]:
    """All that a task says, whatever field the labelling config of the time had it in."""
    return [value for value in data.values() if isinstance(value, str)]


def forget_answers(system: System, project: Project, texts: Sequence[str]) -> None:
    """Forget every answer of a language model to a question that held one of these texts."""
    shown = [text[window.start : window.end] for text in texts for window in windows(text)]
    system.store.erase_texts(project.key, [*texts, *shown])


def note(system: System, project: Project, gone: Mapping[int, Collection[int] | None]) -> None:
    """Add to the report of the day: tasks that are gone (None), or annotations of theirs."""
    store, key = system.store, project.key
    report = store.begin_report(key, f"{KIND}-{datetime.now(UTC):%Y-%m-%d}", KIND)
    content = report.content or {"tasks": 0, "annotations": 0, "datasets": {}}
    content["tasks"] += sum(named is None for named in gone.values())
    content["annotations"] += sum(len(named) for named in gone.values() if named is not None)
    for snapshot, learned in store.learned_from(key, gone).items():
        known = content["datasets"].setdefault(snapshot, {"tasks": [], "annotations": []})
        tasks = {task for task in learned if gone[task] is None}
        annotations = {one for task, some in learned.items() if gone[task] is not None for one in some}
        known["tasks"] = sorted(tasks.union(known["tasks"]))
        known["annotations"] = sorted(annotations.union(known["annotations"]))
    store.finish_report(key, report.id, content)


def erase_suspicions(system: System, project: Project, ids: Collection[int]) -> None:
    """Take these tasks out of the reports on label errors: they say which labels somebody gave, and where."""
    store = system.store
    for report in store.reports(project.key, MOST_REPORTS, LABEL_ERRORS):
        left = [row for row in report.content["errors"] if row["task_id"] not in ids]
        if len(left) < len(report.content["errors"]):
            store.update_report(project.key, report.id, content=report.content | {"errors": left})


def erased(system: System, project: Project) -> Json | None:
    """What was erased so far, and the versions that had learned from it, newest first; None if nothing was.

    serves: it is the one that answers; kept: its weights are still there.
    """
    reports = system.store.reports(project.key, MOST_REPORTS, KIND)
    if not reports:
        return None
    learned: dict[str, Counter[str]] = {}
    for report in reports:
        for snapshot, named in report.content["datasets"].items():
            learned.setdefault(snapshot, Counter()).update({name: len(ids) for name, ids in named.items()})
    versions = [one for one in system.store.versions(project.key) if one.snapshot in learned]
    there = system.registry.versions(folder_name(project)) if versions else set()
    return {
        "tasks": sum(report.content["tasks"] for report in reports),
        "annotations": sum(report.content["annotations"] for report in reports),
        "learned_from_them": [
            {"version": one.id, **learned[one.snapshot], "serves": one.id == project.serving, "kept": one.id in there}
            for one in versions
        ],
    }
