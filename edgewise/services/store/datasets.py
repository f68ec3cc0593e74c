"""Dataset versions of projects: what each training used, with its texts and labels.

A content is kept once, whatever versions have it; a version has its hash only. Contents of a task go when the task is
forgotten (Tasks.delete_tasks, Erasures); the hashes stay, so that versions can still be compared.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from sqlalchemy import Connection, and_, select

from edgewise.errors import NotFound
from edgewise.labels.datasets import Content, DatasetRow, DatasetVersion, content_of, counted, row_of
from edgewise.services.store.database import WRITE_CHUNK, chunks, now
from edgewise.services.store.rank_chunks import RankChunks
from edgewise.services.store.tables import (
    annotations,
    dataset_contents,
    dataset_rows,
    datasets,
    snapshot_rows,
    tasks,
    versions,
)


class Datasets(RankChunks):
    """Queries on dataset versions."""

    def add_dataset(
        self, key: int, id: str, contents: Mapping[int, Content], *, config: str, parents: Iterable[str] = ()
    ) -> None:
        """Keep what a training used, by task. id: its snapshot's hash; the same id again is the same version.

        It is listed only when all of it is there. What a task or an annotation said that is gone by now is not kept.
        """
        for some in chunks(contents.items(), WRITE_CHUNK):
            named = [(task_id, row_of(str(task_id), content), content) for task_id, content in some]
            rows = [
                {"project_key": key, "dataset": id, "task_id": task_id, "text": row.text, "content": row.content}
                for task_id, row, _ in named
            ]
            with self._write() as connection:
                self._hold(connection, key)
                there = self._still_said(connection, key, id, [task_id for task_id, _, _ in named])
                bodies = {row.content: content.body for task_id, row, content in named if task_id in there}
                kept = [
                    {"project_key": key, "content": digest, "body": body} for digest, body in sorted(bodies.items())
                ]
                self._put(connection, dataset_contents, kept)
                self._put(connection, dataset_rows, rows)
        row = {
            "project_key": key,
            "id": id,
            "created_at": now(),
            "size": len(contents),
            "parents": list(parents),
            "config": config,
            "label_counts": counted(contents.values()),
        }
        with self._write() as connection:
            self._hold(connection, key)
            self._put(connection, datasets, [row], keep=("created_at", "parents"))

    def _still_said(self, connection: Connection, key: int, id: str, ids: Sequence[int]) -> set[int]:
        """Those of these tasks that are there, with the annotations that the snapshot has of them."""
        there = self._annotation_ids(connection, key, ids)
        same = and_(snapshot_rows.c.project_key == key, snapshot_rows.c.hash == id, snapshot_rows.c.task_id.in_(ids))
        rows = connection.execute(select(snapshot_rows.c.task_id, snapshot_rows.c.annotation_ids).where(same))
        return there.keys() - {task for task, taught in rows if task in there and not there[task].issuperset(taught)}

    def _annotation_ids(self, connection: Connection, key: int, ids: Collection[int]) -> dict[int, set[int]]:
        """The annotations of these tasks; of those that are there."""
        found: dict[int, set[int]] = {}
        both = and_(annotations.c.project_key == tasks.c.project_key, annotations.c.task_id == tasks.c.task_id)
        pair = select(tasks.c.task_id, annotations.c.id).outerjoin(annotations, both).where(tasks.c.project_key == key)
        for some in chunks(ids):
            for task_id, annotation in connection.execute(pair.where(tasks.c.task_id.in_(some))):
                found.setdefault(task_id, set()).update(() if annotation is None else (annotation,))
        return found

    def datasets(self, key: int) -> list[DatasetVersion]:
        """The project's dataset versions, newest first, each with the model versions that were trained on it."""
        mine = datasets.select().where(datasets.c.project_key == key).order_by(datasets.c.created_at.desc())
        trained = select(versions.c.snapshot, versions.c.id).where(versions.c.project_key == key)
        with self._read() as connection:
            rows = connection.execute(mine).all()
            models = connection.execute(trained.order_by(versions.c.created_at)).all()
        return [
            DatasetVersion(
                id=row.id,
                created_at=row.created_at,
                size=row.size,
                parents=tuple(row.parents),
                config=row.config,
                label_counts=row.label_counts,
                models=tuple(model.id for model in models if model.snapshot == row.id),
            )
            for row in rows
        ]

    def dataset_rows(self, key: int, id: str) -> list[DatasetRow]:
        """The rows of a version, by task id. NotFound if there is no such version."""
        mine = datasets.select().where(datasets.c.project_key == key, datasets.c.id == id)
        of_it = dataset_rows.select().where(dataset_rows.c.project_key == key, dataset_rows.c.dataset == id)
        with self._read() as connection:
            if connection.execute(mine).one_or_none() is None:
                raise NotFound(f"There is no dataset version {id!r}.", "See `edgewise dataset list`.")
            rows = connection.execute(of_it.order_by(dataset_rows.c.task_id))
            return [DatasetRow(str(row.task_id), row.text, row.content) for row in rows]

    def dataset_contents(self, key: int, digests: Iterable[str]) -> dict[str, Content]:
        """The contents of these hashes that are still kept."""
        found: dict[str, Content] = {}
        for some in chunks(digests):
            mine = (dataset_contents.c.project_key == key) & dataset_contents.c.content.in_(some)
            with self._read() as connection:
                rows = connection.execute(dataset_contents.select().where(mine))
                found |= {row.content: content_of(row.body) for row in rows}
        return found
