"""A Label Studio that has one project: what sync asks of it, answered as the real one does, whatever a test wants."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.http_stand_in import Answer, as_json, serving
from tests.verbs.conftest import CONFIG

LS_ID = 7
CREATED_AT = "1700000000"
CREATED = "2023-11-14T22:13:20.123456Z"  # the same moment, in the API's words
ANOTHER_CREATED_AT = "1800000000"
ANOTHER_CREATED = "2027-01-15T08:00:00Z"
CHANGED = "2023-11-15T00:00:00.000000Z"  # when somebody last touched the tasks
GONE = as_json({"status_code": 404, "detail": "No Project matches the given query."}, 404)


def task(task_id: int, **fields: Any) -> dict[str, Any]:
    """A task as the API lists it."""
    plain = {"id": task_id, "data": {"text": f"Anna {task_id}"}, "annotations": [], "overlap": 1, "updated_at": CHANGED}
    return plain | fields


@dataclass
class SmallStudio:
    """project: as its API describes it; None: there is none. answers: False while it is away."""

    url: str = ""
    project: dict[str, Any] | None = field(
        default_factory=lambda: {"id": LS_ID, "created_at": CREATED, "title": "Birds", "label_config": CONFIG}
    )
    tasks: list[dict[str, Any]] = field(default_factory=list)
    organization: int = 1
    answers: bool = True

    def respond(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer | None:
        if not self.answers:
            return None
        place = urlsplit(path)
        if place.path == "/api/version":
            return as_json({"release": "1.23.2"})
        if place.path == "/api/current-user/whoami":
            return as_json({"active_organization": self.organization})
        if place.path == f"/api/projects/{LS_ID}/" and self.project is not None:
            return as_json(self.project | {"task_number": len(self.tasks)})
        if place.path == "/api/tasks/" and self.project is not None:
            return self.page(parse_qs(place.query)["query"][0])
        return GONE

    def page(self, query: str) -> Answer:
        """All tasks, or those that changed later: none of them did."""
        changed = "updated_at" in {item["filter"].removeprefix("filter:tasks:") for item in filters(query)}
        found = [] if changed else self.tasks
        return as_json({"tasks": found, "total": len(found)})


def filters(query: str) -> list[dict[str, Any]]:
    """What a query of the Data Manager asks for."""
    found: list[dict[str, Any]] = json.loads(query)["filters"]["items"]
    return found


@contextmanager
def small_studio() -> Iterator[SmallStudio]:
    """A running one."""
    studio = SmallStudio()
    with serving(studio.respond) as studio.url:
        yield studio
