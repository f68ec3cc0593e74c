"""The processes that serve the others, and the jobs that they do."""

from typing import Annotated, Any

import typer

from edgewise.cli.jobs import backend
from edgewise.cli.shell import JSON, show, table

PANEL = "Serving"
app = typer.Typer()


def _logging_system() -> Any:
    from edgewise.logs import set_up_logging

    system = backend().system
    set_up_logging(system.settings.log_level, system.settings.log_format)
    return system


@app.command(rich_help_panel=PANEL, epilog="Example: edgewise work --lanes light,rank")
def work(
    lanes: Annotated[
        str | None,
        typer.Option(help="With Redis: which jobs, separated by commas, the first ones first. All if left out."),
    ] = None,
) -> None:
    """Do the jobs until told to stop. The server starts one by itself unless REDIS_URL is set."""
    import model

    chosen = (lanes.split(","),) if lanes else ()
    model.work(_logging_system(), *chosen)


@app.command(hidden=True, epilog="Example: edgewise job")
def job() -> None:
    """Run the jobs whose ids come in, one a line, in this process; the worker calls it."""
    import model
    from edgewise.services.children import run_given

    _logging_system()
    run_given(model.run_job)


@app.command(rich_help_panel=PANEL, epilog="Example: edgewise jobs --limit 5")
def jobs(
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 20,
    as_json: JSON = False,
) -> None:
    """The newest jobs of all projects. `edgewise cancel` takes their ids."""
    found = backend().jobs(limit)
    rows = [["id", "project", "kind", "state", "done", "message"]]
    for one in found:
        words = (one["error"] or {}).get("what") or one["message"] or ""
        project = "" if one["project_id"] is None else str(one["project_id"])
        rows.append([str(one["id"]), project, one["kind"], one["state"], f"{one['progress'] or 0:.0%}", words])
    show(found, table(rows), as_json=as_json)


@app.command(rich_help_panel=PANEL, epilog="Example: edgewise cancel 0a1b2c3d")
def cancel(job_id: Annotated[str, typer.Argument(help="As `edgewise jobs` shows it.")], as_json: JSON = False) -> None:
    """Cancel a job that waits or runs."""
    one = backend().cancel(job_id)
    show(one, f"{one['kind']}: {one['state']}.", as_json=as_json)
