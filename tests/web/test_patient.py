"""The worker under gunicorn itself: slow clients take no thread, and every other request arrives as it was sent."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from hashlib import sha256
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewise.web.patient import GATHERED_BYTES, MAX_HEAD_BYTES, Gathered
from examples.label_studio import free_port

ROOT = Path(__file__).parents[2]
THREADS = 2
GATHER_S = 1.2
STOPS_S = 10.0  # gunicorn would wait 30 s for them
ECHO = """
import hashlib, json

def app(environ, start_response):
    body = environ["wsgi.input"].read()
    told = {"path": environ["PATH_INFO"], "bytes": len(body), "hash": hashlib.sha256(body).hexdigest()}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(told).encode()]
"""
IMPATIENT = f"import edgewise.web.patient as patient\npatient.GATHER_S = {GATHER_S}\n"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A gunicorn with two threads, whose app says what it was sent."""
    folder, number = tmp_path_factory.mktemp("patient"), free_port()
    (folder / "echo.py").write_text(ECHO)
    (folder / "impatient.py").write_text(IMPATIENT)
    command = [
        sys.executable, "-m", "gunicorn", "echo:app", "--config", str(folder / "impatient.py"), "--chdir", str(folder),
        "--bind", f"127.0.0.1:{number}", "--threads", str(THREADS), "--no-control-socket",
        "--worker-class", "edgewise.web.patient.PatientWorker", "--pythonpath", str(ROOT),
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        await_port(number, folder / "log")
        yield number
        with drip(number, b""), drip(number, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") as kept:
            assert kept.recv(100).startswith(b"HTTP/1.1 200 ")
            process.terminate()
            process.wait(timeout=STOPS_S)  # who only keeps a connection open holds up nothing
    finally:
        process.kill()
        process.wait(timeout=30)
    assert "Traceback" not in (folder / "log").read_text()


def await_port(number: int, log: Path) -> None:
    """Until somebody answers there."""
    for _ in range(200):
        with suppress(OSError), socket.create_connection(("127.0.0.1", number), timeout=1):
            return
        time.sleep(0.1)
    raise AssertionError(log.read_text())


def ask(port: int, path: str, body: bytes | Iterable[bytes] | None = None, **headers: str) -> Any:
    """The app's account of a request."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST" if body else "GET", path, body=body, headers=headers)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def drip(port: int, beginning: bytes) -> socket.socket:
    """A connection that has sent so much, and will send the rest a byte at a time, if at all."""
    made = socket.create_connection(("127.0.0.1", port), timeout=10)
    made.sendall(beginning)
    return made


BEGINNINGS = {
    "nothing": b"",
    "half a head": b"POST /setup HTTP/1.1\r\nHost: x\r\nX-Slow: ",
    "half a body": b"POST /setup HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{",
    "half a body of a padded length": b"POST /setup HTTP/1.1\r\nContent-Length: " + b"0" * 40 + b"1000\r\n\r\n{",
    "half a chunk": b"POST /webhook HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n0\r\n\r\n",
    "chunks without end": b"POST /webhook HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
}


@pytest.mark.parametrize("beginning", BEGINNINGS.values(), ids=BEGINNINGS)
def test_clients_that_drip_hold_no_thread_and_are_closed_after_a_while(port: int, beginning: bytes) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(drip(port, beginning)) for _ in range(10 * THREADS)]
        began = time.monotonic()
        for step in range(6):
            for one in slow:
                with suppress(OSError):
                    one.sendall(b"1" if beginning else b"")
            asked = time.monotonic()
            assert ask(port, f"/{step}")["path"] == f"/{step}"
            assert time.monotonic() - asked < 2, "a caller waited for the slow ones"
            time.sleep(GATHER_S / 16)
        assert time.monotonic() - began < GATHER_S * 4
        for one in slow:
            one.settimeout(GATHER_S * 3)
            with suppress(ConnectionError):
                assert one.recv(100) == b"", "it was answered"


def test_a_connection_that_stays_brings_one_request_after_another(port: int) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    for size in (0, 10, 70_000, 0):
        connection.request("POST", f"/{size}", body=b"x" * size)
        assert json.loads(connection.getresponse().read())["bytes"] == size
    connection.close()


@pytest.mark.parametrize("size", [1, GATHERED_BYTES - 1, GATHERED_BYTES, GATHERED_BYTES * 5 + 1])
def test_a_body_arrives_whole_in_one_piece_and_in_chunks(port: int, size: int) -> None:
    body = (bytes(range(256)) * (size // 256 + 1))[:size]
    in_chunks = ask(port, "/", (body[at : at + 99_999] for at in range(0, size, 99_999)))
    assert ask(port, "/", body) == in_chunks == {"path": "/", "bytes": size, "hash": sha256(body).hexdigest()}


def test_who_waits_to_be_told_to_go_on_is_told(port: int) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\nConnection: close\r\n\r\n"
    with drip(port, head) as one:
        assert one.recv(1000).startswith(b"HTTP/1.1 100 ")
        one.sendall(b"abcd")
        answer = HTTPResponse(one)
        answer.begin()
        assert json.loads(answer.read())["bytes"] == 4


def test_a_head_without_end_is_refused(port: int) -> None:
    with drip(port, b"GET / HTTP/1.1\r\nX: ") as one, suppress(ConnectionError):
        one.sendall(b"x" * (MAX_HEAD_BYTES + 1))
        assert one.recv(100).startswith(b"HTTP/1.1 431 ")
    assert ask(port, "/alive")["path"] == "/alive"


@pytest.mark.parametrize("garbage", [b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"\r\n\r\n", b"\x16\x03\x01\r\n\r\n"])
def test_garbage_costs_nobody_else_anything(port: int, garbage: bytes) -> None:
    with ExitStack() as stack:
        began = time.monotonic()
        for _ in range(5):  # who got an answer, and stays
            stack.enter_context(drip(port, garbage))
            stack.enter_context(drip(port, b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"))
        assert ask(port, "/alive")["path"] == "/alive"
        assert time.monotonic() - began < 2


# Where a request ends


@settings(deadline=None)
@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    st.booleans(),
    st.data(),
)
def test_a_request_is_whole_with_its_last_byte_and_not_before(
    parts: list[bytes], chunked: bool, data: st.DataObject
) -> None:
    if chunked:
        head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    else:
        body = b"".join(parts)
        head = b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body)
    raw, gathered = head + body, Gathered()
    at = 0
    while at < len(raw):
        assert not gathered.is_whole, raw[:at]
        step = data.draw(st.integers(1, len(raw) - at))
        gathered.add(raw[at : at + step])
        at += step
    assert gathered.is_whole
    assert bytes(gathered.data) == raw
