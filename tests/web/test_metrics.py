"""The page for Prometheus, read with Prometheus' own parser."""

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from edgewise.errors import Unavailable
from edgewise.settings import Settings
from edgewise.web.server import create_app
from tests.web.conftest import MemoryBackend


def numbers(client: FlaskClient) -> dict[tuple[str, ...], float]:
    """(name, *label values) -> value, of every sample on the page."""
    page = client.get("/metrics")
    assert page.status_code == 200
    families = text_string_to_metric_families(page.text)
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def test_answers_are_counted_by_endpoint_and_status(client: FlaskClient) -> None:
    for path in ("/health", "/health", "/nowhere", "/jobs/unknown"):
        client.get(path)
    found = numbers(client)
    assert found["edgewise_http_requests_total", "health", "200"] == 2
    assert found["edgewise_http_requests_total", "unknown", "404"] == 1
    assert found["edgewise_http_requests_total", "job", "404"] == 1
    assert found["edgewise_http_request_seconds_count", "health"] == 2
    assert 0 <= found["edgewise_http_request_seconds_sum", "health"] < 10


def test_gauges_are_asked_for_at_each_look(client: FlaskClient, backend: MemoryBackend) -> None:
    assert numbers(client)["edgewise_jobs_waiting",] == 2
    backend.gauges = {"jobs_waiting": 3, "open_tasks": 10.5}
    found = numbers(client)
    assert (found["edgewise_jobs_waiting",], found["edgewise_open_tasks",]) == (3, 10.5)
    assert found["edgewise_gauges_readable",] == 1


def test_a_gauge_may_have_labels(client: FlaskClient, backend: MemoryBackend) -> None:
    backend.gauges = {
        "jobs": [({"kind": "sync", "state": "done"}, 3.0), ({"kind": 'tr"a\nin', "state": "failed"}, 1.0)],
        "nothing": [],
    }
    found = numbers(client)
    assert found["edgewise_jobs", "sync", "done"] == 3
    assert found["edgewise_jobs", 'tr"a\nin', "failed"] == 1
    assert found["edgewise_gauges_readable",] == 1


def test_errors_are_counted_by_kind(client: FlaskClient, backend: MemoryBackend) -> None:
    client.get("/jobs/unknown")
    client.get("/nowhere")
    client.post("/predict", data=b"no JSON")
    backend.trouble = RuntimeError("Anna")
    assert client.get("/projects/1/status").status_code == 500
    backend.trouble = None
    found = numbers(client)
    kinds = {labels[0]: value for (name, *labels), value in found.items() if name == "edgewise_http_errors_total"}
    assert kinds == {"NotFound": 2, "InputError": 1, "RuntimeError": 1}


@pytest.mark.parametrize("trouble", [Unavailable("The database is away.", "Start it."), RuntimeError("Anna")])
def test_counts_are_told_when_the_gauges_cannot_be_read(
    client: FlaskClient, backend: MemoryBackend, trouble: Exception
) -> None:
    client.get("/health")
    backend.trouble = trouble
    found = numbers(client)
    assert found["edgewise_gauges_readable",] == 0
    assert found["edgewise_http_requests_total", "health", "200"] == 1


def test_two_apps_in_a_process_count_apart(client: FlaskClient, backend: MemoryBackend) -> None:
    client.get("/health")
    other = create_app(backend, Settings(basic_auth_user="")).test_client()
    assert ("edgewise_http_requests_total", "health", "200") not in numbers(other)
