"""docs/commands.md cannot lie about a project either: its commands run on a real Label Studio beside a real server.

What differs every time (names of jobs and versions, moments) is masked; where a later command uses such a name, it
gets the one that stands in its place now. With EDGEWISE_DOCUMENTS the outputs are written into the document.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

import pytest

from edgewise.services.studio import Studio
from examples import banking77
from examples.label_studio import RunningStudio
from tests.cli.commands_doc import COMMANDS, ON_A_PROJECT, Step, prepared, renewed, said, steps
from tests.cli.conftest import LanguageModel, Run
from tests.cli.test_commands_doc import alike
from tests.live.conftest import RunningEdgewise, quiet
from tests.live.helpers import edgewise, new_project, server_environment
from tests.studio_fixture import StudioProject

DOCUMENTED = "http://127.0.0.1:9090"
NAME = re.compile(r"\b(?=[0-9a-f]*[0-9])[0-9a-f]{8,32}\b")
MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(\+00:00| UTC)?|\b\d\d:\d\d:\d\d\b")
FIGURE = re.compile(r"\d+(?:[.,]\d+)*")
STATE = re.compile(r"queued|running|cancelled")  # who is faster, the command or the worker?
MEASURES = re.compile(
    r"edgewise (?:sync|jobs|train|prelabel|saving|label-errors|evaluate-llm|plan|status|freeal|improve)"
)
READ = re.compile(r"\d+ changed tasks read")  # by this sync, or by the one that connect queued
PASSED = re.compile(r"\b\d+(\.\d+)? (s|ms|min|h|hours|minutes|seconds)\b")


@dataclass
class Story:
    """Where the commands run, and by what name each thing of the document goes this time."""

    folder: Path
    project: StudioProject
    server: RunningEdgewise
    variables: dict[str, str]
    names: dict[str, str] = field(default_factory=dict)

    def says(self, step: Step) -> str:
        """What a command of the document prints now, told as the document would: with its names for what has others."""
        command = step.command.replace("-p 1", f"-p {self.project.id}").replace(DOCUMENTED, self.server.url)
        for documented, now in self.names.items():
            command = command.replace(documented, now)
        printed = said(command, self.folder, self.variables).replace(self.server.url, DOCUMENTED)
        for line, told in zip(printed.splitlines(), step.output.splitlines(), strict=False):
            self.names |= dict(zip(NAME.findall(told), NAME.findall(line), strict=False))
        for documented, now in self.names.items():
            printed = printed.replace(now, documented)
        if "--no-wait" not in command:
            self.server.wait(self.project.id, quiet)
        return printed


def masked(line: str, command: str) -> str:
    """A line without what differs every time; of commands that measure, without any figure."""
    if command.startswith("edgewise saving"):  # its sentence depends on what can be told
        return str("random order would have needed" in line.lower())
    figures = [FIGURE] if MEASURES.search(command) else []
    states = [STATE] if "cancel" in command else []
    line = READ.sub("", line)
    for changing in (MOMENT, NAME, PASSED, *figures, *states):
        line = changing.sub("~", line)
    return " ".join(line.replace("-", " ").split())


@pytest.fixture
def story(
    run: Run, label_studio: RunningStudio, studio: Studio, language_model: LanguageModel, tmp_path: Path
) -> Iterator[Story]:
    """A project of Label Studio with the dozen intents, our server, and a language model that knows them."""
    known = [*banking77.dozen("train"), *banking77.dozen("test")]
    language_model.answers = {row["text"]: row["label"] for row in known}
    data = tmp_path / "server"
    asked = {name: os.environ[name] for name in os.environ if name.startswith("LLM_")}
    more = asked | {"AUDIT_FRACTION": "0.2", "LLM_PRICE_INPUT_USD": "0.15", "LLM_PRICE_OUTPUT_USD": "0.6"}
    with (
        new_project(label_studio, studio, banking77.LABEL_CONFIG) as project,
        edgewise(label_studio, data, **more) as server,
    ):
        variables = server_environment(label_studio, data) | more
        (tmp_path / "intents.txt").write_text("\n".join(banking77.INTENTS), encoding="utf-8")
        yield Story(prepared(tmp_path), project, server, variables)


@pytest.mark.timeout(900)
def test_a_documented_command_prints_what_stands_below_it_on_a_project_too(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in story.variables.items():
        monkeypatch.setenv(name, value)
    document = COMMANDS.read_text(encoding="utf-8")
    if os.environ.get("EDGEWISE_DOCUMENTS"):
        COMMANDS.write_text(renewed(document, story.says, ON_A_PROJECT), encoding="utf-8")
        return
    for step in steps(document, ON_A_PROJECT):
        for ours, theirs in zip_longest(step.output.splitlines(), story.says(step).splitlines(), fillvalue=""):
            same = alike(masked(ours, step.command), masked(theirs, step.command))
            assert same, f"{step.command}\ndocumented: {ours!r}\nprinted:    {theirs!r}"
