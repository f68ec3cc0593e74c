"""An export of Label Studio as training material: which tags its annotations fill, and what each task teaches.

An export has no labelling config, so labels are those that annotators used, unless told. Knows no file format.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from edgewise.errors import InputError
from edgewise.files.rows import Row, bad_row
from edgewise.labels.annotations import parse_annotation, training_example
from edgewise.labels.regions import integer
from edgewise.labels.schema import Head, Kind
from edgewise.labels.spans import Document

TYPES = ("labels", "choices")


@dataclass(slots=True)
class Control:
    """A tag that annotations fill: its names, what it holds, and the labels that were used."""

    from_name: str
    to_name: str
    type: str
    labels: set[str] = field(default_factory=set)
    several: bool = False  # some annotation makes more than one choice

    @property
    def kind(self) -> Kind:
        """What a head of it would be."""
        if self.type == "labels":
            return "spans"
        return "choices" if self.several else "choice"


def control_in(rows: Iterable[Row], name: str | None) -> Control:
    """The tag of this name, or the only one there is. Raises InputError if that leaves none or several."""
    found: dict[str, Control] = {}
    for row in rows:
        for annotation in _annotations(row):
            for region in annotation.get("result") or ():
                _note(region, found)
    chosen = found.get(name) if name is not None else next(iter(found.values()), None)
    if chosen is None or (name is None and len(found) > 1):
        there = ", ".join(f"'{one}'" for one in sorted(found)) or "none that can be learnt"
        raise InputError(
            f"The export's annotations fill these tags: {there}.",
            "Name one of them: --spans-column for labelled spans, --label-column for choices.",
        )
    return chosen


def _note(region: Any, found: dict[str, Control]) -> None:
    match region:
        case {"type": str(kind), "from_name": str(name), "to_name": str(to), "value": {} as value} if kind in TYPES:
            labels = value.get(kind)
            if isinstance(labels, list):
                control = found.setdefault(name, Control(name, to, kind))
                control.labels.update(label for label in labels if isinstance(label, str))
                control.several = control.several or (kind == "choices" and len(labels) > 1)


def documents_in(rows: Iterable[Row], head: Head) -> tuple[list[Document], int]:
    """What the labelled tasks teach the head, and how many tasks were left out: without annotation, or without text."""
    documents: list[Document] = []
    left_out = 0
    for row in rows:
        text = row.values.get(head.field, "")
        number = integer((row.task or {}).get("id")) or row.number
        parsed = [parse_annotation(one, number) for one in _annotations(row)]
        example = training_example(parsed, head, text) if text.strip() else None
        if example is None:
            left_out += 1
        else:
            documents.append(Document(text, example.spans))
    return documents, left_out


def _annotations(row: Row) -> Iterator[Mapping[str, Any]]:
    annotations = (row.task or {}).get("annotations")
    if annotations is not None and not isinstance(annotations, list):
        raise bad_row(row.number, "has 'annotations' that are no list", "Export the project from Label Studio as JSON.")
    yield from (one for one in annotations or () if isinstance(one, Mapping))
