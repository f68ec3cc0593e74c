"""A worse version does not get in, and a person can go back: on a real Label Studio, with messages to a bank."""

import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from edgewise.services.studio import Studio
from examples import banking77
from examples.label_studio import RunningStudio
from tests.live.conftest import RunningEdgewise, quiet
from tests.live.helpers import connect, edgewise, memory, new_project, run
from tests.studio_fixture import StudioProject

LABELLED, LATER, OPEN = 160, 60, 60
HELD_OUT_LEAST = 30  # from here on the gate compares on held-out tasks
SECONDS = 60.0  # to start a process, load the model, score and push, while other tests take the cores


@pytest.fixture
def server(label_studio: RunningStudio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEdgewise]:
    """A server that trains when told, and holds out every third task."""
    with edgewise(label_studio, tmp_path_factory.mktemp("gate"), AUDIT_FRACTION="0.35") as running:
        yield running


@pytest.fixture
def project(label_studio: RunningStudio, studio: Studio) -> Iterator[StudioProject]:
    """A project with labelled and open tasks."""
    with new_project(label_studio, studio, banking77.LABEL_CONFIG) as made:
        rows = sample()
        add(made, rows[:LABELLED])
        made.add_tasks([row["text"] for row in rows[LABELLED + LATER :]])
        yield made


def sample() -> list[dict[str, Any]]:
    """Rows of the dozen intents, in a random order that stays the same."""
    return random.Random(5).sample(banking77.dozen("train"), LABELLED + LATER + OPEN)


def add(project: StudioProject, rows: list[dict[str, Any]]) -> None:
    """Labelled tasks, as an import brings them."""
    labelled = [banking77.task(row) | {"annotations": [{"result": banking77.result(row)}]} for row in rows]
    project.studio.import_tasks(project.id, labelled)


def shuffle_labels(project: StudioProject, server: RunningEdgewise) -> int:
    """Give the labels of the tasks that are learned from to each other; returns how many annotations changed."""
    with memory(server, project.id) as (store, known):
        taught = [(task, given[0]) for task, given in store.labelled(known.key) if not task.audit]
    results = [list(annotation.result) for _, annotation in taught]
    random.Random(7).shuffle(results)
    for (_, annotation), result in zip(taught, results, strict=True):
        project.call("PATCH", f"api/annotations/{annotation.id}/", {"result": result})
    return len(taught)


def first_in_order(project: StudioProject, server: RunningEdgewise) -> int:
    """The first open task of the order that we keep."""
    with memory(server, project.id) as (store, known):
        assert known.active_release is not None
        return store.order(known.key, known.active_release, limit=1)[0]


def shown_release(project: StudioProject) -> str:
    """The release that Label Studio shows."""
    return str(project.call("GET", f"api/projects/{project.id}/")["model_version"])


def samples(project: StudioProject, server: RunningEdgewise) -> list[int]:
    """The hardest open tasks, as scripts ask for them."""
    ids: list[int] = server.post("/select_samples", {"project_id": project.id, "limit": 10})["task_ids"]
    return ids


@pytest.mark.timeout(900)
def test_a_rollback_is_seen_in_the_next_task_and_a_version_of_shuffled_labels_is_refused(
    server: RunningEdgewise, project: StudioProject, measured: Callable[[str], None]
) -> None:
    connect(server, project)
    server.wait(project.id, quiet)
    run(server, project, "train")
    good = server.wait(project.id, lambda status: status["model_version"] and status["release"] and quiet(status))
    assert good["tasks"]["audit_labelled"] >= HELD_OUT_LEAST
    before, hardest = shown_release(project), samples(project, server)

    add(project, sample()[LABELLED : LABELLED + LATER])
    run(server, project, "train")
    better = server.wait(project.id, lambda status: status["release"]["name"] != before and quiet(status))
    assert better["model_version"]["id"] != good["model_version"]["id"]

    began = time.monotonic()
    server.post(f"/projects/{project.id}/rollback", {"version": good["model_version"]["id"]})
    back = server.wait(project.id, lambda status: status["release"]["version"] == good["model_version"]["id"])
    took_s = time.monotonic() - began
    assert shown_release(project) == back["release"]["name"] not in (before, better["release"]["name"])
    assert project.next_task() == first_in_order(project, server)
    assert samples(project, server) == hardest, "the earlier version's order is back"
    assert took_s < SECONDS

    server.wait(project.id, quiet)
    shuffled = shuffle_labels(project, server)
    run(server, project, "train")
    after = server.wait(project.id, quiet)
    refused = after["versions"][0]
    assert (refused["state"], refused["provisional"]) == ("refused", False)
    assert refused["parent"] == after["model_version"]["id"] == good["model_version"]["id"]
    assert (shown_release(project), samples(project, server)) == (back["release"]["name"], hardest), "nobody notices"
    measured(
        f"rollback: the next task follows the earlier version after {took_s:.1f} s\n"
        f"gate: a version of {shuffled} shuffled labels was refused ({refused['reason']})"
    )
