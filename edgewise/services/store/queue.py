"""The jobs table: which verb waits, runs or has ended. Knows nothing of processes, threads or Redis.

One running and at most one waiting for each project and kind, held by unique indexes; of all kinds that ask a language
model one running for each project. `attempts` is the fence: each start raises it, and who started attempt n cannot
write once attempt n + 1 has begun, or the job was put back.
"""

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import ColumnElement, Connection, FromClause, Row, and_, func, literal, or_, select
from sqlalchemy.exc import IntegrityError

from edgewise.errors import NotFound
from edgewise.services.store.database import now, read_as
from edgewise.services.store.projects import ENDED
from edgewise.services.store.records import Job, Json
from edgewise.services.store.reports import Reports
from edgewise.services.store.tables import jobs, projects

ALWAYS = {"connect", "forget", "doctor", "pause", "resume"}  # kinds that run for a project that is paused or gone
ASKING = {"prelabel", "plan", "improve", "evaluate-llm"}  # they ask a language model, on budgets and answers they share
HELPERS_LANE = "score"
KEPT = timedelta(days=7)  # how long a job that has ended is remembered

_sibling = jobs.alias("sibling")


class JobsTable(Reports):
    """Queries on jobs."""

    def add_job(
        self,
        kind: str,
        project_key: int | None,
        *,
        lane: str,
        args: Json | None = None,
        run_after: datetime | None = None,
    ) -> Job:
        """The one waiting job of this project and kind, made if there was none. One that waited already starts at
        the earlier of the two times, with the newer `args` where these are given."""
        row = dict.fromkeys((c.name for c in jobs.columns), None) | {
            "id": uuid4().hex, "project_key": project_key, "kind": kind, "lane": lane, "state": "queued",
            "args": args or {}, "attempts": 0, "faults": 0, "progress": 0.0, "message": "", "run_after": run_after,
        }  # fmt: skip
        while True:
            with self._write() as connection:
                row["created_at"] = now()
                adding = self._upsert(jobs).values(row).on_conflict_do_nothing().returning(*jobs.columns)
                added = connection.execute(adding).one_or_none() or self._hasten(connection, row, args)
            if added is not None:
                return read_as(Job, added)

    def _hasten(self, connection: Connection, new: Json, args: Json | None) -> Row[Any] | None:
        """Bring the waiting job forward; None if it was started or cancelled just now."""
        waits = and_(_same(new["project_key"], new["kind"]), jobs.c.state == "queued")
        found = connection.execute(jobs.select().where(waits).with_for_update()).one_or_none()
        if found is None:
            return None
        run_after = None if None in (found.run_after, new["run_after"]) else min(found.run_after, new["run_after"])
        changed = {"run_after": run_after} | ({} if args is None else {"args": args})
        if all(found._mapping[name] == value for name, value in changed.items()):
            return found
        changing = jobs.update().where(jobs.c.id == found.id).values(changed).returning(*jobs.columns)
        return connection.execute(changing).one()

    def job(self, id: str) -> Job:
        """The job of this id. NotFound if there is none."""
        with self._read() as connection:
            row = connection.execute(jobs.select().where(jobs.c.id == id)).one_or_none()
        if row is None:
            raise NotFound("There is no such job, or it ended long ago.", "See /jobs for those that we remember.")
        return read_as(Job, row)

    def jobs(self, limit: int, project_key: int | None = None) -> list[Job]:
        """The newest jobs, newest first; of one project where given."""
        newest = jobs.select().order_by(jobs.c.created_at.desc(), jobs.c.id).limit(limit)
        if project_key is not None:
            newest = newest.where(jobs.c.project_key == project_key)
        with self._read() as connection:
            return [read_as(Job, row) for row in connection.execute(newest)]

    def due_jobs(
        self, lane: str | None = None, *, of: tuple[int | None, str] | None = None, limit: int = 1
    ) -> list[Job]:
        """Waiting jobs that may start now, oldest first; in one lane where given, or those of a project that a job of
        this kind keeps waiting."""
        query = _due().order_by(jobs.c.created_at, jobs.c.id).limit(limit)
        if lane is not None:
            query = query.where(jobs.c.lane == lane)
        if of is not None:
            query = query.where(_whose(jobs) == (of[0] or 0), _exclude(jobs.c.kind, literal(of[1])))
        with self._read() as connection:
            return [read_as(Job, row) for row in connection.execute(query)]

    def start_job(self, id: str, lease_s: float) -> Job | None:
        """Start this job if it waits and may start now: running, one attempt more, leased for `lease_s`. Else None."""
        moment = now()
        started = {
            "state": "running", "attempts": jobs.c.attempts + 1, "started_at": moment, "progress": 0.0, "message": "",
            "lease_until": moment + timedelta(seconds=lease_s), "cancel_at": None,
        }  # fmt: skip
        try:
            with self._write() as connection:
                connection.execute(_lock_of_asking(id))
                due = _due().where(jobs.c.id == id).with_for_update(of=jobs, skip_locked=True)
                if connection.execute(due).one_or_none() is None:
                    return None
                starting = jobs.update().where(jobs.c.id == id).values(started).returning(*jobs.columns)
                return read_as(Job, connection.execute(starting).one())
        except IntegrityError:  # PostgreSQL: a sibling started at this moment
            return None

    def renew_job(self, job: Job, lease_s: float, *, progress: float | None = None, message: str = "") -> Job | None:
        """Keep the lease of this attempt, and its progress where given; an empty message keeps the last one.
        None if the attempt is no longer ours."""
        values: Json = {"lease_until": now() + timedelta(seconds=lease_s)}
        if progress is not None:
            values |= {"progress": progress} | ({"message": message} if message else {})
        with self._write() as connection:
            renewing = jobs.update().where(_attempt(job)).values(values).returning(*jobs.columns)
            row = connection.execute(renewing).one_or_none()
        return None if row is None else read_as(Job, row)

    def end_job(self, job: Job, state: str, *, error: Json | None = None) -> None:
        """This attempt ended as "done", "failed" or "cancelled". Nothing happens if it is no longer ours."""
        values: Json = {"state": state, "finished_at": now(), "lease_until": None, "error": error}
        if state == "done":
            values["progress"] = 1.0
        with self._write() as connection:
            connection.execute(jobs.update().where(_attempt(job)).values(values))

    def put_back(self, job: Job, *, error: Json | None, faults: int, pause_s: float = 0.0) -> None:
        """This attempt ended early: the job waits again, for `pause_s` at least. If a newer one of its kind waits
        already it takes over error, counts and pause, and this one is cancelled. A job that was to be cancelled is."""
        later = now() + timedelta(seconds=pause_s)
        while True:
            try:
                with self._write() as connection:
                    return self._put_back(connection, job, {"error": error, "faults": faults, "run_after": later})
            except IntegrityError:  # PostgreSQL: a newer one came at this moment
                continue

    def _put_back(self, connection: Connection, job: Job, values: Json) -> None:
        ours = connection.execute(jobs.select().where(_attempt(job)).with_for_update()).one_or_none()
        if ours is None:
            return
        ended: Json = {"state": "cancelled", "finished_at": now(), "lease_until": None}
        newer = and_(_same(job.project_key, job.kind), jobs.c.state == "queued")
        waits = connection.execute(jobs.select().where(newer).with_for_update()).one_or_none()
        if ours.cancel_at is None and waits is None:
            ended = {"state": "queued", "lease_until": None, "sent_at": None} | values
        elif ours.cancel_at is None and waits is not None:
            ended |= {"error": values["error"], "message": "A newer job of this kind takes over."}
            counts = {"attempts": max(waits.attempts, job.attempts), "faults": max(waits.faults, values["faults"])}
            connection.execute(jobs.update().where(jobs.c.id == waits.id).values(values | counts))
        connection.execute(jobs.update().where(jobs.c.id == job.id).values(ended))

    def cancel_job(self, id: str) -> Job:
        """A waiting job is cancelled at once; a running one is told to stop. NotFound if there is none."""
        self._cancel(jobs.c.id == id)
        return self.job(id)

    def cancel_jobs(self, project_key: int, spare: str | None = None) -> None:
        """As cancel_job(), for all of a project, but for the job `spare`."""
        self._cancel(and_(jobs.c.project_key == project_key, jobs.c.id != (spare or "")))

    def _cancel(self, which: ColumnElement[bool]) -> None:
        cancelled = {"state": "cancelled", "finished_at": now()}
        running = and_(jobs.c.state == "running", jobs.c.cancel_at.is_(None))
        with self._write() as connection:
            connection.execute(jobs.update().where(which, jobs.c.state == "queued").values(cancelled))
            connection.execute(jobs.update().where(which, running).values(cancel_at=now()))

    def running_jobs(self) -> list[Job]:
        """All running jobs, oldest first."""
        with self._read() as connection:
            running = jobs.select().where(jobs.c.state == "running").order_by(jobs.c.started_at)
            return [read_as(Job, row) for row in connection.execute(running)]

    def unfinished_jobs(self, key: int | None, lane: str | None = None) -> list[Job]:
        """The project's jobs that wait or run, or those of no project, oldest first; in one lane where given."""
        mine = and_(jobs.c.project_key == key, jobs.c.state.in_(("queued", "running")))
        query = jobs.select().where(mine if lane is None else and_(mine, jobs.c.lane == lane))
        with self._read() as connection:
            return [read_as(Job, row) for row in connection.execute(query.order_by(jobs.c.created_at, jobs.c.id))]

    def job_counts(self) -> dict[tuple[str, str], int]:
        """How many jobs we remember, by kind and state."""
        query = select(jobs.c.kind, jobs.c.state, func.count()).group_by(jobs.c.state, jobs.c.kind)
        with self._read() as connection:
            return {(kind, state): int(count) for kind, state, count in connection.execute(query)}

    def waiting_s(self) -> float:
        """Seconds for which a job could have started by now and has not: of the one that waits longest, 0 if none.
        Helpers are not meant: nothing waits for them."""
        due = _due().where(jobs.c.lane != HELPERS_LANE).subquery()
        with self._read() as connection:
            since = connection.execute(select(func.min(func.coalesce(due.c.run_after, due.c.created_at)))).scalar_one()
        return 0.0 if since is None else max(0.0, (now() - since).total_seconds())

    def mark_sent(self, id: str) -> None:
        """The transport was told of this job now."""
        with self._write() as connection:
            connection.execute(jobs.update().where(jobs.c.id == id).values(sent_at=now()))

    def prune_jobs(self) -> None:
        """Forget jobs that ended more than seven days ago."""
        old = and_(jobs.c.state.in_(ENDED), jobs.c.created_at < now() - KEPT, jobs.c.finished_at < now() - KEPT)
        self._delete(jobs.delete().where(old))


def _same(project_key: int | None, kind: str) -> ColumnElement[bool]:
    return and_(_whose(jobs) == (project_key or 0), jobs.c.kind == kind)


def _whose(table: FromClause) -> ColumnElement[int]:
    """A job's project; 0: none."""
    return func.coalesce(table.c.project_key, 0)


def _exclude(kind: ColumnElement[str], other: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether in a project a job of one kind waits while one of the other runs."""
    return or_(kind == other, and_(kind.in_(ASKING), other.in_(ASKING)))


def _attempt(job: Job) -> ColumnElement[bool]:
    return and_(jobs.c.id == job.id, jobs.c.state == "running", jobs.c.attempts == job.attempts)


def _lock_of_asking(id: str) -> Any:
    """Locks the project of a job that asks a language model, so that no other such job of it starts until the
    transaction ends: the indexes keep apart jobs of one kind alone. Nothing for other jobs."""
    theirs = select(jobs.c.project_key).where(jobs.c.id == id, jobs.c.kind.in_(ASKING))
    return select(projects.c.key).where(projects.c.key.in_(theirs)).with_for_update(key_share=True)


def _due() -> Any:
    """Waiting, its time has come, nothing runs that it waits for, and its project is at work."""
    siblings = and_(_whose(_sibling) == _whose(jobs), _exclude(_sibling.c.kind, jobs.c.kind))
    runs = select(_sibling.c.id).where(_sibling.c.state == "running", siblings)
    idle = select(projects.c.key).where(projects.c.key == jobs.c.project_key, projects.c.state.in_(("paused", "gone")))
    return jobs.select().where(
        jobs.c.state == "queued",
        or_(jobs.c.run_after.is_(None), jobs.c.run_after <= now()),
        ~runs.exists(),
        or_(jobs.c.kind.in_(ALWAYS), ~idle.exists()),
    )
