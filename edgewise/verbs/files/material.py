"""What a file teaches: its rows as documents under a head, whatever the format.

Knows where labels are in a table and in an export of Label Studio. Knows nothing of models.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgewise.errors import InputError
from edgewise.files.tables import Table, table
from edgewise.labels.schema import Head, Kind
from edgewise.labels.spans import Document
from edgewise.verbs.files.exported import control_in, documents_in
from edgewise.verbs.files.labelled import Columns, documents_of, head_for, labels_in

DEFAULT_LABEL = "label"
DEFAULT_TEXT = ("text",)


@dataclass(frozen=True, slots=True)
class Source:
    """Where in a file texts and labels are.

    label: the column or, in an export of Label Studio, the tag with the labels; None for `label`, or for the only tag.
    kind: what a cell of it holds; None for one choice, or for whatever the export's tag holds.
    """

    text: tuple[str, ...]
    label: str | None = None
    kind: Kind | None = None


@dataclass(frozen=True, slots=True)
class Material:
    """What was read. left_out: rows that nobody labelled, or without a text."""

    head: Head
    documents: list[Document]
    left_out: int


def read_material(
    file: Path, source: Source, *, labels: Sequence[str] = (), described: Sequence[tuple[str, str]] = ()
) -> Material:
    """The labelled rows of a file. labels: the set, any other is an error; empty for those that the file has.

    Raises InputError and DataError, with the row.
    """
    found = table(file, columns=source.text)
    if found.format == "label-studio":
        return _exported(found, source, labels, described)
    columns = Columns(source.text, source.label or DEFAULT_LABEL, source.kind or "choice")
    if columns.kind == "spans" and len(columns.text) != 1:
        raise InputError(
            "Spans need one text column: offsets into several would mean nothing.", "Name one with --text-columns."
        )
    found = table(file, columns=[*columns.text, columns.label])
    allowed = tuple(labels) or tuple(labels_in(found, columns))
    head = head_for(columns.kind, allowed, name=plain_name(columns.label), described=described)
    return Material(head, *documents_of(found, columns, head.labels))


def _exported(found: Table, source: Source, labels: Sequence[str], described: Sequence[tuple[str, str]]) -> Material:
    if len(source.text) != 1:
        raise InputError("An export of Label Studio has its text in one field.", "Name one with --text-columns.")
    control = control_in(found, source.label)
    kind = "choices" if source.kind == "choices" and control.kind == "choice" else control.kind
    if source.kind == "spans" and kind != "spans":
        raise InputError(f"The tag '{control.from_name}' holds choices, not spans.", "Name it with --label-column.")
    checked = head_for(kind, tuple(labels) or sorted(control.labels), name=control.from_name, described=described)
    unknown = control.labels - set(checked.labels)
    if unknown:
        raise InputError(
            f"The export's annotations use {len(unknown)} labels that are not in the set.", "Add them to --labels."
        )
    head = Head(checked.from_name, control.to_name, source.text[0], checked.labels, (), kind, checked.described)
    return Material(head, *documents_in(found, head))


def plain_name(name: str) -> str:
    """A name of a column or a file as one that a folder can have."""
    kept = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in name).lstrip(".")
    return kept[:60] or DEFAULT_LABEL
