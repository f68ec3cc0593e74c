"""Rounds between an annotator that reads its demonstrations and a learner that reads the labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgewise.labels.schema import Head
from edgewise.labels.spans import on_whole
from edgewise.learning.freeal import Answer, Rules, State, begin, improve, lesson, rounds
from edgewise.learning.freeal.student import Student

LABELS = tuple("abcd")
HEAD = Head("intent", "text", "text", LABELS, kind="choice")


def class_of(answer: Answer | None) -> str:
    return answer[0].label if answer else ""


@dataclass
class World:
    """Points in four clouds: the cloud is the true label. Texts only have a name."""

    each: int = 60
    seed: int = 0
    texts: list[str] = field(init=False)
    gold: list[str] = field(init=False)
    points: NDArray[np.float32] = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        middles = rng.normal(size=(len(LABELS), 16))
        points = np.concatenate([middle + rng.normal(0, 0.45, (self.each, 16)) for middle in middles])
        self.points = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
        self.gold = [label for label in LABELS for _ in range(self.each)]
        self.texts = [f"text {i}" for i in range(len(self.gold))]

    def answer(self, position: int, label: str) -> Answer:
        return (on_whole(self.texts[position], label),)

    def right(self, state: State) -> float:
        return float(np.mean([class_of(one) == true for one, true in zip(state.labels, self.gold, strict=True)]))

    def learner(self) -> Student:
        return Student(self.texts, self.points, HEAD, seed=self.seed)


@dataclass
class Neighbour:
    """Knows some labels by itself; else it says what the nearest of its demonstrations is labelled as, or guesses."""

    world: World
    knows: float
    fails: float = 0.0
    asked: list[int] = field(default_factory=list)

    def annotate(self, texts: Sequence[int], shown: Sequence[Sequence[tuple[int, Answer]]]) -> list[Answer | None]:
        self.asked += texts
        return [self._one(position, some) for position, some in zip(texts, shown, strict=True)]

    def _one(self, position: int, shown: Sequence[tuple[int, Answer]]) -> Answer | None:
        rng = np.random.default_rng([self.world.seed, position])
        if np.random.default_rng([position, len(self.asked)]).random() < self.fails:
            return None
        if rng.random() < self.knows:
            return self.world.answer(position, self.world.gold[position])
        if shown:
            points = self.world.points
            best = max(shown, key=lambda one: float(points[position] @ points[one[0]]))
            return self.world.answer(position, best[1][0].label)
        return self.world.answer(position, str(rng.choice(LABELS)))


RULES = Rules(class_of=class_of)


def play(
    world: World, annotator: Neighbour, human: Mapping[int, Answer] | None = None, rules: Rules = RULES
) -> list[State]:
    learner = world.learner()
    first = begin(annotator, learner, human or {}, rules)
    return [first, *rounds(first, annotator, learner, human or {}, rules)]


def test_labels_get_better_from_round_to_round() -> None:
    world = World()
    states = play(world, Neighbour(world, knows=0.5))
    assert world.right(states[-1]) > world.right(states[0]) + 0.2
    assert states[-1].ended


def test_the_wrong_labels_are_the_ones_that_are_asked_about_again() -> None:
    world = World()
    annotator = Neighbour(world, knows=0.6)
    first = begin(annotator, world.learner(), {}, RULES)
    wrong = {i for i, (said, true) in enumerate(zip(first.labels, world.gold, strict=True)) if class_of(said) != true}
    annotator.asked.clear()
    improve(first, annotator, world.learner(), {}, RULES)
    again = set(annotator.asked)
    assert len(wrong & again) > 0.9 * len(wrong)
    believed = set(range(len(world.texts))) - again
    assert len(believed - wrong) > 0.95 * len(believed)


def test_what_people_labelled_is_never_asked_about_and_never_changes() -> None:
    world = World()
    odd = {0: world.answer(0, "d"), 70: world.answer(70, "a")}  # whatever the models think of it
    annotator = Neighbour(world, knows=0.7)
    states = play(world, annotator, odd)
    assert not set(annotator.asked) & set(odd)
    for state in states:
        assert all(state.labels[position] == answer for position, answer in odd.items())
        assert state.clean[list(odd)].all()
    assert set(odd) <= set(states[-1].demonstrations)


def test_in_round_0_each_text_is_shown_its_nearest_that_people_labelled() -> None:
    world = World()
    seen: dict[int, list[int]] = {}

    class Watched(Neighbour):
        def annotate(self, texts: Sequence[int], shown: Sequence[Sequence[tuple[int, Answer]]]) -> list[Answer | None]:
            seen.update({text: [i for i, _ in some] for text, some in zip(texts, shown, strict=True)})
            assert all(label == human[i] for some in shown for i, label in some)
            return super().annotate(texts, shown)

    human = {i: world.answer(i, world.gold[i]) for i in range(0, len(world.texts), 5)}
    state = begin(Watched(world, knows=0.0), world.learner(), human, Rules(class_of=class_of, shown=2))
    assert set(seen) == set(range(len(world.texts))) - set(human)
    for text, some in seen.items():
        by_likeness = sorted(human, key=lambda i: float(world.points[text] @ world.points[i]))
        assert some == by_likeness[-2:], "the most similar last"
    assert world.right(state) > 0.95, "who copies the nearest label is right in clouds"


def test_classes_that_nobody_labelled_are_shown_beside_those_that_people_did() -> None:
    world = World()
    human = {i: world.answer(i, world.gold[i]) for i in range(0, 120, 3)}  # of two classes of four
    states = play(world, Neighbour(world, knows=0.6), human)
    for state in states[1:]:
        shown = set(state.demonstrations)
        assert set(human) <= shown
        assert {world.gold[i] for i in shown - set(human)} >= {"c", "d"}
    assert world.right(states[-1]) > 0.95


def test_with_nothing_believed_all_labels_are_taught() -> None:
    world = World(each=3)
    labels = [world.answer(i, label) for i, label in enumerate(world.gold)]
    state = State(1, list(labels), np.zeros(12, dtype=bool))
    assert lesson(state, RULES) == dict(enumerate(labels))


def test_an_annotator_that_fails_half_its_calls_is_asked_again() -> None:
    world = World()
    states = play(world, Neighbour(world, knows=0.7, fails=0.5))
    assert states[0].failed > 80
    missing = [sum(label is None for label in state.labels) for state in states]
    assert missing == sorted(missing, reverse=True)
    assert missing[-1] < missing[0] / 3
    assert world.right(states[-1]) > world.right(states[0]) + 0.3


def test_an_annotator_that_always_answers_the_same_ends_it() -> None:
    world = World()

    class Stubborn(Neighbour):
        def _one(self, position: int, shown: Sequence[tuple[int, Answer]]) -> Answer | None:
            return world.answer(position, "a")

    states = play(world, Stubborn(world, knows=0))
    assert "same answer" in (states[-1].ended or "")
    assert not states[-1].clean.any()


def test_an_annotator_that_is_right_is_not_made_worse_and_hardly_asked_again() -> None:
    world = World()
    annotator = Neighbour(world, knows=1.0)
    states = play(world, annotator)
    assert world.right(states[-1]) == 1.0
    assert len(states) == 2
    assert states[-1].asked < 0.3 * len(world.texts)


def test_a_run_that_was_cut_off_goes_on_as_if_it_had_not_been() -> None:
    world = World()
    whole = play(world, Neighbour(world, knows=0.5))
    again = improve(whole[1], Neighbour(world, knows=0.5), world.learner(), {}, RULES)
    assert (again.labels, again.demonstrations) == (whole[2].labels, whole[2].demonstrations)


def test_without_filtering_it_learns_from_the_mistakes_too() -> None:
    world = World()
    ours = play(world, Neighbour(world, knows=0.5))
    theirs = play(world, Neighbour(world, knows=0.5), rules=Rules(class_of=class_of, filtered=False))
    assert world.right(ours[-1]) > world.right(theirs[-1])
