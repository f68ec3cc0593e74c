"""The live active-learning loop, from an empty project to 200 labels, as two annotators and their engineer meet it."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from benchmarks.plain_trainer import plain_trainer
from edgewise.labels.spans import Document
from edgewise.services.studio import Studio
from examples import wikigold
from examples.label_studio import RunningStudio
from tests.live.browser import look
from tests.live.conftest import Annotator, RunningEdgewise, Start
from tests.live.course import Course, report, run, score, start

COURSE = Course(wikigold, wikigold.rows("train"), wikigold.rows("test"), first=20, every=60, last=200)
(HEAD,) = COURSE.heads


@pytest.mark.timeout(1800)
def test_the_loop_goes_round_on_a_real_label_studio(
    start_edgewise: Start,
    label_studio: RunningStudio,
    studio: Studio,
    annotators: list[Annotator],
    tmp_path: Path,
    measured: Callable[[str], None],
) -> None:
    edgewise = start_edgewise(START_TRAINING_EACH_N_UPDATES=str(COURSE.every))
    project, tasks = start(COURSE, studio, edgewise)
    points = run(COURSE, (edgewise, project, tasks), annotators, tmp_path)
    seen_by_people = look(label_studio, project, shots(tmp_path))
    plain = score(COURSE, HEAD, plain_trainer(lesson(edgewise, project), wikigold.LABELS, tmp_path / "plain"))
    beside = f"a plain Trainer on the last version's labels: {plain:.3f}"
    measured(report("wikigold: strict entity F1 on 300 test sentences", points, beside))
    first, last = (point.ours[HEAD.from_name] for point in (points[0], points[-1]))
    assert seen_by_people.regions, "the next task comes with pre-labels drawn"
    assert len(seen_by_people.scores) >= 5
    assert seen_by_people.scores == sorted(seen_by_people.scores), "the view has the hardest first"
    assert len(points) >= 3, "one training by command, and at least two by itself"
    assert last - first >= 0.10
    assert last >= 0.9 * plain


def shots(scratch: Path) -> Path:
    """Where screenshots go: to docs/ when they are to be renewed (make screenshots), else nowhere that lasts."""
    return Path(os.environ.get("EDGEWISE_SCREENSHOTS", scratch))


def lesson(edgewise: RunningEdgewise, project: int) -> Sequence[Document]:
    """The labelled tasks that the serving version learned from."""
    store = edgewise.store()
    known = next(one for one in store.projects() if one.ls_id == project)
    assert known.serving is not None
    ids = [row.task_id for row in store.snapshot_rows(known.key, store.version(known.key, known.serving).snapshot)]
    texts = {task.data["text"] for task in store.tasks(known.key, ids).values()}
    store.close()
    return COURSE.documents([row for row in COURSE.train if row["text"] in texts], HEAD)
