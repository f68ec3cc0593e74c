"""train on a file: rows -> train, validation and test by hash -> a model folder, with the test scores in it.

The model folder appears whole or not at all. Knows nothing of file formats; how a model learns is learning/training.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgewise.errors import DataError
from edgewise.files.versions import Versions
from edgewise.files.whole import whole_folder
from edgewise.labels.schema import Head
from edgewise.labels.spans import Document
from edgewise.learning.evaluation import Scores, evaluate
from edgewise.learning.training import Recipe, Trained, train
from edgewise.verbs.code import code_version
from edgewise.verbs.files.datasets import keep_documents
from edgewise.verbs.files.folder import FileModel, write_description
from edgewise.verbs.files.material import Source, plain_name, read_material
from edgewise.verbs.files.predict import Model, answer, load
from edgewise.verbs.files.split import Split, place_of, split

TRAINING = 0.95  # of the progress; the rest is testing
Report = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Lesson:
    """What to learn from a file, and how.

    labels: the set; empty for those that the file has. described: (label, what it means). told: of the whole work.
    examples: a second file of the same form, for training only. datasets: the folder with the dataset versions.
    """

    file: Path
    source: Source
    base: str
    recipe: Recipe
    labels: tuple[str, ...] = ()
    described: tuple[tuple[str, str], ...] = ()
    told: str = ""
    examples: Path | None = None
    datasets: Path = Path("data/datasets")

    @property
    def dataset_folder(self) -> Path:
        """Where versions of this file are: they are known by the file's name without its suffix."""
        return self.datasets / plain_name(self.file.stem)


@dataclass(frozen=True, slots=True)
class Taught:
    """What came of it. left_out: rows without label or text, examples that the test has. Scores: None of no rows."""

    model: FileModel
    rows: dict[str, int]
    left_out: int
    trained: Trained
    validation: Scores | None
    test: Scores | None


def train_on_file(lesson: Lesson, out: Path, report: Report, *, overwrite: bool = False) -> Taught:
    """Read, split, train, test, and write the model folder `out`.

    Raises InputError and DataError for what cannot be learnt from, with the row; Conflict if `out` is there.
    """
    inputs = [lesson.file, *([lesson.examples] if lesson.examples else [])]
    with whole_folder(out, overwrite=overwrite, inputs=inputs) as staged:
        head, documents, parts, left_out = read_lesson(lesson)
        dataset = keep_documents(lesson.dataset_folder, head, documents, source=lesson.file.name).id
        model = FileModel(
            head=head,
            text_columns=lesson.source.text,
            dataset=dataset,
            base=lesson.base,
            max_length=lesson.recipe.max_length,
            recipe=asdict(lesson.recipe),
            code=code_version(),
            told=lesson.told,
        )
        trained = train(
            parts.train,
            head,
            lesson.base,
            model.weights(staged),
            lesson.recipe,
            report=lambda done: report(TRAINING * done, f"{len(parts.train):,} rows"),
        )
        report(TRAINING, "testing")
        loaded = load(model, staged)
        validation, test = (_scores(part, head, loaded) for part in (parts.validation, parts.test))
        write_description(staged, model, {"validation": scores_told(validation), "test": scores_told(test)})
    Versions(lesson.dataset_folder).note_model(dataset, str(out))
    rows = {"train": len(parts.train), "validation": len(parts.validation), "test": len(parts.test)}
    return Taught(model, rows, left_out, trained, validation, test)


def read_lesson(lesson: Lesson) -> tuple[Head, list[Document], Split, int]:
    """The head, all documents in the file's order, the three parts of them, and how many rows were left out.

    Raises DataError if there is nothing to train on.
    """
    material = read_material(lesson.file, lesson.source, labels=lesson.labels, described=lesson.described)
    documents, left_out = material.documents, material.left_out
    parts = split(documents, seed=lesson.recipe.seed)
    if lesson.examples is not None:
        more = read_material(lesson.examples, lesson.source, labels=material.head.labels)
        held_out = {place_of(one.text, lesson.recipe.seed) for one in (*parts.validation, *parts.test)}
        kept = [one for one in more.documents if place_of(one.text, lesson.recipe.seed) not in held_out]
        parts.train.extend(kept)
        documents = documents + kept
        left_out += more.left_out + len(more.documents) - len(kept)
    if not any(document.spans for document in parts.train):
        raise DataError(
            f"Of {len(documents)} labelled rows none is there to train on with a label.",
            "Label more rows: a tenth is kept for validation, and a tenth for the test.",
        )
    return material.head, documents, parts, left_out


def _scores(documents: Sequence[Document], head: Head, model: Model) -> Scores | None:
    if not documents:
        return None
    texts = [document.text for document in documents]
    found = [one.spans for one in answer(model, texts)]
    return evaluate(texts, [document.spans for document in documents], found, head)


def scores_told(scores: Scores | None) -> dict[str, Any] | None:
    """Scores as JSON has them."""
    return None if scores is None else asdict(scores)
