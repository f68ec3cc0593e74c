"""prelabel on files: by a language model, by a model folder, by both; flags, budgets, and nothing paid for twice."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import NEW, LanguageModel, Run, rows_of, write_rows

ROOT = Path(__file__).parent.parent.parent
LABELS = ("apple", "pear")
ROWS = [{"n": str(number), "text": f"Fruit number {number}."} for number in range(40)]
ANSWERS = {row["text"]: LABELS[number % 2] for number, row in enumerate(ROWS)}


@pytest.fixture
def fruit(run: Run) -> Path:
    """Forty rows without labels."""
    return write_rows(Path("fruit.csv"), ROWS)


def by_llm(run: Run, *more: object) -> Any:
    """Pre-label the fruit by the language model."""
    return run("prelabel", "-i", "fruit.csv", "-o", "out.csv", "--labels", ",".join(LABELS), *more)


def test_a_language_model_labels_every_row_and_says_it_cannot_tell_how_sure_it_is(
    fruit: Path, language_model: LanguageModel, run: Run
) -> None:
    language_model.answers = ANSWERS
    ended = by_llm(run, "--json")
    assert ended.code == 0, ended.err
    made = rows_of(Path("out.csv"))
    assert [(row["n"], row["text"], row["label"]) for row in made] == [
        (row["n"], row["text"], ANSWERS[row["text"]]) for row in ROWS
    ]
    assert {row["review"] for row in made} == {"no confidence"}
    assert ended.json["spent"]["calls"] == language_model.texts_asked + 1


def test_variants_that_agree_make_it_sure(fruit: Path, language_model: LanguageModel, run: Run) -> None:
    language_model.answers = ANSWERS
    assert by_llm(run, "--variants", 2).code == 0
    made = rows_of(Path("out.csv"))
    assert {(row["confidence"], row["review"]) for row in made} == {("1.0000", "")}
    assert language_model.texts_asked == 80


def test_the_settings_of_a_language_model_are_those_of_its_project_too(
    fruit: Path, language_model: LanguageModel, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    language_model.answers = ANSWERS
    monkeypatch.setenv("LLM_VARIANTS", "2")
    assert by_llm(run).code == 0
    assert {row["confidence"] for row in rows_of(Path("out.csv"))} == {"1.0000"}
    monkeypatch.setenv("LLM_DEMONSTRATIONS", "1")
    shown = write_rows(Path("shown.csv"), [{"text": "Fruit of the tree.", "label": "pear"}] * 3)
    before = len(language_model.bodies)
    assert by_llm(run, "--examples", shown, "--overwrite").code == 0
    asked = [json.dumps(body) for body in language_model.bodies[before:] if "Fruit number" in json.dumps(body)]
    assert {body.count("Fruit of the tree.") for body in asked} == {1}


def test_spans_are_asked_for_in_the_codec_of_the_settings(
    fruit: Path, language_model: LanguageModel, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLM_CODEC", "tags")
    by_llm(run, "--spans")
    asked = [body for body in language_model.bodies if "Fruit number" in json.dumps(body)]
    assert asked
    assert not any("response_format" in body for body in asked), "tags are plain text"


@pytest.mark.parametrize("verb", ["train", "prelabel"])
def test_what_says_how_to_read_a_file_does_not_go_with_a_project(verb: str, run: Run) -> None:
    ended = run(verb, "--project", 1, "--labels", "a,b", "--text-columns", "body", "--overwrite", "--no-wait")
    assert ended.code == 2
    assert "--labels, --overwrite, --text-columns" in ended.err
    assert "Error" not in ended.out


def test_what_was_answered_is_never_paid_for_twice(fruit: Path, language_model: LanguageModel, run: Run) -> None:
    language_model.answers = ANSWERS
    assert by_llm(run).code == 0
    asked = len(language_model.bodies)
    first = Path("out.csv").read_bytes()
    assert by_llm(run, "--overwrite").code == 0
    assert len(language_model.bodies) == asked
    assert Path("out.csv").read_bytes() == first


def test_a_run_that_the_endpoint_ends_goes_on_where_it_was(
    fruit: Path, language_model: LanguageModel, run: Run
) -> None:
    language_model.answers = ANSWERS
    language_model.calls_left = 21  # the probe, then twenty texts
    ended = by_llm(run)
    assert ended.code != 0
    assert not Path("out.csv").exists()
    language_model.calls_left = None
    assert by_llm(run).code == 0
    refused = len(language_model.bodies) - 2 - len(ROWS)  # two probes, each text once
    assert 0 < refused <= 8  # those in flight when it said no
    assert len(rows_of(Path("out.csv"))) == len(ROWS)


def test_a_budget_ends_a_run_and_the_rest_is_flagged_until_it_is_raised(
    fruit: Path, language_model: LanguageModel, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    language_model.answers = ANSWERS
    monkeypatch.setenv("LLM_BUDGET_CALLS", "11")
    ended = by_llm(run)
    assert ended.code == 1
    assert "budget is spent" in ended.err
    assert len(language_model.bodies) == 11
    assert sum(row["review"] == "not asked" for row in rows_of(Path("out.csv"))) == 30
    again = by_llm(run, "--overwrite")  # another process has no more to spend
    assert (again.code, len(language_model.bodies)) == (1, 11)
    monkeypatch.setenv("LLM_BUDGET_CALLS", "100")
    import model

    model.open_system.cache_clear()
    assert by_llm(run, "--overwrite").code == 0
    assert len(language_model.bodies) == 11 + 1 + 30
    assert all(row["label"] for row in rows_of(Path("out.csv")))


def test_a_language_model_that_is_away_is_exit_code_3(fruit: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "PROVIDER": "openai",
        "MODEL": "m",
        "BASE_URL": "http://127.0.0.1:9/v1",
        "API_KEY": "k",
    }.items():
        monkeypatch.setenv(f"LLM_{name}", value)
    monkeypatch.setattr("edgewise.services.llm.calls.LONGEST_PAUSE_S", 0.01)
    monkeypatch.setattr("edgewise.services.llm.calls._BACK_OFF", lambda _: 0.01)
    ended = by_llm(run, "--json")
    assert ended.code == 3
    assert set(ended.json["error"]) == {"what", "mend"}
    assert not Path("out.csv").exists()


def test_without_a_language_model_or_labels_the_next_step_is_told(fruit: Path, run: Run) -> None:
    assert "LLM_PROVIDER" in by_llm(run).err
    ended = run("prelabel", "-i", "fruit.csv", "-o", "out.csv")
    assert (ended.code, "--labels" in ended.err) == (2, True)
    assert run("prelabel", "-i", "fruit.csv", "-o", "out.csv", "--by", "both", "--labels", "a,b").code == 2


def test_a_model_folder_labels_and_flags_what_it_is_unsure_of(taught: Path, run: Run) -> None:
    ended = run("prelabel", "-i", NEW, "-o", "out.csv", "--model-dir", taught, "--threshold", "0.7", "--json")
    assert ended.code == 0, ended.err
    made = rows_of(Path("out.csv"))
    assert all((row["review"] == "low confidence") == (float(row["confidence"]) < 0.7) for row in made)
    assert ended.json["flagged"].get("low confidence", 0) == sum(bool(row["review"]) for row in made)
    assert ended.json["spent"] is None


def test_by_both_rows_are_flagged_where_they_disagree(taught: Path, language_model: LanguageModel, run: Run) -> None:
    alone = run("prelabel", "-i", NEW, "-o", "model.csv", "--model-dir", taught)
    assert alone.code == 0
    mine = {row["text"]: row["label"] for row in rows_of(Path("model.csv"))}
    others = list(mine)[:7]
    labels = sorted({json.loads((taught / "edgewise.json").read_text())["head"]["labels"][0], *mine.values()})
    language_model.answers = mine | {text: next(label for label in labels if label != mine[text]) for text in others}
    ended = run("prelabel", "-i", NEW, "-o", "both.csv", "--model-dir", taught, "--by", "both", "--json")
    assert ended.code == 0, ended.err
    made = rows_of(Path("both.csv"))
    assert {row["text"] for row in made if row["review"] == "they disagree"} == set(others)
    assert all(row["label"] == mine[row["text"]] for row in made)
    assert all(row["second_opinion"] == language_model.answers[row["text"]] for row in made)


def test_examples_and_a_description_reach_the_language_model(
    fruit: Path, language_model: LanguageModel, run: Run
) -> None:
    language_model.answers = ANSWERS
    shown = [{"text": f"Shown fruit {number}.", "label": LABELS[number % 2]} for number in range(6)]
    write_rows(Path("shown.csv"), shown)
    Path("told.txt").write_text("Fruit by its number.")
    Path("labels.txt").write_text("apple\teven numbers\npear\todd numbers\n")
    ended = run(
        "prelabel", "-i", "fruit.csv", "-o", "out.csv", "--labels", "@labels.txt",
        "--description", "@told.txt", "--examples", "shown.csv",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    system, user = (message["content"] for message in language_model.bodies[-1]["messages"])
    assert "Fruit by its number." in system
    assert "even numbers" in system
    assert "Shown fruit" in user


def test_a_run_killed_in_the_middle_pays_for_nothing_twice(
    fruit: Path, language_model: LanguageModel, tmp_path: Path
) -> None:
    language_model.answers = ANSWERS
    slow = language_model.respond

    def slowly(body: dict[str, Any]) -> Any:
        time.sleep(0.1)
        return slow(body)

    language_model.respond = slowly  # type: ignore[method-assign]
    words = ["prelabel", "-i", "fruit.csv", "-o", "out.csv", "--labels", ",".join(LABELS)]
    command = [sys.executable, "-m", "edgewise", *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while language_model.texts_asked < 12 and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.5)
    before = language_model.texts_asked
    assert 12 <= before < len(ROWS)
    assert not Path("out.csv").exists()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert language_model.texts_asked <= len(ROWS) + 8  # those in flight when it died
    assert all(row["label"] for row in rows_of(Path("out.csv")))
