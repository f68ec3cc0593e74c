"""Predictions to Label Studio where a task may have been deleted: one that is gone makes it refuse all the others.

Knows nothing of what a prediction means, or of who makes it.
"""

from collections.abc import Sequence

from edgewise.errors import StudioRefused
from edgewise.services.store import Project
from edgewise.services.studio_releases import Prediction
from edgewise.verbs.erasure import erase_tasks
from edgewise.verbs.system import System


def push_predictions(system: System, project: Project, name: str, predictions: Sequence[Prediction]) -> list[int]:
    """Store predictions under version `name`, as `push_release`; tasks whose prediction was dropped. Refused, we forget
    the tasks that are gone, as a sweep would, and send the others, except what Label Studio has stored already: the
    chunks before, and with its switch for fast imports blocks of 500 of the refused one."""
    studio, ls_id = system.studio, project.ls_id
    try:
        return studio.push_release(ls_id, name, predictions) if predictions else []
    except StudioRefused:
        there = studio.task_ids(ls_id)
        gone = [one["task"] for one in predictions if one["task"] not in there]
        if not gone:
            raise
    erase_tasks(system, project, gone)
    left = studio.missing(ls_id, name, [one for one in predictions if one["task"] in there])
    return push_predictions(system, project, name, left)
