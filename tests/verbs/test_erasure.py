"""What is deleted in a real Label Studio is nowhere in our tables or files, and who had learned from it is named."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from edgewise.labels.quotes import windows
from edgewise.labels.spans import Document
from edgewise.services.store import LlmRun, Prelabelled, Rank, Shot, Store, Suggestion, Task, Version
from edgewise.services.store.tables import metadata
from edgewise.services.studio import Studio
from edgewise.verbs import erasure
from edgewise.verbs.answer import predict
from edgewise.verbs.connect import forget
from edgewise.verbs.erasure import erased
from edgewise.verbs.numbers.fixed_labels import KIND as LABEL_ERRORS
from edgewise.verbs.status import status
from edgewise.verbs.sync import sweep_now, sync
from edgewise.verbs.system import System, folder_name
from edgewise.verbs.timers import Timers
from edgewise.verbs.train import train
from examples.label_studio import RunningStudio
from tests.studio_fixture import StudioProject
from tests.verbs.conftest import Killed, Make, dies, do, labelled_task, new_studio_project, started, synced

TASK_SECRET, NOTE_SECRET = "Qozzuvex", "Wybbatrel"  # in a task that is deleted; in an annotation that is
QUICK: dict[str, Any] = {"learning_rate": 1e-9, "num_train_epochs": 0.1}
LONG = 9000  # characters: a question shows a window of such a text


def tables_with(store: Store, words: str) -> set[str]:
    """The tables that have these words anywhere."""
    with store._read() as connection:
        rows = {name: connection.execute(table.select()).all() for name, table in metadata.tables.items()}
    return {name for name, found in rows.items() if words in str(found)}


def files_with(folder: Path, words: str) -> set[str]:
    """The files below a folder that have these words anywhere."""
    return {file.name for file in folder.rglob("*") if file.is_file() and words.encode() in file.read_bytes()}


@contextmanager
def in_studio(label_studio: RunningStudio, studio: Studio, tasks: list[dict[str, Any]]) -> Iterator[StudioProject]:
    """A project of Label Studio with these tasks."""
    project = new_studio_project(label_studio, studio, tasks)
    yield project
    project.http.close()


@pytest.fixture
def secretive(label_studio: RunningStudio, studio: Studio, documents: list[Document]) -> Iterator[StudioProject]:
    """Twelve labelled tasks: the text of the first is a secret, and so is a note in the second's annotation."""
    tasks = [labelled_task(document) for document in documents[::4][:12]]
    tasks[0]["data"] = {"text": f"{tasks[0]['data']['text']} {TASK_SECRET}", "origin": f"from {TASK_SECRET}"}
    tasks[1]["annotations"][0]["result"][0]["meta"] = {"text": [NOTE_SECRET]}
    with in_studio(label_studio, studio, tasks) as project:
        yield project


@pytest.fixture
def system(make_system: Make, tiny_base: Path) -> System:
    return make_system(baseline_model_name=str(tiny_base), **QUICK)


def spread(system: System, key: int) -> None:
    """Put the first task's text, and the second's annotation, wherever a project's life puts them."""
    store = system.store
    first, second = sorted(store.task_ids(key))[:2]
    text = store.tasks(key, [first])[first].data["text"]
    region = {"from_name": "label", "to_name": "text", "type": "labels", "value": {"text": text}}
    noted = {**region, "meta": {"text": [NOTE_SECRET]}}
    store.save_ranks(key, store.new_release(key, None, "schema").n, [Rank(first, 0.5, 0.5, f"at '{text}'", (region,))])
    store.add_llm_run(key, LlmRun(1, "d", "s", "j", {}, {}, {}), [Shot(first, {"label": [text]}, False)])
    store.add_llm_run(key, LlmRun(2, "d", "s", "j", {}, {}, {}), [Shot(second, {"label": [NOTE_SECRET]}, False)])
    store.save_prelabels(key, [Prelabelled(first, 1, (region,), 0.5)])
    store.answers(key).put("asked", {"text": f"quotes {text}"}, [text])
    store.answers(key).put("another", {"text": "says nothing of it"}, ["another text"])
    (annotation,) = (a.id for _, some in store.annotated(key) for a in some if a.task_id == second)
    store.save_suggestions(key, [Suggestion(second, annotation, 1, {}, (noted,))])
    store.save_version_predictions(key, store.versions(key)[0].id, "out_of_fold", {first: [text]})
    errors = [{"task_id": task, "head": "label", "given": "PER", "given_at": [0, 3]} for task in (first, second, -1)]
    store.begin_report(key, "errors", LABEL_ERRORS)
    store.finish_report(key, "errors", {"errors": errors})


def test_what_label_studio_deleted_is_in_no_table_and_no_file_and_who_learned_it_is_named(
    system: System, secretive: StudioProject, documents: list[Document]
) -> None:
    key = synced(system, secretive).key
    do(system, key, train)
    store, data = system.store, system.settings.data_dir
    (version,) = store.versions(key)
    spread(system, key)
    first, second = sorted(store.task_ids(key))[:2]
    assert {"tasks", "ranks", "prelabels", "llm_answers", "dataset_contents", "llm_demonstrations"} <= tables_with(
        store, TASK_SECRET
    )
    assert {"annotations", "suggestions", "llm_demonstrations"} <= tables_with(store, NOTE_SECRET)
    assert files_with(data, TASK_SECRET)
    assert files_with(data, NOTE_SECRET)
    taught = {row.key: row.content for row in store.dataset_rows(key, version.snapshot)}
    assert len(store.dataset_contents(key, [taught[str(second)]])) == 1
    assert erased(system, system.by_key(key)) is None

    secretive.studio.delete_tasks(secretive.id, [first])
    (annotation,) = secretive.call("GET", f"api/tasks/{second}/annotations/")
    secretive.call("DELETE", f"api/annotations/{annotation['id']}/")
    do(system, key, sync)  # notices the annotation, and that a task is missing

    for secret in (TASK_SECRET, NOTE_SECRET):
        assert tables_with(store, secret) == set()
        assert files_with(data, secret) == set()
    assert len(store.dataset_contents(key, [taught[str(second)]])) == 0
    assert len(store.dataset_contents(key, taught.values())) == 10
    assert store.answers(key).get("another") is not None
    assert [row["task_id"] for row in store.report(key, "errors").content["errors"]] == [-1]
    told = {"tasks": 1, "annotations": 1}
    learned = {"version": version.id, **told, "serves": version.id == system.by_key(key).serving, "kept": True}
    assert status(system, system.by_key(key))["erased"] == {**told, "learned_from_them": [learned]}
    system.registry.erase(folder_name(system.by_key(key)))
    again = erased(system, system.by_key(key))
    assert again is not None
    assert again["learned_from_them"] == [learned | {"kept": False}]

    do(system, key, sweep_now)
    assert erased(system, system.by_key(key)) == again  # nothing is noted twice


def test_an_erasure_that_was_killed_is_named_and_done_by_the_next_sync(
    system: System, secretive: StudioProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = synced(system, secretive).key
    first = min(system.store.task_ids(key))
    secretive.studio.delete_tasks(secretive.id, [first])
    with monkeypatch.context() as patch:
        dies(patch, type(system.store), "delete_tasks")
        with pytest.raises(Killed):
            do(system, key, sweep_now)
    assert erased(system, system.by_key(key)) is not None
    assert tables_with(system.store, TASK_SECRET) == {"tasks"}
    do(system, key, sweep_now)
    assert tables_with(system.store, TASK_SECRET) == set()
    assert files_with(system.settings.data_dir, TASK_SECRET) == set()


def test_a_restored_back_up_loses_again_what_was_deleted_since(
    system: System, secretive: StudioProject, tmp_path: Path
) -> None:
    key = synced(system, secretive).key
    first, second = sorted(system.store.task_ids(key))[:2]
    url = str(system.store._engine.url)
    system.store.close()
    database = Path(url.removeprefix("sqlite:///"))
    shutil.copy(database, tmp_path / "back-up.db")
    secretive.studio.delete_tasks(secretive.id, [first])
    (annotation,) = secretive.call("GET", f"api/tasks/{second}/annotations/")
    secretive.call("DELETE", f"api/annotations/{annotation['id']}/")
    do(system, key, sync)
    system.store.close()
    shutil.copy(tmp_path / "back-up.db", database)
    assert (tables_with(system.store, TASK_SECRET), tables_with(system.store, NOTE_SECRET)) == (
        {"tasks"},
        {"annotations"},
    )
    do(system, key, sweep_now)  # what the timers begin with
    for secret in (TASK_SECRET, NOTE_SECRET):
        assert tables_with(system.store, secret) == set()
        assert files_with(system.settings.data_dir, secret) == set()


def test_a_text_that_was_changed_in_label_studio_leaves_no_answer_about_the_old_one(
    system: System, secretive: StudioProject
) -> None:
    key = synced(system, secretive).key
    first = min(system.store.task_ids(key))
    old = system.store.tasks(key, [first])[first].data
    system.store.answers(key).put("asked", {"text": TASK_SECRET}, [old["text"]])
    secretive.call("PATCH", f"api/tasks/{first}/", {"data": {"text": "Nothing of it.", "origin": "unknown"}})
    do(system, key, sync)
    assert tables_with(system.store, TASK_SECRET) == set()
    assert files_with(system.settings.data_dir, TASK_SECRET) == set()


def test_answers_about_any_window_of_any_field_go_with_the_task(offline: Make) -> None:
    system = offline()
    project = system.store.record_project("studio", 1, "c")
    text = "word " * (LONG // 5)
    shown = [text[window.start : window.end] for window in windows(text)]
    assert len(shown) > 1
    for number, one in enumerate(shown):
        system.store.answers(project.key).put(str(number), {}, [one])
    erasure.forget_answers(system, project, erasure.words_of({"an_old_field": text, "meta": {"n": 1}}))
    assert [system.store.answers(project.key).get(str(number)) for number in range(len(shown))] == [None] * len(shown)


def test_a_forgotten_project_leaves_no_trace_in_any_file(system: System, secretive: StudioProject) -> None:
    key = synced(system, secretive).key
    system.store.add_version(Version("v1", key, "schema", "snapshot"))
    spread(system, key)
    with system.registry.staging(folder_name(system.by_key(key))) as folder:
        (folder / "vocabulary.txt").write_text(TASK_SECRET)
        system.registry.publish(
            folder_name(system.by_key(key)), folder, schema_digest="schema", snapshot="snapshot", settings={}
        )
    assert "vocabulary.txt" in files_with(system.settings.data_dir, TASK_SECRET)
    with started(system, key, "forget") as progress:
        forget(system, system.by_key(key), progress)
    assert tables_with(system.store, TASK_SECRET) | tables_with(system.store, NOTE_SECRET) == set()
    assert (
        files_with(system.settings.data_dir, TASK_SECRET) | files_with(system.settings.data_dir, NOTE_SECRET) == set()
    )


def test_what_a_recreated_project_had_before_is_erased_by_the_timers(offline: Make) -> None:
    system = offline()
    old = system.store.record_project(system.address, 1, "before")
    system.store.upsert_tasks(old.key, [Task(1, {"text": TASK_SECRET}, "k")], {})
    new = system.store.record_project(system.address, 1, "now")
    assert tables_with(system.store, TASK_SECRET) == {"tasks"}
    Timers(system)()
    assert [project.key for project in system.store.projects()] == [new.key]
    assert tables_with(system.store, TASK_SECRET) == set()
    assert files_with(system.settings.data_dir, TASK_SECRET) == set()


def test_what_is_known_of_a_text_in_one_project_is_not_told_in_another(
    system: System, label_studio: RunningStudio, studio: Studio
) -> None:
    tasks = [{"data": {"text": f"Ada met Bob in Paris, {number}."}} for number in range(3)]
    with in_studio(label_studio, studio, tasks) as one, in_studio(label_studio, studio, tasks) as other:
        first, second = synced(system, one).key, synced(system, other).key
        store = system.store
        ours, theirs = sorted(store.task_ids(first)), sorted(store.task_ids(second))
        region = {"from_name": "label", "to_name": "text", "type": "labels", "value": {"text": TASK_SECRET}}
        release = store.new_release(first, None, "schema").n
        store.save_ranks(first, release, [Rank(task, 0.9, 0.1, TASK_SECRET, (region,)) for task in ours])
        store.update_release(first, release, state="active", whole=True)
        store.update_project(first, active_release=release)
        store.answers(first).put("the same question", {"text": TASK_SECRET}, [tasks[0]["data"]["text"]])
        store.save_prelabels(first, [Prelabelled(task, 1, (region,), 0.9) for task in ours])

        asked = [{"id": task, "project": other.id, **one} for task, one in zip(theirs, tasks, strict=True)]
        mixed = [{"id": task, "project": other.id, **one} for task, one in zip(ours, tasks, strict=True)]
        assert TASK_SECRET in str(predict(system, system.by_key(first), mixed, None))
        for some in (asked, mixed):  # the second names tasks of the other project
            assert TASK_SECRET not in str(predict(system, system.by_key(second), some, None))
            assert TASK_SECRET not in str(predict(system, system.by_key(second), some, []))
        assert store.answers(second).get("the same question") is None
        assert store.latest_prelabels(second, [*ours, *theirs]) == {}
        assert TASK_SECRET not in str(status(system, system.by_key(second)))
        studio.delete_tasks(other.id, theirs[:1])
        do(system, second, sweep_now)
        assert store.answers(first).get("the same question") is not None  # that text is still in the first
        assert str(datetime.now(UTC).date()) in str([report.id for report in store.reports(second, 5)])
        assert store.reports(first, 5) == []
