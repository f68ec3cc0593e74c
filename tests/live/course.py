"""A whole run of the loop on a real Label Studio, for any labelled sample: first labels at random, then by our order.

Two people label with gold, each on their own account, through Label Studio's own next-task call; after every activation
what they are given must be the stored order. The same recipe on as many tasks drawn at random is trained beside it.
"""

import random
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import transformers  # noqa: F401  # here, before two threads want it: see edgewise/learning/baseline.py

from edgewise.labels.regions import spans_of
from edgewise.labels.schema import Head, parse_schema
from edgewise.labels.spans import Document
from edgewise.learning.evaluation import evaluate
from edgewise.learning.inference import answers, load_trained
from edgewise.learning.training import Recipe, train
from edgewise.services.studio import Studio
from tests.live.conftest import Annotator, RunningEdgewise

FOLLOWED = 20
Row = Mapping[str, Any]
Scores = dict[str, float]  # by from_name


class Sample(Protocol):
    """Labelled texts, as the packages in examples/ have them."""

    LABEL_CONFIG: str

    def result(self, row: Any) -> list[dict[str, Any]]: ...
    def task(self, row: Any) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Course:
    """Which texts, how many labels at random first, at how many a version follows, and at how many it ends."""

    sample: Sample
    train: Sequence[Row]
    test: Sequence[Row]
    first: int
    every: int
    last: int

    @property
    def heads(self) -> tuple[Head, ...]:
        """What is learned."""
        return parse_schema(self.sample.LABEL_CONFIG).heads

    def documents(self, rows: Sequence[Row], head: Head) -> list[Document]:
        """Rows as a head sees them."""
        return [Document(row["text"], spans_of(self.sample.result(row), head, row["text"])[0]) for row in rows]


@dataclass
class Point:
    """One version: how many examples it learned from, its test scores, and how many tasks were labelled at its end.

    at_random: the same of random order; None of the first, which learned from random labels itself."""

    examples: int
    ours: Scores
    done: int
    at_random: Future[Scores] | None = field(repr=False)


def start(course: Course, studio: Studio, edgewise: RunningEdgewise) -> tuple[int, list[int]]:
    """A project of the course's texts, connected and in its first order: its id and those of its tasks."""
    project = int(studio.create_project("Edgewise course", course.sample.LABEL_CONFIG)["id"])
    tasks = studio.import_tasks(project, [course.sample.task(row) for row in course.train])
    studio.add_backend(project, edgewise.url, "Edgewise")
    edgewise.wait(project, lambda status: status["release"] and status["release"]["whole"])
    return project, tasks


def run(
    course: Course,
    where: tuple[RunningEdgewise, int, Sequence[int]],
    annotators: Sequence[Annotator],
    scratch: Path,
) -> list[Point]:
    """Label, wait for a version, follow its order, until the last label; a point for each version."""
    edgewise, project, tasks = where
    label_at_random(annotators[0], course, tasks)
    edgewise.post(f"/projects/{project}/train")
    points: list[Point] = []
    done, seen = course.first, None
    beside = ThreadPoolExecutor(max_workers=1)  # random order is trained while people label and the server trains
    while True:
        status = edgewise.wait(project, partial(serves_another, than=seen), within_s=600)
        seen = served(status)
        done += follow_the_order(edgewise, project, annotators)
        count = examples(status, seen)
        at_random = beside.submit(random_order, course, count, scratch) if points else None
        points.append(Point(count, scores_of(edgewise, course, seen), done, at_random))
        if done >= course.last and len(points) >= 3:
            beside.shutdown()
            return points
        target = min(course.last, done + course.every)
        done += label(annotators, project, target - done)


def served(status: Any) -> str | None:
    """The version whose order Label Studio follows, once that order is there whole."""
    release = status["release"]
    return release["version"] if release and release["whole"] else None


def examples(status: Any, version: str | None) -> int:
    """How many tasks a version learned from; a newer one may serve already."""
    return next(int(known["examples"]) for known in status["versions"] if known["id"] == version)


def serves_another(status: Any, than: str | None) -> bool:
    """Whether Label Studio follows another version's order than before."""
    return served(status) not in (None, than)


def label_at_random(annotator: Annotator, course: Course, tasks: Sequence[int]) -> None:
    """The first labels come from tasks drawn at random."""
    for position in random.Random(1).sample(range(len(course.train)), course.first):
        annotator.submit({"id": tasks[position], "data": {"text": course.train[position]["text"]}})


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


def score(course: Course, head: Head, folder: Path) -> float:
    """A model folder on the test texts, which no project ever held: strict entity F1, or macro F1 of choices."""
    gold = course.documents(course.test, head)
    texts = [document.text for document in gold]
    found = answers(load_trained(folder, head, max_length=128), texts)
    scores = evaluate(texts, [document.spans for document in gold], found, head)
    return float(scores.overall.f1 if head.kind == "spans" else scores.macro_f1)


def scores_of(edgewise: RunningEdgewise, course: Course, version: str | None) -> Scores:
    """Test scores of a version, read from its folder."""
    (folder,) = (edgewise.data / "models").glob(f"*/*/{version}/heads")
    return {head.from_name: score(course, head, folder / head.from_name) for head in course.heads}


def random_order(course: Course, count: int, scratch: Path) -> Scores:
    """Test scores of the same recipe on as many tasks drawn at random."""
    chosen = np.random.default_rng(0).permutation(len(course.train))[:count]
    rows = [course.train[i] for i in chosen]
    found = {}
    for head in course.heads:
        folder = scratch / f"random-{count}-{head.from_name}"
        taught = course.documents(rows, head)
        train(taught, head, "packaged:minilm", folder, Recipe(), report=lambda done: None)
        found[head.from_name] = score(course, head, folder)
        shutil.rmtree(folder)
    return found


def report(title: str, points: Sequence[Point], *more: str) -> str:
    """The curves beside random order."""
    lines = [title, "learned from | head       | our order | random order"]
    for point in points:
        at_random = point.at_random.result() if point.at_random else {}
        lines += [
            f"{point.examples:12d} | {name:10} | {ours:9.3f} | {told(at_random.get(name)):>12}"
            for name, ours in point.ours.items()
        ]
    return "\n".join([*lines, *more])


def told(score: float | None) -> str:
    """A score in the table."""
    return "the same" if score is None else f"{score:.3f}"
