"""CSV: comma, semicolon, tab or bar between the cells, UTF-8 with or without BOM, quotes as RFC 4180 has them.

Read record by record and never more than one of them in memory. Knows nothing of what the columns mean.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from edgewise.errors import DataError, InputError
from edgewise.files.rows import CELL_LIMIT, Row, bad_row, too_long

DELIMITERS = ",;\t|"
SNIFFED = 64 * 1024  # bytes that the delimiter is told from
_BOMS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


class CsvFile:
    """A CSV with a header. The header is row 1, as a spreadsheet counts; empty lines are no rows."""

    def __init__(self, path: Path, needed: Sequence[str] = ()) -> None:
        """needed: columns that the header should have; of two delimiters that fit, it is that which gives them."""
        self._path = path
        csv.field_size_limit(max(csv.field_size_limit(), 2 * CELL_LIMIT))  # ours bites first, and names the column
        self._delimiter = _delimiter(path, needed)
        with path.open("rb") as file:
            header = next(_Records(file, path.name, self._delimiter, ()), None)
        if header is None:
            raise InputError(f"The file '{path.name}' is empty.", "Write a header and rows into it.")
        self.columns = tuple(header[1])

    def rows(self) -> Iterator[Row]:
        """The rows below the header. DataError for one that is broken."""
        width = len(self.columns)
        with self._path.open("rb") as file:
            for number, cells in islice(_Records(file, self._path.name, self._delimiter, self.columns), 1, None):
                if len(cells) != width:
                    raise _wrong_width(number, len(cells), width)
                yield Row(number, dict(zip(self.columns, cells, strict=True)))


class _Records:
    """The records of an open CSV with their numbers, empty lines left out."""

    def __init__(self, file: BinaryIO, name: str, delimiter: str, columns: Sequence[str]) -> None:
        self._lines = _Lines(file, name)
        self._reader = csv.reader(self._lines, delimiter=delimiter, strict=True)
        self._delimiter = delimiter
        self._columns = columns

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        return self

    def __next__(self) -> tuple[int, list[str]]:
        while True:
            self._lines.start_record()
            try:
                cells = next(self._reader)
            except _TooLong:
                raise too_long(self._lines.number, self._column_reached()) from None
            except csv.Error as error:
                raise self._broken(str(error)) from None
            if cells:  # else it was an empty line, which counts as a row does in a spreadsheet
                return self._lines.number, cells

    def _column_reached(self) -> str:
        """The column in which the text that we have of this record ends."""
        held = [line[:CELL_LIMIT] for line in self._lines.held]
        cells = next(csv.reader(held, delimiter=self._delimiter), [""])
        reached = len(cells) - 1
        return self._columns[reached] if reached < len(self._columns) else str(reached + 1)

    def _broken(self, reason: str) -> DataError:
        where = f"(line {self._lines.first_line} of the file)"
        if "unexpected end of data" in reason:
            return bad_row(
                self._lines.number,
                f"opens a quote that is never closed {where}",
                'Close it, or write every quote inside a cell twice ("").',
            )
        return bad_row(
            self._lines.number,
            f"has text behind a closing quote {where}",
            'Write every quote inside a cell twice (""), and the whole cell in quotes.',
        )


class _TooLong(Exception):
    """A record is longer than a cell may be."""


class _Lines:
    """Decoded lines of a file for csv.reader, which asks for as many as a record needs."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._name = name
        self._position = 0  # bytes before the next line
        self._line = 0  # lines read
        self.number = 0  # the record, counted from 1
        self.first_line = 0
        self.held: list[str] = []  # lines of this record
        self._length = 0

    def start_record(self) -> None:
        """What is read from now on is the next record."""
        self.number += 1
        self.first_line = self._line + 1
        self.held = []
        self._length = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        raw = self._file.readline(4 * CELL_LIMIT)
        if not raw:
            raise StopIteration
        self._line += 1
        text = self._decoded(raw)
        self.held.append(text)
        self._length += len(text)
        if self._length > CELL_LIMIT:
            raise _TooLong
        if "\0" in text:
            raise bad_row(
                self.number,
                f"has a NUL byte (line {self._line} of the file)",
                "Remove the NUL bytes, as `tr -d '\\000' < old.csv > new.csv` does.",
            )
        return text

    def _decoded(self, raw: bytes) -> str:
        start, self._position = self._position, self._position + len(raw)
        try:
            return raw.decode("utf-8-sig" if start == 0 else "utf-8")
        except UnicodeDecodeError as error:
            if len(raw) == 4 * CELL_LIMIT:
                raise _TooLong from None
            raise not_utf8(self._name, start + error.start, self._line) from None


def not_utf8(name: str, position: int, line: int) -> InputError:
    """The error for a file in another encoding. position: of the first byte that is not UTF-8, from 0."""
    return InputError(
        f"'{name}' is not UTF-8: byte {position} (in line {line}) is something else.",
        "Save it as UTF-8; one from Windows is converted by `iconv -f WINDOWS-1252 -t UTF-8 old.csv > new.csv`.",
    )


def _wrong_width(number: int, found: int, width: int) -> DataError:
    what = "too many" if found > width else "too few"
    return bad_row(
        number,
        f"has {what} cells: {found}, and the header has {width}",
        "Write a cell that holds a delimiter, a quote or a line break in quotes; leave a cell empty to say nothing.",
    )


def _delimiter(path: Path, needed: Sequence[str]) -> str:
    """The delimiter that gives the needed columns, then the one by which most rows have the header's width."""
    with path.open("rb") as file:
        sample = file.read(SNIFFED)
        is_whole = not file.read(1)
    for bom, encoding in _BOMS.items():
        if sample.startswith(bom):
            raise InputError(
                f"'{path.name}' is {encoding}.",
                f"Save it as UTF-8: `iconv -f {encoding} -t UTF-8 old.csv > new.csv` does it.",
            )
    if b"\r" in sample and b"\n" not in sample:
        raise InputError(
            f"'{path.name}' ends its lines as old Macs did (CR alone).",
            "Convert it: `tr '\\r' '\\n' < old.csv > new.csv`.",
        )
    text = sample.decode("utf-8-sig", "replace")
    lines = list(StringIO(text, newline=""))[: None if is_whole else -1] or [text]
    return max(DELIMITERS, key=lambda one: _fit(lines, one, needed))


def _fit(lines: Sequence[str], delimiter: str, needed: Sequence[str]) -> tuple[int, float, int]:
    """How well a delimiter suits: needed columns found, share of rows as wide as the header if wider than one."""
    try:
        rows = [row for row in csv.reader(lines, delimiter=delimiter) if row]
    except csv.Error:
        return 0, 0.0, 0
    header = rows[0] if rows else []
    if len(header) < 2:
        return sum(name in header for name in needed), 0.0, 0
    as_wide = sum(len(row) == len(header) for row in rows) / len(rows)
    return sum(name in header for name in needed), as_wide, len(header)


class CsvWriter:
    """A CSV, row by row: commas, quotes where needed, line breaks inside cells as they are."""

    def __init__(self, file: TextIO, columns: Sequence[str]) -> None:
        """file: opened with `newline=""` and UTF-8. Writes the header."""
        self._columns = tuple(columns)
        self._writer: Any = csv.writer(_PlainEnds(file), lineterminator="\r\n")
        header = csv.writer(_PlainEnds(file), lineterminator="\r\n", quoting=csv.QUOTE_ALL)
        # What begins like a byte order mark would be taken for one, but for a quote before it.
        (header if "\ufeff" in self._columns[0][:1] else self._writer).writerow(self._columns)

    def write(self, values: Mapping[str, str]) -> None:
        """One row; a column that `values` lacks stays empty."""
        self._writer.writerow([values.get(name, "") for name in self._columns])


class _PlainEnds:
    """Ends rows with LF. csv.writer puts only the characters of its own line end in quotes: told LF alone, it would
    leave a CR in a cell bare, and no reader takes that."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, row: str) -> int:
        """One whole row, as csv.writer gives it."""
        return self._file.write(row.removesuffix("\r\n") + "\n")


def writer(file: TextIO, columns: Sequence[str]) -> CsvWriter:
    """A CSV with these columns, in this order."""
    return CsvWriter(file, columns)
