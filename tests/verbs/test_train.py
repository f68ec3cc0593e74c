"""Trainings of a tiny encoder on what people labelled in a real Label Studio: what they make, refuse and survive."""

import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import llm_prelabel
from edgewise.errors import Conflict, NotFound
from edgewise.labels.annotations import parse_annotation
from edgewise.labels.schema import parse_schema
from edgewise.labels.spans import Document
from edgewise.learning.training import train as train_a_head
from edgewise.services.store import Project, Task, Version
from edgewise.services.studio import Studio
from edgewise.verbs import judge
from edgewise.verbs.code import code_version
from edgewise.verbs.lessons import lesson_of
from edgewise.verbs.numbers.summary import numbers
from edgewise.verbs.serving import pin, rollback, unpin
from edgewise.verbs.sync import sync
from edgewise.verbs.system import System, folder_name
from edgewise.verbs.train import kept_versions, train
from examples.label_studio import RunningStudio
from tests.studio_fixture import StudioProject
from tests.verbs.conftest import (
    CONFIG,
    SCORES,
    Killed,
    Make,
    access,
    dies,
    do,
    labelled_task,
    new_studio_project,
    result_of,
    settings,
    synced,
    waiting,
)

LABELLED = 24
GOOD: dict[str, Any] = {"learning_rate": 5e-3, "num_train_epochs": 24, "start_training_each_n_updates": 4}
CARELESS = GOOD | {"learning_rate": 1e-9, "num_train_epochs": 0.1}  # one step of nothing: quick, and learns nothing
TWO_FIELDS = """<View><Labels name="label" toName="text"><Label value="PER"/><Label value="LOC"/></Labels>
<Labels name="other" toName="title"><Label value="PER"/></Labels>
<Text name="text" value="$text"/><Text name="title" value="$title"/></View>"""


@dataclass(frozen=True)
class Class:
    """A project whose first version is trained, in a memory of this test's own."""

    studio: StudioProject
    system: System
    base: Path

    @property
    def project(self) -> Project:
        return self.system.by_key(1)

    @property
    def versions(self) -> list[Version]:
        return self.system.store.versions(1)

    @property
    def first(self) -> Version:
        return self.versions[-1]

    def train(self) -> Project:
        return do(self.system, 1, train)

    def jobs_after_sync(self) -> set[str]:
        """What a sync queues when nothing waited before."""
        self.system.queue.cancel_all(1)
        do(self.system, 1, sync)
        return waiting(self.system, 1)


@pytest.fixture(scope="module")
def school(label_studio: RunningStudio, studio: Studio, documents: list[Document]) -> Iterator[StudioProject]:
    tasks: list[dict[str, Any]] = [labelled_task(document) for document in documents[::4][:LABELLED]]
    tasks += [{"data": {"text": document.text}} for document in documents[1::4]]
    project = new_studio_project(label_studio, studio, tasks)
    yield project
    project.http.close()


@pytest.fixture(scope="module")
def memory(
    label_studio: RunningStudio, school: StudioProject, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """What is remembered after the first training."""
    data = tmp_path_factory.mktemp("memory") / "data"
    system = System(
        settings(data, baseline_model_name=str(tiny_base), **access(label_studio), **GOOD),
        SCORES,
        llm_prelabel.prelabel,
    )
    synced(system, school)
    do(system, 1, train)
    system.store.close()
    system.studio.close()
    return data


@pytest.fixture
def taught(school: StudioProject, memory: Path, make_system: Make, tiny_base: Path, tmp_path: Path) -> Class:
    shutil.copytree(memory, tmp_path / "data")
    return Class(school, make_system(baseline_model_name=str(tiny_base), **GOOD), tiny_base)


@pytest.fixture
def no_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    """No scores out of fold: where they do not matter they are two trainings more to wait for."""
    monkeypatch.setattr(judge, "HELD_OUT_ENOUGH", 0)
    monkeypatch.setattr(judge, "SHOWN_ENOUGH", 0)


@pytest.fixture
def untaught(school: StudioProject, make_system: Make, tiny_base: Path, no_folds: None) -> Class:
    """The same project, read and never trained, with a recipe that takes no time."""
    found = Class(school, make_system(baseline_model_name=str(tiny_base), **CARELESS), tiny_base)
    synced(found.system, school)
    return found


@pytest.fixture
def four_more(school: StudioProject, documents: list[Document]) -> Iterator[list[int]]:
    """Four more labelled tasks, for this test only."""
    new = school.studio.import_tasks(school.id, [labelled_task(document) for document in documents[2::30]])
    yield new
    for task in new:
        school.call("DELETE", f"api/tasks/{task}/")


def test_the_first_version_serves_and_says_what_it_is(taught: Class) -> None:
    version = taught.first
    assert taught.project.serving == version.id
    assert (version.state, version.provisional, version.examples) == ("accepted", True, LABELLED)
    assert version.label_counts == {"label": {"PER": LABELLED, "LOC": LABELLED}}
    assert version.scores["label"]["out_of_fold"]["overall"]["f1"] > 0.5
    assert "rank" in waiting(taught.system, 1)
    assert {message.topic for message in taught.system.store.outbox_next(10)} == {"version", "champion"}
    assert taught.system.store.updates(1) == 0


def test_its_numbers_are_there_at_once(taught: Class) -> None:
    told = numbers(taught.system, taught.project)
    (point,) = told["curves"]["label"]["points"]
    assert (point["version"], point["on"], point["tasks"]) == (taught.first.id, "out_of_fold", LABELLED)
    assert point["score"] > 0.5
    assert point["minutes"] == LABELLED * 3 / 60
    (card,) = told["versions"]
    assert (card["kept"], card["code"], card["seed"]) == (True, code_version(), 0)
    assert told["advice"]["stop"] is None


def test_nothing_new_labelled_is_no_new_version(taught: Class) -> None:
    taught.train()
    assert len(taught.versions) == 1
    assert taught.jobs_after_sync() == {"rank"}, "the version is not shown in Label Studio yet; no training is due"


def test_enough_new_labels_train_once_and_make_the_next_version(taught: Class, four_more: list[int]) -> None:
    taught.system.store.update_project(1, last_training=None)
    assert "train" in taught.jobs_after_sync()
    taught.train()
    assert [version.parent for version in taught.versions] == [taught.first.id, None]
    assert taught.versions[0].examples == LABELLED + len(four_more)
    assert "train" not in taught.jobs_after_sync()


def test_a_worse_version_is_listed_as_refused_and_the_old_one_goes_on(taught: Class, make_system: Make) -> None:
    careless = make_system(baseline_model_name=str(taught.base), **CARELESS)
    do(careless, 1, train)
    worse, first = taught.versions  # the same labels, with other settings: a version of its own
    assert (worse.state, first.state) == ("refused", "accepted")
    assert "worse" in worse.reason
    assert taught.project.serving == first.id
    assert taught.system.store.updates(1) == 0, "it is not tried again before there is something new"
    assert rollback(taught.system, taught.project, worse.id).kind == "rank", "by command it may serve"
    assert taught.project.serving == worse.id


def test_too_little_to_learn_from_is_refused_and_nothing_is_kept(
    label_studio: RunningStudio, studio: Studio, make_system: Make, tiny_base: Path, documents: list[Document]
) -> None:
    nothing_here = {"data": {"text": "Nobody ."}, "annotations": [{"result": []}]}
    made = new_studio_project(label_studio, studio, [labelled_task(documents[0]), {"data": {"text": "Nobody ."}}])
    with made.http:
        system = make_system(baseline_model_name=str(tiny_base), **GOOD)
        key = synced(system, made).key
        with pytest.raises(Conflict, match="1 labelled tasks to learn from"):
            do(system, key, train)
        made.studio.import_tasks(made.id, [nothing_here] * 3)
        do(system, key, train)
        assert system.by_key(key).serving is not None


DEATHS = [
    ("store", "add_snapshot", "when the snapshot is kept"),
    ("store", "add_version", "when the version is listed"),
    ("queue", "enqueue", "when it serves and the ranking is not queued"),
]


@pytest.mark.parametrize(("owner", "method"), [pytest.param(*death[:2], id=death[2]) for death in DEATHS])
def test_killed_and_run_again_it_is_the_same_version_once_and_its_ranking_comes(
    untaught: Class, make_system: Make, owner: str, method: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        dies(patch, getattr(untaught.system, owner), method, done=method != "enqueue")
        with pytest.raises(Killed):
            untaught.train()
    later = replace(untaught, system=make_system(baseline_model_name=str(untaught.base), **CARELESS))
    later.train()
    (version,) = later.versions
    assert later.project.serving == version.id
    assert later.system.registry.versions(folder_name(later.project)) == {version.id}
    assert "rank" in later.jobs_after_sync()


def test_lost_weights_come_back_with_the_next_training(untaught: Class, caplog: pytest.LogCaptureFixture) -> None:
    untaught.train()
    lost = untaught.first.id
    untaught.system.registry.erase(folder_name(untaught.project))
    with caplog.at_level(logging.WARNING):
        untaught.train()
    assert "cannot be compared" in caplog.text
    assert [version.id for version in untaught.versions] == [lost], "the same labels and settings: the same version"
    untaught.system.registry.verify(folder_name(untaught.project), lost)


def test_a_changed_config_gets_a_new_head_on_the_kept_encoder_without_a_comparison(
    untaught: Class, monkeypatch: pytest.MonkeyPatch
) -> None:
    untaught.train()
    bases: list[str] = []

    def train_head(*args: Any, **named: Any) -> Any:
        bases.append(args[2])
        return train_a_head(*args, **named)

    monkeypatch.setattr("edgewise.verbs.train.train_head", train_head)
    config = CONFIG.replace('<Label value="LOC"/>', '<Label value="LOC"/><Label value="DAY"/>')
    untaught.system.store.update_project(1, label_config=config, note="The labelling config changed.")
    untaught.train()
    newest, first = untaught.versions
    assert bases == [str(untaught.system.registry.folder(folder_name(untaught.project), first.id, "label"))]
    assert (newest.state, newest.parent) == ("accepted", first.id)
    assert "changed labelling config" in newest.reason
    assert untaught.project.note == ""
    with pytest.raises(Conflict, match="another labelling config"):
        rollback(untaught.system, untaught.project, first.id)


def test_a_pinned_versions_weights_stay_however_many_are_newer(taught: Class) -> None:
    first, store = taught.first, taught.system.store
    assert first.created_at
    assert pin(taught.system, taught.project, first.id).pinned
    for day in range(1, 5):
        moment = first.created_at + timedelta(days=day)
        store.add_version(replace(first, id=f"{day:012}", pinned=False, created_at=moment))
    store.update_project(1, serving=f"{4:012}")
    assert kept_versions(taught.system, taught.project) == {first.id, *(f"{day:012}" for day in (2, 3, 4))}
    assert not unpin(taught.system, taught.project, first.id).pinned
    assert first.id not in kept_versions(taught.system, taught.project)
    for unknown in ("0" * 11 + "9", f"{1:012}"):  # no such version; no weights
        with pytest.raises(NotFound):
            pin(taught.system, taught.project, unknown)


def test_a_config_changed_during_the_first_training_brings_another_one(
    untaught: Class, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = CONFIG.replace('<Label value="LOC"/>', '<Label value="LOC"/><Label value="DAY"/>')

    def train_head(*args: Any, **named: Any) -> Any:
        untaught.system.store.update_project(1, label_config=config)
        return train_a_head(*args, **named)

    untaught.system.queue.cancel_all(1)
    monkeypatch.setattr("edgewise.verbs.train.train_head", train_head)
    untaught.train()
    assert {"train", "rank"} <= waiting(untaught.system, 1)


def test_a_task_that_only_one_head_can_read_teaches_that_head(documents: list[Document]) -> None:
    both = parse_schema(TWO_FIELDS)
    task = Task(1, {"text": documents[0].text}, "key", digest="digest", problem="The task's field 'title' is missing.")
    raw = {"id": 1, "updated_at": "2026-01-01T00:00:00Z", "lead_time": 1.0, "result": result_of(documents[0])}
    labelled = [(task, [parse_annotation(raw, 1)])]
    sizes = {head.from_name: len(lesson_of(head, labelled).tasks) for head in both.heads}
    assert sizes == {"label": 1, "other": 0}, "else it would count as an update that no training ever takes in"


@pytest.mark.usefixtures("no_folds")
def test_held_out_tasks_are_never_learned_from(
    school: StudioProject, make_system: Make, tiny_base: Path, tmp_path: Path
) -> None:
    system = make_system(
        tmp_path / "audited", baseline_model_name=str(tiny_base), **(CARELESS | {"audit_fraction": 0.4})
    )
    key = synced(system, school).key
    do(system, key, train)
    version = system.store.versions(key)[0]
    held_out = {task.task_id for task, _ in system.store.labelled(key) if task.audit}
    learned = {row.task_id for row in system.store.snapshot_rows(key, version.snapshot)}
    assert 3 <= len(held_out) <= 18
    assert not held_out & learned
    assert held_out | learned == {task.task_id for task, _ in system.store.labelled(key)}
    waiting = set(system.store.open_task_ids(key, audit=True))
    assert waiting, "of these it keeps what it says, too: they may be labelled when its weights are gone"
    assert set(system.store.version_predictions(key, version.id, "held_out")) == held_out | waiting
    assert version.scores["label"]["held_out_tasks"] == len(held_out)
