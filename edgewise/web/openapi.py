"""What our HTTP interface takes and answers, as OpenAPI 3.1. A test holds it against the routes that exist."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from edgewise.web.wire import MAX_ID, InstructionsBody, PredictBody, SamplesBody, SetupBody, WebhookBody

Json = dict[str, Any]

_ERROR: Json = {
    "description": "Refused or failed",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}
_PROJECT: Json = {
    "name": "ls_id",
    "in": "path",
    "required": True,
    "description": "Label Studio's project id",
    "schema": {"type": "integer", "minimum": 1, "maximum": MAX_ID},
}
_REPORT: Json = {"name": "report_id", "in": "path", "required": True, "schema": {"type": "string"}}
_JOB: Json = {"name": "job_id", "in": "path", "required": True, "schema": {"type": "string"}}
_LIMIT: Json = {
    "name": "limit",
    "in": "query",
    "schema": {"type": "integer", "minimum": 1, "maximum": 500, "default": 50},
}


def document(verbs: Sequence[str]) -> Json:
    """The whole interface; `verbs` are those that a project takes."""
    models: dict[str, type[BaseModel]] = {
        "SetupBody": SetupBody,
        "PredictBody": PredictBody,
        "WebhookBody": WebhookBody,
        "SamplesBody": SamplesBody,
        "InstructionsBody": InstructionsBody,
    }
    schemas: Json = dict(_ANSWERS)
    for name, model in models.items():
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {})
        schemas[name] = schema
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Edgewise",
            "version": "1",
            "description": "A Label Studio ML backend: the hardest task first.",
        },
        "security": [{"basic": []}],
        "paths": _studio_paths() | _project_paths(verbs) | _job_paths() | _machine_paths() | _people_paths(),
        "components": {"securitySchemes": {"basic": {"type": "http", "scheme": "basic"}}, "schemas": schemas},
    }


def _studio_paths() -> Json:
    webhook = _open("Something happened in a project", "Noted", body="WebhookBody", status=201)
    webhook["description"] = "With X-Edgewise-Secret or basic auth. Actions that do not concern us answer 200."
    webhook["responses"]["200"] = webhook["responses"]["201"] | {"description": "Nothing that concerns us"}
    return {
        "/health": {"get": _open("Alive, whatever else is away", "Health")},
        "/setup": {"post": _call("Label Studio introduces a project", "Setup", body="SetupBody")},
        "/predict": {"post": _call("One prediction for each task, in order", "Predictions", body="PredictBody")},
        "/webhook": {"post": webhook},
        "/versions": {"get": _call("Names of the model versions", "Versions")},
    }


def _project_paths(verbs: Sequence[str]) -> Json:
    verb = {"name": "verb", "in": "path", "required": True, "schema": {"type": "string", "enum": list(verbs)}}
    return {
        "/select_samples": {"post": _call("The hardest open tasks, hardest first", "Samples", body="SamplesBody")},
        "/projects/{ls_id}/status": {"get": _call("What the project is doing, and why not more", "Object", [_PROJECT])},
        "/projects/{ls_id}/numbers": {
            "get": _call(
                "Curves with their intervals, advice, versions, what became of pre-labels", "Numbers", [_PROJECT]
            )
        },
        "/projects/{ls_id}/instructions": {
            "get": _call("What the language model is told", "Instructions", [_PROJECT]),
            "put": _call("Tell it something else: a new version", "Instructions", [_PROJECT], body="InstructionsBody"),
        },
        "/projects/{ls_id}/llm_runs": {"get": _call("What was sent to which language model", "LlmRuns", [_PROJECT])},
        "/projects/{ls_id}/reports": {"get": _call("What was measured, newest first", "Reports", [_PROJECT, _LIMIT])},
        "/projects/{ls_id}/reports/{report_id}": {"get": _call("One report, whole", "Object", [_PROJECT, _REPORT])},
        "/projects/{ls_id}/{verb}": {
            "post": _call("Queue a verb; the job", "Object", [_PROJECT, verb], body="Options", status=202)
        },
    }


def _job_paths() -> Json:
    return {
        "/jobs": {"get": _call("The latest jobs", "Jobs", [_LIMIT])},
        "/jobs/{job_id}": {"get": _call("One job", "Object", [_JOB])},
        "/jobs/{job_id}/cancel": {"post": _call("Cancel a job", "Object", [_JOB])},
    }


def _machine_paths() -> Json:
    ready = _open("Whether all parts work", "Ready")
    ready["responses"]["503"] = ready["responses"]["200"] | {"description": "A part does not work"}
    metrics = _call("Numbers for Prometheus", "Object")
    metrics["responses"]["200"]["content"] = {"text/plain": {"schema": {"type": "string"}}}
    return {
        "/ready": {"get": ready},
        "/metrics": {"get": metrics},
        "/openapi.json": {"get": _call("This document", "Object")},
    }


def _people_paths() -> Json:
    filename = {"name": "filename", "in": "path", "required": True, "schema": {"type": "string"}}
    form = {"type": "object", "properties": {"csrf": _STRING, "version": _STRING}, "required": ["csrf", "version"]}
    rollback = _page("Serve an earlier version, and see the page again", [_PROJECT], status=303)
    rollback["requestBody"] = {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": form}}}
    return {
        "/dashboard": {"get": _page("All projects, for people")},
        "/dashboard/{ls_id}": {"get": _page("One project, for people", [_PROJECT])},
        "/dashboard/{ls_id}/rollback": {"post": rollback},
        "/dashboard/static/{filename}": {"get": _page("The pages' styles and scripts", [filename])},
    }


def _page(summary: str, parameters: Sequence[Json] = (), *, status: int = 200) -> Json:
    """An operation that answers with a page, errors too."""
    told = {"description": summary, "content": {"text/html": {"schema": {"type": "string"}}}}
    responses = {str(status): told, "default": told | {"description": "Refused or failed"}}
    return {"summary": summary, "parameters": list(parameters), "responses": responses}


def _call(
    summary: str, answer: str, parameters: Sequence[Json] = (), *, body: str | None = None, status: int = 200
) -> Json:
    """One operation; `answer` and `body` name schemas."""
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{answer}"}}}
    operation: Json = {
        "summary": summary,
        "parameters": list(parameters),
        "responses": {str(status): {"description": summary, "content": content}, "default": _ERROR},
    }
    if body:
        operation["requestBody"] = {
            "required": body != "Options",
            "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{body}"}}},
        }
    return operation


def _open(summary: str, answer: str, *, body: str | None = None, status: int = 200) -> Json:
    """An operation that asks for no basic auth."""
    return _call(summary, answer, body=body, status=status) | {"security": []}


def _object(**properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": list(properties)}


_STRING: Json = {"type": "string"}
_OBJECT: Json = {"type": "object"}
_SHARE: Json = {"type": "number", "minimum": 0, "maximum": 1}

_UNSURE: Json = _SHARE | {"type": ["number", "null"], "description": "null in the cold start: nobody can tell"}

_ANSWERS: Json = {
    "Error": _object(error=_object(what=_STRING, mend=_STRING)),
    "Health": _object(status={"const": "UP"}),
    "Setup": _object(model_version=_STRING),
    "Noted": _object(status=_STRING),
    "Versions": _object(versions={"type": "array", "items": _STRING}),
    "Jobs": _object(jobs={"type": "array", "items": _OBJECT}),
    "LlmRuns": _object(runs={"type": "array", "items": _OBJECT}),
    "Reports": _object(reports={"type": "array", "items": _OBJECT}),
    "Numbers": _object(
        held_out=_object(tasks={"type": "integer"}, enough={"type": "boolean"}),
        curves={"type": "object", "description": "By head: measure, points (oldest first)"},
        advice={"type": ["object", "null"]},
        versions={"type": "array", "items": _OBJECT},
        pace={"type": ["object", "null"]},
        feedback={"type": "array", "items": _OBJECT},
        saving={"type": ["object", "null"]},
        label_errors={"type": ["object", "null"]},
        improve={"type": ["object", "null"], "description": "The newest rounds of improve"},
    ),
    "Ready": _object(ready={"type": "boolean"}),
    "Instructions": _object(
        version={"type": ["integer", "null"]}, text=_STRING, created_at={"type": ["string", "null"]}
    ),
    "Object": _OBJECT,
    "Options": {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean", "null"]}},
    "Predictions": _object(
        results={
            "type": "array",
            "items": _object(result={"type": "array", "items": _OBJECT}, score=_SHARE, model_version=_STRING),
        }
    ),
    "Samples": _object(
        project_id={"type": "integer"},
        model_version={"type": ["string", "null"]},
        task_ids={"type": "array", "items": {"type": "integer"}},
        samples={
            "type": "array",
            "items": _object(
                task_id={"type": "integer"}, uncertainty=_UNSURE, above_threshold={"type": "boolean"}, reason=_STRING
            ),
        },
        pool_size={"type": "integer"},
    ),
}
