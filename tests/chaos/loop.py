"""One project in a house: people who label it, the moments at which a kill would hurt most, and whether all is well.

Looks from outside: into both databases, the folder of versions, MLflow and Label Studio's next-task call.
"""

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx

from edgewise.errors import Conflict, EdgewiseError, NotFound, Unavailable
from edgewise.services.registry import Registry
from edgewise.services.store import Project, Release, Store
from edgewise.services.studio import Studio
from edgewise.verbs.system import folder_name
from examples import wikigold
from tests.chaos.house import House
from tests.chaos.processes import until

WELL_WITHIN_S = 240.0  # a killed worker's job waits for the end of its lease, a minute
HAPPENS_WITHIN_S = 240.0
STEP_S = 0.003
REFUSED_LABELS = 5
GOLD = {row["text"]: wikigold.result(row) for split in ("train", "dev", "test") for row in wikigold.rows(split)}


class Missed(Exception):
    """The moment went by unseen."""


@dataclass(frozen=True)
class Loop:
    """A connected project. `key`: ours; `id`: Label Studio's."""

    house: House
    id: int
    key: int
    store: Store
    _before: set[str] = field(default_factory=set, repr=False)  # versions that were there when the round began

    # What people do

    def next_task(self) -> dict[str, Any]:
        """What Label All Tasks shows now."""
        found: dict[str, Any] = self.ask("GET", f"api/projects/{self.id}/next/")
        return found

    def label(self, count: int) -> list[int]:
        """Label what comes next with gold; the tasks."""
        return [self.submit(self.next_task()) for _ in range(count)]

    def submit(self, task: dict[str, Any]) -> int:
        """Label this task with gold; its id."""
        body = {"result": GOLD[task["data"]["text"]], "lead_time": 1.0}
        self.ask("POST", f"api/tasks/{task['id']}/annotations/", body)
        return int(task["id"])

    def ask(self, method: str, path: str, body: Any = None, timeout_s: float = 60) -> Any:
        """A call of Label Studio, which must succeed."""
        studio = self.house.label_studio
        headers = {"Authorization": f"Token {studio.token}"}
        answer = httpx.request(method, f"{studio.url}/{path}", json=body, headers=headers, timeout=timeout_s)
        assert answer.is_success, (method, path, answer.status_code, answer.text[:300])
        return answer.json() if answer.content else None

    def do(self, verb: str) -> str:
        """Queue a verb; its job."""
        answer = httpx.post(f"{self.house.url}/projects/{self.id}/{verb}", json={}, timeout=30)
        assert answer.is_success, (verb, answer.text)
        return str(answer.json()["id"])

    def close(self) -> None:
        """Delete the project in Label Studio; ours follows by itself."""
        with suppress(AssertionError, httpx.HTTPError):
            self.ask("DELETE", f"api/projects/{self.id}/")
        self.store.close()

    # Where it stands

    @property
    def project(self) -> Project:
        """As our store has it."""
        return self.store.project(self.key)

    def release(self) -> Release | None:
        """The newest one, active or not."""
        return next(iter(self.store.releases(self.key)), None)

    def running(self, kind: str) -> Any:
        """The running job of this kind."""
        found = (job for job in self.store.running_jobs() if (job.project_key, job.kind) == (self.key, kind))
        return next(found, None)

    def studio_rows(self, query: str, *values: object) -> list[Any]:
        """Rows of Label Studio's own database, `?` in the query being first the project."""
        address = f"file:{self.house.studio.database}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, timeout=0.05)) as connection:
            return connection.execute(query, (self.id, *values)).fetchall()

    def selected(self) -> str | None:
        """The version that Label Studio serves."""
        ((name,),) = self.studio_rows("SELECT model_version FROM project WHERE id = ?")
        return str(name) if name else None

    def arrived(self, release: Release) -> int:
        """How many of a release's predictions Label Studio has."""
        query = "SELECT count(*) FROM prediction WHERE project_id = ? AND model_version = ?"
        return int(self.studio_rows(query, f"ew-{release.n}")[0][0])

    def versions_on_disk(self) -> set[str]:
        """Ids."""
        return self.registry().versions(folder_name(self.project))

    def registry(self) -> Registry:
        """The folder of versions, with nothing checked yet."""
        return Registry(self.house.models / "finetuned_model")

    def caught(self, moment: "Moment", after: int = 0) -> None:
        """Hold everything in the middle of this moment, Label Studio too. Raises Missed when a release above `after`
        is active: then it is over.

        Once it is near, all go on in steps of some milliseconds, and are looked at while they stand still.
        """
        is_near = partial(holds, lambda loop: moment.near(loop) or self.is_over(moment, after), self)
        until(is_near, moment.name, HAPPENS_WITHIN_S, self.told, every_s=STEP_S)
        held = self.house.workforce()
        deadline = time.monotonic() + HAPPENS_WITHIN_S
        while time.monotonic() < deadline:
            self.house.freeze(held)
            if holds(moment.is_now, self):
                return
            over = self.is_over(moment, after)
            self.house.thaw()
            if over:
                raise Missed(moment.name)
            time.sleep(STEP_S)
        raise AssertionError(f"{moment.name} did not happen. {self.told()}")

    def round_until(self, moment: "Moment") -> int:
        """Train, and hold everything at this moment of what follows; the number of the release before."""
        release = self.release()
        before = release.n if release else 0
        self.begin_round()
        return self.caught_at_last(moment, before)

    def begin_round(self) -> None:
        """A training."""
        self._before.update(version.id for version in self.store.versions(self.key))
        self.do("train")

    def caught_at_last(self, moment: "Moment", before: int) -> int:
        """As `caught`. A moment of some milliseconds may go by unseen: then in another round. The number of the release
        before it."""
        try:
            self.caught(moment, before)
        except Missed:
            self.assert_all_is_well(above=before)
            return self.round_until(moment)
        return before

    def is_refused(self) -> bool:
        """Whether the gate refused the round's version: then no release follows."""
        new = [version for version in self.store.versions(self.key) if version.id not in self._before]
        return any(version.state == "refused" for version in new)

    def is_over(self, moment: "Moment", after: int) -> bool:
        """Whether the release of this round serves, or there will be none."""
        release = self.release()
        serves = release is not None and release.n > after and release.state == "active"
        return moment.is_of_a_round and (serves or self.is_refused())

    def told(self) -> str:
        """What to know when something did not happen."""
        jobs = [(job.kind, job.state, job.attempts, job.message, job.error) for job in self.store.jobs(12, self.key)]
        return f"project {self.id}: trouble {self.project.trouble}; release {self.release()}; jobs {jobs}"

    # Whether all is well

    def assert_all_is_well(self, *, above: int = 0, within_s: float = WELL_WITHIN_S, tries: int = 3) -> None:
        """Every promise holds in time: a release above this number serves, and so many tasks that people get follow its
        order. Where the gate refuses a version people label on, and the next training makes another."""
        last: list[str] = []

        def well() -> bool:
            try:
                if above and self.is_refused():
                    self.label(REFUSED_LABELS)
                    self.begin_round()
                last[:] = [fault for part in (self.faults(above), self.mirror_faults()) for fault in part]
            except (EdgewiseError, sqlite3.OperationalError, httpx.HTTPError) as error:
                last[:] = [f"{type(error).__name__}: {error}"]
            return not last

        until(well, "all is well", within_s, lambda: f"{last}. {self.told()}")
        project = self.project
        assert project.active_release is not None
        order = self.store.order(self.key, project.active_release)
        assert self.label(tries) == order[:tries], "people get the tasks in the stored order"
        self.await_heard(60)

    def await_heard(self, within_s: float) -> None:
        """Until we know every annotation as it is in Label Studio."""
        until(
            partial(holds, lambda loop: loop.theirs() <= loop.ours(), self), "labels are heard of", within_s, self.told
        )

    def faults(self, above: int) -> Iterator[str]:
        """What does not hold now."""
        project, release = self.project, self.release()
        if project.trouble:
            yield f"trouble: {project.trouble['what']}"
        busy = [job.kind for job in self.store.jobs(50, self.key) if job.state in ("queued", "running")]
        if set(busy) - {"sync", "sweep"}:
            yield f"jobs wait or run: {busy}"
        if self.ours() != self.theirs():
            yield f"annotations: {len(self.ours())} here, {len(self.theirs())} there"
        if release is None or (release.state, release.whole, release.version) != ("active", True, project.serving):
            yield f"the newest release is {release}, and {project.serving} serves"
        elif release.n <= above or self.selected() != f"ew-{release.n}" or project.active_release != release.n:
            yield f"{release.n} is active, Label Studio follows {self.selected()}, we {project.active_release}"
        else:
            yield from self.order_faults(release)
        yield from self.version_faults()

    def ours(self) -> set[tuple[int, int, bool, str]]:
        """Every annotation as we know it; by its key it is here once at most."""
        known = ((task, one) for task, many in self.store.annotated(self.key) for one in many)
        return {(task.task_id, one.id, one.was_cancelled, plain(one.result)) for task, one in known}

    def theirs(self) -> set[tuple[int, int, bool, str]]:
        """Every annotation that Label Studio has."""
        query = "SELECT task_id, id, was_cancelled, result FROM task_completion WHERE project_id = ?"
        rows = self.studio_rows(query)
        return {(task, number, bool(skipped), plain(json.loads(text))) for task, number, skipped, text in rows}

    def order_faults(self, release: Release) -> Iterator[str]:
        """Each open task has one prediction of the release, and their scores give the stored order."""
        rows = self.studio_rows("SELECT task_id, model_version, score FROM prediction WHERE project_id = ?")
        counts = Counter((task, version) for task, version, _ in rows)
        if doubled := {key: count for key, count in counts.items() if count > 1}:
            yield f"doubled predictions: {doubled}"
        labelled = "SELECT DISTINCT task_id FROM task_completion WHERE NOT was_cancelled AND project_id = ?"
        tasks = {task for (task,) in self.studio_rows("SELECT id FROM task WHERE project_id = ?")}
        waiting = tasks - {task for (task,) in self.studio_rows(labelled)}
        scores = {task: score for task, version, score in rows if version == f"ew-{release.n}"}
        if waiting - scores.keys():
            yield f"{len(waiting - scores.keys())} open tasks without a prediction"
        order = self.store.order(self.key, release.n)
        shown = sorted(waiting & scores.keys(), key=lambda task: (scores[task], task))
        if shown != order:
            yield f"Label Studio's order is not ours: {shown[:5]} and {order[:5]}, {len(shown)} and {len(order)}"

    def version_faults(self) -> Iterator[str]:
        """What serves is whole, everything on disk is known, and nothing half-made lies about."""
        project, known = self.project, {version.id for version in self.store.versions(self.key)}
        if project.serving is not None:
            try:
                self.registry().verify(folder_name(project), project.serving)
            except (Conflict, NotFound) as error:
                yield f"what serves is not whole: {error}"
        if strangers := self.versions_on_disk() - known:
            yield f"versions on disk that nobody knows: {strangers}"

    def mirror_faults(self) -> Iterator[str]:
        """MLflow's server, if there is one, shows every version once, and who serves as the champion."""
        serving, address = self.project.serving, self.house.mlflow
        if not address.startswith("http") or serving is None:
            return
        name = f"edgewise-{self.id}"
        found = mlflow_answer(address, "model-versions/search", filter=f"name = '{name}'")
        shown = Counter(tag["value"] for one in found.get("model_versions", []) for tag in one["tags"])
        ours = Counter(version.id for version in self.store.versions(self.key))
        if shown != ours:
            yield f"MLflow shows {shown}, and not {ours}"
        champion = mlflow_answer(address, "registered-models/alias", name=name, alias="champion").get("model_version")
        if not champion or serving not in [tag["value"] for tag in champion["tags"]]:
            yield f"MLflow's champion is not {serving}"


@dataclass(frozen=True)
class Moment:
    """A moment in a project's life, and when to look closely for it. is_of_a_round: it comes before the next release is
    active, or not at all."""

    name: str
    is_now: Callable[[Loop], object]
    near: Callable[[Loop], object]
    is_of_a_round: bool = True


def holds(condition: Callable[[Loop], object], loop: Loop) -> bool:
    """Whether it is so; a database that somebody holds says no."""
    try:
        return bool(condition(loop))
    except (sqlite3.OperationalError, Unavailable):
        return False


def syncs(loop: Loop) -> bool:
    """A sync reads."""
    return loop.running("sync") is not None


def trains(loop: Loop) -> bool:
    """The model learns."""
    job = loop.running("train")
    return job is not None and job.message == "training" and job.progress > 0.05


def is_published(loop: Loop) -> bool:
    """A version lies in its folder whole, and nobody has written down that it exists."""
    return bool(loop.versions_on_disk() - {version.id for version in loop.store.versions(loop.key)})


def is_staged(loop: Loop) -> bool:
    """A version is about to be published."""
    return any(loop.house.models.glob("*/*/.staging/*/version.json")) or is_published(loop)


def ranks(loop: Loop) -> bool:
    """A release exists, and has no order yet."""
    release = loop.release()
    return release is not None and release.state == "ranking" and loop.running("rank") is not None


def pushes(loop: Loop) -> bool:
    """There is an order that Label Studio does not follow yet."""
    release = loop.release()
    return release is not None and release.state == "pushing"


def is_on_its_way(loop: Loop) -> bool:
    """Label Studio has nothing of the order."""
    release = loop.release()
    return release is not None and is_pushed(loop, release) is False and loop.arrived(release) == 0


def has_arrived(loop: Loop) -> bool:
    """Label Studio has the order, or some of it, and we do not know."""
    release = loop.release()
    return release is not None and is_pushed(loop, release) is False and loop.arrived(release) > 0


def activates(loop: Loop) -> bool:
    """All is pushed, and Label Studio is about to follow it, or does and we do not know."""
    release = loop.release()
    return release is not None and is_pushed(loop, release) is True


def is_activated(loop: Loop) -> bool:
    """Label Studio follows the new release, and we do not know."""
    release = loop.release()
    return release is not None and release.state == "pushing" and loop.selected() == f"ew-{release.n}"


def mirrors(loop: Loop) -> bool:
    """MLflow is told of a version."""
    return any(job.kind == "mirror" for job in loop.store.running_jobs())


def is_pushed(loop: Loop, release: Release) -> bool | None:
    """Whether nothing of the release waits to be pushed; None when it is not being pushed."""
    return not loop.store.unpushed(loop.key, release.n, limit=1) if release.state == "pushing" else None


SYNC = Moment("in the middle of a sync", syncs, syncs, is_of_a_round=False)
TRAINING = Moment("in the middle of a training", trains, trains)
PUBLISHED = Moment("between a version's files and its row", is_published, is_staged)
RANKING = Moment("in the middle of a ranking", ranks, ranks)
PUSH = Moment("in the middle of a push, nothing arrived", is_on_its_way, pushes)
ARRIVED = Moment("in the middle of a push, arrived unknown to us", has_arrived, pushes)
ACTIVATION = Moment("in the middle of an activation", activates, pushes)
ACTIVATED = Moment("at the end of an activation, unknown to us", is_activated, pushes)
MIRROR = Moment("while MLflow is told", mirrors, mirrors, is_of_a_round=False)


def plain(result: Sequence[Any]) -> str:
    """A result to compare."""
    return json.dumps(list(result), sort_keys=True)


def mlflow_answer(address: str, path: str, **params: str) -> Any:
    """MLflow's answer; nothing where there is nothing."""
    answer = httpx.get(f"{address}/api/2.0/mlflow/{path}", params=params, timeout=30)
    return {} if answer.status_code == 404 else answer.raise_for_status().json()


def new_project(house: House, tasks: int = 120, taught: int = 24) -> tuple[Studio, int]:
    """A project with some tasks labelled, not connected; close the client."""
    rows = wikigold.rows("train")[:tasks]
    studio = Studio(house.label_studio.url, house.label_studio.token, settle_s=0.2)
    project = int(studio.create_project("Chaos", wikigold.LABEL_CONFIG)["id"])
    some = [wikigold.labelled_task(row) for row in rows[:taught]] + [wikigold.task(row) for row in rows[taught:]]
    studio.import_tasks(project, some)
    return studio, project


def connected(house: House, tasks: int = 120, taught: int = 24) -> Loop:
    """A project that our server knows, about to be read for the first time; close it."""
    studio, project = new_project(house, tasks, taught)
    with studio:
        studio.add_backend(project, house.url, "Edgewise")
    store = house.store()
    known = next(one for one in store.projects() if one.ls_id == project and one.state != "gone")
    return Loop(house, project, known.key, store)
