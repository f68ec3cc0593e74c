"""The verbs of a project from a terminal, beside a server and a real Label Studio."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.label_studio import RunningStudio
from tests.cli.conftest import LanguageModel, Run, write_rows
from tests.live.conftest import RunningEdgewise
from tests.live.helpers import TEXTS, edgewise, server_environment
from tests.studio_fixture import StudioProject


@pytest.fixture
def server(
    run: Run, label_studio: RunningStudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunningEdgewise]:
    """A server, and commands with its settings."""
    for name, value in server_environment(label_studio, tmp_path / "server").items():
        monkeypatch.setenv(name, value)
    with edgewise(label_studio, tmp_path / "server") as running:
        yield running


def test_a_project_is_filled_connected_ranked_looked_at_and_forgotten_from_a_terminal(
    server: RunningEdgewise, studio_project: StudioProject, run: Run
) -> None:
    project = studio_project.id

    def done(*words: object) -> Any:
        ended = run(*words, "-p", project, "--json")
        assert ended.code == 0, (words, ended.out, ended.err)
        return ended.json

    spans = [
        [{"start": 0, "end": text.index(" "), "label": "PER"}] if number < 3 else []
        for number, text in enumerate(TEXTS)
    ]
    rows = [
        {"text": text, "entities": json.dumps(found) if found else "", "more": number}
        for number, (text, found) in enumerate(zip(TEXTS, spans, strict=True))
    ]
    file = write_rows(Path("rows.csv"), rows)
    imported = done("import", "-i", file, "--label-column", "entities=label")
    assert (imported["tasks"], imported["annotations"]) == (12, 3)

    assert done("connect", "--url", server.url)["state"] == "done"
    assert done("sync")["kind"] == "sync"
    assert done("rank")["state"] == "done"
    assert done("status")["phase"]
    assert all(check["ok"] for check in done("doctor"))
    assert done("pause")["state"] == "done"
    assert done("resume")["state"] == "done"

    Path("told.txt").write_text("Only people's first names.")
    assert done("instructions", "--set", "told.txt")["version"] == 1
    assert run("instructions", "-p", project).out == "Only people's first names.\n"

    assert done("export", "-o", "project.json")["annotations"] == 3
    first = Path("project.json").read_bytes()
    assert run("export", "-p", project, "-o", "project.json").code == 1
    assert Path("project.json").read_bytes() == first
    assert {(job["project_id"], job["kind"]) for job in run("jobs", "--json").json} >= {
        (project, kind) for kind in ("connect", "sync", "rank")
    }

    plain = run("status", "-p", project)
    assert plain.code == 0
    assert plain.out.startswith("phase: ") or "\nphase: " in plain.out
    assert run("rollback", "-p", project, "000000000000").code != 0
    assert run("pin", "-p", project, "000000000000").code != 0
    assert run("forget", "-p", project).code == 1  # nobody says yes
    assert done("forget", "--yes")["state"] == "done"


def test_a_language_model_is_planned_and_measured_from_a_terminal(
    run: Run,
    language_model: LanguageModel,
    label_studio: RunningStudio,
    studio_project: StudioProject,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in server_environment(label_studio, tmp_path / "server").items():
        monkeypatch.setenv(name, value)
    for task in studio_project.add_tasks(TEXTS)[:6]:
        studio_project.annotate(task)
    asked = {name: os.environ[name] for name in os.environ if name.startswith("LLM_")}
    project = studio_project.id
    with edgewise(label_studio, tmp_path / "server", **asked) as server:
        assert run("connect", "-p", project, "--url", server.url).code == 0
        assert run("sync", "-p", project).code == 0  # else there may be no task yet to ask about
        planned = run("plan", "-p", project, "--tasks", 3)
        assert planned.code == 0, planned.err
        assert "tasks left" in planned.out
        measured = run("evaluate-llm", "-p", project, "--tasks", 4, "--demonstrations", "0", "--canaries", 0, "--json")
        assert measured.code == 0, measured.err
        assert measured.json["tasks"]["examined"] == 4
        listed = run("reports", "-p", project, "--json").json
        assert [one["kind"] for one in listed] == ["evaluate-llm", "plan"]
        again = run("reports", "-p", project, listed[0]["id"])
        assert "who" in again.out.splitlines()[0]
        failed = run("evaluate-llm", "-p", project, "--codecs", "smoke")
        assert (failed.code, "codec" in failed.err) == (1, True)


def test_an_unknown_project_is_wrong_input(server: RunningEdgewise, run: Run) -> None:
    ended = run("status", "-p", 999_999)
    assert ended.code == 2
    assert ended.err
