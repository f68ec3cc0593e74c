"""A language model labels first, people correct it, the trained model takes over: on a real Label Studio."""

import os
import signal
import sqlite3
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edgewise.labels.schema import parse_schema
from edgewise.learning.inference import answers, load_trained
from edgewise.services.studio import Studio
from examples import wikigold
from tests.live.conftest import Annotator, RunningEdgewise, Start, quiet, wikigold_project
from tests.live.gold_model import GoldModel, gold_model

TASKS, LABELLED = 200, 40
LOST, WRONG = 0.15, 0.1
TITLE = "Model and language model disagree"
Answer = set[tuple[int, int, str]]
Row = Mapping[str, Any]


def asking(model: GoldModel) -> dict[str, str]:
    """Variables that name this model, which costs, and forbid every other machine."""
    return {
        "LLM_PROVIDER": "openai",
        "LLM_MODEL": "gold",
        "LLM_BASE_URL": model.url,
        "LLM_API_KEY": "none",
        "LLM_PRICE_INPUT_USD": "1",
        "LLM_PRICE_OUTPUT_USD": "2",
        "PRIVATE": "true",
        "START_TRAINING_EACH_N_UPDATES": "1000",
    }


@pytest.mark.timeout(600)
def test_a_language_model_labels_until_a_trained_one_takes_over(
    start_edgewise: Start, studio: Studio, annotators: list[Annotator], measured: Callable[[str], None]
) -> None:
    rows = wikigold.rows("train")[:TASKS]
    project, tasks = wikigold_project(studio, rows)
    by_task = dict(zip(tasks, rows, strict=True))
    with gold_model(rows, lost=LOST, wrong=WRONG, labels=wikigold.LABELS) as model:
        edgewise = start_edgewise(**asking(model))
        studio.add_backend(project, edgewise.url, "Edgewise")
        edgewise.wait(project, lambda status: status["release"] and quiet(status))
        edgewise.post(f"/projects/{project}/prelabel")
        status = edgewise.wait(project, lambda s: s["release"]["version"] == f"llm-1/{TASKS}" and quiet(s))
        check_spend(status["language_model"], TASKS)
        audit = audit_tasks(edgewise, project)
        check_shown(predictions_of(annotators[0], project), by_task, audit, status["release"]["name"])
        edgewise.post(f"/projects/{project}/prelabel")
        edgewise.wait(project, quiet)
        assert len(model.documents) == TASKS, "nothing is paid for twice"
        labelled = set(correct(annotators[0], project, by_task, audit))
        corrected = labelled - audit
        edgewise.wait(project, lambda s: s["labels_since_last_training"] == len(corrected) and quiet(s))
        edgewise.post(f"/projects/{project}/prelabel")
        second = edgewise.wait(project, lambda s: s["language_model"]["run"] == 2 and quiet(s))["language_model"]
        check_learned(model, second, {by_task[task]["text"] for task in corrected}, by_task, audit)
        edgewise.post(f"/projects/{project}/train")
        trained = edgewise.wait(project, is_served, within_s=600)
    assert trained["model_version"]["state"] == "accepted"
    listed = tab(studio, project)
    open_rows = {task: row for task, row in by_task.items() if task not in audit | labelled}
    assert listed == disagreements(edgewise, predictions_of(annotators[0], project), open_rows, trained)
    measured(
        f"language model on {TASKS} tasks: {second['spend']['calls']} calls in run 2, "
        f"{second['sent']['demonstrations']} demonstrations; disagreement lists {len(listed)} tasks"
    )


def check_spend(said: Any, calls: int) -> None:
    """What status says of a run that asked about so many texts, and once what is honoured."""
    assert said["open_tasks_left"] == 0
    assert said["spend"]["calls"] == calls + 1
    assert float(said["spend"]["usd"]) == pytest.approx((100 * 1 + 20 * 2) / 1e6 * (calls + 1))
    assert (said["sent"]["tasks"], said["sent"]["texts"], said["sent"]["failed"]) == (calls, calls, 0)
    assert said["calibrated_on"] is None


def check_shown(
    there: Mapping[int, Mapping[str, Sequence[Row]]], by_task: Mapping[int, Row], audit: set[int], name: str
) -> None:
    """The pre-labels are there though no task was ever opened, under the release and under llm-1, and as good as the
    language model is; held-out tasks have none."""
    assert audit
    right = shown = total = 0
    for task, row in by_task.items():
        predictions = there[task]
        if task in audit:
            assert not any(predictions.values()), "held out: no suggestion"
            continue
        found, gold = answer_of(predictions[name]), gold_of(row)
        assert answer_of(predictions["llm-1"]) == found
        right, shown, total = right + len(found & gold), shown + len(found), total + len(gold)
    assert right / shown == pytest.approx(1 - WRONG, abs=0.05)
    assert right / total == pytest.approx((1 - LOST) * (1 - WRONG), abs=0.06)


def correct(annotator: Annotator, project: int, by_task: Mapping[int, Row], audit: set[int]) -> list[int]:
    """A person corrects what is shown, task by task as Label Studio gives them."""
    given = []
    for _ in range(LABELLED):
        task = annotator.next(project)
        prelabelled = bool(task["predictions"]) and bool(task["predictions"][0]["result"])
        assert not (prelabelled and task["id"] in audit)
        annotator.submit(task)
        given.append(task["id"])
    assert set(given) <= set(by_task)
    return given


def check_learned(model: GoldModel, run: Any, taught: set[str], by_task: Mapping[int, Row], audit: set[int]) -> None:
    """The second run showed people's labels, never a held-out task's text and never the text itself."""
    assert run["known"] == len(taught)
    again = model.documents[TASKS:]
    held_out = {by_task[task]["text"] for task in audit}
    assert len(set(again)) == len(again) >= TASKS - LABELLED
    for text in again:
        shown = model.examples(text)
        assert len(shown) == 8
        assert set(shown) <= taught - {text}
    assert not held_out & taught
    assert 0 < run["sent"]["demonstrations"] <= len(taught)


def is_served(status: Any) -> bool:
    """Whether Label Studio follows a trained version's whole order."""
    release, version = status["release"], status["model_version"]
    return bool(version and release["whole"] and release["version"] == version["id"] and quiet(status))


def disagreements(
    edgewise: RunningEdgewise,
    there: Mapping[int, Mapping[str, Sequence[Row]]],
    rows: Mapping[int, Row],
    status: Any,
) -> list[int]:
    """What the tab should list, worst first: by the version's weights and what the language model shows under llm-2."""
    (head,) = parse_schema(wikigold.LABEL_CONFIG).heads
    (folder,) = (edgewise.data / "models").glob(f"*/*/{status['model_version']['id']}/heads/{head.from_name}")
    found = answers(load_trained(folder, head, max_length=128), [row["text"] for row in rows.values()])
    differ = {}
    for task, spans in zip(rows, found, strict=True):
        ours, theirs = {(span.start, span.end, span.label) for span in spans}, answer_of(there[task]["llm-2"])
        both = len(ours) + len(theirs)
        differ[task] = 1 - 2 * len(ours & theirs) / both if both else 0.0
    assert 0 < sum(value > 0 for value in differ.values()) < len(differ)
    return sorted((task for task in differ if differ[task] > 0), key=lambda task: (-differ[task], task))


def tab(studio: Studio, project: int) -> list[int]:
    """The tasks that the tab lists."""
    (data,) = [view["data"] for view in studio.views(project) if view["data"]["title"] == TITLE]
    (listed,) = [item["value"] for item in data["filters"]["items"] if item["operator"] == "in_list"]
    return list(listed)


def predictions_of(annotator: Annotator, project: int) -> dict[int, dict[str, list[dict[str, Any]]]]:
    """Task -> version -> result, as Label Studio has them; a version has at most one for each task."""
    found: dict[int, dict[str, list[dict[str, Any]]]] = defaultdict(dict)
    for one in annotator.http.get("/api/predictions/", params={"project": project}).json():
        assert one["model_version"] not in found[one["task"]]
        found[one["task"]][one["model_version"]] = one["result"]
    return found


def answer_of(result: Sequence[Mapping[str, Any]]) -> Answer:
    """A result's spans."""
    return {(one["value"]["start"], one["value"]["end"], one["value"]["labels"][0]) for one in result}


def gold_of(row: Row) -> Answer:
    """A row's spans."""
    return {(span["start"], span["end"], span["label"]) for span in row["spans"]}


def audit_tasks(edgewise: RunningEdgewise, project: int) -> set[int]:
    """The tasks that are held out."""
    store = edgewise.store()
    key = next(one.key for one in store.projects() if one.ls_id == project)
    found = set(store.open_task_ids(key, audit=True))
    store.close()
    return found


# kill -9


class Tap:
    """Lets so many documents through, then holds the others back until it is opened."""

    def __init__(self, through: int) -> None:
        self.left = through
        self.opened = threading.Event()
        self.held: list[str] = []
        self._lock = threading.Lock()

    def __call__(self, text: str) -> None:
        with self._lock:
            self.left -= 1
            waits = self.left < 0 and not self.opened.is_set()
            if waits:
                self.held.append(text)
        if waits:
            self.opened.wait(60)


@pytest.mark.timeout(300)
def test_a_worker_killed_in_mid_run_pays_for_nothing_twice_and_loses_nothing(
    start_edgewise: Start, studio: Studio
) -> None:
    rows = wikigold.rows("train")[:40]
    project, tasks = wikigold_project(studio, rows)
    tap = Tap(through=20)
    with gold_model(rows, before=tap) as model:
        edgewise = start_edgewise(**asking(model), LLM_BUDGET_CALLS="60")
        studio.add_backend(project, edgewise.url, "Edgewise")
        edgewise.wait(project, lambda status: status["release"] and quiet(status))
        edgewise.post(f"/projects/{project}/prelabel")
        edgewise.wait(project, lambda s: s["language_model"] and s["language_model"]["spend"]["calls"] == 20 + 1 + 8)
        time.sleep(1)  # so that the answers that came are kept
        with killed_worker(edgewise):
            tap.opened.set()
        status = edgewise.wait(project, lambda s: s["release"]["version"] == "llm-1/40" and quiet(s))
    times = Counter(model.documents)
    assert set(times) == {row["text"] for row in rows}, "nothing is lost"
    assert len(tap.held) == 8
    for text, count in times.items():
        assert count == (2 if text in tap.held else 1), "only what was never answered is asked for again"
    spend = status["language_model"]["spend"]
    assert spend["calls"] == len(model.asked) == 40 + 8 + 2, "each attempt is counted, those of the killed one too"
    assert studio.carrying(project, "llm-1") == set(tasks) - audit_tasks(edgewise, project)


@contextmanager
def killed_worker(edgewise: RunningEdgewise) -> Iterator[None]:
    """The server's worker is killed for good; afterwards its leases end at once instead of after a minute."""
    (worker,) = [pid for pid in descendants(edgewise.process.pid) if command(pid)[-2:] == [b"edgewise", b"work"]]
    os.kill(worker, signal.SIGKILL)
    yield
    with sqlite3.connect(edgewise.data / "edgewise.db", timeout=10) as connection:
        connection.execute("UPDATE jobs SET lease_until = '2000-01-01 00:00:00.000000' WHERE kind = 'prelabel'")
        connection.execute("UPDATE leases SET until = '2000-01-01 00:00:00.000000'")


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, and those that they have."""
    tasks = [task / "children" for task in Path(f"/proc/{pid}/task").iterdir()]
    children = [int(child) for task in tasks for child in task.read_text().split()]
    return [one for child in children for one in (child, *descendants(child))]


def command(pid: int) -> list[bytes]:
    """What a process was started as."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
