"""What callers are told: from the store, from a model, or nothing; without a Label Studio."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgewise.errors import Conflict, InputError
from edgewise.labels.spans import Document
from edgewise.learning.inference import Tagger
from edgewise.services.registry import Registry
from edgewise.services.store import Project, Rank, Task
from edgewise.verbs.answer import LIVE, offsets, predict, select_samples, version_name, without_overlaps
from edgewise.verbs.status import status
from edgewise.verbs.sync import key_of
from edgewise.verbs.system import System
from tests.studio_fixture import region
from tests.verbs.conftest import CONFIG, Make, publish, schema

TEXT = "Ada Young went to Paris ."
PER, LOC = region(0, 9, TEXT, "PER"), region(18, 23, TEXT, "LOC")


@dataclass(frozen=True)
class Known:
    """A project that we remember, with tasks 1 to 6; task 6 is an audit task."""

    system: System
    key: int

    @property
    def project(self) -> Project:
        return self.system.by_key(self.key)

    def release(self, state: str, *, whole: bool, ranked: Sequence[int] = (1, 2, 3)) -> int:
        """A release that ranks these tasks, task 1 the hardest."""
        store = self.system.store
        release = store.new_release(self.key, None, schema().digest)
        ranks = [Rank(i, 1 - i / 10, i / 10, f"reason {i}", (PER,) if i != 6 else (), audit=i == 6) for i in ranked]
        store.save_ranks(self.key, release.n, ranks)
        store.update_release(self.key, release.n, state=state, whole=whole)
        if state == "active":
            store.update_project(self.key, active_release=release.n)
        return release.n

    def predict(self, *ids: object, drawn: Sequence[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
        tasks = [{"id": i, "data": {"text": TEXT}} for i in ids]
        return predict(self.system, self.project, tasks, drawn)


@pytest.fixture
def known(offline: Make, tiny_tagger: Path) -> Known:
    system = offline(baseline_model_name=str(tiny_tagger))
    project = system.store.record_project(system.address, 7, "1700000000", label_config=CONFIG)
    tasks = [Task(i, {"text": TEXT}, f"key {i}", audit=i == 6) for i in range(1, 7)]
    system.store.upsert_tasks(project.key, tasks, {})
    system.store.update_project(project.key, state="live")
    return Known(system, project.key)


def spans(answer: dict[str, Any]) -> list[tuple[int, int, str]]:
    return [(one["value"]["start"], one["value"]["end"], one["value"]["labels"][0]) for one in answer["result"]]


def test_the_version_is_another_one_until_the_release_is_whole(known: Known) -> None:
    assert version_name(known.system, known.project) == LIVE
    first = known.release("active", whole=False)
    assert version_name(known.system, known.project) == LIVE
    known.system.store.update_release(known.key, first, whole=True)
    assert version_name(known.system, known.project) == "ew-1"
    known.release("pushing", whole=False)
    assert version_name(known.system, known.project) == "ew-1", "the next one is pushed under a name of its own"
    known.release("active", whole=False)
    assert version_name(known.system, known.project) == LIVE


def test_a_ranked_task_is_answered_from_the_store_and_another_one_by_a_model(known: Known) -> None:
    known.release("active", whole=True)
    answers = known.predict(3, 4, 1)
    assert [answer["model_version"] for answer in answers] == ["ew-1"] * 3
    assert [answers[0]["score"], answers[2]["score"]] == [0.3, 0.1]
    assert answers[0]["result"] == [PER]
    assert {label for _, _, label in spans(answers[1])} == {"PER", "LOC"}
    assert all(
        TEXT[one["value"]["start"] : one["value"]["end"]] == one["value"]["text"] for one in answers[1]["result"]
    )


def test_an_audit_task_gets_no_suggestion_ranked_or_not_interactive_or_not(known: Known) -> None:
    assert spans(known.predict(5)[0])
    assert known.predict(6)[0]["result"] == []
    assert known.predict(6, drawn=[])[0]["result"] == []
    known.release("active", whole=True, ranked=(1, 6))
    assert known.predict(6)[0]["result"] == []


def test_an_audit_task_gets_no_suggestion_before_we_have_read_it(offline: Make, tiny_tagger: Path) -> None:
    system = offline(baseline_model_name=str(tiny_tagger), audit_fraction=0.49)
    project = system.store.record_project(system.address, 7, "1700000000", label_config=CONFIG)
    tasks: list[dict[str, Any]] = [{"id": i, "data": {"text": f"{TEXT} {i}"}} for i in range(40)]
    answers = predict(system, project, tasks, None)
    empty = sum(not answer["result"] for answer in answers)
    assert 5 < empty < 35
    assert all(answer["result"] for answer in predict(system, project, [{"data": t["data"]} for t in tasks], None))
    assert len({key_of(task["data"], schema(), 1) for task in tasks}) == 40


def test_interactive_answers_leave_out_what_overlaps_the_drawn(known: Known) -> None:
    known.release("active", whole=True)
    everything = spans(known.predict(1, drawn=[])[0])
    assert {label for _, _, label in everything} == {"PER", "LOC"}, "interactive: the model's, not the stored ones"
    left = spans(known.predict(1, drawn=[region(4, 6, TEXT, "LOC")])[0])
    assert left == [span for span in everything if span[1] <= 4 or span[0] >= 6]
    assert len(left) < len(everything)


def test_only_what_is_drawn_on_the_same_text_takes_place() -> None:
    answer = {"result": [PER, LOC], "score": 0.5}
    choice = {"from_name": "topic", "to_name": "text", "type": "choices", "value": {"choices": ["a"]}}
    paragraph = PER | {"value": {"start": "/p[1]", "end": "/p[2]", "startOffset": 0}}
    elsewhere = PER | {"to_name": "title"}
    drawn = [choice, paragraph, elsewhere, {"value": None}, {}]
    assert without_overlaps(answer, drawn) == answer
    assert offsets(PER) == (0, 9)
    assert without_overlaps(answer, [*drawn, region(8, 9, TEXT, "LOC")])["result"] == [LOC]


def test_a_task_that_cannot_be_read_costs_only_itself(known: Known) -> None:
    data = [{"text": TEXT}, {"text": "https://example.com/1.txt"}, {}, {"text": ["a"]}, None, {"text": TEXT}]
    answers = predict(known.system, known.project, [{"id": 50 + i, "data": d} for i, d in enumerate(data)], None)
    assert [bool(answer["result"]) for answer in answers] == [True, False, False, False, False, True]


def test_what_a_caller_sends_does_not_spoil_what_we_know_of_a_task(known: Known) -> None:
    predict(known.system, known.project, [{"id": 1, "data": {}}], None)
    assert known.system.store.counts(known.key)["problems"] == 0


def test_a_text_that_a_model_fails_on_costs_only_itself(
    known: Known, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = Tagger.tag

    def tag(self: Tagger, texts: Sequence[str], **options: Any) -> Any:
        if any("poison" in text for text in texts):
            raise RuntimeError("no memory left")
        return real(self, texts, **options)

    monkeypatch.setattr(Tagger, "tag", tag)
    tasks = [{"id": 50 + i, "data": {"text": "poison" if i == 2 else TEXT}} for i in range(5)]
    with caplog.at_level(logging.WARNING):
        answers = predict(known.system, known.project, tasks, None)
    assert [bool(answer["result"]) for answer in answers] == [True, True, False, True, True]
    assert "poison" not in caplog.text


def test_lost_weights_cost_the_predictions_and_not_the_call(known: Known, tiny_tagger: Path) -> None:
    publish(known.system, known.project, tiny_tagger, "lost")
    known.release("active", whole=True)
    assert spans(known.predict(5)[0])
    root = known.system.settings.model_dir / known.system.settings.finetuned_model_name
    root.rename(root.with_name("elsewhere"))
    known.system.registry = Registry(root)  # as in a process that has checked nothing yet
    assert [answer["result"] for answer in known.predict(5, 1)] == [[], [PER]]


def test_samples_are_the_hardest_open_tasks_and_never_audit_tasks(known: Known) -> None:
    n = known.release("active", whole=True, ranked=(2, 1, 6, 4, 3))
    answer = select_samples(known.system, known.project, None, None, None)
    assert answer["task_ids"] == [1, 2, 3, 4]
    assert answer["pool_size"] == 4
    assert [sample["above_threshold"] for sample in answer["samples"]] == [True, True, False, False]
    assert answer["samples"][0]["reason"] == "reason 1"
    assert select_samples(known.system, known.project, 2, "spans", None)["task_ids"] == [1, 2]
    assert select_samples(known.system, known.project, None, None, 0.75)["task_ids"] == [1, 2]
    known.system.store.delete_tasks(known.key, [1])
    assert select_samples(known.system, known.project, 1, None, None)["task_ids"] == [2]
    assert known.system.store.release(known.key, n).whole


def test_samples_that_cannot_be_given_are_refused_with_a_next_step(known: Known) -> None:
    with pytest.raises(Conflict, match="no order yet"):
        select_samples(known.system, known.project, 1, None, None)
    known.release("active", whole=True)
    with pytest.raises(InputError, match="no strategy 'coin'"):
        select_samples(known.system, known.project, 1, "coin", None)
    with pytest.raises(Conflict, match="not by 'entropy'"):
        select_samples(known.system, known.project, 1, "entropy", None)


def test_a_running_training_is_seen_behind_any_number_of_later_jobs(known: Known) -> None:
    store = known.system.store
    training = store.start_job(store.add_job("train", known.key, lane="train").id, 600)
    assert training is not None
    for _ in range(25):
        job = store.start_job(store.add_job("sync", known.key, lane="light").id, 60)
        assert job is not None
        store.end_job(job, "done")
    told = status(known.system, known.project)
    assert told["phase"] == "training"
    assert "train is running" in told["why"]
    assert training.id in {job["id"] for job in told["jobs"]}


def test_status_says_that_the_serving_version_is_of_another_config(known: Known, tiny_tagger: Path) -> None:
    assert status(known.system, known.project)["phase"] == "cold start"
    publish(known.system, known.project, tiny_tagger, "old")
    told = status(known.system, known.project)
    assert (told["phase"], told["note"]) == ("live", "")
    known.system.store.update_project(known.key, label_config=CONFIG.replace("LOC", "DAY"))
    assert "another labelling config" in status(known.system, known.project)["note"]


def test_a_paused_project_says_so_and_how_it_goes_on(known: Known) -> None:
    known.system.store.update_project(known.key, state="paused")
    told = status(known.system, known.project)
    assert (told["phase"], told["why"]) == ("paused", "The project is paused.")
    assert "resume" in told["next_step"]


def test_the_tiny_model_knows_its_names(known: Known, documents: list[Document]) -> None:
    answers = predict(
        known.system, known.project, [{"id": 60 + i, "data": {"text": d.text}} for i, d in enumerate(documents)], None
    )
    right = [
        spans(answer) == [(span.start, span.end, span.label) for span in document.spans]
        for answer, document in zip(answers, documents, strict=True)
    ]
    assert sum(right) > 90
