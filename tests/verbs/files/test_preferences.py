"""export --format preferences: the corrections that a project's memory holds."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgewise.errors import Conflict
from edgewise.services.store import Project, Suggestion, Task
from edgewise.verbs.files.preferences import Preferences, export_preferences
from edgewise.verbs.system import System
from tests.studio_fixture import region
from tests.verbs.conftest import CONFIG, Make
from tests.verbs.numbers.test_feedback import ADA, GRACE, PARIS, TEXT, work


@pytest.fixture
def memory(offline: Make) -> tuple[System, Project]:
    """A project of ours with five tasks, of which the last is held out."""
    system = offline()
    project = system.store.record_project("http://studio", 1, "1", label_config=CONFIG)
    tasks = [Task(i, {"text": TEXT}, f"key {i}", audit=i > 4) for i in range(1, 6)]
    system.store.upsert_tasks(project.key, tasks, {})
    return system, project


def corrected(memory: tuple[System, Project], task: int, before: list[Any], *after: list[Any], **fields: Any) -> None:
    """People label a task; all of them began from the same."""
    system, project = memory
    known = system.store.tasks(project.key, [task])[task]
    made = [
        replace(work(task, *result, updated_at=f"2026-01-0{n}T00:00:00Z", completed_by=n, **fields), id=10 * task + n)
        for n, result in enumerate(after, 1)
    ]
    system.store.upsert_tasks(project.key, [known], {task: made})
    shown = [Suggestion(task, one.id, 9, {"label": "model v1"}, tuple(before)) for one in made]
    system.store.save_suggestions(project.key, shown)


def exported(memory: tuple[System, Project], path: Path) -> tuple[Preferences, list[dict[str, Any]]]:
    done = export_preferences(*memory, path, report=lambda share, doing: None)
    return done, [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def names(row: dict[str, Any], which: str) -> list[str]:
    return [entity["text"] for entity in json.loads(row[which][0]["content"])["entities"]]


def test_each_correction_is_a_line_and_nothing_else_is(memory: tuple[System, Project], tmp_path: Path) -> None:
    system, project = memory
    system.store.add_instructions(project.key, "First names too.")
    corrected(memory, 1, [ADA, PARIS], [ADA, GRACE, PARIS])
    corrected(memory, 2, [ADA, PARIS], [ADA, PARIS])
    corrected(memory, 3, [ADA], [GRACE], was_cancelled=True)
    corrected(memory, 4, [ADA], [GRACE], lead_time=None)
    corrected(memory, 5, [ADA], [GRACE])
    done, [row] = exported(memory, tmp_path / "pairs.jsonl")
    assert (done, row["task_id"], row["sources"]) == (Preferences(1, 1), 1, ["model v1"])
    assert set(row) == {"prompt", "chosen", "rejected", "task_id", "sources"}
    assert (names(row, "chosen"), names(row, "rejected")) == (["Ada", "Grace", "Paris"], ["Ada", "Paris"])
    assert [message["role"] for message in row["prompt"]] == ["system", "user"]
    assert "First names too." in row["prompt"][0]["content"]
    assert TEXT in row["prompt"][1]["content"]


def test_of_several_annotators_the_agreed_answer_is_chosen_once(memory: tuple[System, Project], tmp_path: Path) -> None:
    moved = region(0, 7, TEXT, "PER")
    corrected(memory, 1, [ADA], [ADA, PARIS], [ADA, PARIS], [moved])
    done, [row] = exported(memory, tmp_path / "pairs.jsonl")
    assert done == Preferences(1, 1)
    assert (names(row, "chosen"), names(row, "rejected")) == (["Ada", "Paris"], ["Ada"])


def test_an_export_never_replaces_a_file_unasked(memory: tuple[System, Project], tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    assert exported(memory, path) == (Preferences(0, 0), [])
    with pytest.raises(Conflict):
        exported(memory, path)
    assert export_preferences(*memory, path, overwrite=True, report=lambda share, doing: None) == Preferences(0, 0)


def test_without_labels_there_is_nothing_to_ask(offline: Make, tmp_path: Path) -> None:
    system = offline()
    project = system.store.record_project("http://studio", 1, "1", label_config="<View/>")
    with pytest.raises(Conflict):
        exported((system, project), tmp_path / "pairs.jsonl")
    assert not list(tmp_path.glob("*.jsonl"))
