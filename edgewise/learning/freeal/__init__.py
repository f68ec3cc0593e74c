"""FreeAL: a language model labels, a small model learns from it and finds out which labels to believe; the believed
ones are shown to the language model when it is asked again about the doubtful ones. People get what is still in doubt.

Xiao et al. 2023, "FreeAL: Towards Human-Free Active Learning in the Era of Large Language Models" (EMNLP). Other than
in its published code every loss comes from a model that was not taught on the text, what people labelled always wins,
and a new label replaces an old one only if such a model finds it no less likely.
Knows neither provider nor framework: an annotator answers, a learner learns. A state is all that a round needs, so that
a run which was cut off goes on with the last one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgewise.learning.freeal.answers import Answer, equal, half_equal, label_set
from edgewise.learning.freeal.belief import believed
from edgewise.learning.freeal.representatives import IN_ALL, nearest, representatives

__all__ = [
    "Annotator",
    "Answer",
    "Learner",
    "Learnt",
    "Rules",
    "State",
    "begin",
    "equal",
    "half_equal",
    "improve",
    "label_set",
    "lesson",
    "rounds",
    "why_ended",
]

Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

SHOWN = 10  # demonstrations with a question
ITERATIONS = 3
FEW_CHANGES = 0.01  # of the labels: fewer are no new round
WIDTH = 1.96  # standard errors on each side of a 95 % interval


class Annotator(Protocol):
    """Who answers, at a price."""

    def annotate(self, texts: Sequence[int], shown: Sequence[Sequence[tuple[int, Answer]]]) -> list[Answer | None]:
        """What each of these texts is labelled as, shown its demonstrations with their labels, the most similar last.

        None where it failed: it is asked again in the next round."""
        ...


class Learnt(Protocol):
    """What models say of every text that were not taught on it."""

    @property
    def answers(self) -> Sequence[Answer]:
        """Of each text."""
        ...

    @property
    def sure(self) -> Floats:
        """(n,), how likely each answer is, in [0, 1]."""
        ...

    def losses(self, labels: Sequence[Answer | None]) -> Floats:
        """(n,), the negative logarithm of each label's probability, of spans its mean over the words; NaN for None."""
        ...


class Learner(Protocol):
    """Who learns."""

    @property
    def embeddings(self) -> NDArray[np.float32]:
        """(n, dim), a row of length 1 for each text, the same in all rounds: by these texts are alike."""
        ...

    def learn(self, labels: Mapping[int, Answer]) -> Learnt:
        """Taught on these labels by position, cross-fitted."""
        ...


@dataclass(frozen=True)
class State:
    """Where a run stands after so many rounds; round 0 is the annotator's first word.

    labels: of each text, None where there is none yet. clean: (n,), those to believe. sure: (n,), how likely the
    learner finds its own answers; empty before the first round. agrees: (n,), whether those are the labels. agreement:
    share of the labelled texts where learner and annotator agree. changed, asked, failed: texts in the round.
    demonstrations: positions. ended: why there is no further round.
    """

    number: int
    labels: list[Answer | None]
    clean: Mask
    sure: Floats = field(default_factory=lambda: np.zeros(0))
    agrees: Mask = field(default_factory=lambda: np.zeros(0, dtype=bool))
    demonstrations: tuple[int, ...] = ()
    changed: int = 0
    asked: int = 0
    failed: int = 0
    ended: str | None = None

    @property
    def agreement(self) -> float | None:
        """None before the first round."""
        return float(self.agrees.mean()) if len(self.agrees) else None


@dataclass(frozen=True)
class Rules:
    """How rounds are played. class_of: what an answer counts as when classes are kept apart. alike: whether learner and
    annotator agree. filtered: False believes every label and asks about all again; at_random: demonstrations are drawn
    from all labels: the ablations, which show what each part does."""

    class_of: Callable[[Answer], str]
    alike: Callable[[Answer, Answer], bool] = equal
    iterations: int = ITERATIONS
    shown: int = SHOWN
    filtered: bool = True
    at_random: bool = False
    seed: int = 0


def begin(annotator: Annotator, learner: Learner, human: Mapping[int, Answer], rules: Rules) -> State:
    """Round 0: every text that no person labelled is asked about, shown the nearest that people labelled, if any."""
    labels: list[Answer | None] = [human.get(position) for position in range(len(learner.embeddings))]
    by_people = _mask(labels)
    asked, examples = np.flatnonzero(~by_people), np.flatnonzero(by_people)
    near = nearest(learner.embeddings, asked, examples, _classes(labels, rules), count=rules.shown)
    said = _ask(annotator, labels, asked, near)
    for position, answer in said.items():
        labels[position] = answer
    return State(0, labels, by_people, asked=len(said), failed=sum(answer is None for answer in said.values()))


def improve(state: State, annotator: Annotator, learner: Learner, human: Mapping[int, Answer], rules: Rules) -> State:
    """The next round: learn, believe, choose demonstrations, ask again about the doubtful ones."""
    learnt = learner.learn(lesson(state, rules))
    by_people = np.array([position in human for position in range(len(state.labels))], dtype=bool)
    clean = _clean(state, learnt, by_people, rules)
    shown, classes = _demonstrations(state, (learnt.sure, learner.embeddings), (clean, by_people), rules)
    doubtful = np.flatnonzero(~clean & ~by_people if rules.filtered else ~by_people)
    near = nearest(learner.embeddings, doubtful, shown, classes, count=rules.shown)
    said = _ask(annotator, state.labels, doubtful, near)
    labels = accepted(state.labels, said, learnt, rules)
    agrees = _agreeing(labels, learnt, rules)
    clean |= agrees
    return State(
        number=state.number + 1,
        labels=labels,
        clean=clean,
        sure=learnt.sure,
        agrees=agrees | _nothing(labels, learnt),
        demonstrations=tuple(shown.tolist()),
        changed=sum(not _same(a, b) for a, b in zip(state.labels, labels, strict=True)),
        asked=len(said),
        failed=sum(answer is None for answer in said.values()),
    )


def _ask(
    annotator: Annotator, labels: Sequence[Answer | None], texts: Ints, near: Sequence[Sequence[int]]
) -> dict[int, Answer | None]:
    """What the annotator says of these texts, shown those near each with their labels."""
    shown = [[(position, labels[position] or ()) for position in some] for some in near]
    return dict(zip(texts.tolist(), annotator.annotate(texts.tolist(), shown), strict=True))


def _demonstrations(
    state: State, by: tuple[Floats, NDArray[np.float32]], masks: tuple[Mask, Mask], rules: Rules
) -> tuple[Ints, list[str | None]]:
    """Positions of those that may be shown, and the class of each text that could be. by: sure, embeddings."""
    clean, by_people = masks
    trusted = clean if rules.filtered and not rules.at_random else np.ones(len(clean), dtype=bool)
    pairs = zip(_classes(state.labels, rules), trusted, strict=True)
    classes = [name if ok else None for name, ok in pairs]
    if rules.at_random:
        there = np.flatnonzero([name is not None for name in classes])
        rng = np.random.default_rng([rules.seed, state.number])
        return np.sort(rng.permutation(there)[:IN_ALL]), classes
    return representatives(by[1], classes, by[0], human=by_people, seed=rules.seed), classes


def rounds(
    state: State, annotator: Annotator, learner: Learner, human: Mapping[int, Answer], rules: Rules
) -> Iterator[State]:
    """The rounds after this state, until nothing improves beyond its interval; the last one says why it ended."""
    while state.ended is None:
        if _tell_nothing(state.labels, rules):
            yield _ended(state, "The annotator gives the same answer everywhere, or none: there is nothing to learn.")
            return
        before, state = state, improve(state, annotator, learner, human, rules)
        state = _ended(state, why_ended(before, state, rules))
        yield state


def _tell_nothing(labels: Sequence[Answer | None], rules: Rules) -> bool:
    """Whether all labels are the same. Spans of one kind everywhere are not: they tell where such are."""
    there = [label for label in labels if label is not None]
    inside = any(span.start for label in there for span in label)  # a choice is on the whole text
    return len({rules.class_of(label) for label in there}) < 2 and not inside


def why_ended(before: State, now: State, rules: Rules) -> str | None:
    """Why there is no further round, None if there is one."""
    if now.changed < FEW_CHANGES * len(now.labels):
        return f"{now.changed} labels changed: fewer than {FEW_CHANGES:.0%}."
    if now.number >= rules.iterations:
        return f"{now.number} rounds, as many as were asked for."
    if len(before.agrees):
        difference = now.agrees.astype(float) - before.agrees.astype(float)
        error = WIDTH * float(difference.std()) / max(1, len(difference)) ** 0.5
        if difference.mean() <= error:
            return f"Agreement moved by {difference.mean():+.1%}: not beyond its interval (± {error:.1%})."
    return None


def lesson(state: State, rules: Rules) -> dict[int, Answer]:
    """What the learner is taught: all labels in the first round, later the believed ones if there are any."""
    everything = {position: label for position, label in enumerate(state.labels) if label is not None}
    if state.number == 0 or not rules.filtered:
        return everything
    return {position: label for position, label in everything.items() if state.clean[position]} or everything


def accepted(
    labels: Sequence[Answer | None], said: Mapping[int, Answer | None], learnt: Learnt, rules: Rules
) -> list[Answer | None]:
    """The labels after being asked again: a new one replaces the old one if the learner finds it no less likely."""
    new: list[Answer | None] = list(labels)
    for position, answer in said.items():
        new[position] = answer if answer is not None else new[position]
    before, after = learnt.losses(list(labels)), learnt.losses(new)
    if not rules.filtered:
        return new
    worse = after > before  # False where there was none before
    return [old if bad else one for old, one, bad in zip(labels, new, worse, strict=True)]


def _clean(state: State, learnt: Learnt, by_people: Mask, rules: Rules) -> Mask:
    """Labels to believe: of small loss, and the learner says the same; those of people always."""
    if not rules.filtered:
        return _mask(state.labels)
    losses = learnt.losses(state.labels)
    losses[by_people] = np.nan
    small = believed(losses, _classes(state.labels, rules), seed=rules.seed)
    agrees = _agreeing(state.labels, learnt, rules)
    if not _shy(state.labels, learnt):
        agrees |= _nothing(state.labels, learnt)
    return np.asarray((small & agrees) | by_people)


def _shy(labels: Sequence[Answer | None], learnt: Learnt) -> bool:
    """Whether the learner finds something in fewer texts than are labelled with something, as who has learnt little
    does: that it finds nothing tells nothing then."""
    there = _mask(labels)
    found = np.array([bool(answer) for answer in learnt.answers], dtype=bool)
    return int(found[there].sum()) < sum(bool(label) for label in labels)


def _agreeing(labels: Sequence[Answer | None], learnt: Learnt, rules: Rules) -> Mask:
    """Where there is a label, and the learner says the same."""
    pairs = zip(labels, learnt.answers, strict=True)
    return np.array([label is not None and rules.alike(label, answer) for label, answer in pairs], dtype=bool)


def _nothing(labels: Sequence[Answer | None], learnt: Learnt) -> Mask:
    """Where there is nothing to label, and the learner finds nothing."""
    return np.array([label == () == answer for label, answer in zip(labels, learnt.answers, strict=True)], dtype=bool)


def _mask(labels: Sequence[Answer | None]) -> Mask:
    """Which texts have a label."""
    return np.array([label is not None for label in labels], dtype=bool)


def _classes(labels: Sequence[Answer | None], rules: Rules) -> list[str | None]:
    return [None if label is None else rules.class_of(label) for label in labels]


def _same(one: Answer | None, other: Answer | None) -> bool:
    return one is other or (one is not None and other is not None and equal(one, other))


def _ended(state: State, why: str | None) -> State:
    return replace(state, ended=why)
