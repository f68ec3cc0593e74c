"""The newest report on label errors for people: with the words of the texts as they are now. Reads only."""

from typing import Any

from edgewise.labels.schema import Head
from edgewise.services.store import Project, Task
from edgewise.verbs.disagreement import quote
from edgewise.verbs.numbers.fixed_labels import KIND
from edgewise.verbs.system import System, schema_of

Json = dict[str, Any]


def newest_errors(system: System, project: Project) -> Json | None:
    """The newest report for people as {"id", "at", "report"}, or None: without tasks that are gone.

    Of its errors, given and thinks: in words of the text as it is now; fixed: the task's labels have changed since.
    """
    found = system.store.reports(project.key, 1, KIND)
    schema = schema_of(project)
    if not found or schema is None:
        return None
    heads = {head.from_name: head for head in schema.heads}
    rows = found[0].content["errors"]
    tasks = system.store.tasks(project.key, [row["task_id"] for row in rows])
    there = [row for row in rows if row["task_id"] in tasks and row["head"] in heads]
    errors = [for_people(row, heads[row["head"]], tasks[row["task_id"]]) for row in there]
    at = found[0].created_at.isoformat()
    return {"id": found[0].id, "at": at, "report": found[0].content | {"errors": errors}}


def for_people(row: Json, head: Head, task: Task) -> Json:
    """A row with what it is about in words."""
    text = str(task.data.get(head.field) or "")
    said: Json = {"fixed": task.digest != row["digest"]}
    for side in ("given", "thinks"):
        place = row[f"{side}_at"]
        words = f" {quote(text[place[0] : place[1]])}" if place else ""
        said[side] = f"{row[side]}{words}" if row[side] is not None else "nothing"
    return {name: row[name] for name in ("task_id", "head", "score")} | said
