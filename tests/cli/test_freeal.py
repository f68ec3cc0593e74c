"""freeal from a terminal: a language model that reads its demonstrations, and a small model, over HTTP and files."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.reading_model import ReadingModel, ReadingTagger, mention, served
from examples import banking77, snips
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


RATINGS = [row for row in snips.rows("train") if row["intent"] == "RateBook"]
SLOTS = sorted({span["label"] for row in RATINGS for span in row["spans"]})


@pytest.fixture
def marking(monkeypatch: pytest.MonkeyPatch) -> Iterator[ReadingTagger]:
    """A language model that knows all mentions of half of the texts."""
    gold = {r["text"]: [mention(r["text"], s["start"], s["end"], s["label"]) for s in r["spans"]] for r in RATINGS}
    model = ReadingTagger(gold, knows=0.5)
    monkeypatch.setenv("FINE_TUNING_STRATEGY", "features")  # seconds
    with served(model) as address:
        for name, value in {"PROVIDER": "openai", "MODEL": "reading", "BASE_URL": address, "API_KEY": "none"}.items():
            monkeypatch.setenv(f"LLM_{name}", value)
        yield model


SPANS = ("freeal", "--labels", ",".join(SLOTS), "--output-csv", "annotated.csv", "--output-model", "slots.model")


def test_spans_are_marked_better_than_the_language_model_does_it_and_predict_works(
    marking: ReadingTagger, run: Run
) -> None:
    rows = [{"text": row["text"], "truth": json.dumps(row["spans"])} for row in RATINGS]
    file = write_rows(Path("ratings.csv"), [*rows, {"text": " ", "truth": ""}])
    ended = run(*SPANS, "-i", file, "--spans-column", "truth", "--json")
    assert ended.code == 0, ended.err
    first, *_, last = ended.json["rounds"]
    assert ended.json["measure"] == "strict F1"
    assert last["accuracy"] > first["accuracy"] + 0.15
    assert last["right"] > first["accuracy"] + 0.15
    made = rows_of(Path("annotated.csv"))
    assert [row["text"] for row in made] == [*(row["text"] for row in RATINGS), " "]
    assert (made[-1]["spans"], made[-1]["review"]) == ("", "")
    assert 0 < sum(row["review"] == "doubtful" for row in made) == ended.json["doubtful"] < len(RATINGS) / 2
    found = [{(s["start"], s["end"], s["label"]) for s in json.loads(row["spans"])} for row in made[:-1]]
    gold = [{(s["start"], s["end"], s["label"]) for s in row["spans"]} for row in RATINGS]
    both = sum(len(a & b) for a, b in zip(found, gold, strict=True))
    assert 2 * both / sum(map(len, [*found, *gold])) == pytest.approx(last["accuracy"], abs=0.02)

    asked = write_rows(Path("new.csv"), [{"text": "rate this textbook four out of 6"}])
    assert run("predict", "--model-dir", "slots.model", "-i", asked, "-o", "out.csv").code == 0
    (row,) = rows_of(Path("out.csv"))
    assert {"rating_value", "best_rating"} <= {span["label"] for span in json.loads(row["spans"])}


def test_an_export_of_label_studio_tells_the_f1_of_each_round_and_is_not_shown(
    marking: ReadingTagger, run: Run
) -> None:
    marking.knows = 1.0
    tasks = [
        snips.task(row) | {"id": i, "annotations": [{"id": i, "result": snips.result(row)}]}
        for i, row in enumerate(RATINGS[:60])
    ]
    Path("export.json").write_text(json.dumps([*tasks, {"id": 99, "data": {"text": "no annotation"}}]))
    ended = run(*SPANS, "-i", "export.json", "--spans-column", "slot", "--iterations", 1, "--json")
    assert ended.code == 0, ended.err
    assert ended.json["rounds"][0]["accuracy"] == 1.0
    assert ended.json["rows"] == 61
    assert run(*SPANS, "-i", "export.json", "--label-column", "slot", "--overwrite").code == 2
    assert "spans" in run(*SPANS, "-i", "export.json", "--spans-column", "intent", "--overwrite").err


def test_spans_without_right_answers_need_only_be_asked_for(marking: ReadingTagger, run: Run) -> None:
    file = write_rows(Path("ratings.csv"), [{"text": row["text"]} for row in RATINGS[:40]])
    ended = run(*SPANS, "-i", file, "--spans", "--iterations", 1)
    assert ended.code == 0, ended.err
    assert "strict F1" not in ended.out
    assert any(json.loads(row["spans"] or "[]") for row in rows_of(Path("annotated.csv")))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--spans-column", "text", "--label-column", "text"), "together"),
        (("--spans", "--multi-label"), "multi-label"),
        (("--spans", "--text-columns", "text,n"), "one text column"),
    ],
)
def test_wishes_for_spans_that_cannot_be_say_why(run: Run, file: Path, words: tuple[str, ...], says: str) -> None:
    ended = run(*WORDS, "-i", file, *words)
    assert ended.code == 2
    assert says in ended.err


@pytest.mark.parametrize(
    ("words", "says"), [(("--labels", "one"), "label"), (("--iterations", "0"), "iterations"), ((), "too few")]
)
def test_bad_wishes_say_what_to_do(run: Run, words: tuple[str, ...], says: str) -> None:
    small = write_rows(Path("small.csv"), [{"text": "one text"}, {"text": "another"}])
    ended = run(*WORDS, "-i", small, *words)
    assert ended.code == 2
    assert says in ended.err
    assert not Path("annotated.csv").exists()
