"""Reading a project's tasks and writing its releases, without a gap and without a double.

Label Studio's bulk calls promise little: pages shift, bad predictions are dropped in silence, and what is sent twice is
stored twice, which spoils the order. Knows nothing of what a prediction means.
"""

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from edgewise.errors import NotFound, StudioGone
from edgewise.services.studio_http import TRIES, Call, Http, Json, NoAnswer, as_dict, as_list, field, garbage

Prediction = Mapping[str, Any]

CHUNK = 5000  # predictions per push: 5 MB, and some seconds
IDS_PER_QUERY = 100  # keeps the request line under the 4,094 bytes that gunicorn takes
PAGE = 1000
BULK_TIMEOUT_S = 300.0
# `include` filters the keys of nested annotations too: what is not named here is missing there.
TASK_FIELDS = (
    "id,data,annotations,updated_at,overlap,"
    "result,was_cancelled,ground_truth,completed_by,lead_time,parent_prediction,result_count"
)
PREDICTION_FIELDS = "id,predictions,model_version,score,result"
SCORE = "predictions_score"
LISTED_VERSIONS_LIMIT = 500  # Label Studio cuts its text of a task's versions there


class Bulk:
    """The bulk calls of one Label Studio; `studio.Studio` adds the small ones."""

    def __init__(self, http: Http, settle_s: float) -> None:
        self._http = http
        self._settle_s = settle_s

    def task_pages(
        self, project_id: int, updated_after: str | None = None, page_size: int = 500
    ) -> Iterator[list[Json]]:
        """Tasks with annotations, in pages, by id: dicts with id, data, annotations, updated_at, overlap.

        `updated_after`: ISO time in UTC as Label Studio writes it: only tasks changed later, be it by a new, edited,
        skipped or deleted annotation. A page is asked for by "id greater than the last one seen", not by its number:
        while people annotate, tasks enter and leave the filter, and numbered pages would shift and lose one between
        two of them. What changes behind our back is later than the start of this reading and found by the next one,
        whose watermark lies two minutes before that start: that also covers a transaction that took its time before
        our reading and ended after it. Upserts make the overlap harmless.
        """
        filters = [_filter("updated_at", "greater", "Datetime", updated_after)] if updated_after else []
        return self._pages(project_id, filters, TASK_FIELDS, page_size)

    def tasks(self, project_id: int, task_ids: Sequence[int] | set[int]) -> list[Json]:
        """Those of the given tasks that exist, as `task_pages` gives them, by id."""
        found: list[Json] = []
        ids = sorted(set(task_ids))
        for start in range(0, len(ids), IDS_PER_QUERY):
            filters = [_filter("id", "in_list", "List", ids[start : start + IDS_PER_QUERY])]
            for page in self._pages(project_id, filters, TASK_FIELDS, IDS_PER_QUERY):
                found += page
        return found

    def first_tasks(self, project_id: int, limit: int) -> list[Json]:
        """At most so many tasks, the oldest: `id` and `data` of each."""
        params: dict[str, str | int] = {"project": project_id, "page": 1, "page_size": limit, "fields": "task_only"}
        answer = self._get("api/tasks/", params | {"include": "id,data"})
        return as_list(field(answer, "tasks", "api/tasks/"), "api/tasks/")

    def open_and_scored(self, project_id: int) -> tuple[int, bool]:
        """How many tasks nobody has annotated yet, and whether any of them has a score in the Data Manager's column.
        The project must have a task, or Label Studio fails."""
        ordered = {"ordering": [f"-tasks:{SCORE}"], "filters": _all(_filter("total_annotations", "equal", "Number", 0))}
        params: dict[str, str | int] = {"project": project_id, "page": 1, "page_size": 1, "query": json.dumps(ordered)}
        params |= {"fields": "all", "include": f"id,{SCORE}"}
        answer = self._http.ask(Call("GET", "api/tasks/", params, gone=StudioGone))
        first = as_list(field(answer, "tasks", "api/tasks/"), "api/tasks/")[:1]  # those without a score come last
        return int(field(answer, "total", "api/tasks/")), any(task.get(SCORE) is not None for task in first)

    def predictions(self, project_id: int, task_ids: Sequence[int] | set[int]) -> list[Json]:
        """All predictions of the given tasks, of every version: dicts with id, task, model_version, score, result."""
        found: list[Json] = []
        ids = sorted(set(task_ids))
        for start in range(0, len(ids), IDS_PER_QUERY):
            filters = [_filter("id", "in_list", "List", ids[start : start + IDS_PER_QUERY])]
            for page in self._pages(project_id, filters, PREDICTION_FIELDS, IDS_PER_QUERY):
                found += [one | {"task": task["id"]} for task in page for one in task.get("predictions") or []]
        return found

    def task_ids(self, project_id: int) -> set[int]:
        """Ids of all tasks: a deleted task appears in no filter and is only found by comparing."""
        return {task["id"] for page in self._pages(project_id, [], "id", PAGE) for task in page}

    def import_tasks(self, project_id: int, tasks: Sequence[Json]) -> list[int]:
        """Add tasks, `{"data": {…}}` each; their ids in order. Not to be repeated blindly: it adds them again."""
        answer = self._project(
            "POST", project_id, "import?return_task_ids=true", body=list(tasks), timeout_s=BULK_TIMEOUT_S
        )
        return [int(number) for number in as_list(field(answer, "task_ids", "import"), "import")]

    def last_task_id(self, project_id: int) -> int:
        """The highest id of the project's tasks, 0 without any: whatever is imported from now on is above it."""
        params: dict[str, str | int] = {"project": project_id, "page": 1, "page_size": 1, "fields": "task_only"}
        answer = self._get("api/tasks/", params | {"include": "id"})
        total = int(field(answer, "total", "api/tasks/"))
        if total > 1:  # tasks are listed by id, so the last page has the last one
            answer = self._get("api/tasks/", params | {"include": "id", "page": total})
        page = as_list(field(answer, "tasks", "api/tasks/"), "api/tasks/")
        return int(page[-1]["id"]) if page else 0

    def arrived_above(self, project_id: int, task_id: int) -> list[Json]:
        """Tasks with a higher id, `id` and `data` of each, once no more of them come: after a call without answer."""
        above = [_filter("id", "greater", "Number", task_id)]
        found: list[Json] = []
        while True:
            time.sleep(self._settle_s)
            now = [task for page in self._pages(project_id, above, "id,data", PAGE) for task in page]
            if len(now) == len(found):
                return now
            found = now

    def delete_tasks(self, project_id: int, task_ids: Sequence[int]) -> None:
        """Delete tasks with all that people did in them; some may be gone already."""
        for start in range(0, len(task_ids), PAGE):
            chosen = {"all": False, "included": list(task_ids[start : start + PAGE])}
            path = f"api/dm/actions?id=delete_tasks&project={project_id}"
            body = {"selectedItems": chosen}
            self._http.ask(Call("POST", path, body=body, timeout_s=BULK_TIMEOUT_S, gone=StudioGone))

    def people(self) -> set[int]:
        """Ids of all users: only theirs may stand in `completed_by` of what is imported."""
        return {int(field(one, "id", "api/users/")) for one in as_list(self._get("api/users/"), "api/users/")}

    def push_release(
        self,
        project_id: int,
        name: str,
        predictions: Sequence[Prediction],
        *,
        progress: Callable[[int], None] | None = None,
    ) -> list[int]:
        """Store predictions under version `name`; ids of the tasks whose prediction Label Studio dropped, usually none.

        predictions: `task`, `result`, `score` in [0, 1]; a task once at most; none that `carrying` has already: after
        a crash ask it first. progress: told after each chunk how many of `predictions`, from the first, are done.
        A chunk without answer is sent again only for the tasks that do not carry `name`.
        """
        if len({prediction["task"] for prediction in predictions}) < len(predictions):
            raise ValueError("a task appears twice in a release")
        dropped: list[int] = []
        for start in range(0, len(predictions), CHUNK):
            chunk = predictions[start : start + CHUNK]
            dropped += self._push_chunk(project_id, name, chunk)
            if progress:
                progress(start + len(chunk))
        return dropped

    def push_one(self, project_id: int, name: str, prediction: Prediction) -> None:
        """Store one prediction under version `name`, as one of `push_release`. Nothing is checked there: what is no
        prediction for the project's config is stored all the same.

        Raises StudioRefused if the task is gone, StudioUnavailable without an answer: then it may be stored or not.
        """
        body = {"task": prediction["task"], "result": prediction["result"], "score": prediction["score"]}
        self._http.ask(Call("POST", "api/predictions/", body=body | {"model_version": name, "project": project_id}))

    def carrying(self, project_id: int, name: str) -> set[int]:
        """Ids of the tasks that have a prediction of version `name`. About 0.4 s for 1,000."""
        return {task["id"] for task in self._carriers(project_id, name)}

    def missing(self, project_id: int, name: str, predictions: Sequence[Prediction]) -> list[Prediction]:
        """Those of `predictions` that are not stored under version `name`. Known by their scores: a task whose text was
        edited carries the one of its older text."""
        held = self.predictions(project_id, {one["task"] for one in predictions})
        stored = {(one["task"], one["score"]) for one in held if one["model_version"] == name}
        return [one for one in predictions if (one["task"], one["score"]) not in stored]

    def remove_doubles(self, project_id: int, name: str) -> int:
        """Leave each task its newest prediction of version `name`: an older one may be of an older text.

        Returns how many were removed. Cheap when there are none; a few are found at once where Label Studio's count of
        a task's predictions is up to date, and where it is not with a call for each 100 tasks.
        """
        unlisted = {task["id"]: _unlisted(task) for task in self._carriers(project_id, name)}
        surplus = self.model_versions(project_id).get(name, 0) - len(unlisted)
        likely_first = sorted(unlisted, key=unlisted.__getitem__, reverse=True)
        older = list(islice(self._older(project_id, name, likely_first), max(0, surplus)))
        for number in older:
            self._delete(f"api/predictions/{number}/")
        return len(older)

    def model_versions(self, project_id: int) -> dict[str, int]:
        """How many predictions there are of each version."""
        answer = as_dict(self._project("GET", project_id, "model-versions/"), "model-versions/")
        return {str(version): int(count) for version, count in answer.items()}

    def _push_chunk(self, project_id: int, name: str, chunk: Sequence[Prediction]) -> list[int]:
        try:
            created = self._import(project_id, name, chunk)
        except NoAnswer:
            self._push_missing(project_id, name, chunk)
            created = -1
        if created == len(chunk):
            return []
        carried = self.carrying(project_id, name)
        return [prediction["task"] for prediction in chunk if prediction["task"] not in carried]

    def _push_missing(self, project_id: int, name: str, chunk: Sequence[Prediction]) -> None:
        """Finish a chunk whose answer was lost: it may be stored wholly, partly, not at all, or be on its way."""
        for attempt in range(1, TRIES):
            carried = self._settled(project_id, name)
            missing = [prediction for prediction in chunk if prediction["task"] not in carried]
            try:
                if missing:
                    self._import(project_id, name, missing)
                break
            except NoAnswer:
                if attempt == TRIES - 1:
                    raise
        self.remove_doubles(project_id, name)  # the lost chunk may have arrived after all, later than we waited for it

    def _import(self, project_id: int, name: str, predictions: Sequence[Prediction]) -> int:
        body = [
            {"task": one["task"], "result": one["result"], "score": one["score"], "model_version": name}
            for one in predictions
        ]
        answer = self._project("POST", project_id, "import/predictions", body=body, timeout_s=BULK_TIMEOUT_S)
        return int(field(answer, "created", "import/predictions"))

    def _settled(self, project_id: int, name: str) -> set[int]:
        """What carries `name` once that stands still: Label Studio may still be at work on a call that we gave up."""
        before = self.carrying(project_id, name)
        while True:
            time.sleep(self._settle_s)
            now = self.carrying(project_id, name)
            if now == before:
                return now
            before = now

    def _carriers(self, project_id: int, name: str) -> Iterator[Json]:
        """The tasks that have a prediction of version `name`, with what Label Studio lists and counts of all theirs."""
        filters = [_filter("predictions_model_versions", "contains", "List", [name])]  # also finds ew-12 for ew-1
        for page in self._pages(project_id, filters, "id,predictions_model_versions,total_predictions", PAGE):
            yield from (task for task in page if self._carries(task, name))

    def _carries(self, task: Json, name: str) -> bool:
        listed = str(task.get("predictions_model_versions", ""))
        is_cut = len(listed) >= LISTED_VERSIONS_LIMIT  # then the last name may be the beginning of another
        whole = [version.strip() for version in listed.split(",")][: -1 if is_cut else None]
        return name in whole or (is_cut and bool(self._predictions(task["id"], name)))

    def _older(self, project_id: int, name: str, task_ids: Sequence[int]) -> Iterator[int]:
        """Ids of the predictions of version `name` that are not their task's newest, in the order of the tasks."""
        for start in range(0, len(task_ids), IDS_PER_QUERY):
            by_task: dict[int, list[int]] = defaultdict(list)
            for one in self.predictions(project_id, task_ids[start : start + IDS_PER_QUERY]):
                if one["model_version"] == name:
                    by_task[one["task"]].append(one["id"])
            for numbers in by_task.values():
                yield from sorted(numbers)[:-1]

    def _predictions(self, task_id: int, name: str) -> list[int]:
        """Ids of a task's predictions of version `name`, the oldest first."""
        answer = as_list(self._get("api/predictions/", {"task": task_id}), "api/predictions/")
        return sorted(prediction["id"] for prediction in answer if prediction.get("model_version") == name)

    def _pages(self, project_id: int, filters: list[Json], include: str, page_size: int) -> Iterator[list[Json]]:
        """Pages of tasks with the `include`d keys, by rising id, each asked for by the last id of the one before."""
        last, remaining = 0, 1
        while remaining > 0:
            items = [*filters, _filter("id", "greater", "Number", last)]
            query = json.dumps({"filters": _all(*items)}, separators=(",", ":"))
            params: dict[str, str | int] = {"project": project_id, "page": 1, "page_size": page_size, "query": query}
            params |= {"fields": "all", "include": include}
            answer = self._http.ask(Call("GET", "api/tasks/", params, timeout_s=BULK_TIMEOUT_S, gone=StudioGone))
            page = as_list(field(answer, "tasks", "api/tasks/"), "api/tasks/")
            remaining = int(field(answer, "total", "api/tasks/")) - len(page)
            if page:
                last = _last_id(page, last)
                yield page
            elif remaining > 0:
                raise garbage("api/tasks/")

    def _project(self, method: str, project_id: int, rest: str, **options: Any) -> Any:
        return self._http.ask(Call(method, f"api/projects/{project_id}/{rest}", gone=StudioGone, **options))

    def _get(self, path: str, params: Mapping[str, str | int] | None = None) -> Any:
        return self._http.ask(Call("GET", path, params))

    def _delete(self, path: str) -> None:
        try:
            self._http.ask(Call("DELETE", path))
        except NotFound:
            return


def _filter(column: str, operator: str, kind: str, value: object) -> Json:
    return {"filter": f"filter:tasks:{column}", "operator": operator, "type": kind, "value": value}


def _all(*items: Json) -> Json:
    return {"conjunction": "and", "items": list(items)}


def _last_id(page: list[Any], before: int) -> int:
    """The greatest id of a page whose ids rise from `before`: unsorted we should miss tasks, not rising never end."""
    for task in page:
        number = task.get("id") if isinstance(task, dict) else None
        if not isinstance(number, int) or number <= before:
            raise garbage("api/tasks/")
        before = number
    return before


def _unlisted(task: Json) -> int:
    """How many more predictions a task has than versions of them, by Label Studio's own count."""
    return int(task.get("total_predictions") or 0) - len(str(task.get("predictions_model_versions", "")).split(","))
