"""Which labelled texts a language model is shown: similar, hard ones first, all labels, and one that has none."""

import time

from hypothesis import given, settings
from hypothesis import strategies as st

from edgewise.learning.demonstrations import Pool

TEXTS = [
    "When will my new card arrive by post?", "Has my card been sent by post yet?", "My card has not arrived by post.",
    "I was charged twice for one payment.", "Why is there a fee on my payment?", "The weather is fine today.",
    "Exchange rates are wrong for my payment abroad.", "How do I change my PIN?",
]  # fmt: skip
LABELS = [{"card"}, {"card"}, {"card"}, {"fee"}, {"fee"}, set[str](), {"rate", "fee"}, {"pin"}]
RIGHT = [False] * len(TEXTS)


def test_the_most_similar_are_chosen_and_stand_last() -> None:
    chosen = Pool(TEXTS[:3], [{"card"}] * 3, RIGHT[:3]).choose("Was my card sent by post?", 2)
    assert chosen[-1] == 1
    assert len(chosen) == 2


def test_what_a_model_got_wrong_is_preferred_among_the_similar() -> None:
    texts, labels = TEXTS[:3], [{"card"}] * 3
    query = "Was my card sent by post?"
    assert Pool(texts, labels, RIGHT[:3]).choose(query, 1) == [1]
    assert Pool(texts, labels, [True, False, False]).choose(query, 1) == [0]


def test_every_label_is_covered_and_one_text_has_nothing_to_label() -> None:
    pool = Pool(TEXTS, LABELS, RIGHT)
    for count, covered in ((4, {"card", "fee", "rate", "pin"}), (5, {"card", "fee", "rate", "pin"})):
        chosen = pool.choose("Was my card sent by post?", count)
        assert set[str]().union(*(LABELS[i] for i in chosen)) == covered
        assert 5 in chosen
        assert chosen[-1] == 1
    assert pool.choose("Was my card sent by post?", 2) == [5, 1]
    assert pool.choose("Was my card sent by post?", 1) == [1]


def test_neither_the_text_itself_nor_a_near_copy_is_shown() -> None:
    pool = Pool([*TEXTS, "a", "b"], [*LABELS, set(), set()], [*RIGHT, False, False])
    for query in (TEXTS[0], TEXTS[0].upper(), f"  {TEXTS[0]}\n"):
        chosen = pool.choose(query, 99)
        assert 0 not in chosen
        assert len(chosen) == 9
    assert 8 not in pool.choose("A", 99)  # too short for a run of characters
    long = " ".join(TEXTS)
    assert Pool([long, "It rained."], [{"card"}, set()], [False] * 2).choose(long.replace("twice", "often"), 9) == [1]


def test_a_longer_text_is_no_near_copy_of_a_part_of_it() -> None:
    pool = Pool(["Ada met Bob", "It rained."], [{"PER"}, set()], [False, False])
    assert 0 in pool.choose("Ada met Bob " + "while quite other things went on elsewhere in Zürich, Xanten, Ypern", 2)


def test_near_copies_of_each_other_are_not_shown_together() -> None:
    texts = [TEXTS[0], f"{TEXTS[0]} ", TEXTS[0].upper(), TEXTS[1]]
    chosen = Pool(texts, [{"card"}] * 4, [False] * 4).choose("Was my card sent by post?", 4)
    assert sorted(chosen) == [0, 3]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.text(max_size=20), st.sets(st.sampled_from("ABC")), st.booleans()), max_size=12),
    st.text(max_size=20),
    st.integers(0, 15),
)
def test_whatever_the_pool_the_choice_is_unique_bounded_and_repeatable(
    rows: list[tuple[str, set[str], bool]], query: str, count: int
) -> None:
    texts, labels, wrong = [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]
    chosen = Pool(texts, labels, wrong).choose(query, count)
    assert len(set(chosen)) == len(chosen) <= count
    assert query not in {texts[i] for i in chosen}
    assert chosen == Pool(texts, labels, wrong).choose(query, count)


def test_a_choice_among_5000_texts_takes_milliseconds() -> None:
    words = [f"w{i * 7919 % 997}" for i in range(30_000)]
    texts = [" ".join(words[i : i + 25]) for i in range(5_000)]
    pool = Pool(texts, [{f"label {i % 70}"} for i in range(5_000)], [i % 9 == 0 for i in range(5_000)])
    pool.choose(texts[0], 8)
    began = time.process_time()
    for i in range(20):
        assert len(pool.choose(texts[i] + " and more", 8)) == 8
    each_s = (time.process_time() - began) / 20
    assert each_s < 0.03, f"{1000 * each_s:.0f} ms"
