"""predict on a file: the same rows, in their order and with all their columns, and what a model says of each.

In constant memory: rows are read, answered and written a chunk at a time. The output appears whole or not at all. Knows
nothing of where the model folder comes from.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from edgewise.errors import InputError
from edgewise.files.csv_tables import writer
from edgewise.files.rows import Row
from edgewise.files.tables import table
from edgewise.files.texts import text_of_row
from edgewise.files.whole import whole
from edgewise.labels.schema import Head
from edgewise.labels.spans import Span
from edgewise.learning.inference import Classified, Classifier, Tagged, Tagger, load_trained
from edgewise.verbs.files.folder import FileModel, read_description
from edgewise.verbs.files.labelled import cell_of

CHUNK = 1024  # rows in memory
BATCH = 32
OURS = "predicted_"  # before a name of ours that the file has already
Report = Callable[[float, str], None]
Model = Tagger | Classifier


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model says of one text. confidence: in [0, 1], of the least sure word or choice; None without a text."""

    spans: tuple[Span, ...]
    confidence: float | None


@dataclass(frozen=True, slots=True)
class Predicted:
    """What was done. blank: rows without a text, which got no answer. columns: those that were added."""

    rows: int
    blank: int
    columns: tuple[str, ...]


def predict_file(
    folder: Path,
    file: Path,
    out: Path,
    report: Report,
    *,
    text: tuple[str, ...] = (),
    batch_size: int = BATCH,
    overwrite: bool = False,
) -> Predicted:
    """Write the rows of `file` to the CSV `out`, with the answers of the model in `folder`.

    text: the columns of the text; those that the model was taught with if empty. Raises InputError and DataError, and
    Conflict if `out` is there.
    """
    described = read_description(folder)
    source = table(file, columns=text or described.text_columns)
    added = free_names(source.columns, columns_for(described.head))
    with whole(out, overwrite=overwrite, inputs=[file]) as staged, staged.open("w", encoding="utf-8", newline="") as to:
        total = sum(1 for _ in source)  # a broken row is found before anything is loaded
        model = load(described, folder)
        lines = writer(to, [*source.columns, *added])
        done = blank = 0
        for rows in chunks(source):
            texts = [text_of_row(row.values, text or described.text_columns) for row in rows]
            answers = answer(model, texts, batch_size=batch_size)
            for row, one in zip(rows, answers, strict=True):
                lines.write(row.values | dict(zip(added, cells(one, described.head), strict=True)))
            done += len(rows)
            blank += sum(one.confidence is None for one in answers)
            report(done / max(total, 1), f"{done:,} of {total:,} rows")
    return Predicted(done, blank, added)


def load(described: FileModel, folder: Path) -> Model:
    """The model of a folder. Raises InputError if its weights are not those that edgewise.json describes."""
    return load_trained(described.weights(folder), described.head, max_length=described.max_length)


def answer(model: Model, texts: Sequence[str], *, batch_size: int = BATCH) -> list[Answer]:
    """What the model says of each text; of a text without a word, nothing."""
    if isinstance(model, Tagger):
        tagged = model.tag(texts, batch_size=batch_size)
        sure = _sure_of_words(tagged)
        found = tagged.spans
    else:
        classified = model.classify(texts, batch_size=batch_size)
        sure = _sure_of_choices(classified)
        found = classified.spans
    return [
        Answer(spans, float(share)) if text.strip() else Answer((), None)
        for text, spans, share in zip(texts, found, sure, strict=True)
    ]


def _sure_of_words(tagged: Tagged) -> Iterable[float]:
    """(n,): how likely the tag of the least sure word is; 1 without words."""
    best = tagged.probabilities.max(axis=1, initial=0.0)
    bounds = zip(tagged.offsets[:-1], tagged.offsets[1:], strict=True)
    return [float(best[start:stop].min(initial=1.0)) for start, stop in bounds]


def _sure_of_choices(classified: Classified) -> Iterable[float]:
    """(n,): how likely the choice is; of several choices, how likely the least sure decision is. 0 if unreadable."""
    best = classified.probabilities.max(axis=1, initial=0.0)
    bounds = zip(classified.offsets[:-1], classified.offsets[1:], strict=True)
    return [float(best[start:stop].min(initial=1.0)) if stop > start else 0.0 for start, stop in bounds]


def columns_for(head: Head) -> tuple[str, str]:
    """What the columns of an answer are called."""
    return ("spans" if head.kind == "spans" else "label", "confidence")


def cells(one: Answer, head: Head) -> tuple[str, str]:
    """An answer in these columns."""
    if one.confidence is None:
        return "", ""
    return cell_of(one.spans, head.kind), f"{one.confidence:.4f}"


def free_names(there: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
    """Names for new columns: `predicted_…` where the file has one of that name. InputError if it has that as well."""
    free = tuple(OURS + name if name in there else name for name in wanted)
    taken = [name for name in free if name in there]
    if taken:
        raise InputError(f"The file has a column '{taken[0]}' already.", "Rename it in the file.")
    return free


def chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """The rows, CHUNK at a time."""
    waiting = iter(rows)
    while some := list(islice(waiting, CHUNK)):
        yield some
