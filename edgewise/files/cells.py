"""Labels in a cell: one choice, several choices, or spans of the row's text.

A choice is its label as it is; several are `a;b` or a JSON list; spans are JSON, [{"start": 0, "end": 4, "label":
"PER"}], or the regions of Label Studio's result. An empty cell: nobody has labelled the row; []: there is nothing.
Whatever is read is checked against the text and the set of labels. Knows nothing of files.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgewise.errors import DataError
from edgewise.files.rows import Row, bad_row, check_label, listed
from edgewise.labels.regions import integer, share
from edgewise.labels.schema import Head
from edgewise.labels.spans import Span, on_whole

SEPARATOR = ";"
_SHAPE = 'Write the spans as JSON: [{"start": 0, "end": 4, "label": "PER"}], offsets in characters from 0.'


def read_labels(row: Row, column: str, text: str, head: Head) -> tuple[Span, ...] | None:
    """What a cell says of a head: its spans, or its choices as labels on the whole text. None: an empty cell.

    DataError for what is not in the set, is no JSON, or lies outside the text.
    """
    if not row.values[column].strip():
        return None
    if head.kind == "spans":
        return read_spans(row, column, text, head.labels)
    if head.kind == "choice":
        return (on_whole(text, check_label(row, column, head.labels)),)
    return tuple(on_whole(text, label) for label in read_choices(row, column, head.labels))


def write_labels(spans: Sequence[Span], head: Head) -> str:
    """The cell that `read_labels` reads as these spans. Without any: [], and of one choice to be made an empty cell."""
    if head.kind == "choice":
        return spans[0].label if spans else ""
    return write_spans(spans) if head.kind == "spans" else write_choices([span.label for span in spans], head.labels)


def read_spans(row: Row, column: str, text: str, labels: Sequence[str] | None) -> tuple[Span, ...]:
    """The spans in a cell, in its order; labels: the set that theirs must be of, None for any."""
    found = _json_list(row, column, _SHAPE)
    return tuple(
        span for place, item in enumerate(found, start=1) for span in _spans(row, (column, place, item), text, labels)
    )


def write_spans(spans: Sequence[Span]) -> str:
    """Spans as JSON, with a score where one is known."""
    return dump([span_object(span) for span in spans])


def span_object(span: Span) -> dict[str, Any]:
    """A span as JSON has it."""
    made: dict[str, Any] = {"start": span.start, "end": span.end, "label": span.label}
    return made if span.score is None else made | {"score": round(span.score, 4)}


def read_choices(row: Row, column: str, labels: Sequence[str]) -> tuple[str, ...]:
    """The labels in a cell, in its order: a JSON list, labels between semicolons, or a single label as it is."""
    value = row.values[column].strip()
    mend = f"Write some of {listed(labels)} with semicolons between them, or as a JSON list; each once."
    if value in labels:
        return (value,)
    found = _json_list(row, column, mend) if value.startswith("[") else [one.strip() for one in value.split(SEPARATOR)]
    names = [label for label in found if label != ""]
    if any(not isinstance(label, str) or label not in labels for label in names) or len(set(names)) < len(names):
        raise bad_row(row.number, f"has a label that is not in the set, or one twice, in the column '{column}'", mend)
    return tuple(names)


def write_choices(chosen: Sequence[str], labels: Sequence[str]) -> str:
    """Choices with semicolons between them where that can be read back, else as a JSON list. labels: the whole set."""
    plain = all(SEPARATOR not in label and label == label.strip() and label[0] != "[" for label in labels)
    return SEPARATOR.join(chosen) if chosen and plain else dump(list(chosen))


def dump(value: Any) -> str:
    """JSON on one line, readable in any script."""
    return json.dumps(value, ensure_ascii=False)


def _json_list(row: Row, column: str, mend: str) -> list[Any]:
    value = row.values[column]
    if not value.strip():
        return []
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        raise bad_row(row.number, f"is no JSON in the column '{column}'", mend) from None
    if not isinstance(found, list):
        raise bad_row(row.number, f"is no JSON list in the column '{column}'", mend)
    return found


def _spans(row: Row, where: tuple[str, int, Any], text: str, labels: Sequence[str] | None) -> Iterator[Span]:
    """The spans of one item: our own form has one label, a region of Label Studio may have several."""
    item = where[2]
    if not isinstance(item, Mapping):
        raise _bad_span(row, where, "is no object")
    value = item.get("value")
    inner = value if isinstance(value, Mapping) else item
    start, end = integer(inner.get("start")), integer(inner.get("end"))
    if start is None or end is None:
        raise _bad_span(row, where, "has no start and end that are integers")
    if not 0 <= start < end <= len(text):
        raise _bad_span(row, where, f"is not inside the text, which has {len(text)} characters")
    if inner.get("text", text[start:end]) != text[start:end]:
        raise _bad_span(row, where, "has another 'text' than stands at its offsets")
    names = inner.get("labels") if inner is value else [inner.get("label")]
    for name in names if isinstance(names, list) and names else [None]:
        if not isinstance(name, str) or not name:
            raise _bad_span(row, where, "has no label")
        if labels is not None and name not in labels:
            raise _bad_span(row, where, "has a label that is not in the set")
        yield Span(start, end, name, share(item.get("score")))


def _bad_span(row: Row, where: tuple[str, int, Any], what: str) -> DataError:
    column, place, _ = where
    return bad_row(row.number, f"has a span in the column '{column}' (number {place}) that {what}", _SHAPE)
