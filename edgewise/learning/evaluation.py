"""How good predicted spans are: precision, recall and F1, an interval for a difference, and the gate of a new version.

Takes gold and predicted spans, document by document in one order. Knows nothing of models or tasks, nor of where the
spans come from: that a document was held out is the caller's word. A span is right only as a whole: start, end, label.
A choice is a label on the whole text, so most of this holds for spans and choices alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgewise.labels.schema import Head, Kind
from edgewise.labels.spans import Span
from edgewise.labels.windows import spans_of_tags, tags_of, words

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
Spans = Sequence[Sequence[Span]]  # the spans of each document

GATE_FROM = 30  # held-out tasks; below, the gate compares out-of-fold predictions
GATE_LOSS = 0.05  # F1; a larger loss is refused whatever its interval
GATE_LEVEL = 0.9
DRAWS = 1000
NO_CHOICE = (Span(0, 0, ""),)  # with this in the place of no answer, the micro F1 of a single choice is its accuracy


@dataclass(frozen=True, slots=True)
class Score:
    """Of one label, or of all together: each in [0, 1], 0 where undefined. `support`: gold spans."""

    precision: float
    recall: float
    f1: float
    support: int


NOTHING = Score(0.0, 0.0, 0.0, 0)


@dataclass(frozen=True, slots=True)
class Scores:
    """`overall` is the micro average; `per_label` has every label, in the head's order.

    macro_f1: mean F1 of the labels that occur in gold or answers. accuracy: of choices, the share of documents whose
    answer is wholly right, a rightly empty one included; None of spans.
    """

    overall: Score
    per_label: dict[str, Score]
    documents: int
    macro_f1: float = 0.0
    accuracy: float | None = None


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether a new version may serve. `provisional`: judged without a held-out set. `reason` is for people."""

    accepted: bool
    provisional: bool
    reason: str


def evaluate(texts: Sequence[str], gold: Spans, predicted: Spans, head: Head) -> Scores:
    """Strict scores: of spans seqeval's IOB2 on our words, snapped outward to whole words first; of choices counts.

    texts, gold, predicted: one entry a document. Spans whose label is none of the head's are an error (ValueError).
    """
    _check_lengths(texts, gold, predicted)
    if head.kind != "spans":
        return _scores_of_choices(gold, predicted, head)
    labels = head.labels
    indexed = [str(index) for index in range(len(labels))]  # seqeval cuts dashes off names; numbers are safe
    tokens = [words(text) for text in texts]
    true = [_tag_strings(spans, found, labels) for spans, found in zip(gold, tokens, strict=True)]
    answered = [_tag_strings(spans, found, labels) for spans, found in zip(predicted, tokens, strict=True)]
    by_label, overall = _seqeval(true, answered)
    per_label = {label: by_label.get(index, NOTHING) for label, index in zip(labels, indexed, strict=True)}
    macro = float(np.mean([by_label[index].f1 for index in indexed if index in by_label] or [0.0]))
    return Scores(overall, per_label, len(texts), macro)


def _scores_of_choices(gold: Spans, predicted: Spans, head: Head) -> Scores:
    true, answered = _chosen(gold, head.labels), _chosen(predicted, head.labels)
    found, support, given = (true & answered).sum(axis=0), true.sum(axis=0), answered.sum(axis=0)
    counts = np.stack([found, given - found, support - found], axis=1)
    per_label = {label: _score(row) for label, row in zip(head.labels, counts, strict=True)}
    macro = float(np.mean(f1_of(counts[(support + given) > 0]))) if counts.any() else 0.0
    accuracy = float((true == answered).all(axis=1).mean()) if len(gold) else 0.0
    return Scores(_score(counts.sum(axis=0)), per_label, len(gold), macro, accuracy)


def _chosen(spans: Spans, labels: Sequence[str]) -> npt.NDArray[np.bool_]:
    """(n_documents, n_labels): which labels each document has."""
    column = {label: index for index, label in enumerate(labels)}
    chosen = np.zeros((len(spans), len(labels)), dtype=bool)
    for row, found in zip(chosen, spans, strict=True):
        for span in found:
            if span.label not in column:
                raise ValueError(f"a choice is {span.label!r}, the head has {list(labels)}")
            row[column[span.label]] = True
    return chosen


def _score(counts: IntArray) -> Score:
    """counts: right, wrong, missed."""
    right, wrong, missed = (int(count) for count in counts)
    precision, recall = right / max(right + wrong, 1), right / max(right + missed, 1)
    return Score(precision, recall, float(f1_of(counts)), right + missed)


def on_words(texts: Sequence[str], spans: Spans, head: Head) -> list[tuple[Span, ...]]:
    """The spans snapped outward to whole words, as `evaluate` sees them; choices as they are.

    People select half a word or a blank too much; a model cannot. Compare counts only after this.
    """
    if head.kind != "spans":
        return [tuple(found) for found in spans]
    snapped = []
    for text, found in zip(texts, spans, strict=True):
        tokens = words(text)
        snapped.append(tuple(spans_of_tags(tags_of(found, tokens, head.labels), tokens, head.labels)))
    return snapped


def span_counts(gold: Spans, predicted: Spans) -> IntArray:
    """Of each document: spans right, wrong and missed (true positives, false positives, false negatives).

    Returns (n_documents, 3).
    """
    _check_lengths(gold, predicted)
    counts = np.zeros((len(gold), 3), dtype=np.int64)
    for row, true, answered in zip(counts, map(set, gold), map(set, predicted), strict=True):
        both = len(true & answered)
        row[:] = both, len(answered) - both, len(true) - both
    return counts


def f1_of(counts: npt.NDArray[np.integer]) -> FloatArray:
    """Micro F1 of counts as of `span_counts`, (…, 3); in [0, 1], 0 where nothing is to find and nothing found."""
    found, wrong, missed = np.moveaxis(np.asarray(counts, dtype=np.float64), -1, 0)
    whole = 2 * found + wrong + missed
    f1: FloatArray = np.divide(2 * found, whole, out=np.zeros_like(whole), where=whole > 0)
    return f1


def paired_bootstrap(
    gold: Spans, before: Spans, after: Spans, *, rng: np.random.Generator, draws: int = DRAWS, level: float = GATE_LEVEL
) -> tuple[float, float, float]:
    """How much F1 rises from `before` to `after` on the same documents: (difference, low, high), each in [-1, 1].

    The interval of this level holds the middle of the differences over `draws` samples of documents, with replacement.
    No documents: all zero.
    """
    _check_lengths(gold, before, after)
    if not gold:
        return 0.0, 0.0, 0.0
    counts = np.stack([span_counts(gold, before), span_counts(gold, after)], axis=1)  # (n, 2, 3)
    # Documents with the same counts are exchangeable: one draw for each kind keeps memory small for any n.
    kinds, sizes = np.unique(counts.reshape(len(gold), 6), axis=0, return_counts=True)
    times = rng.multinomial(len(gold), sizes / len(gold), size=draws)
    sampled = f1_of((times @ kinds).reshape(draws, 2, 3))
    low, high = np.quantile(sampled[:, 1] - sampled[:, 0], [(1 - level) / 2, (1 + level) / 2])
    point = f1_of(counts.sum(axis=0))
    return float(point[1] - point[0]), float(low), float(high)


def gate(
    gold: Spans, before: Spans, after: Spans, *, held_out: int, rng: np.random.Generator, kind: Kind = "spans"
) -> Gate:
    """Whether the version that gave `after` may replace the one that gave `before`: only if it is not worse.

    held_out: labelled audit tasks of the project. From 30 on, the spans are those of the held-out tasks; below,
    out-of-fold ones of training tasks, and the verdict is provisional. Compared is micro F1, of a single choice
    accuracy. Refused is an interval wholly below zero, or a loss of more than 0.05. With no pair at all, or nothing to
    find in any, the new version is accepted.
    """
    _check_lengths(gold, before, after)
    provisional = held_out < GATE_FROM
    where = f"{len(gold)} training tasks, out of fold" if provisional else f"{len(gold)} held-out tasks"
    if not gold:
        return Gate(True, True, "There is nothing to compare with yet.")
    if not any(gold):
        return Gate(True, True, f"There is nothing to find in {where}: no comparison.")
    if kind == "choice":
        gold, before, after = ([tuple(spans) or NO_CHOICE for spans in column] for column in (gold, before, after))
    difference, low, high = paired_bootstrap(gold, before, after, rng=rng)
    old, new = (float(f1_of(span_counts(gold, spans).sum(axis=0))) for spans in (before, after))
    change = f"{difference:+.2f}, {GATE_LEVEL:.0%} interval {low:+.2f} to {high:+.2f}".replace("%", " %")
    measure = "Accuracy" if kind == "choice" else "F1"
    reason = f"{measure} {old:.2f} → {new:.2f} ({change}) on {where}"
    worse = high < 0 or difference < -GATE_LOSS - 1e-9  # a loss of exactly 0.05 passes, whatever the floats say
    return Gate(not worse, provisional, f"{reason}: worse than the version before." if worse else f"{reason}.")


def _tag_strings(spans: Sequence[Span], tokens: IntArray, labels: Sequence[str]) -> list[str]:
    """seqeval's tags of a document: O, B-<index of label>, I-<index of label>."""
    names = ["O", *(f"{prefix}-{index}" for index in range(len(labels)) for prefix in "BI")]
    return [names[tag] for tag in tags_of(spans, tokens, labels)]


def _seqeval(true: list[list[str]], answered: list[list[str]]) -> tuple[dict[str, Score], Score]:
    """Scores by label index, and overall. Labels that occur nowhere are absent."""
    from seqeval.metrics import classification_report
    from seqeval.scheme import IOB2

    occurring = {tag for tags in (*true, *answered) for tag in tags} - {"O"}
    if not occurring:
        return {}, NOTHING
    report = classification_report(true, answered, mode="strict", scheme=IOB2, output_dict=True, zero_division=0)
    scores = {
        name: Score(float(row["precision"]), float(row["recall"]), float(row["f1-score"]), int(row["support"]))
        for name, row in report.items()
    }
    return scores, scores["micro avg"]


def _check_lengths(*columns: Sequence[object]) -> None:
    if len({len(column) for column in columns}) > 1:
        raise ValueError("texts, gold and predicted spans must have one entry for each document")
