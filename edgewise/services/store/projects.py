"""Projects: what we know of each, and their end. Knows nothing of how Label Studio is asked."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.exc import IntegrityError

from edgewise.errors import NotFound
from edgewise.services.store.database import CHUNK, Database, read_as
from edgewise.services.store.records import Project
from edgewise.services.store.tables import (
    annotations,
    arithmetics,
    dataset_contents,
    dataset_rows,
    datasets,
    improvements,
    instructions,
    jobs,
    llm_answers,
    llm_demonstrations,
    llm_runs,
    llm_texts,
    people,
    pools,
    prelabels,
    projects,
    rank_chunks,
    ranks,
    releases,
    reports,
    snapshot_rows,
    snapshots,
    suggestions,
    tasks,
    version_predictions,
    versions,
)

CHILDREN = (
    *(prelabels, llm_answers, llm_texts, llm_demonstrations, llm_runs, improvements, instructions, reports),
    *(dataset_contents, dataset_rows, datasets),
    *(
        rank_chunks,
        pools,
        ranks,
        suggestions,
        annotations,
        tasks,
        people,
        snapshot_rows,
        snapshots,
        version_predictions,
        arithmetics,
        versions,
        releases,
    ),
)
ENDED = ("done", "failed", "cancelled")


class Projects(Database):
    """Queries on projects."""

    def record_project(
        self, address: str, ls_id: int, created_at: str, *, title: str = "", label_config: str = ""
    ) -> Project:
        """The project of this address, id and created_at, made if it is new. Title and config are brought up to date
        where given. The same address and id with another created_at is another project: the older row becomes gone."""
        fresh = {name: value for name, value in (("title", title), ("label_config", label_config)) if value}
        while True:
            try:
                with self._write() as connection:
                    return self._record(connection, (address, ls_id, created_at), fresh)
            except IntegrityError:  # PostgreSQL: somebody recorded it at this moment; now we find theirs
                continue

    def _record(self, connection: Connection, identity: tuple[str, int, str], fresh: dict[str, Any]) -> Project:
        address, ls_id, created_at = identity
        here = (projects.c.address == address) & (projects.c.ls_id == ls_id) & (projects.c.state != "gone")
        stale = here & (projects.c.created_at != created_at)
        connection.execute(projects.update().where(stale).values(state="gone"))
        found = connection.execute(projects.select().where(here)).one_or_none()
        if found is None:
            blank = Project(0, address, ls_id, created_at)
            row = {c.name: getattr(blank, c.name) for c in projects.columns if c.name != "key"} | fresh
            found = connection.execute(projects.insert().values(row).returning(*projects.columns)).one()
        elif any(found._mapping[name] != value for name, value in fresh.items()):
            changing = projects.update().where(projects.c.key == found.key).values(fresh)
            found = connection.execute(changing.returning(*projects.columns)).one()
        return read_as(Project, found)

    def project(self, key: int) -> Project:
        """The project of this key. NotFound if there is none (any more)."""
        with self._read() as connection:
            row = connection.execute(projects.select().where(projects.c.key == key)).one_or_none()
        if row is None:
            raise _unknown(key)
        return read_as(Project, row)

    def find_project(self, address: str, ls_id: int) -> Project | None:
        """The project of this address and id that is not gone."""
        here = (projects.c.address == address) & (projects.c.ls_id == ls_id) & (projects.c.state != "gone")
        with self._read() as connection:
            row = connection.execute(projects.select().where(here)).one_or_none()
        return None if row is None else read_as(Project, row)

    def projects(self) -> list[Project]:
        """All projects, gone ones too, oldest first."""
        with self._read() as connection:
            return [read_as(Project, row) for row in connection.execute(projects.select().order_by(projects.c.key))]

    def update_project(self, key: int, **fields: Any) -> Project:
        """Set these fields. NotFound if there is no such project."""
        with self._write() as connection:
            changing = projects.update().where(projects.c.key == key).values(fields).returning(*projects.columns)
            row = connection.execute(changing).one_or_none()
        if row is None:
            raise _unknown(key)
        return read_as(Project, row)

    def remember_connection(self, key: int, facts: Mapping[str, Any]) -> Project:
        """Add to what is known of the connection; what others add meanwhile stays. NotFound if it is not there."""
        mine = projects.c.key == key
        with self._write() as connection:
            self._hold(connection, key)
            known = connection.execute(select(projects.c.connection).where(mine)).scalar_one()
            changing = projects.update().where(mine).values(connection={**known, **facts})
            row = connection.execute(changing.returning(*projects.columns)).one()
        return read_as(Project, row)

    def erase_project(self, key: int) -> None:
        """Forget all of it, in small steps, its row last: called again it goes on where it was interrupted.
        Jobs that wait or run stay: the one that erases is among them."""
        while True:
            for table in CHILDREN:
                keys = (c for c in table.primary_key if c.name != "project_key")
                own = table.c.get("task_id", next(keys, table.c.project_key))
                some = select(own).where(table.c.project_key == key).limit(CHUNK)
                while self._delete(table.delete().where(table.c.project_key == key, own.in_(some.scalar_subquery()))):
                    pass
            try:
                self._delete(projects.delete().where(projects.c.key == key))
            except IntegrityError:  # somebody still wrote into it: once more
                continue
            self._delete(jobs.delete().where(jobs.c.project_key == key, jobs.c.state.in_(ENDED)))
            return

    def _delete(self, statement: Any) -> int:
        with self._write() as connection:
            return connection.execute(statement).rowcount

    def _hold(self, connection: Connection, key: int) -> None:
        """Nobody else writes into this project until the transaction ends. NotFound if it was erased meanwhile."""
        row = select(projects.c.key).where(projects.c.key == key).with_for_update(key_share=True)
        if connection.execute(row).one_or_none() is None:
            raise _unknown(key)


def _unknown(key: int) -> NotFound:
    return NotFound(f"There is no project {key} here.", "Connect it again from Label Studio, or see /dashboard.")
