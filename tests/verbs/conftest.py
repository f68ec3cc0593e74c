"""The verbs in this process: a System on a database of its own, beside the real Label Studio, with tiny real models."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

import llm_prelabel
from edgewise.labels.schema import Schema, parse_schema
from edgewise.labels.spans import Document
from edgewise.services.jobs import Pace, Progress
from edgewise.services.registry import head_folder
from edgewise.services.store import Project, Version
from edgewise.services.studio import Studio
from edgewise.settings import Settings
from edgewise.verbs.serving import serve
from edgewise.verbs.sync import sync
from edgewise.verbs.system import System, epoch_of, folder_name, schema_of
from examples.label_studio import RunningStudio
from model import uncertainty_functions
from tests.learning.conftest import documents, tiny_base, tiny_tagger
from tests.studio_fixture import StudioProject, region

__all__ = ["documents", "tiny_base", "tiny_tagger"]

CONFIG = """<View><Labels name="label" toName="text"><Label value="PER"/><Label value="LOC"/></Labels>
<Text name="text" value="$text"/></View>"""
SCORES = uncertainty_functions()
NEVER_AUDIT = 1e-12

Make = Callable[..., System]


class Killed(BaseException):
    """Stands for kill -9: nothing of ours catches it."""


def settings(data: Path, **named: Any) -> Settings:
    """Settings for tiny models; nothing is held out unless asked for."""
    plain: dict[str, Any] = {"data_dir": data, "max_sequence_length": 32, "audit_fraction": NEVER_AUDIT}
    return Settings(**(plain | named))


def access(label_studio: RunningStudio) -> dict[str, Any]:
    """Settings that say where Label Studio is, and who we are."""
    return {"label_studio_host": label_studio.url, "label_studio_api_key": label_studio.token}


@pytest.fixture
def make_system(label_studio: RunningStudio, tmp_path: Path) -> Iterator[Make]:
    """Systems on the test run's Label Studio, closed afterwards; keyword arguments are settings."""
    made: list[System] = []

    def make(data: Path = tmp_path / "data", **named: Any) -> System:
        made.append(System(settings(data, **access(label_studio), **named), SCORES, llm_prelabel.prelabel))
        return made[-1]

    yield make
    for system in made:
        system.store.close()
        system.studio.close()


@pytest.fixture
def offline(tmp_path: Path) -> Iterator[Make]:
    """Systems that nobody needs a Label Studio for."""
    made: list[System] = []

    def make(data: Path = tmp_path / "data", **named: Any) -> System:
        made.append(System(settings(data, **named), SCORES, llm_prelabel.prelabel))
        return made[-1]

    yield make
    for system in made:
        system.store.close()


def new_studio_project(
    label_studio: RunningStudio, studio: Studio, tasks: Sequence[dict[str, Any]], config: str = CONFIG
) -> StudioProject:
    """A project of Label Studio with these tasks; close its `http`."""
    made = studio.create_project("Edgewise verbs", config, sampling="Uncertainty sampling")
    studio.import_tasks(made["id"], tasks)
    headers = {"Authorization": f"Token {label_studio.token}"}
    return StudioProject(made["id"], studio, httpx.Client(base_url=label_studio.url, headers=headers, timeout=120))


def recorded(system: System, project: StudioProject) -> Project:
    """The project as we keep it, live."""
    raw = system.studio.project(project.id)
    found = system.store.record_project(
        system.address, project.id, epoch_of(raw["created_at"]), title=raw["title"], label_config=raw["label_config"]
    )
    return system.store.update_project(found.key, state="live")


@contextmanager
def started(system: System, key: int, kind: str) -> Iterator[Progress]:
    """A started job of this kind to report to."""
    job = system.store.start_job(system.store.add_job(kind, key, lane="light").id, 60)
    assert job is not None
    try:
        yield Progress(system.store, job, Pace())
    finally:
        system.store.end_job(job, "done")


def do(system: System, key: int, verb: Callable[[System, Project, Progress], None]) -> Project:
    """Run a verb as a job does, on the project as it is now; the project afterwards."""
    with started(system, key, verb.__name__) as progress:
        verb(system, system.by_key(key), progress)
    return system.by_key(key)


def synced(system: System, project: StudioProject) -> Project:
    """The project, recorded and read for the first time."""
    return do(system, recorded(system, project).key, sync)


def waiting(system: System, key: int) -> set[str]:
    """Kinds of the project's jobs that wait."""
    return {job.kind for job in system.queue.jobs(50, project_key=key) if job.state == "queued"}


def result_of(document: Document) -> list[dict[str, Any]]:
    """A document's spans as an annotation's result."""
    return [region(span.start, span.end, document.text, span.label) for span in document.spans]


def labelled_task(document: Document) -> dict[str, Any]:
    """A task with the annotation that it should have."""
    annotation = {"result": result_of(document), "ground_truth": False, "lead_time": 3.0}
    return {"data": {"text": document.text}, "annotations": [annotation]}


def publish(system: System, project: Project, weights: Path, name: str) -> Version:
    """Let a ready-made model serve the project as a version of its own."""
    schema = schema_of(project)
    assert schema is not None
    heads = {head.from_name: head.digest for head in schema.heads}
    with system.registry.staging(folder_name(project)) as staged:
        for head in schema.heads:
            shutil.copytree(weights, head_folder(staged, head.from_name))
        card = system.registry.publish(
            folder_name(project), staged, schema_digest=schema.digest, snapshot=name, settings={"heads": heads}
        )
    version = system.store.add_version(Version(card.id, project.key, schema.digest, name, settings={"heads": heads}))
    serve(system, project, version)
    return version


def schema(config: str = CONFIG) -> Schema:
    """A labelling config's heads."""
    return parse_schema(config)


def dies(patch: pytest.MonkeyPatch, owner: object, name: str, *, after: int = 0, done: bool = False) -> None:
    """Let the process die in this method: at the call after so many, before it has an effect or once it is `done`."""
    real, calls = getattr(owner, name), iter(range(10**6))

    def call(*args: Any, **named: Any) -> Any:
        if next(calls) < after:
            return real(*args, **named)
        if done:
            real(*args, **named)
        raise Killed

    patch.setattr(owner, name, call)
