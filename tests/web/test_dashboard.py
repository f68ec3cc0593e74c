"""The pages for people: whole without a script, safe against what labels are called; a button nobody else presses."""

import copy
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from edgewise.errors import Conflict, NotFound
from edgewise.settings import Settings
from edgewise.web import page
from edgewise.web.dashboard import COOKIE, POLICY
from edgewise.web.server import create_app
from edgewise.web.wire import Json
from tests.web.conftest import BASIC, MemoryBackend
from tests.web.payload import IDS, NUMBERS, PLAN, PROJECTS, STATUS, job

EVIL = '<script>alert("1")</script>"><img src=x onerror=alert(1)>'
OTHER = IDS[1]
FRESH: Json = {"held_out": {"tasks": 0, "enough": False}, "curves": {"label": {"measure": "F1", "points": []}}}


@pytest.fixture
def backend() -> MemoryBackend:
    """With a project that has something to show everywhere."""
    filled = MemoryBackend()
    filled.known = copy.deepcopy({"status": STATUS, "numbers": NUMBERS, "projects": PROJECTS, "plan": PLAN})
    return filled


class Outline(HTMLParser):
    """What a page is made of: its tags with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data + " "


def shown(client: FlaskClient, path: str = "/dashboard/7") -> Outline:
    """A page that must be there."""
    response = client.get(path)
    assert response.status_code == 200, response.text
    return Outline(response.text)


def press(client: FlaskClient, version: str = OTHER, **changes: str) -> TestResponse:
    """Open the page and press a version's button, as a browser does; changes: of the form."""
    html = client.get("/dashboard/7").text
    (token,) = set(re.findall(r'name="csrf" value="([^"]+)"', html))
    return client.post("/dashboard/7/rollback", data={"csrf": token, "version": version} | changes)


# What it shows


def test_every_part_of_the_page_shows_its_numbers(client: FlaskClient) -> None:
    text = shown(client).text
    for words in (
        "Training a new version.", "0.731", "0.652 to 0.803", "63 held-out tasks", "366", "The next 100 labels",
        "12 %", "What became of the pre-labels", "$1.23", "$0.88 ($0.81 to $0.96)", "1200", "lies below zero",
        "Serve it all the same", "The budget is spent. Raise LLM_BUDGET_USD.", "instead of 11.9",
    ):  # fmt: skip
        assert words in text, words


def test_a_fresh_project_says_why_there_is_nothing(client: FlaskClient, backend: MemoryBackend) -> None:
    status = {"project_id": 7, "title": "", "phase": "cold start", "why": "10 more labels start the next training."}
    counts = {"tasks": 12, "open": 12, "labelled": 0, "audit_labelled": 0, "problems": 0}
    backend.known |= {"status": status | {"tasks": counts}, "numbers": FRESH}
    backend.known["plan"] = None
    text = shown(client).text
    assert "10 more labels start the next training." in text
    assert "the curve begins with the first training" in text
    assert "No version yet. It is known after the first training." in text
    assert "Project 7" in text


def test_too_few_held_out_tasks_are_named_and_have_no_interval(client: FlaskClient, backend: MemoryBackend) -> None:
    numbers = backend.known["numbers"]
    numbers["held_out"] = {"tasks": 12, "enough": False}
    for point in numbers["curves"]["label"]["points"]:
        point |= {"on": "out_of_fold", "low": None, "high": None, "minutes": None}
    outline = shown(client)
    assert "12 held-out tasks are too few" in outline.text
    assert "Out of fold, 63 tasks" in outline.text
    assert "95 % interval 0" not in outline.text


def test_syncs_that_found_nothing_are_told_once() -> None:
    jobs = [job(i, "sync", "done", message="3 changed tasks read" if i == 2 else "") for i in range(4)]
    told = page.worth_telling([*jobs, job(9, "train", "done")])
    assert [one["id"] for one in told] == ["job0", "job2", "job9"]


def test_several_heads_have_a_curve_each(client: FlaskClient, backend: MemoryBackend) -> None:
    curves = backend.known["numbers"]["curves"]
    curves["topic"] = copy.deepcopy(curves["label"]) | {"measure": "macro F1"}
    plots = [attributes["aria-label"] for tag, attributes in shown(client).tags if attributes.get("class") == "plot"]
    assert [name.split(" of ")[0] for name in plots if name] == ["F1", "macro F1"]


def test_the_projects_are_listed_with_where_they_stand(client: FlaskClient) -> None:
    outline = shown(client, "/dashboard")
    links = [attributes.get("href") for tag, attributes in outline.tags if tag == "a"]
    assert {"/dashboard/7", "/dashboard/9"} <= set(links)
    assert "cold start" in outline.text


def test_the_list_without_projects_says_how_to_get_one(client: FlaskClient, backend: MemoryBackend) -> None:
    backend.known["projects"] = []
    assert "edgewise connect" in shown(client, "/dashboard").text


def test_label_errors_link_to_their_tasks_in_label_studio(backend: MemoryBackend) -> None:
    client = create_app(backend, Settings(label_studio_host="http://studio.test:8080/")).test_client()
    links = [attributes.get("href") for tag, attributes in shown(client).tags if tag == "a"]
    assert "http://studio.test:8080/projects/7/data?task=1200" in links


def test_the_rounds_of_improve_are_shown_with_their_quality_and_cost(client: FlaskClient) -> None:
    text = shown(client).text
    assert "F1 0.650 (0.500 to 0.750) on 63" in text
    assert "$0.61" in text


def test_the_same_numbers_are_there_for_programs(client: FlaskClient, backend: MemoryBackend) -> None:
    assert client.get("/projects/7/numbers").json == NUMBERS
    backend.trouble = NotFound("There is no project 7.", "Look at /dashboard.")
    assert client.get("/projects/7/numbers").status_code == 404


# Safety


def poisoned(value: Any) -> Any:
    """The value with markup in every text of it, and in every name of a label."""
    if isinstance(value, dict):
        spoiled = {"curves", "per_label", "label_counts", "settings"}
        return {
            key: {f"{name}{EVIL}": poisoned(inner) for name, inner in one.items()} if key in spoiled else poisoned(one)
            for key, one in value.items()
        }
    if isinstance(value, list):
        return [poisoned(one) for one in value]
    plain = isinstance(value, str) and (value.startswith("2026") or value in IDS or value.replace(".", "").isdigit())
    return value + EVIL if isinstance(value, str) and not plain else value


@pytest.mark.parametrize("path", ["/dashboard/7", "/dashboard"])
def test_no_text_of_a_project_becomes_markup(client: FlaskClient, backend: MemoryBackend, path: str) -> None:
    tags = {tag for tag, _ in shown(client, path).tags}
    names = {name for _, attributes in shown(client, path).tags for name in attributes}
    backend.known = {
        "status": poisoned(STATUS) | {"language_model": STATUS["language_model"] | {"model": EVIL, "host": EVIL}},
        "numbers": poisoned(NUMBERS),
        "projects": poisoned(PROJECTS),
        "plan": PLAN | {"advice": [EVIL, EVIL]},
    }
    spoiled = shown(client, path)
    assert "alert" in spoiled.text
    assert {tag for tag, _ in spoiled.tags} <= tags
    assert {name for _, attributes in spoiled.tags for name in attributes} <= names
    assert "img" not in tags
    assert not any(name.startswith("on") for name in names)


@pytest.mark.parametrize("path", ["/dashboard/7", "/dashboard"])
def test_a_page_holds_nothing_inline_and_nothing_of_other_servers(client: FlaskClient, path: str) -> None:
    outline = shown(client, path)
    assert not [attributes for _, attributes in outline.tags if "style" in attributes]
    scripts = [attributes for tag, attributes in outline.tags if tag in ("script", "style")]
    assert all("src" in attributes for attributes in scripts)
    loaded = [attributes.get("src") or attributes.get("href") or "" for tag, attributes in outline.tags if tag != "a"]
    assert all(one.startswith("/dashboard/static/") for one in loaded if one)
    for one in filter(None, loaded):
        with client.get(one) as response:
            assert response.status_code == 200, one


def test_headers_hold_the_browser_to_it(client: FlaskClient) -> None:
    for path in ("/dashboard", "/dashboard/7", "/dashboard/static/dashboard.js"):
        with client.get(path) as response:
            assert response.headers["Content-Security-Policy"] == POLICY
            assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "unsafe" not in POLICY
    assert client.get("/dashboard/7").headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/dashboard", "/dashboard/7", "/dashboard/static/dashboard.css"])
def test_without_credentials_nothing_is_shown(guarded: FlaskClient, path: str) -> None:
    with guarded.get(path) as response:
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"].startswith("Basic")
        assert b"Wikigold" not in response.get_data()
    with guarded.get(path, headers=BASIC) as response:
        assert response.status_code == 200


def test_an_unknown_project_is_told_as_a_page(client: FlaskClient, backend: MemoryBackend) -> None:
    backend.trouble = NotFound("There is no project 7.", "Look at /dashboard.")
    response = client.get("/dashboard/7")
    assert (response.status_code, response.mimetype) == (404, "text/html")
    assert "There is no project 7." in response.text
    for path in ("/dashboard/0", "/dashboard/x/y"):
        nowhere = client.get(path)
        assert (nowhere.status_code, nowhere.mimetype) == (404, "text/html")


# The button


def test_rolling_back_queues_it_and_shows_the_page_again(client: FlaskClient, backend: MemoryBackend) -> None:
    response = press(client)
    assert response.status_code == 303
    assert response.headers["Location"] == f"/dashboard/7?asked={OTHER}#versions"
    (queued,) = backend.queued.values()
    assert (queued["project_id"], queued["kind"], queued["args"]) == (7, "rollback", {"version": OTHER})
    assert f"Going back to {OTHER[:6]}" in " ".join(shown(client, f"/dashboard/7?asked={OTHER}").text.split())


def test_only_versions_whose_weights_are_kept_have_a_button(client: FlaskClient) -> None:
    forms = [one["value"] for tag, one in shown(client).tags if tag == "input" and one.get("name") == "version"]
    assert set(forms) == set(IDS[1:5])


@pytest.mark.parametrize("token", ["", "wrong", "\ud800"])
def test_a_form_without_our_token_changes_nothing(client: FlaskClient, backend: MemoryBackend, token: str) -> None:
    response = press(client, csrf=token.encode("utf-8", "surrogatepass").decode("latin-1"))
    assert response.status_code == 403
    assert not backend.queued


def test_a_form_without_the_cookie_changes_nothing(client: FlaskClient, backend: MemoryBackend) -> None:
    client.get("/dashboard/7")
    cookie = client.get_cookie(COOKIE, path="/dashboard")
    assert cookie is not None
    assert (cookie.http_only, cookie.same_site) == (True, "Strict")
    client.delete_cookie(COOKIE, path="/dashboard")
    assert client.post("/dashboard/7/rollback", data={"csrf": cookie.value, "version": OTHER}).status_code == 403
    assert client.post("/dashboard/7/rollback", data={"csrf": "", "version": OTHER}).status_code == 403
    assert not backend.queued


def test_a_form_without_credentials_changes_nothing(guarded: FlaskClient, backend: MemoryBackend) -> None:
    guarded.get("/dashboard/7", headers=BASIC)
    assert guarded.post("/dashboard/7/rollback", data={"version": OTHER}).status_code == 401
    assert not backend.queued


@pytest.mark.parametrize("version", ["", "x", EVIL, "0" * 13])
def test_a_form_that_names_no_version_is_refused(client: FlaskClient, backend: MemoryBackend, version: str) -> None:
    assert press(client, version).status_code == 400
    assert not backend.queued


def test_a_version_that_cannot_serve_says_why(client: FlaskClient, backend: MemoryBackend) -> None:
    client.get("/dashboard/7")
    html = client.get("/dashboard/7").text
    (token,) = set(re.findall(r'name="csrf" value="([^"]+)"', html))
    backend.trouble = Conflict("It was trained for another labelling config.", "Choose a later version.")
    response = client.post("/dashboard/7/rollback", data={"csrf": token, "version": OTHER})
    assert response.status_code == 409
    assert "Choose a later version." in response.text


FOREIGN: list[Json] = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "http://evil.test"},
    {"Origin": "null"},
    {"Origin": "http://localhost:8080"},
]


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize("path", ["/projects/7/rollback", "/projects/7/forget", "/webhook", "/setup"])
def test_a_page_of_another_site_cannot_make_the_browser_change_anything(
    client: FlaskClient, backend: MemoryBackend, headers: Json, path: str
) -> None:
    response = client.post(path, data="{}", headers=headers, content_type="text/plain")
    assert response.status_code == 403
    assert not backend.queued


@pytest.mark.parametrize("headers", [{}, {"Origin": "http://localhost"}, {"Sec-Fetch-Site": "same-origin"}])
def test_scripts_and_our_own_pages_can(client: FlaskClient, backend: MemoryBackend, headers: Json) -> None:
    assert client.post("/projects/7/sync", headers=headers).status_code == 202


# How values are written


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (page.count(12345), "12,345"), (page.count(None), "–"), (page.score(0.73149), "0.731"),
        (page.share(0.615), "62 %"),
        (page.dollars("1.2304"), "$1.23"), (page.dollars("0.00123"), "$0.0012"), (page.dollars(None), "unknown"),
        (page.moment("2026-11-01T13:05:00+02:00"), "1 Nov, 11:05 UTC"), (page.moment("x"), "x"),
        (page.ranged({"value": 581.0, "low": 581.0, "high": 583.0}), "581 (581 to 583)"),
        (page.ranged({"value": 0.2134, "low": 0.2134, "high": 0.2134}, "$"), "$0.213"),
        (page.source_name("model 0a1b2c3d4e5f"), "model 0a1b2c"), (page.source_name("model x"), "model x"),
    ],
)  # fmt: skip
def test_values_are_written_for_people(written: str, expected: str) -> None:
    assert written == expected


def test_a_bar_of_outcomes_is_as_long_as_what_was_suggested() -> None:
    (group,) = page.feedback(NUMBERS["feedback"][:1])
    (row,) = group["rows"]
    assert row["suggested"] == 60 + 8 + 3 + 4
    assert sum(piece["width"] for piece in row["pieces"]) == pytest.approx(100, abs=0.1)
    assert page.with_bar(row | dict.fromkeys(page.OUTCOMES, 0))["share"] is None
