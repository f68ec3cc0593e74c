"""dataset: the versions of what trainings used, of a project or of files; what differs between two; corrections.

A project's versions are its snapshots, in our database; those of files are in a folder. Either way a version names its
parents and the models that were trained on it. Knows nothing of how models are trained.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgewise.files.rows import Row, Unique
from edgewise.files.tables import table
from edgewise.files.texts import text_of_row
from edgewise.files.versions import Versions
from edgewise.labels.datasets import Content, DatasetRow, DatasetVersion, Difference, chosen, difference
from edgewise.labels.schema import Head, digest
from edgewise.labels.spans import Document, Span
from edgewise.services.store import Project
from edgewise.verbs.files.labelled import Columns, head_for, labels_in, spans_in
from edgewise.verbs.lessons import Lesson
from edgewise.verbs.system import System


class Kept(Protocol):
    """Where versions are: a folder of files, or a project."""

    def all(self) -> list[DatasetVersion]:
        """All versions, newest first."""

    def version(self, id: str) -> DatasetVersion:
        """The version whose id begins so, or "latest". NotFound, Conflict."""

    def rows(self, id: str) -> list[DatasetRow]:
        """Its rows."""


class ProjectVersions:
    """The dataset versions of a project."""

    def __init__(self, system: System, project: Project) -> None:
        self._store = system.store
        self._key = project.key

    def all(self) -> list[DatasetVersion]:
        """All versions, newest first."""
        return self._store.datasets(self._key)

    def version(self, id: str) -> DatasetVersion:
        """The version whose id begins so, or "latest". NotFound, Conflict."""
        return chosen(self.all(), id)

    def rows(self, id: str) -> list[DatasetRow]:
        """Its rows, by task id."""
        return self._store.dataset_rows(self._key, id)


def diff(kept: Kept, before: str, after: str) -> Difference:
    """What changed from one version to another: keys of rows that were added, removed, relabelled."""
    first, second = kept.version(before), kept.version(after)
    return difference(kept.rows(first.id), kept.rows(second.id))


def keep_lessons(system: System, project: Project, snapshot: str, lessons: Sequence[Lesson]) -> None:
    """Keep what a project's training uses as a dataset version, under its snapshot's hash."""
    texts: dict[int, dict[str, str]] = {}
    labels: dict[int, dict[str, tuple[Span, ...]]] = {}
    for lesson in lessons:
        for task_id, document in zip(lesson.ids, lesson.documents, strict=True):
            texts.setdefault(task_id, {})[lesson.head.field] = document.text
            labels.setdefault(task_id, {})[lesson.head.from_name] = document.spans
    contents = {task_id: Content(texts[task_id], labels[task_id]) for task_id in sorted(texts)}
    before = [version.id for version in system.store.datasets(project.key) if version.id != snapshot][:1]
    config = digest([lesson.head.digest for lesson in lessons])
    system.store.add_dataset(project.key, snapshot, contents, config=config, parents=before)


def keep_documents(folder: Path, head: Head, documents: Iterable[Document], *, source: str) -> DatasetVersion:
    """Keep what a training on a file uses; its rows are counted from 1. source: the file's name."""
    rows = {str(number): content(one, head.from_name) for number, one in enumerate(documents, start=1)}
    kept = Versions(folder)
    return kept.keep(rows, config=head.digest, parents=[version.id for version in kept.all()[:1]], source=source)


def content(document: Document, name: str) -> Content:
    """A document of one head as content."""
    return Content({"text": document.text}, {name: document.spans})


@dataclass(frozen=True, slots=True)
class Corrections:
    """A corrected file: where its texts and labels are. id: the column that says which row it is; without it a row is
    that with the same text. labels: the set; empty for the labels of the version that is corrected."""

    file: Path
    columns: Columns
    id: str | None = None
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Merged:
    """The version with the corrections in it, what they changed, and how many rows had been erased before."""

    version: DatasetVersion
    changed: Difference
    erased: int


def merge(folder: Path, corrections: Corrections, *, base: str = "latest") -> Merged:
    """Corrected rows over those of a version, as a new version whose parent it is.

    Rows that the file does not have stay; one whose label is empty is taken out; a new one is added. Without any
    version in the folder the file's labelled rows are the first. Raises DataError for a row that is wrong.
    """
    kept = Versions(folder)
    parent = kept.version(base) if base != "latest" or kept.all() else None
    before = kept.rows(parent.id) if parent else []
    there = kept.contents(row.content for row in before) if before else {}
    rows = {row.key: there[row.content] for row in before if row.content in there}
    head = _head(corrections, parent)
    found = _read(corrections, head)
    _apply(rows, found, by_text=corrections.id is None)
    config = parent.config if parent and set(head.labels) <= _labels(parent) else head.digest
    parents = [parent.id] if parent else []
    made = kept.keep(rows, config=config, parents=parents, source=corrections.file.name)
    return Merged(made, difference(before, kept.rows(made.id)), len(before) - sum(r.content in there for r in before))


def _labels(version: DatasetVersion) -> set[str]:
    return {label for counts in version.label_counts.values() for label in counts}


def _head(corrections: Corrections, parent: DatasetVersion | None) -> Head:
    """The head that is corrected, with the labels that may be used."""
    columns = corrections.columns
    names = list(parent.label_counts) if parent else []
    labels = corrections.labels or (sorted(_labels(parent)) if parent else ())
    if not labels:
        labels = tuple(labels_in(table(corrections.file, columns=[*columns.text, columns.label]), columns))
    return head_for(columns.kind, labels, name=names[0] if names else columns.label)


def _read(corrections: Corrections, head: Head) -> list[tuple[str, str, Content | None]]:
    """Key, text and content of each row; None: nobody has labelled it (any more)."""
    columns = corrections.columns
    needed = [*columns.text, columns.label, *([corrections.id] if corrections.id else [])]
    unique = Unique(corrections.id) if corrections.id else None
    found: list[tuple[str, str, Content | None]] = []
    for row in table(corrections.file, columns=needed):
        if unique:
            unique.check(row)
        text = text_of_row(row.values, columns.text)
        spans = spans_in(row, columns, head.labels)
        made = None if spans is None else content(Document(text, spans), head.from_name)
        found.append((_key(row, corrections.id), text, made))
    return found


def _key(row: Row, column: str | None) -> str:
    return row.values[column] if column else str(row.number)


def _apply(rows: dict[str, Content], found: Sequence[tuple[str, str, Content | None]], *, by_text: bool) -> None:
    """Put the corrections into the rows. By text: the n-th row of a text is the n-th of that text there."""
    waiting: dict[str, list[str]] = {}
    for key, one in reversed(rows.items()):
        waiting.setdefault(one.texts.get("text", ""), []).append(key)
    last = max((int(key) for key in rows if key.isdecimal()), default=0)
    for key, text, made in found:
        if by_text:
            places = waiting.get(text)
            last += not places
            key = places.pop() if places else str(last)
        if made is None:
            rows.pop(key, None)
        else:
            rows[key] = made
