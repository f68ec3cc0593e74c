"""Requests that nobody should send, by the thousand: by our own OpenAPI document, and Label Studio's bodies damaged."""

import json
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from edgewise.web.openapi import document
from edgewise.web.server import VERBS
from tests.fuzz.conftest import PASSWORD, REQUESTS, USER, Caller, share_of
from tests.fuzz.damage import ODD, broken_bytes, damaged

schema = schemathesis.openapi.from_dict(document(VERBS))
OPERATIONS = {found.ok().label: found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)}
CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
UNKNOWN = 999_999  # no project has this id
PROJECT = "{ls_id}"


def many(whole: int, *, at_least: int = 1) -> settings:
    """So many examples, when 20,000 requests are sent. Nothing is kept between runs."""
    return settings(
        max_examples=share_of(whole, at_least=at_least),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )


def takes_something(operation: Any) -> bool:
    """Whether there is anything about a request of it that could be wrong."""
    return bool(operation.path_parameters or operation.query or operation.body)


def cases(label: str, project: int, mode: GenerationMode) -> Any:
    """Requests of an operation, as its document has them or as it has them not; half of them about our project."""
    operation = OPERATIONS[label]
    free = operation.as_strategy(generation_mode=mode)
    if PROJECT not in label:
        return free
    ours = operation.as_strategy(generation_mode=mode, path_parameters={"ls_id": project})
    return st.sampled_from([ours, ours, ours, free]).flatmap(lambda chosen: chosen)


KINDS_OF_CASES = [(label, GenerationMode.POSITIVE) for label in OPERATIONS]
KINDS_OF_CASES += [(label, GenerationMode.NEGATIVE) for label, one in OPERATIONS.items() if takes_something(one)]


@pytest.mark.parametrize(("label", "mode"), KINDS_OF_CASES, ids=str)
def test_every_operation_answers_as_its_document_says(caller: Caller, label: str, mode: GenerationMode) -> None:
    @many(320, at_least=3)
    @given(cases(label, caller.project, mode))
    def send(case: Any) -> None:
        began = time.monotonic()
        answer = case.call(
            base_url=caller.url, session=caller.session, auth=(USER, PASSWORD), timeout=120, allow_redirects=False
        )
        raw = requests.Response()
        raw.status_code, raw._content, raw.encoding = answer.status_code, answer.content, "utf-8"
        caller.examine(urlsplit(case.formatted_path).path, raw, time.monotonic() - began)
        case.validate_response(answer, checks=CHECKS)

    send()


def about(body: Any, project: int) -> Any:
    """A recorded body about our project."""
    if isinstance(body.get("project"), dict):
        return body | {"project": body["project"] | {"id": project}}
    return body | {"project": f"{project}.1"}


def path_of(name: str) -> str:
    """Where Label Studio sent it."""
    return "/webhook" if name == "start_training" else f"/{name.partition('_')[0]}"


RECORDED = sorted(
    ["setup", "setup_after_label_config_change", "start_training", "predict_batch", "predict_interactive",
     "predict_one_task", "predict_task_with_annotations", "webhook_annotation_created",
     "webhook_annotation_created_ui_ner_emoji", "webhook_annotation_updated", "webhook_annotations_deleted_bulk",
     "webhook_annotations_created_from_predictions", "webhook_project_updated_label_config", "webhook_tasks_created",
     "webhook_tasks_deleted"]
)  # fmt: skip


@pytest.mark.parametrize("name", RECORDED)
def test_damaged_calls_of_label_studio_are_answered_or_refused(
    caller: Caller, bodies: dict[str, Any], name: str
) -> None:
    good = about(bodies[name], caller.project)
    path = path_of(name)

    @many(450, at_least=12)
    @given(damaged(good))
    def send(body: Any) -> None:
        answer = caller.send("POST", path, data=json.dumps(body), headers={"Content-Type": "application/json"})
        assert answer.status_code in (200, 201, 400, 404, 409, 413, 422, 503), answer.text
        if path == "/predict" and answer.status_code == 200:
            assert len(answer.json()["results"]) == len(body["tasks"])

    @many(100, at_least=4)
    @given(broken_bytes(good))
    def send_bytes(raw: bytes) -> None:
        assert caller.send("POST", path, data=raw).status_code in (200, 201, 400, 404, 409, 413, 422, 503)

    send()
    send_bytes()


@many(600, at_least=30)
@given(
    path=st.sampled_from(["/select_samples", "/projects/P/instructions", "/projects/P/train", "/projects/P/rollback"]),
    body=damaged({"project_id": 1, "limit": 10, "strategy": "boundary", "threshold": 0.5, "text": "Mark people."}),
)
def test_damaged_calls_of_ours_are_answered_or_refused(caller: Caller, path: str, body: Any) -> None:
    if isinstance(body, dict) and body.get("project_id") == 1:
        body["project_id"] = caller.project
    method = "PUT" if path.endswith("instructions") else "POST"
    caller.send(method, path.replace("P", str(caller.project), 1), data=json.dumps(body))


@many(600, at_least=30)
@given(
    path=st.sampled_from(["/jobs/", "/projects/", f"/projects/{UNKNOWN}/", "/dashboard/", "/dashboard/static/", "/"]),
    odd=st.sampled_from([one for one in ODD if isinstance(one, str)]) | st.text(max_size=30),
    name=st.sampled_from(["limit", "asked", "x"]),
)
def test_odd_paths_and_queries_are_answered_or_refused(caller: Caller, path: str, odd: str, name: str) -> None:
    said = quote(odd.encode("utf-8", "surrogatepass")[:2000], safe="/.")
    caller.send("GET", f"{path}{said}")
    caller.send("GET", f"/jobs?{name}={said}")


@many(300, at_least=20)
@given(st.dictionaries(
    st.sampled_from([b"Host", b"Authorization", b"X-Edgewise-Secret", b"Content-Type", b"Content-Length", b"Cookie",
                     b"Transfer-Encoding", b"Origin", b"Expect", b"X-Forwarded-For", b"Forwarded", b"Range"]),
    st.binary(max_size=30) | st.sampled_from([b"chunked", b"-1", b"0", b"Basic", b"Basic \xff",
                                               b"100-continue", b"9" * 30]),
    max_size=4,
))  # fmt: skip
def test_odd_headers_never_reach_a_mistake_of_ours(caller: Caller, headers: dict[bytes, bytes]) -> None:
    """Raw, as no client of ours would send them. What gunicorn refuses by itself need not have our form."""
    place = urlsplit(caller.url)
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers.items())
    with socket.create_connection((str(place.hostname), place.port or 0), timeout=60) as one:
        one.sendall(b"POST /webhook HTTP/1.1\r\n" + lines + b"Connection: close\r\n\r\n{}\r\n\r\n")
        with suppress(OSError):
            one.shutdown(socket.SHUT_WR)
        said = b""
        with suppress(ConnectionError):
            while block := one.recv(65536):
                said += block
    said = said.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    status = int(said.split(b" ", 2)[1]) if said.startswith(b"HTTP/1.1 ") else 0
    assert status != 500, said
    assert b"Traceback" not in said
    caller.statuses[status] += 1


def test_so_many_requests_were_sent_and_answered_in_time(
    caller: Caller, bodies: dict[str, Any], request: pytest.FixtureRequest, measured: Callable[[str], None]
) -> None:
    """Those that are still missing are sent first; then the count, and how many of a hundred were late."""
    good = about(bodies["predict_batch"], caller.project)

    @many(REQUESTS, at_least=50)
    @given(damaged(good))
    def send(body: Any) -> None:
        if caller.statuses.total() < REQUESTS:
            caller.send("POST", "/predict", data=json.dumps(body))

    if request.session.testscollected > 1:
        while caller.statuses.total() < REQUESTS:
            send()
    measured(caller.told())
    late = {route: count for route, count in caller.late.items() if count > max(1, caller.calls[route] // 100)}
    assert not late, caller.told()
    assert requests.get(f"{caller.url}/health", timeout=5).json() == {"status": "UP"}
