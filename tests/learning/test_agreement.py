"""How far annotators agree, checked against sklearn, seqeval and sums by hand."""

import random

import pytest
from sklearn.metrics import cohen_kappa_score

from edgewise.labels.spans import Span, on_whole
from edgewise.learning.agreement import Agreement, Said, agreement
from edgewise.learning.evaluation import evaluate
from tests.learning.conftest import HEAD, MENTIONS, TOPIC

TEXT = "Ada Young went to Washington"
ADA, THERE = Span(0, 9, "PER"), Span(18, 28, "LOC")


def test_every_two_with_a_task_in_common_are_compared_and_no_others() -> None:
    said: dict[int, Said] = {7: {1: (ADA,), 2: ()}, 3: {1: (ADA,)}, 5: {2: ()}, 9: {4: ()}}
    assert [(one.first, one.second, one.tasks) for one in agreement(said, HEAD)] == [(3, 7, 1), (5, 7, 1)]


def test_spans_agree_by_strict_f1_and_what_differs_is_told() -> None:
    mine = {1: (ADA, THERE), 2: (ADA,), 3: (ADA,)}
    theirs = {1: (ADA, Span(18, 28, "PER")), 2: (Span(0, 3, "PER"),), 3: ()}
    (found,) = agreement({1: mine, 2: theirs}, HEAD)
    assert found.f1 == pytest.approx(2 * 1 / (4 + 3))
    assert found.f1 == pytest.approx(
        evaluate([TEXT] * 3, list(mine.values()), list(theirs.values()), HEAD).overall.f1
    ), "seqeval says the same"
    assert found.differ == (("LOC", "PER", 1), ("PER", None, 1), ("PER", "PER", 1))
    assert (found.same, found.kappa) == (None, None)


def test_who_comes_first_does_not_matter() -> None:
    rng = random.Random(0)
    said = {who: {task: tuple(s for s in (ADA, THERE) if rng.random() < 0.6) for task in range(30)} for who in (1, 2)}
    (found,) = agreement(said, HEAD)
    (turned,) = agreement({1: said[2], 2: said[1]}, HEAD)
    assert found.f1 == turned.f1
    assert sorted((b or "", a or "", n) for a, b, n in found.differ) == sorted(
        (a or "", b or "", n) for a, b, n in turned.differ
    )


def test_where_neither_drew_anything_there_is_no_f1() -> None:
    (found,) = agreement({1: {1: (), 2: ()}, 2: {1: (), 2: ()}}, HEAD)
    assert found == Agreement(1, 2, 2, None, None, None, ())


def test_one_choice_agrees_by_cohens_kappa_an_empty_one_included() -> None:
    rng = random.Random(1)
    labels = [rng.choice(TOPIC.labels) for _ in range(40)]
    others = [label if rng.random() < 0.7 else rng.choice(TOPIC.labels) for label in labels]
    said = {
        1: {task: (on_whole(TEXT, label),) for task, label in enumerate(labels)} | {99: ()},
        2: {task: (on_whole(TEXT, label),) for task, label in enumerate(others)} | {99: ()},
    }
    (found,) = agreement(said, TOPIC)
    assert found.kappa == pytest.approx(cohen_kappa_score([*labels, ""], [*others, ""]))
    assert found.same == pytest.approx((1 + sum(a == b for a, b in zip(labels, others, strict=True))) / 41)
    assert sum(count for _, _, count in found.differ) == sum(a != b for a, b in zip(labels, others, strict=True))
    assert found.f1 is None


def test_the_same_answer_throughout_is_no_evidence_of_agreement() -> None:
    said = {who: {task: (on_whole(TEXT, "travel"),) for task in range(5)} for who in (1, 2)}
    (found,) = agreement(said, TOPIC)
    assert (found.same, found.kappa) == (1.0, None)


def test_several_choices_agree_by_the_mean_kappa_of_the_labels_in_use() -> None:
    rng = random.Random(2)
    used = MENTIONS.labels[:2]  # the third is never given
    said = {
        who: {task: tuple(on_whole(TEXT, label) for label in used if rng.random() < 0.5) for task in range(30)}
        for who in (1, 2)
    }
    (found,) = agreement(said, MENTIONS)
    columns = [[[label in {s.label for s in said[who][t]} for t in range(30)] for who in (1, 2)] for label in used]
    assert found.kappa == pytest.approx(sum(cohen_kappa_score(*pair) for pair in columns) / 2)
    assert {(a, b) for a, b, _ in found.differ} <= {(x, y) for la in used for x, y in ((la, None), (None, la))}
