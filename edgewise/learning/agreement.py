"""How far annotators agree, two by two, and what they differ on.

Takes what each said of the same texts, as whole words. Knows nothing of who they are, or of who is right. Spans are
compared by strict F1, as nobody can count the places that both left alone; choices by Cohen's kappa, which takes off
what two people would agree on by chance.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from edgewise.labels.pairs import differences
from edgewise.labels.schema import Head
from edgewise.labels.spans import Span
from edgewise.learning.evaluation import f1_of, span_counts

Said = Mapping[int, tuple[Span, ...]]  # by task: what one annotator said of it


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of two annotators, on the tasks that both have finished.

    f1: of spans, strict, the same whoever is taken for right; None where neither has drawn any. same: of choices, the
    share of tasks with just the same. kappa: of choices, in [-1, 1], 0 is chance; of several choices the mean over the
    labels that either has given; None of spans, and where both gave one and the same answer throughout: then chance
    explains everything. differ: (what the first says, what the second says, how often), most often first; None where
    one says nothing.
    """

    first: int
    second: int
    tasks: int
    f1: float | None
    same: float | None
    kappa: float | None
    differ: tuple[tuple[str | None, str | None, int], ...]


def agreement(said: Mapping[int, Said], head: Head) -> list[Agreement]:
    """Of every two annotators with a task in common, by their ids. said: by annotator."""
    found = []
    for first, second in combinations(sorted(said), 2):
        tasks = sorted(said[first].keys() & said[second].keys())
        if tasks:
            columns = [said[first][task] for task in tasks], [said[second][task] for task in tasks]
            found.append(_between(first, second, columns, head))
    return found


def _between(first: int, second: int, said: tuple[Sequence[Sequence[Span]], ...], head: Head) -> Agreement:
    one, other = said
    differ: Counter[tuple[str | None, str | None]] = Counter()
    for a, b in zip(one, other, strict=True):
        differ.update(_differing(a, b, head))
    often = sorted(differ.items(), key=lambda item: (-item[1], item[0][0] or "", item[0][1] or ""))
    told = tuple((a, b, count) for (a, b), count in often)
    if head.kind == "spans":
        counts = span_counts(one, other).sum(axis=0)
        f1 = float(f1_of(counts)) if counts.any() else None
        return Agreement(first, second, len(one), f1, None, None, told)
    same = float(np.mean([set(a) == set(b) for a, b in zip(one, other, strict=True)]))
    return Agreement(first, second, len(one), None, same, _kappa(one, other, head), told)


def _differing(one: Sequence[Span], other: Sequence[Span], head: Head) -> list[tuple[str | None, str | None]]:
    """Labels of what differs in one text; of one choice its label against the other's."""
    if head.kind == "choice":
        labels = [spans[0].label if spans else None for spans in (one, other)]
        return [] if labels[0] == labels[1] else [(labels[0], labels[1])]
    if head.kind == "choices":
        mine, theirs = ({span.label for span in spans} for spans in (one, other))
        return [(label, None) for label in mine - theirs] + [(None, label) for label in theirs - mine]
    pairs = differences(one, other)
    return [(a.label if a else None, b.label if b else None) for a, b in pairs]


def _kappa(one: Sequence[Sequence[Span]], other: Sequence[Sequence[Span]], head: Head) -> float | None:
    if head.kind == "choice":
        answers = [[spans[0].label if spans else "" for spans in column] for column in (one, other)]
        return _cohen(*answers)
    given = [[{span.label for span in spans} for spans in column] for column in (one, other)]
    kappas = [_cohen(*([label in labels for labels in column] for column in given)) for label in head.labels]
    known = [kappa for kappa in kappas if kappa is not None]
    return float(np.mean(known)) if known else None


def _cohen(one: Sequence[object], other: Sequence[object]) -> float | None:
    from sklearn.metrics import cohen_kappa_score

    if len({*one, *other}) < 2:
        return None
    return float(cohen_kappa_score(one, other))
