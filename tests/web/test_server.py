"""The app over HTTP: Label Studio's recorded calls, ours, credentials, limits and error answers."""

import json
import logging
from collections.abc import Iterator
from http.client import HTTPConnection
from threading import Thread
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.serving import make_server
from werkzeug.test import TestResponse

from edgewise.errors import EdgewiseError, StudioUnavailable
from edgewise.logs import Lines
from edgewise.settings import Settings
from edgewise.web.guard import MAX_BODY_BYTES
from edgewise.web.server import MAX_JOBS, VERBS, create_app
from edgewise.web.wire import MAX_ID, MAX_SAMPLES
from tests.web.conftest import BASIC, RECORDED, MemoryBackend, recorded

PREDICTS = sorted(path.stem for path in RECORDED.glob("predict_*.json"))
WEBHOOKS = sorted(path.stem for path in RECORDED.glob("webhook_*.json"))
SECRET = {"X-Edgewise-Secret": "ewsecret"}


def refused(response: TestResponse, status: int) -> dict[str, str]:
    """The what and mend of an error answer, which has nothing else."""
    assert response.status_code == status, response.text
    assert response.is_json
    error = response.json["error"] if response.json else {}
    assert list(error) == ["what", "mend"]
    assert all(error.values())
    return dict(error)


# Label Studio's calls


def test_health_is_up_whatever_happens(guarded: FlaskClient, backend: MemoryBackend) -> None:
    backend.trouble = RuntimeError("all is lost")
    assert guarded.get("/health").json == {"status": "UP"}


@pytest.mark.parametrize("name", ["setup", "setup_after_label_config_change"])
def test_recorded_setup_answers_the_version(client: FlaskClient, backend: MemoryBackend, name: str) -> None:
    response = client.post("/setup", json=recorded(name), base_url="http://edgewise:9090")
    assert (response.status_code, response.json) == (200, {"model_version": "ew-1"})
    assert backend.setups[0].label_config == recorded(name)["schema"]
    assert backend.setups[0].backend_url == "http://edgewise:9090"


def test_setup_tells_under_which_prefix_we_were_called(client: FlaskClient, backend: MemoryBackend) -> None:
    client.post("/setup", json=recorded("setup"), base_url="https://host/sub/")
    assert backend.setups[0].backend_url == "https://host/sub"


def test_the_access_token_is_never_logged(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        client.post("/setup", json=recorded("setup"))
        client.post("/setup", json=recorded("setup") | {"project": "x"})
    assert recorded("setup")["access_token"] not in caplog.text


@pytest.mark.parametrize("name", PREDICTS)
def test_recorded_predict_calls_get_one_entry_for_each_task(client: FlaskClient, name: str) -> None:
    body = recorded(name)
    response = client.post("/predict", json=body)
    assert response.json is not None
    assert len(response.json["results"]) == len(body["tasks"])
    for task, entry in zip(body["tasks"], response.json["results"], strict=True):
        for region in entry["result"]:
            value = region["value"]
            assert task["data"]["text"][value["start"] : value["end"]] == value["text"]


def test_no_tasks_get_no_predictions(client: FlaskClient) -> None:
    assert client.post("/predict", json=recorded("predict_one_task") | {"tasks": []}).json == {"results": []}


def test_a_body_is_read_whatever_its_content_type(client: FlaskClient) -> None:
    raw = json.dumps(recorded("predict_one_task"))
    for content_type in (None, "text/plain", "application/x-www-form-urlencoded"):
        assert client.post("/predict", data=raw, content_type=content_type).status_code == 200


@pytest.mark.parametrize("name", WEBHOOKS)
def test_recorded_webhooks_are_hints(client: FlaskClient, backend: MemoryBackend, name: str) -> None:
    assert client.post("/webhook", json=recorded(name)).status_code == 201
    assert [event.action for event in backend.hints] == [recorded(name)["action"]]
    assert backend.trainings == []


def test_recorded_start_training_starts_a_training(client: FlaskClient, backend: MemoryBackend) -> None:
    assert client.post("/webhook", json=recorded("start_training")).status_code == 201
    assert [event.ls_id for event in backend.trainings] == [19]
    assert backend.hints == []


def test_an_unknown_action_is_accepted_and_ignored(client: FlaskClient, backend: MemoryBackend) -> None:
    assert client.post("/webhook", json={"action": "LABEL_LINK_DELETED", "project": {"id": 1}}).status_code == 200
    assert backend.hints == []


def test_versions_are_listed(client: FlaskClient) -> None:
    assert client.get("/versions").json == {"versions": ["ew-1"]}


def test_a_host_header_that_is_none_is_refused(client: FlaskClient, backend: MemoryBackend) -> None:
    refused(client.post("/setup", json=recorded("setup"), headers={"Host": "a b/\\"}), 400)
    assert backend.setups == []


# Credentials


@pytest.mark.parametrize("path", ["/versions", "/metrics", "/openapi.json", "/jobs", "/projects/1/status", "/nowhere"])
def test_all_but_health_ready_and_webhook_ask_for_credentials(guarded: FlaskClient, path: str) -> None:
    response = guarded.get(path)
    refused(response, 401)
    assert response.headers["WWW-Authenticate"].startswith("Basic")
    assert guarded.get(path, headers=BASIC).status_code in (200, 404)
    assert guarded.get("/health").status_code == guarded.get("/ready").status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        "Basic",
        "Basic !!",
        "Basic bHN1c2Vy",
        "Basic bHN1c2VyOndyb25n",
        "Basic b3RoZXI6czNjcmV0",
        "Bearer s3cret",
        "Basic /w==",
    ],
)
def test_wrong_credentials_are_refused(guarded: FlaskClient, header: str) -> None:
    refused(guarded.get("/versions", headers={"Authorization": header}), 401)
    refused(guarded.post("/webhook", json=recorded("start_training"), headers={"Authorization": header}), 401)


def test_a_recorded_predict_call_passes_with_its_recorded_credentials(guarded: FlaskClient) -> None:
    assert guarded.post("/predict", json=recorded("predict_one_task"), headers=BASIC).status_code == 200


def test_start_training_brings_basic_auth(guarded: FlaskClient, backend: MemoryBackend) -> None:
    refused(guarded.post("/webhook", json=recorded("start_training")), 401)
    assert backend.trainings == []
    assert guarded.post("/webhook", json=recorded("start_training"), headers=BASIC).status_code == 201
    assert len(backend.trainings) == 1


def test_start_training_needs_no_credentials_where_there_are_none(client: FlaskClient, backend: MemoryBackend) -> None:
    backend.secrets[19] = "ewsecret"
    assert client.post("/webhook", json=recorded("start_training")).status_code == 201


@pytest.mark.parametrize("which", ["client", "guarded"])
def test_events_bring_the_secret_once_it_is_installed(
    which: str, request: pytest.FixtureRequest, backend: MemoryBackend
) -> None:
    app: FlaskClient = request.getfixturevalue(which)
    event = recorded("webhook_annotation_created")
    assert app.post("/webhook", json=event).status_code == 201
    backend.secrets[19] = "ewsecret"
    refused(app.post("/webhook", json=event), 401)
    refused(app.post("/webhook", json=event, headers={"X-Edgewise-Secret": "wröng"}), 401)
    assert app.post("/webhook", json=event, headers=SECRET).status_code == 201
    assert len(backend.hints) == 2


def test_the_secret_of_one_project_does_not_open_another(client: FlaskClient, backend: MemoryBackend) -> None:
    backend.secrets |= {19: "another", 59: "ewsecret"}
    refused(client.post("/webhook", json=recorded("webhook_annotation_created"), headers=SECRET), 401)


def test_basic_auth_opens_the_webhook_too(guarded: FlaskClient, backend: MemoryBackend) -> None:
    backend.secrets[19] = "ewsecret"
    assert guarded.post("/webhook", json=recorded("webhook_annotation_created"), headers=BASIC).status_code == 201


# Ours


def test_samples_are_asked_for_as_the_call_says(client: FlaskClient, backend: MemoryBackend) -> None:
    assert client.post("/select_samples", json={"project_id": 1}).status_code == 200
    everything = {"project_id": 1, "limit": 100, "strategy": "entropy", "threshold": 1}
    answer = client.post("/select_samples", json=everything)
    assert answer.json is not None
    assert answer.json["project_id"] == 1
    assert backend.samples == [(1, None, None, None), (1, 100, "entropy", 1.0)]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("limit", -1),
        ("limit", 0),
        ("limit", True),
        ("limit", "5"),
        ("limit", 1.5),
        ("limit", MAX_SAMPLES + 1),
        ("limit", 10**30),
        ("project_id", None),
        ("project_id", "1"),
        ("project_id", True),
        ("project_id", 0),
        ("project_id", MAX_ID + 1),
        ("strategy", ""),
        ("strategy", 3),
        ("strategy", "x" * 65),
        ("threshold", 1.1),
        ("threshold", -0.1),
        ("threshold", "0.5"),
        ("threshold", False),
        ("thresold", 0.5),
    ],
)
def test_samples_asked_for_wrongly_are_refused_by_field(
    client: FlaskClient, backend: MemoryBackend, field: str, value: Any
) -> None:
    error = refused(client.post("/select_samples", json={"project_id": 1} | {field: value}), 400)
    assert f"{field}: " in error["what"]
    assert backend.samples == []


@pytest.mark.parametrize(
    "raw", ["", "{", "[]", "7", "null", '{"project_id": 1, "threshold": NaN}', '{"threshold": 1e999}']
)
def test_a_body_that_is_no_json_object_is_refused(client: FlaskClient, raw: str) -> None:
    refused(client.post("/select_samples", data=raw), 400)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_queued(client: FlaskClient, backend: MemoryBackend, verb: str) -> None:
    response = client.post(f"/projects/7/{verb}")
    assert (response.status_code, response.json) == (202, backend.queued["job-0"])
    assert backend.queued["job-0"]["kind"] == verb


def test_a_verb_takes_options(client: FlaskClient, backend: MemoryBackend) -> None:
    options = {"version": "0123456789ab", "force": True, "share": 0.5, "note": None, "codecs": ["json", "tags"]}
    assert client.post("/projects/7/rollback", json=options).status_code == 202
    assert backend.queued["job-0"]["args"] == options


@pytest.mark.parametrize(
    "raw",
    [
        "[]",
        "x",
        '{"a": {}}',
        '{"a": [[]]}',
        '{"a": [{}]}',
        '{"a": ["x", 1e999]}',
        '{"a": 1e999}',
        '{"a": NaN}',
        '{"a": "\\u0000"}',
        '{"\\ud800": 1}',
        json.dumps({"a": "x" * 201}),
        '{"a": 1' + "0" * 300 + "}",
    ],
)
def test_options_that_are_no_plain_values_are_refused(client: FlaskClient, backend: MemoryBackend, raw: str) -> None:
    refused(client.post("/projects/7/train", data=raw), 400)
    assert backend.queued == {}


def test_too_many_options_are_refused(client: FlaskClient) -> None:
    refused(client.post("/projects/7/train", json={str(i): i for i in range(21)}), 400)


@pytest.mark.parametrize("verb", ["dance", "status"])
def test_an_unknown_verb_is_told_the_known_ones(client: FlaskClient, verb: str) -> None:
    assert "rollback" in refused(client.post(f"/projects/7/{verb}"), 404)["mend"]


def test_status_is_answered(client: FlaskClient) -> None:
    assert client.get("/projects/7/status").json == {"project_id": 7, "phase": "cold start"}


@pytest.mark.parametrize("ls_id", ["0", "-1", "x", "1.5", str(MAX_ID + 1), "9" * 30])
def test_an_id_that_no_project_can_have_is_not_found(client: FlaskClient, ls_id: str) -> None:
    refused(client.get(f"/projects/{ls_id}/status"), 404)


def test_jobs_are_listed_shown_and_cancelled(client: FlaskClient) -> None:
    for verb in ("sync", "train"):
        client.post(f"/projects/7/{verb}")
    listed = client.get("/jobs?limit=1").json
    assert listed is not None
    assert [job["kind"] for job in listed["jobs"]] == ["sync"]
    assert len((client.get("/jobs").json or {})["jobs"]) == 2
    assert (client.get("/jobs/job-1").json or {})["state"] == "queued"
    assert (client.post("/jobs/job-1/cancel").json or {})["state"] == "cancelled"


@pytest.mark.parametrize("limit", ["-1", "0", "x", "", "1.5", "٣", str(MAX_JOBS + 1), "9" * 400])
def test_a_wrong_limit_of_jobs_is_refused(client: FlaskClient, limit: str) -> None:
    assert "limit" in refused(client.get("/jobs", query_string={"limit": limit}), 400)["what"]


@pytest.mark.parametrize("job_id", ["job-7", "%00", "a b", "x" * 65])
def test_an_unknown_job_is_not_found(client: FlaskClient, job_id: str) -> None:
    refused(client.get(f"/jobs/{job_id}"), 404)
    refused(client.post(f"/jobs/{job_id}/cancel"), 404)


def test_ready_tells_the_truth(client: FlaskClient, backend: MemoryBackend) -> None:
    assert client.get("/ready").status_code == 200
    backend.works = False
    response = client.get("/ready")
    assert (response.status_code, response.json) == (503, {"ready": False})


# Errors


def test_errors_on_purpose_are_told_with_their_status(client: FlaskClient, backend: MemoryBackend) -> None:
    backend.trouble = StudioUnavailable("Label Studio does not answer.", "Start it.")
    error = refused(client.get("/projects/7/status"), 503)
    assert error == {"what": "Label Studio does not answer.", "mend": "Start it."}


@pytest.mark.parametrize("error_class", EdgewiseError.__subclasses__())
def test_every_kind_of_error_has_an_answer(
    client: FlaskClient, backend: MemoryBackend, error_class: type[EdgewiseError]
) -> None:
    backend.trouble = error_class("what", "mend")
    refused(client.get("/projects/7/status"), error_class.status)


def test_a_mistake_of_ours_tells_nobody_what_the_task_says(
    client: FlaskClient, backend: MemoryBackend, caplog: pytest.LogCaptureFixture
) -> None:
    backend.trouble = ValueError("Anna works at Acme.")
    caplog.handler.setFormatter(Lines("%(message)s"))
    with caplog.at_level(logging.DEBUG):
        error = refused(client.post("/predict", json=recorded("predict_one_task"), headers={"X-Request-ID": "r7"}), 500)
    assert error["what"] == "Something unexpected happened, in request r7."
    assert "unexpected, in predict" in caplog.text
    assert "ValueError" in caplog.text
    assert "conftest.py" in caplog.text
    assert "Anna" not in caplog.text + str(error)


def test_a_wrong_number_of_predictions_is_our_mistake(client: FlaskClient, backend: MemoryBackend) -> None:
    backend.predict = lambda request: []  # type: ignore[method-assign]  # a backend that breaks its promise
    refused(client.post("/predict", json=recorded("predict_one_task")), 500)


def test_what_flask_refuses_has_the_same_form(client: FlaskClient) -> None:
    refused(client.get("/nowhere"), 404)
    wrong_method = client.get("/predict")
    refused(wrong_method, 405)
    assert "POST" in wrong_method.headers["Allow"]


def test_a_doubled_slash_leads_on_with_method_and_body(client: FlaskClient, backend: MemoryBackend) -> None:
    first = client.post("/projects//7/train")
    assert (first.status_code, first.headers["Location"]) == (308, "http://localhost/projects/7/train")
    assert client.post("/projects//7/train", follow_redirects=True).status_code == 202


def test_a_body_over_the_limit_is_refused_unread(client: FlaskClient, backend: MemoryBackend) -> None:
    error = refused(client.post("/select_samples", data=b" " * (MAX_BODY_BYTES + 1)), 413)
    assert str(MAX_BODY_BYTES) in error["what"]
    big = recorded("predict_one_task")
    big["tasks"] *= 2000
    assert len((client.post("/predict", json=big).json or {})["results"]) == 2000


def test_a_large_webhook_is_read_only_from_who_knows_a_secret(guarded: FlaskClient, backend: MemoryBackend) -> None:
    body = recorded("webhook_tasks_created")
    body["tasks"] = body["tasks"] * 2000
    assert len(json.dumps(body)) > MAX_BODY_BYTES
    refused(guarded.post("/webhook", json=body), 413)
    backend.secrets[19] = "ewsecret"
    refused(guarded.post("/webhook", json=body, headers={"X-Edgewise-Secret": "guess"}), 413)
    assert guarded.post("/webhook", json=body, headers=SECRET).status_code == 201
    assert guarded.post("/webhook", json=body, headers=BASIC).status_code == 201


# Over a real socket


@pytest.fixture
def port(backend: MemoryBackend) -> Iterator[int]:
    server = make_server("127.0.0.1", 0, create_app(backend, Settings(basic_auth_user="")), threaded=True)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_chunked_body_is_read(port: int, backend: MemoryBackend) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    raw = json.dumps(recorded("setup")).encode()
    connection.request("POST", "/setup", body=iter([raw[:100], raw[100:]]), encode_chunked=True)
    with connection.getresponse() as response:
        assert json.loads(response.read()) == {"model_version": "ew-1"}
    connection.close()
    assert backend.setups[0].backend_url == f"http://127.0.0.1:{port}"


def test_a_chunked_body_over_the_limit_is_refused(port: int) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", "/select_samples", body=iter([b" " * (MAX_BODY_BYTES + 1)]), encode_chunked=True)
    with connection.getresponse() as response:
        assert response.status == 413
    connection.close()


def test_reports_are_listed_and_read_by_their_id(client: FlaskClient) -> None:
    listed = client.get("/projects/7/reports").json
    assert listed is not None
    (one,) = listed["reports"]
    whole = client.get(f"/projects/7/reports/{one['id']}").json
    assert whole == one | {"report": {"tasks": 3}}
    refused(client.get("/projects/7/reports/none"), 404)


def test_what_was_sent_to_whom_is_told(client: FlaskClient) -> None:
    assert client.get("/projects/7/llm_runs").json == {"runs": [{"run": 1, "endpoint": "http://127.0.0.1:1"}]}
