"""edgewise export --format preferences, on a project that is in our memory."""

import json
from pathlib import Path

import pytest

import model
from edgewise.services.store import Suggestion, Task
from tests.cli.conftest import Run
from tests.verbs.conftest import CONFIG
from tests.verbs.numbers.test_feedback import ADA, GRACE, TEXT, work

EXPORT = ("export", "-p", 7, "--format", "preferences", "-o", "pairs.jsonl")


def test_corrections_are_written_and_counted(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABEL_STUDIO_HOST", "http://studio")
    system = model.open_system()
    key = system.store.record_project("http://studio", 7, "1", label_config=CONFIG).key
    system.store.upsert_tasks(key, [Task(1, {"text": TEXT}, "key")], {1: [work(1, ADA, GRACE)]})
    system.store.save_suggestions(key, [Suggestion(1, 10, 9, {"label": "model v1"}, (ADA,))])

    said = run(*EXPORT)
    assert (said.code, said.out) == (0, "pairs.jsonl: 1 corrections of 1 tasks.\n")
    [row] = [json.loads(line) for line in Path("pairs.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {"prompt", "chosen", "rejected"} <= set(row)
    assert "exists already" in run(*EXPORT).err
    again = run(*EXPORT, "--overwrite", "--json").json
    assert again == {"output": "pairs.jsonl", "format": "preferences", "pairs": 1, "tasks": 1}
