"""Wrong labels among right ones are found again; by cleanlab, and by models that did not see them."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cleanlab.filter import find_label_issues
from cleanlab.multilabel_classification.filter import find_multilabel_issues_per_class

from edgewise.labels.schema import Head
from edgewise.labels.spans import Document, Span, on_whole
from edgewise.labels.windows import tags_of, words
from edgewise.learning.label_errors import Suspect, mislabelled, said_unseen, suspects
from edgewise.learning.training import Recipe, unseen
from tests.learning.conftest import HEAD, MENTIONS, TOPIC, chosen

FILTER = "low_self_confidence"
SURE, QUICK = 0.9, Recipe(learning_rate=5e-3, epochs=8, max_length=32)


def silent(done: float) -> None:
    assert 0 <= done <= 1


def knows(documents: Sequence[Document], head: Head, sure: float = SURE) -> list[Any]:
    """What a model says that is so sure of what these documents are labelled with."""
    said: list[Any] = []
    for document in documents:
        if head.kind == "spans":
            tags = tags_of(document.spans, words(document.text), head.labels)
            shares: Any = np.full((len(tags), 1 + 2 * len(head.labels)), (1 - sure) / (2 * len(head.labels)))
            shares[np.arange(len(tags)), tags] = sure
        else:
            labels = {span.label for span in document.spans}
            rest = (1 - sure) / (len(head.labels) - 1) if head.kind == "choice" else 1 - sure
            shares = np.array([sure if label in labels else rest for label in head.labels])
        said.append(shares.astype(np.float32))
    return said


def relabelled(document: Document, *spans: Span) -> Document:
    return Document(document.text, spans)


def places(found: Sequence[Suspect]) -> set[tuple[int, Span | None, Span | None]]:
    return {(one.document, one.given, one.thinks) for one in found}


def test_wrong_spans_are_found_with_what_the_model_thinks_instead(documents: list[Document]) -> None:
    said = knows(documents, HEAD)
    wrong = list(documents)
    ada, there = documents[3].spans
    wrong[3] = relabelled(documents[3], Span(ada.start, ada.end, "LOC"), there)  # another label
    wrong[40] = relabelled(documents[40], documents[40].spans[1])  # one is left out
    name = documents[60].spans[0]
    edge = Span(name.start, name.start + documents[60].text[name.start :].index(" "), "PER")
    wrong[60] = relabelled(documents[60], edge, *documents[60].spans[1:])  # an edge
    invented = Span(0, len("Yesterday"), "PER")
    wrong[30] = relabelled(documents[30], invented, *documents[30].spans)
    found = suspects(wrong, said, HEAD)
    assert places(found) == {
        (3, Span(ada.start, ada.end, "LOC"), ada),
        (40, None, documents[40].spans[0]),
        (60, edge, name),
        (30, invented, None),
    }
    assert all(one.score < 0.1 for one in found)
    assert [one.score for one in found] == sorted(one.score for one in found)


def test_where_people_are_right_nothing_is_found(documents: list[Document]) -> None:
    assert suspects(documents, knows(documents, HEAD), HEAD) == []


def test_half_a_word_too_much_is_no_error(documents: list[Document]) -> None:
    sloppy = [relabelled(one, *(Span(s.start, s.end - 1, s.label) for s in one.spans)) for one in documents]
    assert suspects(sloppy, knows(documents, HEAD), HEAD) == []


def test_documents_that_nobody_judged_or_that_have_no_words_are_passed_over(documents: list[Document]) -> None:
    said = knows(documents, HEAD)
    wrong = [relabelled(documents[0]), *documents[1:], Document(" ", ())]
    assert len(suspects(wrong, [*said, np.zeros((0, 5), np.float32)], HEAD)) == len(documents[0].spans)
    assert suspects(wrong, [None, *said[1:], None], HEAD) == []
    assert suspects(wrong, [None] * len(wrong), HEAD) == []
    assert suspects([], [], HEAD) == []


def test_a_wrong_choice_is_found(documents: list[Document]) -> None:
    right = chosen(documents, TOPIC)
    wrong = list(right)
    wrong[5] = relabelled(right[5], on_whole(right[5].text, "meeting"))
    (found,) = suspects(wrong, knows(right, TOPIC), TOPIC)
    assert (found.document, found.given, found.thinks) == (5, wrong[5].spans[0], right[5].spans[0])
    assert found.score < 0.1


def test_of_several_choices_each_label_is_judged_by_itself(documents: list[Document]) -> None:
    right = chosen(documents, MENTIONS)
    wrong = list(right)
    lacking = next(i for i, one in enumerate(right) if len(one.spans) > 1)
    extra = next(i for i, one in enumerate(right) if "capital" not in {s.label for s in one.spans})
    wrong[lacking] = relabelled(right[lacking], *right[lacking].spans[1:])
    wrong[extra] = relabelled(right[extra], *right[extra].spans, on_whole(right[extra].text, "capital"))
    assert places(suspects(wrong, knows(right, MENTIONS), MENTIONS)) == {
        (lacking, None, right[lacking].spans[0]),
        (extra, on_whole(right[extra].text, "capital"), None),
    }


@pytest.mark.parametrize("seed", range(3))
def test_what_is_found_is_what_cleanlab_finds_used_by_hand(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 4, 300)
    given = np.where(rng.random(300) < 0.1, rng.integers(0, 4, 300), truth)
    shares = rng.dirichlet(np.ones(4) + 8 * np.eye(4)[truth].mean(axis=0)) * 0.3 + 0.7 * np.eye(4)[truth]
    noisy = shares * rng.uniform(0.5, 1.5, shares.shape)
    noisy /= noisy.sum(axis=1, keepdims=True)
    head = Head("kind", "text", "text", ("a", "b", "c", "d"), kind="choice")
    documents = [Document(f"text {i}", (on_whole(f"text {i}", head.labels[g]),)) for i, g in enumerate(given)]
    found = suspects(documents, [row.astype(np.float32) for row in noisy], head)
    options: Any = {"filter_by": FILTER, "return_indices_ranked_by": "self_confidence", "n_jobs": 1}
    by_hand = find_label_issues(given, noisy, **options)
    assert [one.document for one in found] == by_hand.tolist()
    assert len(found) > 10


def test_of_several_choices_cleanlab_says_the_same() -> None:
    rng = np.random.default_rng(4)
    head = Head("tags", "text", "text", ("a", "b", "c"), kind="choices")
    truth = rng.random((300, 3)) < 0.4
    given = truth ^ (rng.random((300, 3)) < 0.07)
    shares = np.clip(np.where(truth, 0.8, 0.2) + rng.normal(0, 0.15, truth.shape), 0.01, 0.99)
    documents = [
        Document(
            f"text {i}", tuple(on_whole(f"text {i}", label) for label, yes in zip(head.labels, row, strict=True) if yes)
        )
        for i, row in enumerate(given)
    ]
    found = suspects(documents, [row.astype(np.float32) for row in shares], head)
    labels = [np.flatnonzero(row).tolist() for row in given]
    by_hand = np.asarray(find_multilabel_issues_per_class(labels, shares, filter_by=FILTER, n_jobs=1))
    ours = np.zeros_like(by_hand)
    for one in found:
        span = one.given or one.thinks
        assert span is not None
        ours[one.document, head.labels.index(span.label)] = True
    assert (ours == by_hand).all()
    assert ours.sum() > 10


def test_where_there_is_only_one_label_nothing_can_be_taken_for_it() -> None:
    assert not mislabelled(np.zeros(5, dtype=np.int64), np.full((5, 3), 1 / 3)).any()


def test_nobody_judges_what_they_were_trained_on(tiny_base: Path, documents: list[Document]) -> None:
    seen: list[int] = []
    some = [*documents[::5], documents[0]]  # the last one's text is there twice
    for part, model in unseen(some, HEAD, str(tiny_base), QUICK, folds=4, report=silent):
        assert model is not None
        seen += part
        assert (0 in part) == (len(some) - 1 in part), "the same text is in the same fold"
    assert sorted(seen) == list(range(len(some)))


def test_a_label_that_teaches_nothing_elsewhere_leaves_its_fold_unjudged(
    tiny_base: Path, documents: list[Document]
) -> None:
    alone = [documents[0], Document("nothing here", ()), Document("nor here", ())]
    said = said_unseen(alone, HEAD, str(tiny_base), Recipe(epochs=0.1, max_length=32), folds=3, report=silent)
    assert [row is None for row in said] == [True, False, False]


def test_models_that_did_not_see_them_find_wrong_labels(tiny_base: Path, documents: list[Document]) -> None:
    rng = random.Random(0)
    swapped = set(rng.sample(range(len(documents)), 6))
    other = {"PER": "LOC", "LOC": "PER"}
    noisy = [
        relabelled(one, *(Span(s.start, s.end, other[s.label]) for s in one.spans)) if i in swapped else one
        for i, one in enumerate(documents)
    ]
    recipe = Recipe(learning_rate=5e-3, epochs=16, max_length=32)
    said = said_unseen(noisy, HEAD, str(tiny_base), recipe, folds=4, report=silent)
    assert all(row is not None and row.shape == (len(words(d.text)), 5) for row, d in zip(said, noisy, strict=True))
    found = {one.document for one in suspects(noisy, said, HEAD)}
    assert len(found & swapped) >= 5
    assert len(found - swapped) <= 5


def test_of_choices_the_models_say_a_share_of_each_label(tiny_base: Path, documents: list[Document]) -> None:
    right = chosen(documents[::4], TOPIC)
    said = said_unseen(right, TOPIC, str(tiny_base), QUICK, folds=2, report=silent)
    assert all(row is not None and row.shape == (3,) and row.sum() == pytest.approx(1, abs=1e-4) for row in said)
