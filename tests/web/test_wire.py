"""Label Studio's protocol as typed values: recorded bodies, odd ones, and large ones."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewise.errors import InputError
from edgewise.web import wire
from edgewise.web.wire import (
    SMALL_WEBHOOK_BYTES,
    UNPREDICTED,
    SamplesBody,
    WebhookEvent,
    parse_json,
    parse_predict,
    parse_setup,
    parse_webhook,
    read_body,
    render_predictions,
)
from tests.web.conftest import RECORDED, recorded

CREATED = "1795181397"  # of the recorded project 19, as /setup sends it
WEBHOOKS = sorted(path.stem for path in RECORDED.glob("webhook_*.json"))


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


def test_setup_is_read_without_its_token() -> None:
    request = parse_setup(encoded(recorded("setup")), "http://127.0.0.1:9190")
    assert (request.ls_id, request.created_at, request.hostname) == (19, CREATED, "http://127.0.0.1:8180")
    assert request.label_config == recorded("setup")["schema"]
    assert recorded("setup")["access_token"] not in repr(request)


def test_setup_takes_extra_params_for_what_they_are_worth() -> None:
    values: list[Any] = [None, "x", {"a": 1}, []]
    bodies = [recorded("setup") | {"extra_params": params} for params in values]
    assert len({parse_setup(encoded(body), "http://b") for body in bodies}) == 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"project": "19"}, "project"),  # without created_at a project has no identity
        ({"project": 19}, "project"),
        ({"project": "x.1"}, "project"),
        ({"project": "0.1"}, "project"),
        ({"project": "9999999999.1"}, "project"),
        ({"project": "٣.١"}, "project"),
        ({"project": "19.1795181397\n"}, "project"),
        ({"schema": None}, "schema"),
        ({"schema": "\ud800"}, "schema"),
        ({"schema": {"a": 1}}, "schema"),
    ],
)
def test_a_setup_that_cannot_be_read_names_the_field(change: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=f"{named}:"):
        parse_setup(encoded(recorded("setup") | change), "http://b")


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("predict_batch", None),
        ("predict_one_task", [152]),
        ("predict_test_button", [154]),
        ("predict_task_with_annotations", [10230]),
    ],
)
def test_recorded_predict_calls_are_not_interactive(name: str, ids: list[int] | None) -> None:
    body = recorded(name)
    request = parse_predict(encoded(body))
    assert [task["id"] for task in request.tasks] == (ids or [task["id"] for task in body["tasks"]])
    assert request.ls_id == int(body["project"].split(".")[0])
    assert request.drawn is None


@pytest.mark.parametrize("name", ["predict_interactive", "predict_interactive_api"])
def test_recorded_interactive_calls_carry_what_was_drawn(name: str) -> None:
    body = recorded(name)
    assert parse_predict(encoded(body)).drawn == tuple(body["params"]["context"]["result"])


@pytest.mark.parametrize("data", [None, "text", [], 7])
def test_a_task_without_usable_data_is_kept(data: Any) -> None:
    body = recorded("predict_one_task")
    body["tasks"][0]["data"] = data
    assert parse_predict(encoded(body)).tasks[0]["data"] == {}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"tasks": None}, "tasks"),
        ({"tasks": {}}, "tasks"),
        ({"tasks": [{"id": 1, "data": {}}, None]}, "tasks.1"),
        ({"tasks": [{"id": 1, "data": {}}, {"id": [2], "data": {}}]}, "tasks.1.id"),
        ({"tasks": [{"id": True, "data": {}}]}, "tasks.0.id"),
        ({"tasks": [{"id": 2**63, "data": {}}]}, "tasks.0.id"),
        ({"project": None}, "project"),
        ({"label_config": 7}, "label_config"),
        ({"params": "x"}, "params"),
        ({"params": {"context": {"result": ["x"]}}}, "params.context.result.0"),
    ],
)
def test_a_predict_call_that_cannot_be_read_names_the_field(change: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named) as raised:
        parse_predict(encoded(recorded("predict_batch") | change))
    assert "Anna" not in str(raised.value)


@pytest.mark.parametrize("name", WEBHOOKS)
def test_every_recorded_webhook_is_read(name: str) -> None:
    body = recorded(name)
    event = parse_webhook(encoded(body))
    assert event is not None
    assert (event.action, event.ls_id) == (body["action"], body["project"]["id"])
    assert event.label_config == body["project"]["label_config"]


def test_a_webhook_and_setup_give_a_project_the_same_created_at() -> None:
    event = parse_webhook(encoded(recorded("start_training")))
    assert event is not None
    assert event.created_at == CREATED


@pytest.mark.parametrize("created_at", [None, "", "yesterday"])
def test_a_webhook_without_a_readable_created_at_is_still_a_hint(created_at: str | None) -> None:
    body = {"action": "PROJECT_UPDATED", "project": {"id": 3, "created_at": created_at}}
    assert parse_webhook(encoded(body)) == WebhookEvent("PROJECT_UPDATED", 3, None, None)


@pytest.mark.parametrize("body", [{"action": "LABEL_LINK_CREATED"}, {"action": "NEWS", "project": 7}])
def test_an_action_that_does_not_concern_us_is_nothing(body: dict[str, Any]) -> None:
    assert parse_webhook(encoded(body)) is None


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "action"),
        ({"action": 7}, "action"),
        ({"action": "TASKS_CREATED"}, "project"),
        ({"action": "TASKS_CREATED", "project": {"id": True}}, "project.id"),
        ({"action": "TASKS_CREATED", "project": {"id": "19"}}, "project.id"),
        ({"action": "TASKS_CREATED", "project": {"id": 2**31}}, "project.id"),
        ([], "not a JSON object"),
        (None, "not a JSON object"),
    ],
)
def test_a_webhook_that_cannot_be_read_names_the_field(body: Any, named: str) -> None:
    with pytest.raises(InputError, match=named):
        parse_webhook(encoded(body))


def large(data: dict[str, Any]) -> dict[str, Any]:
    """A webhook about many tasks, each with this data, over the size that is read whole."""
    body = recorded("webhook_tasks_created")
    task = body["tasks"][0] | {"data": data}
    body["tasks"] = [task] * (2 * SMALL_WEBHOOK_BYTES // len(json.dumps(task)))
    return dict(body)


@pytest.mark.parametrize(
    "data",
    [
        {"text": "Anna 👍"},
        {"text": '"project": {"id": 99} \\"project\\": {"id": 99}'},
        {"text": '\\", "project": {"id": 99}'},
        {"text": "x", "project": {"id": 99}},
        {"text": "x", "project": 99, "action": "NEWS"},
    ],
)
def test_a_large_webhook_is_read_like_a_small_one(data: dict[str, Any]) -> None:
    body = large(data)
    raw = json.dumps(body, ensure_ascii=False).encode()
    assert len(raw) > SMALL_WEBHOOK_BYTES
    assert parse_webhook(raw) == parse_webhook(encoded(body | {"tasks": []}))


def test_the_tasks_of_a_large_webhook_are_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "parse_json", lambda raw: pytest.fail("parsed whole"))
    assert parse_webhook(encoded(large({"text": "Anna"}))) is not None


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b'{"a": NaN}', b"[" * 100_000, b"1" * 5000, b'{"a": -Infinity}'])
def test_what_is_not_json_is_refused(raw: bytes) -> None:
    with pytest.raises(InputError, match="not JSON"):
        parse_json(raw)


def test_many_faults_are_told_in_short() -> None:
    body = {"project_id": "1", "limit": "1", "strategy": 1, "threshold": "1", "tresholt" * 50: 1}
    with pytest.raises(InputError, match=r"And 2 more\.") as raised:
        read_body(SamplesBody, body)
    assert len(raised.value.what) < 500


# Answers to /predict

GOOD = {"result": [], "score": 0.5, "model_version": "ew-1"}


@pytest.mark.parametrize(
    "bad",
    [
        None,
        [],
        {},
        GOOD | {"result": None},
        GOOD | {"score": None},
        GOOD | {"score": "0.5"},
        GOOD | {"score": True},
        GOOD | {"score": 1.01},
        GOOD | {"score": -0.01},
        GOOD | {"score": float("nan")},
        GOOD | {"score": 10**400},
        GOOD | {"model_version": None},
        GOOD | {"model_version": ""},
        GOOD | {"result": [{"score": float("inf")}]},
        GOOD | {"result": [{"value": Path("/")}]},
    ],
)
def test_a_prediction_that_label_studio_could_not_store_is_answered_empty(
    bad: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        answer = json.loads(render_predictions([GOOD, bad, GOOD], 3))
    assert answer == {"results": [GOOD, UNPREDICTED, GOOD]}
    assert "1 of 3" in caplog.text


@pytest.mark.parametrize("how_many", [0, 1, 3])
def test_an_answer_must_have_one_entry_for_each_task(how_many: int) -> None:
    with pytest.raises(ValueError, match=f"2 predictions for {how_many} tasks"):
        render_predictions([GOOD, GOOD], how_many)


@settings(deadline=None)  # the machine is shared
@given(st.lists(st.tuples(st.text(), st.floats(0, 1)), max_size=4))
def test_good_predictions_arrive_as_they_are(parts: list[tuple[str, float]]) -> None:
    entries = [GOOD | {"result": [{"value": {"text": text}}], "score": score} for text, score in parts]
    assert json.loads(render_predictions(entries, len(entries)))["results"] == entries
