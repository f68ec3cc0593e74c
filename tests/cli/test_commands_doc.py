"""docs/commands.md cannot lie: each of its commands that needs no Label Studio is run, and prints what stands there."""

import re
from itertools import zip_longest
from pathlib import Path

import pytest
import typer

from edgewise.cli.app import app
from tests.cli.commands_doc import COMMANDS, HELP, Step, every_command, helped, prepared, said, steps

NUMBER = re.compile(r"\d+(?:\.\d+)?")
SECONDS = re.compile(r"\b\d+(?:\.\d+)? s\b")
TOLERANCE = 0.07  # of a share: processors round differently, and a test row may fall on the other side
DOCUMENT = COMMANDS.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all commands run, one after the other."""
    return prepared(tmp_path_factory.mktemp("commands"))


@pytest.mark.parametrize("step", list(steps(DOCUMENT)), ids=lambda step: step.command[:60])
def test_a_documented_command_prints_what_stands_below_it(step: Step, folder: Path) -> None:
    now = said(step.command, folder)
    for ours, theirs in zip_longest(step.output.splitlines(), now.splitlines(), fillvalue=""):
        assert alike(ours, theirs), f"documented: {ours!r}\nprinted:    {theirs!r}"


def alike(ours: str, theirs: str) -> bool:
    """The same words and whole numbers; shares may differ a little, seconds may be any."""
    ours, theirs = SECONDS.sub("N s", ours), SECONDS.sub("N s", theirs)
    if NUMBER.sub("#", ours) != NUMBER.sub("#", theirs):
        return False
    pairs = zip(NUMBER.findall(ours), NUMBER.findall(theirs), strict=True)
    return all(a == b or ("." in a and "." in b and abs(float(a) - float(b)) <= TOLERANCE) for a, b in pairs)


def test_figures_may_differ_a_little_and_words_and_counts_may_not() -> None:
    assert alike("F1 0.91, 12 s", "F1 0.94, 3.5 s")
    assert not alike("F1 0.91", "F1 0.71")
    assert not alike("12 rows", "13 rows")
    assert not alike("done", "failed")


def test_every_command_has_a_section() -> None:
    sections = re.findall(r"^#+ (.*)$", DOCUMENT, re.MULTILINE)
    named = {name for line in sections for name in re.findall(r"`edgewise ([a-z -]+)`", line)}
    assert named == set(every_command(typer.main.get_command(app)))


def test_the_help_of_every_command_is_what_it_says() -> None:
    assert HELP.read_text(encoding="utf-8") == helped()
