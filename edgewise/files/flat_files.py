"""Records in a CSV or a dataset folder of Hugging Face, written and read by the layout of flat.py.

Knows how cells are written in each; nothing of Label Studio.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from edgewise.files.cells import read_labels, write_labels
from edgewise.files.csv_tables import CsvWriter
from edgewise.files.flat import Cells, Layout, data_in, records_of, rows_of
from edgewise.files.records import Record, text_in
from edgewise.files.rows import Row, bad_row
from edgewise.labels.schema import Head, Schema
from edgewise.labels.spans import Span

BATCH = 1000  # rows written at a time
_TRUTH = {"true": True, "false": False}


def write_csv(file: TextIO, records: Iterable[Record], layout: Layout, heads: Sequence[Head]) -> None:
    """All records. file: UTF-8, `newline=""`."""
    made = CsvWriter(file, layout.columns)
    for record in records:
        for cells in rows_of(record, layout):
            made.write({name: _written(value) for name, value in cells.items()} | _labels(cells, layout, heads))


def _labels(cells: Cells, layout: Layout, heads: Sequence[Head]) -> dict[str, str]:
    """The heads' cells as text; all empty where there is no annotation."""
    if cells[layout.own["was_cancelled"]] is None:
        return dict.fromkeys(layout.heads.values(), "")
    named = ((layout.heads[head.from_name], head) for head in heads)
    return {column: write_labels(cells[column] or (), head) for column, head in named}


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def read_flat(rows: Iterable[Row], layout: Layout, schema: Schema) -> Iterator[Record]:
    """The records of a table that we wrote. A label that somebody has added to a row without annotation makes one.

    DataError names the row that cannot be read.
    """
    return records_of((_typed(row, layout, schema) for row in rows), layout)


def _typed(row: Row, layout: Layout, schema: Schema) -> Cells:
    own = layout.own
    cells: Cells = dict(row.values)
    cells[own["other_data"]] = cells[own["other_data"]] or None
    try:
        cells[own["task_id"]] = int(row.values[own["task_id"]] or row.number)
        cells[own["annotator"]] = _number(row.values[own["annotator"]], int)
        cells[own["lead_time"]] = _number(row.values[own["lead_time"]], float)
        cells[own["ground_truth"]] = _TRUTH[row.values[own["ground_truth"]].strip().lower() or "false"]
        cells[own["was_cancelled"]] = _cancelled(row, layout)
        data = data_in(cells, layout)
    except (ValueError, KeyError, TypeError):
        raise bad_row(
            row.number,
            f"has something else in {', '.join(own.values())} than an export writes there",
            "Leave these columns as they are; add a row of your own with all of them empty.",
        ) from None
    for head in schema.heads:
        column = layout.heads[head.from_name]
        cells[column] = read_labels(row, column, text_in(data, head), head) or ()
    return cells


def _number(value: str, kind: type[int] | type[float]) -> int | float | None:
    return kind(value) if value.strip() else None


def _cancelled(row: Row, layout: Layout) -> bool | None:
    """None: the row has no annotation."""
    value = row.values[layout.own["was_cancelled"]].strip().lower()
    if value:
        return _TRUTH[value]
    return False if any(row.values[column].strip() for column in layout.heads.values()) else None


def write_dataset(folder: Path, records: Iterable[Record], layout: Layout, heads: Sequence[Head]) -> None:
    """All records, as `save_to_disk` of Hugging Face's datasets writes a dataset, into an empty folder."""
    from pyarrow import RecordBatch
    from pyarrow.ipc import new_stream

    schema = _arrow_schema(layout, heads)
    content = blake2b(digest_size=8)
    rows = (_plain(cells, layout, heads) for record in records for cells in rows_of(record, layout))
    name = "data-00000-of-00001.arrow"
    with new_stream(str(folder / name), schema) as stream:
        while some := list(islice(rows, BATCH)):
            content.update(json.dumps(some, sort_keys=True).encode())
            stream.write_batch(RecordBatch.from_pylist(some, schema=schema))
    state: dict[str, Any] = {
        "_data_files": [{"filename": name}],
        "_fingerprint": content.hexdigest(),
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    (folder / "state.json").write_text(json.dumps(state, indent=2), encoding="utf-8")
    (folder / "dataset_info.json").write_text('{"citation": "", "description": "", "homepage": "", "license": ""}')


def _arrow_schema(layout: Layout, heads: Sequence[Head]) -> Any:
    import pyarrow as pa

    span = pa.struct([("start", pa.int64()), ("end", pa.int64()), ("label", pa.string())])
    labels = {"choice": pa.string(), "choices": pa.list_(pa.string()), "spans": pa.list_(span)}
    own = (pa.int64(), pa.int64(), pa.bool_(), pa.bool_(), pa.float64(), pa.string())
    fields = [(name, pa.string()) for name in layout.fields]
    fields += [(layout.heads[head.from_name], labels[head.kind]) for head in heads]
    return pa.schema(fields + list(zip(layout.own.values(), own, strict=True)))


def _plain(cells: Cells, layout: Layout, heads: Sequence[Head]) -> Cells:
    """Cells as Arrow takes them: a label, a list of labels, or a list of spans as objects."""
    made = dict(cells)
    for head in heads:
        spans = cells[layout.heads[head.from_name]]
        if spans is not None:
            made[layout.heads[head.from_name]] = _labelled(spans, head)
    return made


def _labelled(spans: Sequence[Span], head: Head) -> Any:
    if head.kind == "spans":
        return [{"start": span.start, "end": span.end, "label": span.label} for span in spans]
    labels = [span.label for span in spans]
    return labels if head.kind == "choices" else next(iter(labels), None)
