"""Label Studio as its client sees it: projects, tasks, releases, webhooks, views.

Knows which calls of Label Studio 1.23.2 do what they say (each was measured), and nothing of our store, of labels or of
what a prediction means. Answers are Label Studio's own JSON. Every call raises StudioUnavailable (away, slow, garbage:
worth repeating) or StudioRefused; what belongs to a project raises StudioGone when the project is no more; a webhook or
view that is no more raises NotFound. The bulk calls are in studio_releases.py, the HTTP in studio_http.py.
"""

from datetime import datetime
from typing import Self

from edgewise.errors import StudioGone, StudioRefused
from edgewise.services.studio_http import TRIES, Call, Http, Json, as_dict, as_list, field
from edgewise.services.studio_releases import PAGE, Bulk

DELETE_TIMEOUT_S = 1800.0  # 10,000 predictions took 100 s on a busy machine


class Studio(Bulk):
    """One Label Studio. Several threads may share it; `close` it, or use it in a `with`."""

    def __init__(
        self, address: str, token: str, timeout_s: float = 60.0, *, settle_s: float = 5.0, tries: int = TRIES
    ) -> None:
        """`token`: personal access token or legacy token. `settle_s`: how long a push without answer may still act.
        `tries`: how often a call that may be repeated is sent."""
        self.address = address.rstrip("/")
        super().__init__(Http(address, token, timeout_s, tries), settle_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the kept connections."""
        self._http.close()

    def version(self) -> str:
        """Label Studio's version, such as '1.23.2'."""
        return str(field(self._get("api/version"), "release", "api/version"))

    def greet(self) -> str:
        """Its version, asked without a token: whether it is there at all. Raises StudioUnavailable, StudioRefused."""
        return str(field(self._http.ask(Call("GET", "api/version", anonymous=True)), "release", "api/version"))

    def authorization(self) -> str:
        """The header by which Label Studio knows us, for its own addresses alone; good for a minute.

        Raises StudioUnavailable, StudioRefused."""
        return self._http.authorization()

    @property
    def token_kind(self) -> str:
        """What the token is, by its form."""
        return "personal access token" if self._http.has_personal_token else "legacy token"

    def clock(self) -> datetime | None:
        """Label Studio's own time, by which its `updated_at` go: aware, to the second. None if it does not say."""
        self.version()
        return self._http.clock

    def whoami(self) -> Json:
        """The token's owner."""
        return as_dict(self._get("api/current-user/whoami"), "api/current-user/whoami")

    # Projects

    def projects(self) -> list[Json]:
        """All projects that the token's owner sees."""
        found: list[Json] = []
        number = 1
        while True:
            answer = as_dict(self._get("api/projects/", {"page": number, "page_size": PAGE}), "api/projects/")
            found += as_list(answer.get("results"), "api/projects/")
            if not answer.get("next"):
                return found
            number += 1

    def project(self, project_id: int) -> Json:
        """One project. Raises StudioGone."""
        return as_dict(self._project("GET", project_id, ""), "api/projects/")

    def create_project(self, title: str, label_config: str, **fields: object) -> Json:
        """A new project; `title` has 3 to 50 characters."""
        return self._post("api/projects/", {"title": title, "label_config": label_config, **fields})

    def update_project(self, project_id: int, **fields: object) -> Json:
        """Change fields; fires PROJECT_UPDATED at every webhook, also at ours. Raises StudioGone."""
        return as_dict(self._project("PATCH", project_id, "", body=fields), "api/projects/")

    def projects_titled(self, title: str) -> list[Json]:
        """Up to a thousand projects whose title contains this."""
        answer = as_dict(self._get("api/projects/", {"title": title, "page_size": PAGE}), "api/projects/")
        return as_list(answer.get("results"), "api/projects/")

    def delete_project(self, project_id: int) -> None:
        """Delete a project with all that is in it; it may be gone already."""
        self._delete(f"api/projects/{project_id}/")

    def next_task(self, project_id: int) -> Json:
        """What Label All Tasks gives the token's owner now; it stays locked for them. Raises StudioGone: none left."""
        return as_dict(self._project("GET", project_id, "next/"), "next/")

    def annotate(self, task_id: int) -> None:
        """Submit an annotation without any region."""
        self._post(f"api/tasks/{task_id}/annotations/", {"result": []})

    def activate(self, project_id: int, name: str) -> None:
        """Make `name` the project's version: the next task follows its scores. One prediction of it must be there.

        Raises StudioRefused when Label Studio does not take it, or takes it and forgets it.
        """
        self.update_project(project_id, model_version=name)
        if self.project(project_id).get("model_version") != name:
            raise StudioRefused(
                f"Label Studio did not keep {name} as the project's version: the order of tasks is random now.",
                "See in the project's settings (Annotation) whether somebody else selects one; then rank it again.",
            )

    def delete_model_version(self, project_id: int, name: str) -> int:
        """Delete a version's predictions; how many. Whatever other version was active is so afterwards.

        Label Studio unsets the project's version on *any* deletion while a backend's title is selected, so it is read
        back and set again.
        """
        active = self.project(project_id).get("model_version")
        body = {"model_version": name}
        answer = self._project("DELETE", project_id, "model-versions/", body=body, timeout_s=DELETE_TIMEOUT_S)
        if active and active != name and self.project(project_id).get("model_version") != active:
            self.activate(project_id, active)
        return int(field(answer, "deleted_predictions", "model-versions/"))

    # Backends, webhooks, views

    def backends(self, project_id: int) -> list[Json]:
        """The ML backends of a project. Label Studio calls /health and /setup of each before it answers."""
        return self._listing("api/ml/", project_id)

    def add_backend(self, project_id: int, url: str, title: str, **fields: object) -> Json:
        """Connect an ML backend. On StudioRefused look at `backends`: Label Studio may have added it all the same."""
        return self._post("api/ml/", {"project": project_id, "url": url, "title": title, **fields})

    def update_backend(self, backend_id: int, project_id: int, url: str, **fields: object) -> Json:
        """Change fields of a backend; Label Studio tries the connection first. It needs project and address always."""
        return self._patch(f"api/ml/{backend_id}", {"project": project_id, "url": url, **fields})

    def delete_backend(self, backend_id: int) -> None:
        """Disconnect an ML backend; it may be gone already. Its webhook stays."""
        self._delete(f"api/ml/{backend_id}")

    def webhooks(self, project_id: int) -> list[Json]:
        """The webhooks of a project."""
        return self._listing("api/webhooks/", project_id)

    def create_webhook(self, project_id: int, url: str, **fields: object) -> Json:
        """A webhook for all actions, with payload, unless `fields` (headers, actions, …) say otherwise."""
        wide = {"send_payload": True, "send_for_all_actions": True}
        return self._post("api/webhooks/", {"project": project_id, "url": url, **wide, **fields})

    def update_webhook(self, webhook_id: int, **fields: object) -> Json:
        """Change fields of a webhook. Raises NotFound."""
        return self._patch(f"api/webhooks/{webhook_id}/", fields)

    def delete_webhook(self, webhook_id: int) -> None:
        """Delete a webhook; it may be gone already."""
        self._delete(f"api/webhooks/{webhook_id}/")

    def views(self, project_id: int) -> list[Json]:
        """The tabs of a project's Data Manager."""
        return self._listing("api/dm/views/", project_id)

    def create_view(self, project_id: int, data: Json) -> Json:
        """A tab; `data` has title, ordering, filters, … as the Data Manager writes them."""
        return self._post("api/dm/views/", {"project": project_id, "data": data})

    def update_view(self, view_id: int, data: Json) -> Json:
        """Replace a tab's `data`. Raises NotFound."""
        return self._patch(f"api/dm/views/{view_id}/", {"data": data})

    def delete_view(self, view_id: int) -> None:
        """Delete a tab; it may be gone already."""
        self._delete(f"api/dm/views/{view_id}/")

    def _listing(self, path: str, project_id: int) -> list[Json]:
        """What belongs to a project. Some lists call an unknown project a wrong argument, so ask for it then."""
        try:
            return as_list(self._http.ask(Call("GET", path, {"project": project_id}, gone=StudioGone)), path)
        except StudioRefused:
            self.project(project_id)
            raise

    def _post(self, path: str, body: Json) -> Json:
        return as_dict(self._http.ask(Call("POST", path, body=body)), path)

    def _patch(self, path: str, body: Json) -> Json:
        return as_dict(self._http.ask(Call("PATCH", path, body=body)), path)
