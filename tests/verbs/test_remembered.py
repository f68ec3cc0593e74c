"""What was computed once is not computed again, until its stamp changes."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from edgewise.verbs.remembered import Remembered


def test_a_value_is_made_once_for_each_name_and_anew_under_another_stamp() -> None:
    remembered, made = Remembered(), []

    def make(value: int) -> int:
        made.append(value)
        return value

    assert [remembered.once("a", "today", lambda: make(1)) for _ in range(3)] == [1, 1, 1]
    assert remembered.once("b", "today", lambda: make(2)) == 2
    assert remembered.once("a", "tomorrow", lambda: make(3)) == 3
    assert remembered.once("a", "today", lambda: make(4)) == 4, "only the last one is kept"
    assert made == [1, 2, 3, 4]


def test_nothing_is_remembered_of_what_failed() -> None:
    remembered = Remembered()
    with pytest.raises(ZeroDivisionError):
        remembered.once("a", None, lambda: 1 // 0)
    assert remembered.once("a", None, lambda: 2) == 2


def test_who_asks_for_what_another_thread_is_making_gets_the_same() -> None:
    remembered = Remembered()

    def make() -> object:
        time.sleep(0.05)
        return object()

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: remembered.once("a", None, make), range(4)))
    assert len(set(map(id, found))) == 1
