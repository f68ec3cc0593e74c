"""What may be spent on a language model, and who may be asked at all.

Knows neither vendors nor questions: amounts, counts and addresses.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from urllib.parse import urlsplit

from edgewise.errors import Conflict, SettingsError
from edgewise.services.llm.values import Usage
from edgewise.settings import is_loopback


class BudgetSpent(Conflict):
    """One more call might go over the budget."""


@dataclass(frozen=True, slots=True)
class Spend:
    """What a budget has paid for. usd: at most, as calls without a usage count with their worst case; None if a price
    was unknown. calls: attempts, failed ones too. tokens: those that vendors reported; unknown: calls without a usage.
    """

    usd: Decimal | None
    calls: int
    input_tokens: int
    output_tokens: int
    unknown: int


@dataclass(frozen=True, slots=True)
class Reservation:
    """The right to send one call that costs at most this; None for an unknown price."""

    worst_usd: Decimal | None


class Budget:
    """A hard limit in dollars and in calls, shared by threads: the worst case of a call is set aside before it is sent.

    Without limits it only counts. Where a price is unknown only the limit of calls holds, and there must be one.
    """

    def __init__(self, *, usd: Decimal | None = None, calls: int | None = None) -> None:
        self._usd, self._calls = usd, calls
        self._changed = threading.Condition()
        self._spent = self._held = Decimal(0)
        self._sent = self._open = self._input = self._output = self._unknown = 0
        self._priced = True

    def reserve(self, worst_usd: Decimal | None) -> Reservation:
        """Set money aside for one call; waits while calls in flight hold what it needs. Settle what this returns.

        Raises BudgetSpent when it does not fit, SettingsError for dollars without a price.
        """
        if worst_usd is None and self._usd is not None and self._calls is None:
            raise SettingsError(
                "There is a budget in dollars, and the price of the language model is unknown.",
                "Tell the model's price, or set a budget in calls.",
            )
        with self._changed:
            while True:
                if self._calls is not None and self._sent >= self._calls:
                    raise BudgetSpent(f"The budget of {self._calls} calls is spent.", "Raise it to go on.")
                if worst_usd is None or self._usd is None or self._spent + self._held + worst_usd <= self._usd:
                    break
                if not self._open:
                    raise BudgetSpent(
                        f"Of {self._usd} dollars {self._spent:.4f} are spent; another call might go over the budget.",
                        "Raise LLM_BUDGET_USD to go on.",
                    )
                self._changed.wait()
            self._sent += 1
            self._open += 1
            self._held += worst_usd or 0
        return Reservation(worst_usd)

    def settle(self, reservation: Reservation, cost_usd: Decimal | None, usage: Usage | None) -> None:
        """Replace a reservation by what the call cost: None for unknown, which counts as the worst case."""
        worst = reservation.worst_usd
        with self._changed:
            self._open -= 1
            self._held -= worst or 0
            self._spent += (worst or 0) if cost_usd is None else cost_usd
            self._priced = self._priced and (worst is not None or cost_usd is not None)
            self._unknown += usage is None and cost_usd is None
            self._input += usage.input if usage else 0
            self._output += usage.output if usage else 0
            self._changed.notify_all()

    def spend(self) -> Spend:
        """What has been paid for so far; calls in flight count as calls only."""
        with self._changed:
            usd = self._spent if self._priced else None
            return Spend(usd, self._sent, self._input, self._output, self._unknown)


def refuse_outside(base_url: str | None, *, private: bool, allowed_hosts: Sequence[str]) -> None:
    """Raise SettingsError if PRIVATE is set and the endpoint is neither this machine nor in ALLOWED_HOSTS.

    base_url: None is the vendor's own. allowed_hosts: names or addresses, without a port.
    """
    if not private:
        return
    host = _host(base_url) if base_url else None
    if host and (is_loopback(host) or host in {allowed.strip().strip("[]").lower() for allowed in allowed_hosts}):
        return
    raise SettingsError(
        f"PRIVATE is set, and the language model at {host or 'its vendor'} is on another machine.",
        "Point LLM_BASE_URL at a model on this machine, add its host to ALLOWED_HOSTS, or unset PRIVATE.",
    )


def _host(base_url: str) -> str | None:
    try:
        parts = urlsplit(base_url)
    except ValueError:
        return None
    plain = parts.scheme in ("http", "https") and not parts.username and "\\" not in base_url
    return parts.hostname if plain else None
