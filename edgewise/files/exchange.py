"""Label Studio's tasks into a file of any exchange format, and from a file back into tasks to import.

    write(tasks, schema, path, …)   Label Studio JSON, CoNLL, a dataset folder of Hugging Face, or a CSV
    importable(path, schema, …)     (row number, task) of such a file, or of any other table: its columns are the data

Every task that comes out has been checked: the texts that the project shows are there, labels are in the set, spans in
the text. Knows nothing of a running Label Studio.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TextIO

from edgewise.errors import DataError, InputError
from edgewise.files.cells import read_labels
from edgewise.files.conll import Conll
from edgewise.files.flat import layout_for, layout_in
from edgewise.files.flat_files import read_flat, write_csv, write_dataset
from edgewise.files.json_tables import tasks as tasks_in
from edgewise.files.records import Answer, Json, Record, plain_task, record_of, task_of
from edgewise.files.rows import Row, bad_row, need_columns
from edgewise.files.tables import Table, table
from edgewise.files.texts import text_of_row
from edgewise.files.whole import whole, whole_folder
from edgewise.labels.regions import problems
from edgewise.labels.schema import Head, Schema
from edgewise.labels.texts import text_of

Form = Literal["label-studio", "conll", "dataset", "csv"]
CONLL = frozenset({".conll", ".conllu", ".bio", ".iob", ".iob2"})


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of a table are what. text: those that make the text, where the table has no column of the field's
    name; labels: from_name -> the column with its labels."""

    text: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Written:
    """What an export wrote. left_out: labelled regions that the format cannot carry."""

    tasks: int
    annotations: int
    left_out: int


class _Counted:
    """Tasks as records, counted on the way."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self.tasks = self.annotations = self.left_out = 0

    def records(self, tasks: Iterable[Json]) -> Iterator[Record]:
        """A record for each task."""
        for number, task in enumerate(tasks, start=1):
            record, left_out = record_of(task, self._schema, number)
            self.count(len(record.answers), left_out)
            yield record

    def plain(self, tasks: Iterable[Json]) -> Iterator[Json]:
        """Each task as Label Studio imports it."""
        for task in tasks:
            made = plain_task(task)
            self.count(len(made["annotations"]), 0)
            yield made

    def count(self, annotations: int, left_out: int) -> None:
        """One more task."""
        self.tasks += 1
        self.annotations += annotations
        self.left_out += left_out


def write(
    tasks: Callable[[], Iterable[Json]], schema: Schema, path: Path, form: Form, *, overwrite: bool = False
) -> Written:
    """Write tasks of Label Studio to a file, whole or not at all. tasks: called for each reading of them, never for
    two at a time.

    Raises Conflict if `path` is there and may not be overwritten.
    """
    counted = _Counted(schema)
    layout = layout_for(_fields(tasks()) if form in ("dataset", "csv") else (), schema)
    if form == "dataset":
        with whole_folder(path, overwrite=overwrite) as folder:
            write_dataset(folder, counted.records(tasks()), layout, schema.heads)
        return Written(counted.tasks, counted.annotations, counted.left_out)
    with whole(path, overwrite=overwrite) as made, made.open("w", encoding="utf-8", newline="") as file:
        if form == "label-studio":
            _write_json(file, counted.plain(tasks()))
        elif form == "conll":
            Conll(schema).write(file, counted.records(tasks()))
        else:
            write_csv(file, counted.records(tasks()), layout, schema.heads)
    return Written(counted.tasks, counted.annotations, counted.left_out)


def _fields(tasks: Iterable[Json]) -> Iterator[str]:
    return (name for task in tasks for name in task.get("data") or {})


def _write_json(file: TextIO, tasks: Iterable[Json]) -> None:
    """A JSON list, a task on each line, keys sorted: the same tasks are the same bytes."""
    file.write("[")
    for place, task in enumerate(tasks):
        file.write(("," if place else "") + "\n" + _canonical(task))
    file.write("\n]\n")


def _canonical(task: Json) -> str:
    line = json.dumps(task, ensure_ascii=False, sort_keys=True)
    try:
        line.encode()
    except UnicodeEncodeError:  # half a character, which only an escape can say
        return json.dumps(task, sort_keys=True)
    return line


def importable(path: Path, schema: Schema, columns: Columns | None = None) -> Iterator[tuple[int, Json]]:
    """The tasks in a file with their row numbers, as Label Studio imports them, each checked.

    An export of any form comes back as it was. Of any other table every column goes into the task's data, and a column
    named as a head, or by `columns`, holds its labels. DataError names the row that is wrong.
    """
    for number, task in _tasks(path, schema, columns or Columns()):
        _check(number, task, schema)
        yield number, task


def _tasks(path: Path, schema: Schema, columns: Columns) -> Iterator[tuple[int, Json]]:
    if path.suffix.lower() in CONLL:
        return _numbered(Conll(schema).read(path), schema)
    found = table(path)
    if found.format == "label-studio":
        return ((number, _whole_task(number, task)) for number, task in tasks_in(path))
    layout = layout_in(found.columns, schema)
    if layout is not None and columns == Columns():
        return _numbered(read_flat(found, layout, schema), schema)
    return _from_table(found, schema, columns)


def _numbered(records: Iterable[Record], schema: Schema) -> Iterator[tuple[int, Json]]:
    return ((number, task_of(record, schema)) for number, record in enumerate(records, start=1))


def _whole_task(number: int, task: Json) -> Json:
    if "data" not in task:
        task = {"data": task}
    if not isinstance(task["data"], dict):
        raise bad_row(number, "is no task of Label Studio: its 'data' is no object", "Export the project as JSON.")
    return plain_task(task)


def _from_table(found: Table, schema: Schema, columns: Columns) -> Iterator[tuple[int, Json]]:
    """A task for each row: all columns as data, labels where there are any."""
    named = {head.from_name: head.from_name for head in schema.heads if head.from_name in found.columns}
    labels = {**named, **columns.labels}
    known = {head.from_name: head for head in schema.heads}
    strangers = [name for name in labels if name not in known]
    if strangers:
        raise InputError(f"The project has no head '{strangers[0]}'.", f"Name one of {', '.join(known)}.")
    need_columns(found.columns, [*columns.text, *labels.values()])
    fields = {head.field for head in schema.heads}
    if not columns.text:
        need_columns(found.columns, fields)
    for row in found:
        data = _data(row, fields, columns.text)
        spans = {
            name: read
            for name, column in labels.items()
            if (read := read_labels(row, column, data[known[name].field], known[name])) is not None
        }
        answers = (Answer(spans),) if spans else ()
        yield row.number, task_of(Record(row.number, data, answers), schema)


def _data(row: Row, fields: Iterable[str], text_columns: tuple[str, ...]) -> dict[str, str]:
    """All columns, and the text under the name that the project shows it by."""
    if not text_columns:
        return row.values
    text = text_of_row(row.values, text_columns)
    for name in fields:
        if row.values.get(name, text) != text:
            raise bad_row(
                row.number,
                f"has another text in the column '{name}' than the one made of {', '.join(text_columns)}",
                f"Rename the column '{name}': the project shows the text under that name.",
            )
    return row.values | dict.fromkeys(fields, text)


def _check(number: int, task: Json, schema: Schema) -> None:
    """DataError for a task that Label Studio would refuse or show wrongly. What we cannot learn is let through."""
    data = task["data"]
    missing = next((head.field for head in schema.heads if head.field not in data), None)
    if missing is not None:
        raise bad_row(number, f"has no '{missing}', which the project shows", f"Give every task a '{missing}'.")
    written = next((head.field for head in schema.heads if head.by_address and _is_readable(data, head)), None)
    if written is not None:
        raise bad_row(
            number, f"has a text in '{written}', and the project shows what lies at an address", "Give it an address."
        )
    heads = {head.from_name for head in schema.heads if _is_readable(data, head)}
    answers = [(what, one) for what in ("annotations", "predictions") for one in task.get(what, ())]
    for what, one in answers:
        result = [
            region for region in one["result"] if isinstance(region, Mapping) and region.get("from_name") in heads
        ]
        faults = problems({"result": result, "score": one.get("score")}, schema, data)
        if faults:
            raise bad_row(
                number, f"has {what} that do not fit: {faults[0]}", "Correct the file, or the labelling config."
            )


def _is_readable(data: Mapping[str, Any], head: Head) -> bool:
    try:
        text_of(data, head)
    except DataError:  # status will name the task
        return False
    return True
