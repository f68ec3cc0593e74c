"""The arithmetic of a version: examined by a job behind its first release, kept by machine, used for it only."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewise.labels.schema import Head
from edgewise.labels.spans import Document, on_whole
from edgewise.learning.inference import Classified
from edgewise.learning.inference.arithmetic import BFLOAT16, FLOAT32, LEAST_GAIN, Machine
from edgewise.learning.inference.arithmetic import machine as this_machine
from edgewise.services.jobs import LANE_OF, perform
from edgewise.services.store import Arithmetic, Project, Task
from edgewise.services.studio import Studio
from edgewise.services.workers import HEAVY_KINDS
from edgewise.verbs import arithmetic, scoring
from edgewise.verbs import rank as ranking
from edgewise.verbs.arithmetic import KIND, decisions, is_wanted
from edgewise.verbs.rank import rank
from edgewise.verbs.scoring import model_of, models_of
from edgewise.verbs.status import status
from edgewise.verbs.system import System
from examples.label_studio import RunningStudio
from model import run_verb
from tests.verbs.conftest import (
    CONFIG,
    Killed,
    Make,
    dies,
    do,
    new_studio_project,
    publish,
    schema,
    synced,
    waiting,
)

TASKS = 260


def a_choice(version: str, **facts: Any) -> Arithmetic:
    """A decision for bfloat16 on this machine."""
    plain = Arithmetic(version, "label", this_machine().digest, "kind", BFLOAT16, "twice as fast", {"machine": "here"})
    return replace(plain, **facts)


def computes_in(system: System, project: Project) -> str:
    """The arithmetic in which the serving version answers."""
    assert project.serving is not None
    version = system.store.version(project.key, project.serving)
    return models_of(system, project, schema(), version)["label"].arithmetic


@pytest.fixture
def project(offline: Make, tiny_tagger: Path, documents: list[Document]) -> tuple[System, Project]:
    """A project with a version that serves, and open tasks enough to examine it."""
    system = offline(baseline_model_name=str(tiny_tagger))
    key = system.store.record_project(system.address, 7, "1700000000", label_config=CONFIG).key
    texts = [f"{document.text} {number}" for number in range(3) for document in documents][:TASKS]
    system.store.upsert_tasks(key, [Task(i, {"text": text}, f"key {i}") for i, text in enumerate(texts, start=1)], {})
    live = system.store.update_project(key, state="live")
    publish(system, live, tiny_tagger, "first")
    return system, system.by_key(key)


def test_the_job_examines_every_head_once_and_status_tells_what_it_found(project: tuple[System, Project]) -> None:
    system, known = project
    assert known.serving is not None
    version = system.store.version(known.key, known.serving)
    assert is_wanted(system, known, version)
    job = system.queue.enqueue(KIND, known.key)
    perform(system.store, system.queue, job.id, partial(run_verb, system))
    assert system.queue.job(job.id).state == "done"
    (made,) = system.store.arithmetics(known.key, version.id)
    assert (made.head, made.machine) == ("label", this_machine().digest)
    figures = made.figures[BFLOAT16]
    assert figures["times_faster"] > 0
    if figures["times_faster"] < LEAST_GAIN:  # what is slower is not compared
        assert (made.choice, figures["agreement"]) == (FLOAT32, None)
    (told,) = status(system, known)["arithmetic"]
    assert (told["choice"], told["reason"], told["figures"]) == (made.choice, made.reason, made.figures)
    assert this_machine().words in told["figures"]["machine"]
    assert not is_wanted(system, known, version)
    do(system, known.key, arithmetic.arithmetic)
    assert system.store.arithmetics(known.key, version.id) == [made]


def demand(patch: pytest.MonkeyPatch, **limits: float) -> None:
    """Ask so much of an arithmetic, and nothing of its speed: this processor may have no fast one."""
    patch.setattr("edgewise.verbs.arithmetic.LEAST_GAIN", 0.0)
    for name, limit in ({"LEAST_GAIN": 0.0} | limits).items():
        patch.setattr(f"edgewise.learning.inference.arithmetic.{name}", limit)


def test_a_fast_one_that_agrees_is_taken_for_this_version_on_this_machine(
    project: tuple[System, Project], tiny_tagger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system, known = project
    demand(monkeypatch, LEAST_SPEARMAN=0.9, LEAST_OVERLAP=0.5, MOST_CHANGED=0.05)  # a tiny model is all but certain
    assert computes_in(system, known) == FLOAT32
    do(system, known.key, arithmetic.arithmetic)
    (made,) = system.store.arithmetics(known.key, str(known.serving))
    assert made.figures[BFLOAT16]["agreement"]["texts"] == TASKS
    assert made.choice == BFLOAT16, made.reason
    assert computes_in(system, known) == BFLOAT16
    (head,) = schema().heads
    judged = model_of(system, known, head, system.store.version(known.key, str(known.serving)))
    assert judged is not None
    assert judged.arithmetic == FLOAT32, "whoever measures a model asks for no arithmetic"
    publish(system, known, tiny_tagger, "second")
    assert computes_in(system, system.by_key(known.key)) == FLOAT32, "nobody has examined this one"
    demand(monkeypatch, LEAST_SPEARMAN=1.1)
    second = do(system, known.key, arithmetic.arithmetic)
    assert computes_in(system, second) == FLOAT32
    (told,) = status(system, second)["arithmetic"]
    assert "ranks otherwise: Spearman" in told["reason"]


def test_the_choice_of_another_machine_is_shown_and_not_used(
    project: tuple[System, Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    system, known = project
    system.store.save_arithmetic(known.key, a_choice(str(known.serving), machine="another"))
    assert computes_in(system, known) == FLOAT32
    assert [one["choice"] for one in status(system, known)["arithmetic"]] == [BFLOAT16]
    monkeypatch.setattr(scoring, "machine", lambda: Machine("another", "there"))
    assert computes_in(system, known) == BFLOAT16


def test_a_version_of_a_kind_that_was_measured_here_is_measured_shortly(project: tuple[System, Project]) -> None:
    system, known = project
    do(system, known.key, arithmetic.arithmetic)
    (first,) = system.store.arithmetics(known.key, str(known.serving))
    again = system.store.add_version(replace(system.store.version(known.key, str(known.serving)), id="again"))
    shortly = arithmetic.examine(
        system, known, (replace(again, id=first.version), schema().heads[0]), lambda done: None
    )
    assert (first.figures["rounds"], shortly.figures["rounds"]) == (arithmetic.ROUNDS, arithmetic.ROUNDS_AGAIN)
    assert shortly.architecture == first.architecture


def test_a_decision_is_a_word_s_tag_a_text_s_choice_or_each_of_several() -> None:
    nobody = np.zeros((0, 2), dtype=np.float32)
    spans = [tuple(on_whole("Ada", label) for label in labels) for labels in (["b"], [], ["a", "c"])]
    said = Classified(nobody, np.zeros(4, dtype=np.int64), nobody, spans, nobody)
    head = Head("topic", "text", "text", ("a", "b", "c"), kind="choice")
    assert decisions(head, said).tolist() == [1, -1, 0]
    assert decisions(replace(head, kind="choices"), said).tolist() == [0, 1, 0, 0, 0, 0, 1, 0, 1]


def test_it_runs_in_a_process_of_its_own_where_no_order_waits_for_it() -> None:
    assert KIND in HEAVY_KINDS
    assert LANE_OF[KIND] not in {"rank", "light", "train"}


def test_it_is_queued_behind_the_whole_first_release_and_never_before(
    label_studio: RunningStudio,
    studio: Studio,
    make_system: Make,
    tiny_tagger: Path,
    documents: list[Document],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = new_studio_project(label_studio, studio, [{"data": {"text": one.text}} for one in documents[:20]])
    system = make_system(baseline_model_name=str(tiny_tagger))
    key = synced(system, there).key
    for name, size in {"HEAD_COLD": 6, "HEAD_LEAST": 4, "HEAD_RANDOM": 2, "CHUNK": 8}.items():
        monkeypatch.setattr(ranking, name, size)
    monkeypatch.setattr(arithmetic, "LEAST_TEXTS", 10)
    do(system, key, rank)
    assert KIND not in waiting(system, key), "a baseline is examined by nobody"
    publish(system, system.by_key(key), tiny_tagger, "first")
    with monkeypatch.context() as patch:
        dies(patch, ranking, "rank_rest")
        with pytest.raises(Killed):
            do(system, key, rank)
    assert system.by_key(key).active_release == 2
    assert KIND not in waiting(system, key)
    do(system, key, rank)
    assert KIND in waiting(system, key)
    monkeypatch.setattr(arithmetic, "LEAST_TEXTS", 21)
    version = system.store.version(key, str(system.by_key(key).serving))
    assert not is_wanted(system, system.by_key(key), version), "too few to tell"
    there.http.close()
