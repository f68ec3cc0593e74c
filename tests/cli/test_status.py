"""`edgewise status` for people: the dashboard's numbers as text, whatever the labels are called."""

import copy

import pytest

from edgewise.cli.status import bar, told
from tests.web.payload import IDS, NUMBERS, STATUS


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def test_status_tells_what_the_dashboard_shows() -> None:
    lines = told(STATUS, NUMBERS).splitlines()
    assert "phase: training" in lines
    assert f"advice: {NUMBERS['advice']['sentence']}" in lines
    (serving,) = [line for line in lines if line.startswith(IDS[-1]) and "held out" in line]
    assert serving.split()[:6] == [IDS[-1], "240", "36", "0.731", "0.652", "to"]
    assert serving.endswith("serves")
    assert any(line.split() == ["PER", "80", "%", "60", "8", "3", "4", "5"] for line in lines)
    assert "language model: run 2 of small-4, $1.23 spent on 840 calls, 581 open tasks left" in lines
    assert any("lies below zero" in line for line in lines)


def test_status_tells_in_which_arithmetic_a_version_is_computed_and_why() -> None:
    made = {"head": "label", "choice": "float32", "reason": "bfloat16 is only 0.68 times as fast"}
    written = told(STATUS | {"arithmetic": [made | {"figures": {"machine": "Xeon, 2 cores"}}]}, NUMBERS)
    line = "arithmetic of label: float32 (bfloat16 is only 0.68 times as fast) on Xeon, 2 cores"
    assert line in written.splitlines()
    assert "arithmetic" not in told(STATUS, NUMBERS)


def test_status_of_a_new_project_says_that_nobody_can_tell() -> None:
    status = STATUS | {"language_model": None, "jobs": [], "model_version": None}
    written = told(status, {"held_out": {"tasks": 0, "enough": False}})
    assert "advice: nobody can tell" in written
    assert "serves: no version yet" in written


def test_names_of_labels_are_no_markup() -> None:
    numbers = copy.deepcopy(NUMBERS)
    point = numbers["curves"]["label"]["points"][-1]
    point["per_label"]["[bold red]x[/]"] = {"f1": 0.5, "support": 3}
    written = told(STATUS | {"title": "[link=http://x.test]y"}, numbers)
    assert "[bold red]x[/]" in written
    assert "[link=http://x.test]y" in written


@pytest.mark.parametrize(("score", "length"), [(None, 0), (0.0, 0), (0.5, 10), (1.0, 20), (0.51, 11)])
def test_a_bar_is_as_long_as_the_score(score: float | None, length: int) -> None:
    assert len(bar(score)) == length


def test_status_names_the_versions_that_learned_from_what_was_deleted() -> None:
    learned = {"version": "0a1b", "tasks": 2, "annotations": 1, "serves": True, "kept": True}
    erased = {"tasks": 3, "annotations": 1, "learned_from_them": [learned]}
    written = told(STATUS | {"erased": erased}, NUMBERS)
    assert (
        "erased here, as deleted in Label Studio: 3 tasks, 1 annotations; learned from by 0a1b (serves)"
        in written.splitlines()
    )
    unlearned = told(STATUS | {"erased": erased | {"learned_from_them": []}}, NUMBERS)
    assert "no version had learned from them" in unlearned
