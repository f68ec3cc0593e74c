"""JSON Lines, and Label Studio's export: a list of tasks. Read one object at a time.

Knows nothing of what the values mean; numbers, lists and objects become JSON text in a cell.
"""

import codecs
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgewise.errors import DataError, InputError
from edgewise.files.csv_tables import not_utf8
from edgewise.files.rows import CELL_LIMIT, Row, bad_row

CHUNK = 64 * 1024  # characters read at a time
LIMIT = 4 * CELL_LIMIT  # of one object: a task with its annotations
_BLANK = " \t\r\n"


class JsonLines:
    """An object on each line. Its columns are those of all lines, in the order in which they turn up."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.columns = _all_columns(values for _, values in self._objects())
        if not self.columns:
            raise InputError(f"There is no row in '{path.name}'.", "Write one JSON object on each line.")

    def rows(self) -> Iterator[Row]:
        """A row for each line that is not blank; its number is that of the line."""
        for number, values in self._objects():
            yield Row(number, {name: cell(values.get(name)) for name in self.columns})

    def _objects(self) -> Iterator[tuple[int, dict[str, Any]]]:
        position = number = 0
        with self._path.open("rb") as file:
            while raw := file.readline(LIMIT):
                number += 1
                if len(raw) >= LIMIT:
                    raise _too_long(number)
                try:
                    line = raw.decode("utf-8-sig" if position == 0 else "utf-8")
                except UnicodeDecodeError as error:
                    raise not_utf8(self._path.name, position + error.start, number) from None
                position += len(raw)
                if line.strip():
                    yield number, _object(line, number)


def _object(line: str, number: int) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise bad_row(number, "is not JSON", "Write one JSON object on each line, and nothing else.") from None
    if not isinstance(found, dict):
        raise bad_row(number, "is JSON, but no object", 'Write an object, {"text": "…"}, on each line.')
    return found


class Export:
    """A JSON list of Label Studio's tasks: its export, or ours. A row's cells are the task's data."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.columns = _all_columns(data_of(number, task) for number, task in tasks(path))

    def rows(self) -> Iterator[Row]:
        """A row for each task, counted from 1, with the whole task beside it."""
        for number, task in tasks(self._path):
            data = data_of(number, task)
            yield Row(number, {name: cell(data.get(name)) for name in self.columns}, task)


def data_of(number: int, task: Mapping[str, Any]) -> Mapping[str, Any]:
    """The data of a task. DataError if it has none."""
    data = task.get("data", task if "annotations" not in task and "predictions" not in task else None)
    if not isinstance(data, dict):
        raise bad_row(number, "is no task of Label Studio: it has no 'data'", "Export the project as JSON.")
    return data


def tasks(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSON list with their places, counted from 1, one in memory at a time."""
    for number, item in enumerate(_items(path), start=1):
        if not isinstance(item, dict):
            raise bad_row(number, "is JSON, but no object", "Export the project from Label Studio as JSON.")
        yield number, item


def _items(path: Path) -> Iterator[Any]:
    """The items of the list."""
    text = _Text(path)
    if text.peek() != "[":
        raise _no_list(path)
    text.skip(1)
    number = 0
    if text.peek() == "]":
        text.skip(1)
    else:
        while True:
            number += 1
            yield text.value(number)
            mark = text.peek()
            text.skip(1)
            if mark == "]":
                break
            if mark != ",":
                raise bad_row(number, "is not followed by a comma or the list's end", _REPAIR)
    if text.peek():
        raise bad_row(number, "is the last of the list, and something follows it", _REPAIR)


_REPAIR = "The file is cut off or was edited by hand: export it again."


def _no_list(path: Path) -> InputError:
    return InputError(f"'{path.name}' is no list of tasks.", "Export the project from Label Studio as JSON.")


class _Text:
    """A file's text, as far as it was read and not yet used up."""

    def __init__(self, path: Path) -> None:
        self._chunks = _decoded(path)
        self._buffer = ""
        self._at = 0
        self._decoder = json.JSONDecoder()

    def peek(self) -> str:
        """The next character that is no blank; "" at the end."""
        while True:
            while self._at < len(self._buffer) and self._buffer[self._at] in _BLANK:
                self._at += 1
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._more(1):
                return ""

    def skip(self, count: int) -> None:
        """Use up characters."""
        self._at += count

    def value(self, number: int) -> Any:
        """The JSON value that comes next."""
        self.peek()
        while True:
            try:
                found, end = self._decoder.raw_decode(self._buffer, self._at)
                if end < len(self._buffer):  # else a number might go on
                    self._at = end
                    return found
            except (ValueError, RecursionError):
                pass
            held = len(self._buffer) - self._at
            if held > LIMIT:
                raise _too_long(number)
            if not self._more(max(held, 1)):
                raise bad_row(number, "is not JSON, or is cut off", _REPAIR)

    def _more(self, least: int) -> bool:
        """Read on by at least so many characters: doubling keeps a long value from being tried again too often."""
        parts = [self._buffer[self._at :]]
        added = 0
        while added < least and (chunk := next(self._chunks, "")):
            parts.append(chunk)
            added += len(chunk)
        self._buffer, self._at = "".join(parts), 0
        return added > 0


def _decoded(path: Path) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    position, line = 0, 1
    with path.open("rb") as file:
        while raw := file.read(CHUNK):
            try:
                text = decoder.decode(raw)
            except UnicodeDecodeError as error:
                line += raw[: max(error.start, 0)].count(b"\n")
                raise not_utf8(path.name, position + error.start, line) from None
            position += len(raw)
            line += raw.count(b"\n")
            if text:
                yield text


def _too_long(number: int) -> DataError:
    return bad_row(number, f"is longer than {LIMIT:,} characters", "Split the text, or leave it out.")


def _all_columns(objects: Iterator[Mapping[str, Any]]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for values in objects:
        found |= dict.fromkeys(values)
    return tuple(found)


def cell(value: Any) -> str:
    """A JSON value as a cell: text as it is, nothing as nothing, all else as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False, default=str)
