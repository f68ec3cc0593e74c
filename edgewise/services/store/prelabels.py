"""What language models answered: paid answers by question, pre-labels by task, and what the models were told."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from hashlib import blake2b
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, or_, select

from edgewise.services.store.database import WRITE_CHUNK, chunks, columns_of, now, read_as
from edgewise.services.store.records import Instructions, Prelabelled
from edgewise.services.store.releases import Releases
from edgewise.services.store.tables import instructions, llm_answers, llm_texts, prelabels, tasks

COLUMNS = [prelabels.c[f.name] for f in fields(Prelabelled)]


class Prelabels(Releases):
    """Queries on what language models answered."""

    def answers(self, key: int) -> "AnswerCache":
        """The project's paid answers, as llm_prelabel wants its cache."""
        return AnswerCache(self, key)

    def llm_answer(self, key: int, question: str) -> Mapping[str, Any] | None:
        """The answer to a question, by its cache key; None if it was never paid for."""
        mine = select(llm_answers.c.record).where(llm_answers.c.project_key == key, llm_answers.c.key == question)
        with self._read() as connection:
            record: Mapping[str, Any] | None = connection.execute(mine).scalar_one_or_none()
        return record

    def keep_llm_answer(self, key: int, question: str, record: Mapping[str, Any], texts: Sequence[str]) -> None:
        """Keep a paid answer, and by which texts it is to be erased."""
        held = [{"project_key": key, "text": name, "key": question} for name in sorted({text_name(t) for t in texts})]
        with self._write() as connection:
            self._hold(connection, key)
            self._put(connection, llm_answers, [{"project_key": key, "key": question, "record": dict(record)}])
            self._put(connection, llm_texts, held)

    def erase_texts(self, key: int, texts: Iterable[str]) -> int:
        """Forget every answer to a question that held one of these texts, as demonstration too; how many."""
        erased = 0
        for some in chunks({text_name(text) for text in texts}):
            holding = select(llm_texts.c.key).where(llm_texts.c.project_key == key, llm_texts.c.text.in_(some))
            with self._write() as connection:
                doomed = list(connection.execute(holding).scalars())
                mine = and_(llm_answers.c.project_key == key, llm_answers.c.key.in_(doomed))
                erased += connection.execute(llm_answers.delete().where(mine)).rowcount
                theirs = and_(llm_texts.c.project_key == key, llm_texts.c.key.in_(doomed))
                connection.execute(llm_texts.delete().where(theirs))
        return erased

    def save_prelabels(self, key: int, made: Iterable[Prelabelled]) -> None:
        """Keep pre-labels, one for each task: that of the last run. Those of tasks that are gone are left out."""
        for some in chunks(made):
            by_id = {one.task_id: one for one in some}
            with self._write() as connection:
                self._hold(connection, key)
                mine = select(tasks.c.task_id).where(tasks.c.project_key == key, tasks.c.task_id.in_(by_id))
                here = list(connection.execute(mine.order_by(tasks.c.task_id)).scalars())
                self._put(connection, prelabels, [prelabel_row(key, by_id[i]) for i in here])

    def prelabels(self, key: int, run: int, ids: Iterable[int]) -> dict[int, Prelabelled]:
        """The pre-labels of these tasks by the run, by task id; a task without one is missing."""
        return self._prelabels(_of(key, run), ids)

    def latest_prelabels(self, key: int, ids: Iterable[int]) -> dict[int, Prelabelled]:
        """The same by whichever run answered last."""
        return self._prelabels(prelabels.c.project_key == key, ids)

    def _prelabels(self, whose: ColumnElement[bool], ids: Iterable[int]) -> dict[int, Prelabelled]:
        found: dict[int, Prelabelled] = {}
        for some in chunks(ids):
            mine = select(*COLUMNS).where(whose, prelabels.c.task_id.in_(some))
            with self._read() as connection:
                found.update({row.task_id: read_as(Prelabelled, row) for row in connection.execute(mine)})
        return found

    def prelabelled(self, key: int, run: int) -> list[int]:
        """The open tasks that the run has an answer for, ascending."""
        own = and_(prelabels.c.project_key == tasks.c.project_key, prelabels.c.task_id == tasks.c.task_id)
        mine = select(tasks.c.task_id).join(prelabels, own).where(_of(key, run), prelabels.c.error.is_(None))
        with self._read() as connection:
            return list(connection.execute(mine.where(tasks.c.open.is_(True)).order_by(tasks.c.task_id)).scalars())

    def count_prelabelled(self, key: int, run: int) -> int:
        """How many tasks the run has dealt with, in vain or not."""
        with self._read() as connection:
            counting = select(func.count()).select_from(prelabels).where(_of(key, run))
            return int(connection.execute(counting).scalar_one())

    def count_failed(self, key: int, run: int) -> int:
        """How many of them in vain."""
        with self._read() as connection:
            failed = and_(_of(key, run), prelabels.c.error.is_not(None))
            return int(connection.execute(select(func.count()).select_from(prelabels).where(failed)).scalar_one())

    def drop_failed(self, key: int, run: int) -> None:
        """Forget those, so that they are asked about again."""
        with self._write() as connection:
            connection.execute(prelabels.delete().where(_of(key, run), prelabels.c.error.is_not(None)))

    def count_not_prelabelled(self, key: int, run: int) -> int:
        """How many tasks that can be read the run has yet to ask about: open ones, and labelled audit tasks, which
        tell how far it can be trusted."""
        with self._read() as connection:
            waiting = self._not_prelabelled(key, run).subquery()
            return int(connection.execute(select(func.count()).select_from(waiting)).scalar_one())

    def not_prelabelled(self, key: int, run: int, limit: int) -> list[int]:
        """Those tasks, ascending; labelled ones first."""
        with self._read() as connection:
            mine = self._not_prelabelled(key, run).order_by(tasks.c.open, tasks.c.task_id).limit(limit)
            return list(connection.execute(mine).scalars())

    def _not_prelabelled(self, key: int, run: int) -> Select[Any]:
        same = and_(_of(key, run), prelabels.c.task_id == tasks.c.task_id)
        wanted = or_(tasks.c.open.is_(True), and_(tasks.c.audit.is_(True), tasks.c.digest.is_not(None)))
        return (
            select(tasks.c.task_id)
            .where(tasks.c.project_key == key, wanted, tasks.c.problem.is_(None))
            .where(~select(prelabels.c.task_id).where(same).exists())
        )

    def set_disagreements(self, key: int, found: Mapping[int, float | None]) -> None:
        """How far the model that serves and the language model differ on these tasks; None: not compared."""
        for some in chunks(sorted(found.items()), WRITE_CHUNK):
            with self._write() as connection:
                for task_id, value in some:
                    mine = and_(prelabels.c.project_key == key, prelabels.c.task_id == task_id)
                    connection.execute(prelabels.update().where(mine).values(disagreement=value))

    def disagreeing(self, key: int, limit: int) -> list[int]:
        """Open tasks on which the two differ, the worst first; never an audit task."""
        own = and_(prelabels.c.project_key == tasks.c.project_key, prelabels.c.task_id == tasks.c.task_id)
        mine = select(tasks.c.task_id).join(prelabels, own).where(prelabels.c.project_key == key)
        mine = mine.where(prelabels.c.disagreement > 0, tasks.c.open.is_(True), tasks.c.audit.is_(False))
        with self._read() as connection:
            worst = mine.order_by(prelabels.c.disagreement.desc(), tasks.c.task_id).limit(limit)
            return list(connection.execute(worst).scalars())

    def add_instructions(self, key: int, text: str) -> Instructions:
        """Keep the next version of what the language model is told; the same text again is the same version."""
        known = self.instructions(key)
        if known is not None and known.text == text:
            return known
        with self._write() as connection:
            self._hold(connection, key)
            highest = select(func.coalesce(func.max(instructions.c.version), 0))
            version = connection.execute(highest.where(instructions.c.project_key == key)).scalar_one() + 1
            row = {"project_key": key, "version": version, "text": text, "created_at": now()}
            connection.execute(instructions.insert().values(row))
        return Instructions(version, text, row["created_at"])

    def instructions(self, key: int) -> Instructions | None:
        """The last version, None if there never was one."""
        mine = instructions.select().where(instructions.c.project_key == key)
        with self._read() as connection:
            row = connection.execute(mine.order_by(instructions.c.version.desc()).limit(1)).one_or_none()
        return None if row is None else read_as(Instructions, row)


class AnswerCache:
    """A project's paid answers: `llm_prelabel`'s cache over the store. Safe to share between threads."""

    def __init__(self, store: Prelabels, key: int) -> None:
        self._store, self._key = store, key

    def get(self, key: str) -> Mapping[str, Any] | None:
        """The record under a question's key."""
        return self._store.llm_answer(self._key, key)

    def put(self, key: str, record: Mapping[str, Any], texts: Sequence[str]) -> None:
        """Keep a record; it goes when one of the texts is erased."""
        self._store.keep_llm_answer(self._key, key, record, texts)


def _of(key: int, run: int) -> ColumnElement[bool]:
    return and_(prelabels.c.project_key == key, prelabels.c.run == run)


def prelabel_row(key: int, one: Prelabelled) -> dict[str, Any]:
    """A pre-label as its table has it."""
    return columns_of(one) | {"project_key": key}


def text_name(text: str) -> str:
    """What a text is known by where the text itself is not to be kept."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
