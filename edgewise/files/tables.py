"""Tables in files, read row by row in constant memory, whatever the format.

    table(path)              columns and rows of a CSV, JSON Lines, Parquet, Hugging Face dataset folder or an export of
                             Label Studio
    read(path, columns=…)    its rows

The format is told by the suffix, else by what the file begins with. Knows nothing of labels. What each format looks
like is in csv_tables.py (the writer too), json_tables.py and arrow_tables.py.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from edgewise.errors import InputError
from edgewise.files import arrow_tables, csv_tables, json_tables
from edgewise.files.rows import Row, check_cells, check_names, need_columns

Format = Literal["csv", "jsonl", "parquet", "dataset", "label-studio"]
_SUFFIXES: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}


class _Source(Protocol):
    """A file of one format: its columns, and its rows as often as they are asked for."""

    columns: tuple[str, ...]

    def rows(self) -> Iterator[Row]: ...


@dataclass(frozen=True)
class Table:
    """A table in a file. Iterating reads the file anew each time, row by row."""

    path: Path
    format: Format
    source: _Source

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns, in the file's order."""
        return self.source.columns

    def __iter__(self) -> Iterator[Row]:
        return map(check_cells, self.source.rows())


def table(path: Path | str, *, columns: Iterable[str] = ()) -> Table:
    """The table in a file. columns: those that must be there.

    Raises InputError if the file cannot be read as any format; DataError if a column is missing or named twice, and
    while iterating for a broken row.
    """
    needed = tuple(columns)
    here = Path(path)
    kind = format_of(here)
    source = _open(here, kind, needed)
    check_names(source.columns)
    need_columns(source.columns, needed)
    return Table(here, kind, source)


def format_of(path: Path) -> Format:
    """The format of a file, by its suffix, else by its beginning. InputError if there is none, or nothing in it."""
    if not path.exists():
        raise InputError(f"There is no file '{path.name}'.", "Correct the path.")
    if path.is_dir():
        return "dataset"
    if path.stat().st_size == 0:
        raise InputError(f"The file '{path.name}' is empty.", "Write a header and rows into it, or name another file.")
    known = _SUFFIXES.get(path.suffix.lower())
    return known or _by_beginning(path)


def _by_beginning(path: Path) -> Format:
    with path.open("rb") as file:
        start = file.read(4096)
    if start.startswith(b"PAR1"):
        return "parquet"
    if start.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise InputError(f"'{path.name}' is a spreadsheet or an archive.", "Save it as CSV (UTF-8).")
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"["):
        return "label-studio"
    return "jsonl" if text.startswith(b"{") else "csv"


def _open(path: Path, kind: Format, needed: tuple[str, ...]) -> _Source:
    if kind == "csv":
        return csv_tables.CsvFile(path, needed)
    if kind == "jsonl":
        return json_tables.JsonLines(path)
    if kind == "label-studio":
        return json_tables.Export(path)
    return arrow_tables.Parquet(path) if kind == "parquet" else arrow_tables.DatasetFolder(path)
