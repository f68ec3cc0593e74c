"""The same verbs from a terminal: `python -m edgewise <verb> --project 1`, and the processes that serve them.

A verb is put in the queue like any other job and followed to its end; the worker does it.
"""

import json
import sys
import time
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress as Bar

from edgewise.errors import EdgewiseError
from edgewise.logs import set_up_logging
from edgewise.services.jobs import LANES

app = typer.Typer(
    help="Edgewise: the hardest task first, in Label Studio.", no_args_is_help=True, pretty_exceptions_enable=False
)
out = Console()
err = Console(stderr=True)
PROJECT = Annotated[int, typer.Option("--project", "-p", help="The project's id in Label Studio.")]
NOBODY_TAKES_IT_S = 15.0


def system() -> Any:
    """This process's Edgewise. model.py is a door's only way in, and heavy: imported when a command runs."""
    import model

    return model.open_system()


def follow(job_id: str) -> None:
    """Show a job's progress until it ends; exit 1 if it failed."""
    queue = system().queue
    started = time.monotonic()
    with Bar(console=err, transient=True) as bar:
        line = bar.add_task("waiting for a worker", total=1.0)
        while (job := queue.job(job_id)).state in ("queued", "running"):
            if job.state == "queued" and job.error is None and time.monotonic() - started > NOBODY_TAKES_IT_S:
                bar.update(line, description="no worker takes it: start one with `make serve` or `edgewise work`")
            elif job.error is not None and job.state == "queued":
                bar.update(line, description=f"waiting to try again: {job.error['what']}")
            else:
                bar.update(line, completed=job.progress, description=job.message or job.kind)
            time.sleep(0.3)
    if job.state == "done":
        out.print(f"{job.kind}: done. {job.message}".strip())
        return
    error = job.error or {"what": f"The job was {job.state}.", "mend": ""}
    err.print(f"{job.kind}: {job.state}. {error['what']} {error['mend']}".strip())
    raise typer.Exit(1)


def queue_and_follow(verb: str, project: int, **options: Any) -> None:
    """Put a verb in the queue and follow it."""
    import model

    follow(model.Backend(system()).enqueue(project, verb, options)["id"])


@app.command()
def connect(
    project: PROJECT,
    url: Annotated[str | None, typer.Option(help="This server's address, to add it to the project first.")] = None,
) -> None:
    """Make a project follow us: webhook, sampling, view, checks. Example: edgewise connect -p 1 --url http://127.0.0.1:9090"""
    if url is not None:
        system().studio.add_backend(project, url, "Edgewise")
    queue_and_follow("connect", project)


@app.command()
def sync(project: PROJECT) -> None:
    """Read what changed in Label Studio. Example: edgewise sync -p 1"""
    queue_and_follow("sync", project)


@app.command()
def prelabel(project: PROJECT) -> None:
    """Ask the language model about every open task; resumable. Example: edgewise prelabel -p 1"""
    queue_and_follow("prelabel", project)


@app.command()
def train(project: PROJECT) -> None:
    """Train on all that was labelled. Example: edgewise train -p 1"""
    queue_and_follow("train", project)


@app.command()
def rank(project: PROJECT) -> None:
    """Score the open tasks and push the order. Example: edgewise rank -p 1"""
    queue_and_follow("rank", project)


@app.command()
def rollback(project: PROJECT, version: Annotated[str, typer.Argument(help="Its id, as status shows it.")]) -> None:
    """Serve an earlier version. Example: edgewise rollback -p 1 0a1b2c3d4e5f"""
    queue_and_follow("rollback", project, version=version)


@app.command()
def pause(project: PROJECT) -> None:
    """No jobs of its own until told. Example: edgewise pause -p 1"""
    queue_and_follow("pause", project)


@app.command()
def resume(project: PROJECT) -> None:
    """Go on after a pause. Example: edgewise resume -p 1"""
    queue_and_follow("resume", project)


@app.command()
def doctor(project: PROJECT) -> None:
    """What is wrong with the connection, and the fix; exit 1 if something is. Example: edgewise doctor -p 1"""
    from edgewise.verbs.doctor import examine

    checks = examine(system(), system().project(project))
    for check in checks:
        out.print(f"[{'green' if check['ok'] else 'red'}]{'ok  ' if check['ok'] else 'FAIL'}[/] {check['check']}")
        if not check["ok"]:
            out.print(f"     {check['what']}\n     {check['mend']}", markup=False)
    raise typer.Exit(0 if all(check["ok"] for check in checks) else 1)


@app.command()
def forget(project: PROJECT, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Erase all we keep of a project and undo what connect did. Labels stay. Example: edgewise forget -p 1 --yes"""
    if not yes:
        typer.confirm(f"Erase all that Edgewise keeps of project {project}, models included?", abort=True)
    queue_and_follow("forget", project)


@app.command()
def status(project: PROJECT) -> None:
    """Where a project stands, as JSON. Example: edgewise status -p 1"""
    import model

    sys.stdout.write(json.dumps(model.Backend(system()).status(project), indent=2, ensure_ascii=False) + "\n")


@app.command()
def work(
    lanes: Annotated[
        str, typer.Option(help="With Redis: which jobs, separated by commas, the first ones first.")
    ] = ",".join(LANES),
) -> None:
    """Do the jobs until told to stop. The server starts one by itself unless REDIS_URL is set."""
    import model

    set_up_logging(system().settings.log_level)
    model.work(system(), lanes.split(","))


@app.command(hidden=True)
def job(job_id: str) -> None:
    """Run one job in this process; the worker calls it."""
    import model
    from edgewise.services.workers import end_with_parent

    set_up_logging(system().settings.log_level)
    end_with_parent()
    model.run_job(job_id)


def main() -> None:
    """Run a command; an error that we raise on purpose is two sentences and exit 1."""
    try:
        app()
    except EdgewiseError as error:
        err.print(f"{error.what}\n{error.mend}", markup=False)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
