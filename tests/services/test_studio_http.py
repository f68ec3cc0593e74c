"""Credentials, retries and errors: on a real Label Studio, on what is broken, and on what is no Label Studio at all."""

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from edgewise.errors import StudioRefused, StudioUnavailable
from edgewise.services.studio import Studio
from edgewise.services.studio_http import Call
from examples.label_studio import RunningStudio, StartFailed, free_port, start
from tests.http_stand_in import Answer, as_json, proxy, serving
from tests.studio_fixture import REPOSITORY, StudioProject


def jwt(**claims: object) -> str:
    middle = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{middle}.c2ln"


# Tokens


def test_both_kinds_of_token_are_told_apart_and_work(label_studio: RunningStudio, personal_token: str) -> None:
    for token in (label_studio.token, personal_token):
        with Studio(label_studio.url, token) as client:
            assert client.whoami()["email"] == label_studio.username
            assert client.version() == "1.23.2"


def test_legacy_tokens_switched_off_are_explained(label_studio: RunningStudio, personal_token: str) -> None:
    with Studio(label_studio.url, label_studio.token) as legacy, Studio(label_studio.url, personal_token) as client:
        http = client._http
        settings = {"api_tokens_enabled": True, "legacy_api_tokens_enabled": False}
        http.ask(Call("POST", "api/jwt/settings", body=settings))
        try:
            with pytest.raises(StudioRefused) as refusal:
                legacy.whoami()
        finally:
            http.ask(Call("POST", "api/jwt/settings", body=settings | {"legacy_api_tokens_enabled": True}))
    assert "legacy" in refusal.value.what
    assert "personal access token" in refusal.value.mend


@pytest.mark.parametrize("token", ["", "nonsense", "gänzlich falsch\n", jwt(exp=4e9, token_type="refresh")])
def test_a_wrong_token_is_refused_with_a_mend_and_never_shown(label_studio: RunningStudio, token: str) -> None:
    with Studio(label_studio.url, token) as client, pytest.raises(StudioRefused) as refusal:
        client.projects()
    assert "LABEL_STUDIO_API_KEY" in refusal.value.mend
    assert not token or token not in str(refusal.value)


def test_an_access_token_is_kept_until_shortly_before_its_end_and_renewed_once_when_refused() -> None:
    asked: list[str] = []
    lives_s = 300.0

    def respond(_method: str, path: str, _body: bytes, headers: dict[str, str]) -> Answer:
        asked.append(path)
        if path == "/api/token/refresh/":
            number = asked.count(path)
            return as_json({"access": jwt(exp=1000 + lives_s, iat=1000, jti=number)})  # a clock far from ours
        stale = jwt(exp=1000 + lives_s, iat=1000, jti=1) in headers["Authorization"] and len(asked) > 4
        return as_json({"detail": "token expired", "status_code": 401}, 401) if stale else as_json({"release": "1"})

    with serving(respond) as url, Studio(url, jwt(exp=4e9)) as client:
        for _ in range(5):
            assert client.version() == "1"
        assert asked.count("/api/token/refresh/") == 2
        lives_s = 0.0
        client._http._credentials._good_until = 0.0
        client.version()
        client.version()
        assert asked.count("/api/token/refresh/") == 4


def test_many_threads_fetch_one_access_token() -> None:
    asked: list[str] = []

    def respond(_method: str, path: str, _body: bytes, _headers: dict[str, str]) -> Answer:
        asked.append(path)
        time.sleep(0.05)
        return as_json({"access": jwt(exp=400, iat=100), "release": "1"})

    with serving(respond) as url, Studio(url, jwt(exp=4e9)) as client, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: client.version(), range(16))) == ["1"] * 16
    assert asked.count("/api/token/refresh/") == 1


# What is no Label Studio


def test_a_dead_server_is_unavailable() -> None:
    with Studio(f"http://127.0.0.1:{free_port()}", "token") as client:
        with pytest.raises(StudioUnavailable, match="LABEL_STUDIO_HOST"):
            client.version()
        with pytest.raises(StudioUnavailable):
            client.push_release(1, "ew-1", [{"task": 1, "result": [], "score": 0.5}])


def test_a_server_that_hangs_is_unavailable() -> None:
    def respond(*_: object) -> Answer:
        time.sleep(0.5)
        return as_json({})

    with serving(respond) as url, Studio(url, "token", timeout_s=0.1) as client, pytest.raises(StudioUnavailable):
        client.version()


@pytest.mark.parametrize(
    "garbage", [b"<html>hello</html>", b"[1, 2", b"[]", b'"text"', b"null", b"{}", b"\xff\xfe", b""]
)
def test_garbage_is_unavailable_and_never_something_that_is_gone(garbage: bytes) -> None:
    for status in (200, 404, 500, 502):
        with serving(lambda *_, status=status: (status, {}, garbage)) as url:
            client = Studio(url, "token")
            with client, pytest.raises(StudioUnavailable):
                list(client.task_pages(1))


def test_a_404_of_another_program_does_not_mean_that_a_project_is_gone() -> None:
    with serving(lambda *_: as_json({"detail": "Not Found"}, 404)) as url:
        client = Studio(url, "token")
        with client, pytest.raises(StudioUnavailable):
            client.project(1)


def test_what_is_safe_to_repeat_is_repeated_and_a_post_is_not() -> None:
    asked: list[str] = []

    def respond(method: str, path: str, *_: object) -> Answer | None:
        asked.append(method)
        return None if asked.count(method) < 3 else as_json({"id": 1, "release": "1"})

    with serving(respond) as url, Studio(url, "token") as client:
        assert client.version() == "1"
        assert client.update_project(1, title="abc") == {"id": 1, "release": "1"}
        with pytest.raises(StudioUnavailable):
            client.create_project("abc", "<View/>")
    assert asked.count("POST") == 1


def test_a_redirect_is_not_followed_with_our_token() -> None:
    asked: list[str] = []

    def elsewhere(_method: str, _path: str, _body: bytes, headers: dict[str, str]) -> Answer:
        asked.append(headers.get("Authorization", ""))
        return as_json({})

    with serving(elsewhere) as other, serving(lambda *_: (302, {"Location": other}, b"")) as url:
        client = Studio(url, "token")
        with client, pytest.raises(StudioRefused, match="LABEL_STUDIO_HOST"):
            client.version()
    assert asked == []


@pytest.mark.parametrize("address", ["localhost:8080", "http://", "ftp://studio", "http://a:b:c", "", "http://[::1"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with (
        pytest.raises((StudioRefused, StudioUnavailable), match="LABEL_STUDIO_HOST"),
        Studio(address, "token") as client,
    ):
        client.version()


def test_label_studio_under_a_path_prefix_works(label_studio: RunningStudio, studio_project: StudioProject) -> None:
    ids = studio_project.add_tasks(["Anna"] * 3)
    with (
        proxy(label_studio, lambda _method, _path, forward: forward()) as url,
        Studio(url, label_studio.token) as client,
    ):
        assert client.version() == "1.23.2"
        assert client.task_ids(studio_project.id) == set(ids)


def test_our_label_studio_may_call_a_backend_here_and_never_the_cloud_metadata(studio_project: StudioProject) -> None:
    studio = studio_project.studio
    with serving(lambda *_: as_json({"status": "UP"})) as url:
        studio.add_backend(studio_project.id, url, "ew")
        assert [one["url"] for one in studio.webhooks(studio_project.id)] == [f"{url}/webhook"]
    with pytest.raises(StudioRefused):
        studio.add_backend(studio_project.id, "http://169.254.169.254/latest", "metadata")


def test_a_taken_port_is_an_error_and_not_another_port(label_studio: RunningStudio, tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match="taken"):
        start(tmp_path, int(label_studio.url.rsplit(":", 1)[1]))


def test_our_label_studio_ends_with_who_started_it(tmp_path: Path) -> None:
    program = tmp_path / "label-studio"
    program.write_text("#!/bin/sh\necho $$ > pid\nexec sleep 600\n")
    program.chmod(0o700)
    code = """
import sys
from pathlib import Path
from examples import label_studio
label_studio.start(Path(sys.argv[1]), label_studio.free_port(), executable=Path(sys.argv[2]))
"""
    command = [sys.executable, "-c", code, str(tmp_path), str(program)]
    with subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}) as starter:
        child = _eventually(lambda: int((tmp_path / "pid").read_text()))
        starter.kill()
    _eventually(lambda: not Path(f"/proc/{child}").exists() or None)


def _eventually(look: Callable[[], Any]) -> Any:
    """What `look` finds, once it is something."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with suppress(OSError, ValueError):
            if (found := look()) is not None:
                return found
        time.sleep(0.05)
    raise AssertionError("it never came")
