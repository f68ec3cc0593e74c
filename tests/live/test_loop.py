"""The live active-learning loop, from an empty project to 200 labels, as two annotators and their engineer meet it."""

import os
import random
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewise.labels.spans import Document, Span
from edgewise.learning.evaluation import evaluate
from edgewise.learning.inference import load_tagger
from edgewise.learning.training import Recipe, train
from edgewise.services.studio import Studio
from examples import wikigold
from examples.label_studio import RunningStudio
from tests.live.browser import look
from tests.live.conftest import Annotator, RunningEdgewise, Start, wikigold_project
from tests.live.plain_trainer import plain_trainer

FIRST, LAST, EVERY, FOLLOWED = 20, 200, 60, 20


@pytest.mark.timeout(1800)
def test_the_loop_goes_round_on_a_real_label_studio(
    start_edgewise: Start,
    label_studio: RunningStudio,
    studio: Studio,
    annotators: list[Annotator],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = wikigold.rows("train")
    project, tasks = wikigold_project(studio, rows)
    edgewise = start_edgewise(START_TRAINING_EACH_N_UPDATES=str(EVERY))
    studio.add_backend(project, edgewise.url, "Edgewise")
    edgewise.wait(project, lambda status: status["release"] and status["release"]["whole"])
    label_at_random(annotators[0], rows, tasks, FIRST)
    edgewise.post(f"/projects/{project}/train")
    curve: list[tuple[int, float, int]] = []
    at_random: list[Future[float]] = []
    done, seen = FIRST, None
    beside = ThreadPoolExecutor(max_workers=1)  # random order is trained while people label and the server trains
    while True:
        status = edgewise.wait(project, partial(serves_another, than=seen), within_s=600)
        seen = served(status)
        done += follow_the_order(edgewise, project, annotators)
        curve.append((examples(status), f1_of(edgewise, project, status), done))
        at_random.append(beside.submit(random_order, rows, examples(status), tmp_path))
        if done >= LAST and len(curve) >= 3:
            break
        target = min(LAST, done + EVERY)
        done += label(annotators, project, target - done)
    seen_by_people = look(label_studio, project, shots(tmp_path))
    versions = edgewise.status(project)["versions"]
    taught = lesson(edgewise, project, rows)
    plain = beside.submit(plain_trainer, taught, wikigold.LABELS, tmp_path / "plain").result()  # after those at random
    with capsys.disabled():
        report(curve, [f1.result() for f1 in at_random], score(plain))
    beside.shutdown()
    assert seen_by_people.regions, "the next task comes with pre-labels drawn"
    assert len(seen_by_people.scores) >= 5
    assert seen_by_people.scores == sorted(seen_by_people.scores), "the view has the hardest first"
    assert len(versions) >= 3, "one training by command, and at least two by itself"
    assert curve[-1][1] - curve[0][1] >= 0.10
    assert curve[-1][1] >= 0.9 * score(plain)


def served(status: Any) -> str | None:
    """The version whose order Label Studio follows, once that order is there whole."""
    release = status["release"]
    return release["version"] if release and release["whole"] else None


def shots(scratch: Path) -> Path:
    """Where screenshots go: to docs/ when they are to be renewed (make screenshots), else nowhere that lasts."""
    return Path(os.environ.get("EDGEWISE_SCREENSHOTS", scratch))


def serves_another(status: Any, than: str | None) -> bool:
    """Whether Label Studio follows another version's order than before."""
    return served(status) not in (None, than)


def examples(status: Any) -> int:
    """How many tasks the serving version learned from."""
    return int(status["model_version"]["examples"])


def label_at_random(annotator: Annotator, rows: Sequence[dict[str, Any]], tasks: Sequence[int], count: int) -> None:
    """The first labels come from tasks drawn at random."""
    for position in random.Random(1).sample(range(len(rows)), count):
        annotator.submit({"id": tasks[position], "data": {"text": rows[position]["text"]}})


def follow_the_order(edgewise: RunningEdgewise, project: int, annotators: Sequence[Annotator]) -> int:
    """20 consecutive next-task calls, by two people in turn who both hold a task at once, equal the stored order."""
    store = edgewise.store()
    key = next(known for known in store.projects() if known.ls_id == project)
    assert key.active_release is not None
    expected = store.order(key.key, key.active_release)[:FOLLOWED]
    store.close()
    given: list[int] = []
    for _ in range(FOLLOWED // len(annotators)):
        held = [annotator.next(project) for annotator in annotators]
        assert len({task["id"] for task in held}) == len(held), "one task was given to both"
        given += [task["id"] for task in held]
        for annotator, task in zip(annotators, held, strict=True):
            annotator.submit(task)
    assert given == expected
    return len(given)


def label(annotators: Sequence[Annotator], project: int, count: int) -> int:
    """People go on labelling what they are given; returns how many tasks."""
    for number in range(count):
        annotator = annotators[number % len(annotators)]
        annotator.submit(annotator.next(project))
    return count


def documents(rows: Sequence[dict[str, Any]]) -> list[Document]:
    """Rows of wikigold as a model sees them."""
    return [Document(row["text"], tuple(Span(s["start"], s["end"], s["label"]) for s in row["spans"])) for row in rows]


def score(folder: Path) -> float:
    """Strict entity F1 of a model folder on the 300 test sentences, which no project ever held."""
    test = documents(wikigold.rows("test"))
    tagger = load_tagger(folder, wikigold.LABELS, max_length=128)
    found = tagger.tag([document.text for document in test]).spans
    texts, gold = [document.text for document in test], [document.spans for document in test]
    return float(evaluate(texts, gold, found, wikigold.LABELS).overall.f1)


def f1_of(edgewise: RunningEdgewise, project: int, status: Any) -> float:
    """Test F1 of the serving version, read from its folder."""
    version = status["model_version"]["id"]
    (folder,) = (edgewise.data / "models").glob(f"*/*/{version}/heads/*")
    return score(folder)


def lesson(edgewise: RunningEdgewise, project: int, rows: Sequence[dict[str, Any]]) -> list[Document]:
    """The labelled tasks that the serving version learned from."""
    store = edgewise.store()
    known = next(one for one in store.projects() if one.ls_id == project)
    assert known.serving is not None
    ids = [row.task_id for row in store.snapshot_rows(known.key, store.version(known.key, known.serving).snapshot)]
    texts = {task.data["text"] for task in store.tasks(known.key, ids).values()}
    store.close()
    return documents([row for row in rows if row["text"] in texts])


def random_order(rows: Sequence[dict[str, Any]], count: int, scratch: Path) -> float:
    """Test F1 of the same recipe on as many tasks drawn at random."""
    chosen = np.random.default_rng(0).permutation(len(rows))[:count]
    folder = scratch / f"random-{count}"
    train(
        documents([rows[i] for i in chosen]),
        wikigold.LABELS,
        "packaged:minilm",
        folder,
        Recipe(),
        report=lambda done: None,
    )
    f1 = score(folder)
    shutil.rmtree(folder)
    return f1


def report(curve: Sequence[tuple[int, float, int]], at_random: Sequence[float], plain: float) -> None:
    """The curve beside random order."""
    lines = ["", "learned from | F1, our order | F1, random order"]
    lines += [
        f"{count:12d} | {f1:13.3f} | {other:16.3f}" for (count, f1, _), other in zip(curve, at_random, strict=True)
    ]
    lines += [f"a plain Trainer on the last version's labels: {plain:.3f}"]
    sys.stdout.write("\n".join(lines) + "\n")
