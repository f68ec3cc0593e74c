"""What people make of pre-labels, on a real Label Studio: known when the release that showed them is long deleted."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from edgewise.services.studio import Studio
from examples.label_studio import RunningStudio
from tests.live.conftest import RunningEdgewise, quiet
from tests.live.gold_model import GoldModel, gold_model
from tests.live.helpers import TEXTS, connect, edgewise, new_project, run, silence
from tests.studio_fixture import StudioProject, region

ASKING = {"LLM_PROVIDER": "openai", "LLM_MODEL": "gold", "LLM_API_KEY": "none", "PRIVATE": "true"}
OUTCOMES = ("accepted", "moved", "changed", "deleted", "missed")
SOURCE = "language model run 1"
# Each sentence is "<person> lives in Paris and works for Acme."; the model says person and place, and overlooks Acme.
TABLE = {
    ("PER", SOURCE): (5, 0, 0, 1, 0),
    ("ORG", SOURCE): (0, 0, 0, 0, 1),
    ("LOC", SOURCE): (4, 1, 1, 0, 0),
}


def person(text: str) -> dict[str, Any]:
    return region(0, text.index(" "), text, "PER")


def at(text: str, words: str, label: str) -> dict[str, Any]:
    return region(text.index(words), text.index(words) + len(words), text, label)


def shown(text: str) -> list[dict[str, Any]]:
    """What the model says."""
    return [
        {"start": one["value"]["start"], "end": one["value"]["end"], "label": one["value"]["labels"][0]}
        for one in (person(text), at(text, "Paris", "LOC"))
    ]


def done_by_people(text: str) -> list[list[dict[str, Any]]]:
    """Accepted, moved, changed, deleted, missed, and accepted again: what people submit, from what was shown."""
    who, paris = person(text), at(text, "Paris", "LOC")
    return [
        [who, paris],
        [who, at(text, "in Paris", "LOC")],
        [who, at(text, "Paris", "ORG")],
        [paris],
        [who, paris, at(text, "Acme", "ORG")],
        [who, paris],
    ]


def table(server: RunningEdgewise, project: StudioProject) -> dict[tuple[str, str], tuple[int, ...]]:
    rows = server.get(f"/projects/{project.id}/numbers")["feedback"]
    assert all(row["head"] == "label" for row in rows)
    return {(row["label"], row["source"]): tuple(row[outcome] for outcome in OUTCOMES) for row in rows}


def prelabel(server: RunningEdgewise, project: StudioProject, model: GoldModel, told: str) -> str:
    """Another run of the language model, of which another release becomes active: its name."""
    before = server.status(project.id)["release"]["name"]
    answer = httpx.put(f"{server.url}/projects/{project.id}/instructions", json={"text": told}, timeout=60)
    assert answer.is_success, answer.text
    run(server, project, "prelabel")
    status = server.wait(project.id, lambda s: s["release"]["name"] != before and quiet(s))
    assert model.documents
    return str(status["release"]["name"])


def parents(project: StudioProject, tasks: list[int], name: str) -> dict[int, int]:
    """Task -> its prediction of this version."""
    found = project.studio.predictions(project.id, tasks)
    return {one["task"]: one["id"] for one in found if one["model_version"] == name}


@pytest.mark.timeout(900)
def test_the_table_is_exact_and_outlives_the_release(
    label_studio: RunningStudio, studio: Studio, tmp_path: Path
) -> None:
    rows = [{"text": text, "spans": shown(text)} for text in TEXTS]
    with (
        gold_model(rows) as model,
        edgewise(label_studio, tmp_path, **ASKING, LLM_BASE_URL=model.url, LLM_DEMONSTRATIONS="0") as server,
        new_project(label_studio, studio) as project,
    ):
        tasks = project.add_tasks(TEXTS)
        connect(server, project)
        server.wait(project.id, lambda status: status["release"] and quiet(status))
        first = prelabel(server, project, model, "People and places.")
        silence(project, server)  # nobody tells us of what follows
        began = parents(project, tasks, first)
        began[tasks[5]] = parents(project, tasks, "llm-1")[tasks[5]]
        made = [
            project.annotate(task, done_by_people(text)[number], parent_prediction=began[task])
            for number, (task, text) in enumerate(zip(tasks[:6], TEXTS, strict=False))
        ]
        project.annotate(tasks[6], [person(TEXTS[6])], parent_prediction=began[tasks[6]], was_cancelled=True)
        project.annotate(tasks[7], [person(TEXTS[7])])
        assert table(server, project) == {}

        run(server, project, "sync")
        assert table(server, project) == TABLE
        studio.delete_model_version(project.id, first)
        studio.delete_model_version(project.id, "llm-1")
        assert project.call("GET", f"api/annotations/{made[0]}/")["parent_prediction"] is None

        project.call("PATCH", f"api/annotations/{made[3]}/", {"result": done_by_people(TEXTS[3])[0]})
        run(server, project, "sync")  # reads all of them again, without a parent
        assert table(server, project)["PER", SOURCE] == (6, 0, 0, 0, 0)
        studio.delete_tasks(project.id, [tasks[4]])
        run(server, project, "sync")
        assert table(server, project) == {("PER", SOURCE): (5, 0, 0, 0, 0), ("LOC", SOURCE): (3, 1, 1, 0, 0)}
