"""What a terminal sees, whatever the verb: a value as JSON or lines for people, progress, errors and exit codes.

Standard output holds what was asked for and nothing else; all the rest goes to standard error.
"""

import json
import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Annotated, Any, Self

import typer

from edgewise.errors import EdgewiseError, InputError, NotFound, SettingsError, StudioGone, Unauthorized, Unavailable

DONE, FAILED, WRONG, AWAY, INTERRUPTED = 0, 1, 2, 3, 130
PLAIN_EVERY_S = 10.0
SILENT_S = 2.0  # a command that is done by then says nothing of its progress

AS_JSON = "edgewise.json"  # where a command's context remembers --json, for its errors


def _remember(context: typer.Context, wanted: bool) -> bool:
    context.meta[AS_JSON] = wanted
    return wanted


JSON = Annotated[
    bool,
    typer.Option("--json", callback=_remember, help="One JSON value on standard output, and nothing else there."),
]


def exit_code(error: EdgewiseError) -> int:
    """3: something that we need is away. 2: the caller has to change what they said. 1: the work failed."""
    if isinstance(error, Unavailable):
        return AWAY
    if isinstance(error, InputError | SettingsError | NotFound | StudioGone | Unauthorized):
        return WRONG
    return FAILED


def show(value: Any, lines: Sequence[str] | str, *, as_json: bool) -> None:
    """Print the value for machines or the lines for people."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str) if as_json else lines
    write(text if isinstance(text, str) else "\n".join(text))


def write(text: str) -> None:
    """To standard output; half a character of a text is shown as a question mark rather than not at all."""
    sys.stdout.write(text.encode("utf-8", "replace").decode() + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """To standard error."""
    sys.stderr.write(text.encode("utf-8", "replace").decode() + "\n")
    sys.stderr.flush()


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows with their columns aligned, the first row being the header; numbers to the right."""
    if not rows:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    right = [_are_numbers([row[column] for row in rows[1:]]) for column in range(len(rows[0]))]
    ruled = [rows[0], ["-" * width for width in widths], *rows[1:]]
    return [
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in ruled
    ]


def _are_numbers(cells: Sequence[str]) -> bool:
    told = [cell for cell in cells if cell not in ("", "-")]
    return bool(told) and all(map(_is_number, told))


def _is_number(cell: str) -> bool:
    return cell.lstrip("+-$").replace(",", "").rstrip("%s ").replace(".", "", 1).isdigit()


class Bar:
    """Progress on standard error: a bar on a terminal, elsewhere a plain line every ten seconds.

    Called with the share done, in [0, 1], and words about it. Two seconds are silent elsewhere.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._began = self._said = time.monotonic()
        self._rich: Any = None
        self._line: Any = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TaskProgressColumn(),
                TimeElapsedColumn(),
            )
            self._rich = Progress(*columns, console=Console(stderr=True), transient=True)
            self._line = self._rich.add_task(self._title, total=1.0)
            self._rich.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._rich is not None:
            self._rich.stop()

    def __call__(self, fraction: float, message: str = "") -> None:
        """So much is done."""
        words = f"{self._title}: {message}" if message else self._title
        if self._rich is not None:
            self._rich.update(self._line, completed=fraction, description=words)
            return
        now = time.monotonic()
        if now - self._began >= SILENT_S and (now - self._said >= PLAIN_EVERY_S or self._said == self._began):
            self._said = now
            say(f"{words}, {fraction:.0%}, {now - self._began:.0f} s")
