"""A language model labels first, people correct it, the trained model takes over: on a real Label Studio."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from edgewise.services.studio import Studio
from examples import wikigold
from tests.live.conftest import Annotator, RunningEdgewise, Start, quiet, wikigold_project
from tests.live.gold_model import gold_model

TASKS = 60
PRICE = {"LLM_PRICE_INPUT_USD": "1", "LLM_PRICE_OUTPUT_USD": "2"}


@pytest.mark.timeout(600)
def test_a_language_model_labels_until_a_trained_one_takes_over(
    start_edgewise: Start, studio: Studio, annotators: list[Annotator], tmp_path: Path
) -> None:
    rows = wikigold.rows("train")[:TASKS]
    project, tasks = wikigold_project(studio, rows)
    with gold_model(rows, lost=0.2) as model:
        edgewise = start_edgewise(
            LLM_PROVIDER="openai",
            LLM_MODEL="gold",
            LLM_BASE_URL=model.url,
            LLM_API_KEY="none",
            PRIVATE="true",
            START_TRAINING_EACH_N_UPDATES="1000",
            **PRICE,
        )
        studio.add_backend(project, edgewise.url, "Edgewise")
        edgewise.wait(project, lambda status: status["release"] and quiet(status))
        edgewise.post(f"/projects/{project}/prelabel")
        status = edgewise.wait(project, lambda s: s["release"]["version"] == f"llm-1/{TASKS}" and quiet(s))
        shown = {task["id"]: task["predictions"] for task in studio_tasks(annotators[0], project, tasks)}
        assert status["language_model"]["open_tasks_left"] == 0
        assert status["language_model"]["spend"]["calls"] >= TASKS
        assert float(status["language_model"]["spend"]["usd"]) == pytest.approx(
            (100 * 1 + 20 * 2) / 1e6 * status["language_model"]["spend"]["calls"]
        )
        audit = audit_tasks(edgewise, project)
        assert audit
        assert all(not any(one["result"] for one in shown[task]) for task in audit), "held out: no suggestion"
        assert_close_to_gold(rows, tasks, shown, audit, status["release"]["name"])
        asked = len(model.asked)
        edgewise.post(f"/projects/{project}/prelabel")
        edgewise.wait(project, quiet)
        assert len(model.asked) <= asked + 1, "nothing is paid for twice; a new process may look what is honoured"
        for _ in range(20):
            annotators[0].submit(annotators[0].next(project))
        edgewise.post(f"/projects/{project}/train")
        trained = edgewise.wait(
            project, lambda s: s["model_version"] and s["release"]["version"] == s["model_version"]["id"]
        )
    assert trained["model_version"]["state"] == "accepted"


def studio_tasks(annotator: Annotator, project: int, tasks: list[int]) -> list[dict[str, Any]]:
    """The tasks as somebody who opens them gets them, predictions of every version included."""
    return [annotator.http.get(f"/api/tasks/{task}/").json() for task in tasks]


def audit_tasks(edgewise: RunningEdgewise, project: int) -> set[int]:
    """The tasks that are held out."""
    store = edgewise.store()
    key = next(one.key for one in store.projects() if one.ls_id == project)
    found = set(store.open_task_ids(key, audit=True))
    store.close()
    return found


def assert_close_to_gold(
    rows: Sequence[dict[str, Any]], tasks: Sequence[int], shown: dict[int, Any], audit: set[int], name: str
) -> None:
    """Every span of the release is a gold one, and about as many as stated are missing; also under llm-1."""
    right = total = 0
    for row, task in zip(rows, tasks, strict=True):
        if task in audit:
            continue
        gold = {(span["start"], span["end"], span["label"]) for span in row["spans"]}
        for version in (name, "llm-1"):
            (prediction,) = [one for one in shown[task] if one["model_version"] == version]
            found = {(r["value"]["start"], r["value"]["end"], r["value"]["labels"][0]) for r in prediction["result"]}
            assert found <= gold, (row["text"], found - gold)
        right, total = right + len(found), total + len(gold)
    assert 0.65 <= right / total <= 0.95
