"""What annotations began from: the prediction that was shown, kept beyond its release. Knows nothing of comparing."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields

from sqlalchemy import and_, case, false, func, select

from edgewise.labels.annotations import Annotation
from edgewise.services.store.database import chunks, columns_of, read_as
from edgewise.services.store.erasure import Erasures
from edgewise.services.store.records import Suggestion, Task
from edgewise.services.store.tables import annotations, suggestions, tasks

COLUMNS = [suggestions.c[f.name] for f in fields(Suggestion)]

Suggested = tuple[Task, list[Annotation], dict[int, Suggestion]]  # by annotation, as far as it began from any


@dataclass(frozen=True, slots=True)
class Taken:
    """What one annotation took. helped: it began from a pre-label that somebody made; on an audit task also one that
    says nothing is none, as it may be hidden."""

    task_id: int
    audit: bool
    seconds: float
    helped: bool


class Suggestions(Erasures):
    """Queries on what annotations began from."""

    def save_suggestions(self, key: int, made: Iterable[Suggestion]) -> None:
        """Keep what these annotations began from. Those of tasks that are not here (any more) are left out."""
        for some in chunks(made):
            with self._write() as connection:
                self._hold(connection, key)
                mine = and_(tasks.c.project_key == key, tasks.c.task_id.in_({one.task_id for one in some}))
                here = set(connection.execute(select(tasks.c.task_id).where(mine)).scalars())
                rows = [columns_of(one) | {"project_key": key} for one in some]
                self._put(connection, suggestions, [row for row in rows if row["task_id"] in here])

    def begun_from(self, key: int, ids: Iterable[int]) -> dict[int, int]:
        """Annotation -> the prediction that it began from, of these tasks: as far as we know what that said."""
        found: dict[int, int] = {}
        for some in chunks(ids):
            mine = and_(suggestions.c.project_key == key, suggestions.c.task_id.in_(some))
            with self._read() as connection:
                rows = connection.execute(select(suggestions.c.annotation_id, suggestions.c.prediction).where(mine))
                found.update({row.annotation_id: row.prediction for row in rows})
        return found

    def times(self, key: int) -> list[Taken]:
        """How long people took for each annotation that they finished."""
        said = case((tasks.c.audit, suggestions.c.result != []), else_=suggestions.c.sources != {})
        own = and_(tasks.c.project_key == annotations.c.project_key, tasks.c.task_id == annotations.c.task_id)
        same = [suggestions.c[name] == annotations.c[name] for name in ("project_key", "task_id")]
        began = and_(*same, suggestions.c.annotation_id == annotations.c.id)
        columns = [tasks.c.task_id, tasks.c.audit, annotations.c.lead_time.label("seconds")]
        mine = (
            select(*columns, func.coalesce(said, false()).label("helped"))
            .select_from(annotations.join(tasks, own).outerjoin(suggestions, began))
            .where(annotations.c.project_key == key, annotations.c.lead_time.is_not(None))
            .where(annotations.c.was_cancelled.is_(False), annotations.c.unopened.is_(False))
            .order_by(tasks.c.task_id, annotations.c.id)
        )
        with self._read() as connection:
            return [Taken(row.task_id, row.audit, row.seconds, bool(row.helped)) for row in connection.execute(mine)]

    def suggested(self, key: int) -> Iterator[Suggested]:
        """Tasks with any such annotation (audit tasks too), ascending. Page by page: what changes meanwhile may or may
        not be seen."""
        own = and_(suggestions.c.project_key == tasks.c.project_key, suggestions.c.task_id == tasks.c.task_id)
        for page in chunks(self._annotated(key, select(suggestions.c.annotation_id).where(own).exists())):
            mine = and_(suggestions.c.project_key == key, suggestions.c.task_id.in_([task.task_id for task, _ in page]))
            begun: dict[int, dict[int, Suggestion]] = {}
            with self._read() as connection:
                for row in connection.execute(select(*COLUMNS).where(mine)):
                    begun.setdefault(row.task_id, {})[row.annotation_id] = read_as(Suggestion, row)
            yield from ((task, theirs, begun.get(task.task_id, {})) for task, theirs in page)
