"""doctor --fix: what can be mended through Label Studio's API and our own queue, a fix for each check that has one.

Changes nothing that is not ours: other people's backends, webhooks and overlaps stay as they are. Every fix may be
made again.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from edgewise.errors import Conflict, EdgewiseError, StudioRefused
from edgewise.services.store import Project
from edgewise.verbs.connect import take_sampling, take_webhook
from edgewise.verbs.doctor.finding import Report
from edgewise.verbs.doctor.project import LEADING_TO_ORDER, hooks_here
from edgewise.verbs.doctor.scene import Scene
from edgewise.verbs.places import login, webhook_of
from edgewise.verbs.placing import release_name
from edgewise.verbs.system import System

PATIENCE_S = 120.0
NOBODY_S = 45.0  # a job that nobody has taken by then waits for a worker
LOOK_EVERY_S = 0.5

Fix = Callable[[Scene], str]


def mend(system: System, ls_id: int, found: Sequence[Report], url: str | None = None) -> list[str]:
    """Mend what failed and has a fix; what was done, a sentence each. Waits for the jobs that a fix has queued."""
    failed = {str(one["name"]): str(one["check"]) for one in found if one["state"] == "failed"}
    did = []
    for name in (name for name in FIXES if name in failed):
        scene = Scene(system, ls_id, url)  # fresh: the fix before may have changed what it sees
        try:
            did.append(FIXES[name](scene))
        except EdgewiseError as error:
            did.append(f"could not see to it that {failed[name]}: {error.what} {error.mend}")
        finally:
            scene.close()
    if did:
        with suppress(EdgewiseError):  # the database is away: the checks tell
            settle(system, ls_id)
    return did


def settle(system: System, ls_id: int) -> None:
    """Until no job leads to a new order any more; not for long, and shorter if nobody takes them."""
    project = system.store.find_project(system.address, ls_id)
    began = time.monotonic()
    while project is not None and time.monotonic() - began < PATIENCE_S:
        jobs = [job for job in system.queue.jobs(20, project.key) if job.kind in LEADING_TO_ORDER]
        running = bool(system.store.running_jobs())  # of any project: ours may wait for its turn
        waiting = any(job.state == "queued" and job.error is None and job.run_after is None for job in jobs)
        if not running and (not waiting or time.monotonic() - began > NOBODY_S):
            return
        time.sleep(LOOK_EVERY_S)


def add_backend(scene: Scene) -> str:
    """Our entry, with our login."""
    address = scene.address_or_none
    if address is None:
        raise Conflict("We do not know our own address.", "Say it: `--url http://…`, as Label Studio is to call it.")
    scene.studio.add_backend(scene.ls_id, address, "Edgewise", **login(scene.system.settings))
    return "added our backend to the project"


def give_login(scene: Scene) -> str:
    """Ours, on our backend."""
    fields = login(scene.system.settings)
    if not fields:
        raise Conflict(
            "The settings here have no login to give.",
            "Set BASIC_AUTH_USER and BASIC_AUTH_PASS as the server has them.",
        )
    scene.studio.update_backend(int(scene.ours[0]["id"]), scene.ls_id, str(scene.ours[0]["url"]), **fields)
    return "gave our backend the login that our server wants"


def come_first(scene: Scene) -> str:
    """Remove our old addresses before it. Others' backends are theirs."""
    first, ours = scene.ours[0], [int(one["id"]) for one in scene.ours]
    before = [one for one in scene.backends if int(one["id"]) < int(first["id"])]
    stale = [one for one in before if int(one["id"]) in ours]
    for one in stale:
        scene.studio.delete_backend(int(one["id"]))
    if len(stale) < len(before):
        raise StudioRefused(
            f"{len(before) - len(stale)} backends before ours are somebody else's.",
            "Remove them under Settings > Model, or leave them, and the pre-labels to them.",
        )
    return f"removed {len(stale)} old addresses of ours"


def follow(scene: Scene) -> str:
    """Meet the project and connect it, our backend added if it is not."""
    if not scene.ours:
        add_backend(scene)
    project = scene.system.project(scene.ls_id)
    scene.system.queue.enqueue("connect", project.key)
    return "queued what makes the project follow us"


def take_hook(scene: Scene) -> str:
    """One webhook, with our secret and events."""
    project = scene.project
    if not hooks_here(scene):
        address = str(scene.ours[0]["url"]) if scene.ours else scene.address_or_none
        scene.studio.create_webhook(scene.ls_id, webhook_of(address or ""))
    take_webhook(scene.system, project)
    return "put our secret and our events on the webhook"


def take_order(scene: Scene) -> str:
    """Uncertainty sampling, and pre-labels shown."""
    take_sampling(scene.system, scene.project)
    return "switched task sampling to uncertainty, and pre-labels on"


def select_release(scene: Scene) -> str:
    """Our release, if its predictions are still there; else a new one."""
    name = release_name(scene.project.active_release or 0)
    if not scene.versions.get(name):
        return rank_anew(scene.system, scene.project)
    scene.studio.activate(scene.ls_id, name)
    return f"selected our release {name} in Label Studio"


def fill_scores(scene: Scene) -> str:
    """A ranking, unless selecting our release has brought the scores back."""
    if scene.studio.open_and_scored(scene.ls_id)[1]:
        return "found the scores again"
    return rank_anew(scene.system, scene.project)


def rank_anew(system: System, project: Project) -> str:
    """A release under a new name. The old name is never pushed again: what of it is still there would count double."""
    newest = max(system.store.releases(project.key), key=lambda release: release.n, default=None)
    if newest is not None:
        system.store.update_release(project.key, newest.n, schema_digest="")  # of no config: it is outdated
    system.queue.enqueue("sync" if project.watermark is None else "rank", project.key)
    return "queued a new ranking"


FIXES: Mapping[str, Fix] = {
    "backend": add_backend,
    "login": give_login,
    "known": follow,
    "first": come_first,
    "webhook": take_hook,
    "secret": take_hook,
    "events": take_hook,
    "sampling": take_order,
    "shown": take_order,
    "selected": select_release,
    "scores": fill_scores,
}
