"""What is wrong is answered with what and mend and costs nothing else; a Label Studio that is away costs only time."""

import json
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgewise.labels.schema import Head
from edgewise.labels.spans import Document, Span
from edgewise.learning.training import Recipe, train
from edgewise.services.studio import Studio
from examples.label_studio import RunningStudio
from tests.http_stand_in import Answer, Forward, proxy
from tests.live.conftest import RunningEdgewise
from tests.live.helpers import TEXTS, connect, edgewise, new_project, run
from tests.live.test_plugin import predict_body
from tests.studio_fixture import StudioProject, region

NOBODY = 999_999
NOTHING_TO_LEARN = """<View><Image name="image" value="$image"/>
<Choices name="kind" toName="image"><Choice value="cat"/><Choice value="dog"/></Choices></View>"""

HEAD = Head("label", "text", "text", ("PER", "ORG", "LOC"))
ERROR: Answer = (502, {"Content-Type": "text/html"}, b"<h1>Bad gateway</h1>")
GARBAGE: Answer = (200, {"Content-Type": "text/html"}, b"<html>Please log in</html>")


@pytest.fixture(scope="module")
def server(label_studio: RunningStudio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEdgewise]:
    """A server whose baseline knows our labels, more or less."""
    folder = tmp_path_factory.mktemp("bad-input")
    documents = [Document(text, (Span(0, text.index(" "), "PER"),)) for text in TEXTS]
    recipe = Recipe(learning_rate=3e-4, epochs=15)
    train(documents, HEAD, "packaged:minilm", folder / "model", recipe, report=lambda done: None)
    with edgewise(label_studio, folder / "data", BASELINE_MODEL_NAME=str(folder / "model")) as running:
        yield running


@pytest.fixture
def project(label_studio: RunningStudio, studio: Studio) -> Iterator[StudioProject]:
    with new_project(label_studio, studio) as made:
        yield made


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/predict", '{"tasks": [', 400),
        ("POST", "/predict", "{}", 400),
        ("POST", "/predict", '{"tasks": 1, "project": "1.1", "label_config": ""}', 400),
        ("POST", "/predict", json.dumps({"tasks": [{}], "project": f"{NOBODY}.1", "label_config": ""}), 404),
        ("POST", "/setup", "[]", 400),
        ("POST", "/setup", '{"project": "one", "schema": "<View/>"}', 400),
        ("POST", "/webhook", "ANNOTATION_CREATED", 400),
        ("POST", "/webhook", '{"action": "ANNOTATION_CREATED"}', 400),
        ("POST", "/webhook", json.dumps({"action": "START_TRAINING", "project": {"id": NOBODY}}), 404),
        ("POST", "/select_samples", "{}", 400),
        ("POST", "/select_samples", '{"project_id": 1, "limit": -1}', 400),
        ("POST", "/select_samples", json.dumps({"project_id": NOBODY}), 404),
        ("POST", "/projects/1/dance", "", 404),
        ("POST", f"/projects/{NOBODY}/train", "", 404),
        ("GET", f"/projects/{NOBODY}/status", "", 404),
        ("GET", "/jobs?limit=-1", "", 400),
        ("GET", "/jobs/none", "", 404),
        ("DELETE", "/predict", "", 405),
    ],
)
def test_a_bad_call_is_answered_with_what_and_mend(
    server: RunningEdgewise, method: str, path: str, body: str, status: int
) -> None:
    answer = httpx.request(method, f"{server.url}{path}", content=body, timeout=30)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["what"]
    assert error["mend"]
    assert "Traceback" not in answer.text


def test_a_project_without_anything_to_learn_is_refused_with_the_reason(
    server: RunningEdgewise, label_studio: RunningStudio, studio: Studio
) -> None:
    with new_project(label_studio, studio, NOTHING_TO_LEARN) as made:
        body = {"project": made.id, "url": server.url, "title": "Edgewise"}
        answer = made.http.post("/api/ml/", json=body)
        assert answer.status_code == 400, answer.text
        assert "label" in answer.text.lower()
        assert studio.backends(made.id) == []
        called = httpx.post(
            f"{server.url}/setup", json={"project": f"{made.id}.1", "schema": NOTHING_TO_LEARN}, timeout=10
        )
        assert called.status_code == 422
        assert called.json()["error"]["mend"]


def test_a_config_that_loses_all_its_labels_costs_nothing_and_goes_on_when_it_has_some_again(
    server: RunningEdgewise, project: StudioProject
) -> None:
    project.add_tasks(TEXTS[:2])
    connect(server, project)
    config = project.studio.project(project.id)["label_config"]
    project.studio.update_project(project.id, label_config=NOTHING_TO_LEARN.replace("$image", "$text"))
    status = server.wait(project.id, lambda status: status["trouble"], within_s=30)
    assert status["trouble"]["mend"] == status["next_step"]
    assert status["tasks"]["tasks"] == 2
    project.studio.update_project(project.id, label_config=config)
    server.wait(project.id, lambda status: status["trouble"] is None, within_s=30)


def test_in_a_batch_only_the_bad_task_goes_without_and_status_names_it(
    server: RunningEdgewise, project: StudioProject
) -> None:
    data = [{"text": TEXTS[0]}, {"text": "https://example.com/a.txt"}, {"text": TEXTS[1]}, {"text": 7}, {"text": " "}]
    ids = project.studio.import_tasks(project.id, [{"data": item} for item in data])
    connect(server, project)
    asked = predict_body(project)
    asked["tasks"] += [{"id": NOBODY, "data": {}, "project": project.id}, {"data": {"text": TEXTS[2]}}]
    results = server.post("/predict", asked)["results"]
    assert len(results) == len(asked["tasks"])
    empty = [not one["result"] for one in results]
    assert empty == [False, True, False, True, True, True, False], results
    named = server.status(project.id)["unreadable_tasks"]
    assert set(named) == {str(ids[1]), str(ids[3])}
    assert "example.com" not in json.dumps(named)
    single = server.post("/predict", asked | {"tasks": asked["tasks"][1:2]})["results"]
    assert [one["result"] for one in single] == [[]]


class Weather:
    """What lies between us and Label Studio: nothing, or a proxy that answers in its place."""

    def __init__(self) -> None:
        self.stormy = False
        self._faults: Iterator[Answer | None] = cycle([ERROR, GARBAGE, None])

    def meddle(self, method: str, path: str, forward: Forward) -> Answer | None:
        """For tests.http_stand_in.proxy: Label Studio's answer, or in a storm an error, garbage and nothing in turn."""
        return next(self._faults) if self.stormy else forward()


def test_a_label_studio_that_is_away_costs_only_time(
    label_studio: RunningStudio, project: StudioProject, tmp_path: Path
) -> None:
    weather = Weather()
    tasks = project.add_tasks(TEXTS[:3])
    with (
        proxy(label_studio, weather.meddle) as address,
        edgewise(label_studio, tmp_path / "data", LABEL_STUDIO_HOST=address) as server,
    ):
        connect(server, project)
        weather.stormy = True
        project.annotate(tasks[0], [region(0, 4, TEXTS[0], "PER", id="r1")])
        server.post(f"/projects/{project.id}/sync")
        status = server.wait(project.id, lambda status: tried_again(status), within_s=60)
        assert status["trouble"]["mend"]
        waiting = waiting_sync(status)
        assert waiting is not None
        assert waiting["error"]["what"]
        assert (status["tasks"]["tasks"], status["tasks"]["labelled"]) == (3, 0)
        assert httpx.get(f"{server.url}/health", timeout=1).status_code == 200
        assert httpx.get(f"{server.url}/ready", timeout=60).status_code == 503
        weather.stormy = False
        status = server.wait(project.id, lambda status: status["tasks"]["labelled"] == 1, within_s=60)
        server.wait(project.id, lambda status: status["trouble"] is None, within_s=30)
        assert run(server, project, "doctor")["trouble"] is None
        assert httpx.get(f"{server.url}/ready", timeout=60).status_code == 200


def waiting_sync(status: Any) -> Any:
    """The sync that waits to be tried again."""
    return next((job for job in status["jobs"] if job["kind"] == "sync" and job["run_after"] and job["error"]), None)


def tried_again(status: Any) -> bool:
    """Whether a sync failed twice and waits for its third try."""
    job = waiting_sync(status)
    return bool(job and job["attempts"] >= 2 and job["state"] == "queued" and status["trouble"])
