"""Tasks with their annotations: what Label Studio has, as last seen, and which tasks are open.

Does not know how an example is made of annotations: callers bring its digest with the task.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, case, func, select

from edgewise.labels.annotations import Annotation
from edgewise.services.store.database import CHUNK, chunks, columns_of, read_as
from edgewise.services.store.pools import Pools
from edgewise.services.store.records import Task
from edgewise.services.store.tables import (
    annotations,
    dataset_contents,
    dataset_rows,
    llm_demonstrations,
    people,
    prelabels,
    rank_chunks,
    ranks,
    suggestions,
    tasks,
    version_predictions,
)

TASK_COLUMNS = [tasks.c[f.name] for f in fields(Task)]
Known = dict[int, tuple[str, bool | None]]  # task id -> text_key, audit: None while its text was never fetched


class Tasks(Pools):
    """Queries on tasks."""

    def upsert_tasks(self, key: int, new: Sequence[Task], annotated: Mapping[int, Sequence[Annotation]]) -> set[int]:
        """Bring these tasks up to date in one transaction (callers: a page, not a pool), their annotations wholesale:
        a task that `annotated` does not name has none. Returns the ids of those that are new or whose text or
        annotations differ; a second call returns nothing.

        `audit` is fixed when a task's text is first seen: what was learned from must not be examined in. A changed text
        loses its ranks, pre-labels and demonstrations, and what versions said of it.
        """
        by_id = {task.task_id: task for task in new}
        with self._write() as connection:
            self._hold(connection, key)
            known = self._known(connection, key, by_id)
            before = self._annotations(connection, key, by_id)
            after = {i: tuple(sorted(annotated.get(i, ()), key=lambda a: a.id)) for i in by_id}
            retold = {i for i in by_id if before.get(i, ()) != after[i]}
            retexted = {i for i, task in by_id.items() if i in known and known[i][0] != task.text_key}
            rows = [_task_row(key, task, after[i], known) for i, task in sorted(by_id.items())]
            self._put(connection, tasks, rows, keep=("open",))
            for some in chunks(retexted):
                self._unsay(connection, key, some)
                with self._recounting(connection, key, some):
                    for table in (ranks, prelabels, llm_demonstrations, version_predictions):
                        connection.execute(table.delete().where(table.c.project_key == key, table.c.task_id.in_(some)))
            self._replace_annotations(connection, key, {i: after[i] for i in sorted(retold)})
            self._refresh_open(connection, key, by_id)
        return retold | retexted | (by_id.keys() - known.keys())

    def _known(self, connection: Connection, key: int, ids: Iterable[int]) -> Known:
        found: Known = {}
        unread = and_(tasks.c.addresses.is_not(None), tasks.c.problem.is_not(None), tasks.c.digest.is_(None))
        columns = (tasks.c.task_id, tasks.c.text_key, case((unread, None), else_=tasks.c.audit).label("audit"))
        for some in chunks(ids):
            rows = connection.execute(select(*columns).where(tasks.c.project_key == key, tasks.c.task_id.in_(some)))
            found.update({row.task_id: (row.text_key, row.audit) for row in rows})
        return found

    def _annotations(self, connection: Connection, key: int, ids: Iterable[int]) -> dict[int, tuple[Annotation, ...]]:
        found: dict[int, list[Annotation]] = {}
        for some in chunks(ids):
            mine = annotations.select().where(annotations.c.project_key == key, annotations.c.task_id.in_(some))
            for row in connection.execute(mine.order_by(annotations.c.task_id, annotations.c.id)):
                found.setdefault(row.task_id, []).append(read_as(Annotation, row))
        return {task_id: tuple(many) for task_id, many in found.items()}

    def _replace_annotations(self, connection: Connection, key: int, new: Mapping[int, Sequence[Annotation]]) -> None:
        for some in chunks(new):
            old = (annotations.c.project_key == key) & annotations.c.task_id.in_(some)
            connection.execute(annotations.delete().where(old))
        rows = [columns_of(a) | {"project_key": key, "task_id": i} for i, s in new.items() for a in s]
        self._put(connection, annotations, rows)
        same = and_(*(annotations.c[name] == suggestions.c[name] for name in ("project_key", "task_id")))
        there = select(annotations.c.id).where(same, annotations.c.id == suggestions.c.annotation_id).exists()
        for some in chunks(new):
            begun = and_(suggestions.c.project_key == key, suggestions.c.task_id.in_(some))
            connection.execute(suggestions.delete().where(begun, ~there))
        seen = sorted({row["completed_by"] for row in rows if row["completed_by"] is not None})
        known = set(connection.execute(select(people.c.person).where(people.c.project_key == key)).scalars())
        fresh = [person for person in seen if person not in known]
        self._put(connection, people, [{"project_key": key, "person": person} for person in fresh])
        if fresh:  # what everybody had skipped, this person has not
            skipped = select(tasks.c.task_id).where(tasks.c.project_key == key, tasks.c.skippers > 0)
            self._refresh_open(connection, key, connection.execute(skipped).scalars().all())

    def _refresh_open(self, connection: Connection, key: int, ids: Iterable[int]) -> None:
        """Recompute `open` of these tasks, and its copy in their ranks."""
        everybody = select(func.count()).where(people.c.project_key == key).scalar_subquery()
        skipped = and_(tasks.c.finished == 0, tasks.c.skippers > 0, tasks.c.skippers >= everybody)
        is_open = and_(tasks.c.finished < tasks.c.overlap, ~skipped)
        own = and_(tasks.c.project_key == ranks.c.project_key, tasks.c.task_id == ranks.c.task_id)
        theirs = select(tasks.c.open).where(own).scalar_subquery()
        for some in chunks(ids):
            mine = (tasks.c.project_key == key) & tasks.c.task_id.in_(some)
            connection.execute(tasks.update().where(mine, tasks.c.open != is_open).values(open=is_open))
            ranked = (ranks.c.project_key == key) & ranks.c.task_id.in_(some)
            with self._recounting(connection, key, some):
                connection.execute(ranks.update().where(ranked, ranks.c.open != theirs).values(open=theirs))

    def delete_tasks(self, key: int, ids: Iterable[int]) -> None:
        """Forget these tasks, their annotations, their ranks, what versions said of them, and what they say in dataset
        versions."""
        said = version_predictions
        for some in chunks(ids):
            with self._write() as connection:
                self._hold(connection, key)
                self._erase_contents(connection, key, some)
                self._unsay(connection, key, some)
                connection.execute(said.delete().where(said.c.project_key == key, said.c.task_id.in_(some)))
                with self._recounting(connection, key, some):
                    connection.execute(tasks.delete().where(tasks.c.project_key == key, tasks.c.task_id.in_(some)))

    def _unsay(self, connection: Connection, key: int, ids: Sequence[int]) -> None:
        """What a head's chunks say of these tasks holds words of theirs: such a chunk is scored again. Whoever is at
        one loses it, as these words may have been read."""
        among = and_(rank_chunks.c.first <= max(ids), rank_chunks.c.last >= min(ids), rank_chunks.c.tasks.is_not(None))
        again = rank_chunks.update().where(rank_chunks.c.project_key == key, among)
        connection.execute(again.values(said=None, holder=None, attempt=None))

    def _erase_contents(self, connection: Connection, key: int, ids: Sequence[int]) -> None:
        """Erase the contents of these tasks in all versions, unless another task that is there says just the same."""
        rows, body = dataset_rows, dataset_contents
        mine = rows.c.project_key == key
        theirs = select(rows.c.content).where(mine, rows.c.task_id.in_(ids))
        there = and_(tasks.c.project_key == rows.c.project_key, tasks.c.task_id == rows.c.task_id)
        same = and_(mine, rows.c.content == body.c.content, rows.c.task_id.not_in(ids))
        shared = select(rows.c.task_id).where(same, select(tasks.c.task_id).where(there).exists()).exists()
        connection.execute(body.delete().where(body.c.project_key == key, body.c.content.in_(theirs), ~shared))

    def task_ids(self, key: int) -> set[int]:
        """All tasks of the project."""
        with self._read() as connection:
            return set(connection.execute(select(tasks.c.task_id).where(tasks.c.project_key == key)).scalars())

    def unfetched(self, key: int) -> set[int]:
        """Tasks whose text lies elsewhere and could not be fetched, or not read."""
        wanted = and_(tasks.c.project_key == key, tasks.c.addresses.is_not(None), tasks.c.problem.is_not(None))
        with self._read() as connection:
            return set(connection.execute(select(tasks.c.task_id).where(wanted)).scalars())

    def open_task_ids(self, key: int, audit: bool | None = None) -> list[int]:
        """The open tasks, ascending; only (no) audit tasks where `audit` says so."""
        wanted = [tasks.c.project_key == key, tasks.c.open.is_(True)]
        if audit is not None:
            wanted.append(tasks.c.audit.is_(audit))
        with self._read() as connection:
            found = connection.execute(select(tasks.c.task_id).where(*wanted).order_by(tasks.c.task_id))
            return list(found.scalars())

    def tasks(self, key: int, ids: Iterable[int]) -> dict[int, Task]:
        """Those of these tasks that we know, by id, in the order asked."""
        asked = list(dict.fromkeys(ids))
        found: dict[int, Task] = {}
        for some in chunks(asked):
            with self._read() as connection:
                mine = select(*TASK_COLUMNS).where(tasks.c.project_key == key, tasks.c.task_id.in_(some))
                found.update({row.task_id: read_as(Task, row) for row in connection.execute(mine)})
        return {task_id: found[task_id] for task_id in asked if task_id in found}

    def labelled(self, key: int) -> Iterator[tuple[Task, list[Annotation]]]:
        """Tasks that have a training example (audit tasks too), ascending, with all their annotations.
        Read page by page: what changes meanwhile may or may not be seen."""
        return self._annotated(key, tasks.c.digest.is_not(None))

    def examined(self, key: int) -> Iterator[tuple[Task, list[Annotation]]]:
        """As labelled(), of the audit tasks alone."""
        return self._annotated(key, and_(tasks.c.digest.is_not(None), tasks.c.audit.is_(True)))

    def annotated(self, key: int) -> Iterator[tuple[Task, list[Annotation]]]:
        """As labelled(), of all tasks with any annotation, whether it teaches or not."""
        own = and_(annotations.c.project_key == tasks.c.project_key, annotations.c.task_id == tasks.c.task_id)
        return self._annotated(key, select(annotations.c.id).where(own).exists())

    def _annotated(self, key: int, wanted: ColumnElement[bool]) -> Iterator[tuple[Task, list[Annotation]]]:
        last = None
        while True:
            page = (
                select(*TASK_COLUMNS).where(tasks.c.project_key == key, wanted).order_by(tasks.c.task_id).limit(CHUNK)
            )
            with self._read() as connection:
                rows = connection.execute(page if last is None else page.where(tasks.c.task_id > last)).all()
                theirs = self._annotations(connection, key, [row.task_id for row in rows])
            yield from ((read_as(Task, row), list(theirs.get(row.task_id, ()))) for row in rows)
            if len(rows) < CHUNK:
                return
            last = rows[-1].task_id

    def counts(self, key: int) -> dict[str, int]:
        """How many: tasks, audit, open, open_audit, labelled (not audit), audit_labelled, problems, people."""
        labelled, audit, is_open = tasks.c.digest.is_not(None), tasks.c.audit.is_(True), tasks.c.open.is_(True)
        conditions: dict[str, ColumnElement[bool]] = {
            "tasks": tasks.c.task_id.is_not(None),
            "audit": audit,
            "open": is_open,
            "open_audit": and_(is_open, audit),
            "labelled": and_(labelled, tasks.c.audit.is_(False)),
            "audit_labelled": and_(labelled, audit),
            "problems": tasks.c.problem.is_not(None),
        }
        sums = [func.coalesce(func.sum(case((c, 1), else_=0)), 0).label(name) for name, c in conditions.items()]
        with self._read() as connection:
            row = connection.execute(select(*sums).where(tasks.c.project_key == key)).one()
            seen = connection.execute(select(func.count()).where(people.c.project_key == key)).scalar_one()
        return {name: int(value) for name, value in row._mapping.items()} | {"people": int(seen)}

    def watched_counts(self) -> dict[int, dict[str, int]]:
        """The same of all projects, as far as indexes tell: tasks, open, labelled (not audit), audit_labelled."""
        labelled, audit = tasks.c.digest.is_not(None), tasks.c.audit
        conditions: dict[str, list[ColumnElement[bool]]] = {
            "tasks": [],
            "open": [tasks.c.open.is_(True)],
            "labelled": [labelled, audit.is_(False)],
            "audit_labelled": [labelled, audit.is_(True)],
        }
        found: dict[int, dict[str, int]] = {}
        with self._read() as connection:
            for name, wanted in conditions.items():
                counting = select(tasks.c.project_key, func.count()).where(*wanted).group_by(tasks.c.project_key)
                for key, count in connection.execute(counting):
                    found.setdefault(key, dict.fromkeys(conditions, 0))[name] = int(count)
        return found

    def set_problems(self, key: int, problems: Mapping[int, str | None]) -> None:
        """Say of each task why we cannot predict it, or None: we can."""
        mine = (tasks.c.project_key == key) & (tasks.c.task_id == bindparam("id"))
        setting = tasks.update().where(mine).values(problem=bindparam("value"))
        for some in chunks(sorted(problems.items())):
            with self._write() as connection:
                connection.execute(setting, [{"id": task_id, "value": value} for task_id, value in some])

    def problems(self, key: int, limit: int) -> dict[int, str]:
        """Tasks that cannot be predicted, and why."""
        mine = select(tasks.c.task_id, tasks.c.problem).where(tasks.c.project_key == key, tasks.c.problem.is_not(None))
        with self._read() as connection:
            rows = connection.execute(mine.order_by(tasks.c.task_id).limit(limit))
            return {row.task_id: row.problem for row in rows}


def _task_row(key: int, task: Task, theirs: Sequence[Annotation], known: Known) -> dict[str, Any]:
    _, audit = known.get(task.task_id, (None, None))
    return columns_of(task) | {
        "project_key": key,
        "audit": task.audit if audit is None else audit,
        "finished": sum(not a.was_cancelled for a in theirs),
        "skippers": len({a.completed_by for a in theirs if a.was_cancelled}),
        "open": True,  # of a new row, until _refresh_open
    }
