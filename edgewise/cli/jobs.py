"""A verb of a project, put in the queue like any other job and followed to its end; the worker does it.

Knows nothing of what a verb does.
"""

import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from edgewise.cli.shell import AWAY, FAILED, Bar, say, show

PROJECT = Annotated[int, typer.Option("--project", "-p", help="The project's id in Label Studio.", show_default=False)]
WAIT = Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the job to its end, or leave it to the worker.")]
Result = Callable[[Any, dict[str, Any]], tuple[Any, list[str]]]  # (backend, job that is done) -> value, lines
NOBODY_TAKES_IT_S = 15.0
LOOK_EVERY_S = 0.3
NO_WORKER = "no worker takes it: start one with `make serve` or `edgewise work`"


def backend() -> Any:
    """This process's Edgewise. model.py is a door's only way in, and heavy: imported when a command runs."""
    import model

    return model.backend_of(model.open_system())


def queue_and_follow(
    verb: str, project: int, *, wait: bool = True, as_json: bool = False, result: Result | None = None, **options: Any
) -> None:
    """Put a verb in the queue, follow it to its end unless told otherwise, and show its result, or else the job.

    Exits 1 when it failed, and 3 when it waits for something that is away: then it stays in the queue.
    """
    asked = backend()
    job = asked.enqueue(project, verb, {name: value for name, value in options.items() if value is not None})
    if wait:
        job = _follow(asked, job)
    value, lines = result(asked, job) if result is not None and job["state"] == "done" else (job, [_told(job)])
    show(value, lines, as_json=as_json)
    if job["state"] in ("failed", "cancelled"):
        error = job["error"] or {"what": f"The job was {job['state']}.", "mend": ""}
        say(f"{error['what']}\n{error['mend']}".strip())
        raise typer.Exit(FAILED)
    if wait and job["state"] == "queued":
        say(f"{job['error']['what']}\n{job['error']['mend']}\nThe job stays in the queue and is tried again.")
        raise typer.Exit(AWAY)


def _follow(asked: Any, job: dict[str, Any]) -> dict[str, Any]:
    """The job as it ended, or as it waits to be tried again."""
    began = time.monotonic()
    with Bar(job["kind"]) as bar:
        while job["state"] in ("queued", "running"):
            if job["state"] == "queued" and job["error"] is not None:
                break
            idle = job["state"] == "queued" and time.monotonic() - began > NOBODY_TAKES_IT_S
            bar(job["progress"] or 0.0, NO_WORKER if idle else job["message"] or job["state"])
            time.sleep(LOOK_EVERY_S)
            job = asked.job(job["id"])
    return job


def _told(job: dict[str, Any]) -> str:
    words = job["message"] if job["state"] == "done" else f"Job {job['id']}."
    return f"{job['kind']}: {job['state']}. {words}".strip()
