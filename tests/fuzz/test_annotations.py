"""Annotations of every kind of damage: read, kept in the real store, taught. None of them stops the others."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import llm_prelabel
from edgewise.labels.annotations import parse_annotations, training_example
from edgewise.labels.regions import problems
from edgewise.labels.schema import Head, parse_schema
from edgewise.learning.training import Recipe, train
from edgewise.services.store import Project
from edgewise.verbs.lessons import lesson_of
from edgewise.verbs.sync import keep
from edgewise.verbs.system import System
from model import uncertainty_functions
from tests.fuzz.conftest import share_of
from tests.fuzz.damage import damaged
from tests.http_stand_in import as_json, serving
from tests.verbs.conftest import settings as tiny_settings

CONFIG = """<View><Labels name="label" toName="text"><Label value="PER"/><Label value="ORG"/></Labels>
<Choices name="tone" toName="text"><Choice value="good"/><Choice value="bad"/></Choices>
<Text name="text" value="$text"/></View>"""
SCHEMA = parse_schema(CONFIG)
TEXT = "Anna works at Acme in Oslo."
RECORDED = Path(__file__).parents[1] / "recorded"


def recorded_annotations() -> list[dict[str, Any]]:
    """What Label Studio really sent, those of several events."""
    found: list[dict[str, Any]] = []
    for path in sorted(RECORDED.glob("webhook_annotation*.json")):
        one = json.loads(path.read_text()).get("annotation")
        found += [one] if isinstance(one, dict) else one or []
    return found


GOOD = {
    "id": 7, "result": [
        {"id": "a", "from_name": "label", "to_name": "text", "type": "labels", "origin": "manual", "score": 0.5,
         "value": {"start": 0, "end": 4, "text": "Anna", "labels": ["PER"]}},
        {"id": "b", "from_name": "tone", "to_name": "text", "type": "choices", "value": {"choices": ["good"]}},
    ],
    "was_cancelled": False, "ground_truth": False, "lead_time": 3.2, "completed_by": 1, "parent_prediction": None,
    "created_at": "2026-11-21T10:00:00.000000Z", "updated_at": "2026-11-21T10:00:01.000000Z",
}  # fmt: skip
KINDS = [GOOD, *recorded_annotations()]
annotations = st.sampled_from(KINDS).flatmap(damaged)
MANY = settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=share_of(1500, at_least=100))


@MANY
@given(st.lists(annotations, min_size=1, max_size=4))
def test_a_damaged_annotation_teaches_what_it_still_says_inside_the_text(raws: list[Any]) -> None:
    read = parse_annotations(raws, 1, {})
    assert len(read) <= len(raws)
    for head in SCHEMA.heads:
        example = training_example(read, head, TEXT)
        for span in example.spans if example else ():
            assert 0 <= span.start < span.end <= len(TEXT)
            assert span.label in head.labels
    for one in read:
        assert isinstance(problems({"result": list(one.result)}, SCHEMA, {"text": TEXT}), list)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """On a store of its own. What Label Studio is asked for meanwhile are predictions: it has some odd ones."""
    begun = {one["parent_prediction"] for one in KINDS if one.get("parent_prediction")}
    odd = [{"id": number, "model_version": "ew-\u0000", "result": {"a": []}} for number in sorted(begun)]
    page = as_json({"tasks": [{"id": 2, "predictions": odd}], "total": 1})
    with serving(lambda *_: page) as address:
        named = {"label_studio_host": address, "label_studio_api_key": "token"}
        made = System(
            tiny_settings(tmp_path_factory.mktemp("fuzz"), **named), uncertainty_functions(), llm_prelabel.prelabel
        )
        yield made
        made.store.close()
        made.studio.close()


@pytest.fixture(scope="module")
def project(system: System) -> Project:
    return system.store.record_project(system.address, 1, "1", title="Fuzz", label_config=CONFIG)


def task(task_id: int, annotations: Any, data: Any = None) -> dict[str, Any]:
    """A task as Label Studio's API lists it."""
    return {
        "id": task_id, "data": {"text": TEXT} if data is None else data, "overlap": 1, "annotations": annotations,
        "updated_at": "2026-11-21T10:00:01.000000Z",
    }  # fmt: skip


@MANY
@given(
    lists=st.lists(st.lists(annotations, max_size=3) | damaged([GOOD]), min_size=1, max_size=4),
    data=damaged({"text": TEXT, "meta": {"source": "a"}}),
)
def test_no_damage_stops_a_sync_and_the_good_task_beside_it_is_learned(
    system: System, project: Project, lists: list[Any], data: Any
) -> None:
    page = [task(number + 2, theirs, data if number % 2 else None) for number, theirs in enumerate(lists)]
    keep(system, project, SCHEMA, [task(1, [GOOD]), *page])
    labelled = dict((one.task_id, theirs) for one, theirs in system.store.labelled(project.key))
    assert [one.id for one in labelled[1]] == [GOOD["id"]]
    for head in SCHEMA.heads:
        lesson = lesson_of(head, list(system.store.labelled(project.key)))
        assert 1 in lesson.ids
        for document in lesson.documents:
            # A choice about an empty text is about nothing, and still one.
            assert all(0 <= span.start <= span.end <= len(document.text) for span in document.spans)
            assert head.kind != "spans" or all(span.start < span.end for span in document.spans)
    system.store.updates(project.key)
    system.store.counts(project.key)


@pytest.mark.parametrize("head", SCHEMA.heads, ids=lambda head: head.kind)
def test_what_is_left_of_damaged_annotations_trains_a_model(
    system: System, project: Project, tiny_base: Path, tmp_path: Path, head: Head
) -> None:
    """After all of the above, in the same store: the texts, the empty one too, that a training would read now."""
    good = [task(number, [GOOD | {"id": number}]) for number in range(100, 112)]
    bad_tone = {"id": "b", "from_name": "tone", "to_name": "text", "type": "choices", "value": {"choices": ["bad"]}}
    bad = [task(number, [GOOD | {"id": number, "result": [bad_tone]}], {"text": ""}) for number in (120, 121)]
    keep(system, project, SCHEMA, [*good, *bad])
    lesson = lesson_of(head, list(system.store.labelled(project.key)))
    assert len(lesson.tasks) >= len(good) + len(bad)
    done = train(
        lesson.documents, head, str(tiny_base), tmp_path / "model", Recipe(epochs=1), report=lambda share: None
    )
    assert (done.folder / "model.safetensors").is_file()
