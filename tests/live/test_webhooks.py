"""Webhooks under load, while a training runs: none is lost, none starts a training too many, none waits."""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

import httpx
import numpy as np
import pytest

from edgewise.services.studio import Studio
from edgewise.verbs.system import epoch_of
from examples import wikigold
from examples.label_studio import RunningStudio
from tests.live.conftest import RunningEdgewise, quiet
from tests.live.helpers import connect, edgewise, memory, new_project, secret_of, silence
from tests.studio_fixture import StudioProject

WEBHOOKS, WITHIN_S, SENDERS = 200, 2.0, 4
NONE: Mapping[str, str] = {}
FIRST, MORE, EVERY = 3, 2, 2


@pytest.fixture(scope="module")
def server(label_studio: RunningStudio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEdgewise]:
    """A server that trains briefly, and by itself from a few labels on."""
    variables = {"START_TRAINING_EACH_N_UPDATES": str(EVERY), "NUM_TRAIN_EPOCHS": "8"}
    with edgewise(label_studio, tmp_path_factory.mktemp("webhooks"), **variables) as running:
        yield running


@pytest.fixture(scope="module")
def project(label_studio: RunningStudio, studio: Studio, server: RunningEdgewise) -> Iterator[StudioProject]:
    """A connected project whose own webhook is off: the tests send what Label Studio would. No task is ever open."""
    with new_project(label_studio, studio, wikigold.LABEL_CONFIG) as made:
        connect(server, made)
        silence(made, server)
        yield made


def test_hundreds_of_webhooks_lead_to_two_trainings_at_most_and_are_answered_at_once_meanwhile(
    server: RunningEdgewise, project: StudioProject, measured: Callable[[str], None]
) -> None:
    rows = wikigold.rows("train")
    labelled(project, rows[:FIRST])
    at_rest = burst(server, project)
    server.wait(project.id, training, within_s=60)
    labelled(project, rows[FIRST : FIRST + MORE])
    told = json.dumps(setup_body(project))
    with ThreadPoolExecutor(2) as others:
        health = others.submit(probes, lambda: ask(server, "GET", "/health"))
        setup = others.submit(probes, lambda: ask(server, "POST", "/setup", told))
        busy = burst(server, project)
    assert training(server.status(project.id)), "the training was over too soon to show anything"
    named = ("before", at_rest), ("while training", busy), ("health", health.result()), ("setup", setup.result())
    measured(report(*named))
    done = server.wait(project.id, lambda status: quiet(status) and not training(status))
    assert 1 <= len([job for job in every_job(server, project) if job.kind == "train"]) <= 2
    assert done["labels_since_last_training"] == 0
    assert done["versions"][0]["examples"] == FIRST + MORE
    assert quantile(busy, 0.99) < 0.1
    assert max(health.result()) < 1
    assert max(setup.result()) < 3


def test_a_webhook_without_the_secret_is_refused_and_changes_nothing(
    server: RunningEdgewise, project: StudioProject
) -> None:
    before = len(every_job(server, project))
    for headers in ({}, {name: "wrong" for name in secret_of(project, server)}):
        answer = httpx.post(f"{server.url}/webhook", json=event(project), headers=headers, timeout=10)
        assert answer.status_code == 401, answer.text
        assert answer.json()["error"]["mend"]
    assert len(every_job(server, project)) == before


def test_start_training_in_label_studio_starts_one(server: RunningEdgewise, project: StudioProject) -> None:
    server.wait(project.id, quiet)
    before = {job.id for job in every_job(server, project)}
    (backend,) = project.studio.backends(project.id)
    project.call("POST", f"api/ml/{backend['id']}/train")
    server.wait(
        project.id,
        lambda status: any(job["kind"] == "train" and job["id"] not in before for job in status["jobs"]),
        within_s=10,
    )


def labelled(project: StudioProject, rows: Sequence[dict[str, Any]]) -> None:
    """Tasks that come with the labels that somebody else gave them."""
    project.studio.import_tasks(project.id, [wikigold.labelled_task(row) for row in rows])


def burst(server: RunningEdgewise, project: StudioProject) -> list[float]:
    """200 webhooks in 2 s from several threads, each over a new connection as Label Studio's; seconds each took."""
    headers, body = dict(secret_of(project, server)), json.dumps(event(project))
    began = time.monotonic()

    def send(number: int) -> float:
        time.sleep(max(0.0, began + number * WITHIN_S / WEBHOOKS - time.monotonic()))
        return ask(server, "POST", "/webhook", body, headers)

    with ThreadPoolExecutor(SENDERS) as senders:
        took = list(senders.map(send, range(WEBHOOKS)))
    assert time.monotonic() - began < 3 * WITHIN_S, "the machine is too busy to send that many"
    return took


def event(project: StudioProject) -> dict[str, Any]:
    """As Label Studio tells of a new annotation."""
    annotation = {"id": 1, "result": [], "was_cancelled": False}
    return {"action": "ANNOTATION_CREATED", "project": {"id": project.id}, "annotation": annotation, "task": {"id": 1}}


def setup_body(project: StudioProject) -> dict[str, Any]:
    """As Label Studio calls /setup."""
    raw = project.call("GET", f"api/projects/{project.id}/")
    return {
        "project": f"{project.id}.{epoch_of(raw['created_at'])}",
        "schema": raw["label_config"],
        "hostname": "",
        "access_token": "",
        "extra_params": None,
    }


def ask(server: RunningEdgewise, method: str, path: str, body: str = "", headers: Mapping[str, str] = NONE) -> float:
    """A call over a connection of its own, as Label Studio's; seconds it took. httpx takes longer to begin than we."""
    start = time.perf_counter()
    with closing(HTTPConnection(server.url.removeprefix("http://"), timeout=10)) as connection:
        connection.request(method, path, body, dict(headers))
        answer = connection.getresponse()
        assert answer.status in (200, 201), answer.read()
    return time.perf_counter() - start


def probes(call: Callable[[], float]) -> list[float]:
    """A call ten times, during a burst."""
    took = []
    for _ in range(10):
        took.append(call())
        time.sleep(WITHIN_S / 20)
    return took


def training(status: Any) -> bool:
    """Whether a training runs now."""
    return any(job["kind"] == "train" and job["state"] == "running" for job in status["jobs"])


def every_job(server: RunningEdgewise, project: StudioProject) -> list[Any]:
    """All jobs of the project."""
    with memory(server, project.id) as (store, known):
        return store.jobs(1000, known.key)


def quantile(took: Sequence[float], share: float) -> float:
    """A quantile of durations."""
    return float(np.quantile(took, share))


def report(*named: tuple[str, Sequence[float]]) -> str:
    """What was measured, beside the machine's load."""
    lines = [
        f"{name}: p50 {quantile(took, 0.5) * 1e3:.0f} ms, p99 {quantile(took, 0.99) * 1e3:.0f} ms, "
        f"most {max(took) * 1e3:.0f} ms, {len(took)} calls"
        for name, took in named
    ]
    load = " ".join(f"{number:.1f}" for number in os.getloadavg())
    return "\n".join([*lines, f"load {load}"])
