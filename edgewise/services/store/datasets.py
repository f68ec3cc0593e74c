"""Dataset versions of projects: what each training used, with its texts and labels.

A content is kept once, whatever versions have it; a version has its hash only. Contents of a task go when the task is
forgotten (Tasks.delete_tasks); the hashes stay, so that versions can still be compared.
"""

from collections.abc import Iterable, Mapping

from sqlalchemy import select

from edgewise.errors import NotFound
from edgewise.labels.datasets import Content, DatasetRow, DatasetVersion, content_of, counted, row_of
from edgewise.services.store.database import WRITE_CHUNK, chunks, now
from edgewise.services.store.queue import JobsTable
from edgewise.services.store.tables import dataset_contents, dataset_rows, datasets, tasks, versions


class Datasets(JobsTable):
    """Queries on dataset versions."""

    def add_dataset(
        self, key: int, id: str, contents: Mapping[int, Content], *, config: str, parents: Iterable[str] = ()
    ) -> None:
        """Keep what a training used, by task. id: its snapshot's hash; the same id again is the same version.

        It is listed only when all of it is there. What a task said that is gone by now is not kept.
        """
        for some in chunks(contents.items(), WRITE_CHUNK):
            named = [(task_id, row_of(str(task_id), content), content) for task_id, content in some]
            rows = [
                {"project_key": key, "dataset": id, "task_id": task_id, "text": row.text, "content": row.content}
                for task_id, row, _ in named
            ]
            with self._write() as connection:
                self._hold(connection, key)
                here = (tasks.c.project_key == key) & tasks.c.task_id.in_([task_id for task_id, _, _ in named])
                there = set(connection.execute(select(tasks.c.task_id).where(here)).scalars())
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
