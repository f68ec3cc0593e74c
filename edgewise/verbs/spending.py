"""What a run of a language model has spent, written down before and after every call: a killed run forgets nothing.

Money that is set aside for a call without an answer counts as spent when another process takes the run up: it may have
been. So a budget holds over any number of processes.
"""

import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from edgewise.services.llm import Budget, Spend, Usage
from edgewise.services.llm.budget import Reservation
from edgewise.settings import Settings

Json = dict[str, Any]

NOTHING: Json = {"usd": "0", "held_usd": "0", "calls": 0, "input_tokens": 0, "output_tokens": 0}


class WrittenBudget(Budget):
    """What a run may still spend; each change of what it has spent goes to `write`, in order."""

    def __init__(self, settings: Settings, before: Json, write: Callable[[Json], None]) -> None:
        """before: what earlier processes spent, as `write` got it last. What was unknown cannot be subtracted from a
        budget in dollars: then the calls must limit it."""
        usd, calls = settings.llm_budget_usd, settings.llm_budget_calls
        super().__init__(
            usd=None if usd is None else max(Decimal(0), usd - (paid(before) or 0)),
            calls=None if calls is None else max(0, calls - before["calls"]),
        )
        self._before, self._write = before, write
        self._writing = threading.Lock()

    def reserve(self, worst_usd: Decimal | None) -> Reservation:
        """See Budget. It is written down when this returns, and only then may the call be sent."""
        reservation = super().reserve(worst_usd)
        self._write_down()
        return reservation

    def settle(self, reservation: Reservation, cost_usd: Decimal | None, usage: Usage | None) -> None:
        """See Budget."""
        super().settle(reservation, cost_usd, usage)
        self._write_down()

    def total(self) -> Json:
        """What the run has spent in all processes."""
        with self._changed:
            return total(self._before, self.spend(), self._held)

    def _write_down(self) -> None:
        with self._writing:
            self._write(self.total())


def paid(spent: Json) -> Decimal | None:
    """Dollars that are gone, those that may be included; None if unknown."""
    return None if spent["usd"] is None else Decimal(spent["usd"]) + Decimal(spent["held_usd"])


def total(before: Json, spend: Spend, held: Decimal) -> Json:
    """What a run has spent in all; dollars are None, unknown, as soon as any of it is."""
    known = paid(before)
    usd = None if spend.usd is None or known is None else str(known + spend.usd)
    counts = {name: before[name] + getattr(spend, name) for name in ("calls", "input_tokens", "output_tokens")}
    return {"usd": usd, "held_usd": str(held), **counts}


def between(before: Json, after: Json) -> Json:
    """What was spent from one moment to another; dollars are None, unknown, if either is."""
    known = None not in (before["usd"], after["usd"])
    usd = str(Decimal(after["usd"]) - Decimal(before["usd"])) if known else None
    counts = {name: after[name] - before[name] for name in ("calls", "input_tokens", "output_tokens")}
    return {"usd": usd, "held_usd": "0", **counts}


def in_words(spent: Json) -> str:
    """For people: calls and dollars."""
    dollars = "unknown dollars" if spent["usd"] is None else f"{Decimal(spent['usd']):.4f} dollars"
    return f"{spent['calls']} calls, {dollars}"
