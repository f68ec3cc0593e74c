"""Where the model and the language model differ: how far, what it does to the order, and the tab that lists it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.labels.regions import regions
from edgewise.labels.schema import Head, Schema
from edgewise.labels.spans import Document, Span, on_whole
from edgewise.learning.selection import order
from edgewise.services.store import Task
from edgewise.verbs import disagreement
from edgewise.verbs.connect import forget
from edgewise.verbs.disagreement import QUOTE_MOST, compare, priority
from edgewise.verbs.rank import rank
from tests.learning.conftest import HEAD, tagger_of
from tests.verbs.conftest import do, publish, started
from tests.verbs.language_model import Begin, World, begin, knowing, unlabelled

__all__ = ["begin"]

TONE = Head("tone", "text", "text", ("glad", "sad"), kind="choice")
TEXT = "Ada Young went to Washington"
TITLE = "Model and language model disagree"
FRACTION = 0.2


def differing(ours: Sequence[Span], theirs: Sequence[Span], head: Head = HEAD, text: str = TEXT) -> Any:
    """The difference between two answers about one text."""
    task = Task(1, {"text": text}, "key")
    return compare(Schema((head,), ()), task, regions(ours, head, text), regions(theirs, head, text))


def test_they_differ_by_what_they_do_not_share() -> None:
    ada, there = Span(0, 9, "PER"), Span(18, 28, "LOC")
    assert differing([ada, there], [ada, there]).value == 0
    assert differing([ada, there], [ada]).value == pytest.approx(1 / 3)
    assert differing([ada], [there]).value == 1
    assert differing([], []) == disagreement.Difference(0.0, "")
    assert differing([ada], []).value == 1


def test_half_a_word_more_is_no_difference() -> None:
    assert differing([Span(0, 9, "PER")], [Span(1, 10, "PER")]).value == 0


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        ([Span(18, 28, "LOC")], [Span(18, 28, "PER")], "'Washington' is LOC or PER"),
        ([Span(18, 28, "LOC")], [], "'Washington' is LOC or nothing"),
        ([], [Span(18, 28, "LOC")], "'Washington' is nothing or LOC"),
        ([Span(4, 9, "PER")], [Span(0, 9, "PER")], "'Ada Young' is nothing or PER"),
    ],
)
def test_the_reason_says_what_each_says(ours: list[Span], theirs: list[Span], words: str) -> None:
    what = differing(ours, theirs).what
    assert what == words or ("Ada Young" in what and "'Young'" in what)


def test_a_choice_differs_as_a_whole() -> None:
    found = differing([on_whole(TEXT, "glad")], [on_whole(TEXT, "sad")], TONE)
    assert (found.value, found.what) == (1.0, "glad or sad")
    assert differing([on_whole(TEXT, "glad")], [], TONE).what == "glad or nothing"


def test_of_several_heads_all_count_and_the_reason_names_its_own() -> None:
    task, ada = Task(1, {"text": TEXT}, "key"), [Span(0, 9, "PER")]
    ours = regions(ada, HEAD, TEXT) + regions([on_whole(TEXT, "glad")], TONE, TEXT)
    theirs = regions(ada, HEAD, TEXT) + regions([on_whole(TEXT, "sad")], TONE, TEXT)
    found = compare(Schema((HEAD, TONE), ()), task, ours, theirs)
    assert (found.value, found.what) == (0.5, "tone: glad or sad")


@given(st.text(min_size=1, max_size=200))
def test_a_reason_quotes_at_most_forty_characters(name: str) -> None:
    text = f"{name} x"
    what = differing([Span(0, len(text), "PER")], [], text=text).what
    assert len(what) <= len("'' is PER or nothing") + QUOTE_MOST


UNSURE = st.lists(st.floats(0, 0.99), min_size=1, max_size=30)


@given(UNSURE, st.data())
def test_priority_rises_with_uncertainty_and_with_disagreement(unsure: list[float], data: st.DataObject) -> None:
    n = len(unsure)
    differ = np.array(data.draw(st.lists(st.floats(0, 1), min_size=n, max_size=n)))
    uncertainty = np.array(unsure)
    quantile = np.array([(sum(other < one for other in unsure) + 0.5) / n for one in unsure])
    first = priority(uncertainty, differ)
    assert ((first > 0) & (first < 1)).all()
    for i in range(n):
        more = differ.copy()
        more[i] = min(1.0, differ[i] + 0.3)
        assert priority(uncertainty, more)[i] - first[i] == pytest.approx((1 - quantile[i]) * (more[i] - differ[i]) / 2)
        assert all(first[j] <= first[i] + 1e-12 for j in range(n) if unsure[j] <= unsure[i] and differ[j] <= differ[i])


def test_where_nobody_knows_how_far_they_differ_a_task_neither_rises_nor_falls() -> None:
    uncertainty = np.array([0.1, 0.2, 0.3])
    assert priority(uncertainty, np.array([0.4, np.nan, 0.4])) == pytest.approx(priority(uncertainty, np.full(3, 0.4)))


def test_tasks_on_which_they_disagree_come_earlier_and_are_listed_worst_first(
    begin: Begin, documents: list[Document], tiny_tagger: Path
) -> None:
    some = documents[::2]
    with knowing(some, lost=0.3, wrong=0.3) as model:
        world = begin(unlabelled(some), model, baseline_model_name=str(tiny_tagger), audit_fraction=FRACTION)
        publish(world.system, world.project, tiny_tagger, "trained")
        do(world.system, world.key, rank)
        before = release_of(world)
        assert tab(world) is None, "nothing to list: no tab"
        world.prelabel()
        do(world.system, world.key, rank)
    after = release_of(world)
    assert after > before, "the language model has answered: another order"
    expected = independently(world, tiny_tagger, some)
    check_order(world, tiny_tagger, (before, after), expected)
    listed = tab(world)
    assert listed is not None
    assert listed == sorted((task for task, d in expected.items() if d > 0), key=lambda task: (-expected[task], task))
    shown = {
        row["id"]
        for row in world.studio.call("GET", f"api/tasks/?project={world.studio.id}&view={view_id(world)}")["tasks"]
    }
    assert shown == set(listed), "Label Studio shows exactly these"
    world.label([document for document in some if world.tasks()[document.text].task_id == listed[0]])
    do(world.system, world.key, rank)
    assert listed[0] not in (tab(world) or [])
    with started(world.system, world.key, "forget") as progress:
        forget(world.system, world.project, progress)
    titles = {view["data"]["title"] for view in world.studio.studio.views(world.studio.id)}
    assert TITLE not in titles


def independently(world: World, weights: Path, documents: Sequence[Document]) -> dict[int, float]:
    """1 - F1 on every task that is not held out, from the model's own answers and what the language model said."""
    tagger = tagger_of(weights)
    found: dict[int, float] = {}
    for document, mine in zip(documents, tagger.tag([one.text for one in documents]).spans, strict=True):
        task = world.tasks()[document.text]
        said = world.kept()[task.task_id].result
        theirs = {(r["value"]["start"], r["value"]["end"], r["value"]["labels"][0]) for r in said}
        ours = {(span.start, span.end, span.label) for span in mine}
        if not task.audit:
            both = len(ours) + len(theirs)
            found[task.task_id] = 1 - 2 * len(ours & theirs) / both if both else 0.0
    return found


def check_order(world: World, weights: Path, releases: tuple[int, int], expected: dict[int, float]) -> None:
    """Disagreement moved tasks up, the uncertainty that is kept did not change, and the reason tells."""
    store, key = world.system.store, world.key
    before, after = (store.ranks(key, n, expected) for n in releases)
    assert {task: r.uncertainty for task, r in before.items()} == {task: r.uncertainty for task, r in after.items()}
    places = [{task: place for place, task in enumerate(store.order(key, n))} for n in releases]
    differ = [task for task, d in expected.items() if d > 0]
    agree = [task for task, d in expected.items() if d == 0]
    assert differ
    assert agree
    assert np.mean([places[1][task] for task in differ]) < np.mean([places[0][task] for task in differ])
    for task in expected:
        assert ("language model disagree" in after[task].reason) == (expected[task] > 0)
    ranked = [task for task in store.order(key, releases[1]) if task in expected]
    assert ranked == order_by_hand(world, weights, releases[1], expected)


def order_by_hand(world: World, weights: Path, n: int, expected: dict[int, float]) -> list[int]:
    """Tasks that are not held out, by the priority of the docstring, near-duplicates apart."""
    tasks = sorted(world.tasks().values(), key=lambda task: task.task_id)
    audit = np.array([task.audit for task in tasks])
    ranks = world.system.store.ranks(world.key, n, [task.task_id for task in tasks])
    unsure = np.array([ranks[task.task_id].uncertainty for task in tasks], dtype=float)
    differ = np.array([expected.get(task.task_id, np.mean(list(expected.values()))) for task in tasks])
    embeddings = tagger_of(weights).tag([task.data["text"] for task in tasks]).embeddings
    how: Any = {"audit": audit, "audit_fraction": FRACTION, "labelled": (0, 0), "rng": np.random.default_rng(0)}
    sequence = order(priority_by_hand(unsure, differ), embeddings, **how)
    return [tasks[position].task_id for position in sequence if not audit[position]]


def priority_by_hand(unsure: Any, differ: Any) -> Any:
    """The formula of the docstring."""
    quantile = np.array([(np.sum(unsure < one) + 0.5) / len(unsure) for one in unsure])
    return 1 - (1 - quantile) * (1 - differ / 2)


def release_of(world: World) -> int:
    """The active release."""
    n = world.project.active_release
    assert n is not None
    return n


def view_id(world: World) -> int:
    """The tab's id."""
    (found,) = [view["id"] for view in world.studio.studio.views(world.studio.id) if view["data"]["title"] == TITLE]
    return int(found)


def tab(world: World) -> list[int] | None:
    """The ids that the tab lists."""
    found = [view["data"] for view in world.studio.studio.views(world.studio.id) if view["data"]["title"] == TITLE]
    assert len(found) <= 1
    if not found:
        return None
    (listed,) = [item for item in found[0]["filters"]["items"] if item["operator"] == "in_list"]
    return list(listed["value"])
