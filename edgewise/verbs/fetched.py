"""Texts that lie at an address, where a head says so: fetched once by sync, kept with the task in the address's place.

An address that has not changed is not fetched again, whatever lies there now; what could not be fetched is tried again
later. `data` then has the text, or `unread`, and everybody reads it as ever. Only the worker fetches.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from edgewise.errors import DataError
from edgewise.labels.schema import Head, Schema
from edgewise.labels.texts import address_of, unread
from edgewise.services.fetching import Fetcher
from edgewise.services.store import Project, Task
from edgewise.verbs.system import System

Json = dict[str, Any]
Raw = Mapping[str, Any]
ADDRESSES = "edgewise_addresses"  # what a raw task carries beside its data: see Task.addresses
AGAIN_AFTER = timedelta(minutes=10)  # sooner than a sweep follows a sweep
THREADS = 8
PART = 20  # tasks in memory at once: a text may have 5 MB
NOT_YET = "The text that the task's field '{}' points at has not been read yet."


def with_texts(system: System, project: Project, schema: Schema, page: Sequence[Raw]) -> Iterator[Sequence[Raw]]:
    """Raw tasks with their texts in place of addresses, in parts. A text that cannot be had is `unread`, and says why.

    Raises StudioUnavailable or StudioRefused when Label Studio does not let us have its own.
    """
    heads = by_address(schema)
    if not heads:
        yield page
        return
    settings = system.settings
    fetcher = Fetcher(system.address, system.studio.authorization, settings.allowed_hosts)
    for start in range(0, len(page), PART):
        part = page[start : start + PART]
        known = system.store.tasks(project.key, [raw["id"] for raw in part])
        reading = _Reading(fetcher, heads, project.ls_id, known)
        with ThreadPoolExecutor(THREADS) as pool:
            yield list(pool.map(reading.task, part))


def as_kept(system: System, project: Project, schema: Schema, tasks: Sequence[Raw]) -> list[Json]:
    """Data of tasks as Label Studio sends them, with the texts that sync has fetched from these very addresses."""
    data = [dict(task.get("data") or {}) for task in tasks]
    heads = by_address(schema)
    if not heads:
        return data
    known = system.store.tasks(project.key, {task["id"] for task in tasks if isinstance(task.get("id"), int)})
    for task, item in zip(tasks, data, strict=True):
        ours = known.get(task["id"]) if isinstance(task.get("id"), int) else None
        for field in heads:
            kept = kept_text(ours, field, item.get(field))
            item[field] = unread(NOT_YET.format(field)) if kept is None else kept
    return data


def by_address(schema: Schema) -> dict[str, Head]:
    """The fields that hold a text's address, each with a head that says so."""
    return {head.field: head for head in schema.heads if head.by_address}


def kept_text(task: Task | None, field: str, address: object) -> str | None:
    """The text that we have fetched for a task's field from this address; None if we have none."""
    if task is None or mark_of(task, field).get("address") != address:
        return None
    text = task.data.get(field)
    return text if isinstance(text, str) else None


def mark_of(task: Task, field: str) -> Json:
    """Where a field's text was fetched from, or tried to be, and when; empty if it never was."""
    return dict((task.addresses or {}).get(field) or {})


def own_paths(ls_id: int, task_id: int) -> tuple[str, ...]:
    """What a task may ask of Label Studio in our name: its project's uploads, its own files in storages, and the local
    files of whatever storage our token may read. Nothing of the API."""
    return f"/data/upload/{ls_id}/", f"/tasks/{task_id}/resolve/", f"/tasks/{task_id}/presign/", "/data/local-files/"


@dataclass(frozen=True)
class _Reading:
    """The texts of some tasks, being read."""

    fetcher: Fetcher
    heads: Mapping[str, Head]
    ls_id: int
    known: Mapping[int, Task]

    def task(self, raw: Raw) -> Json:
        """The raw task with its texts."""
        given = raw.get("data")
        data = dict(given) if isinstance(given, Mapping) else {}
        marks = {}
        for field, head in self.heads.items():
            data[field], marks[field] = self._field(raw["id"], data, head)
        return {**raw, "data": data, ADDRESSES: marks}

    def _field(self, task_id: int, data: Mapping[str, Any], head: Head) -> tuple[object, Json]:
        """What stands in a field's place, and the mark of it."""
        address, now = data.get(head.field), datetime.now(UTC)
        ours = self.known.get(task_id)
        mark = mark_of(ours, head.field) if ours else {}
        if ours and mark.get("address") == address:
            fresh = abs(now - datetime.fromisoformat(mark["at"])) < AGAIN_AFTER
            if fresh or kept_text(ours, head.field, address) is not None:
                return ours.data.get(head.field), mark
        mark = {"address": address, "at": now.isoformat()}
        try:
            return self.fetcher.fetch(address_of(data, head), own_paths(self.ls_id, task_id)), mark
        except DataError as error:
            return unread(error.what), mark
