"""import and export, with a real Label Studio between the files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgewise.errors import Conflict, DataError, StudioUnavailable
from edgewise.files.exchange import Columns, importable
from edgewise.labels.schema import parse_schema
from edgewise.services.store import Project
from edgewise.services.studio import Studio
from edgewise.verbs.files.exchange import export_project, import_file
from edgewise.verbs.system import System, epoch_of
from examples.label_studio import RunningStudio
from tests.http_stand_in import Answer, Forward, proxy
from tests.verbs.conftest import Make

MIXED = """<View>
<Labels name="label" toName="text"><Label value="PER"/><Label value="LOC"/></Labels>
<Choices name="mood" toName="text"><Choice value="good"/><Choice value="bad"/></Choices>
<Choices name="topics" toName="text" choice="multiple"><Choice value="a"/><Choice value="b"/></Choices>
<Text name="text" value="$text"/></View>"""
SCHEMA = parse_schema(MIXED)
TEXT = 'Ann 👩‍👧 met\r\n"Ümit" in\tשלום, Ulm.\n'
CSV = """number;text;label;mood\r
007;"Ann likes\r
Ulm";"[{""start"": 0, ""end"": 3, ""label"": ""PER""}]";good\r
8;"👍";;\r
"""


@pytest.fixture
def new_project(make_system: Make, studio: Studio) -> Callable[[], tuple[System, Project]]:
    """Empty projects with three heads, and a system that may import into them."""
    system = make_system()

    def make() -> tuple[System, Project]:
        raw = studio.create_project("Exchange", MIXED)
        created = epoch_of(raw["created_at"])
        return system, system.store.record_project(system.address, raw["id"], created, label_config=MIXED)

    return make


def quiet(share: float, doing: str) -> None:
    """Nobody looks at the progress."""


def region(name: str, kind: str, **value: Any) -> dict[str, Any]:
    return {"id": f"{name}-1", "from_name": name, "to_name": "text", "type": kind, "value": value}


def answer(*result: dict[str, Any], **fields: Any) -> dict[str, Any]:
    plain = {"completed_by": 1, "was_cancelled": False, "ground_truth": False, "lead_time": 3.25}
    return {"result": list(result), **plain, **fields}


def tasks() -> list[dict[str, Any]]:
    """What is hard to carry: two annotators' worth of answers, a skip, an empty answer, no answer, odd fields."""
    span = region("label", "labels", start=0, end=3, text="Ann", labels=["PER"])
    edited = span | {"origin": "manual", "meta": {"text": ["sure?"]}, "score": 0.5}
    choices = [region("mood", "choices", choices=["bad"]), region("topics", "choices", choices=["b", "a"])]
    return [
        {"data": {"text": TEXT, "n": 1.5, "deep": {"b": [1], "a": None}}, "annotations": [answer(span, *choices)]},
        {"data": {"text": TEXT}, "annotations": [answer(edited, lead_time=None), answer(was_cancelled=True)]},
        {"data": {"text": ""}, "annotations": [answer(ground_truth=True)]},
        {"data": {"text": "plain", "label": "a column"}, "annotations": []},
    ]


def test_label_studio_gives_back_the_bytes_that_were_imported(
    new_project: Callable[[], tuple[System, Project]], tmp_path: Path
) -> None:
    (tmp_path / "source.json").write_text(json.dumps(tasks()), encoding="utf-8")
    exports = []
    source = tmp_path / "source.json"
    for step in ("first", "second"):
        system, project = new_project()
        done = import_file(system, project, source, report=quiet)
        assert (done.tasks, done.annotations, done.strangers) == (4, 4, 0)
        source = tmp_path / f"{step}.json"
        export_project(system, project, source, "label-studio", report=quiet)
        exports.append(source.read_bytes())
    assert exports[0] == exports[1]
    assert [task for _, task in importable(source, SCHEMA)] == tasks()


@pytest.mark.parametrize("name", ["out.csv", "out.conll", "out"])
def test_other_forms_pass_through_label_studio_without_loss(
    name: str, new_project: Callable[[], tuple[System, Project]], tmp_path: Path
) -> None:
    source = tmp_path / "source.json"
    source.write_text(json.dumps(tasks()), encoding="utf-8")
    read = []
    for step in ("first", "second", "third"):
        system, project = new_project()
        import_file(system, project, source, report=quiet)
        (tmp_path / step).mkdir()
        source = tmp_path / step / name
        form = {"out.csv": "csv", "out.conll": "conll", "out": "dataset"}[name]
        export_project(system, project, source, form, report=quiet)  # type: ignore[arg-type]
        read.append([task for _, task in importable(source, SCHEMA)])
    assert read[0] == read[1] == read[2]
    assert [task["data"] for task in read[0]] == [task["data"] for task in tasks()]
    assert read[0][0]["annotations"][0]["result"][1:] == [
        {**one, "id": again["id"]}
        for one, again in zip(
            tasks()[0]["annotations"][0]["result"][1:], read[0][0]["annotations"][0]["result"][1:], strict=True
        )
    ]


def test_a_csv_becomes_tasks_that_keep_its_columns_and_labels(
    new_project: Callable[[], tuple[System, Project]], tmp_path: Path
) -> None:
    system, project = new_project()
    (tmp_path / "in.csv").write_bytes(CSV.encode("utf-8-sig"))
    import_file(system, project, tmp_path / "in.csv", report=quiet)
    page = next(system.studio.task_pages(project.ls_id))
    assert [task["data"]["number"] for task in page] == ["007", "8"]
    assert page[0]["data"]["text"] == "Ann likes\r\nUlm"
    assert [len(task["annotations"]) for task in page] == [1, 0]
    assert {one["type"] for one in page[0]["annotations"][0]["result"]} == {"labels", "choices"}


def test_several_columns_make_the_text_that_the_project_shows(
    new_project: Callable[[], tuple[System, Project]], tmp_path: Path
) -> None:
    system, project = new_project()
    (tmp_path / "in.csv").write_text("title,body\nHello,World\n,Alone\n", encoding="utf-8")
    import_file(system, project, tmp_path / "in.csv", columns=Columns(("title", "body")), report=quiet)
    page = next(system.studio.task_pages(project.ls_id))
    assert [task["data"]["text"] for task in page] == ["title: Hello, body: World", "body: Alone"]
    assert page[0]["data"]["title"] == "Hello"


def test_a_bad_row_is_named_before_anything_is_sent(
    new_project: Callable[[], tuple[System, Project]], tmp_path: Path
) -> None:
    system, project = new_project()
    (tmp_path / "in.csv").write_text("text,mood\nfine,good\nsecret,great\n", encoding="utf-8")
    with pytest.raises(DataError, match="Row 3 has a label that is not in the set") as caught:
        import_file(system, project, tmp_path / "in.csv", report=quiet)
    assert "secret" not in str(caught.value)
    assert "great" not in str(caught.value)
    assert system.studio.task_ids(project.ls_id) == set()


def test_an_import_that_breaks_off_takes_back_what_it_sent(
    new_project: Callable[[], tuple[System, Project]], tmp_path: Path
) -> None:
    system, project = new_project()
    system.studio.import_tasks(project.ls_id, [{"data": {"text": "row 1"}}])
    (tmp_path / "in.csv").write_text("text\n" + "".join(f"row {n}\n" for n in range(1500)), encoding="utf-8")

    def interrupt(share: float, doing: str) -> None:
        if share > 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_file(system, project, tmp_path / "in.csv", report=interrupt)
    assert len(system.studio.task_ids(project.ls_id)) == 1


def test_an_import_whose_answer_is_lost_is_taken_back_as_well(
    label_studio: RunningStudio, new_project: Callable[[], tuple[System, Project]], tmp_path: Path
) -> None:
    system, project = new_project()
    system.studio.import_tasks(project.ls_id, [{"data": {"text": f"row {n}"}} for n in range(1200)])
    (tmp_path / "in.csv").write_text("text\n" + "".join(f"row {n}\n" for n in range(1500)), encoding="utf-8")
    calls = []

    def lose_the_second(method: str, path: str, forward: Forward) -> Answer | None:
        answer = forward()
        if "/import" in path:
            calls.append(path)
        return None if "/import" in path and len(calls) == 2 else answer

    with proxy(label_studio, lose_the_second) as url, Studio(url, label_studio.token, settle_s=0.1) as lossy:
        system.studio.close()
        vars(system)["studio"] = lossy
        with pytest.raises(StudioUnavailable):
            import_file(system, project, tmp_path / "in.csv", report=quiet)
        assert len(calls) == 2
        assert len(lossy.task_ids(project.ls_id)) == 1200


def test_people_whom_label_studio_does_not_know_are_counted(
    new_project: Callable[[], tuple[System, Project]], tmp_path: Path
) -> None:
    system, project = new_project()
    found = [{"data": {"text": "a"}, "annotations": [answer(completed_by=987654)]}]
    (tmp_path / "in.json").write_text(json.dumps(found), encoding="utf-8")
    assert import_file(system, project, tmp_path / "in.json", report=quiet).strangers == 1
    assert len(next(system.studio.task_pages(project.ls_id))[0]["annotations"]) == 1


def test_an_export_never_overwrites_unasked(new_project: Callable[[], tuple[System, Project]], tmp_path: Path) -> None:
    system, project = new_project()
    (tmp_path / "out.csv").write_text("mine")
    with pytest.raises(Conflict):
        export_project(system, project, tmp_path / "out.csv", "csv", report=quiet)
    export_project(system, project, tmp_path / "out.csv", "csv", overwrite=True, report=quiet)
    assert (tmp_path / "out.csv").read_text().startswith("label,mood,topics,task_id,")
