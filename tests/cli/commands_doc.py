"""docs/commands.md and docs/help.md: their commands, what these print, and the documents with what they print now.

`make documents` writes the outputs anew. In a ```console block a line that begins with `$ ` is a command, and what
follows is its output. All commands run one after the other in one folder, where `examples` is ours. Those of a block
that says "on a project" need Label Studio: test_commands_on_a_project.py has one, and writes their outputs.
"""

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner

from edgewise.cli.app import app

ROOT = Path(__file__).parent.parent.parent
COMMANDS, HELP = ROOT / "docs" / "commands.md", ROOT / "docs" / "help.md"
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
ON_A_PROJECT = re.compile(r"```console on a project\n(.*?)```", re.DOTALL)
NOTHING: Mapping[str, str] = {}
COLUMNS = "100"
HEADING = """# Every command's help

docs/commands.md shows the commands at work. A test compares this page with what they say.
"""


@dataclass(frozen=True)
class Step:
    """A command in a document, and what is printed there below it."""

    command: str
    output: str


def steps(document: str, blocks: re.Pattern[str] = BLOCK) -> Iterator[Step]:
    """The commands of a document, in order."""
    for block in blocks.findall(document):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield Step(command, output.rstrip())


def said(command: str, folder: Path, more: Mapping[str, str] = NOTHING) -> str:
    """What a command prints in this folder: one of ours is run in this process, any other by the shell.

    more: variables.
    """
    if not command.startswith("edgewise ") or " | " in command:
        path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        environment = {**os.environ, **more, **path}
        done = subprocess.run(
            ["sh", "-c", command], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
        return done.stdout.rstrip()
    before = Path.cwd()
    os.chdir(folder)
    try:
        variables = {"COLUMNS": COLUMNS, "DATA_DIR": str(folder / "data"), "TERM": "dumb", **more}
        result = CliRunner().invoke(app, shlex.split(command)[1:], prog_name="edgewise", env=variables)
    finally:
        os.chdir(before)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, f"{command}: {result.stderr}"
    return "\n".join(line.rstrip() for line in result.stdout.rstrip().splitlines())


def prepared(folder: Path) -> Path:
    """A folder to run the commands in."""
    (folder / "examples").symlink_to(ROOT / "examples")
    return folder


def every_command(group: Any, words: tuple[str, ...] = ()) -> Iterator[str]:
    """The words of every command that is not hidden."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from every_command(command, (*words, name))
        elif not command.hidden:
            yield " ".join((*words, name))


def helped() -> str:
    """docs/help.md as it should be."""
    parts = [HEADING]
    with tempfile.TemporaryDirectory() as folder:
        for words in ["", *sorted(every_command(typer.main.get_command(app)))]:
            command = " ".join(["edgewise", *words.split(), "--help"])
            title = command.removesuffix(" --help")
            parts.append(f"## {title}\n\n```console\n$ {command}\n{said(command, Path(folder))}\n```\n")
    return "\n".join(parts)


def renewed(document: str, says: Callable[[Step], str], blocks: re.Pattern[str] = BLOCK) -> str:
    """The document with what its commands say now."""

    def block(found: re.Match[str]) -> str:
        lines = [f"$ {step.command}\n{says(step)}".rstrip() for step in steps(found[0], blocks)]
        return "\n".join([found[0].partition("\n")[0], *lines, "```"])

    return blocks.sub(block, document)


def main() -> None:
    """Write both documents."""
    HELP.write_text(helped(), encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        here = prepared(Path(folder))
        document = COMMANDS.read_text(encoding="utf-8")
        COMMANDS.write_text(renewed(document, lambda step: said(step.command, here)), encoding="utf-8")


if __name__ == "__main__":
    main()
