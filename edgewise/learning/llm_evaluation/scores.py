"""How good one source is at one head: scores with intervals, by label, kinds of mistakes, how far it can be believed.

Knows gold and answers; nothing of models, tokens or money. A task without an answer because of an error counts as one
where nothing was found: that is what people get to see.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgewise.labels.schema import Head
from edgewise.labels.spans import Span
from edgewise.learning.calibration import Reliability, cross_fitted, reliability
from edgewise.learning.llm_evaluation.intervals import Interval, share
from edgewise.learning.llm_evaluation.mistakes import KINDS, as_drawn, counts, mistakes
from edgewise.learning.llm_evaluation.values import Examined, Source

FloatArray = npt.NDArray[np.float64]

MOST_CONFUSIONS = 10


@dataclass(frozen=True, slots=True)
class LabelScore:
    """Of one label. f1: None where it occurs neither in gold nor in answers. support: in gold."""

    label: str
    precision: float
    recall: float
    f1: Interval | None
    support: int
    answered: int


@dataclass(frozen=True, slots=True)
class Emptiness:
    """Tasks where there is nothing to find: the share that was left empty, and what was found there all the same."""

    tasks: int
    left_empty: Interval | None
    invented: int


@dataclass(frozen=True, slots=True)
class Slice:
    """The main score over some of the tasks."""

    tasks: int
    score: Interval | None


@dataclass(frozen=True, slots=True)
class HeadScores:
    """Of one source at one head. metric: what `score` is: "F1", or the "accuracy" of a single choice.

    score: None if there is neither gold nor an answer. accuracy: share of tasks whose whole answer is right. macro_f1:
    over the labels that occur, of choices. confusions: (people's label, its label, how often), most frequent first.
    calibration: of the confidences as stated, None if it states none; calibrated: put right by curves fitted on other
    tasks, None if there are too few. seen: over the tasks whose annotators had been shown the language model's answer,
    which are in none of the other figures; audit: over the held-out tasks.
    """

    head: str
    kind: str
    metric: str
    tasks: int
    support: int
    score: Interval | None
    precision: float
    recall: float
    accuracy: Interval | None
    macro_f1: Interval | None
    per_label: tuple[LabelScore, ...]
    mistakes: dict[str, int]
    confusions: tuple[tuple[str, str, int], ...]
    nothing_to_find: Emptiness
    calibration: Reliability | None
    calibrated: Reliability | None
    seen: Slice
    audit: Slice


@dataclass(frozen=True)
class Pairs:
    """The tasks of a head that a source answered: gold and answered spans, in one order."""

    head: Head
    tasks: tuple[Examined, ...]
    gold: tuple[tuple[Span, ...], ...]
    answered: tuple[tuple[Span, ...], ...]

    def of(self, wanted: Sequence[bool]) -> "Pairs":
        """Only the tasks that are wanted."""
        kept = [number for number, is_wanted in enumerate(wanted) if is_wanted]
        tasks, gold, answered = self.tasks, self.gold, self.answered
        return Pairs(
            self.head, tuple(tasks[i] for i in kept), tuple(gold[i] for i in kept), tuple(answered[i] for i in kept)
        )

    @property
    def clean(self) -> "Pairs":
        """Only the tasks whose annotators had not been shown the language model's answer."""
        return self.of([task.seen != "language model" for task in self.tasks])


def pairs_of(source: Source, head: Head, examined: Sequence[Examined]) -> Pairs:
    """What the source said where people said something too."""
    name = head.from_name
    tasks = tuple(task for task in examined if name in task.gold and source.answers_for(task.task_id, name))
    gold = tuple(task.gold[name] for task in tasks)
    said = [source.answers[task.task_id].spans[name] for task in tasks]
    if head.kind == "spans":
        said = [as_drawn(task.texts[name], true, one) for task, true, one in zip(tasks, gold, said, strict=True)]
    known = set(head.labels)
    return Pairs(head, tasks, gold, tuple(tuple(span for span in one if span.label in known) for one in said))


def good_and_bad(pairs: Pairs) -> tuple[FloatArray, FloatArray]:
    """Of each task, (n_tasks,) each, what the main score is the share of.

    Of spans and several choices, micro F1: twice the right ones, and the wrong with the missed. Of a single choice: 1
    for right, 1 for wrong.
    """
    if pairs.head.kind == "choice":
        right = _wholly_right(pairs)
        return right, 1 - right
    table = _table(pairs).sum(axis=1)
    return 2 * table[:, 0], table[:, 1] + table[:, 2]


def scores(source: Source, head: Head, examined: Sequence[Examined], rng: np.random.Generator) -> HeadScores:
    """The source's scores at a head; all but `seen` on tasks whose annotators had not been shown an answer."""
    every = pairs_of(source, head, examined)
    pairs = every.clean
    table = _table(pairs)
    right, wrong, missed = table.sum(axis=(0, 1))
    whole = _wholly_right(pairs)
    kinds, confused = _mistakes(pairs)
    stated, calibrated = _calibration(pairs, rng)
    return HeadScores(
        head=head.from_name,
        kind=head.kind,
        metric="accuracy" if head.kind == "choice" else "F1",
        tasks=len(pairs.tasks),
        support=int(right + missed),
        score=share(*good_and_bad(pairs), rng=rng),
        precision=_ratio(right, right + wrong),
        recall=_ratio(right, right + missed),
        accuracy=share(whole, 1 - whole, rng=rng),
        macro_f1=_macro(table, rng) if head.kind != "spans" else None,
        per_label=_per_label(head, table, rng),
        mistakes=kinds,
        confusions=tuple((*labels, times) for labels, times in confused.most_common(MOST_CONFUSIONS)),
        nothing_to_find=_emptiness(pairs, rng),
        calibration=stated,
        calibrated=calibrated,
        seen=_slice(every.of([task.seen == "language model" for task in every.tasks]), rng),
        audit=_slice(pairs.of([task.audit for task in pairs.tasks]), rng),
    )


def _table(pairs: Pairs) -> FloatArray:
    """(n_tasks, n_labels, 3): right, wrong and missed."""
    rows = [counts(true, said, pairs.head) for true, said in zip(pairs.gold, pairs.answered, strict=True)]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(pairs.head.labels), 3)


def _wholly_right(pairs: Pairs) -> FloatArray:
    both = zip(pairs.gold, pairs.answered, strict=True)
    return np.array([set(true) == set(said) for true, said in both], dtype=np.float64)


def _macro(table: FloatArray, rng: np.random.Generator) -> Interval | None:
    return share(2 * table[..., 0], table[..., 1] + table[..., 2], rng=rng)


def _per_label(head: Head, table: FloatArray, rng: np.random.Generator) -> tuple[LabelScore, ...]:
    found = []
    for number, label in enumerate(head.labels):
        right, wrong, missed = columns = np.moveaxis(table[:, number], -1, 0)
        total_right, total_wrong, total_missed = (float(column.sum()) for column in columns)
        found.append(
            LabelScore(
                label,
                _ratio(total_right, total_right + total_wrong),
                _ratio(total_right, total_right + total_missed),
                share(2 * right, wrong + missed, rng=rng),
                int(total_right + total_missed),
                int(total_right + total_wrong),
            )
        )
    return tuple(found)


def _mistakes(pairs: Pairs) -> tuple[dict[str, int], Counter[tuple[str, str]]]:
    kinds: Counter[str] = Counter()
    confused: Counter[tuple[str, str]] = Counter()
    for true, said in zip(pairs.gold, pairs.answered, strict=True):
        some, labels = mistakes(true, said)
        kinds += some
        confused += labels
    return {kind: kinds[kind] for kind in KINDS}, confused


def _emptiness(pairs: Pairs, rng: np.random.Generator) -> Emptiness:
    empty = pairs.of([not gold for gold in pairs.gold])
    left = np.array([not said for said in empty.answered], dtype=np.float64)
    return Emptiness(len(empty.tasks), share(left, 1 - left, rng=rng), sum(map(len, empty.answered)))


def _calibration(pairs: Pairs, rng: np.random.Generator) -> tuple[Reliability | None, Reliability | None]:
    """Of the answered spans that have a score, as stated and put right."""
    items = [
        (span.score, span in true, number)
        for number, (true, said) in enumerate(zip(map(set, pairs.gold), pairs.answered, strict=True))
        for span in said
        if span.score is not None
    ]
    if not items:
        return None, None
    stated, right, groups = map(np.array, zip(*items, strict=True))
    better = cross_fitted(stated, right, groups)
    return reliability(stated, right, rng=rng), None if better is None else reliability(better, right, rng=rng)


def _slice(pairs: Pairs, rng: np.random.Generator) -> Slice:
    return Slice(len(pairs.tasks), share(*good_and_bad(pairs), rng=rng))


def _ratio(part: float, whole: float) -> float:
    """0 where undefined."""
    return float(part / whole) if whole else 0.0
