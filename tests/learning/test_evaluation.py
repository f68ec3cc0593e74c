"""Scores, intervals and the gate, against seqeval and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewise.labels.schema import Head
from edgewise.labels.spans import Span, on_whole
from edgewise.labels.windows import spans_of_tags, words
from edgewise.learning.evaluation import evaluate, f1_of, gate, on_words, paired_bootstrap, span_counts

TEXT = "Ada Lovelace met Charles Babbage in London, near Big Ben."
LABELS = ("PER", "B-LOC", "-")  # names that look like tags must not confuse seqeval
HEAD = Head("label", "text", "text", LABELS)
CHOICE = Head("intent", "text", "text", ("refund", "billing", "other"), kind="choice")
CHOICES = Head("intent", "text", "text", ("refund", "billing", "other"), kind="choices")
N_WORDS = len(words(TEXT))
TAGS = st.lists(st.integers(0, 2 * len(LABELS)), min_size=N_WORDS, max_size=N_WORDS)

ADA, LONDON = Span(0, 12, "PER"), Span(36, 42, "B-LOC")


def _aligned(tags: list[int]) -> tuple[Span, ...]:
    return tuple(spans_of_tags(np.array(tags), words(TEXT), LABELS))


@settings(deadline=None, max_examples=40)
@given(documents=st.lists(st.tuples(TAGS, TAGS), min_size=1, max_size=6))
def test_counted_f1_is_that_of_seqeval_on_whole_words(documents: list[tuple[list[int], list[int]]]) -> None:
    gold, predicted = ([_aligned(pair[side]) for pair in documents] for side in (0, 1))
    scores = evaluate([TEXT] * len(documents), gold, predicted, HEAD)
    counts = span_counts(gold, predicted).sum(axis=0)
    assert scores.overall.f1 == pytest.approx(float(f1_of(counts)))
    assert scores.overall.support == sum(map(len, gold)) == sum(score.support for score in scores.per_label.values())


def test_scores_have_every_label_in_order_and_zero_for_those_that_never_occur() -> None:
    scores = evaluate([TEXT, TEXT], [(ADA, LONDON), ()], [(ADA,), (LONDON,)], HEAD)
    assert list(scores.per_label) == list(LABELS)
    assert scores.per_label["PER"].f1 == 1.0
    assert (scores.per_label["B-LOC"].f1, scores.per_label["B-LOC"].support) == (0.0, 1)
    assert scores.per_label["-"].support == 0
    assert (scores.overall.precision, scores.overall.recall) == (0.5, 0.5)


def test_nothing_to_find_and_nothing_found_scores_zero_without_a_warning() -> None:
    assert evaluate([TEXT], [()], [()], HEAD).overall.f1 == 0.0
    assert evaluate([], [], [], HEAD).documents == 0


def test_a_span_that_a_person_drew_with_a_blank_too_much_counts_as_right() -> None:
    drawn = Span(0, 13, "PER")
    assert evaluate([TEXT], [(drawn,)], [(ADA,)], HEAD).overall.f1 == 1.0
    assert on_words([TEXT], [(drawn,)], HEAD) == [(ADA,)]


def test_a_half_right_span_is_one_wrong_and_one_missed() -> None:
    assert span_counts([(ADA,)], [(Span(0, 3, "PER"),)]).tolist() == [[0, 1, 1]]


def test_columns_of_different_length_are_the_programmers_mistake() -> None:
    with pytest.raises(ValueError, match="one entry for each"):
        span_counts([()], [])


def test_the_bootstrap_agrees_with_drawing_documents_one_by_one() -> None:
    rng = np.random.default_rng(0)
    gold = [(ADA,)] * 40
    before = [(ADA,) if lucky else () for lucky in rng.random(40) < 0.5]
    after = [(ADA,) if lucky else (LONDON,) for lucky in rng.random(40) < 0.8]
    difference, low, high = paired_bootstrap(gold, before, after, rng=rng, draws=4000)
    old, new = span_counts(gold, before), span_counts(gold, after)
    drawn = rng.integers(0, 40, size=(4000, 40))
    slow = f1_of(new[drawn].sum(axis=1)) - f1_of(old[drawn].sum(axis=1))
    assert difference == pytest.approx(float(f1_of(new.sum(axis=0)) - f1_of(old.sum(axis=0))))
    assert [low, high] == pytest.approx(np.quantile(slow, [0.05, 0.95]).tolist(), abs=0.02)


def test_a_version_that_answers_the_same_differs_by_nothing() -> None:
    rng = np.random.default_rng(0)
    assert paired_bootstrap([(ADA,), ()], [(ADA,), ()], [(ADA,), ()], rng=rng) == (0.0, 0.0, 0.0)
    assert paired_bootstrap([], [], [], rng=rng) == (0.0, 0.0, 0.0)


def test_the_gate_lets_a_better_version_through_and_says_by_how_much() -> None:
    gold = [(ADA,)] * 41
    verdict = gate(gold, [(ADA,)] * 25 + [()] * 16, gold, held_out=41, rng=np.random.default_rng(0))
    assert verdict.accepted
    assert not verdict.provisional
    assert verdict.reason.startswith("F1 0.76 → 1.00 (+0.24, 90 % interval +0.1")
    assert verdict.reason.endswith("on 41 held-out tasks.")


def test_the_gate_refuses_a_small_loss_that_is_certain() -> None:
    """Each of 200 documents loses a little, so the interval is narrow and wholly below zero."""
    many = tuple(Span(i, i + 1, "PER") for i in range(40))
    gold = [many] * 200
    verdict = gate(gold, gold, [many[:-1]] * 200, held_out=200, rng=np.random.default_rng(0))
    assert not verdict.accepted
    assert "worse" in verdict.reason


def test_the_gate_refuses_a_large_loss_that_is_uncertain() -> None:
    gold = [(ADA,)] * 30
    before = [(ADA,)] * 17 + [()] * 13
    after = [()] * 13 + [(ADA,)] * 13 + [()] * 4
    difference, _, high = paired_bootstrap(gold, before, after, rng=np.random.default_rng(0))
    assert difference < -0.05
    assert high > 0
    assert not gate(gold, before, after, held_out=30, rng=np.random.default_rng(0)).accepted


def test_the_gate_lets_a_small_uncertain_loss_pass() -> None:
    gold = [(ADA,)] * 100
    before, after = [(ADA,)] * 60 + [()] * 40, [()] * 38 + [(ADA,)] * 59 + [()] * 3
    assert gate(gold, before, after, held_out=100, rng=np.random.default_rng(0)).accepted


def test_under_thirty_held_out_tasks_the_verdict_is_provisional_whatever_it_is() -> None:
    gold = [(ADA,)] * 50
    better = gate(gold, [()] * 50, gold, held_out=29, rng=np.random.default_rng(0))
    worse = gate(gold, gold, [()] * 50, held_out=29, rng=np.random.default_rng(0))
    assert (better.accepted, better.provisional, worse.accepted, worse.provisional) == (True, True, False, True)
    assert "50 training tasks, out of fold" in better.reason


def test_with_nothing_to_compare_a_version_is_accepted_and_says_so() -> None:
    rng = np.random.default_rng(0)
    first = gate([], [], [], held_out=0, rng=rng)
    empty = gate([()] * 40, [()] * 40, [(ADA,)] * 40, held_out=40, rng=rng)
    assert first.accepted
    assert first.provisional
    assert "nothing to compare" in first.reason
    assert empty.accepted
    assert empty.provisional


Answers = list[tuple[Span, ...]]


def choices(*answers: str) -> Answers:
    """For each document the labels named: "refund billing", "other", ""."""
    return [tuple(on_whole(TEXT, label) for label in answer.split()) for answer in answers]


def sets(least: int, most: int) -> st.SearchStrategy[list[tuple[list[str], list[str]]]]:
    labels = st.lists(st.sampled_from(CHOICE.labels), unique=True, min_size=least, max_size=most)
    return st.lists(st.tuples(labels, labels), min_size=1, max_size=12)


@settings(deadline=None, max_examples=60)
@given(pairs=sets(0, 3))
def test_choices_are_scored_as_scikit_learn_scores_them(pairs: list[tuple[list[str], list[str]]]) -> None:
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support

    gold, predicted = (choices(*(" ".join(pair[side]) for pair in pairs)) for side in (0, 1))
    table = [np.array([[label in pair[side] for label in CHOICES.labels] for pair in pairs]) for side in (0, 1)]
    found = evaluate([TEXT] * len(pairs), gold, predicted, CHOICES)
    assert found.accuracy == pytest.approx(accuracy_score(*table))
    micro = precision_recall_fscore_support(*table, average="micro", zero_division=0)
    assert (found.overall.precision, found.overall.recall, found.overall.f1) == pytest.approx(micro[:3])
    rows = np.array(precision_recall_fscore_support(*table, zero_division=0)).T
    told = [(one.precision, one.recall, one.f1, one.support) for one in found.per_label.values()]
    assert told == [pytest.approx(tuple(row)) for row in rows]
    occurring = (table[0] | table[1]).any(axis=0)
    assert found.macro_f1 == pytest.approx(rows[occurring, 2].mean() if occurring.any() else 0.0)


@settings(deadline=None, max_examples=40)
@given(pairs=sets(0, 1))
def test_the_gate_of_a_single_choice_speaks_of_its_accuracy(pairs: list[tuple[list[str], list[str]]]) -> None:
    """A rightly empty answer counts as right, as in `evaluate`."""
    gold, after = (choices(*(" ".join(pair[side]) for pair in pairs)) for side in (0, 1))
    verdict = gate(gold, gold, after, held_out=40, rng=np.random.default_rng(0), kind="choice")
    if any(gold):
        accuracy = evaluate([TEXT] * len(gold), gold, after, CHOICE).accuracy
        assert verdict.reason.startswith(f"Accuracy 1.00 → {accuracy:.2f} ")


def test_the_gate_of_several_choices_speaks_of_f1() -> None:
    gold = choices("refund", "refund billing", "") * 20
    verdict = gate(gold, gold, gold, held_out=60, rng=np.random.default_rng(0), kind="choices")
    assert verdict.accepted
    assert verdict.reason.startswith("F1 1.00 → 1.00")


def test_choices_are_not_moved_to_words_and_a_label_of_nobody_is_an_error() -> None:
    drawn = [(Span(0, len(TEXT), "refund"),)]
    assert on_words([TEXT], drawn, CHOICE) == drawn
    with pytest.raises(ValueError, match="'spam'"):
        evaluate([TEXT], drawn, choices("spam"), CHOICE)


def test_macro_f1_of_spans_leaves_out_labels_that_occur_nowhere() -> None:
    scores = evaluate([TEXT, TEXT], [(ADA, LONDON), ()], [(ADA,), ()], HEAD)
    assert scores.macro_f1 == 0.5
    assert scores.accuracy is None
