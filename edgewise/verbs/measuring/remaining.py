"""How much there still is to ask about: the open tasks, and how long their texts are. Knows no model."""

from edgewise.errors import DataError
from edgewise.labels.schema import Schema
from edgewise.labels.texts import text_of
from edgewise.services.store import Project, Task
from edgewise.verbs.prelabel import by_field
from edgewise.verbs.system import System

PAGE = 1000


def characters_of(system: System, project: Project, schema: Schema) -> list[int]:
    """How long each open task is, all fields that are asked about together; those that cannot be read are left out."""
    found = []
    wanted = system.store.open_task_ids(project.key)
    for start in range(0, len(wanted), PAGE):
        tasks = system.store.tasks(project.key, wanted[start : start + PAGE]).values()
        lengths = [length(schema, task) for task in tasks]
        found += [one for one in lengths if one is not None]
    return found


def length(schema: Schema, task: Task) -> int | None:
    """Characters of a task's texts; None if it cannot be read."""
    try:
        return sum(len(text_of(task.data, heads[0])) for heads in by_field(schema).values())
    except DataError:
        return None
