"""The made-up project's page in headless Chromium: who can use it, what it loads, what it draws, and who may press."""

import copy
from collections.abc import Iterator
from contextlib import closing, contextmanager
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request, expect
from pydantic import SecretStr
from werkzeug.serving import make_server

from edgewise.settings import Settings
from edgewise.web.server import create_app
from tests.axe import faults
from tests.live.browser import browser
from tests.web.conftest import PASSWORD, USER, MemoryBackend
from tests.web.payload import IDS, NUMBERS, PLAN, PROJECTS, STATUS

WHO = {"username": USER, "password": PASSWORD}
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 400, "height": 800}


@contextmanager
def served(app: Flask) -> Iterator[str]:
    """The app on a free port; its address."""

    def closed(environ: Any, start_response: Any) -> Iterator[bytes]:
        # Werkzeug's server leaves a file open where the browser drops the connection after the answer.
        answer: Any = app(environ, start_response)
        with closing(answer):
            yield from answer

    server = make_server("127.0.0.1", 0, closed, threaded=True)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def backend() -> MemoryBackend:
    """With a project that has something to show everywhere."""
    filled = MemoryBackend()
    filled.known = copy.deepcopy({"status": STATUS, "numbers": NUMBERS, "projects": PROJECTS, "plan": PLAN})
    return filled


@pytest.fixture
def url(backend: MemoryBackend) -> Iterator[str]:
    """A server with credentials."""
    settings = Settings(basic_auth_user=USER, basic_auth_pass=SecretStr(PASSWORD))
    with served(create_app(backend, settings)) as address:
        yield address


class Watched:
    """What a browser asked for, and what it complained of."""

    def __init__(self, context: BrowserContext) -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []
        context.on("request", self._asked)
        context.on("console", self._said)
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))

    def _asked(self, request: Request) -> None:
        self.requests.append(request.url)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)


def opened(context: BrowserContext, address: str) -> Page:
    """The page, with its curve drawn."""
    page = context.new_page()
    page.goto(address)
    expect(page.locator("h1").first).to_be_visible()
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
def test_everybody_can_use_the_page_and_it_asks_nobody_else(url: str, scheme: str, viewport: dict[str, int]) -> None:
    with browser(viewport=viewport, color_scheme=scheme, http_credentials=WHO) as context:
        watched = Watched(context)
        page = opened(context, f"{url}/dashboard/7")
        expect(page.locator(".plot canvas")).to_be_visible()
        for details in page.locator("details").all():
            details.evaluate("one => one.open = true")
        assert faults(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than the screen"
        page.goto(f"{url}/dashboard")
        assert faults(page) == []
        page.goto(f"{url}/dashboard/0")
        assert faults(page) == []
    assert {urlsplit(one).netloc for one in watched.requests} == {urlsplit(url).netloc}
    assert [one for one in watched.complaints if "404" not in one] == []


def test_the_curve_is_drawn_in_colour_and_told_at_the_pointer(url: str) -> None:
    with browser(viewport=WIDE, http_credentials=WHO) as context:
        page = opened(context, f"{url}/dashboard/7")
        canvas = page.locator(".plot canvas")
        by_labels = colours(page)
        assert by_labels > 20
        box = canvas.bounding_box()
        assert box is not None
        for part in range(20):  # somewhere along the curve there is a point
            page.mouse.move(box["x"] + 60 + part * box["width"] / 22, box["y"] + box["height"] * 0.35)
            if page.locator(".tip").is_visible():
                break
        expect(page.locator(".tip")).to_contain_text("version")
        page.get_by_label("minutes", exact=True).check()
        expect(page.locator("input[value=minutes]")).to_be_checked()
        page.keyboard.press("ArrowLeft")
        expect(page.locator("input[value=examples]")).to_be_checked()


def colours(page: Page) -> int:
    """How many different colours the canvas has."""
    return int(
        page.evaluate(
            """() => { const canvas = document.querySelector(".plot canvas");
            const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
            return new Set(new Uint32Array(data.buffer)).size; }"""
        )
    )


def test_without_scripts_the_numbers_stand_open_and_the_button_works(url: str, backend: MemoryBackend) -> None:
    with browser(viewport=WIDE, http_credentials=WHO, java_script_enabled=False) as context:
        page = opened(context, f"{url}/dashboard/7")
        expect(page.locator("table.points")).to_be_visible()
        expect(page.locator(".plot")).to_be_hidden()
        expect(page.locator(".switch")).to_be_hidden()
        page.get_by_role("button", name=f"Roll back to {IDS[1][:6]}").click()
        expect(page.get_by_role("status")).to_contain_text("Going back")
    (queued,) = backend.queued.values()
    assert queued["args"] == {"version": IDS[1]}


def test_progress_is_live_and_a_new_version_shows_itself(url: str, backend: MemoryBackend) -> None:
    with browser(viewport=WIDE, http_credentials=WHO) as context:
        page = opened(context, f"{url}/dashboard/7")
        expect(page.locator("#now .percent")).to_have_text("43 %")
        running: dict[str, Any] = backend.known["status"]["jobs"][0]
        running |= {"progress": 0.86, "message": "Epoch 10 of 12"}
        expect(page.locator("#now .percent")).to_have_text("86 %", timeout=10_000)
        expect(page.locator("#now .message")).to_have_text("Epoch 10 of 12")
        page.locator("#versions summary").first.click()
        running |= {"state": "done", "progress": 1.0}
        backend.known["status"] |= {"phase": "live", "why": "60 more labels start the next training."}
        backend.known["numbers"]["curves"]["label"]["points"][-1]["score"] = 0.777
        expect(page.locator("#now .why")).to_have_text("60 more labels start the next training.", timeout=10_000)
        expect(page.locator("#tiles .big").first).to_have_text("0.777")
        expect(page.locator("#now progress")).to_have_count(0)
        expect(page.locator(".plot canvas")).to_be_visible()
        assert page.locator("#versions details[open]").count() == 1, "what somebody opened stays open"


def test_a_page_of_another_site_cannot_press_the_button(url: str, backend: MemoryBackend) -> None:
    """The browser knows our credentials and sends them; the other page knows where to, and the version."""
    other = Flask("other")

    @other.get("/")
    def trap() -> str:
        fields = f'<input name="csrf" value="x"><input name="version" value="{IDS[1]}">'
        return "".join(
            f'<form method="post" action="{url}{path}" enctype="{kind}">{fields}<button>{name}</button></form>'
            for name, path, kind in (
                ("form", "/dashboard/7/rollback", "application/x-www-form-urlencoded"),
                ("verb", "/projects/7/rollback", "text/plain"),
            )
        )

    with served(other) as foreign, browser(http_credentials=WHO) as context:
        opened(context, f"{url}/dashboard/7")
        page = context.new_page()
        for name in ("form", "verb"):
            page.goto(foreign.replace("127.0.0.1", "localhost") if name == "none" else foreign)
            with page.expect_response(lambda one: "rollback" in one.url) as response:
                page.get_by_role("button", name=name).click()
            assert response.value.status == 403
    assert not backend.queued
