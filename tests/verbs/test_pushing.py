"""Pushing to a real Label Studio that refuses because of a deleted task, and has stored what came before it."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from edgewise.errors import StudioRefused
from edgewise.verbs.pushing import push_predictions
from tests.studio_fixture import StudioProject, region
from tests.verbs.conftest import Make, synced


def prediction(task: int, score: float) -> dict[str, Any]:
    return {"task": task, "result": [region(0, 4, "Anna", "PER", id="r1")], "score": score}


def stored(project: StudioProject) -> dict[int, list[float]]:
    """Scores of each task's predictions, the oldest first."""
    found = defaultdict(list)
    for one in sorted(project.call("GET", f"api/predictions/?project={project.id}"), key=lambda one: int(one["id"])):
        found[one["task"]].append(one["score"])
    return dict(found)


def storing_before_it_refuses(push: Callable[..., list[int]], gone: int) -> Callable[..., list[int]]:
    """Label Studio as it is with the switch that makes pushes fast: what it read before an unknown task is stored."""

    def call(ls_id: int, name: str, predictions: Sequence[dict[str, Any]]) -> list[int]:
        known = [one["task"] for one in predictions]
        if gone in known:
            push(ls_id, name, predictions[: known.index(gone)])
            raise StudioRefused("no", "yes")
        return push(ls_id, name, predictions)

    return call


def test_what_was_stored_before_a_refusal_is_not_sent_again(
    studio_project: StudioProject, make_system: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = studio_project.add_tasks([f"Anna {number}" for number in range(8)])
    system = make_system()
    project = synced(system, studio_project)
    gone, edited = ids[4], ids[6]
    studio_project.studio.push_release(studio_project.id, "ew-1", [prediction(edited, 0.99)])
    studio_project.call("DELETE", f"api/tasks/{gone}/")
    monkeypatch.setattr(system.studio, "push_release", storing_before_it_refuses(system.studio.push_release, gone))

    scores = {task: (number + 1) / 16 for number, task in enumerate(ids)}
    predictions = [prediction(task, score) for task, score in scores.items()]
    assert push_predictions(system, project, "ew-1", predictions) == []

    whole = {task: [score] for task, score in scores.items() if task != gone}
    assert stored(studio_project) == whole | {edited: [0.99, scores[edited]]}, "an older prediction is not this one"
    assert set(system.store.task_ids(project.key)) == {*ids} - {gone}
