"""connect and forget: make a project of Label Studio follow us, and undo all of it.

connect takes over the backend's own webhook (events, secret header), switches the project to uncertainty sampling,
makes the view and looks for what would fail silently. It changes nothing twice, so it may run at any time.
"""

import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from edgewise.errors import StudioGone, StudioRefused, Unavailable
from edgewise.services.jobs import Progress
from edgewise.services.store import Project
from edgewise.verbs.answer import LIVE
from edgewise.verbs.doctor import examine, in_words
from edgewise.verbs.erasure import erase_project
from edgewise.verbs.places import SAMPLING, addresses, same_place, webhook_of
from edgewise.verbs.sync import refresh_project
from edgewise.verbs.system import System
from edgewise.verbs.views import drop as drop_views
from edgewise.verbs.views import keep_hardest
from edgewise.web.wire import EVENTS, SECRET_HEADER

OURS = re.compile(rf"ew-[0-9]{{1,9}}|llm-[0-9]{{1,9}}|{LIVE}")  # versions of predictions that we made
MOST_ADDRESSES = 20


def connect(system: System, project: Project, progress: Progress) -> None:
    """Webhook, sampling, view and checks. Raises Unavailable until Label Studio has made the webhook: it comes last."""
    project, _ = refresh_project(system, project, progress)
    if project.state == "gone":
        return
    progress(0.2, "taking over the webhook")
    project = take_webhook(system, project)
    progress(0.5, "switching to uncertainty sampling")
    project = take_sampling(system, project)
    project = keep_hardest(system, project)
    progress(0.8, "checking the connection")
    checks = examine(system, project.ls_id)
    is_new = system.by_key(project.key).state == "connecting"  # it may have been paused meanwhile
    remember(system, project, state="live" if is_new else None, checks=checks)
    system.queue.enqueue("sync", project.key)
    progress(1.0, in_words(checks))


def remember(system: System, project: Project, *, state: str | None = None, **facts: Any) -> Project:
    """Add to what we know of the connection."""
    known = system.store.remember_connection(project.key, facts)
    return system.store.update_project(project.key, state=state) if state else known


def note_models(system: System, project: Project) -> Project:
    """Remember which model folder the server has: the doctor tells by it whether the worker has another."""
    models = system.registry.mark()
    changed = models and project.connection.get("models") != models
    return remember(system, project, models=models) if changed else project


def note_address(system: System, project: Project, address: str) -> tuple[bool, Project]:
    """Remember by which address Label Studio calls us; whether it is a new one: then its webhook is new as well."""
    known = addresses(project)
    if any(same_place(address, other) for other in known) or len(known) >= MOST_ADDRESSES:
        return False, project
    return True, remember(system, project, addresses=[*known, address], backend_url=address)


def backend_of(system: System, project: Project) -> Mapping[str, Any]:
    """Our entry under the project's Model settings. Raises StudioRefused when there is none."""
    backends = system.studio.backends(project.ls_id)
    known = addresses(project)
    ours = [one for one in backends if any(same_place(str(one["url"]), other) for other in known)]
    latest = str(project.connection.get("backend_url"))
    if ours:
        return next((one for one in ours if same_place(str(one["url"]), latest)), ours[0])
    raise StudioRefused(
        f"Project {project.ls_id} has no ML backend that points at us.",
        "Open the project's Settings > Model, choose Connect Model, and give it this server's address; or say which it "
        f"is: edgewise connect -p {project.ls_id} --url http://…",
    )


def take_webhook(system: System, project: Project) -> Project:
    """Put our secret and our events on the webhook that Label Studio made; remove doubles of it."""
    url = str(backend_of(system, project)["url"])
    hooks = hooks_of(system, project, [*addresses(project), url])
    here = [hook for hook in hooks if same_place(str(hook["url"]), webhook_of(url))]
    if not here:
        raise Unavailable(
            "Label Studio has not made the webhook of our backend yet.",
            "It makes one when the backend is added. If this stays, its network protection refuses our address, or our "
            "host's name has no dot in it: see docs/doctor.md.",
        )
    known = project.connection
    secret = (None if known.get("rotate") else known.get("secret")) or secrets.token_urlsafe(32)
    organization = system.studio.whoami().get("active_organization")
    # Kept before it is installed: a crash in between must not leave Label Studio with a secret that we do not know.
    facts = {"backend_url": url, "webhook": here[0]["id"], "organization": organization}
    project = remember(system, project, secret=secret, rotate=False, **facts)
    for hook in hooks:
        if hook in here[1:]:
            system.studio.delete_webhook(hook["id"])
        else:
            arm(system, hook, secret)
    return project


def hooks_of(system: System, project: Project, places: Sequence[str]) -> list[dict[str, Any]]:
    """The project's webhooks that point at one of these addresses of ours. They outlive their backend."""
    wanted = [webhook_of(place) for place in places]
    hooks = system.studio.webhooks(project.ls_id)
    return [hook for hook in hooks if any(same_place(str(hook["url"]), place) for place in wanted)]


def arm(system: System, hook: Mapping[str, Any], secret: str) -> None:
    """Our events and our secret on a webhook."""
    system.studio.update_webhook(
        hook["id"],
        url=hook["url"],
        headers={SECRET_HEADER: secret},
        actions=list(EVENTS),
        send_for_all_actions=False,
        send_payload=True,
        is_active=True,
    )


def take_sampling(system: System, project: Project) -> Project:
    """Switch to uncertainty sampling, remembering what was there before."""
    raw = system.studio.project(project.ls_id)
    if "before" not in project.connection:
        before = {"sampling": raw.get("sampling"), "model_version": raw.get("model_version")}
        project = remember(system, project, before=before)
    if raw.get("sampling") != SAMPLING or not raw.get("show_collab_predictions"):
        system.studio.update_project(project.ls_id, sampling=SAMPLING, show_collab_predictions=True)
    return project


def forget(system: System, project: Project, progress: Progress) -> None:
    """Undo what connect did in Label Studio and erase all we keep of the project. Label Studio's own data stays."""
    system.store.update_project(project.key, state="paused")
    system.queue.cancel_all(project.key, spare=progress.job_id)
    await_others(system, project, progress)
    try:
        undo(system, project, progress)
    except StudioGone:
        progress(0.5, "the project is gone in Label Studio already")
    system.store.outbox_add("forget", {"project": project.ls_id})
    system.queue.enqueue("mirror", None)
    erase_project(system, project)
    progress(1.0, "We keep nothing of the project.")


def await_others(system: System, project: Project, progress: Progress) -> None:
    """Raises Unavailable while a job of the project is still stopping: it could push again what we remove."""
    jobs = system.store.running_jobs()
    running = [job.kind for job in jobs if job.project_key == project.key and job.id != progress.job_id]
    if running:
        raise Unavailable(f"{running[0]} is still stopping.", "Wait: when it has ended we go on by ourselves.")


def undo(system: System, project: Project, progress: Progress) -> None:
    """Our predictions, sampling, version and view as they were before; our backend and its webhook removed."""
    studio, ls_id, known = system.studio, project.ls_id, project.connection
    before = known.get("before") or {}
    theirs = studio.model_versions(ls_id)
    ours = [name for name in theirs if OURS.fullmatch(name)]
    for number, name in enumerate(ours):
        studio.delete_model_version(ls_id, name)
        progress(0.1 + 0.6 * number / len(ours), "removing our predictions")
    studio.update_project(ls_id, sampling=before.get("sampling") or "Sequential sampling")
    restore_version(system, project, before.get("model_version"))
    drop_views(system, project)
    # The backend too: it would ask us again, and be connected again. Deleting it leaves its webhook behind.
    for backend in studio.backends(ls_id):
        if any(same_place(str(backend["url"]), address) for address in addresses(project)):
            studio.delete_backend(backend["id"])
    for hook in hooks_of(system, project, [*addresses(project), str(known.get("backend_url"))]):
        studio.delete_webhook(hook["id"])


def restore_version(system: System, project: Project, name: str | None) -> None:
    """Select what was selected before, if Label Studio still has it."""
    try:
        system.studio.update_project(project.ls_id, model_version=name or "")
    except StudioRefused:
        system.studio.update_project(project.ls_id, model_version="")
