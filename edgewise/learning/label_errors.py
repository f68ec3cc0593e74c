"""Labels that are likely wrong: confident learning, by cleanlab, on what models say of texts that they never saw.

Takes labelled documents of one head. Knows nothing of tasks or of who labelled them. A model that has seen a label
remembers it, right or wrong; so every document is judged by one that was trained on the others alone. What is found is
a question to people, never a correction: the model may be the one that is wrong.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewise.labels.pairs import differences
from edgewise.labels.schema import Head
from edgewise.labels.spans import Document, Span, on_whole
from edgewise.labels.windows import IntArray, spans_of_tags, tags_of, words
from edgewise.learning.inference import Tagger
from edgewise.learning.training import Recipe, unseen

Floats = NDArray[np.float32]
Report = Callable[[float], None]
TINY = 1e-9
Judged = Sequence[tuple[int, Document, Floats]]  # a document, its position, and what was said of it


@dataclass(frozen=True, slots=True)
class Suspect:
    """A label that is likely wrong. document: its position. given: what people say, on whole words; thinks: what the
    model says there; None stands for nothing, and one of the two at most is None.

    score: how sure the model is of what was given, in [0, 1]: the lowest is the worst.
    """

    document: int
    given: Span | None
    thinks: Span | None
    score: float


def said_unseen(
    documents: Sequence[Document], head: Head, base: str, recipe: Recipe, *, folds: int, report: Report
) -> list[Floats | None]:
    """What a model that was trained on the other documents says of each.

    Of spans (n_words, n_tags), of choices (k,) shares; None where nobody can say: the others have no label at all, or
    of choices, the tokenizer cannot read the text.
    """
    said: list[Floats | None] = [None] * len(documents)
    for part, model in unseen(documents, head, base, recipe, folds=folds, report=report):
        if model is None:
            continue
        texts = [documents[index].text for index in part]
        if isinstance(model, Tagger):
            tagged = model.tag(texts)
            rows: list[Floats | None] = list(np.split(tagged.probabilities, tagged.offsets[1:-1]))
        else:
            rows = [shares if shares.any() else None for shares in model.classify(texts).shares]
        for index, row in zip(part, rows, strict=True):
            said[index] = row
    report(1.0)
    return said


def suspects(documents: Sequence[Document], said: Sequence[Floats | None], head: Head) -> list[Suspect]:
    """The labels that are likely wrong, worst first. said: as `said_unseen` gives it."""
    judged = [
        (index, document, row)
        for index, (document, row) in enumerate(zip(documents, said, strict=True))
        if row is not None and (document.spans or head.kind != "choice")
    ]
    if not judged:
        return []
    find = {"spans": _spans, "choice": _choice, "choices": _choices}[head.kind]
    return sorted(find(judged, head), key=lambda one: (one.score, one.document))


def _spans(judged: Judged, head: Head) -> Iterator[Suspect]:
    """Where people and model differ, if confident learning finds one of the words there mislabelled."""
    found = [words(document.text) for _, document, _ in judged]
    given = [tags_of(document.spans, here, head.labels) for (_, document, _), here in zip(judged, found, strict=True)]
    wrong = mislabelled(np.concatenate(given), np.concatenate([row for _, _, row in judged]))
    masks = np.split(wrong, np.cumsum([len(here) for here in found])[:-1])
    for (index, _, row), here, tags, mask in zip(judged, found, given, masks, strict=True):
        if mask.any():
            yield from _of_text(index, (here, mask), (tags, row), head)


def _of_text(
    index: int, at: tuple[IntArray, NDArray[np.bool_]], said: tuple[IntArray, Floats], head: Head
) -> Iterator[Suspect]:
    """The differences in one text that hold a mislabelled word. at: words, which of them are mislabelled.

    The score is the geometric mean, over the words of a difference that have other tags, of the probability of the
    given tag: one word that the model has no opinion about must not hide that it is sure of the others.
    """
    here, wrong = at
    tags, probabilities = said
    best = probabilities.argmax(axis=1)
    people = spans_of_tags(tags, here, head.labels)
    model = spans_of_tags(best, here, head.labels, probabilities=probabilities)
    sure = np.log(np.maximum(probabilities[np.arange(len(tags)), tags], TINY))
    for given, thinks in differences(people, model):
        inside = np.zeros(len(here), dtype=bool)
        for span in (given, thinks):
            if span is not None:
                inside |= (here[:, 0] < span.end) & (here[:, 1] > span.start)
        differing = inside & (tags != best)
        if (differing & wrong).any():
            yield Suspect(index, given, thinks, float(np.exp(sure[differing].mean())))


def _choice(judged: Judged, head: Head) -> Iterator[Suspect]:
    """Texts whose one label confident learning finds wrong."""
    column = {label: number for number, label in enumerate(head.labels)}
    shares = np.stack([row for _, _, row in judged])
    given = np.array([column[document.spans[0].label] for _, document, _ in judged])
    for row in np.flatnonzero(mislabelled(given, shares)):
        index, document, said = judged[row]
        thinks = on_whole(document.text, head.labels[int(said.argmax())], float(said.max()))
        yield Suspect(index, document.spans[0], thinks, float(said[given[row]]))


def _choices(judged: Judged, head: Head) -> Iterator[Suspect]:
    """Labels that are likely there and not given, or given and likely not there: each label by itself."""
    shares = np.stack([row for _, _, row in judged])
    for label, yes in zip(head.labels, shares.T, strict=True):
        given = np.array([any(span.label == label for span in document.spans) for _, document, _ in judged])
        for row in np.flatnonzero(mislabelled(given.astype(np.int64), np.stack([1 - yes, yes], axis=1))):
            index, document, _ = judged[row]
            there = on_whole(document.text, label)
            if given[row]:
                yield Suspect(index, there, None, float(yes[row]))
            else:
                yield Suspect(index, None, there, float(1 - yes[row]))


def mislabelled(given: IntArray, probabilities: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """(n,): which rows are likely mislabelled. given: (n,) columns of probabilities, (n, k).

    Confident learning says how many; those whose given label has the lowest probability are they.
    Source: Northcutt, Jiang and Chuang, 2021, by cleanlab; that this way to choose them beats cleanlab's default here
    is measured, see benchmarks/results/label-errors.md.
    """
    from cleanlab.filter import find_label_issues

    if len(np.unique(given)) < 2:
        return np.zeros(len(given), dtype=bool)  # nothing to be taken for something else
    whole = probabilities / probabilities.sum(axis=1, keepdims=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes too rare to judge: they are never found mislabelled
        return np.asarray(find_label_issues(given, whole, filter_by="low_self_confidence", n_jobs=1), dtype=bool)
