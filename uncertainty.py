"""How unsure a model is about each document: label distributions in, one number per document out.

Numpy only, and nothing of Label Studio, models or files. Spans are scored by `SCORES`, choices by `CHOICE_SCORES`;
every strategy has one signature and direction. Of spans:

    probabilities  (n_words, n_tags), rows sum to 1, the words of all documents one after another, each word's from its
                   first sub-word. Tag 0 is O, 1 + 2i begins an entity of type i, 2 + 2i continues one
    offsets        (n_documents + 1,), document d has the words offsets[d]:offsets[d + 1]
    returns        (n_documents,), in [0, 1): what is written as u below, mapped by u / (1 + u). Higher is less sure.
                   A document without words has 0. Raises ValueError if the shapes do not fit

Of choices the rows are decisions: of a single choice one row for a document, with a column for each label; of several
choices one row for each label, (no, yes). A document without rows, as nothing in it can be read, has 0. What a row says
lies in [0, 1], 0 for a certainty and 1 for a tie of all, and a document has the mean of its rows: it is not mapped.

Notation: for word i of n, p is its distribution, T its most probable tag, H the entropy of p divided by the log of the
number of tags: 0 for a certainty, 1 for a tie of all. Measured by us on eight data sets: all are far ahead of random
order; dividing by √n is worth 4 to 5 points of the errors found, the weight on boundaries 0 to 1. On four data sets
with today's recipe the hardest tenth of the texts holds 39 % of the errors by `spans`, 37 % by `boundary`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.integer[Any]]
Uncertainty = NDArray[np.float64]
Score = Callable[[FloatArray, IntArray], Uncertainty]

BOUNDARY_WEIGHT = 2.0  # over 4 finds fewer errors
SPAN_WEIGHT = 3.0  # of an entity's doubt; 2 to 6 find as many
_TINY = 1e-12  # no probability is taken for less
SPAN_POWER = 1 / 3  # of n; 0 finds most errors per document, 1/2 most per word read


def boundary(probabilities: FloatArray, offsets: IntArray) -> Uncertainty:
    """Entropy that counts threefold at the edges of entities: u = Σ (1 + 2 h) H / √n.

    h is 1 on the first and the last word of an entity that T predicts, ½ on an O word just outside, else 0. A
    continuation that continues nothing begins an entity. Defined when nothing is predicted: then h = 0 everywhere.
    Source: our own measurements ("bw_hard2_sqrt"); weights on likely entity words after Şapcı et al., 2023
    (arXiv 2111.03837).
    """
    return _mapped(_total(_weighted_entropy(probabilities, offsets), offsets) / _root(offsets))


def boundary_sum(probabilities: FloatArray, offsets: IntArray) -> Uncertainty:
    """`boundary` without the root: u = Σ (1 + 2 h) H. Finds most errors per document, and prefers long ones."""
    return _mapped(_total(_weighted_entropy(probabilities, offsets), offsets))


def boundary_mean(probabilities: FloatArray, offsets: IntArray) -> Uncertainty:
    """`boundary` per unit of weight: u = Σ (1 + 2 h) H / Σ (1 + 2 h), in [0, 1]. Finds most errors per word read."""
    _check(probabilities, offsets)
    weights = 1.0 + BOUNDARY_WEIGHT * _hard_boundary(probabilities, offsets)
    total = _total(weights * _entropy(probabilities), offsets)
    return _mapped(total / np.maximum(_total(weights, offsets), 1.0))


def soft_boundary(probabilities: FloatArray, offsets: IntArray) -> Uncertainty:
    """`boundary` with the probability of an edge in place of h: u = Σ (1 + 2 w) H / √n.

    w = s + e - s e. An entity starts at i with s = p(any B)ᵢ + p(O)ᵢ₋₁ p(any I)ᵢ and ends there with
    e = (1 - p(O)ᵢ) (p(O)ᵢ₊₁ + p(any B)ᵢ₊₁); beyond both ends of a document O is certain.
    Source: our own measurements ("bw_soft2_sqrt").
    """
    _check(probabilities, offsets)
    weights = 1.0 + BOUNDARY_WEIGHT * _soft_boundary(probabilities, offsets)
    return _mapped(_total(weights * _entropy(probabilities), offsets) / _root(offsets))


def entropy(probabilities: FloatArray, offsets: IntArray) -> Uncertainty:
    """u = Σ H / √n. Source: token entropy, Settles and Craven, 2008, with the root in place of their n."""
    _check(probabilities, offsets)
    return _mapped(_total(_entropy(probabilities), offsets) / _root(offsets))


def margin(probabilities: FloatArray, offsets: IntArray) -> Uncertainty:
    """u = Σ (1 - (p₁ - p₂)) / √n, p₁ and p₂ the two best of a word. Source: Scheffer, Decomain and Wrobel, 2001."""
    _check(probabilities, offsets)
    if probabilities.shape[1] < 2:
        return np.zeros(len(offsets) - 1)
    best_two = np.partition(probabilities, -2, axis=1)[:, -2:].astype(np.float64)
    return _mapped(_total(1.0 - (best_two[:, 1] - best_two[:, 0]), offsets) / _root(offsets))


def least_confidence(probabilities: FloatArray, offsets: IntArray) -> Uncertainty:
    """u = Σ (1 - p₁) / √n, p₁ the best of a word. Source: Culotta and McCallum, 2005, per word."""
    _check(probabilities, offsets)
    return _mapped(_total(1.0 - probabilities.max(axis=1).astype(np.float64), offsets) / _root(offsets))


def mnlp(probabilities: FloatArray, offsets: IntArray) -> Uncertainty:
    """Maximum normalised log-probability, its sign turned: u = -Σ log p₁ / n. Source: Shen et al., 2017."""
    _check(probabilities, offsets)
    surprise = -np.log(np.maximum(probabilities.max(axis=1).astype(np.float64), np.finfo(np.float64).tiny))
    return _mapped(_total(surprise, offsets) / np.maximum(np.diff(offsets), 1))


def spans(probabilities: FloatArray, offsets: IntArray) -> Uncertainty:
    """Doubt about each entity and about each word outside: u = (Σ 3 √(1 - q) over entities + Σ H over O words) / ∛n.

    An entity is one that T predicts; q = Π p(T) over its words · (1 - p(it goes on) at the word after it) is the
    chance that it is right, were words independent. However many of its words waver, it is wrong only once, which
    sums over words forget; the root stands for a model that is surer than right.
    Source: our own measurements (benchmarks/labels_saved.py), after the expected number of wrong spans. Of the errors
    it finds more than `boundary` does, by documents and by words read.
    """
    return _mapped(_total(_span_contributions(probabilities, offsets), offsets))


SCORES: dict[str, Score] = {
    "boundary": boundary,
    "spans": spans,
    "boundary_sum": boundary_sum,
    "boundary_mean": boundary_mean,
    "soft_boundary": soft_boundary,
    "entropy": entropy,
    "margin": margin,
    "least_confidence": least_confidence,
    "mnlp": mnlp,
}
DEFAULT = "spans"


def word_contributions(probabilities: FloatArray, offsets: IntArray) -> Uncertainty:
    """What each word adds to the u of `spans`, shape (n_words,), never negative: an entity's doubt is shared out."""
    return _span_contributions(probabilities, offsets)


def choice_entropy(probabilities: FloatArray, offsets: IntArray) -> Uncertainty:
    """Mean of H. Of several choices it orders as the entropy of all together does, if they are independent.

    Source: Shannon entropy as in Settles, 2009.
    """
    _check_choices(probabilities, offsets)
    return _mean(_entropy(probabilities), offsets)


def choice_margin(probabilities: FloatArray, offsets: IntArray) -> Uncertainty:
    """Mean of 1 - (p₁ - p₂), p₁ and p₂ the two likeliest. Source: Scheffer, Decomain and Wrobel, 2001."""
    _check_choices(probabilities, offsets)
    best_two = np.partition(probabilities, -2, axis=1)[:, -2:].astype(np.float64)
    return _mean(1.0 - (best_two[:, 1] - best_two[:, 0]), offsets)


def choice_least_confidence(probabilities: FloatArray, offsets: IntArray) -> Uncertainty:
    """Mean of (1 - p₁) k / (k - 1), p₁ the likeliest of k. Source: Lewis and Gale, 1994, scaled to [0, 1]."""
    _check_choices(probabilities, offsets)
    k = probabilities.shape[1]
    return _mean((1.0 - probabilities.max(axis=1).astype(np.float64)) * k / (k - 1), offsets)


CHOICE_SCORES: dict[str, Score] = {
    "entropy": choice_entropy,
    "margin": choice_margin,
    "least_confidence": choice_least_confidence,
}
CHOICE_DEFAULT = "margin"


def _check(probabilities: FloatArray, offsets: IntArray) -> None:
    if probabilities.ndim != 2 or probabilities.shape[1] % 2 == 0:
        raise ValueError(f"probabilities has shape {probabilities.shape}, not (n_words, 1 + 2 * n_types)")
    _check_offsets(probabilities, offsets)


def _check_choices(probabilities: FloatArray, offsets: IntArray) -> None:
    if probabilities.ndim != 2 or probabilities.shape[1] < 2:
        raise ValueError(f"probabilities has shape {probabilities.shape}, not (n_decisions, two answers or more)")
    _check_offsets(probabilities, offsets)


def _check_offsets(probabilities: FloatArray, offsets: IntArray) -> None:
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != len(probabilities) or (np.diff(offsets) < 0).any():
        raise ValueError(f"offsets do not rise from 0 to the number of rows, {len(probabilities)}")


def _mean(per_row: FloatArray, offsets: IntArray) -> Uncertainty:
    """Mean over each document's rows, kept below 1."""
    mean = _total(np.clip(per_row, 0.0, 1.0), offsets) / np.maximum(np.diff(offsets), 1)
    return np.asarray(np.minimum(mean, np.nextafter(1.0, 0.0)), dtype=np.float64)


def _mapped(u: FloatArray) -> Uncertainty:
    """From [0, ∞) into [0, 1), order kept."""
    from_zero = np.maximum(u, 0.0)  # rounding may leave a certainty just below zero
    return np.asarray(from_zero / (1.0 + from_zero), dtype=np.float64)


def _root(offsets: IntArray) -> Uncertainty:
    """√n of each document, 1 for one without words."""
    return np.asarray(np.sqrt(np.maximum(np.diff(offsets), 1)), dtype=np.float64)


def _total(per_word: FloatArray, offsets: IntArray) -> Uncertainty:
    """Sum over the words of each document, word by word from the first: the same whichever documents are beside it."""
    n_documents = len(offsets) - 1
    document = np.repeat(np.arange(n_documents), np.diff(offsets))
    return np.bincount(document, weights=per_word, minlength=n_documents).astype(np.float64, copy=False)


def _entropy(probabilities: FloatArray) -> Uncertainty:
    """H of each word, in [0, 1]."""
    n_tags = probabilities.shape[1]
    if n_tags < 2:
        return np.zeros(len(probabilities))
    logs = np.log(np.maximum(probabilities, np.finfo(probabilities.dtype).tiny))  # 0 · log 0 = 0
    nats = -np.einsum("wt,wt->w", probabilities, logs, dtype=np.float64)
    return np.asarray(np.clip(nats / np.log(n_tags), 0.0, 1.0), dtype=np.float64)


def _weighted_entropy(probabilities: FloatArray, offsets: IntArray) -> Uncertainty:
    """(1 + 2 h) H of each word."""
    _check(probabilities, offsets)
    return (1.0 + BOUNDARY_WEIGHT * _hard_boundary(probabilities, offsets)) * _entropy(probabilities)


def _neighbours(per_word: NDArray[Any], offsets: IntArray, beyond: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """The value of the word before and of the word after each, `beyond` where the document ends."""
    before, after = np.full_like(per_word, beyond), np.full_like(per_word, beyond)
    before[1:], after[:-1] = per_word[:-1], per_word[1:]
    filled = offsets[:-1][np.diff(offsets) > 0]
    before[filled] = beyond
    after[offsets[1:][np.diff(offsets) > 0] - 1] = beyond
    return before, after


def _entities(
    probabilities: FloatArray, offsets: IntArray
) -> tuple[NDArray[Any], NDArray[np.bool_], NDArray[np.bool_]]:
    """What T predicts at each word: its type, 0 for none; whether it is the first of an entity; whether the last."""
    tag = probabilities.argmax(axis=1) if len(probabilities) else np.zeros(0, dtype=np.int64)
    kind = (tag + 1) // 2
    kind_before, kind_after = _neighbours(kind, offsets, 0)
    starts = (kind > 0) & ((tag % 2 == 1) | (kind_before != kind))
    _, next_starts = _neighbours(starts.astype(np.int64), offsets, 0)
    return kind, starts, (kind > 0) & ((kind_after == 0) | (next_starts == 1))


def _hard_boundary(probabilities: FloatArray, offsets: IntArray) -> Uncertainty:
    """h of each word: 0, ½ or 1."""
    kind, starts, ends = _entities(probabilities, offsets)
    kind_before, kind_after = _neighbours(kind, offsets, 0)
    outside = (kind == 0) & ((kind_before > 0) | (kind_after > 0))
    return np.where(starts | ends, 1.0, np.where(outside, 0.5, 0.0))


def _span_contributions(probabilities: FloatArray, offsets: IntArray) -> Uncertainty:
    """What each word adds to the u of `spans`: an entity's doubt is shared out by surprise among its words and, as far
    as it may go on, the word after it."""
    _check(probabilities, offsets)
    kind, starts, ends = _entities(probabilities, offsets)
    inside, last = np.flatnonzero(kind), np.flatnonzero(ends)
    surprise = -np.log(np.clip(probabilities[inside].max(axis=1, initial=0.0), _TINY, 1.0).astype(np.float64))
    beyond = -np.log1p(-_goes_on(probabilities, offsets, last, kind))
    entity = np.cumsum(starts[inside]) - 1
    whole = np.bincount(entity, weights=surprise, minlength=len(last)) + beyond  # -log q
    doubt = SPAN_WEIGHT * np.sqrt(-np.expm1(-whole))
    share = np.divide(doubt, whole, out=np.zeros(len(last)), where=whole > 0)
    each = np.where(kind == 0, _entropy(probabilities), 0.0)
    each[inside] += share[entity] * surprise
    after = np.flatnonzero(beyond)  # nothing goes on beyond a document's end
    each[last[after] + 1] += (share * beyond)[after]
    return np.asarray(each / np.repeat(np.maximum(np.diff(offsets), 1) ** SPAN_POWER, np.diff(offsets)))


def _goes_on(probabilities: FloatArray, offsets: IntArray, last: IntArray, kind: NDArray[Any]) -> Uncertainty:
    """Of each entity, by its last word: the probability that the word after continues it; 0 at a document's end."""
    ending = np.zeros(len(probabilities) + 1, dtype=bool)
    ending[offsets] = True
    after = np.minimum(last + 1, len(probabilities) - 1)
    found = np.where(ending[last + 1], 0.0, probabilities[after, 2 * kind[last]])
    return np.clip(found, 0.0, 1.0 - _TINY)


def _soft_boundary(probabilities: FloatArray, offsets: IntArray) -> Uncertainty:
    """w of each word, in [0, 1]."""
    nothing = probabilities[:, 0].astype(np.float64)
    begins = probabilities[:, 1::2].sum(axis=1, dtype=np.float64)
    nothing_before, nothing_after = _neighbours(nothing, offsets, 1.0)
    _, begins_after = _neighbours(begins, offsets, 0.0)
    start = np.clip(begins + nothing_before * probabilities[:, 2::2].sum(axis=1, dtype=np.float64), 0.0, 1.0)
    end = np.clip((1.0 - nothing) * (nothing_after + begins_after), 0.0, 1.0)
    return np.asarray(start + end - start * end, dtype=np.float64)
