"""Dataset versions of files, in a folder beside them: one SQLite file, each content once, whatever versions have it.

A version appears whole or not at all, and the same rows give the same version. Knows nothing of file formats or models.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from edgewise.errors import InputError, NotFound
from edgewise.labels.datasets import (
    Content,
    DatasetRow,
    DatasetVersion,
    chosen,
    content_of,
    counted,
    row_of,
    version_id,
)

NAME = "versions.sqlite3"
WAIT_S = 30.0  # for another process that writes
_TABLES = """
CREATE TABLE IF NOT EXISTS versions (id TEXT PRIMARY KEY, turn INTEGER, created_at TEXT, size INTEGER, parents TEXT,
    config TEXT, label_counts TEXT, source TEXT);
CREATE TABLE IF NOT EXISTS rows (version TEXT, place INTEGER, key TEXT, text TEXT, content TEXT,
    PRIMARY KEY (version, place)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS contents (content TEXT PRIMARY KEY, body TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS models (version TEXT, model TEXT, PRIMARY KEY (version, model)) WITHOUT ROWID;
"""
_CHUNK = 500


class Versions:
    """The dataset versions in a folder, which is made when the first one is kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(
        self, rows: Mapping[str, Content], *, config: str, parents: Sequence[str] = (), source: str = ""
    ) -> DatasetVersion:
        """Keep rows, by key, as a version; returns it, the one that is there if it is the same. config: head's digest;
        source: what people call it."""
        named = [row_of(key, content) for key, content in rows.items()]
        made = version_id(config, (row.content for row in named))
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._open() as database:
            known = database.execute("SELECT 1 FROM versions WHERE id = ?", (made,)).fetchone()
            kept = [parent for parent in parents if parent != made]
            bodies = (
                (row.content, json.dumps(content.body)) for row, content in zip(named, rows.values(), strict=True)
            )
            database.executemany("INSERT OR IGNORE INTO contents VALUES (?, ?)", bodies)
            if not known:
                places = ((made, place, row.key, row.text, row.content) for place, row in enumerate(named))
                database.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?)", places)
                database.execute(
                    "INSERT INTO versions SELECT ?, COALESCE(MAX(turn), 0) + 1, ?, ?, ?, ?, ?, ? FROM versions",
                    (
                        *(made, datetime.now(UTC).isoformat(), len(named), json.dumps(kept), config),
                        *(json.dumps(counted(rows.values())), source),
                    ),
                )
        return self.version(made)

    def note_model(self, id: str, model: str) -> None:
        """Remember that a model was trained on a version."""
        with self._open() as database:
            database.execute("INSERT OR IGNORE INTO models VALUES (?, ?)", (id, model))

    def all(self) -> list[DatasetVersion]:
        """All versions, newest first."""
        if not (self._folder / NAME).is_file():
            return []
        with self._open() as database:
            return [
                self._version(database, row) for row in database.execute("SELECT * FROM versions ORDER BY turn DESC")
            ]

    def version(self, id: str) -> DatasetVersion:
        """The version whose id begins so. NotFound, or Conflict if several do."""
        return chosen(self.all(), id)

    def rows(self, id: str) -> list[DatasetRow]:
        """The rows of a version, in the order in which they were kept."""
        with self._open() as database:
            rows = database.execute("SELECT key, text, content FROM rows WHERE version = ? ORDER BY place", (id,))
            return [DatasetRow(*row) for row in rows]

    def contents(self, digests: Iterable[str]) -> dict[str, Content]:
        """The contents of these hashes that are still kept."""
        asked = list(dict.fromkeys(digests))
        found: dict[str, Content] = {}
        with self._open() as database:
            for start in range(0, len(asked), _CHUNK):
                some = asked[start : start + _CHUNK]
                marks = ",".join("?" * len(some))
                rows = database.execute(f"SELECT content, body FROM contents WHERE content IN ({marks})", some)
                found |= {content: content_of(json.loads(body)) for content, body in rows}
        return found

    def erase(self, digests: Iterable[str]) -> int:
        """Erase the contents that have texts of these hashes (`Content.text_digest`) from every version; how many."""
        erased = 0
        with self._open() as database:
            database.execute("PRAGMA secure_delete = ON")
            for digest in digests:
                theirs = "SELECT content FROM rows WHERE text = ?"
                erased += database.execute(f"DELETE FROM contents WHERE content IN ({theirs})", (digest,)).rowcount
        return erased

    def _version(
        self, database: sqlite3.Connection, row: tuple[str, int, str, int, str, str, str, str]
    ) -> DatasetVersion:
        id, _, created_at, size, parents, config, label_counts, source = row
        models = database.execute("SELECT model FROM models WHERE version = ? ORDER BY model", (id,))
        return DatasetVersion(
            id=id,
            created_at=datetime.fromisoformat(created_at),
            size=size,
            parents=tuple(json.loads(parents)),
            config=config,
            label_counts=json.loads(label_counts),
            source=source,
            models=tuple(model for (model,) in models),
        )

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """One transaction. InputError if the file is none of ours."""
        if not self._folder.is_dir():
            raise NotFound(f"There is no folder '{self._folder.name}' with dataset versions.", "Name another folder.")
        try:
            with closing(sqlite3.connect(self._folder / NAME, timeout=WAIT_S)) as database:
                database.executescript(_TABLES)
                with database:
                    yield database
        except sqlite3.DatabaseError as error:
            raise InputError(
                f"'{NAME}' cannot be used ({type(error).__name__}).", "Name another folder, or restore it from a copy."
            ) from None
