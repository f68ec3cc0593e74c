"""What the terminal's train and predict reach on all of banking77, and TF-IDF with logistic regression beside it."""

from collections.abc import Callable
from pathlib import Path

from examples.banking77 import FOLDER, rows
from tests.cli.conftest import Run, rows_of

GOOD = 0.90


def plain_accuracy() -> float:
    """What scikit-learn's TF-IDF and logistic regression get on the same rows."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    plain = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10, max_iter=300)
    )
    taught, asked = rows("train"), rows("test")
    plain.fit([row["text"] for row in taught], [row["label"] for row in taught])
    return float(plain.score([row["text"] for row in asked], [row["label"] for row in asked]))


def test_nine_of_ten_messages_to_a_bank_are_understood(run: Run, measured: Callable[[str], None]) -> None:
    assert run("train", "-i", FOLDER / "train.jsonl", "-o", "banking.model").code == 0
    assert run("predict", "--model-dir", "banking.model", "-i", FOLDER / "test.jsonl", "-o", "out.csv").code == 0
    made = rows_of(Path("out.csv"))
    assert [row["id"] for row in made] == [row["id"] for row in rows("test")]
    accuracy = sum(row["predicted_label"] == row["label"] for row in made) / len(made)
    found = f"accuracy {accuracy:.3f}; TF-IDF and logistic regression {plain_accuracy():.3f}"
    measured(f"banking77, 77 intents, {len(made):,} test rows: {found}")
    assert accuracy >= GOOD
