"""What people made of pre-labels: known also when Label Studio has forgotten what they began from."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from edgewise.labels.annotations import Annotation, parse_annotation
from edgewise.services.store import Prelabelled, Project, Task, Version
from edgewise.services.studio import Studio
from edgewise.verbs.numbers.feedback import feedback, pace
from edgewise.verbs.numbers.suggestions import sources_of, suggestion
from edgewise.verbs.sync import catch_up, sync
from edgewise.verbs.system import System, schema_of
from examples.label_studio import RunningStudio
from tests.studio_fixture import StudioProject, region
from tests.verbs.conftest import Make, do, new_studio_project, schema, synced

TEXT = "Ada met Grace in Paris"
ADA, GRACE, PARIS = (region(TEXT.index(w), TEXT.index(w) + len(w), TEXT, label) for w, label in (
    ("Ada", "PER"), ("Grace", "PER"), ("Paris", "LOC")
))  # fmt: skip
SHOWN = [ADA | {"id": "a", "score": 0.9}, PARIS | {"id": "p", "score": 0.6}]
DONE = {
    "accepted": [ADA, PARIS],
    "moved": [region(0, 7, TEXT, "PER"), PARIS],
    "changed": [ADA, PARIS | {"value": PARIS["value"] | {"labels": ["PER"]}}],
    "deleted": [PARIS],
    "missed": [ADA, GRACE, PARIS],
}
PER = {"head": "label", "label": "PER", "accepted": 3, "moved": 1, "changed": 0, "deleted": 1, "missed": 1}
LOC = {"head": "label", "label": "LOC", "accepted": 4, "moved": 0, "changed": 1, "deleted": 0, "missed": 0}


class World:
    """A project of Label Studio whose release is a version's, and our memory of it."""

    def __init__(self, system: System, studio: StudioProject) -> None:
        self.system, self.studio = system, studio
        self.key = synced(system, studio).key
        self.ids = sorted(system.store.task_ids(self.key))

    @property
    def project(self) -> Project:
        return self.system.by_key(self.key)

    def sync(self) -> None:
        do(self.system, self.key, sync)

    def release(self, version: str | None, scales: dict[str, list[float]] | None = None) -> str:
        """A release that says the same of every task."""
        made = self.system.store.new_release(self.key, version, schema().digest)
        self.system.store.update_release(self.key, made.n, scales={"label": [0.0]} if scales is None else scales)
        predictions = [{"task": i, "result": SHOWN, "score": 0.5} for i in self.ids]
        self.studio.studio.push_release(self.studio.id, f"ew-{made.n}", predictions)
        return f"ew-{made.n}"

    def parents(self, name: str) -> dict[int, int]:
        """Task -> its prediction of this version."""
        found = self.studio.studio.predictions(self.studio.id, self.ids)
        return {one["task"]: one["id"] for one in found if one["model_version"] == name}

    def forget(self, name: str) -> None:
        self.studio.studio.delete_model_version(self.studio.id, name)


@pytest.fixture
def world(make_system: Make, label_studio: RunningStudio, studio: Studio) -> Iterator[World]:
    made = new_studio_project(label_studio, studio, [{"data": {"text": TEXT}} for _ in range(8)])
    world = World(make_system(), made)
    world.system.store.add_version(Version("v1", world.key, "d", "s", settings={"heads": {"label": "d"}}))
    yield world
    made.http.close()


def test_the_table_says_exactly_what_people_did_also_when_the_release_is_gone(world: World) -> None:
    name = world.release("v1")
    parents = world.parents(name)
    made = {
        what: world.studio.annotate(task, result, parent_prediction=parents[task])
        for task, (what, result) in zip(world.ids, DONE.items(), strict=False)
    }
    skipped, by_hand, unopened = world.ids[5:]
    world.studio.annotate(skipped, SHOWN, parent_prediction=parents[skipped], was_cancelled=True)
    world.studio.annotate(by_hand, [ADA])
    world.studio.annotate(unopened, SHOWN, parent_prediction=parents[unopened], lead_time=None)
    world.sync()
    expected = [row | {"source": "model v1"} for row in (PER, LOC)]
    assert feedback(world.system, world.project) == expected

    world.forget(name)
    for annotation in made.values():  # read again, and now without a parent
        world.studio.call("PATCH", f"api/annotations/{annotation}/", {"lead_time": 4.0})
    task = world.studio.call("GET", f"api/tasks/{unopened}/")
    assert task["annotations"][0]["parent_prediction"] is None
    world.studio.call("PATCH", f"api/tasks/{unopened}/", {"meta": {"read": "again"}})
    world.sync()
    assert feedback(world.system, world.project) == expected
    assert world.system.store.tasks(world.key, [unopened])[unopened].digest is None, "what nobody opened taught"

    world.studio.call("PATCH", f"api/annotations/{made['deleted']}/", {"result": [ADA, PARIS]})
    world.studio.call("DELETE", f"api/annotations/{made['moved']}/")
    world.sync()
    per, loc = feedback(world.system, world.project)
    assert [per[name] for name in ("accepted", "moved", "deleted", "missed")] == [4, 0, 0, 1]
    assert loc["accepted"] == 3


def test_what_people_began_just_before_a_release_goes_is_read_in_time(world: World) -> None:
    name = world.release("v1")
    task = world.ids[0]
    world.studio.annotate(task, [ADA], parent_prediction=world.parents(name)[task])
    known = schema_of(world.project)
    assert known is not None
    catch_up(world.system, world.project, known)
    world.forget(name)
    world.sync()
    assert [(row["label"], row["accepted"], row["deleted"]) for row in feedback(world.system, world.project)] == [
        ("PER", 1, 0),
        ("LOC", 0, 1),
    ]


def test_each_source_has_rows_of_its_own(world: World) -> None:
    names = [world.release("v1"), world.release(None), world.release("llm-3/40/calibrated"), world.release(None, {})]
    for task, name in zip(world.ids, names, strict=False):
        world.studio.annotate(task, [ADA], parent_prediction=world.parents(name)[task])
    world.sync()
    rows = feedback(world.system, world.project)
    assert [(row["source"], row["label"]) for row in rows] == [
        (source, label) for label in ("PER", "LOC") for source in ("baseline", "language model run 3", "model v1")
    ]


TWO_HEADS = """<View><Labels name="label" toName="text"><Label value="PER"/><Label value="LOC"/></Labels>
<Choices name="mood" toName="text"><Choice value="good"/><Choice value="bad"/></Choices>
<Text name="text" value="$text"/></View>"""


@pytest.fixture
def memory(offline: Make) -> tuple[System, Project]:
    """A project with two heads that only we know, and six tasks, of which the last two are held out."""
    system = offline()
    project = system.store.record_project("http://studio", 1, "1", label_config=TWO_HEADS)
    tasks = [Task(i, {"text": TEXT}, f"key {i}", audit=i > 4) for i in range(1, 7)]
    system.store.upsert_tasks(project.key, tasks, {})
    return system, project


def test_a_name_stands_for_who_answered_for_each_head(memory: tuple[System, Project]) -> None:
    system, project = memory
    both = schema(TWO_HEADS)
    store, key = system.store, project.key
    store.add_version(Version("v1", key, both.digest, "s", settings={"heads": {"label": "d"}}))
    for version, scales in (("v1", ["label", "mood"]), (None, ["mood"]), ("llm-7/9", []), ("lost", ["label"])):
        made = store.new_release(key, version, both.digest)
        store.update_release(key, made.n, scales={name: [0.0] for name in scales})
    assert [sources_of(system, project, both, name) for name in ("ew-1", "ew-2", "ew-3", "ew-4", "ew-5")] == [
        {"label": "model v1", "mood": "baseline"},
        {"mood": "baseline"},
        dict.fromkeys(("label", "mood"), "language model run 7"),
        {},
        {},
    ]
    assert sources_of(system, project, both, "llm-12")["mood"] == "language model run 12"
    assert sources_of(system, project, both, "ew-live") == {}
    assert sources_of(system, project, both, "spacy")["label"] == "other: spacy"
    assert sources_of(system, project, both, "")["label"] == "other"


def work(task: int, *result: dict[str, Any], parent: int | None = 9, **fields: Any) -> Annotation:
    raw = {"id": 10 * task, "completed_by": 1, "lead_time": 2.0, "parent_prediction": parent, "result": list(result)}
    return parse_annotation(raw | fields, task)


def told(memory: tuple[System, Project], annotation: Annotation, result: list[Any], name: str = "spacy") -> None:
    """Keep an annotation, and what it began from, as a sync does."""
    system, project = memory
    known = system.store.tasks(project.key, [annotation.task_id])[annotation.task_id]
    system.store.upsert_tasks(project.key, [replace(known, digest="d")], {annotation.task_id: [annotation]})
    shown = {"id": 9, "model_version": name, "result": result}
    system.store.save_suggestions(project.key, [suggestion(system, project, schema(TWO_HEADS), annotation, shown)])


def test_a_task_that_a_language_model_failed_on_was_not_missed_by_it(memory: tuple[System, Project]) -> None:
    system, project = memory
    answers = [Prelabelled(1, 1), Prelabelled(2, 1, error="refused")]
    system.store.save_prelabels(project.key, answers)
    for task in (1, 2, 3):
        told(memory, work(task, ADA), [], "llm-1")
    [row] = feedback(system, project)
    assert (row["label"], row["source"], row["missed"]) == ("PER", "language model run 1", 1)


def test_held_out_tasks_are_not_judged_and_show_how_long_it_takes_without(memory: tuple[System, Project]) -> None:
    system, project = memory
    assert pace(system, project) is None
    for task, seconds in ((1, 2.0), (2, 3.0), (3, 7.0)):
        told(memory, work(task, ADA, lead_time=seconds), [ADA])
    assert pace(system, project) is None, "there is no other side yet"
    told(memory, work(5, ADA, lead_time=11.0), [])
    told(memory, work(6, ADA, lead_time=12.0), [ADA])  # AUDIT_PRELABEL was set then
    told(memory, work(4, ADA, lead_time=500.0), [], "ew-live")
    assert pace(system, project) == {"with": {"tasks": 4, "median_s": 5.0}, "without": {"tasks": 1, "median_s": 11.0}}
    assert [(row["label"], row["accepted"], row["missed"]) for row in feedback(system, project)] == [("PER", 3, 0)]


def test_choices_are_judged_beside_spans(memory: tuple[System, Project]) -> None:
    system, project = memory

    def mood(value: str) -> dict[str, Any]:
        return {"from_name": "mood", "to_name": "text", "type": "choices", "value": {"choices": [value]}}

    told(memory, work(1, ADA, mood("bad")), [ADA, mood("good")])
    told(memory, work(2, mood("good")), [mood("good")])
    told(memory, work(3, mood("good")), ["no region", {"from_name": "mood"}])
    rows = feedback(system, project)
    assert [[row[name] for name in ("head", "label", "accepted", "changed", "missed")] for row in rows] == [
        ["label", "PER", 1, 0, 0],
        ["mood", "good", 1, 1, 1],
    ]
