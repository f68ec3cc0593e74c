"""Teach an encoder our labels: documents in, a model folder out, written whole or not at all.

Knows nothing of tasks, versions or gates; who calls decides what is a training document and what becomes of the folder.
"""

import logging
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from uuid import uuid4

from edgewise.labels.schema import Head
from edgewise.labels.spans import Document, Span
from edgewise.learning.inference import Classifier, Tagger, answers, load_trained
from edgewise.learning.training.exercises import folds as parts_of
from edgewise.learning.training.fitting import fit
from edgewise.learning.training.recipe import Plan, Recipe, Trained, plan

__all__ = ["Plan", "Recipe", "Trained", "out_of_fold", "plan", "train", "unseen"]

Model = Tagger | Classifier
Report = Callable[[float], None]
log = logging.getLogger(__name__)


def train(
    documents: Sequence[Document], head: Head, base: str, out: Path, recipe: Recipe, *, report: Report
) -> Trained:
    """Teach `base` the head's labels and write model, config and tokenizer into the new folder `out`.

    base: hub name, folder or `packaged:minilm`; a head that it has is kept only for labels of the same name.
    report: called with the share done, in [0, 1], as it goes on; what it raises reaches the caller and leaves no
    folder behind, which is how a training is cancelled. Raises ValueError without any label, FileExistsError if `out`
    is there, DataError if the tokenizer can read none of the texts.
    """
    if not any(document.spans for document in documents):
        raise ValueError("training needs at least one document with a label")
    if out.exists():
        raise FileExistsError(out)
    began = time.monotonic()
    staged = out.parent / f".{out.name}-{uuid4().hex[:8]}"
    staged.mkdir(parents=True)
    try:
        fitted = fit(documents, head, base, staged, (recipe, report))
        staged.replace(out)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    seconds = time.monotonic() - began
    log.info("%s: %s in %.1f s, because %s", head.from_name, fitted.strategy, seconds, fitted.why)
    counts = Counter(span.label for document in documents for span in document.spans)
    return Trained(
        folder=out,
        seconds=seconds,
        steps=fitted.steps,
        learning_rate=fitted.learning_rate,
        epochs=fitted.epochs,
        label_counts={label: counts[label] for label in head.labels},
        strategy=fitted.strategy,
        why=fitted.why,
    )


def out_of_fold(
    documents: Sequence[Document], head: Head, base: str, recipe: Recipe, *, folds: int = 3, report: Report
) -> list[tuple[Span, ...]]:
    """Answers for each document from a model that was trained on others: an honest score without a held-out set.

    Documents with the same text fall into the same fold. Where the others have no label at all, nothing is found.
    """
    found: list[tuple[Span, ...]] = [()] * len(documents)
    for part, model in unseen(documents, head, base, recipe, folds=folds, report=report):
        if model is not None:
            texts = [documents[index].text for index in part]
            for index, answer in zip(part, answers(model, texts), strict=True):
                found[index] = answer
    report(1.0)
    return found


def unseen(
    documents: Sequence[Document], head: Head, base: str, recipe: Recipe, *, folds: int, report: Report
) -> Iterator[tuple[list[int], Model | None]]:
    """Each fold's positions among the documents, and a model that was trained on all others, to use before the next.

    Documents with the same text fall into the same fold. The model is None where the others have no label at all.
    """
    parts = parts_of([document.text for document in documents], folds, recipe.seed)
    for number, part in enumerate(parts):
        inside = set(part)
        others = [document for index, document in enumerate(documents) if index not in inside]
        if not any(document.spans for document in others):
            yield part, None
            continue

        def share(fraction: float, number: int = number) -> None:
            report((number + fraction) / len(parts))

        with tempfile.TemporaryDirectory(prefix="edgewise-fold-") as folder:
            trained = train(others, head, base, Path(folder) / "model", recipe, report=share)
            yield part, load_trained(trained.folder, head, max_length=recipe.max_length)
