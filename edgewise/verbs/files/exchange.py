"""import and export: tasks between a file and a project of Label Studio.

An import checks the whole file before it sends anything, and takes back what it has sent if Label Studio fails half
way. An export is what survives an import: data, annotations, who made them; ids and times are Label Studio's own.
"""

import json
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import IO, Any

from edgewise.errors import Conflict, EdgewiseError, InputError
from edgewise.files.exchange import Columns, Form, Written, importable, write
from edgewise.labels.schema import Schema, parse_schema
from edgewise.services.store import Project
from edgewise.services.studio import Studio
from edgewise.services.studio_http import NoAnswer
from edgewise.verbs.system import System

log = logging.getLogger(__name__)
Json = dict[str, Any]
Report = Callable[[float, str], None]  # share done, 0 to 1, and what is being done

CHUNK = 1000  # tasks of one call
CHUNK_BYTES = 20_000_000  # and no more than this: Label Studio takes 250 MB


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import added. strangers: annotations of people unknown to this Label Studio, now the importer's."""

    tasks: int
    annotations: int
    predictions: int
    strangers: int


def import_file(
    system: System, project: Project, path: Path, *, columns: Columns | None = None, report: Report
) -> Imported:
    """Add the file's rows to the project as tasks, with their labels as annotations where it has any.

    Raises DataError for the first row that does not fit, before anything is sent. If Label Studio refuses or goes away
    later, what was added is deleted again.
    """
    studio, schema = system.studio, _schema(system, project)
    people = studio.people()
    total = _count(importable(path, schema, columns), people, report)
    if not total.tasks:
        raise InputError(f"'{path.name}' has no rows.", "Name a file with at least one.")
    floor = studio.last_task_id(project.ls_id)
    sent: list[int] = []
    chunk: list[Json] = []
    try:
        for chunk in _chunks(task for _, task in importable(path, schema, columns)):
            sent += studio.import_tasks(project.ls_id, [_known(task, people) for task in chunk])
            report(len(sent) / total.tasks, "sending")
    except BaseException as error:
        _take_back(studio, project.ls_id, sent, _lost(studio, project.ls_id, (floor, sent), chunk, error))
        raise
    return total


def export_project(
    system: System, project: Project, path: Path, form: Form, *, overwrite: bool = False, report: Report
) -> Written:
    """Write all tasks of the project, as Label Studio has them now, with their annotations, to a file or folder.

    Raises Conflict if `path` is there and may not be overwritten.
    """
    if path.exists() and not overwrite:
        raise Conflict(f"'{path.name}' exists already.", "Name another output, or say that it may be overwritten.")
    schema = _schema(system, project)
    total = int(system.studio.project(project.ls_id).get("task_number") or 0)
    with tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n") as spool:
        done = 0
        for page in system.studio.task_pages(project.ls_id):
            spool.writelines(json.dumps(task) + "\n" for task in page)
            done += len(page)
            report(min(0.9, 0.9 * done / max(total, 1)), "reading")
        written = write(lambda: _reread(spool), schema, path, form, overwrite=overwrite)
    report(1.0, "written")
    return written


def _schema(system: System, project: Project) -> Schema:
    """The project's heads as Label Studio has them now."""
    return parse_schema(system.studio.project(project.ls_id).get("label_config") or "")


def _reread(spool: IO[str]) -> Iterator[Json]:
    spool.seek(0)
    return map(json.loads, spool)


def _count(tasks: Iterable[tuple[int, Json]], people: set[int], report: Report) -> Imported:
    """Read the whole file once: what it holds, and that nothing in it is wrong."""
    counts = [0, 0, 0, 0]
    for _, task in tasks:
        made = task["annotations"]
        strangers = sum(one["completed_by"] is not None and one["completed_by"] not in people for one in made)
        more = (1, len(made), len(task.get("predictions", ())), strangers)
        counts = [a + b for a, b in zip(counts, more, strict=True)]
        if counts[0] % CHUNK == 0:
            report(0.0, f"checking row {counts[0]:,}")
    return Imported(*counts)


def _known(task: Json, people: set[int]) -> Json:
    """The task with only such annotators as Label Studio would not refuse the whole import for."""
    annotations = [
        one if one["completed_by"] in people else {name: one[name] for name in one if name != "completed_by"}
        for one in task["annotations"]
    ]
    return {**task, "annotations": annotations}


def _chunks(tasks: Iterator[Json]) -> Iterator[list[Json]]:
    """Tasks in chunks that Label Studio takes in one call."""
    for some in iter(lambda: list(islice(tasks, CHUNK)), []):
        chunk: list[Json] = []
        size = 0
        for task in some:
            length = len(json.dumps(task))
            if chunk and size + length > CHUNK_BYTES:
                yield chunk
                chunk, size = [], 0
            chunk.append(task)
            size += length
        yield chunk


def _lost(
    studio: Studio, ls_id: int, known: tuple[int, list[int]], chunk: list[Json], error: BaseException
) -> list[int]:
    """Tasks of a call without an answer, which Label Studio may have carried out all the same."""
    if not isinstance(error, NoAnswer | KeyboardInterrupt):
        return []
    floor, sent = known
    ours = {_digest(task["data"]) for task in chunk}
    return [
        task["id"] for task in studio.arrived_above(ls_id, max([floor, *sent])) if _digest(task.get("data")) in ours
    ]


def _take_back(studio: Studio, ls_id: int, sent: list[int], lost: list[int]) -> None:
    if not sent and not lost:
        return
    try:
        studio.delete_tasks(ls_id, [*sent, *lost])
    except EdgewiseError as error:
        first, last = min([*sent, *lost]), max([*sent, *lost])
        log.error("half an import stays in the project, tasks %d to %d: %s", first, last, error.what)


def _digest(data: Any) -> bytes:
    return blake2b(json.dumps(data, sort_keys=True).encode(), digest_size=16).digest()
