"""simulate from a terminal: a table, files that tell all of it, and a second run that goes on."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from edgewise.labels.spans import Document
from tests.cli.conftest import Ended, Run
from tests.learning.conftest import TOPIC, chosen

OPTIONS = ("--strategy", "features", "--seeds", "2", "--first", "12", "--to", "24", "--rounds", "2")


@pytest.fixture
def simulate(run: Run, documents: list[Document], tiny_base: Path) -> Callable[..., Ended]:
    """The command on a hundred sentences with their topics, in the folder `simulated`."""
    with Path("labelled.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"])
        rows.writerows([one.text, one.spans[0].label] for one in chosen(documents, TOPIC))
    given = ("simulate", "-i", "labelled.csv", "-o", "simulated", "--model-name", tiny_base)
    return lambda *words: run(*given, *words)


def test_simulate_shows_strategies_side_by_side_and_goes_on_where_it_was(simulate: Callable[..., Ended]) -> None:
    words = (*OPTIONS, "--strategies", "random,margin")
    first = simulate(*words)
    assert first.code == 0, first.err
    assert first.out.startswith("accuracy on ")
    assert first.out.splitlines()[2].split() == ["labelled", "random", "margin"]
    content = json.loads(Path("simulated/simulation.json").read_text(encoding="utf-8"))
    assert {(one["strategy"], one["seed"], one["labelled"]) for one in content["cells"]} == {
        (strategy, seed, size) for strategy in ("random", "margin") for seed in (0, 1) for size in (12, 24)
    }
    assert len(content["everything"]) == 2
    assert Path("simulated/simulation.svg").read_text(encoding="utf-8").startswith("<?xml")
    assert "| 12 |" in Path("simulated/simulation.md").read_text(encoding="utf-8")
    again = simulate(*words, "--json")
    assert [one["seconds"] for one in again.json["cells"]] == [one["seconds"] for one in content["cells"]]


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--strategies", "random,lucky", "--to", "40"), "'lucky' is no strategy"),
        (("--to", "20", "--first", "30"), "--to 20 is not more"),
        (("--to", "5000"), "5000 rows are to be labelled"),
    ],
)
def test_what_cannot_be_replayed_is_refused_before_anything_is_trained(
    simulate: Callable[..., Ended], words: tuple[str, ...], what: str
) -> None:
    ended = simulate(*words)
    assert ended.code == 2
    assert what in ended.err
    assert not Path("simulated").exists()


def test_a_folder_keeps_to_one_simulation(simulate: Callable[..., Ended]) -> None:
    words = ("--strategies", "random", "--no-full", "--seeds", "1", "--strategy", "features", "--rounds", "2")
    assert simulate(*words, "--first", "12", "--to", "20").code == 0
    ended = simulate(*words, "--first", "14", "--to", "20")
    assert ended.code == 1
    assert "other data or with other options" in ended.err
