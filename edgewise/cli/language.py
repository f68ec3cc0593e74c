"""What a language model is told of a project, what it costs, and what it is worth."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from edgewise.cli.jobs import PROJECT, WAIT, backend, queue_and_follow
from edgewise.cli.shell import JSON, show, table
from edgewise.errors import InputError

PANEL = "Language model"
LISTED = 20  # reports
app = typer.Typer()


@app.command(rich_help_panel=PANEL, epilog="Example: edgewise instructions -p 1 --set instructions.txt")
def instructions(
    project: PROJECT,
    new: Annotated[
        str | None, typer.Option("--set", metavar="FILE", help="Take these from now on; - is standard input.")
    ] = None,
    as_json: JSON = False,
) -> None:
    """Show or set what the language model is told of a project, beside its labels.

    Each text that is set is a new version; runs and evaluations name the version that they used.
    """
    told = backend().instructions(project) if new is None else backend().put_instructions(project, _text(new))
    show(
        told, told["text"] if told["version"] else "Nothing is set: the model is told the labels only.", as_json=as_json
    )


def _text(name: str) -> str:
    try:
        content = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError("The instructions are not UTF-8.", "Save them as UTF-8.") from None


@app.command(
    "evaluate-llm",
    rich_help_panel=PANEL,
    epilog="Example: edgewise evaluate-llm -p 1 --models small,large --demonstrations 0,8 --tasks 100",
)
def evaluate_llm(
    project: PROJECT,
    models: Annotated[str | None, typer.Option(help="At the endpoint that is set.", show_default="LLM_MODEL")] = None,
    instructions: Annotated[
        str | None, typer.Option(help="Versions of the instructions; 0 for none.", show_default="the last")
    ] = None,
    codecs: Annotated[str | None, typer.Option(help="json, tags.", show_default="LLM_CODEC")] = None,
    demonstrations: Annotated[
        str | None, typer.Option(help="How many examples are shown.", show_default="LLM_DEMONSTRATIONS")
    ] = None,
    variants: Annotated[
        str | None, typer.Option(help="How many prompts must agree.", show_default="LLM_VARIANTS")
    ] = None,
    tasks: Annotated[int | None, typer.Option(min=1, help="Labelled tasks to examine at most.")] = None,
    canaries: Annotated[int | None, typer.Option(min=0, help="Texts with an order planted in them.")] = None,
    tasks_a_day: Annotated[int | None, typer.Option(min=0, help="How many tasks a day the forecast is for.")] = None,
    wait: WAIT = True,
    as_json: JSON = False,
) -> None:
    """Measure language models on labelled tasks: quality, cost, time, and which to take.

    Give several values with commas between: every combination is a candidate. Each is compared with the trained model
    and the baseline model on the same tasks. It costs money, within LLM_BUDGET_USD and LLM_BUDGET_CALLS.
    """
    queue_and_follow(
        "evaluate-llm",
        project,
        wait=wait,
        as_json=as_json,
        result=lambda asked, job: _evaluated(_report(asked, project, job)),
        models=_words(models),
        instructions=_numbers("--instructions", instructions),
        codecs=_words(codecs),
        demonstrations=_numbers("--demonstrations", demonstrations),
        variants=_numbers("--variants", variants),
        tasks=tasks,
        canaries=canaries,
        tasks_a_day=tasks_a_day,
    )


@app.command(rich_help_panel=PANEL, epilog="Example: edgewise plan -p 1 --tasks 20")
def plan(
    project: PROJECT,
    tasks: Annotated[int | None, typer.Option(min=1, help="How many tasks the pilot asks about.")] = None,
    wait: WAIT = True,
    as_json: JSON = False,
) -> None:
    """Forecast what `prelabel` will cost and take, from a small pilot.

    The pilot's answers are kept: the run does not pay for them again.
    """
    queue_and_follow(
        "plan",
        project,
        wait=wait,
        as_json=as_json,
        result=lambda asked, job: _planned(_report(asked, project, job)),
        tasks=tasks,
    )


@app.command(rich_help_panel=PANEL, epilog="Example: edgewise improve -p 1 --iterations 3")
def improve(
    project: PROJECT,
    iterations: Annotated[int | None, typer.Option(min=1, max=20, help="Rounds at most.", show_default="3")] = None,
    wait: WAIT = True,
    as_json: JSON = False,
) -> None:
    """Pre-label with a language model and a small model that teach each other (FreeAL, Xiao et al. 2023).

    A small model, taught on the language model's labels, finds out which of them to believe; the language model is
    asked again about the others, shown believed ones as examples. Each round is a release; what is in doubt comes first
    for people. It costs money, within LLM_BUDGET_USD and LLM_BUDGET_CALLS; run it again to go on with what was stopped.
    """
    queue_and_follow(
        "improve",
        project,
        wait=wait,
        as_json=as_json,
        result=lambda asked, job: _improved(asked, project, job),
        iterations=iterations,
    )


def _improved(asked: Any, project: int, job: dict[str, Any]) -> tuple[Any, list[str]]:
    """The rounds, if there were any; the job's last word says how it ended."""
    if job["id"] not in {one["id"] for one in asked.reports(project, LISTED)}:
        return job, [job["message"]]
    made = _report(asked, project, job)
    return made, [*_rounds(made), "", job["message"]]


def _played(made: dict[str, Any]) -> tuple[Any, list[str]]:
    return made, [*_rounds(made), "", made["sentence"]]


def _rounds(made: dict[str, Any]) -> list[str]:
    """A line for each head and round."""
    rows = [["round", "head", "asked", "failed", "changed", "believed", "agreement", "quality", "calls"]]
    for one in made["rounds"]:
        for name, head in one["heads"].items():
            shares = ["-" if head[key] is None else f"{head[key]:.3f}" for key in ("believed", "agreement")]
            counts = [str(head[key]) for key in ("asked", "failed", "changed")]
            rows.append(
                [str(one["round"]), name, *counts, *shares, _quality(head["quality"]), str(one["spend"]["calls"])]
            )
    return table(rows)


def _quality(found: dict[str, Any] | None) -> str:
    if found is None:
        return "no held-out task is labelled"
    between = f"{found['low']:.2f} to {found['high']:.2f}"
    return f"{found['measure']} {found['score']:.3f} ({between}) on {found['tasks']}"


def _report(asked: Any, project: int, job: dict[str, Any]) -> dict[str, Any]:
    """The report that a job has made: it has the job's id."""
    made: dict[str, Any] = asked.report(project, job["id"])["report"]
    return made


@app.command(rich_help_panel=PANEL, epilog="Example: edgewise reports -p 1 0a1b2c3d")
def reports(
    project: PROJECT,
    report_id: Annotated[str | None, typer.Argument(help="One of them, to see it whole.")] = None,
    as_json: JSON = False,
) -> None:
    """What has been measured of a project so far: the list, or one report."""
    asked = backend()
    if report_id is None:
        found = asked.reports(project, LISTED)
        rows = [["report", "of", "at"], *([one["id"], one["kind"], one["at"]] for one in found)]
        show(found, table(rows), as_json=as_json)
        return
    one = asked.report(project, report_id)
    told = {"plan": _planned, "evaluate-llm": _evaluated, "improve": _played}.get(one["kind"])
    lines = told(one["report"])[1] if told else json.dumps(one["report"], indent=2, ensure_ascii=False)
    show(one, lines, as_json=as_json)


def _evaluated(made: dict[str, Any]) -> tuple[Any, list[str]]:
    from edgewise.learning.llm_evaluation.report import table as rows_of

    header, rows = rows_of(made)
    return made, [*turned(header, rows), "", *made["advice"]]


def _planned(made: dict[str, Any]) -> tuple[Any, list[str]]:
    from edgewise.verbs.plan import table as rows_of

    header, rows = rows_of(made)
    return made, [*table([list(header), *map(list, rows)]), "", *made["advice"]]


def turned(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """A table on its side, a column for each source: a report has more figures than a terminal has columns."""
    if not rows:
        return []
    return table([[name, *(row[number] for row in rows)] for number, name in enumerate(header)])


def _words(given: str | None) -> list[str] | None:
    return None if given is None else [word.strip() for word in given.split(",") if word.strip()]


def _numbers(option: str, given: str | None) -> list[int] | None:
    try:
        return None if given is None else [int(word) for word in given.split(",")]
    except ValueError:
        raise InputError(f"{option} wants whole numbers with commas between.", f"Say {option} 0,8.") from None
