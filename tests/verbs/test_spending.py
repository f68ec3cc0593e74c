"""A budget that outlives its process: what it says it has spent is never less than what may have been."""

import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.services.llm import BudgetSpent, Usage
from edgewise.settings import Settings
from edgewise.verbs.spending import NOTHING, WrittenBudget, in_words, paid

CENTS = st.integers(1, 20)


class Book:
    """What was written down, line by line."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = [dict(NOTHING)]

    def budget(self, **limits: Any) -> WrittenBudget:
        """The budget of a process that starts now."""
        return WrittenBudget(Settings(**limits), self.lines[-1], self.lines.append)


@given(st.lists(st.tuples(CENTS, CENTS, st.booleans()), max_size=40), CENTS)
def test_over_any_number_of_killed_processes_it_is_never_overrun(
    calls: list[tuple[int, int, bool]], budget_cents: int
) -> None:
    book = Book()
    limit = Decimal(budget_cents * 5) / 100
    budget, truth = book.budget(llm_budget_usd=limit), Decimal(0)
    for worst, real, dies in calls:
        try:
            reservation = budget.reserve(Decimal(worst) / 100)
        except BudgetSpent:
            continue
        truth += Decimal(min(worst, real)) / 100  # the vendor bills it, whatever becomes of us
        if dies:
            budget = book.budget(llm_budget_usd=limit)
        else:
            budget.settle(reservation, Decimal(min(worst, real)) / 100, Usage(1, 1))
        known = paid(book.lines[-1])
        assert known is not None
        assert truth <= known <= limit


def test_it_is_written_down_before_a_call_is_sent_and_after_it() -> None:
    book = Book()
    budget = book.budget()
    reservation = budget.reserve(Decimal("0.5"))
    assert (book.lines[-1]["calls"], book.lines[-1]["held_usd"], book.lines[-1]["usd"]) == (1, "0.5", "0")
    budget.settle(reservation, Decimal("0.2"), Usage(7, 3))
    assert book.lines[-1] == {"usd": "0.2", "held_usd": "0.0", "calls": 1, "input_tokens": 7, "output_tokens": 3}
    assert book.lines[-1] == budget.total()


def test_calls_count_over_processes() -> None:
    book = Book()
    book.budget(llm_budget_calls=3).reserve(None)
    budget = book.budget(llm_budget_calls=3)
    budget.reserve(None)
    budget.reserve(None)
    with pytest.raises(BudgetSpent):
        budget.reserve(None)


def test_an_unknown_price_stays_unknown() -> None:
    book = Book()
    budget = book.budget()
    budget.settle(budget.reserve(None), None, Usage(1, 1))
    assert book.lines[-1]["usd"] is None
    other = book.budget()
    other.settle(other.reserve(Decimal(1)), Decimal(1), Usage(1, 1))
    assert book.lines[-1]["usd"] is None
    assert in_words(book.lines[-1]) == "2 calls, unknown dollars"


def test_with_sixteen_calls_in_flight_the_last_line_is_the_truth() -> None:
    book = Book()
    budget = book.budget(llm_budget_usd=Decimal(1))
    gate = threading.Barrier(16)
    sent: list[int] = []

    def call(number: int) -> None:
        if number < 16:
            gate.wait(10)
        try:
            reservation = budget.reserve(Decimal("0.03"))
        except BudgetSpent:
            return
        sent.append(number)
        budget.settle(reservation, Decimal("0.02"), Usage(1, 1))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(call, range(200)))
    assert book.lines[-1]["calls"] == len(sent)
    assert Decimal(book.lines[-1]["usd"]) == Decimal("0.02") * len(sent) <= 1
    assert all((paid(line) or 0) <= 1 for line in book.lines)
    assert [line["calls"] for line in book.lines] == sorted(line["calls"] for line in book.lines)
