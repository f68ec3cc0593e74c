"""doctor: what is wrong with the connection, and the fix. Looks only; mend.py mends what it can.

Each check is one way in which a connection fails without a word. All look at once, each in a thread of its own and
for a bounded time; a check that could not be made is never a good one.
"""

import logging
from collections.abc import Callable, Sequence

from edgewise.errors import EdgewiseError, NotFound
from edgewise.services.jobs import Progress
from edgewise.services.store import Project
from edgewise.verbs.doctor import house, label_studio, project
from edgewise.verbs.doctor.finding import Check, Finding, Report, report, unchecked
from edgewise.verbs.doctor.scene import Scene, within
from edgewise.verbs.system import System

LIMIT_S = 30.0
CHECKS: tuple[Check, ...] = (
    *label_studio.FIRST,
    *project.CONNECTION,
    *label_studio.CALLS,
    *project.EVENTS_COME,
    *project.ORDER,
    *project.MATERIAL,
    *house.HOUSE,
    *label_studio.LAST,
)

log = logging.getLogger(__name__)


def doctor(system: System, project: Project, progress: Progress) -> None:
    """Examine the connection and keep the result for status."""
    found = examine(system, project.ls_id)
    keep(system, project.ls_id, found)
    progress(1.0, in_words(found))


def examine(system: System, ls_id: int, url: str | None = None, checks: Sequence[Check] = CHECKS) -> list[Report]:
    """Each check, with what it means and what to do. Raises nothing: whatever is away is what a check tells.

    url: the address by which Label Studio is to call us, for a project that nobody has connected yet.
    """
    scene = Scene(system, ls_id, url)
    try:
        looks = [within(LIMIT_S, looking(check, scene)) for check in checks]
        return [report(check, said(look)) for check, look in zip(checks, looks, strict=True)]
    finally:
        scene.close()


def looking(check: Check, scene: Scene) -> Callable[[], Finding]:
    """The check, ready to be made."""
    return lambda: check.look(scene)


def said(look: Callable[[], Finding]) -> Finding:
    """What a check found, or why it could not look."""
    try:
        return look()
    except EdgewiseError as error:
        return unchecked(f"Not checked: {error.what}", error.mend)
    except Exception as error:
        log.warning("a check broke off: %s", type(error).__name__)
        return unchecked(f"Not checked: {type(error).__name__}, which nobody expected.", "See the log, and report it.")


def keep(system: System, ls_id: int, found: Sequence[Report]) -> None:
    """Remember the checks for status and the dashboard, where the project is known."""
    known = system.store.find_project(system.address, ls_id)
    if known is None:
        raise NotFound("Edgewise does not know this project.", f"Run `edgewise connect -p {ls_id} --url …`.")
    system.store.remember_connection(known.key, {"checks": list(found)})


def in_words(found: Sequence[Report]) -> str:
    """How an examination ended, in a sentence."""
    failed = [str(one["check"]) for one in found if one["state"] == "failed"]
    open_ones = sum(one["state"] == "unchecked" for one in found)
    told = [f"{len(failed)} of {len(found)} checks failed: not so that {'; '.join(failed)}."] if failed else []
    told += [f"{open_ones} of {len(found)} checks could not be made."] if open_ones else []
    return " ".join(told) or f"All {len(found)} checks passed."
