"""Dataset versions: exactly what a training used, by content hash, and what changed between two of them.

A version is rows, each a key (a task's id, a row's number) and the hash of its content: the texts and what is labelled
in them. Pure; where versions are kept is the business of whoever keeps them.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import Any

from edgewise.errors import Conflict, NotFound
from edgewise.labels.spans import Span


@dataclass(frozen=True, slots=True)
class Content:
    """What a row teaches. texts: by field; labels: by head, spans or choices, in text order."""

    texts: Mapping[str, str]
    labels: Mapping[str, tuple[Span, ...]]

    @property
    def body(self) -> dict[str, Any]:
        """As JSON."""
        labels = {name: [[s.start, s.end, s.label] for s in sorted(spans)] for name, spans in self.labels.items()}
        return {"texts": dict(self.texts), "labels": labels}

    @property
    def digest(self) -> str:
        """Hash of all of it."""
        return _digest(self.body)

    @property
    def text_digest(self) -> str:
        """Hash of the texts alone."""
        return _digest(dict(self.texts))


def content_of(body: Mapping[str, Any]) -> Content:
    """A content from its JSON."""
    return Content(body["texts"], {name: tuple(Span(*one) for one in spans) for name, spans in body["labels"].items()})


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """One row of a version: its key, the hash of its texts, and that of texts and labels."""

    key: str
    text: str
    content: str


@dataclass(frozen=True, slots=True)
class DatasetVersion:
    """A version. id: hash of config and contents; parents: the versions that it was made from; config: hash of the
    heads; label_counts: by head; source: for people, such as a file's name; models: those that were trained on it."""

    id: str
    created_at: datetime
    size: int
    parents: tuple[str, ...] = ()
    config: str = ""
    label_counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    source: str = ""
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """Keys of the rows that differ. retexted: the text itself is another under the same key."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    relabelled: tuple[str, ...] = ()
    retexted: tuple[str, ...] = ()
    same: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """How many of each."""
        names = ("added", "removed", "relabelled", "retexted")
        return {name: len(getattr(self, name)) for name in names} | {"same": self.same}


def version_id(config: str, contents: Iterable[str]) -> str:
    """12 hex characters for a head's digest and the digests of all rows' contents, in whatever order."""
    return blake2b("\n".join([config, *sorted(contents)]).encode(), digest_size=6).hexdigest()


def chosen(every: Sequence[DatasetVersion], id: str) -> DatasetVersion:
    """The version whose id begins so, of all versions, newest first; "latest" is the first of them.

    Raises NotFound, or Conflict if several begin so.
    """
    found = every[:1] if id == "latest" else [version for version in every if id and version.id.startswith(id)]
    if not found:
        raise NotFound("There is no such dataset version here.", "See `edgewise dataset list` for those there are.")
    if len(found) > 1:
        raise Conflict(f"{len(found)} dataset versions begin with {id}.", "Give more characters of the id.")
    return found[0]


def row_of(key: str, content: Content) -> DatasetRow:
    """A content under its key."""
    return DatasetRow(key, content.text_digest, content.digest)


def counted(contents: Iterable[Content]) -> dict[str, dict[str, int]]:
    """How often each label occurs, by head; most frequent first."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for content in contents:
        for name, spans in content.labels.items():
            found[name].update(span.label for span in spans)
    return {name: dict(counter.most_common()) for name, counter in found.items()}


def pairs(
    before: Sequence[DatasetRow], after: Sequence[DatasetRow]
) -> tuple[list[tuple[DatasetRow, DatasetRow]], list[DatasetRow], list[DatasetRow]]:
    """Rows of the one with their counterparts in the other; those of `before` and of `after` that have none.

    Counterparts have the same text, first of all under the same key: rows may have moved. What is left is matched by
    key alone: then the text has changed.
    """
    found: list[tuple[DatasetRow, DatasetRow]] = []
    for same in (lambda row: (row.key, row.text), lambda row: row.text, lambda row: row.key):
        waiting = defaultdict(list)
        for row in reversed(before):
            waiting[same(row)].append(row)
        rest = []
        for row in after:
            theirs = waiting[same(row)]
            if theirs:
                found.append((theirs.pop(), row))
            else:
                rest.append(row)
        left = {id(row) for rows in waiting.values() for row in rows}
        before, after = [row for row in before if id(row) in left], rest
    return found, list(before), list(after)


def difference(before: Sequence[DatasetRow], after: Sequence[DatasetRow]) -> Difference:
    """What became of the rows of `before` in `after`. Keys are those of `after` where there is one."""
    matched, gone, new = pairs(before, after)
    retexted = tuple(b.key for a, b in matched if a.text != b.text)
    relabelled = tuple(b.key for a, b in matched if a.text == b.text and a.content != b.content)
    same = len(matched) - len(retexted) - len(relabelled)
    return Difference(tuple(row.key for row in new), tuple(row.key for row in gone), relabelled, retexted, same)


def _digest(value: Any) -> str:
    canonical = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return blake2b(canonical.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
