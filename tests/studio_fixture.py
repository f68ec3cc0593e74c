"""A real Label Studio for the tests: one server per test run, one project per test.

Its first start takes about 50 s, nearly all of it migrations; so a migrated folder is kept in .run/ and copied, and
every later run starts in a few seconds. tests/conftest.py imports the fixtures.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgewise.services.studio import Studio
from examples.label_studio import EXECUTABLE, RunningStudio, free_port, start

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIG = """<View>
<Labels name="label" toName="text"><Label value="PER"/><Label value="ORG"/><Label value="LOC"/></Labels>
<Text name="text" value="$text"/></View>"""


@dataclass(frozen=True)
class StudioProject:
    """A project of its own for one test, and what annotators do in it. `http` is Label Studio's API with a token."""

    id: int
    studio: Studio
    http: httpx.Client

    def add_tasks(self, texts: Sequence[str]) -> list[int]:
        """Import texts as tasks; their ids in order."""
        return self.studio.import_tasks(self.id, [{"data": {"text": text}} for text in texts])

    def annotate(self, task_id: int, result: Sequence[dict[str, Any]] = (), **fields: object) -> int:
        """Submit an annotation (or a skip: `was_cancelled=True`); its id."""
        body = {"result": list(result), "lead_time": 3.2, **fields}
        return int(self.call("POST", f"api/tasks/{task_id}/annotations/", body)["id"])

    def next_task(self) -> int:
        """The task that an annotator gets now from Label All Tasks."""
        return int(self.call("GET", f"api/projects/{self.id}/next/")["id"])

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Any other call; None for an empty answer. It must succeed."""
        answer = self.http.request(method, path, json=body)
        assert answer.is_success, (method, path, answer.status_code, answer.text[:500])
        return answer.json() if answer.content else None


def region(start: int, end: int, text: str, label: str, **fields: object) -> dict[str, Any]:
    """A span as Label Studio writes it into a result."""
    value = {"start": start, "end": end, "text": text[start:end], "labels": [label]}
    return {"from_name": "label", "to_name": "text", "type": "labels", "value": value, **fields}


@pytest.fixture(scope="session")
def label_studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStudio]:
    """A running Label Studio with an empty database, ended with the test run."""
    folder = tmp_path_factory.mktemp("label-studio") / "data"
    shutil.copytree(_migrated(), folder)
    server = start(folder, free_port())
    yield server
    server.stop()


@pytest.fixture(scope="session")
def studio(label_studio: RunningStudio) -> Iterator[Studio]:
    """Our client of it, with the legacy token."""
    with Studio(label_studio.url, label_studio.token, settle_s=0.2) as client:
        yield client


@pytest.fixture(scope="session")
def personal_token(label_studio: RunningStudio) -> str:
    """A personal access token of the server's owner: there can be one at a time, and it is shown once."""
    headers = {"Authorization": f"Token {label_studio.token}"}
    return str(httpx.post(f"{label_studio.url}/api/token/", json={}, headers=headers).json()["token"])


@pytest.fixture
def studio_project(label_studio: RunningStudio, studio: Studio) -> Iterator[StudioProject]:
    """An empty project of this test, with uncertainty sampling and the labels PER, ORG and LOC on `text`."""
    project = studio.create_project("Edgewise test", CONFIG, sampling="Uncertainty sampling")
    headers = {"Authorization": f"Token {label_studio.token}"}
    with httpx.Client(base_url=label_studio.url, headers=headers, timeout=120) as http:
        yield StudioProject(project["id"], studio, http)


def _migrated() -> Path:
    """A folder that Label Studio of this version has migrated; made when it is missing."""
    installed = next(EXECUTABLE.parents[1].glob("lib/python*/site-packages/label_studio-*.dist-info"))
    template = REPOSITORY / ".run" / f"test-{installed.stem}"
    if not template.is_dir():
        template.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=template.parent) as scratch:
            start(Path(scratch) / "data", free_port()).stop()
            if not template.is_dir():  # another test run may have been faster
                os.replace(Path(scratch) / "data", template)
    return template
