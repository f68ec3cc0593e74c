"""Parquet files, and dataset folders as Hugging Face's `save_to_disk` writes them, read batch by batch with pyarrow.

The library `datasets` is not needed: such a folder is Arrow streams and two small JSON files. Knows nothing of what
the columns mean.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgewise.errors import InputError
from edgewise.files.json_tables import cell
from edgewise.files.rows import Row

BATCH = 1024  # rows in memory
BUFFER = 1 << 20  # bytes read ahead: mapped into memory instead, the whole file would count as ours


class Parquet:
    """A Parquet file. Rows are counted from 1."""

    def __init__(self, path: Path) -> None:
        from pyarrow.parquet import read_schema

        self._path = path
        with _readable(path):
            self.columns = tuple(read_schema(path).names)

    def rows(self) -> Iterator[Row]:
        """All rows."""
        from pyarrow.parquet import ParquetFile

        with _readable(self._path), ParquetFile(self._path, buffer_size=BUFFER, pre_buffer=False) as file:
            yield from _rows(file.iter_batches(batch_size=BATCH, use_threads=False), self.columns)


class DatasetFolder:
    """A dataset folder of Hugging Face. Rows are counted from 1. Class labels are their names."""

    def __init__(self, path: Path) -> None:
        from pyarrow import OSFile
        from pyarrow.ipc import open_stream

        self._path = path
        self._files = _data_files(path)
        self._names = _class_names(path)
        with _readable(path), OSFile(str(self._files[0])) as source, open_stream(source) as stream:
            self.columns = tuple(stream.schema.names)

    def rows(self) -> Iterator[Row]:
        """All rows."""
        with _readable(self._path):
            yield from _rows(self._batches(), self.columns, self._names)

    def _batches(self) -> Iterator[Any]:
        from pyarrow import OSFile
        from pyarrow.ipc import open_stream

        for file in self._files:
            with OSFile(str(file)) as source, open_stream(source) as stream:
                for batch in stream:
                    for start in range(0, batch.num_rows, BATCH):
                        yield batch.slice(start, BATCH)


def _data_files(path: Path) -> list[Path]:
    """The Arrow files of a dataset folder, in order."""
    if (path / "dataset_dict.json").is_file():
        splits = json.loads((path / "dataset_dict.json").read_text(encoding="utf-8")).get("splits", [])
        raise InputError(f"'{path.name}' holds several splits: {', '.join(splits)}.", "Name the folder of one of them.")
    try:
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        files = [path / Path(one["filename"]).name for one in state["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            f"The folder '{path.name}' is no dataset of Hugging Face.", "Name one that `save_to_disk` wrote, or a file."
        ) from None
    if not files or not all(file.is_file() for file in files):
        raise InputError(f"The dataset folder '{path.name}' is incomplete.", "Save the dataset again.")
    if state.get("_indices_data_files"):
        raise InputError(f"The dataset '{path.name}' has an index over its rows.", "Save it after `flatten_indices()`.")
    return files


def _class_names(path: Path) -> dict[str, list[str]]:
    """The names of class labels, by column."""
    try:
        features = json.loads((path / "dataset_info.json").read_text(encoding="utf-8")).get("features") or {}
        return {
            column: feature["names"]
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (OSError, ValueError, KeyError, AttributeError):
        return {}


def _rows(batches: Iterator[Any], columns: tuple[str, ...], names: dict[str, list[str]] | None = None) -> Iterator[Row]:
    number = 0
    for batch in batches:
        lists = [_cells(batch.column(i).to_pylist(), (names or {}).get(name)) for i, name in enumerate(columns)]
        for cells in zip(*lists, strict=True):
            number += 1
            yield Row(number, dict(zip(columns, cells, strict=True)))


def _cells(values: list[Any], names: list[str] | None) -> list[str]:
    if names is None:
        return [cell(value) for value in values]
    return [names[value] if isinstance(value, int) and 0 <= value < len(names) else "" for value in values]


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """pyarrow's complaints as ours: what it says may quote what stands in the file."""
    from pyarrow import ArrowException

    try:
        yield
    except (ArrowException, OSError) as error:
        raise InputError(
            f"'{path.name}' is damaged or not what its name says ({type(error).__name__}).", "Save it again."
        ) from None
