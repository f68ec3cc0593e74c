"""A language model's run over a project of the real Label Studio: who is asked what, what is shown, kept and spent."""

import ipaddress
import logging
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from edgewise.errors import Conflict, SettingsError
from edgewise.labels.spans import Document
from edgewise.services.store import Prelabelled
from edgewise.verbs import prelabel as verb
from edgewise.verbs.placing import release_name
from edgewise.verbs.private import refuse_endpoint
from edgewise.verbs.rank import rank
from edgewise.verbs.status import llm_runs, status
from tests.live.gold_model import GoldModel, serving_model
from tests.studio_fixture import REPOSITORY
from tests.verbs.conftest import CONFIG, Killed, Make, dies, do, labelled_task, waiting
from tests.verbs.language_model import Begin, World, asking, begin, gold, knowing, unlabelled

__all__ = ["begin"]

MIXED = CONFIG.replace(
    "<View>", '<View><Choices name="tone" toName="text"><Choice value="glad"/><Choice value="sad"/></Choices>'
)


# Ask


def test_all_heads_of_a_text_are_asked_for_in_one_call(begin: Begin, documents: list[Document]) -> None:
    some = documents[::9]
    both = {text: {"tone": "sad", "entities": spans} for text, spans in gold(some).items()}
    with serving_model(GoldModel(both)) as model:
        world = begin(unlabelled(some), model, MIXED)
        world.prelabel()
    assert Counter(model.documents) == Counter(document.text for document in some), "one question for each text"
    shown = world.predictions("llm-1")
    for document in some:
        result = shown[world.tasks()[document.text].task_id]["result"]
        assert [one["value"]["choices"] for one in result if one["type"] == "choices"] == [["sad"]]
        marked = {
            (r["value"]["start"], r["value"]["end"], *r["value"]["labels"]) for r in result if "start" in r["value"]
        }
        assert marked == {(span.start, span.end, span.label) for span in document.spans}


def test_without_a_model_or_anything_to_ask_for_it_says_so(begin: Begin, documents: list[Document]) -> None:
    with knowing(documents) as model:
        world = begin(unlabelled(documents[:1]), model, llm_provider=None)
        with pytest.raises(Conflict, match="No language model is set"):
            world.prelabel()


# Learn from corrections


def test_what_people_label_is_shown_to_the_next_run_and_changes_nothing_in_this_one(
    begin: Begin, documents: list[Document]
) -> None:
    some = documents[::3]
    with knowing(some, wrong=0.3) as model:
        world = begin(unlabelled(some), model, llm_demonstrations=3)
        world.prelabel()
        assert "<example-" not in "".join(model.asked)
        first = world.kept()
        labelled = world.label(some[:9])
        world.prelabel()
        assert (world.run.run, len(model.documents)) == (1, len(some)), "nine labels are too few to ask again"
        labelled += world.label(some[9:12])
        asked = len(model.documents)
        world.prelabel()
        assert world.run.run == 2
        assert world.run.how["known"] == 12
        assert len(model.documents) == asked + len(some) - 12, "only what is open is asked about again"
        texts = {task.task_id: text for text, task in world.tasks().items()}
        check_wrong(world, first, some[:12])
        shown = {task: one.shown for task, one in world.kept().items() if one.run == 2}
        for task, demonstrations in shown.items():
            assert len(demonstrations) == 3
            assert set(demonstrations) <= set(labelled) - {task}
            assert sorted(model.examples(texts[task])) == sorted(texts[one] for one in demonstrations)
        assert world.system.store.demonstrated(world.key, 2) == {one for many in shown.values() for one in many}
        assert world.run.sent["demonstrations"] == len(world.system.store.demonstrated(world.key))
        world.label(some[12:14])
        asked = len(model.asked)
        world.prelabel()
        assert world.run.run == 2
        assert len(model.asked) == asked, "two more labels are no reason to pay again"


def check_wrong(world: World, said: Mapping[int, Prelabelled], documents: Sequence[Document]) -> None:
    """Exactly the demonstrations that the first run got wrong are known as such."""
    known = {shot.task_id: shot.wrong for shot in world.system.store.shots(world.key, 2)}
    for document in documents:
        task = world.tasks()[document.text].task_id
        found = {(r["value"]["start"], r["value"]["end"], r["value"]["labels"][0]) for r in said[task].result}
        assert known[task] == (found != {(span.start, span.end, span.label) for span in document.spans})
    assert 0 < sum(known.values()) < len(known)


def test_an_audit_task_is_never_a_demonstration(begin: Begin, documents: list[Document]) -> None:
    done, left = documents[:40], documents[40:50]
    with knowing(documents) as model:
        tasks = [*map(labelled_task, done), *unlabelled(left)]
        world = begin(tasks, model, audit_fraction=0.4, llm_demonstrations=8)
        audit = {task.task_id for task in world.tasks().values() if task.audit}
        world.prelabel()
    assert len(audit) > 5
    shots = {shot.task_id for shot in world.system.store.shots(world.key, 1)}
    assert shots == {task.task_id for task in world.tasks().values() if task.digest and not task.audit}
    shown = world.system.store.demonstrated(world.key)
    assert shown
    assert shown <= shots
    held_out = {text for text, task in world.tasks().items() if task.audit}
    assert not held_out & {text for document in model.documents for text in model.examples(document)}


def test_an_erased_task_takes_every_answer_along_that_it_was_shown_with(
    begin: Begin, documents: list[Document]
) -> None:
    done, left = documents[:6], documents[6:30]
    with knowing(documents) as model:
        world = begin([*map(labelled_task, done), *unlabelled(left)], model, llm_demonstrations=2)
        world.prelabel()
        kept = world.kept_answers()
        uses = Counter(task for one in world.kept().values() for task in one.shown)
        victim, times = next((task, n) for task, n in uses.items() if n < len(left))
        world.studio.call("DELETE", f"api/tasks/{victim}/")
        world.system.store.update_project(world.key, swept_at=None)
        world.sync()
    assert world.kept_answers() == kept - times
    assert victim not in {shot.task_id for shot in world.system.store.shots(world.key, 1)}


# Run


def test_a_run_goes_on_where_it_was_killed_and_pays_for_nothing_twice(
    begin: Begin, make_system: Make, documents: list[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verb, "CHUNK", 8)
    some = [*documents[:4], *documents[10:34]]
    with knowing(documents) as model:
        world = begin([*map(labelled_task, some[:4]), *unlabelled(some[4:])], model, llm_demonstrations=2)
        for owner, name, after in (
            (world.system.store, "save_prelabels", 0),
            (world.system.studio, "push_release", 1),
            (world.system.store, "keep_llm_answer", 5),
        ):
            with pytest.MonkeyPatch.context() as patch:
                dies(patch, owner, name, after=after, done=name == "keep_llm_answer")
                with pytest.raises(Killed):
                    world.prelabel()
            world.label([])
        restarted = make_system(**asking(model), llm_demonstrations=2)
        again = World(world.studio, restarted, world.key, model)
        again.prelabel()
    assert Counter(model.documents) == Counter(document.text for document in some[4:]), "each is asked about once"
    assert set(again.predictions("llm-1")) == set(again.system.store.open_task_ids(world.key))
    assert "rank" in waiting(again.system, world.key)


def test_the_budget_holds_over_killed_processes(
    begin: Begin, documents: list[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    some = documents[:100]
    with knowing(documents, before=lambda text: time.sleep(0.05)) as model:  # or all is asked before it is killed
        world = begin(unlabelled(some), model, llm_budget_calls=60)
        for _ in range(3):
            with pytest.MonkeyPatch.context() as patch:
                dies(patch, world.system.store, "keep_llm_answer", after=3)
                with pytest.raises(Killed):
                    world.prelabel()
        world.prelabel()
        world.prelabel()
    assert len(model.asked) <= 60
    assert world.run.spend["calls"] == 60
    left = status(world.system, world.project)["language_model"]["open_tasks_left"]
    assert left == len(some) - world.system.store.count_prelabelled(world.key, 1) > 0


def test_what_failed_is_asked_again_and_what_was_answered_is_not(begin: Begin, documents: list[Document]) -> None:
    some = documents[:6]
    answers: dict[str, Any] = dict(gold(some))
    broken = some[2].text
    answers[broken] = {"nothing": "that was asked for"}
    with serving_model(GoldModel(answers)) as model:
        world = begin(unlabelled(some), model)
        world.prelabel()
        task = world.tasks()[broken].task_id
        assert world.kept()[task].error
        assert world.run.sent["failed"] == 1
        assert task not in world.predictions("llm-1")
        asked = len(model.asked)
        world.prelabel()
        assert len(model.asked) == asked, "the same bad answer is not paid for again"
        assert world.kept()[task].error


def test_an_edited_text_is_asked_about_anew(begin: Begin, documents: list[Document]) -> None:
    some = documents[:3]
    with knowing(documents) as model:
        world = begin(unlabelled(some), model)
        world.prelabel()
        task = world.tasks()[some[0].text].task_id
        world.studio.call("PATCH", f"api/tasks/{task}/", {"data": {"text": documents[50].text}})
        world.sync()
        world.prelabel()
    assert model.documents[3:] == [documents[50].text]
    assert len(world.kept()[task].result) == len(documents[50].spans)


def test_a_task_that_was_deleted_meanwhile_stops_no_run(begin: Begin, documents: list[Document]) -> None:
    some = documents[:5]
    with knowing(documents) as model:
        world = begin(unlabelled(some), model)
        known = set(world.system.store.task_ids(world.key))
        gone = world.tasks()[some[2].text].task_id
        world.studio.call("DELETE", f"api/tasks/{gone}/")
        world.prelabel()
    assert set(world.predictions("llm-1")) == known - {gone}
    assert set(world.system.store.task_ids(world.key)) == known - {gone}
    assert "rank" in waiting(world.system, world.key)


def test_other_instructions_begin_another_run_and_each_says_what_it_sent_to_whom(
    begin: Begin, documents: list[Document], caplog: pytest.LogCaptureFixture
) -> None:
    some = documents[:5]
    with knowing(documents) as model, caplog.at_level(logging.INFO, logger="edgewise"):
        world = begin(unlabelled(some), model)
        world.prelabel()
        world.system.store.add_instructions(world.key, "Mark people and places. TOP SECRET")
        world.prelabel()
    assert sum("TOP SECRET" in question for question in model.asked) == 0, "instructions are the system's part"
    newest, oldest = llm_runs(world.system, world.project)
    assert (newest["run"], newest["instructions"], oldest["run"], oldest["instructions"]) == (2, 1, 1, None)
    for run in (newest, oldest):
        assert run["host"] == model.url.split("/")[2]
        assert run["model"] == "gold"
        assert run["sent"] == {"tasks": 5, "texts": 5, "demonstrations": 0, "failed": 0}
        assert run["spend"]["calls"] == 6, "five texts, and once what is honoured"
        assert float(run["spend"]["usd"]) == pytest.approx(6 * (100 * 1 + 20 * 2) / 1e6)
        assert (run["spend"]["input_tokens"], run["spend"]["output_tokens"]) == (600, 120)
        assert Decimal(run["spend"]["held_usd"]) == 0
    lines = "\n".join(record.getMessage() for record in caplog.records)
    assert newest["host"] in lines
    assert "llm-2" in lines
    assert "TOP SECRET" not in lines
    assert not any(document.text in lines for document in some)
    world.system.store.erase_project(world.key)
    assert world.system.store.llm_runs(world.key) == []


# Trust


def test_confidences_are_put_right_by_what_people_say_of_held_out_tasks(
    begin: Begin, documents: list[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verb, "WORKERS", 1)  # so that the order of the questions is one
    done, left = documents[:80], documents[80:]
    with knowing(documents, wrong=0.4, sure=0.95) as model:
        tasks = [*map(labelled_task, done), *unlabelled(left)]
        world = begin(tasks, model, audit_fraction=0.499, llm_demonstrations=0)
        world.prelabel()
        audit = {text for text, task in world.tasks().items() if task.audit and task.digest}
        assert audit == set(model.documents[: len(audit)]), "what is labelled and held out comes first"
    known = status(world.system, world.project)["language_model"]
    assert known["calibrated_on"] == 2 * len(audit)
    raw = [region["score"] for one in world.kept().values() for region in one.result]
    assert raw == [0.95] * len(raw), "what is kept is what was said"
    right = true_share(world, [document for document in done if document.text in audit])
    shown = world.predictions("llm-1")
    hidden = {task.task_id for task in world.tasks().values() if task.audit}
    assert shown
    assert not hidden & set(shown), "nobody sees what it says of held-out tasks"
    for one in shown.values():
        assert one["score"] == pytest.approx(right, abs=0.02)
        assert all(region["score"] == pytest.approx(right, abs=0.02) for region in one["result"])
    do(world.system, world.key, rank)
    release = world.project.active_release
    assert release is not None
    assert world.system.store.release(world.key, release).version == f"llm-1/{len(world.kept())}/calibrated"
    ranks = world.system.store.ranks(world.key, release, shown)
    assert all(ranked.uncertainty == pytest.approx(1 - right, abs=0.02) for ranked in ranks.values())
    served = world.predictions(release_name(release))
    assert [r["score"] for task in shown for r in served[task]["result"]] == [
        r["score"] for one in shown.values() for r in one["result"]
    ]


def true_share(world: World, documents: Sequence[Document]) -> float:
    """How many of the labels that the model gave to these texts are gold's, towards which Platt's targets lean."""
    right = total = 0
    for document in documents:
        said = world.kept()[world.tasks()[document.text].task_id].result
        labels = {(span.start, span.end): span.label for span in document.spans}
        right += sum(labels[(r["value"]["start"], r["value"]["end"])] == r["value"]["labels"][0] for r in said)
        total += len(said)
    return right / total


def test_without_enough_labels_confidences_stay_as_they_were_said(begin: Begin, documents: list[Document]) -> None:
    with knowing(documents, sure=0.8) as model:
        world = begin([*map(labelled_task, documents[:20]), *unlabelled(documents[20:24])], model, audit_fraction=0.4)
        world.prelabel()
    assert status(world.system, world.project)["language_model"]["calibrated_on"] is None
    shown = world.predictions("llm-1")
    assert {region["score"] for one in shown.values() for region in one["result"]} <= {0.8}


def test_where_nothing_tells_how_sure_it_is_it_says_none(begin: Begin, documents: list[Document]) -> None:
    with knowing(documents) as model:
        world = begin(unlabelled(documents[:4]), model)
        world.prelabel()
    for one in world.predictions("llm-1").values():
        assert one["score"] is None
        assert not any("score" in region for region in one["result"])


# Private


@contextmanager
def reaching() -> Iterator[list[str]]:
    """The machines that this process tries to reach meanwhile, names that it looks up included."""
    reached: list[str] = []
    watching = True

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if watching and event in ("socket.connect", "socket.sendto", "socket.getaddrinfo"):
            address = given[0] if event == "socket.getaddrinfo" else given[1]
            reached.append(str(address[0] if isinstance(address, tuple) else address))

    sys.addaudithook(hook)  # for good: Python takes none back
    try:
        yield reached
    finally:
        watching = False


def is_here(host: str) -> bool:
    """Whether an address is this machine's."""
    return host == "localhost" or host.startswith("/") or ipaddress.ip_address(host).is_loopback


def test_in_private_nothing_but_this_machine_is_reached(begin: Begin, documents: list[Document]) -> None:
    with knowing(documents) as model:
        world = begin(unlabelled(documents[:6]), model, private=True)
        with reaching() as reached:
            world.prelabel()
            do(world.system, world.key, rank)
    assert len(model.documents) == 6
    assert len(reached) >= 2, "the hook sees the model's endpoint and Label Studio"
    assert all(is_here(host) for host in reached), set(reached)


@pytest.mark.parametrize("url", [None, "https://api.example.com/v1", "http://localhost.example.com/v1"])
def test_in_private_another_machine_is_refused_with_the_reason_and_never_reached(
    begin: Begin, documents: list[Document], url: str | None
) -> None:
    with knowing(documents) as model:
        world = begin(unlabelled(documents[:2]), model, private=True, llm_base_url=url)
    with reaching() as reached:
        with pytest.raises(SettingsError, match="PRIVATE is set"):
            refuse_endpoint(world.system.settings)
        with pytest.raises(SettingsError, match="PRIVATE is set"):
            world.prelabel()
    assert not [host for host in reached if not is_here(host)]


def test_in_private_no_process_of_ours_starts_with_a_model_elsewhere(tmp_path: Path) -> None:
    outside = {"LLM_PROVIDER": "openai", "LLM_BASE_URL": "https://api.example.com/v1", "PRIVATE": "true"}
    environment = {"PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path), **outside}
    start = [sys.executable, "-c", "import model; model.open_system()"]
    ended = subprocess.run(start, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "PRIVATE is set, and the language model at api.example.com is on another machine." in ended.stderr


def test_in_private_a_machine_that_is_allowed_is_asked(offline: Make) -> None:
    named: dict[str, Any] = {"llm_provider": "openai", "llm_base_url": "http://models.lan:8000/v1", "private": True}
    refuse_endpoint(offline(**named, ALLOWED_HOSTS="models.lan").settings)
    refuse_endpoint(offline(private=True).settings)
