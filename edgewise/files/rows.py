"""A row of a table in a file, and what is said when a row is not as it should be.

An error names the row as a person counts it, what is wrong with it and how to mend that; never what stands in it.
Knows nothing of file formats.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgewise.errors import DataError

CELL_LIMIT = 10_000_000  # characters; a long book has one million
_UNWRITABLE = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Row:
    """One row. number: as a person counts in the file: a CSV's header is row 1, elsewhere the first is 1.

    values: every column of the table, in its order; "" where there is nothing. Numbers, lists and objects of other
    formats are JSON. task: the whole task where the file is an export of Label Studio.
    """

    number: int
    values: dict[str, str]
    task: Mapping[str, Any] | None = None


def bad_row(number: int, what: str, mend: str) -> DataError:
    """The error for a row: `what` continues "Row 7 …"."""
    return DataError(f"Row {number} {what}.", mend)


def need_columns(there: Sequence[str], needed: Iterable[str]) -> None:
    """DataError that names the columns that are missing and those that there are."""
    missing = [name for name in needed if name not in there]
    if missing:
        raise DataError(
            f"The file has no column {listed(missing)}; it has {listed(there)}.",
            "Name one of its columns, or rename the column in the file.",
        )


def check_names(names: Sequence[str]) -> None:
    """DataError for a table in which two columns have one name: a row could not keep both."""
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        raise DataError(f"Two columns are named {listed(double)}.", "Give every column a name of its own.")


def check_cells(row: Row) -> Row:
    """The row, if UTF-8 can hold every cell and none is beyond CELL_LIMIT. DataError names row and column."""
    for name, value in row.values.items():
        if len(value) > CELL_LIMIT:
            raise too_long(row.number, name)
        if (not value.isascii() and _UNWRITABLE.search(value)) or "\0" in value:
            raise bad_row(
                row.number,
                f"has a NUL or half a character (a lone surrogate) in the column '{name}'",
                "Remove it: no file and no database can hold it as text.",
            )
    return row


def too_long(number: int, column: str) -> DataError:
    """The error for a cell that is longer than any text that we read."""
    return bad_row(
        number,
        f"has more than {CELL_LIMIT:,} characters in the column '{column}'",
        "Shorten the text or split it into several rows; if it is no such text, look for a quote that is never closed.",
    )


class Unique:
    """Remembers the values of a column in which every row needs its own."""

    def __init__(self, column: str) -> None:
        self._column = column
        self._seen: dict[str, int] = {}

    def check(self, row: Row) -> None:
        """DataError if an earlier row has the same value, or the row has none."""
        value = row.values[self._column]
        if not value:
            raise bad_row(row.number, f"has no '{self._column}'", "Give every row an id of its own.")
        first = self._seen.setdefault(value, row.number)
        if first != row.number:
            raise bad_row(
                row.number, f"has the same '{self._column}' as row {first}", "Give every row an id of its own."
            )


def check_label(row: Row, column: str, labels: Sequence[str]) -> str:
    """The row's label, if it is one of these. DataError otherwise: it tells the labels, not what the row has."""
    value = row.values[column]
    if value not in labels:
        raise bad_row(
            row.number,
            f"has {'a label that is not in the set' if value else 'no label'} in the column '{column}'",
            f"Use one of {listed(labels)}, or add the label to the set.",
        )
    return value


def listed(names: Sequence[str]) -> str:
    """Names for a message, at most twenty."""
    shown = ", ".join(f"'{name[:60]}'" for name in names[:20])
    return f"{shown} and {len(names) - 20} more" if len(names) > 20 else shown or "none"
