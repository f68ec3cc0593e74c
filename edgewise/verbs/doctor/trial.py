"""The round trip: predictions pushed, served hardest first, and removed again, in a project of our own.

Never in the project itself: to be served a task locks it for a day, and to select a version of ours would change what
annotators see. The project of our own is there for a second, under a title that says what it is; one that a killed
doctor left is removed by the next.
"""

import secrets
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from edgewise.errors import EdgewiseError, StudioRefused
from edgewise.services.studio import Studio
from edgewise.verbs.doctor.finding import Finding, fault, fine, unchecked
from edgewise.verbs.places import SAMPLING, webhook_of

TITLE = "Edgewise doctor"
DESCRIPTION = "A trial by `edgewise doctor`, deleted at once: nothing in here is anybody's work."
LEFT_AFTER = timedelta(minutes=10)  # no trial takes so long
CONFIG = """<View><Labels name="label" toName="text"><Label value="A"/></Labels>
<Text name="text" value="$text"/></View>"""
VERSION = "edgewise-doctor"
SCORES = (0.5, 0.6, 0.2, 0.7, 0.8, 0.1, 0.9, 0.4)  # by chance the two hardest come first once in 56 times
HARDEST = (5, 2)
AT_RANDOM = "Label Studio accepted predictions and did not serve the task with the lowest score next."


@dataclass(frozen=True, slots=True)
class Trial:
    """What a project of our own told: of the round trip, and of whether our address may be given to Label Studio."""

    round_trip: Finding
    network: Finding


def trial(studio: Studio, address: str | None) -> Trial:
    """Make a project, try, delete it. address: ours, as Label Studio calls it. Raises EdgewiseError: no project."""
    remove_left(studio)
    made = studio.create_project(
        f"{TITLE} {secrets.token_hex(4)}", CONFIG, description=DESCRIPTION, sampling=SAMPLING, is_published=False
    )
    try:
        return Trial(round_trip(studio, int(made["id"])), network(studio, int(made["id"]), address))
    finally:
        studio.delete_project(int(made["id"]))


def remove_left(studio: Studio) -> None:
    """Delete the projects of doctors that were killed."""
    for one in studio.projects_titled(TITLE):
        made_at = datetime.fromisoformat(str(one.get("created_at")).replace("Z", "+00:00"))
        is_ours = str(one.get("title")).startswith(TITLE) and one.get("description") == DESCRIPTION
        if is_ours and (studio.clock() or datetime.now(UTC)) - made_at >= LEFT_AFTER:
            with suppress(EdgewiseError):
                studio.delete_project(int(one["id"]))


def round_trip(studio: Studio, project_id: int) -> Finding:
    """Push, select, be served twice, remove."""
    try:
        tasks = studio.import_tasks(project_id, [{"data": {"text": f"Task {n}"}} for n in range(len(SCORES))])
        pushed = [{"task": task, "result": [], "score": score} for task, score in zip(tasks, SCORES, strict=True)]
        if dropped := studio.push_release(project_id, VERSION, pushed):
            return fault(
                f"Label Studio dropped {len(dropped)} of {len(tasks)} predictions without a word.",
                "See Label Studio's log for its reason, and whether its version is one that we are tested with.",
            )
        studio.activate(project_id, VERSION)
        for place in HARDEST:
            if studio.next_task(project_id)["id"] != tasks[place]:
                return fault(AT_RANDOM, "See whether Label Studio's version is one that we are tested with.")
            studio.annotate(tasks[place])
        studio.delete_model_version(project_id, VERSION)
        if studio.model_versions(project_id).get(VERSION):
            return fault("Label Studio did not remove predictions that we deleted.", "See Label Studio's log.")
    except EdgewiseError as error:
        return unchecked(f"The round trip broke off. {error.what}", error.mend)
    return fine()


def network(studio: Studio, project_id: int, address: str | None) -> Finding:
    """Whether Label Studio takes our address for a webhook: one that is not active, and goes with the project."""
    if address is None:
        return unchecked(
            "We do not know by which address Label Studio is to call us.", "Say it: `edgewise doctor --url http://…`."
        )
    try:
        studio.create_webhook(project_id, webhook_of(address), is_active=False)
    except StudioRefused as error:
        if not has_dot(address):
            return fault(
                "The host of our address has no dot: Label Studio makes no webhook for such a name, without a word.",
                "Add the backend under a name with a dot (such as backend.internal) or an IP address.",
            )
        return fault(f"{error.what} It sends us no webhook then, and says nothing.", error.mend)
    except EdgewiseError as error:
        return unchecked(error.what, error.mend)
    return fine()


def has_dot(address: str) -> bool:
    """Whether Label Studio takes the host for one: a name with a dot, an IP address, or localhost alone."""
    host = urlsplit(address).hostname or ""
    return "." in host or ":" in host or host == "localhost"
