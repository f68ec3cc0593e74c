"""A project's numbers, from a real store: what each version once said, scored against what people say today."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from edgewise.labels.regions import regions
from edgewise.learning.progress import Advice
from edgewise.services.registry import head_folder
from edgewise.services.store import Rank, Release, Version
from edgewise.verbs.numbers.curves import advice, sentence
from edgewise.verbs.numbers.settled import note_changed
from edgewise.verbs.numbers.summary import numbers
from edgewise.verbs.system import folder_name
from examples import wikigold
from tests.verbs.conftest import Make
from tests.verbs.measured import HEAD, SCHEMA, Bench, Json, bench, distinct, worse

AUDIT = 60
TAUGHT = 80
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
AGAIN = datetime(2026, 2, 1, tzinfo=UTC)


@pytest.fixture
def project(offline: Make) -> Bench:
    """60 audit tasks and 80 others, all labelled in three seconds each, and 40 open ones."""
    made = bench(offline(), distinct(wikigold.rows("train"), AUDIT + TAUGHT + 40), audit=AUDIT)
    label(made, AUDIT + TAUGHT)
    return made


def label(made: Bench, many: int) -> None:
    """People label the first so many texts."""
    texts = list(made.gold)[:many]
    raw = {
        made.ids[text]: {
            "id": made.ids[text],
            "updated_at": BEGAN.isoformat(),
            "completed_by": 1,
            "lead_time": 3.0,
            "result": regions(made.gold[text], HEAD, text),
        }
        for text in texts
    }
    made.keep(texts, raw, audit=texts[:AUDIT])


def audit_ids(made: Bench) -> list[int]:
    return list(made.ids.values())[:AUDIT]


def taught_ids(made: Bench, many: int) -> list[int]:
    return list(made.ids.values())[AUDIT : AUDIT + many]


def add_version(made: Bench, name: str, examples: int, lost: float, **fields: Any) -> Version:
    """A version that learned from so many tasks and misses this share of the spans."""
    store, key = made.system.store, made.key
    learned = taught_ids(made, examples)
    store.add_snapshot(key, f"snapshot-{name}", [(task, "digest", (task,)) for task in learned])
    said = worse(made.gold, lost, seed=examples)
    answers = {made.ids[text]: {"label": [[s.start, s.end, s.label, 0.9] for s in said[text]]} for text in made.gold}
    store.save_version_predictions(key, name, "held_out", {task: answers[task] for task in audit_ids(made)})
    store.save_version_predictions(key, name, "out_of_fold", {task: answers[task] for task in learned})
    settings = {"heads": {"label": HEAD.digest}, "recipe": {"seed": 7}}
    plain = Version(name, key, SCHEMA.digest, f"snapshot-{name}", BEGAN + timedelta(hours=examples), settings=settings)
    return store.add_version(replace(plain, examples=examples, code="0.1.0+abc", **fields))


def told(made: Bench) -> Json:
    return numbers(made.system, made.system.by_key(made.key))


def points(made: Bench) -> list[Json]:
    return list(told(made)["curves"]["label"]["points"])


def test_every_version_is_scored_on_the_same_held_out_tasks_oldest_first(project: Bench) -> None:
    add_version(project, "second", 40, 0.3)
    add_version(project, "first", 20, 0.6)
    first, second = points(project)
    assert [first["version"], second["version"]] == ["first", "second"]
    assert [first["tasks"], first["on"]] == [second["tasks"], second["on"]] == [AUDIT, "held_out"]
    assert first["low"] < first["score"] < first["high"]
    assert first["score"] == pytest.approx(2 * 0.4 / 1.4, abs=0.1), "a share of 0.6 missing and nothing wrong"
    assert second["score"] > first["score"]
    assert (first["examples"], first["minutes"]) == (20, 1.0)
    assert first["per_label"].keys() <= set(wikigold.LABELS)
    support = sum(len(spans) for text, spans in project.gold.items() if project.ids[text] in audit_ids(project))
    assert sum(one["support"] for one in first["per_label"].values()) == support


def test_a_corrected_annotation_counts_for_all_versions_at_once(project: Bench) -> None:
    add_version(project, "perfect", 20, 0.0)
    assert points(project)[0]["score"] == 1.0
    text = next(text for text, spans in project.gold.items() if len(spans) > 1 and project.ids[text] <= AUDIT)
    raw = {"id": 1, "updated_at": BEGAN.isoformat(), "completed_by": 1, "lead_time": 3.0, "result": []}
    project.keep([text], {project.ids[text]: raw}, audit=[text])
    assert points(project)[0]["score"] < 1.0


def test_under_50_held_out_tasks_the_score_is_out_of_fold_and_has_no_interval(offline: Make) -> None:
    made = bench(offline(), distinct(wikigold.rows("train"), AUDIT + TAUGHT), audit=AUDIT)
    label(made, 49)
    raw_ids = list(made.gold)[AUDIT:]
    made.label(raw_ids)
    add_version(made, "first", 20, 0.5)
    assert told(made)["held_out"] == {"tasks": 49, "enough": False}
    (point,) = points(made)
    assert (point["on"], point["tasks"], point["low"], point["high"]) == ("out_of_fold", 20, None, None)
    advice = told(made)["advice"]
    assert (advice["stop"], advice["gain"]) == (None, None)
    assert "49 are labelled, it takes 50" in advice["sentence"]


def test_advice_takes_three_versions_and_never_comes_from_a_refused_one(project: Bench) -> None:
    add_version(project, "a", 20, 0.7)
    add_version(project, "b", 40, 0.5)
    add_version(project, "refused", 60, 0.95, state="refused")
    assert told(project)["advice"]["stop"] is None
    assert "too few versions" in told(project)["advice"]["sentence"]
    assert [point["state"] for point in points(project)] == ["accepted", "accepted", "refused"]
    add_version(project, "c", 60 + 1, 0.4)
    advice = told(project)["advice"]
    assert advice["stop"] is False
    assert advice["low"] < advice["gain"] < advice["high"]
    assert advice["gain"] > 0.01
    assert (advice["per"], advice["rest"]["tasks"]) == (40, 40), "no more than that are open"
    assert "going on is worth it" in advice["sentence"]
    assert told(project)["advice"] == advice, "asked again it says the same"


@pytest.fixture
def statements(project: Bench) -> list[str]:
    """What the database is asked from now on."""
    asked: list[str] = []
    engine = project.system.store._engine
    event.listen(engine, "before_cursor_execute", lambda _, cursor, statement, *rest: asked.append(statement))
    return asked


def rows_of_versions(statements: list[str]) -> int:
    """How often all rows of a version were read, of its snapshot or its answers; what was asked is forgotten."""
    columns = ("snapshot_rows.annotation_ids", "version_predictions.result")
    count = sum(statement.startswith("SELECT") and any(c in statement for c in columns) for statement in statements)
    statements.clear()
    return count


def test_what_a_version_learned_from_and_said_is_read_once(project: Bench, statements: list[str]) -> None:
    for name, examples in (("a", 20), ("b", 40), ("c", 60)):
        add_version(project, name, examples, 0.5)
    first = told(project)
    assert rows_of_versions(statements) == 6
    assert told(project) == first
    assert rows_of_versions(statements) == 0, "nothing has changed"
    add_version(project, "d", 70, 0.4)
    told(project)
    assert rows_of_versions(statements) == 2, "its own, and no other's"
    project.label([list(project.gold)[AUDIT + TAUGHT]])
    told(project)
    assert rows_of_versions(statements) == 0, "a label more to learn from changes no version"


def correct(made: Bench, number: int, lead_time: float | None) -> None:
    """Somebody empties a text's annotation, in so many seconds."""
    text = list(made.gold)[number]
    raw = {"id": made.ids[text], "updated_at": "later", "completed_by": 1, "lead_time": lead_time, "result": []}
    made.keep([text], {made.ids[text]: raw}, audit=[text] if number < AUDIT else [])


def untime(made: Bench, many: int) -> None:
    """So many labels to learn from are corrected, and nobody knows how long that took."""
    for number in range(AUDIT, AUDIT + many):
        correct(made, number, None)


def there_and_back(made: Bench, number: int) -> None:
    """A task has another text for a while: what versions said of it is gone."""
    store, key, id = made.system.store, made.key, list(made.ids.values())[number]
    (task, theirs) = next(pair for pair in store.labelled(key) if pair[0].task_id == id)
    store.upsert_tasks(key, [replace(task, text_key="other")], {id: theirs})
    store.upsert_tasks(key, [task], {id: theirs})


def other_annotations(made: Bench, name: str, examples: int) -> None:
    """The same examples again, by hash, but what they were made of was drawn by others."""
    learned = taught_ids(made, examples)
    made.system.store.add_snapshot(made.key, f"snapshot-{name}", [(i, "digest", (i, i - 1)) for i in learned])


CHANGES: dict[str, Callable[[Bench], object]] = {
    "nothing": lambda made: None,
    "a version": lambda made: add_version(made, "d", 61, 0.4),
    "the same version again, of other answers": lambda made: add_version(made, "c", 60, 0.2, created_at=AGAIN),
    "a version is refused": lambda made: made.system.store.update_version(made.key, "b", state="refused"),
    "a held-out label is corrected": lambda made: correct(made, 3, 3.0),
    "a label is corrected": lambda made: correct(made, AUDIT + 3, 300.0),
    "nobody knows how long labels took": lambda made: untime(made, 15),
    "a label more": lambda made: made.label([list(made.gold)[AUDIT + TAUGHT]]),
    "a held-out task is erased": lambda made: made.system.store.delete_tasks(made.key, [audit_ids(made)[0]]),
    "a held-out text changes for a while": lambda made: there_and_back(made, 1),
    "tasks are erased": lambda made: made.system.store.delete_tasks(made.key, taught_ids(made, 15)),
    "other annotations": lambda made: other_annotations(made, "c", 60),
    "fewer than 50 are held out": lambda made: made.system.store.delete_tasks(made.key, audit_ids(made)[:11]),
    "other labels": lambda made: made.system.store.update_project(
        made.key, label_config=wikigold.LABEL_CONFIG.replace("PER", "PERSON")
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whoever_remembers_says_what_a_new_process_says(project: Bench, offline: Make, change: str) -> None:
    for name, examples in (("a", 20), ("b", 40), ("c", 60)):
        add_version(project, name, examples, 0.5)
    before = told(project)
    CHANGES[change](project)
    fresh = numbers(offline(), project.system.by_key(project.key))
    assert told(project) == fresh
    assert told(project) == fresh, "asked again it says the same"
    assert (fresh == before) is (change == "nothing")


def test_a_version_of_other_labels_has_no_point_on_the_curve(project: Bench) -> None:
    add_version(project, "other", 20, 0.1, settings={"heads": {"label": "another digest"}})
    assert points(project) == []


def test_time_is_unknown_where_it_is_known_of_few_examples(project: Bench) -> None:
    add_version(project, "first", 20, 0.5)
    texts = list(project.gold)[AUDIT : AUDIT + 15]
    untimed = {project.ids[text]: {"id": project.ids[text], "updated_at": "", "result": []} for text in texts}
    nine = texts[:9]
    project.keep(nine, {project.ids[text]: untimed[project.ids[text]] for text in nine})
    assert points(project)[0]["minutes"] == 1.0, "11 of 20 took 3 s each, so 20 took a minute"
    project.keep(texts, untimed)
    assert points(project)[0]["minutes"] is None


def test_a_card_says_what_the_version_was_made_of_and_whether_it_can_serve_again(
    project: Bench, tmp_path: Path
) -> None:
    system = project.system
    with system.registry.staging(folder_name(project.project)) as staged:
        head_folder(staged, "label").mkdir(parents=True)
        (head_folder(staged, "label") / "weights").write_text("weights")
        made = system.registry.publish(
            folder_name(project.project), staged, schema_digest="s", snapshot="t", settings={}
        )
    add_version(project, made.id, 40, 0.1, label_counts={"label": {"PER": 3}}, parent="gone", pinned=True)
    add_version(project, "gone", 20, 0.5, reason="Worse.", state="refused")
    kept, gone = told(project)["versions"]
    assert (kept["id"], kept["kept"], kept["pinned"], kept["parent"]) == (made.id, True, True, "gone")
    assert (kept["seed"], kept["code"], kept["dataset"]) == (7, "0.1.0+abc", f"snapshot-{made.id}")
    assert kept["label_counts"] == {"label": {"PER": 3}}
    assert (gone["kept"], gone["state"], gone["reason"]) == (False, "refused", "Worse.")


def test_the_newest_reports_are_shown_whole(project: Bench) -> None:
    assert told(project)["saving"] is None
    for name in ("old", "new"):
        project.system.store.begin_report(project.key, name, "saving")
        project.system.store.finish_report(project.key, name, {"name": name})
    shown = told(project)["saving"]
    assert (shown["id"], shown["report"]) == ("new", {"name": "new"})


def test_erased_tasks_and_changed_texts_leave_no_answers_behind(project: Bench) -> None:
    add_version(project, "first", 20, 0.5)
    store, key, (one, two) = project.system.store, project.key, audit_ids(project)[:2]
    store.delete_tasks(key, [one])
    (task,) = store.tasks(key, [two]).values()
    store.upsert_tasks(key, [replace(task, text_key="other")], {})
    assert not {one, two} & store.version_predictions(key, "first", "held_out").keys()
    assert points(project)[0]["tasks"] == AUDIT - 2


def released(made: Bench, version: str | None, said: Sequence[bool], **fields: Any) -> Release:
    """An active release of a version, that finds what is there in these open tasks, and nothing in the others."""
    store, key = made.system.store, made.key
    release = store.new_release(key, version, SCHEMA.digest)
    texts = {made.ids[text]: text for text in made.gold}
    ids = store.open_task_ids(key, audit=False)
    store.save_ranks(
        key,
        release.n,
        [
            Rank(
                task, 0.5, 0.001 * i, result=tuple(regions(made.gold[texts[task]], HEAD, texts[task])) if found else ()
            )
            for i, (task, found) in enumerate(zip(ids, said, strict=True))
        ],
    )
    store.update_project(key, active_release=release.n)
    return store.update_release(key, release.n, **({"state": "active", "whole": True} | fields))


def changed(made: Bench, release: Release) -> float | None:
    note_changed(made.system, made.project, release.n)
    return made.system.store.release(made.key, release.n).changed


def test_a_release_keeps_how_many_open_tasks_its_version_answers_otherwise(project: Bench) -> None:
    add_version(project, "a", 20, 0.5)
    add_version(project, "b", 40, 0.4)
    there = [bool(project.gold[text]) for text in list(project.gold)[AUDIT + TAUGHT :]]
    half = [found and i % 2 == 0 for i, found in enumerate(there)]
    differ = sum(a != b for a, b in zip(there, half, strict=True))
    assert changed(project, released(project, "a", there)) is None, "there is nothing to compare with"
    assert changed(project, released(project, "b", half)) == differ / 40
    assert changed(project, released(project, "b", there)) == differ / 40, "the same version: what it said before"
    assert told(project)["advice"]["changed"] == differ / 40


def test_a_part_of_a_release_and_a_language_models_say_nothing_of_change(project: Bench) -> None:
    add_version(project, "a", 20, 0.5)
    every = [True] * 40
    released(project, "llm-1/40", every)
    assert changed(project, released(project, "a", every)) is None
    released(project, "a", every)
    add_version(project, "b", 20, 0.5)
    assert changed(project, released(project, "b", every, whole=False)) is None


def advised(gain: float, high: float, rest_high: float, *, settled: bool = True) -> Advice:
    return Advice(gain, 0.0, high, 100, rest=900, rest_gain=rest_high / 2, rest_high=rest_high, settled=settled)


@pytest.mark.parametrize(
    ("one", "verdict"),
    [
        (advised(0.001, 0.002, 0.008), "you may stop"),
        (advised(0.001, 0.002, 0.008, settled=False), "still changed many predictions: too early to stop"),
        (advised(0.001, 0.008, 0.04), "all 900 open tasks 2.0, at most 4.0: it may still be worth going on"),
        (advised(0.004, 0.03, 0.04), "may still be worth going on"),
        (advised(0.02, 0.03, 0.04), "100 labels should add 2.0 points of F1 (95 % interval 0.0 to 3.0): going on is"),
    ],
)
def test_the_sentence_says_what_the_interval_allows(one: Advice, verdict: str) -> None:
    assert verdict in sentence("F1", one, one.stop)
    assert one.stop is (verdict == "you may stop")


def test_of_several_heads_the_one_with_most_to_gain_speaks_and_all_must_know() -> None:
    little, much = advised(0.001, 0.002, 0.008), advised(0.02, 0.03, 0.2)
    told = advice(60, {"a": ("F1", little), "b": ("macro F1", much)}, None)
    assert told["stop"] is False
    assert "macro F1 of 'b'" in told["sentence"]
    assert advice(60, {"a": ("F1", little)}, None)["stop"] is True
    assert advice(60, {"a": ("F1", little), "b": ("F1", None)}, None)["stop"] is False
