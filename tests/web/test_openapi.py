"""The document lists the routes that exist, with schemas that resolve."""

import re
from collections.abc import Iterator
from typing import Any

from flask.testing import FlaskClient

from edgewise.web.guard import PUBLIC
from edgewise.web.server import MAX_JOBS, VERBS


def document(client: FlaskClient) -> dict[str, Any]:
    answer = client.get("/openapi.json").json
    assert answer is not None
    return dict(answer)


def routes(client: FlaskClient) -> dict[tuple[str, str], str]:
    """(path, method) -> endpoint, of every rule that the app has."""
    found = {}
    for rule in client.application.url_map.iter_rules():
        path = re.sub(r"<(?:[^<>]*:)?(\w+)>", r"{\1}", rule.rule)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            found[path, method.lower()] = rule.endpoint
    return found


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_every_route_is_in_the_document_and_no_other(client: FlaskClient) -> None:
    listed = {(path, method) for path, methods in document(client)["paths"].items() for method in methods}
    assert listed == set(routes(client))


def test_every_post_but_cancel_has_a_body_and_every_answer_a_schema(client: FlaskClient) -> None:
    for path, methods in document(client)["paths"].items():
        for method, operation in methods.items():
            assert ("requestBody" in operation) == (method in ("post", "put") and not path.endswith("/cancel"))
            assert all(answer["content"] for answer in operation["responses"].values())


def test_every_part_of_a_path_is_a_parameter(client: FlaskClient) -> None:
    for path, methods in document(client)["paths"].items():
        for operation in methods.values():
            named = {part["name"] for part in operation["parameters"] if part["in"] == "path"}
            assert named == set(re.findall(r"{(\w+)}", path))


def test_every_reference_resolves(client: FlaskClient) -> None:
    page = document(client)
    known = {f"#/components/schemas/{name}" for name in page["components"]["schemas"]}
    assert set(references(page)) <= known


def test_what_needs_no_credentials_says_so(client: FlaskClient) -> None:
    for (path, method), endpoint in routes(client).items():
        assert (document(client)["paths"][path][method].get("security") == []) == (endpoint in PUBLIC)


def test_the_limits_of_the_document_are_those_of_the_server(client: FlaskClient) -> None:
    paths = document(client)["paths"]
    assert paths["/jobs"]["get"]["parameters"][0]["schema"]["maximum"] == MAX_JOBS
    assert paths["/projects/{ls_id}/{verb}"]["post"]["parameters"][1]["schema"]["enum"] == list(VERBS)


def test_a_webhook_that_does_not_concern_us_is_answered_as_the_document_says(client: FlaskClient) -> None:
    answer = client.post("/webhook", json={"action": "LABEL_LINK_CREATED"})
    told = document(client)["paths"]["/webhook"]["post"]["responses"]
    assert str(answer.status_code) in told
    assert told["200"]["content"] == told["201"]["content"]
