"""Wrong labels in a real Label Studio: found, listed in a tab, corrected there, told by who learns them."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from edgewise.errors import Conflict, InputError
from edgewise.labels.annotations import Annotation, parse_annotation
from edgewise.labels.spans import Document, Span
from edgewise.services.store import Project, Task, Version
from edgewise.services.studio import Studio
from edgewise.verbs import judge
from edgewise.verbs.connect import forget
from edgewise.verbs.numbers.agreements import agreements
from edgewise.verbs.numbers.fixed_labels import KIND, fixed_labels
from edgewise.verbs.numbers.label_errors import label_errors
from edgewise.verbs.numbers.shown_errors import newest_errors
from edgewise.verbs.sync import example_digest, sync, text_key
from edgewise.verbs.system import System
from edgewise.verbs.train import train
from examples.label_studio import RunningStudio
from model import MEASURING
from tests.studio_fixture import StudioProject, region
from tests.verbs.conftest import CONFIG, Make, do, labelled_task, new_studio_project, result_of, schema, started, synced

GOOD: dict[str, Any] = {"learning_rate": 5e-3, "num_train_epochs": 16}
CARELESS: dict[str, Any] = {"learning_rate": 1e-9, "num_train_epochs": 0.1}
TITLE = "Likely label errors"
OTHER = {"PER": "LOC", "LOC": "PER"}
WRONG = (3, 17, 30, 44)


def swapped(document: Document) -> Document:
    """Who takes every person for a place, and every place for a person."""
    return Document(document.text, tuple(replace(span, label=OTHER[span.label]) for span in document.spans))


def look(system: System, key: int, **options: Any) -> dict[str, Any]:
    """Run the verb; its report."""
    with started(system, key, KIND) as progress:
        label_errors(system, system.by_key(key), options, progress)
    return system.store.reports(key, 1, KIND)[0].content


@dataclass(frozen=True)
class School:
    """60 labelled tasks, four of them wrong."""

    studio: StudioProject
    system: System
    key: int
    ids: Sequence[int]
    right: Sequence[Document]

    @property
    def project(self) -> Project:
        return self.system.by_key(self.key)

    @property
    def wrong(self) -> set[int]:
        return {self.ids[i] for i in WRONG}

    def correct(self, number: int, document: Document) -> None:
        """Somebody changes the annotation of this task."""
        (annotation,) = self.studio.call("GET", f"api/tasks/{self.ids[number]}/annotations/")
        self.studio.call("PATCH", f"api/annotations/{annotation['id']}/", {"result": result_of(document)})

    def tab(self) -> list[int] | None:
        """The ids that the tab lists; None if there is none."""
        found = [view for view in self.studio.studio.views(self.studio.id) if view["data"]["title"] == TITLE]
        if not found:
            return None
        (view,) = found
        (listed,) = [item for item in view["data"]["filters"]["items"] if item["operator"] == "in_list"]
        answer = self.studio.call("GET", f"api/tasks/?project={self.studio.id}&view={view['id']}")
        assert {row["id"] for row in answer["tasks"]} == set(listed["value"]), "Label Studio shows exactly these"
        return list(listed["value"])


@pytest.fixture
def school(
    label_studio: RunningStudio, studio: Studio, make_system: Make, tiny_base: Path, documents: list[Document]
) -> Iterator[School]:
    right = [document for i, document in enumerate(documents) if i % 5 < 3]
    given = [swapped(document) if i in WRONG else document for i, document in enumerate(right)]
    made = new_studio_project(label_studio, studio, [labelled_task(document) for document in given])
    system = make_system(baseline_model_name=str(tiny_base), **GOOD)
    key = synced(system, made).key
    by_text = {task.data["text"]: task.task_id for task in system.store.tasks(key, system.store.task_ids(key)).values()}
    yield School(made, system, key, [by_text[document.text] for document in right], right)
    made.http.close()


def test_wrong_labels_are_listed_corrected_and_told_by_the_next_version(
    school: School, make_system: Make, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "HELD_OUT_ENOUGH", 0)  # no scores out of fold: they are two trainings more to wait for
    assert school.tab() is None
    found = look(school.system, school.key)
    check_report(school, found)
    check_shown(school, found)
    first, second = school.right[WRONG[0]], school.right[WRONG[1]]
    school.correct(WRONG[0], first)  # as the model thinks
    school.correct(WRONG[1], Document(second.text, second.spans[:1]))  # as nobody thinks
    careless = make_system(baseline_model_name=str(tiny_base), **CARELESS)
    do(careless, school.key, sync)
    do(careless, school.key, train)
    (version,) = careless.store.versions(school.key)
    told = version.settings["fixed_labels"]
    rows = [row for row in found["errors"] if row["task_id"] in told["tasks"]]
    assert told["tasks"] == sorted({school.ids[WRONG[0]], school.ids[WRONG[1]]})
    assert (told["listed"], told["labels"]) == (len({row["task_id"] for row in found["errors"]}), len(rows))
    assert told["as_suggested"] == sum(now_so(school, row) for row in rows) >= 2
    assert f"corrected labels of 2 of the {told['listed']} tasks" in version.reason
    now = newest_errors(careless, school.project)
    assert now is not None
    fixed = {row["task_id"] for row in now["report"]["errors"] if row["fixed"]}
    assert fixed == set(told["tasks"])
    check_told_once(school, careless)
    with started(careless, school.key, "forget") as progress:
        forget(careless, school.project, progress)
    assert school.tab() is None


def check_report(school: School, found: dict[str, Any]) -> None:
    """The wrong ones are in it, few others are, worst first; and no text is."""
    listed = [row["task_id"] for row in found["errors"]]
    assert found["found"] == len(listed)
    assert len(school.wrong & set(listed)) >= 3
    assert len(set(listed) - school.wrong) <= 5
    assert [row["score"] for row in found["errors"]] == sorted(row["score"] for row in found["errors"])
    assert school.tab() == list(dict.fromkeys(listed))
    assert (found["tasks"], found["folds"], found["agreement"]) == (60, 4, [])
    assert not any(name in json.dumps(found) for name in ("Ada", "Paris", "Washington"))


def check_shown(school: School, found: dict[str, Any]) -> None:
    """People read the words of the text."""
    told = newest_errors(school.system, school.project)
    assert told is not None
    assert len(told["report"]["errors"]) == len(found["errors"])
    texts = dict(zip(school.ids, (document.text for document in school.right), strict=True))
    for row, raw in zip(told["report"]["errors"], found["errors"], strict=True):
        assert (row["task_id"], row["score"], row["fixed"]) == (raw["task_id"], raw["score"], False)
        for side in ("given", "thinks"):
            if raw[side] is None:
                assert row[side] == "nothing"
            else:
                start, end = raw[f"{side}_at"]
                assert row[side] == f"{raw[side]} '{texts[raw['task_id']][start:end]}'"


def now_so(school: School, row: dict[str, Any]) -> bool:
    """Whether the corrected annotation says what the model thought."""
    number = school.ids.index(row["task_id"])
    spans = school.right[number].spans if number == WRONG[0] else school.right[number].spans[:1]
    now = {(span.start, span.end, span.label) for span in spans}
    given, thinks = ((*row[f"{side}_at"], row[side]) if row[side] else None for side in ("given", "thinks"))
    return given not in now and (thinks is None or thinks in now)


def check_told_once(school: School, system: System) -> None:
    """The version after that has learnt nothing from this report; what it learnt is other labels."""
    school.correct(0, swapped(school.right[0]))
    do(system, school.key, sync)
    do(system, school.key, train)
    newest = system.store.versions(school.key)[0]
    assert newest.parent is not None
    assert "fixed_labels" not in newest.settings
    assert "corrected labels" not in newest.reason


def test_run_again_after_the_report_only_the_tab_is_left_to_do(school: School, monkeypatch: pytest.MonkeyPatch) -> None:
    system, key = school.system, school.key
    row = {"task_id": school.ids[0], "head": "label", "score": 0.1}
    with started(system, key, KIND) as progress:
        system.store.begin_report(key, progress.job_id, KIND)
        system.store.finish_report(key, progress.job_id, {"found": 1, "tasks": 60, "errors": [row]})
        monkeypatch.setattr("edgewise.verbs.numbers.label_errors.look", None)
        label_errors(system, school.project, {}, progress)
    assert school.tab() == [school.ids[0]]


@pytest.mark.parametrize("folds", [1, 21, True, "four", 2.0])
def test_a_number_of_folds_that_cannot_be_is_refused(offline: Make, folds: object) -> None:
    system = offline()
    key = kept(system, {}).key
    with pytest.raises(InputError, match="'folds'"):
        look(system, key, folds=folds)


def test_without_labels_in_the_config_there_is_nothing_to_judge(offline: Make) -> None:
    system = offline()
    key = system.store.record_project(system.address, 1, "1", title="", label_config="<View/>").key
    with pytest.raises(Conflict, match="no labels that we can learn"):
        look(system, key)
    assert newest_errors(system, system.by_key(key)) is None
    assert KIND in MEASURING


def kept(system: System, annotated: dict[str, Sequence[dict[str, Any]]], audit: bool = False) -> Project:
    """A project in our memory alone. annotated: text -> annotations."""
    project = system.store.record_project(system.address, 1, "1", title="", label_config=CONFIG)
    theirs: dict[int, list[Annotation]] = {}
    tasks = []
    for number, (text, raws) in enumerate(annotated.items(), 1):
        theirs[number] = [
            parse_annotation({"id": 10 * number + i, "lead_time": 1.0, **raw}, number) for i, raw in enumerate(raws)
        ]
        digest = example_digest(theirs[number], schema(), {"label": text})
        tasks.append(Task(number, {"text": text}, text_key([text]), audit=audit, digest=digest))
    system.store.upsert_tasks(project.key, tasks, theirs)
    return project


def by(person: int | None, text: str, *spans: Span, **more: Any) -> dict[str, Any]:
    """An annotation of somebody's."""
    result = [region(span.start, span.end, text, span.label) for span in spans]
    return {"completed_by": person, "result": result, "updated_at": "2026-11-21T10:00:00Z", **more}


TEXT, AGAIN = "Ada Young went to Paris .", "Noether lives in Lisbon , she said ."
ADA, PARIS, NOETHER = Span(0, 9, "PER"), Span(18, 23, "LOC"), Span(0, 7, "PER")


@pytest.mark.parametrize("audit", [False, True])
def test_annotators_are_compared_by_their_last_finished_word(offline: Make, audit: bool) -> None:
    system = offline()
    later = {"updated_at": "2026-11-21T11:00:00Z"}
    project = kept(
        system,
        {
            TEXT: [
                by(1, TEXT),
                by(1, TEXT, ADA, PARIS, **later, parent_prediction=5),
                by(2, TEXT, ADA, Span(18, 23, "PER"), parent_prediction=5),
                by(3, TEXT, was_cancelled=True),
                by(None, TEXT),
            ],
            AGAIN: [
                by(1, AGAIN, NOETHER),
                by(2, AGAIN, Span(0, 6, "PER")),
                by(4, AGAIN, lead_time=None, parent_prediction=6),
            ],
        },
        audit=audit,
    )
    assert agreements(system, project, schema()) == [
        {
            "head": "label",
            "first": 1,
            "second": 2,
            "tasks": 2,
            "f1": pytest.approx(4 / 6),  # half a word less is the same word
            "same": None,
            "kappa": None,
            "differ": (("LOC", "PER", 1),),
            "from_prelabels": 1,
        }
    ]


def test_one_annotator_agrees_with_nobody(offline: Make) -> None:
    system = offline()
    project = kept(system, {TEXT: [by(1, TEXT, ADA)], AGAIN: [by(2, AGAIN, NOETHER)]})
    assert agreements(system, project, schema()) == []


def test_what_is_gone_or_has_another_config_is_not_shown(offline: Make) -> None:
    system = offline()
    project = kept(system, {TEXT: [by(1, TEXT, ADA)]})
    row = {"given": "LOC", "given_at": [0, 9], "thinks": None, "thinks_at": None, "score": 0.1, "digest": "then"}
    rows = [row | {"task_id": task, "head": head} for task, head in ((1, "label"), (2, "label"), (1, "mood"))]
    system.store.begin_report(project.key, "job", KIND)
    system.store.finish_report(project.key, "job", {"errors": rows, "tasks": 2, "found": 3})
    told = newest_errors(system, project)
    assert told is not None
    assert told["report"]["errors"] == [
        {"task_id": 1, "head": "label", "score": 0.1, "given": "LOC 'Ada Young'", "thinks": "nothing", "fixed": True}
    ]
    assert (told["id"], told["report"]["found"]) == ("job", 3)


TONES = """<View><Choices name="tone" toName="text"><Choice value="glad"/><Choice value="sad"/></Choices>
<Choices name="about" toName="text" choice="multiple"><Choice value="art"/><Choice value="war"/></Choices>
<Text name="text" value="$text"/></View>"""


def chosen(head: str, *labels: str) -> dict[str, Any]:
    return {"from_name": head, "to_name": "text", "type": "choices", "value": {"choices": list(labels)}}


def test_a_corrected_choice_is_as_the_model_thought_or_not_and_each_version_tells_its_own(offline: Make) -> None:
    system = offline()
    project = system.store.record_project(system.address, 1, "1", title="", label_config=TONES)

    def label(task: int, *result: dict[str, Any]) -> str:
        raw = {"id": task, "lead_time": 1.0, "completed_by": 1, "result": list(result)}
        annotation = parse_annotation(raw, task)
        texts = {"tone": TEXT, "about": TEXT}
        digest = example_digest([annotation], schema(TONES), texts)
        assert digest is not None
        row = Task(task, {"text": TEXT}, text_key([TEXT]), audit=False, digest=digest)
        system.store.upsert_tasks(project.key, [row], {task: [annotation]})
        return digest

    def version(name: str, parent: str | None, digests: dict[int, str]) -> Version:
        system.store.add_snapshot(project.key, name, [(task, digest, ()) for task, digest in digests.items()])
        return system.store.add_version(Version(name, project.key, "schema", name, parent=parent))

    before = {task: label(task, chosen("tone", "glad"), chosen("about", "art")) for task in (1, 2, 3, 4)}
    plain = {"given_at": None, "thinks_at": None, "score": 0.1}
    rows = [
        plain | {"task_id": 1, "head": "tone", "given": "glad", "thinks": "sad", "digest": before[1]},
        plain | {"task_id": 1, "head": "about", "given": "art", "thinks": None, "digest": before[1]},
        plain | {"task_id": 2, "head": "about", "given": None, "thinks": "war", "digest": before[2]},
        plain | {"task_id": 3, "head": "tone", "given": "glad", "thinks": "sad", "digest": before[3]},
    ]
    first = version("first", None, before)
    assert fixed_labels(system, project, first) is None, "nobody has looked for errors"
    system.store.begin_report(project.key, "job", KIND)
    system.store.finish_report(project.key, "job", {"errors": rows, "tasks": 4, "found": 4})
    told = newest_errors(system, project)
    assert told is not None
    assert [(one["given"], one["thinks"]) for one in told["report"]["errors"]] == [
        ("glad", "sad"),
        ("art", "nothing"),
        ("nothing", "war"),
        ("glad", "sad"),
    ]
    now = before | {
        1: label(1, chosen("tone", "sad"), chosen("about", "art")),  # one of its two
        2: label(2, chosen("tone", "glad"), chosen("about", "art", "war")),
        4: label(4, chosen("tone", "sad")),  # nobody had listed it
        5: label(5, chosen("tone", "sad")),
    }
    fixed = fixed_labels(system, project, version("second", "first", now))
    assert fixed is not None
    assert {name: fixed[name] for name in fixed if name != "sentence"} == {
        "report": "job",
        "listed": 3,
        "tasks": [1, 2],
        "labels": 3,
        "as_suggested": 2,
        "others": 2,
    }
    assert "2 of their 3 listed labels are now what the model thought" in fixed["sentence"]
    assert "2 other new or changed tasks" in fixed["sentence"]
    assert fixed_labels(system, project, version("third", "second", now)) is None, "the second has told of them"
