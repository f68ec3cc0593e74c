"""Which texts stand for their class, and which of them are shown."""

import numpy as np
from numpy.typing import NDArray

from edgewise.learning.freeal.representatives import IN_ALL, OF_A_CLASS, nearest, representatives

RNG = np.random.default_rng(0)


def around(*middles: tuple[float, float], each: int = 30) -> NDArray[np.float32]:
    """Points around some middles, of length 1."""
    points = np.concatenate([RNG.normal(middle, 0.05, (each, 2)) for middle in middles])
    return np.asarray(points / np.linalg.norm(points, axis=1, keepdims=True), dtype=np.float32)


def test_every_class_has_one_and_all_clusters_are_there() -> None:
    points = around((1, 0), (0, 1), (-1, 0))
    classes = ["a"] * 60 + ["b"] * 30
    found = representatives(points, classes, np.ones(90), human=np.zeros(90, dtype=bool))
    assert {classes[i] for i in found} == {"a", "b"}
    assert any(i < 30 for i in found)
    assert any(30 <= i < 60 for i in found)
    assert len(found) <= IN_ALL


def test_the_unsure_and_the_doubted_do_not_stand_for_anything() -> None:
    classes = ["a"] * 400 + [None] * 100
    sure = np.concatenate([np.full(300, 0.9), np.full(200, 0.3)])
    points = RNG.normal(size=(500, 4)).astype(np.float32)
    found = representatives(points, classes, sure, human=np.zeros(500, dtype=bool))
    assert len(found)
    assert found.max() < 300


def test_a_class_with_one_member_is_its_own_representative() -> None:
    classes = [*["a"] * 20, "rare"]
    found = representatives(RNG.normal(size=(21, 3)), classes, np.ones(21), human=np.zeros(21, dtype=bool))
    assert 20 in found


def test_seventy_seven_classes_have_one_each() -> None:
    classes = [f"intent {i % 77}" for i in range(770)]
    points = RNG.normal(size=(770, 8))
    found = representatives(points, classes, RNG.uniform(size=770), human=np.zeros(770, dtype=bool))
    assert len({classes[i] for i in found}) == 77


def test_what_people_labelled_comes_first_however_unsure_the_model_is() -> None:
    human = np.zeros(200, dtype=bool)
    human[150:155] = True
    sure = np.where(human, 0.01, 0.99)
    found = representatives(RNG.normal(size=(200, 4)), ["a"] * 200, sure, human=human)
    assert set(range(150, 155)) <= set(found.tolist())


def test_copies_of_one_text_are_one_cluster() -> None:
    found = representatives(np.ones((300, 3)), ["a"] * 300, np.ones(300), human=np.zeros(300, dtype=bool))
    assert len(found) == 1


def test_the_nearest_are_shown_and_the_most_similar_is_last() -> None:
    points = around((1, 0), (0, 1), each=10)
    classes = ["a"] * 5 + ["b"] * 5 + ["c"] * 10
    (shown,) = nearest(points, np.array([0]), np.arange(20), classes, count=8)
    assert 0 not in shown
    assert len(shown) == 8
    similar = [float(points[0] @ points[i]) for i in shown]
    assert similar == sorted(similar)
    assert max(sum(classes[i] == name for i in shown) for name in "abc") <= OF_A_CLASS


def test_with_nothing_to_show_nothing_is_shown() -> None:
    assert nearest(np.ones((3, 2)), np.array([0, 1]), np.array([], dtype=np.int64), [None] * 3, count=5) == [[], []]
