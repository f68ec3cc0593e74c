"""Who may call, how often and with what name: limits, places, and credentials that are half there."""

import json
from base64 import b64encode
from io import BytesIO

import pytest
from flask.testing import FlaskClient
from pydantic import SecretStr
from werkzeug.test import TestResponse

from edgewise.errors import SettingsError
from edgewise.settings import Settings, is_loopback, read_settings
from edgewise.web.rates import STUDIO_SHARE, WRONG_PASSWORDS, Rates
from edgewise.web.server import create_app
from edgewise.web.wire import SECRET_HEADER
from tests.web.conftest import BASIC, PASSWORD, USER, MemoryBackend, recorded
from tests.web.test_server import refused

ELSEWHERE = {"REMOTE_ADDR": "192.0.2.7"}
PER_MINUTE = 5


def wrong(number: int) -> dict[str, str]:
    """A wrong password, another one for each number."""
    return {"Authorization": "Basic " + b64encode(f"{USER}:wrong {number}".encode()).decode()}


@pytest.fixture
def limited(backend: MemoryBackend) -> FlaskClient:
    """Of a server that a caller may ask five times a minute."""
    settings = Settings(basic_auth_user=USER, basic_auth_pass=SecretStr(PASSWORD), calls_per_minute=PER_MINUTE)
    return create_app(backend, settings).test_client()


# How often


def test_too_many_calls_are_told_when_to_come_back(limited: FlaskClient) -> None:
    for _ in range(PER_MINUTE):
        assert limited.get("/projects/7/status", headers=BASIC).status_code == 200
    response = limited.get("/projects/7/status", headers=BASIC)
    refused(response, 429)
    assert 1 <= int(response.headers["Retry-After"]) <= 60
    assert limited.get("/projects/7/status", headers=BASIC, environ_base=ELSEWHERE).status_code == 200


def test_whoever_calls_too_often_never_stops_label_studio(limited: FlaskClient, backend: MemoryBackend) -> None:
    for _ in range(PER_MINUTE + 1):
        last = limited.get("/jobs", headers=BASIC)
    assert last.status_code == 429
    assert limited.post("/predict", json=recorded("predict_one_task"), headers=BASIC).status_code == 200
    assert limited.post("/setup", json=recorded("setup"), headers=BASIC).status_code == 200
    assert limited.post("/webhook", json=recorded("webhook_annotation_created")).status_code == 201


def test_a_storm_of_webhooks_is_let_through_ten_times_as_long(limited: FlaskClient, backend: MemoryBackend) -> None:
    event = recorded("webhook_annotation_created")
    for _ in range(PER_MINUTE * STUDIO_SHARE):
        assert limited.post("/webhook", json=event).status_code == 201
    refused(limited.post("/webhook", json=event), 429)
    for _ in range(100):
        assert limited.get("/health").status_code == limited.get("/ready").status_code == 200


def test_calls_without_credentials_are_counted_too(limited: FlaskClient) -> None:
    for _ in range(PER_MINUTE):
        refused(limited.get("/nowhere"), 401)
    refused(limited.get("/nowhere"), 429)


def test_a_minute_later_all_are_welcome_again() -> None:
    now = 1000.0
    rates = Rates(PER_MINUTE, clock=lambda: now)
    assert [rates.count_ours("a") for _ in range(PER_MINUTE + 1)] == [0] * PER_MINUTE + [60]
    for number in range(WRONG_PASSWORDS):
        rates.count_wrong("a", str(number))
    now += 59.9
    assert rates.count_ours("a") == rates.guesses("a") == 1
    assert rates.count_ours("b") == rates.guesses("b") == 0
    now += 0.1
    assert rates.count_ours("a") == rates.guesses("a") == 0


# Passwords


def test_guessing_passwords_ends_soon_and_only_for_who_guesses(guarded: FlaskClient) -> None:
    for number in range(WRONG_PASSWORDS):
        refused(guarded.get("/versions", headers=wrong(number)), 401)
    refused(guarded.get("/versions", headers=wrong(-1)), 429)
    refused(guarded.get("/versions", headers=BASIC), 429)
    assert guarded.get("/versions", headers=BASIC, environ_base=ELSEWHERE).status_code == 200


def test_one_wrong_setting_repeated_locks_nobody_out(guarded: FlaskClient) -> None:
    for _ in range(5 * WRONG_PASSWORDS):
        refused(guarded.get("/versions", headers=wrong(1)), 401)
    assert guarded.get("/versions", headers=BASIC).status_code == 200


def test_webhooks_with_their_secret_come_through_while_somebody_guesses(
    guarded: FlaskClient, backend: MemoryBackend
) -> None:
    backend.secrets[19] = "ewsecret"
    for number in range(WRONG_PASSWORDS):
        refused(guarded.get("/versions", headers=wrong(number)), 401)
    event = recorded("webhook_annotation_created")
    assert guarded.post("/webhook", json=event, headers={"X-Edgewise-Secret": "ewsecret"}).status_code == 201
    refused(guarded.post("/webhook", json=event, headers=BASIC), 429)


# From where


def test_without_credentials_only_this_machine_is_answered(client: FlaskClient) -> None:
    refused(client.get("/versions", environ_base=ELSEWHERE), 401)
    refused(client.post("/webhook", json=recorded("webhook_annotation_created"), environ_base=ELSEWHERE), 401)
    assert client.get("/health", environ_base=ELSEWHERE).status_code == 200
    for address in ("127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"):
        assert client.get("/versions", environ_base={"REMOTE_ADDR": address}).status_code == 200


def test_allow_anonymous_answers_everybody(backend: MemoryBackend) -> None:
    app = create_app(backend, Settings(basic_auth_user="", allow_anonymous=True)).test_client()
    assert app.get("/versions", environ_base=ELSEWHERE, base_url="http://any.example").status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:9090", "evil.example."])
def test_a_name_that_a_page_made_mean_this_machine_is_not_answered(client: FlaskClient, host: str) -> None:
    refused(client.get("/versions", headers={"Host": host}), 403)


@pytest.mark.parametrize("host", ["localhost", "edgewise:9090", "127.0.0.1:9090", "[::1]:9090", "a.localhost"])
def test_names_of_this_machine_are_answered(client: FlaskClient, host: str) -> None:
    assert client.get("/versions", headers={"Host": host}).status_code == 200


def test_a_name_in_allowed_hosts_is_answered(backend: MemoryBackend) -> None:
    settings = Settings(basic_auth_user="", ALLOWED_HOSTS="models.example, other.example")
    app = create_app(backend, settings).test_client()
    assert app.get("/versions", headers={"Host": "models.example:9090"}).status_code == 200
    refused(app.get("/versions", headers={"Host": "evil.example"}), 403)


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        ("localhost", True),
        ("LOCALHOST", True),
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("[::1]", True),
        ("::ffff:127.0.0.1", True),
        ("127.evil.example", False),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("192.168.0.1", False),
        ("::ffff:192.168.0.1", False),
    ],
)
def test_loopback_is_told_from_what_looks_like_it(host: str, is_ours: bool) -> None:
    assert is_loopback(host) is is_ours


# Half credentials


def test_a_webhook_in_chunks_is_read_only_from_who_knows_a_secret(backend: MemoryBackend) -> None:
    backend.secrets[recorded("webhook_annotation_created")["project"]["id"]] = "a-secret"
    settings = Settings(basic_auth_user=USER, basic_auth_pass=SecretStr(PASSWORD))
    asked = create_app(backend, settings).test_client()

    def in_chunks(headers: dict[str, str]) -> TestResponse:
        class Unread(BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                assert headers, "a stranger's chunks are read"
                return super().read(size)

        body = Unread(json.dumps(recorded("webhook_annotation_created")).encode())
        wire = {"wsgi.input": body, "wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
        return asked.post("/webhook", headers=headers, content_type="application/json", environ_overrides=wire)

    refused(in_chunks({}), 411)
    assert in_chunks({SECRET_HEADER: "a-secret"}).status_code == 201
    assert in_chunks(BASIC).status_code == 201


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Without credentials of whoever runs the tests."""
    for name in ("BASIC_AUTH_USER", "BASIC_AUTH_PASS", "LABEL_STUDIO_HOST"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    "variables",
    [
        {"BASIC_AUTH_USER": "canary-user"},
        {"BASIC_AUTH_PASS": "canary-pass"},
        {"BASIC_AUTH_USER": "canary:user", "BASIC_AUTH_PASS": "canary-pass"},
        {"BASIC_AUTH_USER": "canary", "BASIC_AUTH_PASS": "canary-pä"},
        {"LABEL_STUDIO_HOST": "http://canary:canary@ls.example:8080/"},
    ],
)
def test_credentials_that_protect_nothing_or_stand_in_an_address_are_no_settings(
    environment: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        environment.setenv(name, value)
    with pytest.raises(SettingsError) as told:
        read_settings()
    assert any(name in str(told.value) for name in variables)
    assert "canary" not in str(told.value)
