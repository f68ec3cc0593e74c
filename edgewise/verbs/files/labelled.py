"""Rows of a file to documents with their labels, and labels back into cells.

A cell holds one label; or several, separated by semicolons or as a JSON list; or spans as JSON. An empty cell is a row
that nobody has labelled, `[]` one that has nothing to label. Knows neither file formats nor models.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from edgewise.errors import InputError
from edgewise.files.cells import dump, read_choices, read_spans, write_spans
from edgewise.files.rows import Row, check_label
from edgewise.files.texts import text_of_row
from edgewise.labels.schema import Head, Kind
from edgewise.labels.spans import Document, Span, longest_first, on_whole

SEPARATOR = ";"
FEWEST_CHOICES = 2


@dataclass(frozen=True, slots=True)
class Columns:
    """Where in a row its text and its labels are. kind: what the cells of `label` hold."""

    text: tuple[str, ...]
    label: str
    kind: Kind


def head_for(kind: Kind, labels: Sequence[str], *, name: str, described: Iterable[tuple[str, str]] = ()) -> Head:
    """A head of its own for a file, without a labelling config. Raises InputError: no labels, or nothing to choose."""
    unique = tuple(dict.fromkeys(labels))
    if not unique or (kind == "choice" and len(unique) < FEWEST_CHOICES):
        raise InputError(
            f"There {'is one label' if unique else 'are no labels'}: nothing can be learnt from that.",
            "Name the column that holds the labels, or say what the labels are with --labels.",
        )
    return Head(name, "text", "text", unique, kind=kind, described=tuple(described))


def labels_in(rows: Iterable[Row], columns: Columns) -> list[str]:
    """Every label that the rows have, sorted."""
    return sorted({span.label for row in rows for span in spans_in(row, columns, None) or ()})


def documents_of(rows: Iterable[Row], columns: Columns, labels: Sequence[str]) -> tuple[list[Document], int]:
    """The labelled rows as documents, and how many rows had no label or no text and were left out.

    Raises DataError, with the row's number: a cell that is not of its form, a label that is not among `labels`, a span
    beyond its text. Spans that overlap: the longest stays.
    """
    documents: list[Document] = []
    left_out = 0
    for row in rows:
        found = spans_in(row, columns, labels)
        text = text_of_row(row.values, columns.text)
        if found is None or not text.strip():
            left_out += 1
        else:
            documents.append(Document(text, found))
    return documents, left_out


def spans_in(row: Row, columns: Columns, labels: Sequence[str] | None) -> tuple[Span, ...] | None:
    """The labels of a row; None if nobody has labelled it. labels: the allowed ones, None for any."""
    if not row.values[columns.label].strip():
        return None
    text = text_of_row(row.values, columns.text)
    if columns.kind == "spans":
        return longest_first(read_spans(row, columns.label, text, labels))[0]
    if columns.kind == "choices":
        names = _several(row, columns.label, labels)
    else:
        names = [row.values[columns.label] if labels is None else check_label(row, columns.label, labels)]
    return tuple(on_whole(text, name) for name in dict.fromkeys(names))


def _several(row: Row, column: str, labels: Sequence[str] | None) -> Sequence[str]:
    """The labels in a cell: a JSON list, or separated by semicolons."""
    cell = row.values[column].strip()
    if labels is not None and cell in labels:
        return (cell,)
    names = cell if cell.startswith("[") else dump([name.strip() for name in cell.split(SEPARATOR) if name.strip()])
    if labels is None:
        try:
            labels = [name for name in json.loads(names) if isinstance(name, str)]
        except (ValueError, RecursionError, TypeError):
            labels = ()
    return read_choices(replace(row, values={column: names}), column, labels)


def cell_of(spans: Sequence[Span], kind: Kind) -> str:
    """An answer as a cell, read back by `spans_in`. Spans carry their score where they have one."""
    if kind == "choice":
        return spans[0].label if spans else ""
    return write_spans(spans) if kind == "spans" else dump([span.label for span in spans])
