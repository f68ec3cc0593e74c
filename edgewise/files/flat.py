"""Records as rows of typed cells: what CSV and dataset folders have in common.

A row for each annotation, the data repeated, and one for a task without any. The columns: the data's fields; one for
each head, named as the head, or `annotated_` before it where the data has such a field; then `task_id`, `annotator`,
`was_cancelled`, `ground_truth`, `lead_time` and `other_data`, JSON of what cells cannot say: `json` names the cells
that are JSON, as the task's field is no text; `absent` the fields that the task lacks; `values` has fields whose name
no column can have. Knows nothing of files.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from edgewise.files.records import Answer, Record
from edgewise.labels.schema import Schema

OWN = ("task_id", "annotator", "was_cancelled", "ground_truth", "lead_time", "other_data")
PREFIX = "annotated_"
_UNWRITABLE = re.compile("[\0\ud800-\udfff]")
Cells = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Layout:
    """Which column is what. heads: from_name -> column; own: one of OWN -> column."""

    fields: tuple[str, ...]
    heads: Mapping[str, str]
    own: Mapping[str, str]

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns in order."""
        return (*self.fields, *self.heads.values(), *self.own.values())


def layout_for(fields: Iterable[str], schema: Schema) -> Layout:
    """The columns for data with these fields; fields whose name no cell can hold stay in `other_data`."""
    names = tuple(name for name in dict.fromkeys(fields) if name and not _UNWRITABLE.search(name))
    taken = [*names, *(head.from_name for head in schema.heads), *OWN]
    heads = {head.from_name: _free(head.from_name, taken) for head in schema.heads}
    return Layout(names, heads, {name: _free(name, taken) for name in OWN})


def layout_in(columns: Sequence[str], schema: Schema) -> Layout | None:
    """The layout of a table that we wrote; None for any other table, or one of other heads. Ours are the last ones."""
    names = [*(head.from_name for head in schema.heads), *OWN]
    ours = list(columns[-len(names) :])
    if len(ours) < len(names) or any(
        not re.fullmatch(f"(?:{PREFIX})*{re.escape(name)}", column) for name, column in zip(names, ours, strict=True)
    ):
        return None
    heads, own = ours[: -len(OWN)], ours[-len(OWN) :]
    by_head = dict(zip((head.from_name for head in schema.heads), heads, strict=True))
    return Layout(tuple(columns[: -len(names)]), by_head, dict(zip(OWN, own, strict=True)))


def _free(name: str, taken: list[str]) -> str:
    """The name, prefixed until no other column has it; `taken` has the name itself once and learns the new one."""
    taken.remove(name)
    found = name
    while found in taken:
        found = PREFIX + found
    taken.append(found)
    return found


def rows_of(record: Record, layout: Layout) -> Iterator[Cells]:
    """The rows of a record. A cell is a text, bool, int or float, of a head its spans; or None."""
    data = record.data
    cells: Cells = {name: _cell(data[name]) if name in data else None for name in layout.fields}
    said = {
        "json": [name for name in layout.fields if name in data and not _is_text(data[name])],
        "absent": [name for name in layout.fields if name not in data],
        "values": {name: value for name, value in data.items() if name not in layout.fields},
    }
    told = {name: value for name, value in said.items() if value}
    other = json.dumps(told, sort_keys=True) if told else None
    for answer in record.answers or (None,):
        own = (record.task_id, *_flags(answer), other)
        labels = {
            column: answer.spans.get(name, ()) if answer is not None else None for name, column in layout.heads.items()
        }
        yield cells | labels | dict(zip(layout.own.values(), own, strict=True))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not _UNWRITABLE.search(value)


def _cell(value: Any) -> str:
    return value if _is_text(value) else json.dumps(value, sort_keys=True)


def _flags(answer: Answer | None) -> tuple[Any, ...]:
    if answer is None:
        return (None,) * 4
    return answer.annotator, answer.was_cancelled, answer.ground_truth, answer.lead_time


def records_of(rows: Iterable[Cells], layout: Layout) -> Iterator[Record]:
    """The inverse of `rows_of`; the rows of a task are one below another."""
    names = layout.own
    for task_id, group in groupby(rows, key=lambda cells: cells[names["task_id"]]):
        theirs = list(group)
        answers = [
            Answer(
                {name: spans for name, column in layout.heads.items() if (spans := cells[column])},
                *(cells[names[name]] for name in OWN[1:5]),
            )
            for cells in theirs
            if cells[names["was_cancelled"]] is not None
        ]
        yield Record(int(task_id), data_in(theirs[0], layout), tuple(answers))


def data_in(cells: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
    """The task's data of a row."""
    said = json.loads(cells[layout.own["other_data"]] or "{}")
    absent, as_json = said.get("absent", ()), said.get("json", ())
    there = {name: cells[name] for name in layout.fields if name not in absent}
    fields = {name: json.loads(cell) if name in as_json else cell for name, cell in there.items()}
    return {**fields, **said.get("values", {})}
