"""freeal from a terminal: a language model that reads its demonstrations, and a small model, over HTTP and files."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.reading_model import ReadingModel, served
from examples import banking77
from tests.cli.conftest import Run, rows_of, write_rows

INTENTS = ("card_payment_fee_charged", "declined_cash_withdrawal", "pending_card_payment", "cash_withdrawal_charge")
ROWS = random.Random(3).sample([row for row in banking77.dozen("train") if row["label"] in INTENTS], 280)
NEW = [row for row in banking77.dozen("test") if row["label"] in INTENTS]


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> Iterator[ReadingModel]:
    """A language model that knows half of the texts."""
    model = ReadingModel({row["text"]: row["label"] for row in ROWS}, knows=0.5)
    with served(model) as address:
        for name, value in {"PROVIDER": "openai", "MODEL": "reading", "BASE_URL": address, "API_KEY": "none"}.items():
            monkeypatch.setenv(f"LLM_{name}", value)
        yield model


@pytest.fixture
def file() -> Path:
    return write_rows(Path("mails.csv"), [{"n": i, "text": r["text"], "truth": r["label"]} for i, r in enumerate(ROWS)])


WORDS = ("freeal", "--labels", ",".join(INTENTS), "--output-csv", "annotated.csv", "--output-model", "mails.model")


def test_rows_are_labelled_better_than_the_language_model_does_it_and_predict_works(
    reading: ReadingModel, run: Run, file: Path
) -> None:
    ended = run(*WORDS, "-i", file, "--label-column", "truth", "--json")
    assert ended.code == 0, ended.err
    first, *_, last = ended.json["rounds"]
    assert last["accuracy"] > first["accuracy"] + 0.15
    assert last["right"] > 0.9, "the believed labels are right"
    assert len(ended.json["rounds"]) <= 4
    assert ended.json["ended"]
    made = rows_of(Path("annotated.csv"))
    assert [(row["n"], row["text"]) for row in made] == [(str(i), row["text"]) for i, row in enumerate(ROWS)]
    assert sum(bool(row["review"]) for row in made) == ended.json["doubtful"] < len(ROWS) / 2
    right = sum(row["label"] == row["truth"] for row in made) / len(made)
    assert right == pytest.approx(last["accuracy"])

    asked = write_rows(Path("new.csv"), [{"text": row["text"]} for row in NEW])
    assert run("predict", "--model-dir", "mails.model", "-i", asked, "-o", "out.csv").code == 0
    answers = [row["label"] for row in rows_of(Path("out.csv"))]
    assert sum(a == row["label"] for a, row in zip(answers, NEW, strict=True)) / len(NEW) > 0.85


def test_what_was_answered_is_paid_for_once(reading: ReadingModel, run: Run, file: Path) -> None:
    assert run(*WORDS, "-i", file, "--iterations", 1).code == 0
    asked = reading.asked
    first = Path("annotated.csv").read_bytes()
    assert run(*WORDS, "-i", file, "--iterations", 1, "--overwrite").code == 0
    assert reading.asked == asked
    assert Path("annotated.csv").read_bytes() == first


def test_a_budget_ends_it_and_what_there_is_is_written(
    reading: ReadingModel, run: Run, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLM_BUDGET_CALLS", "150")
    ended = run(*WORDS, "-i", file, "--json")
    assert ended.code == 0
    assert (ended.json["ended"], len(ended.json["rounds"])) == ("The budget is spent.", 2)
    assert reading.asked <= 150
    reviews = [row["review"] for row in rows_of(Path("annotated.csv"))]
    assert reviews.count("no answer") == len(ROWS) - reading.asked


def test_a_key_among_the_words_is_refused(run: Run, file: Path) -> None:
    ended = run(*WORDS, "-i", file, "--llm-api-key", "sk-12345")
    assert ended.code == 2
    assert "LLM_API_KEY" in ended.err
    assert "sk-12345" not in ended.out + ended.err


def test_examples_of_people_are_believed_and_shown(reading: ReadingModel, run: Run, file: Path) -> None:
    write_rows(Path("people.csv"), [{"text": f"{r['text']} Please help.", "label": r["label"]} for r in NEW[::13]])
    reading.knows = 0.0
    ended = run(*WORDS, "-i", file, "--examples", "people.csv", "--iterations", 1, "--json")
    assert ended.code == 0, ended.err
    labels = [row["label"] for row in rows_of(Path("annotated.csv"))]
    right = sum(label == row["label"] for label, row in zip(labels, ROWS, strict=True)) / len(ROWS)
    assert right > 0.5, "a model that knows nothing learns from twelve examples"


@pytest.mark.parametrize(
    ("words", "says"), [(("--labels", "one"), "label"), (("--iterations", "0"), "iterations"), ((), "too few")]
)
def test_bad_wishes_say_what_to_do(run: Run, words: tuple[str, ...], says: str) -> None:
    small = write_rows(Path("small.csv"), [{"text": "one text"}, {"text": "another"}])
    ended = run(*WORDS, "-i", small, *words)
    assert ended.code == 2
    assert says in ended.err
    assert not Path("annotated.csv").exists()
