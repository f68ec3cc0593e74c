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
from edgewise.learning.inference.arithmetic import BFLOAT16, FLOAT32, LEAST_GAIN, ONNX, OTHERS, Figures, Machine
from edgewise.learning.inference.arithmetic import machine as this_machine
from edgewise.services.jobs import LANE_OF, perform
from edgewise.services.store import Arithmetic, Project, Task
from edgewise.services.studio import Studio
from edgewise.services.workers import HEAVY_KINDS
from edgewise.verbs import arithmetic, head_first, models
from edgewise.verbs import rank as ranking
from edgewise.verbs.arithmetic import KIND, decisions, figures_of, is_wanted, turns
from edgewise.verbs.models import kind_of, model_of, models_of
from edgewise.verbs.rank import rank
from edgewise.verbs.status import status
from edgewise.verbs.system import System, folder_name
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
    fast = {name for name in OTHERS if made.figures[name]["times_faster"] >= LEAST_GAIN}
    assert fast == {name for name in OTHERS if made.figures[name]["agreement"]}, "what is slower is not compared"
    assert made.choice in {FLOAT32, *fast}
    assert exported(system, known).exists() == (made.choice == ONNX)
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
    monkeypatch.setattr(arithmetic, "OTHERS", (BFLOAT16,))
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
    assert computes_in(system, system.by_key(known.key)) == BFLOAT16, "at once, as the last of its kind"
    demand(monkeypatch, LEAST_SPEARMAN=1.1)
    second = do(system, known.key, arithmetic.arithmetic)
    assert computes_in(system, second) == FLOAT32, "this one was examined, and lost the ranking"
    (told,) = status(system, second)["arithmetic"]
    assert "ranks otherwise: Spearman" in told["reason"]


def test_onnx_runtime_is_taken_once_it_is_exported_and_only_the_chosen_file_stays(
    project: tuple[System, Project], tiny_tagger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system, known = project
    demand(monkeypatch)
    monkeypatch.setattr(arithmetic, "OTHERS", (ONNX,))
    do(system, known.key, arithmetic.arithmetic)
    (made,) = system.store.arithmetics(known.key, str(known.serving))
    assert made.choice == ONNX, made.reason
    assert made.figures[ONNX]["agreement"]["spearman"] > 0.9999
    assert computes_in(system, known) == ONNX
    assert exported(system, known).is_file()
    publish(system, known, tiny_tagger, "second")
    second = system.by_key(known.key)
    assert computes_in(system, second) == FLOAT32, "no order waits for an export"
    second = do(system, known.key, arithmetic.arithmetic)
    assert computes_in(system, second) == ONNX
    system.registry.verify(folder_name(second), str(second.serving))  # the file is no part of the version's id
    whole = exported(system, second).read_bytes()
    exported(system, second).write_bytes(whole[:-1] + b"?")
    assert computes_in(system, second) == FLOAT32, "another file than the one that was examined"
    exported(system, second).write_bytes(whole)
    assert computes_in(system, second) == ONNX
    publish(system, second, tiny_tagger, "third")
    demand(monkeypatch, LEAST_SPEARMAN=1.1)
    third = do(system, known.key, arithmetic.arithmetic)
    assert computes_in(system, third) == FLOAT32
    assert not exported(system, third).exists()


def exported(system: System, project: Project) -> Path:
    """Where the serving version is for ONNX Runtime, if it is."""
    return system.registry.exported(folder_name(project), str(project.serving), "label")


def exports_in(system: System, project: Project) -> list[str]:
    """What of exports lies beside the serving version's weights, whole or not."""
    return [path.name for path in exported(system, project).parent.iterdir() if "onnx" in path.name]


def test_what_cannot_be_exported_and_a_killed_export_leave_nothing_but_float32(
    project: tuple[System, Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    system, known = project
    demand(monkeypatch)
    monkeypatch.setattr(arithmetic, "OTHERS", (ONNX,))
    with monkeypatch.context() as patch:
        dies(patch, arithmetic, "export_trained")
        with pytest.raises(Killed):
            do(system, known.key, arithmetic.arithmetic)
    assert exports_in(system, known) == []
    assert not system.store.arithmetics(known.key, str(known.serving))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda path, missing_ok: None)  # SIGKILL leaves nobody to tidy up
        dies(patch, arithmetic, "export_trained")
        with pytest.raises(Killed):
            do(system, known.key, arithmetic.arithmetic)
    assert len(exports_in(system, known)) == 1

    def disk_is_full(folder: Path, head: Head, path: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(arithmetic, "export_trained", disk_is_full)
        with pytest.raises(OSError, match="No space"):
            do(system, known.key, arithmetic.arithmetic)
    assert not system.store.arithmetics(known.key, str(known.serving)), "or nobody would ever try again"

    def fails(folder: Path, head: Head, path: Path) -> None:
        path.write_bytes(b"half")
        raise TypeError("what an exporter says")

    monkeypatch.setattr(arithmetic, "export_trained", fails)
    do(system, known.key, arithmetic.arithmetic)
    (made,) = system.store.arithmetics(known.key, str(known.serving))
    assert (made.choice, made.reason) == (FLOAT32, "onnx cannot be run here")
    assert exports_in(system, known) == []


def test_what_was_slow_here_is_not_tried_again_and_the_fastest_is_tried_first() -> None:
    known = {BFLOAT16: Figures(0.64), ONNX: Figures(1.3), "third": Figures(2.0), "fourth": Figures(None)}
    assert turns(known) == [["third"], [ONNX]]
    assert turns({BFLOAT16: Figures(0.64)}) == []
    assert turns({}) == [list(OTHERS)]
    assert figures_of(a_choice("v", figures={BFLOAT16: {"times_faster": 2.0}})) == {}, "one of them is new"
    of_all = {name: {"times_faster": 2.0, "agreement": {"spearman": 1.0}} for name in OTHERS}
    assert figures_of(a_choice("v", figures=of_all)) == {name: Figures(2.0) for name in OTHERS}


def test_where_all_others_are_slow_a_version_costs_no_measurement(
    project: tuple[System, Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    system, known = project
    version = system.store.version(known.key, str(known.serving))
    (head,) = schema().heads
    slow = {name: {"times_faster": 0.7, "agreement": None} for name in OTHERS}
    kind = kind_of(system, known, head, version)
    system.store.save_arithmetic(
        known.key, a_choice("before", architecture=kind, choice=FLOAT32, figures={"machine": "here", **slow})
    )
    monkeypatch.delattr(arithmetic, "predict")
    do(system, known.key, arithmetic.arithmetic)
    (made,) = system.store.arithmetics(known.key, version.id)
    assert made.choice == FLOAT32
    assert made.reason == "bfloat16 is only 0.70 times as fast; onnx is only 0.70 times as fast"


def test_the_choice_of_another_machine_is_shown_and_not_used(
    project: tuple[System, Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    system, known = project
    system.store.save_arithmetic(known.key, a_choice(str(known.serving), machine="another"))
    assert computes_in(system, known) == FLOAT32
    assert [one["choice"] for one in status(system, known)["arithmetic"]] == [BFLOAT16]
    monkeypatch.setattr(models, "machine", lambda: Machine("another", "there"))
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
    for name, size in {"COLD": 6, "FIRST": 4, "MOST": 4, "DRAWN": 2}.items():
        monkeypatch.setattr(head_first, name, size)
    monkeypatch.setattr(ranking, "PUSHED", 8)
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
