"""The dashboard of a real project after a run of the loop, as its engineer sees it in Chromium."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from edgewise.services.studio import Studio
from examples import wikigold
from tests.axe import faults
from tests.live.browser import browser
from tests.live.conftest import Annotator, RunningEdgewise, Start, quiet, wikigold_project
from tests.live.helpers import ended

WANTED = os.environ.get("EDGEWISE_SCREENSHOTS")
OPEN = 40  # tasks that nobody has labelled
STEPS = (70, 80, 80, 80) if WANTED else (70, 70)  # tasks that come labelled, before each training
BY_HAND = 8  # tasks that people label after each, beginning with the pre-labels
HELD_OUT_SHARE = "0.4"
STRATEGY = "auto" if WANTED else "features"  # the encoder rests: the page is tested, not the model
PATIENCE_S = 900.0  # where others compute as well
SCHEMES = ("light", "dark")


@dataclass(frozen=True)
class Run:
    """A server and a project of it."""

    edgewise: RunningEdgewise
    project: int

    @property
    def address(self) -> str:
        """Of the page."""
        return f"{self.edgewise.url}/dashboard/{self.project}"

    def numbers(self) -> Any:
        """What the page is made of."""
        return self.edgewise.get(f"/projects/{self.project}/numbers")


@pytest.mark.timeout(2400)
def test_the_dashboard_shows_a_run_of_the_loop_and_goes_back_to_an_earlier_version(
    start_edgewise: Start, studio: Studio, annotators: list[Annotator], tmp_path: Path
) -> None:
    edgewise = start_edgewise(
        AUDIT_FRACTION=HELD_OUT_SHARE, START_TRAINING_EACH_N_UPDATES="1000", FINE_TUNING_STRATEGY=STRATEGY
    )
    rows = iter(wikigold.rows("train"))
    project, _ = wikigold_project(studio, list(islice(rows, OPEN)))
    studio.add_backend(project, edgewise.url, "Edgewise")
    edgewise.wait(project, lambda status: status["tasks"]["tasks"] == OPEN, within_s=PATIENCE_S)
    run = Run(edgewise, project)
    with browser(viewport={"width": 1280, "height": 900}) as context:
        asked: list[str] = []
        context.on("request", lambda request: asked.append(request.url))
        page = context.new_page()
        page.goto(run.address)
        expect(page.locator("#curve")).to_contain_text("the curve begins with the first training")
        for versions, step in enumerate(STEPS, start=1):
            studio.import_tasks(project, [labelled(row) for row in islice(rows, step)])
            train_while_somebody_looks(run, page, versions)
            label(annotators, project, BY_HAND)
        look_for_label_errors(run)
        shows_the_numbers(run, page)
        roll_back(run, page, annotators[0])
        look_at_it(run, page, Path(WANTED or tmp_path))
    assert {urlsplit(one).netloc for one in asked} == {urlsplit(edgewise.url).netloc}


def is_settled(status: Any) -> bool:
    """Label Studio has the whole order, and nothing is about to change it."""
    return bool(status["release"] and status["release"]["whole"]) and quiet(status)


def label(annotators: Sequence[Annotator], project: int, count: int) -> None:
    """People label what they are given."""
    for number in range(count):
        annotator = annotators[number % len(annotators)]
        submit(annotator, annotator.next(project))


def submit(annotator: Annotator, task: dict[str, Any]) -> None:
    """Label a task with gold."""
    gold = annotator.gold(task["data"]["text"])
    shown = task.get("predictions") or []
    drawn = shown[0]["result"] if shown else []
    parent = shown[0]["id"] if shown else None
    body = {"result": gold, "lead_time": seconds(task, gold, drawn), "parent_prediction": parent}
    answer = annotator.http.post(f"/api/tasks/{task['id']}/annotations/", json=body)
    assert answer.is_success, answer.text


def labelled(row: Any) -> dict[str, Any]:
    """A task that comes with its gold."""
    task, gold = wikigold.task(row), wikigold.result(row)
    return task | {"annotations": [{"result": gold, "lead_time": seconds(task, gold, [])}]}


def seconds(task: dict[str, Any], gold: Sequence[dict[str, Any]], drawn: Sequence[dict[str, Any]]) -> float:
    """A made-up time: reading takes a quarter of a second a word, and two seconds go to each span that the pre-label
    lacks or has wrong."""
    wrong = {place(one) for one in gold} ^ {place(one) for one in drawn}
    return 1 + 0.25 * len(task["data"]["text"].split()) + 2 * len(wrong)


def place(region: dict[str, Any]) -> tuple[int, int, str]:
    """Where a region is, and its label."""
    value = region["value"]
    return value["start"], value["end"], value["labels"][0]


def train_while_somebody_looks(run: Run, page: Page, versions: int) -> None:
    """A training shows itself on the page, and then its version, without a reload."""
    run.edgewise.post(f"/projects/{run.project}/train")
    expect(page.locator("#now .under-way")).to_contain_text("train", timeout=1000 * PATIENCE_S)
    expect(page.locator(".points tbody tr")).to_have_count(versions, timeout=1000 * PATIENCE_S)
    run.edgewise.wait(run.project, is_settled, within_s=PATIENCE_S)


def look_for_label_errors(run: Run) -> None:
    """So that the page has a list of them."""
    job = ended(
        run.edgewise,
        run.edgewise.post(f"/projects/{run.project}/label-errors", {"folds": 2})["id"],
        within_s=PATIENCE_S,
    )
    assert job["state"] == "done", job


def shows_the_numbers(run: Run, page: Page) -> None:
    """The page says what the numbers are."""
    page.goto(run.address)
    numbers = run.numbers()
    assert numbers["held_out"]["enough"], numbers["held_out"]
    for point in numbers["curves"]["label"]["points"]:
        row = page.locator(f".points tr[data-version='{point['version'][:6]}']")
        expect(row).to_contain_text(f"{point['score']:.3f}", use_inner_text=False)
        between = "–" if point["low"] is None else f"{point['low']:.3f} to {point['high']:.3f}"
        expect(row).to_contain_text(between, use_inner_text=False)
    assert point["low"] is not None, "the newest version is scored on enough held-out tasks"
    expect(page.locator("#advice .sentence")).to_have_text(numbers["advice"]["sentence"])
    expect(page.locator(".plot canvas")).to_be_visible()
    for label_name in numbers["curves"]["label"]["points"][-1]["per_label"]:
        expect(page.locator("#labels")).to_contain_text(label_name)
    assert len(page.locator("#acceptance tbody tr").all()) >= len({row["label"] for row in numbers["feedback"]})
    link = page.locator("#errors tbody a").first
    assert re.search(rf"/projects/{run.project}/data\?task=\d+$", link.get_attribute("href") or "")


def roll_back(run: Run, page: Page, annotator: Annotator) -> None:
    """Press the button of the last version but one: the next task that Label Studio gives follows its order."""
    before = run.edgewise.status(run.project)["model_version"]["id"]
    wanted = next(one["id"] for one in run.numbers()["versions"] if one["kept"] and one["id"] != before)
    page.get_by_role("button", name=f"to {wanted[:6]}").click()
    expect(page.get_by_role("status")).to_contain_text(wanted[:6])
    run.edgewise.wait(
        run.project, lambda status: status["release"]["version"] == wanted and is_settled(status), within_s=PATIENCE_S
    )
    store = run.edgewise.store()
    (known,) = [one for one in store.projects() if one.ls_id == run.project]
    assert known.active_release is not None
    first = store.order(known.key, known.active_release)[0]
    store.close()
    assert annotator.next(run.project)["id"] == first
    expect(page.locator("#versions tr.serves")).to_contain_text(wanted[:6], timeout=10_000)


def look_at_it(run: Run, page: Page, folder: Path) -> None:
    """Nobody is kept from using it, light or dark; screenshots."""
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.goto(run.address)
        expect(page.locator(".plot canvas")).to_be_visible()
        assert faults(page) == []
        name = "dashboard.png" if scheme == "light" else f"dashboard-{scheme}.png"
        page.screenshot(path=folder / name, full_page=True, clip={"x": 0, "y": 0, "width": 1280, "height": 1050})
    page.set_viewport_size({"width": 400, "height": 900})
    page.goto(run.address)
    assert faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.goto(f"{run.edgewise.url}/dashboard")
    expect(page.locator("main")).to_contain_text("wikigold")
    assert faults(page) == []
