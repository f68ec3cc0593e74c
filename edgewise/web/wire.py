"""Label Studio's ML-backend protocol as typed values. No Flask.

Knows what Label Studio sends and what it makes of each answer. Knows nothing of routes, databases or models.
"""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, FailFast, Field, ValidationError

from edgewise.errors import InputError

Json = dict[str, Any]
log = logging.getLogger(__name__)

# Label Studio's project ids are 32-bit integers in its database, and ours.
MAX_ID = 2**31 - 1
MAX_TASK_ID = 2**63 - 1  # larger ones no database can be asked for

# An answer of 10,000 samples with reasons is about 3 MB; nobody labels more in one sitting.
MAX_SAMPLES = 10_000

# Two or three pages: they go with every question to the language model, and are paid for each time.
MAX_INSTRUCTIONS = 20_000

# Reading 60 MB of JSON took 0.8 s here, of the one second that Label Studio waits; 1 MB is read in 15 ms.
SMALL_WEBHOOK_BYTES = 1_000_000

# On the webhook, put there by `connect`: Label Studio sends no basic auth with it.
SECRET_HEADER = "X-Edgewise-Secret"

# Stands in for a prediction that Label Studio could not store.
UNPREDICTED: Json = {"result": [], "score": 0.0, "model_version": "edgewise-unpredicted"}

START_TRAINING = "START_TRAINING"  # a call of its own, no event
EVENTS = (
    "PROJECT_UPDATED",
    "TASKS_CREATED",
    "TASKS_DELETED",
    "ANNOTATION_CREATED",
    "ANNOTATIONS_CREATED",
    "ANNOTATION_UPDATED",
    "ANNOTATIONS_DELETED",
)
ACTIONS = frozenset({START_TRAINING, *EVENTS})


def _storable(text: str) -> str:
    """What no database can keep is refused here: half characters and NUL."""
    try:
        if b"\x00" not in text.encode():
            return text
    except UnicodeEncodeError:
        pass
    raise ValueError("it holds half a character, or NUL")


ProjectId = Annotated[int, Field(ge=1, le=MAX_ID)]
Text = Annotated[str, AfterValidator(_storable)]


@dataclass(frozen=True, slots=True)
class SetupRequest:
    """/setup: which project this is. created_at: whole seconds since 1970, as text. backend_url: how we were called.

    The access token of the body is neither kept nor logged: credentials come from settings alone.
    """

    ls_id: int
    created_at: str
    label_config: str
    hostname: str
    backend_url: str


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """/predict: each task has a dict under `data`, and an int under `id` or no id.

    drawn: the regions that an annotator has just drawn, None unless the call is interactive.
    """

    ls_id: int
    label_config: str
    tasks: tuple[Json, ...]
    drawn: tuple[Json, ...] | None


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """/webhook: something happened in a project. created_at: as in `SetupRequest`, None if it was not told."""

    action: str
    ls_id: int
    created_at: str | None
    label_config: str | None


class SamplesBody(BaseModel):
    """Body of /select_samples."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    project_id: ProjectId
    limit: Annotated[int, Field(ge=1, le=MAX_SAMPLES)] | None = None
    strategy: Annotated[Text, Field(min_length=1, max_length=64)] | None = None
    threshold: Annotated[float, Field(ge=0, le=1)] | None = None


class InstructionsBody(BaseModel):
    """Body of PUT /projects/<id>/instructions."""

    model_config = ConfigDict(strict=True, extra="forbid")
    text: Annotated[str, Field(max_length=MAX_INSTRUCTIONS)]


class SetupBody(BaseModel):
    """Body of /setup. `extra_params` is null whenever anybody edits the backend, so it is not read at all."""

    model_config = ConfigDict(strict=True)
    project: Annotated[str, Field(pattern=r"^[0-9]{1,10}\.[0-9]{1,12}$")]
    label_config: Text = Field(alias="schema")
    hostname: Text | None = None


class Context(BaseModel):
    """What an annotator has just drawn."""

    model_config = ConfigDict(strict=True)
    result: Annotated[list[Json], FailFast()] = []


class Params(BaseModel):
    """`params` of /predict; its login and password are not read."""

    model_config = ConfigDict(strict=True)
    context: Context | None = None


class PredictBody(BaseModel):
    """Body of /predict."""

    model_config = ConfigDict(strict=True)
    tasks: Annotated[list[Json], FailFast()]
    project: Annotated[str, Field(pattern=r"^[0-9]{1,10}(\.[0-9]{1,12})?$")]
    label_config: Text
    params: Params | None = None


class WebhookProject(BaseModel):
    """What we read of a webhook's project."""

    model_config = ConfigDict(strict=True)
    id: ProjectId
    created_at: str | None = None
    label_config: Text | None = None


class WebhookAction(BaseModel):
    """What every webhook has."""

    model_config = ConfigDict(strict=True)
    action: Annotated[str, Field(max_length=64)]


class WebhookBody(WebhookAction):
    """What we read of a webhook that is about a project."""

    project: WebhookProject


Body = TypeVar("Body", bound=BaseModel)


def parse_json(raw: bytes) -> Any:
    """JSON of a body, whatever its content type. NaN and Infinity are not JSON. Raises InputError."""
    try:
        return json.loads(raw, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise InputError("The body is not JSON.", "Send a JSON object, in UTF-8.") from None


def read_body(model: type[Body], value: object) -> Body:
    """A body as a value of its model. Raises InputError that names each wrong field, never its content."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
    if not isinstance(value, dict):
        raise InputError("The body is not a JSON object.", "Send a JSON object; /openapi.json shows which.")
    named = [f"{'.'.join(map(str, fault['loc']))[:80]}: {fault['msg'].lower()}" for fault in faults]
    more = f" And {len(named) - 3} more." if len(named) > 3 else ""
    raise InputError(
        f"The body is not as it should be. {'; '.join(named[:3])}.{more}",
        "Correct the named fields; /openapi.json shows what they take.",
    )


def parse_setup(raw: bytes, backend_url: str) -> SetupRequest:
    """The body of /setup. Raises InputError."""
    body = read_body(SetupBody, parse_json(raw))
    ls_id, created_at = body.project.split(".")
    return SetupRequest(_project_id(ls_id), created_at, body.label_config, body.hostname or "", backend_url)


def parse_predict(raw: bytes) -> PredictRequest:
    """The body of /predict. Raises InputError. A task without data is kept, with none: it gets an empty answer."""
    body = read_body(PredictBody, parse_json(raw))
    context = body.params.context if body.params else None
    tasks = tuple(_task(position, task) for position, task in enumerate(body.tasks))
    drawn = tuple(context.result) if context else None
    return PredictRequest(_project_id(body.project.partition(".")[0]), body.label_config, tasks, drawn)


def parse_webhook(raw: bytes) -> WebhookEvent | None:
    """The body of /webhook; None if the action does not concern us. Of a large body only action and project are read.

    Raises InputError.
    """
    head = _head_of_large(raw) if len(raw) > SMALL_WEBHOOK_BYTES else None
    value = head or parse_json(raw)
    if read_body(WebhookAction, value).action not in ACTIONS:
        return None
    body = read_body(WebhookBody, value)
    project = body.project
    return WebhookEvent(body.action, project.id, _epoch(project.created_at), project.label_config)


def render_predictions(entries: Sequence[Json], how_many: int) -> str:
    """The answer to /predict, as JSON.

    Label Studio discards the whole batch for a missing entry, and shows the annotator an error for a null or a score
    that is a string: so an entry that it could not store is replaced by an empty one.
    Raises ValueError if there is not one entry for each task.
    """
    if len(entries) != how_many:
        raise ValueError(f"{len(entries)} predictions for {how_many} tasks")
    rendered = [_rendered(entry) for entry in entries]
    broken = rendered.count(None)
    if broken:
        log.error("%d of %d predictions were not fit to send and are answered empty", broken, how_many)
    empty = json.dumps(UNPREDICTED)
    return f'{{"results": [{", ".join(entry or empty for entry in rendered)}]}}'


def _rendered(entry: object) -> str | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("result"), list):
        return None
    score, version = entry.get("score"), entry.get("model_version")
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        return None
    if not isinstance(version, str) or not version:
        return None
    try:
        return json.dumps(entry, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return None


def _task(position: int, task: Json) -> Json:
    task_id, data = task.get("id"), task.get("data")
    is_integer = isinstance(task_id, int) and not isinstance(task_id, bool)
    if task_id is not None and not (is_integer and abs(task_id) <= MAX_TASK_ID):
        raise InputError(f"tasks.{position}.id is not an integer of 64 bits.", "Send tasks as Label Studio does.")
    return task if isinstance(data, dict) else {**task, "data": {}}


def _project_id(digits: str) -> int:
    ls_id = int(digits)
    if not 1 <= ls_id <= MAX_ID:
        raise InputError("project: no project has such an id.", "Send `project` as Label Studio does: id.created_at")
    return ls_id


def _epoch(created_at: str | None) -> str | None:
    """A project's `created_at` as /setup has it: whole seconds since 1970."""
    try:
        moment = datetime.fromisoformat(created_at or "")
    except ValueError:
        return None
    return str(int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()))


_ACTION = re.compile(rb'\s*\{\s*"action"\s*:\s*"([A-Z_]{1,64})"')
_PROJECT = re.compile(rb'"project"\s*:\s*(?=\{)')


def _head_of_large(raw: bytes) -> Mapping[str, Any] | None:
    """Action and project of a large webhook without reading its tasks; None if that would be a guess.

    Quotes inside JSON strings are escaped, so the pattern finds keys alone. A task's data may have an object of that
    name too: only if there is a single one it must be the body's own.
    """
    action = _ACTION.match(raw)
    projects = list(_PROJECT.finditer(raw))
    if action is None or len(projects) != 1:
        return None
    try:
        start = projects[0].end()
        project, _ = json.JSONDecoder().raw_decode(raw[start : start + SMALL_WEBHOOK_BYTES].decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return {"action": action[1].decode(), "project": project}


def _refuse_constant(name: str) -> None:
    raise ValueError(name)
