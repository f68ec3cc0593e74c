"""Every command: help with an example that is right, quick; exit codes; machines get JSON; no secret is taken."""

import resource
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from edgewise.cli.app import app
from edgewise.cli.shell import Bar, exit_code, table
from edgewise.errors import Conflict, InputError, NotFound, SettingsError, StudioGone, StudioUnavailable
from edgewise.services.llm import ModelUnavailable
from tests.cli.conftest import NEW, Run

ROOT = Path(__file__).parent.parent.parent
HELP_S = 0.6


def commands(group: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with its words; of a group, those in it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))
        else:
            yield (*words, name), command


COMMANDS = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example_that_it_understands(words: tuple[str, ...], run: Run) -> None:
    command = COMMANDS[words]
    ended = run(*words, "--help")
    assert ended.code == 0
    assert len(command.help.split()) >= 3
    example = command.epilog.removeprefix("Example: edgewise ")
    assert example != command.epilog, f"{words} has no example"
    given = shlex.split(example)
    assert tuple(given[: len(words)]) == words
    command.make_context(words[-1], given[len(words) :], resilient_parsing=False)


def test_help_says_what_exit_codes_mean(run: Run) -> None:
    said = " ".join(run("--help").out.split())
    assert "0 done; 1 the work failed; 2 wrong usage or input; 3 something that we need is away" in said
    assert "130 interrupted" in said


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    """Seconds of the processor, the best of three: neighbours on the machine only ever slow us down."""
    seconds = []
    for _ in range(3):
        began = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "edgewise", "train", "--help"], cwd=ROOT, check=True, capture_output=True)
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime)
    assert min(seconds) < HELP_S
    heavy = ["numpy", "torch", "sqlalchemy", "pydantic_settings", "httpx", "flask"]
    code = f"import edgewise.cli.app, sys; print([name for name in {heavy} if name in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert said.stdout.strip() == "[]"


@pytest.mark.parametrize("option", ["--api-key", "--llm-api-key=sk-1", "--token", "--label-studio-api-key"])
def test_a_secret_among_the_arguments_is_refused_with_the_reason(option: str, run: Run) -> None:
    ended = run("prelabel", option, "sk-1", "-i", NEW, "-o", "out.csv")
    assert ended.code == 2
    assert "everybody on this machine sees the arguments" in ended.err
    assert "sk-1" not in ended.err + ended.out


def test_exit_codes_tell_wrong_input_from_failed_work_and_from_what_is_away() -> None:
    wrong = [InputError("w", "m"), SettingsError("w", "m"), NotFound("w", "m"), StudioGone("w", "m")]
    assert {exit_code(error) for error in wrong} == {2}
    assert {exit_code(error) for error in (StudioUnavailable("w", "m"), ModelUnavailable("w", "m"))} == {3}
    assert exit_code(Conflict("w", "m")) == 1


def test_unknown_options_are_wrong_usage(run: Run) -> None:
    assert run("train", "--no-such-option").code == 2
    assert run("no-such-verb").code == 2


def test_label_studio_that_is_away_is_exit_code_3_and_json_for_machines(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABEL_STUDIO_HOST", "http://127.0.0.1:9")
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "token")
    ended = run("status", "-p", 1, "--json")
    assert ended.code == 3
    assert set(ended.json["error"]) == {"what", "mend"}
    assert "Traceback" not in ended.err


def test_files_and_a_project_at_once_are_wrong_usage(run: Run) -> None:
    assert run("train", "-p", 1, "-i", NEW).code == 2
    assert run("train").code == 2
    assert "--input-csv is missing" in run("predict", "--model-dir", "m").err


def test_a_table_aligns_its_columns_and_numbers_to_the_right() -> None:
    assert table([["a", "count"], ["long name", "7"]]) == [
        "a          count",
        "---------  -----",
        "long name      7",
    ]


def test_progress_is_silent_where_nobody_looks_and_it_is_quick(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar("train") as bar:
        bar(0.5, "half")
    assert capsys.readouterr() == ("", "")
