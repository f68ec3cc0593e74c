"""The loop with Choices, and with two heads at once, from an empty project, as two annotators meet it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from edgewise.services.studio import Studio
from examples import banking77, snips
from tests.live.conftest import GoldAnnotators, Start
from tests.live.course import Course, report, run, start

COURSES = {
    "choices": Course(banking77, banking77.dozen("train"), banking77.dozen("test"), first=20, every=50, last=150),
    "mixed": Course(snips, snips.rows("train"), snips.rows("test"), first=20, every=50, last=150),
}


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", COURSES)
def test_every_head_learns_in_the_loop(
    name: str,
    start_edgewise: Start,
    studio: Studio,
    gold_annotators: GoldAnnotators,
    tmp_path: Path,
    measured: Callable[[str], None],
) -> None:
    course = COURSES[name]
    edgewise = start_edgewise(START_TRAINING_EACH_N_UPDATES=str(course.every))
    project, tasks = start(course, studio, edgewise)
    points = run(course, (edgewise, project, tasks), gold_annotators(course.sample, course.train), tmp_path)
    measured(report(f"{name}: strict entity F1 of Labels, macro F1 of Choices", points))
    assert len(points) >= 3, "one training by command, and at least two by itself"
    for head in course.heads:
        assert points[-1].ours[head.from_name] - points[0].ours[head.from_name] >= 0.10
    version = edgewise.status(project)["model_version"]
    assert set(version["scores"]) == {head.from_name for head in course.heads}
