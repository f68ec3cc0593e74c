"""Spans: a learner on words whose truth is known, and rounds with an annotator that marks what it is shown."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from edgewise.labels.schema import Head
from edgewise.labels.spans import Span
from edgewise.labels.windows import words
from edgewise.learning.baseline import PACKAGED
from edgewise.learning.evaluation import evaluate
from edgewise.learning.freeal import Answer, State, begin, equal, half_equal, label_set, rounds
from edgewise.learning.freeal.learners import learner_for, rules_for
from edgewise.learning.freeal.reading import Words, load_reader
from edgewise.learning.freeal.span_student import SpanOpinion, SpanStudent, tags_in

NAMES = {"CITY": ("oslo", "rome", "lima", "bern"), "FOOD": ("rice", "soup", "cake", "figs")}
FILLING = ("we", "went", "to", "see", "eat", "and", "then", "home")
HEAD = Head("span", "text", "text", tuple(NAMES), kind="spans")


@dataclass
class World:
    """Texts of six words, two of them names at random. A word's features tell its kind, with noise."""

    count: int = 160
    seed: int = 0
    empty: int = 0  # so many more texts without a name
    texts: list[str] = field(init=False)
    gold: list[Answer] = field(init=False)
    words: Words = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        kinds = [*("CITY", "FOOD"), ""]
        middles = dict(zip(kinds, rng.normal(size=(3, 24)), strict=True))
        self.texts, self.gold, features = [], [], []
        for number in range(self.count + self.empty):
            chosen = [str(rng.choice(FILLING)) for _ in range(6)]
            for place in rng.permutation(6)[: 2 if number < self.count else 0]:
                chosen[place] = str(rng.choice(NAMES[str(rng.choice(list(NAMES)))]))
            self.texts.append(" ".join(chosen))
            self.gold.append(tuple(marked(self.texts[-1])))
            of_words = [next((kind for kind, some in NAMES.items() if word in some), "") for word in chosen]
            features += [middles[kind] + rng.normal(0, 0.7, 24) for kind in of_words]
        self.words = words_of(self.texts, np.array(features, dtype=np.float32))

    def f1(self, state: State) -> float:
        return evaluate(self.texts, self.gold, [label or () for label in state.labels], HEAD).overall.f1

    def student(self) -> SpanStudent:
        return SpanStudent(self.texts, self.words, HEAD.labels, seed=self.seed)


def marked(text: str, known: Sequence[str] = tuple(NAMES["CITY"] + NAMES["FOOD"])) -> list[Span]:
    kinds = {word: kind for kind, some in NAMES.items() for word in some}
    places = ((int(start), int(end)) for start, end in words(text))
    return [Span(start, end, kinds[text[start:end]]) for start, end in places if text[start:end] in known]


def words_of(texts: Sequence[str], features: NDArray[np.float32]) -> Words:
    found = [words(text) for text in texts]
    offsets = np.cumsum([0, *(len(one) for one in found)])
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(len(texts), 8))
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    return Words(np.concatenate(found), offsets, features, embeddings.astype(np.float32))


@dataclass
class Marker:
    """Knows all of some texts; of others it marks the strings that are marked in what it is shown, or one at random."""

    world: World
    knows: float

    def annotate(self, texts: Sequence[int], shown: Sequence[Sequence[tuple[int, Answer]]]) -> list[Answer | None]:
        return [self._one(position, some) for position, some in zip(texts, shown, strict=True)]

    def _one(self, position: int, shown: Sequence[tuple[int, Answer]]) -> Answer:
        world = self.world
        rng = np.random.default_rng([world.seed, position])
        if rng.random() < self.knows:
            return world.gold[position]
        if not shown:
            start, end = words(world.texts[position])[rng.integers(6)].tolist()
            return (Span(start, end, str(rng.choice(list(NAMES)))),)
        strings = [world.texts[i][span.start : span.end] for i, label in shown for span in label]
        return tuple(marked(world.texts[position], strings))


def play(world: World, knows: float) -> list[State]:
    rules = rules_for(HEAD, iterations=3, shown=10)
    annotator, student = Marker(world, knows), world.student()
    first = begin(annotator, student, {}, rules)
    return [first, *rounds(first, annotator, student, {}, rules)]


def test_a_student_finds_the_spans_of_texts_that_it_was_not_taught_on() -> None:
    world = World()
    said = world.student().learn(dict(enumerate(world.gold)))
    assert evaluate(world.texts, world.gold, said.answers, HEAD).overall.f1 > 0.9
    assert ((said.sure > 0) & (said.sure <= 1)).all()


def test_what_a_text_is_labelled_as_does_not_change_what_is_said_of_it() -> None:
    world = World()
    labels: dict[int, Answer] = dict(enumerate(world.gold))
    said = world.student().learn(labels)
    other = world.student().learn(labels | {7: ()})
    np.testing.assert_array_equal(said.shares[world.words.of_text == 7], other.shares[world.words.of_text == 7])


def test_a_loss_is_the_mean_over_the_words() -> None:
    given = words_of(["oslo rice", "home"], np.zeros((3, 2), dtype=np.float32))
    shares = np.array([[0.1, 0.9, 0, 0, 0], [0.5, 0, 0, 0.25, 0.25], [1, 0, 0, 0, 0]])
    said = SpanOpinion(given, HEAD.labels, shares)
    label = (Span(0, 4, "CITY"), Span(5, 9, "FOOD"))
    losses = said.losses([label, ()])
    assert losses.tolist() == pytest.approx([-(np.log(0.9) + np.log(0.25)) / 2, 0])
    assert np.isnan(said.losses([None, ()])[0])
    assert said.sure.tolist() == pytest.approx([(0.9 * 0.5) ** 0.5, 1])
    assert said.answers == [(Span(0, 4, "CITY"),), ()]


def test_labels_with_mistakes_have_the_larger_losses() -> None:
    world = World()
    places = {i: words(world.texts[i])[i % 6].tolist() for i in range(0, 160, 3)}
    wrong = {i: (Span(start, end, "CITY"),) for i, (start, end) in places.items()}
    labels = [wrong.get(i, gold) for i, gold in enumerate(world.gold)]
    losses = world.student().learn(dict(enumerate(labels))).losses(labels)
    bad = np.isin(np.arange(160), list(wrong))
    assert np.median(losses[bad]) > 2 * np.median(losses[~bad])


def test_half_of_the_spans_are_agreement_and_two_times_nothing_is_none() -> None:
    one, two, three = Span(0, 4, "CITY"), Span(5, 9, "FOOD"), Span(5, 9, "CITY")
    assert half_equal((one, two), (one, three))
    assert not half_equal((one, two), (three,))
    assert not half_equal((), ())
    assert not half_equal((one,), ())
    assert equal((), ())
    assert not equal((one, two), (one,))
    assert label_set((two, one, three)) == "CITY+FOOD"


def test_labels_get_better_from_round_to_round_and_the_believed_ones_are_right() -> None:
    world = World()
    states = play(world, knows=0.5)
    assert world.f1(states[-1]) > world.f1(states[0]) + 0.2
    right = np.array([equal(label or (), gold) for label, gold in zip(states[-1].labels, world.gold, strict=True)])
    clean = states[-1].clean
    assert right[clean].mean() > 0.85
    assert clean[right].mean() > 0.7


def test_texts_with_nothing_to_mark_are_believed_once_the_learner_is_not_shy() -> None:
    world = World(empty=60)
    labels: list[Answer | None] = list(world.gold)
    states = play(world, knows=1.0)
    assert states[-1].labels == labels
    assert states[-1].clean[world.count :].mean() > 0.8


def test_that_a_shy_learner_finds_nothing_is_no_reason_to_believe_a_label_that_says_so() -> None:
    world = World()

    class Silent(Marker):
        def _one(self, position: int, shown: Sequence[tuple[int, Answer]]) -> Answer:
            return () if position % 3 else world.gold[position]

    annotator, student, rules = Silent(world, 0), world.student(), rules_for(HEAD, iterations=1, shown=10)
    first = begin(annotator, student, {}, rules)
    (state,) = rounds(first, annotator, student, {}, rules)
    empty = np.array([label == () for label in state.labels])
    assert not state.clean[empty].any()


def test_spans_of_one_kind_everywhere_are_something_to_learn() -> None:
    world = World()
    world.gold = [tuple(span for span in gold if span.label == "CITY") or gold for gold in world.gold]
    only = [i for i, gold in enumerate(world.gold) if label_set(gold) == "CITY"]
    rules = rules_for(HEAD, iterations=1, shown=10)
    state = State(0, [gold if i in only else None for i, gold in enumerate(world.gold)], np.zeros(160, dtype=bool))
    (played,) = rounds(state, Marker(world, 1.0), world.student(), {}, rules)
    assert played.number == 1


@pytest.fixture(scope="module")
def read() -> tuple[list[str], Words]:
    texts = ["Oslo is in Norway.", "", "Anna Blum lives in Rome, not in Lima. " * 20]
    return texts, load_reader(PACKAGED, max_length=64).read(texts)


def test_every_word_of_every_text_is_read_however_long_it_is(read: tuple[list[str], Words]) -> None:
    texts, found = read
    assert np.diff(found.offsets).tolist() == [len(words(text)) for text in texts]
    np.testing.assert_array_equal(found.places, np.concatenate([words(text) for text in texts]))
    assert (np.linalg.norm(found.features, axis=1) > 0).all()
    lengths = np.linalg.norm(found.embeddings, axis=1)
    np.testing.assert_allclose(lengths, [1, 0, 1], atol=1e-5)


def test_texts_are_read_alike_alone_and_together(read: tuple[list[str], Words]) -> None:
    texts, found = read
    alone = load_reader(PACKAGED, max_length=64).read(texts[:1])
    np.testing.assert_allclose(found.features[: found.offsets[1]], alone.features, atol=1e-4)
    assert tags_in([(Span(0, 4, "CITY"),)], alone, HEAD.labels).tolist() == [1, 0, 0, 0, 0]


def test_learners_fit_their_heads() -> None:
    texts = ["one text", "and another"]
    assert isinstance(learner_for(HEAD, texts, PACKAGED, max_length=32), SpanStudent)
    choice = learner_for(Head("c", "text", "text", ("a", "b"), kind="choice"), texts, PACKAGED, max_length=32)
    assert choice.embeddings.shape == (2, 384)
