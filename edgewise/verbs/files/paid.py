"""What language models answered about files: paid answers by question, and what each run has spent.

One SQLite file in DATA_DIR; no project, no server. A run is known by whom it asks, how, and about which file, so that
one which was killed goes on with its budget where it stood, and pays for nothing twice. Delete the file to forget all.
"""

import json
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import Any

from edgewise.services.llm import Chat
from edgewise.settings import Settings
from edgewise.verbs.spending import NOTHING, WrittenBudget

NAME = "file-answers.db"
BUSY_S = 30.0  # another run of ours may be writing
TABLES = """
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, record TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS runs (
    run TEXT PRIMARY KEY, started_at TEXT NOT NULL, endpoint TEXT NOT NULL, model TEXT NOT NULL, spent TEXT NOT NULL
);
"""


class PaidAnswers:
    """llm_prelabel's cache, and the budget, of one run over files. Safe to share between threads.

    how: what it asks, and about which columns. budget: the settings' limits less what the run has spent before.
    """

    def __init__(self, settings: Settings, chat: Chat, how: Sequence[str], files: Sequence[Path | None]) -> None:
        asking = [chat.endpoint, chat.model, settings.llm_codec, *how]
        said = [*asking, *(digest_of(file) for file in files if file)]
        run = blake2b("|".join(said).encode(), digest_size=8).hexdigest()
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        self._run, self._lock = run, threading.Lock()
        path = settings.data_dir / NAME
        self._db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        self._db.executescript(TABLES)
        moment = datetime.now(UTC).isoformat(timespec="seconds")
        row = (run, moment, chat.endpoint, chat.model, json.dumps(NOTHING))
        self._db.execute("INSERT OR IGNORE INTO runs VALUES (?, ?, ?, ?, ?)", row)
        before = self._one("SELECT spent FROM runs WHERE run = ?", run)
        self.budget = WrittenBudget(settings, json.loads(before or "{}"), self._note)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def get(self, key: str) -> Mapping[str, Any] | None:
        """The record under a question's key."""
        record = self._one("SELECT record FROM answers WHERE key = ?", key)
        return json.loads(record) if record else None

    def put(self, key: str, record: Mapping[str, Any], texts: Sequence[str]) -> None:
        """Keep a record for good."""
        with self._lock:
            self._db.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (key, json.dumps(record)))

    def _note(self, spent: Mapping[str, Any]) -> None:
        with self._lock:
            self._db.execute("UPDATE runs SET spent = ? WHERE run = ?", (json.dumps(spent), self._run))

    def _one(self, query: str, value: str) -> str | None:
        with self._lock, closing(self._db.execute(query, (value,))) as found:
            row = found.fetchone()
        return row[0] if row else None


def digest_of(file: Path) -> str:
    """What stands in a file or a dataset folder, as a hash."""
    total = blake2b(digest_size=8)
    for one in sorted(file.rglob("*")) if file.is_dir() else [file]:
        if one.is_file():
            with one.open("rb") as content:
                total.update(file_digest(content, "sha256").digest())
    return total.hexdigest()
