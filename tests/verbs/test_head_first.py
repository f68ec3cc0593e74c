"""Which tasks an order begins with, and when it holds enough; with a tiny real model where tasks are scored."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.labels.annotations import Annotation
from edgewise.labels.schema import parse_schema
from edgewise.labels.spans import Document
from edgewise.services.jobs import HELPERS
from edgewise.services.store import Chunk, Job, Rank, Task
from edgewise.services.store.queue import HELPERS_LANE
from edgewise.verbs import head_first, rank_chunks
from edgewise.verbs.head_first import LATE, TOP, halves, has_settled, score_head, steps
from edgewise.verbs.placing import Run, said_by_models
from edgewise.verbs.rank_chunks import answering
from edgewise.verbs.scoring import Report
from tests.verbs.conftest import CONFIG, Make
from tests.verbs.test_scoring import TWO_HEADS, recorded

TASKS, KNOWN = 60, 50  # the last ones joined since the last order


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"COLD": 12, "FIRST": 10, "STEP": 6, "MOST": 30, "DRAWN": 4, "NEW": 8, "TOP": 20, "LATE": 2}
    for name, size in sizes.items():
        monkeypatch.setattr(head_first, name, size)


@pytest.fixture
def run(offline: Make, tiny_tagger: Path, documents: list[Document]) -> Run:
    """The second ranking of a project with two heads: task 1 was the hardest of the first, 2 the next one."""
    system = offline(baseline_model_name=str(tiny_tagger))
    key = recorded(system, TWO_HEADS).key
    rows = [Task(n, {"text": documents[n].text}, str(n)) for n in range(1, TASKS + 1)]
    system.store.upsert_tasks(key, rows, {})
    first, second = (system.store.new_release(key, None, "schema") for _ in range(2))
    system.store.save_ranks(key, first.n, [Rank(n, 1 - n / 100, n / 100) for n in range(1, KNOWN + 1)])
    project = system.store.update_project(key, active_release=first.n)
    bare = Run(system, project, parse_schema(TWO_HEADS), None, None, {}, second, np.random.default_rng(0))
    return replace(bare, models=answering(bare))


def ranking(run: Run) -> Job:
    """The job that ranks, at work."""
    store, key = run.system.store, run.project.key
    job = store.start_job(store.add_job("rank", key, lane="rank").id, 60)
    assert job is not None
    return job


def walked(run: Run, unsure_of: Callable[[int], float] = lambda task: 0.5) -> list[list[int]]:
    """All steps, where the models are so unsure of a task."""
    unsure: dict[int, float] = {}
    found: list[list[int]] = []
    for ids in steps(run, unsure):
        unsure.update({task: unsure_of(task) for task in ids})
        found.append(ids)
    return found


def test_it_begins_with_the_last_orders_hardest_what_joined_and_some_drawn(run: Run) -> None:
    first = next(steps(run, {}))
    assert set(range(1, 11)) <= set(first), "the hardest"
    assert set(range(KNOWN + 1, KNOWN + 9)) <= set(first), "that joined, as many as may"
    drawn = set(first) - set(range(1, 11)) - set(range(KNOWN + 1, KNOWN + 9))
    assert len(drawn) == head_first.DRAWN


def test_it_goes_on_with_tasks_like_those_that_the_models_are_unsure_of(run: Run) -> None:
    store, key = run.system.store, run.project.key
    hard = set(range(3, KNOWN, 4))
    text = {task: f"Number {task} lies in {'Oslo' if task in hard else 'the drawer'}." for task in range(1, TASKS + 1)}
    store.upsert_tasks(key, [Task(task, {"text": text[task]}, str(task)) for task in text], {})
    first, second, *_ = walked(run, lambda task: 0.9 if task in hard else 0.1)
    assert len(hard - set(first)) >= head_first.STEP
    assert set(second) <= hard


def test_without_words_in_common_it_goes_down_the_last_order(run: Run) -> None:
    store, key = run.system.store, run.project.key
    store.upsert_tasks(key, [Task(task, {"text": f"w{task}"}, str(task)) for task in range(1, TASKS + 1)], {})
    first, *others = walked(run, lambda task: 1 - task / 100)
    left = [task for task in range(1, KNOWN + 1) if task not in first]
    assert others == [left[start : start + 6] for start in range(0, 24, 6)]


def test_each_task_is_in_one_step_and_those_that_are_not_understood_in_none(run: Run) -> None:
    store, key = run.system.store, run.project.key
    store.upsert_tasks(key, [Task(task, {"text": None}, str(task)) for task in range(20, 40)], {})
    first, *others = walked(run)
    told = [task for step in others for task in step]
    assert len(told) == len(set(told))
    assert set(told) == {*range(1, 20), *range(40, KNOWN + 1)} - set(first)


def test_where_nothing_is_said_or_everybody_has_gone_nothing_follows(run: Run) -> None:
    assert len(list(steps(run, {}))) == 1
    going = steps(run, dict.fromkeys(range(1, TASKS + 1), 0.5))
    next(going)
    run.system.store.delete_tasks(run.project.key, range(1, TASKS + 1))
    assert list(going) == []


def test_a_step_grows_with_the_tasks_and_so_does_the_whole(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST", "STEP", "MOST", "DRAWN"):
        monkeypatch.setattr(head_first, name, 0)
    for name, share in {"FIRST_SHARE": 0.2, "STEP_SHARE": 0.1, "MOST_SHARE": 0.5}.items():
        monkeypatch.setattr(head_first, name, share)
    assert [len(step) for step in walked(run)] == [12 + 8, 6, 6, 6]


def test_a_first_order_begins_with_tasks_drawn_at_random(run: Run) -> None:
    (only,) = walked(replace(run, project=replace(run.project, active_release=None)))
    assert len(set(only)) == 12
    assert only == sorted(only)


def test_labelled_tasks_are_in_no_step(run: Run) -> None:
    store, key = run.system.store, run.project.key
    blank = Annotation(11, 1, "2026-01-01T00:00:00Z", 1, False, False, False, 2.5, None, ())
    store.upsert_tasks(key, list(store.tasks(key, [1]).values()), {1: [blank]})
    assert 1 not in {task for step in walked(run) for task in step}


def test_step_by_step_the_models_say_what_they_say_at_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_first, "LATE", -1)
    scaled, tasks, scored = score_head(run, ranking(run), lambda done: None)
    ids = [task.task_id for task in tasks]
    assert len(ids) == len(set(ids)) == 10 + 8 + 4 + 4 * head_first.STEP
    assert set(scaled.release.scales) == set(scored.by_head) == {"people", "places"}
    at_once, whole = said_by_models(scaled, ids, lambda done: None)
    order = [[task.task_id for task in at_once].index(task) for task in ids]
    assert scored.uncertainty is not None
    assert whole.uncertainty is not None
    for head, unsure in whole.by_head.items():
        np.testing.assert_allclose(scored.by_head[head], unsure[order], atol=1e-5)
    np.testing.assert_allclose(scored.uncertainty, whole.uncertainty[order], atol=0.01)  # by quantiles of many alike
    np.testing.assert_allclose(scored.embeddings, whole.embeddings[order], atol=1e-5)
    assert scored.results == [whole.results[place] for place in order]
    assert scored.spans == {head: [found[place] for place in order] for head, found in whole.spans.items()}
    assert len(scored.reasons) == len(ids)


@pytest.mark.parametrize("config", [CONFIG, TWO_HEADS])
def test_helpers_say_of_their_part_what_one_says_alone(run: Run, config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for where, name, size in ((head_first, "LATE", -1), (rank_chunks, "PART", 3)):
        monkeypatch.setattr(where, name, size)
    run = replace(run, schema=parse_schema(config))
    run = replace(run, models=answering(run))
    job = ranking(run)
    _, alone, said = score_head(run, job, lambda done: None)
    store, key = run.system.store, run.project.key
    store.update_release(key, run.release.n, scales={})
    helpers = [store.start_job(store.add_job(kind, key, lane="score").id, 60) for kind in HELPERS[:2]]
    done = Counter[str]()

    def help_out(helper: Job | None) -> None:
        assert helper is not None
        while not over.is_set():
            done[helper.id] += rank_chunks.score_next(run, helper, lambda done: None)

    told, over = list[float](), Event()
    with ThreadPoolExecutor(len(helpers)) as threads:
        at_work = [threads.submit(help_out, helper) for helper in helpers]
        fresh = replace(run, rng=np.random.default_rng(0))
        try:
            scaled, tasks, together = score_head(fresh, job, told.append)
        finally:
            over.set()
        assert [one.result() for one in at_work] == [None, None]
    assert sum(done.values()) > 2, "they took parts"
    assert [task.task_id for task in tasks] == [task.task_id for task in alone]
    assert told == sorted(told)
    assert said.uncertainty is not None
    assert together.uncertainty is not None
    np.testing.assert_allclose(together.uncertainty, said.uncertainty, atol=1e-5)
    np.testing.assert_allclose(together.embeddings, said.embeddings, atol=1e-5)
    assert (together.results, together.spans) == (said.results, said.spans)
    assert scaled.release == store.release(key, run.release.n), "with the scales, for whoever helps"
    assert store.count_chunks(key, run.release.n) == 0


def with_a_helper(run: Run) -> Job:
    """The ranking's job; beside it a helper's that does nothing, so that steps are cut."""
    store, key = run.system.store, run.project.key
    assert store.start_job(store.add_job(HELPERS[0], key, lane="score").id, 60)
    return ranking(run)


def test_a_task_that_goes_while_its_step_is_scored_is_missing_and_nothing_else(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rank_chunks, "PART", 3)
    (ids,) = walked(replace(run, project=replace(run.project, active_release=None), rng=np.random.default_rng(0)))
    real = rank_chunks.score_chunk

    def then_one_goes(run: Run, chunk: Chunk, job: Job, report: Report) -> None:
        real(run, chunk, job, report)
        if chunk.first == ids[3]:
            run.system.store.delete_tasks(run.project.key, ids[:2])

    monkeypatch.setattr(rank_chunks, "score_chunk", then_one_goes)
    first = replace(run, project=replace(run.project, active_release=None), schema=parse_schema(CONFIG))
    first = replace(first, models=answering(first))
    _, tasks, scored = score_head(first, with_a_helper(run), lambda done: None)
    assert [task.task_id for task in tasks] == ids[2:]
    assert len(scored.results) == len(ids) - 2


def test_a_helper_that_is_stuck_is_not_waited_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for where, name, size in ((head_first, "LATE", -1), (rank_chunks, "PART", 3), (rank_chunks, "STUCK_S", 0.3)):
        monkeypatch.setattr(where, name, size)
    store, key = run.system.store, run.project.key
    job, stuck = with_a_helper(run), store.unfinished_jobs(key, HELPERS_LANE)[0]
    real = store.cut_step

    def and_one_is_taken(*told: Any) -> None:
        real(*told)
        assert store.claim_chunk(key, run.release.n, stuck)

    monkeypatch.setattr(store, "cut_step", and_one_is_taken)
    run = replace(run, schema=parse_schema(CONFIG))
    run = replace(run, models=answering(run))
    _, tasks, _ = score_head(run, job, lambda done: None)
    store.update_release(key, run.release.n, scales={})
    store.cancel_job(stuck.id)
    monkeypatch.setattr(store, "cut_step", real)
    _, alone, _ = score_head(replace(run, rng=np.random.default_rng(0)), job, lambda done: None)
    assert [task.task_id for task in tasks] == [task.task_id for task in alone]


def test_helpers_are_asked_at_each_step_as_they_make_room_for_others(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(head_first, "LATE", -1)
    monkeypatch.setattr(rank_chunks, "ask_for_help", lambda system, project, left: asked.append(left))
    score_head(run, ranking(run), lambda done: None)
    assert len(asked) == 1 + 4


def test_it_ends_where_the_top_has_settled(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_first, "LATE", head_first.TOP)
    _, tasks, _ = score_head(run, ranking(run), lambda done: None)
    assert [task.task_id for task in tasks] == next(steps(replace(run, rng=np.random.default_rng(0)), {}))


def test_without_a_model_it_is_the_beginning_alone(run: Run) -> None:
    _, tasks, scored = score_head(replace(run, models={}), ranking(run), lambda done: None)
    assert scored.uncertainty is None
    assert sorted(task.task_id for task in tasks) == next(steps(replace(run, rng=np.random.default_rng(0)), {}))


def test_progress_only_grows(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_first, "LATE", -1)
    told: list[float] = []
    score_head(run, ranking(run), told.append)
    assert told == sorted(told)
    assert 0.9 < told[-1] < 1
    assert [told.pop() for done in (0.0, 1.0) if halves(told.append, 1)(done) is None] == [0.5, 0.75]


@given(st.integers(0, TOP), st.integers(0, 300))
def test_the_top_has_settled_when_few_of_it_came_late(late: int, easy: int) -> None:
    first = np.r_[np.full(TOP - late, 0.9), np.zeros(500)]
    last = np.r_[np.full(late, 0.8), np.full(easy, 0.1)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(head_first, "TOP", TOP)
        patch.setattr(head_first, "LATE", LATE)
        assert has_settled([first, last[::2], last[1::2]]) == (late <= LATE)
        assert has_settled([last, first, np.zeros(5), np.zeros(5)])
        assert not has_settled([first]), "everything is new"
