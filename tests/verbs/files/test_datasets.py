"""dataset: list, diff and merge, of files and of a project."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from edgewise.errors import DataError, NotFound
from edgewise.files.versions import Versions
from edgewise.labels.annotations import Example
from edgewise.labels.datasets import DatasetVersion
from edgewise.labels.schema import Head
from edgewise.labels.spans import Document, Span, on_whole
from edgewise.services.store import Project, Task, Version
from edgewise.verbs.files.datasets import Corrections, ProjectVersions, diff, keep_documents, keep_lessons, merge
from edgewise.verbs.files.labelled import Columns
from edgewise.verbs.lessons import Lesson
from edgewise.verbs.system import System
from tests.verbs.conftest import Make

MOOD = Head("mood", "text", "text", ("good", "bad"), kind="choice")
Labelled = Mapping[int, tuple[str, tuple[Span, ...]]]
NAMES = Head("label", "text", "text", ("PER", "LOC"))
COLUMNS = Columns(("text",), "mood", "choice")


def documents(*labelled: tuple[str, str]) -> list[Document]:
    return [Document(text, (on_whole(text, label),)) for text, label in labelled]


def first(folder: Path) -> DatasetVersion:
    made = documents(("fine", "good"), ("awful", "good"), ("so so", "bad"))
    return keep_documents(folder, MOOD, made, source="train.csv")


def corrected(tmp_path: Path, content: str, **named: object) -> Corrections:
    (tmp_path / "corrected.csv").write_text(content, encoding="utf-8")
    return Corrections(tmp_path / "corrected.csv", COLUMNS, **named)  # type: ignore[arg-type]


def test_corrections_are_a_new_version_with_its_parent(tmp_path: Path) -> None:
    base = first(tmp_path / "datasets")
    content = "text,mood,confidence\nso so,,0.4\nawful,bad,0.9\nnew,good,\nnobody knows,,\n"
    done = merge(tmp_path / "datasets", corrected(tmp_path, content))
    assert done.changed.counts == {"added": 1, "removed": 1, "relabelled": 1, "retexted": 0, "same": 1}
    assert done.version.parents == (base.id,)
    assert done.version.label_counts == {"mood": {"good": 2, "bad": 1}}
    assert done.version.source == "corrected.csv"
    assert done.version.config == base.config
    kept = Versions(tmp_path / "datasets")
    assert [version.id for version in kept.all()] == [done.version.id, base.id]
    assert diff(kept, base.id, "latest") == done.changed
    assert diff(kept, "latest", base.id).counts["added"] == 1


def test_by_id_a_text_may_be_corrected_too(tmp_path: Path) -> None:
    made = merge(tmp_path / "d", corrected(tmp_path, "id,text,mood\na,fine,good\nb,awful,good\nc,meh,bad\n", id="id"))
    assert made.version.parents == ()
    done = merge(tmp_path / "d", corrected(tmp_path, "id,text,mood\nb,awfully bad,bad\nc,meh,\n", id="id"))
    assert (done.changed.retexted, done.changed.removed, done.changed.same) == (("b",), ("c",), 1)


def test_the_same_corrections_again_are_no_new_version(tmp_path: Path) -> None:
    first(tmp_path / "datasets")
    made = [merge(tmp_path / "datasets", corrected(tmp_path, "text,mood\nawful,bad\n")) for _ in range(2)]
    assert made[0].version.id == made[1].version.id
    assert made[1].changed.counts["same"] == 3
    assert len(Versions(tmp_path / "datasets").all()) == 2


def test_rows_of_one_text_are_corrected_one_by_one(tmp_path: Path) -> None:
    keep_documents(tmp_path / "d", MOOD, documents(("x", "good"), ("x", "bad"), ("y", "good")), source="")
    done = merge(tmp_path / "d", corrected(tmp_path, "text,mood\nx,good\nx,good\n"))
    assert done.changed.relabelled == ("2",)


def test_a_label_outside_the_set_is_told_and_nothing_is_kept(tmp_path: Path) -> None:
    first(tmp_path / "datasets")
    with pytest.raises(DataError, match="Row 3 has a label that is not in the set"):
        merge(tmp_path / "datasets", corrected(tmp_path, "text,mood\nfine,bad\nawful,terrible\n"))
    assert len(Versions(tmp_path / "datasets").all()) == 1
    more = corrected(tmp_path, "text,mood\nfine,bad\nawful,terrible\n", labels=("good", "bad", "terrible"))
    assert merge(tmp_path / "datasets", more).version.label_counts["mood"]["terrible"] == 1


def test_a_double_id_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Row 3 has the same 'id' as row 2"):
        merge(tmp_path / "d", corrected(tmp_path, "id,text,mood\n1,x,good\n1,y,bad\n", id="id"))


def test_what_was_erased_does_not_come_back(tmp_path: Path) -> None:
    first(tmp_path / "d")
    kept = Versions(tmp_path / "d")
    row = kept.rows(kept.version("latest").id)[0]
    kept.erase([row.text])
    done = merge(tmp_path / "d", corrected(tmp_path, "text,mood\nawful,bad\n"))
    assert (done.version.size, done.erased) == (2, 1)


@pytest.fixture
def taught(offline: Make) -> tuple[System, Project]:
    """A project with three tasks, two of them of one text, and a system."""
    system = offline()
    project = system.store.record_project("http://studio", 1, "1", label_config="")
    tasks = [Task(number, {"text": text}, text) for number, text in enumerate(("Ann", "Ann", "Ulm"), start=1)]
    system.store.upsert_tasks(project.key, tasks, {})
    return system, project


def lesson(system: System, project: Project, head: Head, labelled: Labelled) -> Lesson:
    tasks = system.store.tasks(project.key, labelled)
    made = tuple(Document(text, spans) for text, spans in labelled.values())
    examples = tuple(Example(task_id, spans, (task_id,), 0) for task_id, (_, spans) in labelled.items())
    return Lesson(head, tuple(tasks.values()), made, examples)


def test_a_training_of_a_project_is_a_version_that_names_its_models(taught: tuple[System, Project]) -> None:
    system, project = taught
    ann, ulm = (Span(0, 3, "PER"),), (Span(0, 3, "LOC"),)
    before = {1: ("Ann", ann), 2: ("Ann", ann)}
    for snapshot, labelled in (("s1", before), ("s2", {**before, 2: ("Ann", ulm), 3: ("Ulm", ulm)})):
        moods = {1: ("Ann", (on_whole("Ann", "good"),))}
        lessons = [lesson(system, project, NAMES, labelled), lesson(system, project, MOOD, moods)]
        keep_lessons(system, project, snapshot, lessons)
    system.store.add_version(Version("v1", project.key, "schema", "s2"))
    kept = ProjectVersions(system, project)
    assert [(one.id, one.size, one.parents, one.models) for one in kept.all()] == [
        ("s2", 3, ("s1",), ("v1",)),
        ("s1", 2, (), ()),
    ]
    assert kept.version("s2").label_counts == {"label": {"LOC": 2, "PER": 1}, "mood": {"good": 1}}
    changed = diff(kept, "s1", "s2")
    assert (changed.added, changed.relabelled, changed.same) == (("3",), ("2",), 1)
    with pytest.raises(NotFound):
        kept.version("s3")


def test_a_forgotten_task_leaves_no_text_in_any_version(taught: tuple[System, Project]) -> None:
    system, project = taught
    labelled = {1: ("Ann", ()), 2: ("Ann", ()), 3: ("Ulm", ())}
    keep_lessons(system, project, "s1", [lesson(system, project, NAMES, labelled)])
    digests = [row.content for row in system.store.dataset_rows(project.key, "s1")]

    def texts() -> set[str]:
        return {one.texts["text"] for one in system.store.dataset_contents(project.key, digests).values()}

    assert texts() == {"Ann", "Ulm"}
    system.store.delete_tasks(project.key, [1, 3])
    assert texts() == {"Ann"}  # another task says the same
    system.store.delete_tasks(project.key, [2])
    assert texts() == set()
    assert len(system.store.dataset_rows(project.key, "s1")) == 3
    system.store.erase_project(project.key)
    assert system.store.datasets(project.key) == []
