"""Test accuracy of a head taught by `auto` on all of banking77, beside scikit-learn's TF-IDF and logistic regression.

    python -m benchmarks.classification FOLDER [--base packaged:minilm] [--strategy auto] [--minutes M]

FOLDER holds train.jsonl and test.jsonl, a `text` and a `label` in each line. Both learn from the same training rows and
answer the same test rows, once; the peer's strength C is chosen on a tenth of the training rows. The result
goes to benchmarks/results/classification.json.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads starve whoever shares the cores
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import sklearn
import torch
import transformers

from edgewise.labels.schema import Head
from edgewise.labels.spans import Document, on_whole
from edgewise.learning.baseline import PACKAGED
from edgewise.learning.evaluation import evaluate
from edgewise.learning.inference import answers, load_trained
from edgewise.learning.training import Recipe, train

OUT = Path(__file__).resolve().parent / "results" / "classification.json"
STRENGTHS = (3.0, 10.0, 30.0)


def read(path: Path) -> list[Document]:
    """The rows of a file as documents with one choice each."""
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [Document(row["text"], (on_whole(row["text"], row["label"]),)) for row in rows]


def ours(taught: Sequence[Document], test: Sequence[Document], base: str, recipe: Recipe) -> dict[str, Any]:
    """What `edgewise train` makes of it."""
    labels = sorted({span.label for document in taught for span in document.spans})
    head = Head("label", "text", "text", tuple(labels), kind="choice")
    texts = [document.text for document in test]
    with tempfile.TemporaryDirectory(prefix="edgewise-bench-") as folder:
        spent = time.process_time()
        trained = train(taught, head, base, Path(folder) / "model", recipe, report=lambda done: None)
        spent = time.process_time() - spent
        model = load_trained(trained.folder, head, max_length=recipe.max_length)
        began = time.process_time()
        found = answers(model, texts)
        took = time.process_time() - began
    scores = evaluate(texts, [document.spans for document in test], found, head)
    return {
        "accuracy": round(scores.accuracy or 0.0, 4),
        "macro_f1": round(scores.macro_f1, 4),
        "strategy": trained.strategy,
        "why": trained.why,
        "train_s": round(trained.seconds, 1),
        "train_cpu_s": round(spent, 1),
        "predict_cpu_ms_per_text": round(1000 * took / len(texts), 2),
    }


def peer(taught: Sequence[Document], test: Sequence[Document]) -> dict[str, Any]:
    """scikit-learn's usual: words and pairs of words, weighted by TF-IDF, under logistic regression."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score, f1_score
    from sklearn.model_selection import GridSearchCV, ShuffleSplit
    from sklearn.pipeline import make_pipeline

    began, spent = time.perf_counter(), time.process_time()
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    pipeline = make_pipeline(words, LogisticRegression(max_iter=300))
    tenth = ShuffleSplit(n_splits=1, test_size=0.1, random_state=0)
    search = GridSearchCV(pipeline, {"logisticregression__C": STRENGTHS}, cv=tenth)
    search.fit([one.text for one in taught], [one.spans[0].label for one in taught])
    took, spent = time.perf_counter() - began, time.process_time() - spent
    gold, found = [one.spans[0].label for one in test], search.predict([one.text for one in test])
    return {
        "accuracy": round(float(accuracy_score(gold, found)), 4),
        "macro_f1": round(float(f1_score(gold, found, average="macro")), 4),
        "C": search.best_params_["logisticregression__C"],
        "train_s": round(took, 1),
        "train_cpu_s": round(spent, 1),
    }


def write(result: dict[str, Any]) -> None:
    """Whole or not at all."""
    OUT.parent.mkdir(parents=True, exist_ok=True)
    staged = OUT.with_suffix(".tmp")
    staged.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    staged.replace(OUT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--base", default=PACKAGED)
    parser.add_argument("--strategy", default="auto")
    parser.add_argument("--minutes", type=float)
    given = parser.parse_args()
    taught, test = (read(given.folder / f"{split}.jsonl") for split in ("train", "test"))
    recipe = Recipe(strategy=given.strategy, minutes=given.minutes)
    result = {
        "data": given.folder.name,
        "train": len(taught),
        "test": len(test),
        "labels": len({one.spans[0].label for one in taught}),
        "base": given.base,
        "edgewise": ours(taught, test, given.base, recipe),
        "tfidf_logistic_regression": peer(taught, test),
        "threads": torch.get_num_threads(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "scikit-learn": sklearn.__version__,
        },
    }
    write(result)
    print(json.dumps(result, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
