"""What this process logs: for people or for machines, with request and job, and never the words of an exception."""

import json
import logging
from collections.abc import Iterator
from io import StringIO

import pytest
from flask.testing import FlaskClient

from edgewise import logs
from edgewise.services.jobs import LocalQueue, perform
from edgewise.services.store import Store
from tests.web.conftest import MemoryBackend, client

__all__ = ["client"]
SECRET = "Qozzuvex"


@pytest.fixture
def backend() -> MemoryBackend:
    return MemoryBackend()


@pytest.fixture
def written() -> StringIO:
    """What was logged."""
    return StringIO()


@pytest.fixture(params=["text", "json"])
def form(request: pytest.FixtureRequest, written: StringIO) -> Iterator[str]:
    """Logging set up as a server does it; as it was before, afterwards."""
    root, gunicorn = logging.getLogger(), [logging.getLogger(name) for name in logs.OF_GUNICORN]
    others, level, theirs = root.handlers[:], root.level, [(one.handlers[:], one.propagate) for one in gunicorn]
    root.handlers.clear()
    logs.set_up_logging("DEBUG", str(request.param))
    (ours,) = root.handlers
    assert isinstance(ours, logging.StreamHandler)
    ours.setStream(written)
    root.handlers[:] = [*others, ours]
    yield str(request.param)
    root.removeHandler(ours)
    root.setLevel(level)
    for one, (handlers, propagates) in zip(gunicorn, theirs, strict=True):
        one.handlers[:], one.propagate = handlers, propagates
    logs.begin()


def lines(written: StringIO) -> list[str]:
    return [line for line in written.getvalue().splitlines() if "edgewise" in line]


def test_a_request_is_logged_with_its_id_which_its_answer_carries(
    form: str, client: FlaskClient, written: StringIO
) -> None:
    answer = client.get("/versions", headers={"X-Request-ID": "from-the-proxy-7"})
    assert answer.headers["X-Request-ID"] == "from-the-proxy-7"
    (line,) = lines(written)
    if form == "text":
        assert "INFO edgewise.web.server request=from-the-proxy-7 GET versions: 200, " in line
        return
    told = json.loads(line)
    assert (told["request"], told["endpoint"], told["status"]) == ("from-the-proxy-7", "versions", 200)
    assert (told["level"], told["logger"]) == ("INFO", "edgewise.web.server")
    assert 0 <= told["ms"] < 10_000


@pytest.mark.parametrize("given", ["", "x" * 65, "two words", "a{b}", "\u00e9"])
def test_an_id_that_is_none_is_replaced(client: FlaskClient, given: str) -> None:
    ids = {client.get("/health", headers={"X-Request-ID": given}).headers["X-Request-ID"] for _ in range(3)}
    assert len(ids) == 3
    assert all(len(one) == 16 and one.isalnum() for one in ids)


def test_an_unexpected_error_is_found_by_its_request_and_tells_no_words(
    form: str, client: FlaskClient, backend: MemoryBackend, written: StringIO
) -> None:
    backend.trouble = RuntimeError(SECRET)
    answer = client.get("/projects/1/status", headers={"X-Request-ID": "r1"})
    assert answer.status_code == 500
    assert "r1" in answer.json["error"]["what"]  # type: ignore[index]  # it is an object
    told = written.getvalue()
    assert "RuntimeError" in told
    assert "in _try" in told  # where it was raised
    assert SECRET not in told


def test_what_a_job_logs_carries_its_id_and_an_exception_no_words(
    form: str, tmp_path: object, written: StringIO
) -> None:
    store = Store(f"sqlite:///{tmp_path}/edgewise.db")
    queue = LocalQueue(store)
    job = queue.enqueue("sync", store.record_project("studio", 1, "c").key)

    def run(*_: object) -> None:
        logging.getLogger("edgewise.verbs").info("working")
        try:
            raise KeyError(SECRET)
        except KeyError as error:
            raise RuntimeError(SECRET) from error

    perform(store, queue, job.id, run)
    store.close()
    told = written.getvalue()
    assert SECRET not in told
    assert "KeyError" in told
    working = next(line for line in told.splitlines() if "working" in line)
    assert (json.loads(working)["job"] if form == "json" else working.split("job=")[1].split()[0]) == job.id
    assert logs.current() == {}


def test_a_job_that_a_request_queues_is_logged_with_that_request(
    form: str, tmp_path: object, written: StringIO
) -> None:
    store = Store(f"sqlite:///{tmp_path}/edgewise.db")
    logs.begin(request="r7")
    job = LocalQueue(store).enqueue("train", store.record_project("studio", 1, "c").key)
    store.close()
    (line,) = lines(written)
    assert "r7" in line
    assert job.id in line


def test_gunicorn_too_logs_as_json(written: StringIO, form: str) -> None:
    logging.getLogger("gunicorn.error").warning("Worker exiting")
    if form == "json":
        assert [json.loads(line)["message"] for line in written.getvalue().splitlines()] == ["Worker exiting"]
