"""Projects with Choices, alone and beside Labels: what is taught, kept, ranked, answered, and what waits."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from edgewise.errors import Conflict, InputError
from edgewise.labels.annotations import parse_annotation
from edgewise.labels.regions import problems
from edgewise.labels.spans import Document
from edgewise.services.store import Project, Task
from edgewise.services.studio import Studio
from edgewise.verbs.answer import predict, select_samples
from edgewise.verbs.lessons import lesson_of
from edgewise.verbs.rank import rank
from edgewise.verbs.system import System, schema_of
from edgewise.verbs.train import train
from examples.label_studio import RunningStudio
from tests.studio_fixture import StudioProject
from tests.verbs.conftest import Make, do, new_studio_project, result_of, schema, synced

MIXED = """<View><Labels name="label" toName="text"><Label value="PER"/><Label value="LOC"/></Labels>
<Choices name="kind" toName="text"><Choice value="person"/><Choice value="place"/></Choices>
<Choices name="tags" toName="text" choice="multiple"><Choice value="has PER"/><Choice value="has LOC"/></Choices>
<Rating name="stars" toName="text"/><Text name="text" value="$text"/></View>"""
PATIENT: dict[str, Any] = {"learning_rate": 5e-3, "num_train_epochs": 20}


def choice(name: str, *labels: str) -> dict[str, Any]:
    return {"from_name": name, "to_name": "text", "type": "choices", "value": {"choices": list(labels)}}


def judged(document: Document) -> list[dict[str, Any]]:
    """All that there is to say about a document."""
    found = {span.label for span in document.spans}
    tags = [choice("tags", *(f"has {label}" for label in ("PER", "LOC") if label in found))] if found else []
    return [
        *result_of(document),
        choice("kind", "place" if {"went", "came"} & set(document.text.split()) else "person"),
        *tags,
    ]


def labelled(document: Document, result: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"data": {"text": document.text}, "annotations": [{"result": list(result), "lead_time": 3.0}]}


@pytest.fixture
def mixed(label_studio: RunningStudio, studio: Studio, documents: list[Document]) -> Iterator[StudioProject]:
    """24 tasks that are labelled under every head, 12 that are open."""
    done = [labelled(document, judged(document)) for document in documents[::4][:24]]
    still = [{"data": {"text": document.text}} for document in documents[1::8][:12]]
    made = new_studio_project(label_studio, studio, [*done, *still], MIXED)
    with made.http:
        yield made


def live(system: System, project: StudioProject) -> Project:
    key = synced(system, project).key
    do(system, key, train)
    return do(system, key, rank)


def test_a_project_of_three_heads_is_taught_ranked_and_answered_as_one(
    mixed: StudioProject, make_system: Make, tiny_base: Path
) -> None:
    system = make_system(baseline_model_name=str(tiny_base), **PATIENT)
    project = live(system, mixed)
    (version,) = system.store.versions(project.key)
    assert set(version.scores) == set(version.settings["heads"]) == {"label", "kind", "tags"}
    assert version.scores["kind"]["out_of_fold"]["accuracy"] is not None
    assert version.label_counts["kind"].keys() <= {"person", "place"}
    assert all(detail["why"] for detail in version.settings["training"].values())
    heads = schema_of(project)
    assert heads is not None
    assert heads.ignored == ("Rating 'stars'",)
    shown = mixed.call("GET", f"api/tasks/{mixed.next_task()}/")
    (prediction,) = [one for one in shown["predictions"] if one["model_version"] == "ew-1"]
    assert {region["from_name"] for region in prediction["result"]} >= {"kind"}
    assert problems(prediction, heads, shown["data"]) == []
    assert "ew-1" in {name for name in mixed.studio.model_versions(mixed.id)}


def test_a_task_is_asked_for_by_the_strategies_that_made_the_order(
    mixed: StudioProject, make_system: Make, tiny_base: Path
) -> None:
    system = make_system(baseline_model_name=str(tiny_base), **PATIENT)
    project = live(system, mixed)
    answer = select_samples(system, project, 5, "margin", None)
    assert len(answer["task_ids"]) == 5
    assert all(0 < sample["uncertainty"] < 1 for sample in answer["samples"])
    assert select_samples(system, project, 5, "spans", None) == answer
    with pytest.raises(Conflict, match="'margin' and 'spans'"):
        select_samples(system, project, 5, "mnlp", None)
    with pytest.raises(InputError, match="least_confidence"):
        select_samples(system, project, 5, "luck", None)


def test_what_is_chosen_already_is_not_suggested_again(
    mixed: StudioProject, make_system: Make, tiny_base: Path
) -> None:
    system = make_system(baseline_model_name=str(tiny_base), **PATIENT)
    project = live(system, mixed)
    task = {"id": 10**9, "data": {"text": "Ada Young went to Paris ."}}
    whole = predict(system, project, [task], [])[0]["result"]
    assert "kind" in {region["from_name"] for region in whole}
    left = predict(system, project, [task], [choice("kind", "place")])[0]["result"]
    assert [region for region in whole if region["from_name"] != "kind"] == left


def test_a_head_that_nobody_has_labelled_waits_and_the_others_learn(
    label_studio: RunningStudio, studio: Studio, make_system: Make, tiny_base: Path, documents: list[Document]
) -> None:
    tasks = [labelled(document, judged(document)[-2:-1]) for document in documents[::8][:12]]
    made = new_studio_project(label_studio, studio, tasks, MIXED)
    with made.http:
        system = make_system(baseline_model_name=str(tiny_base), **PATIENT)
        key = synced(system, made).key
        do(system, key, train)
        (version,) = system.store.versions(key)
        assert set(version.settings["heads"]) == {"kind"}
        assert system.store.updates(key) == 0, "what waits is no reason to train again"


def test_one_choice_takes_two_of_the_labels_to_learn(documents: list[Document]) -> None:
    head = next(head for head in schema(MIXED).heads if head.from_name == "kind")
    raw = {"id": 1, "updated_at": "2026-01-01T00:00:00Z", "lead_time": 1.0}

    def missing(*labels: str) -> str | None:
        pairs = [
            (Task(n, {"text": "x"}, "k", digest="d"), [parse_annotation(raw | {"result": [choice("kind", label)]}, n)])
            for n, label in enumerate(labels)
        ]
        return lesson_of(head, pairs).missing

    assert missing("person", "place") is None
    assert "2 labelled tasks to learn from, with 1 different labels" in (missing("person", "person") or "")
