"""Reports: what was measured of a project, under the id of the job that measured it. Knows nothing of their content."""

from dataclasses import fields
from typing import Any

from sqlalchemy import ColumnElement, and_, select

from edgewise.errors import NotFound
from edgewise.services.store.database import columns_of, now, read_as
from edgewise.services.store.llm_runs import LlmRuns
from edgewise.services.store.records import Instructions, Json, Report
from edgewise.services.store.tables import instructions, llm_runs, reports

COLUMNS = [reports.c[f.name] for f in fields(Report)]


class Reports(LlmRuns):
    """Queries on reports."""

    def begin_report(self, key: int, id: str, kind: str) -> Report:
        """The job's report, empty if it has not begun one: a job that runs again finds what it wrote down before."""
        fresh = Report(id, key, kind, now())
        with self._write() as connection:
            self._hold(connection, key)
            mine = select(*COLUMNS).where(_of(key, id))
            row = connection.execute(mine).one_or_none()
            if row is not None:
                return read_as(Report, row)
            connection.execute(reports.insert().values(columns_of(fresh)))
        return fresh

    def update_report(self, key: int, id: str, **facts: Any) -> None:
        """Set these fields of a report."""
        with self._write() as connection:
            connection.execute(reports.update().where(_of(key, id)).values(facts))

    def finish_report(self, key: int, id: str, content: Json) -> None:
        """Keep what was measured: the report is listed from now on. Again is harmless."""
        self.update_report(key, id, content=content, finished_at=now())

    def report(self, key: int, id: str) -> Report:
        """A finished report. NotFound if there is none of this id, or not yet."""
        with self._read() as connection:
            mine = select(*COLUMNS).where(_of(key, id), reports.c.finished_at.is_not(None))
            row = connection.execute(mine).one_or_none()
        if row is None:
            raise NotFound(f"Project {key} has no report {id!r}.", "See /projects/<id>/reports for those it has.")
        return read_as(Report, row)

    def reports(self, key: int, limit: int, kind: str | None = None) -> list[Report]:
        """The newest finished reports, newest first; of one kind where it is named."""
        wanted = [reports.c.project_key == key, reports.c.finished_at.is_not(None)]
        if kind is not None:
            wanted.append(reports.c.kind == kind)
        mine = select(*COLUMNS).where(*wanted).order_by(reports.c.created_at.desc(), reports.c.id).limit(limit)
        with self._read() as connection:
            return [read_as(Report, row) for row in connection.execute(mine)]

    def spent(self) -> dict[int, list[Json]]:
        """What language models cost, by project: of each run and each report, as it was written down."""
        found: dict[int, list[Json]] = {}
        with self._read() as connection:
            for table in (llm_runs, reports):
                for key, spend in connection.execute(select(table.c.project_key, table.c.spend)):
                    found.setdefault(key, []).extend([spend] if spend else [])
        return found

    def told(self, key: int, version: int) -> Instructions | None:
        """This version of what the language model was told; None if there never was one."""
        mine = and_(instructions.c.project_key == key, instructions.c.version == version)
        with self._read() as connection:
            row = connection.execute(instructions.select().where(mine)).one_or_none()
        return None if row is None else read_as(Instructions, row)


def _of(key: int, id: str) -> ColumnElement[bool]:
    return and_(reports.c.project_key == key, reports.c.id == id)
