"""Label errors and how far annotators agree, from a terminal."""

from typing import Annotated, Any

import typer

from edgewise.cli.jobs import PROJECT, WAIT, queue_and_follow
from edgewise.cli.project import PANEL
from edgewise.cli.shell import JSON, table

SHOWN = 20  # errors; the tab in Label Studio has more
app = typer.Typer()


@app.command("label-errors", rich_help_panel=PANEL, epilog="Example: edgewise label-errors -p 1")
def label_errors(
    project: PROJECT,
    folds: Annotated[
        int | None, typer.Option(min=2, max=20, help="How many models judge, each its share.", show_default="4")
    ] = None,
    wait: WAIT = True,
    as_json: JSON = False,
) -> None:
    """List labels that are likely wrong, worst first, and how far annotators agree.

    Each task is judged by a model that was trained on others; it takes as long as that many trainings, and nothing
    waits for it. The tasks are also in the tab "Likely label errors" in Label Studio.
    """
    queue_and_follow(
        "label-errors",
        project,
        wait=wait,
        as_json=as_json,
        result=lambda asked, job: _found(asked.numbers(project)["label_errors"]["report"]),
        folds=folds,
    )


def _found(made: dict[str, Any]) -> tuple[Any, list[str]]:
    return made, told(made)


def told(made: dict[str, Any]) -> list[str]:
    """A report as people read it."""
    lines = [f"{made['found']} labels of {made['tasks']} tasks are likely wrong."]
    errors = made["errors"][:SHOWN]
    if errors:
        rows = [
            [str(one["task_id"]), one["head"], one["given"], one["thinks"], f"{one['score']:.2f}"] for one in errors
        ]
        lines += ["", *table([["task", "head", "labelled", "the model thinks", "how sure of the label"], *rows])]
    if made["agreement"]:
        header = ["annotators", "head", "tasks", "F1", "kappa", "both from pre-labels", "differ most on"]
        lines += ["", *table([header, *map(_agreement, made["agreement"])])]
    return lines


def _agreement(one: dict[str, Any]) -> list[str]:
    figures = ["-" if one[name] is None else f"{one[name]:.2f}" for name in ("f1", "kappa")]
    most = one["differ"][0] if one["differ"] else None
    differ = f"{most[0] or 'nothing'} or {most[1] or 'nothing'} ({most[2]})" if most else "-"
    who = f"{one['first']} and {one['second']}"
    return [who, one["head"], str(one["tasks"]), *figures, str(one["from_prelabels"]), differ]
