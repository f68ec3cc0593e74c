"""The verbs of a Label Studio project: `edgewise <verb> --project 1`."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any

import typer

from edgewise.cli.jobs import PROJECT, WAIT, backend, queue_and_follow
from edgewise.cli.shell import FAILED, JSON, show
from edgewise.errors import EdgewiseError

PANEL = "On a Label Studio project"
app = typer.Typer()


@app.command(rich_help_panel=PANEL, epilog="Example: edgewise connect -p 1 --url http://127.0.0.1:9090")
def connect(
    project: PROJECT,
    url: Annotated[str | None, typer.Option(help="This server's address, to add it to the project first.")] = None,
    rotate_secret: Annotated[
        bool,
        typer.Option("--rotate-secret", help="Put a new secret on the webhook; the old one is worth nothing then."),
    ] = False,
    wait: WAIT = True,
    as_json: JSON = False,
) -> None:
    """Make a project follow us: webhook, sampling, views, checks."""
    if url is not None:
        from edgewise.verbs.connect import note_address
        from edgewise.verbs.places import login

        system = backend().system
        studio = system.studio
        if url.rstrip("/") not in {str(known["url"]).rstrip("/") for known in studio.backends(project)}:
            studio.add_backend(project, url, "Edgewise", **login(system.settings))
        note_address(system, system.project(project), url)
    queue_and_follow("connect", project, wait=wait, as_json=as_json, rotate_secret=rotate_secret or None)


@app.command(rich_help_panel=PANEL, epilog="Example: edgewise sync -p 1")
def sync(project: PROJECT, wait: WAIT = True, as_json: JSON = False) -> None:
    """Read what changed in Label Studio."""
    queue_and_follow("sync", project, wait=wait, as_json=as_json)


@app.command(rich_help_panel=PANEL, epilog="Example: edgewise rank -p 1")
def rank(project: PROJECT, wait: WAIT = True, as_json: JSON = False) -> None:
    """Score the open tasks, push the order and make it the active one."""
    queue_and_follow("rank", project, wait=wait, as_json=as_json)


@app.command(rich_help_panel=PANEL, epilog="Example: edgewise rollback -p 1 0a1b2c3d4e5f")
def rollback(
    project: PROJECT,
    version: Annotated[str, typer.Argument(help="Its id, as `edgewise status` shows it.")],
    wait: WAIT = True,
    as_json: JSON = False,
) -> None:
    """Serve an earlier version."""
    queue_and_follow("rollback", project, wait=wait, as_json=as_json, version=version)


@app.command(rich_help_panel=PANEL, epilog="Example: edgewise pin -p 1 0a1b2c3d4e5f")
def pin(
    project: PROJECT,
    version: Annotated[str, typer.Argument(help="Its id, as `edgewise status` shows it.")],
    undo: Annotated[bool, typer.Option("--undo", help="Its weights may go again.")] = False,
    as_json: JSON = False,
) -> None:
    """Keep a version's weights for good. Of the others, the last three and the one that serves are kept."""
    known = backend()
    card = known.unpin(project, version) if undo else known.pin(project, version)
    show(card, f"Version {card['id']} is {'pinned' if card['pinned'] else 'no longer pinned'}.", as_json=as_json)


@app.command(rich_help_panel=PANEL, epilog="Example: edgewise pause -p 1")
def pause(project: PROJECT, wait: WAIT = True, as_json: JSON = False) -> None:
    """No jobs of the project's own until told."""
    queue_and_follow("pause", project, wait=wait, as_json=as_json)


@app.command(rich_help_panel=PANEL, epilog="Example: edgewise resume -p 1")
def resume(project: PROJECT, wait: WAIT = True, as_json: JSON = False) -> None:
    """Go on after a pause."""
    queue_and_follow("resume", project, wait=wait, as_json=as_json)


@app.command(rich_help_panel=PANEL, epilog="Example: edgewise doctor -p 1 --fix")
def doctor(
    project: PROJECT,
    fix: Annotated[bool, typer.Option("--fix", help="Mend what can be mended from here, then look again.")] = False,
    url: Annotated[
        str | None, typer.Option(help="This server's address as Label Studio calls it, if it never did.")
    ] = None,
    as_json: JSON = False,
) -> None:
    """What is wrong with the connection, and the fix.

    Exits 1 if something is, or could not be looked at. Tries predictions in a project of its own, deleted at once.
    """
    from edgewise.verbs.doctor import examine, keep
    from edgewise.verbs.doctor.mend import mend

    system = backend().system
    checks = examine(system, project, url)
    did = mend(system, project, checks, url) if fix else []
    if did:
        checks = examine(system, project, url)
    with suppress(EdgewiseError):  # nobody knows the project, or the database is away: the checks tell
        keep(system, project, checks)
    lines = [*(f"did   {one}" for one in did), *(line for check in checks for line in _check(check))]
    show({"did": did, "checks": checks} if fix else checks, lines, as_json=as_json)
    raise typer.Exit(0 if all(check["ok"] for check in checks) else FAILED)


def _check(check: Mapping[str, Any]) -> list[str]:
    if check["ok"]:
        mark = "ok   " if check["state"] == "ok" else "-    "
        return [f"{mark} {check['check']}" + (f": {check['what']}" if check["what"] else "")]
    mark = "FAIL " if check["state"] == "failed" else "?    "
    return [f"{mark} {check['check']}", f"      {check['what']}", f"      {check['mend']}"]


@app.command(rich_help_panel=PANEL, epilog="Example: edgewise forget -p 1 --yes")
def forget(
    project: PROJECT,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    wait: WAIT = True,
    as_json: JSON = False,
) -> None:
    """Erase all we keep of a project, and undo what connect did. Labels stay in Label Studio."""
    if not yes:
        typer.confirm(f"Erase all that Edgewise keeps of project {project}, models included?", abort=True, err=True)
    queue_and_follow("forget", project, wait=wait, as_json=as_json)


@app.command(rich_help_panel=PANEL, epilog="Example: edgewise status -p 1 --json")
def status(project: PROJECT, as_json: JSON = False) -> None:
    """Where a project stands and the next step, its curve, advice, versions, and what became of pre-labels."""
    from edgewise.cli.status import told

    asked = backend()
    status, numbers = asked.status(project), asked.numbers(project)
    show({**status, "numbers": numbers}, told(status, numbers), as_json=as_json)
