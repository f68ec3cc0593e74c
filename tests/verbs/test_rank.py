"""A ranking on a real Label Studio, killed wherever it may be killed: run again it leaves the order whole and single.

The head and the chunks are made small, so that two dozen tasks are ranked as fifty thousand would be.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import llm_prelabel
from edgewise.errors import Cancelled, StudioRefused, StudioUnavailable
from edgewise.labels.spans import Document
from edgewise.services.jobs import Pace, Progress
from edgewise.services.store import Project, Release
from edgewise.services.studio import Studio
from edgewise.verbs import head_first
from edgewise.verbs import rank as ranking
from edgewise.verbs.answer import select_samples, version_name
from edgewise.verbs.placing import release_name
from edgewise.verbs.rank import rank
from edgewise.verbs.sync import sync
from edgewise.verbs.system import System
from examples.label_studio import RunningStudio
from tests.studio_fixture import StudioProject
from tests.verbs.conftest import (
    SCORES,
    Killed,
    Make,
    access,
    dies,
    do,
    new_studio_project,
    publish,
    settings,
    synced,
    waiting,
)

TASKS = 22


@dataclass(frozen=True)
class World:
    """A project of Label Studio, our memory of it, and what both say."""

    studio: StudioProject
    system: System
    key: int

    @property
    def project(self) -> Project:
        return self.system.by_key(self.key)

    @property
    def active(self) -> Release:
        n = self.project.active_release
        assert n is not None
        return self.system.store.release(self.key, n)

    def rank(self) -> Project:
        return do(self.system, self.key, rank)

    def again(self, make: Make) -> "World":
        """The world as a new process sees it."""
        return World(self.studio, make(baseline_model_name=self.system.settings.baseline_model_name), self.key)

    def predictions(self, name: str) -> dict[int, float]:
        """Task -> score of this version in Label Studio; there must be one for each task."""
        listed = self.studio.call("GET", f"api/predictions/?project={self.studio.id}")
        found = [one for one in listed if one["model_version"] == name]
        doubles = [task for task, count in Counter(one["task"] for one in found).items() if count > 1]
        assert not doubles, f"{doubles} have several predictions of {name}"
        return {one["task"]: one["score"] for one in found}

    def check(self) -> None:
        """What must hold after a ranking went through, whatever happened before."""
        store, release = self.system.store, self.active
        assert release.state == "active"
        assert release.whole
        assert release.version == self.project.serving
        name = release_name(release.n)
        assert self.studio.studio.project(self.studio.id)["model_version"] == name
        assert version_name(self.system, self.project) == name
        there = self.predictions(name)
        order = store.order(self.key, release.n)
        assert set(order) == set(store.open_task_ids(self.key))
        assert set(there) >= set(order)
        assert sorted(order, key=lambda task: there[task]) == order
        assert len({there[task] for task in order}) == len(order), "two tasks with one score have no order"
        assert store.unpushed(self.key, release.n) == []
        versions = self.studio.studio.model_versions(self.studio.id)
        assert len([one for one in versions if one.startswith("ew-")]) <= 2


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PUSHED": 8, "SCORED": 8, "ON_SCREEN": timedelta(0)}.items():
        monkeypatch.setattr(ranking, name, value)
    for name, size in {"COLD": 10, "FIRST": 6, "MOST": 6, "DRAWN": 4}.items():
        monkeypatch.setattr(head_first, name, size)


@pytest.fixture(scope="module")
def tasks(documents: list[Document]) -> list[dict[str, Any]]:
    return [{"data": {"text": document.text}} for document in documents[::3][:TASKS]]


@pytest.fixture(scope="module")
def shared(label_studio: RunningStudio, studio: Studio, tasks: list[dict[str, Any]]) -> Iterator[StudioProject]:
    project = new_studio_project(label_studio, studio, tasks)
    yield project
    project.http.close()


@pytest.fixture(scope="module")
def memory(label_studio: RunningStudio, shared: StudioProject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What we know of the shared project after the first sync."""
    data = tmp_path_factory.mktemp("memory") / "data"
    system = System(settings(data, **access(label_studio)), SCORES, llm_prelabel.prelabel)
    synced(system, shared)
    system.store.close()
    system.studio.close()
    return data


@pytest.fixture
def world(shared: StudioProject, memory: Path, make_system: Make, tiny_tagger: Path, tmp_path: Path) -> World:
    """A project of tasks that nobody touches, and a memory without any release."""
    shutil.copytree(memory, tmp_path / "data")
    return World(shared, make_system(baseline_model_name=str(tiny_tagger)), 1)


@pytest.fixture
def own_world(
    label_studio: RunningStudio, studio: Studio, make_system: Make, tiny_tagger: Path, tasks: list[dict[str, Any]]
) -> Iterator[World]:
    """A project of this test's own, to change its tasks."""
    project = new_studio_project(label_studio, studio, tasks)
    system = make_system(baseline_model_name=str(tiny_tagger))
    yield World(project, system, synced(system, project).key)
    project.http.close()


def test_progress_grows_with_the_tasks_that_have_a_rank(world: World) -> None:
    store, told = world.system.store, list[float]()

    class Watched(Progress):
        def __call__(self, fraction: float, message: str = "") -> None:
            told.append(fraction)

    job = store.start_job(store.add_job("rank", world.key, lane="rank").id, 60)
    assert job is not None
    rank(world.system, world.project, Watched(store, job, Pace()))
    store.end_job(job, "done")
    world.check()
    assert told == sorted(told)
    assert told[-1] == 1
    assert len({fraction for fraction in told if 0.7 < fraction < 1}) > 1, "not one number for all of the rest"


def test_the_first_order_holds_every_task_once_and_label_studio_follows_it(world: World) -> None:
    world.rank()
    world.check()
    jobs = len(world.system.queue.jobs(50, project_key=world.key))
    world.rank()
    world.check()
    assert len(world.system.store.releases(world.key)) == 1, "again, and nothing new is made"
    assert len(world.system.queue.jobs(50, project_key=world.key)) <= jobs + 1


DEATHS = [
    ("store", "save_ranks", 0, True, "when the head is kept"),
    ("studio", "push_release", 1, False, "when half of the head is pushed"),
    ("studio", "push_release", 0, True, "after a push that was not written down"),
    ("studio", "activate", 0, True, "when Label Studio has activated"),
    ("store", "update_project", 0, True, "between the two notes of the activation"),
    ("store", "add_ranks", 0, True, "when a chunk of the rest is kept"),
    ("studio", "push_release", 3, True, "in the rest, after a push that was not written down"),
    ("store", "update_release", 3, False, "before the release counts as whole"),
]


@pytest.mark.parametrize(
    ("owner", "method", "after", "done"), [pytest.param(*death[:4], id=death[4]) for death in DEATHS]
)
def test_killed_and_run_again_the_order_is_whole_and_single(
    world: World, make_system: Make, owner: str, method: str, after: int, done: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        dies(patch, getattr(world.system, owner), method, after=after, done=done)
        with pytest.raises(Killed):
            world.rank()
    later = world.again(make_system)
    later.rank()
    later.check()
    assert len(later.system.store.releases(later.key)) == 1


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if there were thousands of tasks: the first few predictions go one by one."""
    monkeypatch.setattr(ranking, "MANY", 1)
    monkeypatch.setattr(ranking, "FIRST", 3)


FIRST_DEATHS = [
    ("studio", "push_one", 1, False, "when one of the first is pushed"),
    ("studio", "push_one", 1, True, "after a first one that was not written down"),
    ("studio", "activate", 0, True, "when Label Studio has activated"),
    ("studio", "push_release", 0, True, "after the rest of the head, not written down"),
]


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize(
    ("owner", "method", "after", "done"), [pytest.param(*death[:4], id=death[4]) for death in FIRST_DEATHS]
)
def test_killed_among_the_first_the_order_is_whole_and_single(
    world: World, make_system: Make, owner: str, method: str, after: int, done: bool
) -> None:
    test_killed_and_run_again_the_order_is_whole_and_single(world, make_system, owner, method, after, done)


@pytest.mark.usefixtures("many")
def test_of_many_tasks_the_first_few_predictions_are_enough_to_activate(own_world: World) -> None:
    world = own_world  # the next task stays with who was shown it, for later tests too
    real = world.system.studio.activate
    sent, head, shown = dict[int, float](), list[int](), list[int]()

    def activate(project: int, name: str) -> None:
        sent.update(world.predictions(name))
        # As it stands now: the rest, scored later, may hold a harder task than the head, which is drawn at random.
        head.extend(world.system.store.order(world.key, int(name.removeprefix("ew-"))))
        real(project, name)
        shown.append(world.studio.next_task())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.system.studio, "activate", activate)
        world.rank()
    assert len(head) == head_first.COLD
    assert sorted(sent, key=sent.__getitem__) == head[:3]
    assert shown == head[:1]
    world.check()


@pytest.mark.usefixtures("many")
def test_of_the_first_few_a_deleted_one_stops_nothing(own_world: World, tiny_tagger: Path) -> None:
    own_world.rank()
    gone = own_world.system.store.order(own_world.key, own_world.active.n)[:2]
    for task in gone:
        own_world.studio.call("DELETE", f"api/tasks/{task}/")
    publish(own_world.system, own_world.project, tiny_tagger, "second")
    own_world.rank()
    own_world.check()
    assert not set(gone) & set(own_world.system.store.order(own_world.key, own_world.active.n))


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("arrived", [True, False])
def test_a_first_prediction_without_an_answer_is_there_once(world: World, arrived: bool) -> None:
    real, calls = world.system.studio.push_one, list[int]()

    def push_one(*args: Any) -> None:
        calls.append(1)
        if arrived or len(calls) != 2:
            real(*args)
        if len(calls) == 2:
            raise StudioUnavailable("no answer", "again")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.system.studio, "push_one", push_one)
        world.rank()
    assert len(calls) == 2
    world.check()


def test_a_newer_version_takes_the_place_of_a_release_that_was_cut_off(
    world: World, make_system: Make, tiny_tagger: Path
) -> None:
    world.rank()
    first = world.active.n
    publish(world.system, world.project, tiny_tagger, "second")
    with pytest.MonkeyPatch.context() as patch:
        dies(patch, world.system.studio, "activate", done=True)
        with pytest.raises(Killed):
            world.rank()
    publish(world.system, world.project, tiny_tagger, "third")
    later = world.again(make_system)
    assert later.active.n == first, "what we answer from is still there"
    later.rank()
    later.check()
    assert later.active.n == first + 2
    assert f"ew-{first}" not in later.studio.studio.model_versions(later.studio.id)


def test_what_somebody_has_on_the_screen_can_be_submitted_after_newer_releases(
    own_world: World, tiny_tagger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "ON_SCREEN", timedelta(hours=1))
    own_world.rank()
    first, open_task = own_world.active.n, own_world.studio.next_task()
    shown = own_world.studio.studio.predictions(own_world.studio.id, [open_task])[0]["id"]
    for name in ("second", "third", "fourth"):
        publish(own_world.system, own_world.project, tiny_tagger, name)
        own_world.rank()
    own_world.studio.annotate(open_task, parent_prediction=shown)
    monkeypatch.setattr(ranking, "RELEASES_THERE_MOST", 3)
    publish(own_world.system, own_world.project, tiny_tagger, "fifth")
    own_world.rank()
    there = own_world.studio.studio.model_versions(own_world.studio.id)
    assert set(there) == {f"ew-{n}" for n in range(first + 2, first + 5)}


def test_a_newer_version_cancels_the_rest_and_never_the_head(world: World, tiny_tagger: Path) -> None:
    store, real = world.system.store, world.system.studio.activate

    def activate(*args: Any) -> None:
        real(*args)
        publish(world.system, world.project, tiny_tagger, "newer")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.system.studio, "activate", activate)
        world.rank()
    head = world.active
    assert (head.state, head.whole, head.version) == ("active", False, None)
    assert len(store.order(world.key, head.n)) == head_first.COLD
    assert "rank" in waiting(world.system, world.key)
    assert version_name(world.system, world.project) == "ew-live"
    world.rank()
    world.check()
    assert world.active.n == head.n + 1


def test_new_tasks_join_the_active_release_and_labelled_ones_leave_the_order(own_world: World) -> None:
    own_world.rank()
    n, hardest = own_world.active.n, own_world.studio.next_task()
    assert hardest == own_world.system.store.order(own_world.key, n)[0]
    new = own_world.studio.add_tasks(["Noether came from Lisbon by train .", "We met Ada Young near Paris ."])
    own_world.studio.annotate(hardest)
    do(own_world.system, own_world.key, sync)
    assert "rank" in waiting(own_world.system, own_world.key)
    own_world.rank()
    own_world.check()
    assert own_world.active.n == n
    order = own_world.system.store.order(own_world.key, n)
    assert set(new) < set(order)
    assert hardest not in order
    assert select_samples(own_world.system, own_world.project, 3, None, None)["task_ids"] == order[:3]


def test_a_deleted_task_stops_nothing(own_world: World) -> None:
    gone = own_world.system.store.open_task_ids(own_world.key)[3]
    own_world.studio.call("DELETE", f"api/tasks/{gone}/")
    own_world.rank()
    assert gone not in own_world.predictions(release_name(own_world.active.n))
    own_world.system.store.update_project(own_world.key, swept_at=None)
    do(own_world.system, own_world.key, sync)
    own_world.rank()
    own_world.check()


def test_another_version_selected_by_hand_is_ours_again_after_a_ranking(world: World) -> None:
    world.rank()
    world.studio.studio.update_project(world.studio.id, model_version="")
    world.rank()
    world.check()


def test_what_arrives_later_than_we_waited_for_it_is_not_kept_twice(world: World) -> None:
    world.rank()
    name = release_name(world.active.n)
    ranks = world.system.store.ranks(world.key, world.active.n, world.predictions(name))
    late = [
        {"task": task, "result": list(rank.result), "score": rank.score, "model_version": name}
        for task, rank in ranks.items()
    ]
    world.studio.call("POST", f"api/projects/{world.studio.id}/import/predictions", late[:4])
    world.rank()
    world.check()


def test_a_release_that_label_studio_does_not_take_is_tried_again(world: World) -> None:
    def refuse(*args: Any) -> None:
        raise StudioRefused("no", "yes")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.system.studio, "activate", refuse)
        with pytest.raises(StudioRefused):
            world.rank()
    assert world.project.active_release is None
    do(world.system, world.key, sync)
    assert "rank" in waiting(world.system, world.key)
    world.rank()
    world.check()


def test_a_cancelled_ranking_is_taken_up_by_the_next(world: World) -> None:
    real: Callable[..., Any] = world.system.studio.push_release

    def push(*args: Any, **named: Any) -> Any:
        for job in world.system.store.running_jobs():
            world.system.queue.cancel(job.id)
        return real(*args, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.system.studio, "push_release", push)
        with pytest.raises(Cancelled):
            world.rank()
    world.rank()
    world.check()


def test_nothing_open_is_no_release(world: World) -> None:
    for task in world.system.store.open_task_ids(world.key):
        world.system.store.set_problems(world.key, {task: "no text"})
    world.rank()
    assert world.system.store.releases(world.key) == []


def test_audit_tasks_come_without_suggestion_and_one_in_every_few(
    world: World, make_system: Make, tmp_path: Path, tiny_tagger: Path
) -> None:
    system = make_system(tmp_path / "audited", baseline_model_name=str(tiny_tagger), audit_fraction=0.3)
    key = synced(system, world.studio).key
    do(system, key, rank)
    audited = World(world.studio, system, key)
    audited.check()
    audit = set(system.store.open_task_ids(key, audit=True))
    assert 2 <= len(audit) <= 14
    ranks = system.store.ranks(key, audited.active.n, system.store.open_task_ids(key))
    assert all(ranks[task].result == () for task in audit)
    assert any(ranks[task].result for task in ranks.keys() - audit)
    assert not audit & set(select_samples(system, audited.project, 100, None, None)["task_ids"])


def test_an_edited_text_is_predicted_anew_and_once(own_world: World) -> None:
    own_world.rank()
    task = own_world.system.store.open_task_ids(own_world.key)[0]
    text = "Grace Hopper came from Cape Town by train ."
    own_world.studio.call("PATCH", f"api/tasks/{task}/", {"data": {"text": text}})
    do(own_world.system, own_world.key, sync)
    own_world.rank()
    own_world.check()


def test_a_release_keeps_how_many_predictions_its_version_changed(world: World, tiny_tagger: Path) -> None:
    for name, changed in (("first", None), ("second", 0.0)):
        publish(world.system, world.project, tiny_tagger, name)
        world.rank()
        said = "the first has nothing before it, the second is of the same weights"
        assert world.active.changed == changed, said
