"""What people see in headless Chromium: the labelling page with its pre-labels, and the tab "Hardest first"."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Page, sync_playwright

from examples.label_studio import RunningStudio

QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)
PATIENCE_MS = 90_000


@dataclass(frozen=True)
class Seen:
    """What stood on the two pages. regions: texts of the drawn pre-labels; scores: the column, from top to bottom."""

    regions: list[str]
    scores: list[float]


def look(studio: RunningStudio, project: int, folder: Path) -> Seen:
    """Log in, open Label All Tasks and the view; screenshots go into the folder."""
    with browser() as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        log_in(page, studio)
        scores = look_at_view(page, studio, project, folder / "hardest-first.png")
        regions = look_at_task(page, studio, project, folder / "label.png")
    return Seen(regions, scores)


@contextmanager
def browser(**options: Any) -> Iterator[BrowserContext]:
    """Chromium that reaches nothing but this machine; options: of Playwright's context."""
    with sync_playwright() as playwright, tempfile.TemporaryDirectory(prefix="chromium-") as profile:
        context = playwright.chromium.launch_persistent_context(
            profile,
            executable_path="/usr/bin/chromium",
            headless=True,
            args=list(QUIET),
            **{"viewport": {"width": 1400, "height": 850}} | options,
        )
        yield context
        context.close()


def log_in(page: Page, studio: RunningStudio) -> None:
    """As the demo's user."""
    page.goto(f"{studio.url}/user/login/")
    page.fill("input[name=email]", studio.username)
    page.fill("input[name=password]", studio.password)
    page.click("button[type=submit]")
    page.wait_for_load_state("load")


def look_at_view(page: Page, studio: RunningStudio, project: int, shot: Path) -> list[float]:
    """Open the tab; the scores in its column."""
    page.goto(f"{studio.url}/projects/{project}/data")
    page.get_by_text("Hardest first").first.click()
    cells = page.locator("[class*=table-row] [class*=cell]").filter(has_text="0.")
    cells.first.wait_for()
    page.wait_for_timeout(3000)  # rows arrive a moment after the table
    page.screenshot(path=shot)
    texts = [text.strip() for text in cells.all_inner_texts()]
    return [float(text) for text in texts if text.replace(".", "", 1).isdigit()]


def look_at_task(page: Page, studio: RunningStudio, project: int, shot: Path) -> list[str]:
    """Open Label All Tasks; the texts of the regions that are drawn before anybody did anything."""
    page.goto(f"{studio.url}/projects/{project}/data")
    page.get_by_text("Label All Tasks").click()
    page.locator("[class*=richtext]").first.wait_for()
    page.wait_for_timeout(4000)  # the editor draws regions a moment later
    page.screenshot(path=shot)
    for frame in page.frames:
        marks = frame.locator(".htx-highlight")
        if marks.count():
            return [text.strip() for text in marks.all_inner_texts()]
    return []
