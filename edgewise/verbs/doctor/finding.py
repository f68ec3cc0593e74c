"""What a check found, and a check: a name that stays, what is so when all is well, and how one looks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

State = Literal["ok", "failed", "unchecked", "skipped"]
Report = Mapping[str, Any]  # a check with its finding, as JSON: name, check, ok, state, what, mend, fixable


@dataclass(frozen=True, slots=True)
class Finding:
    """ok: it is so. failed: it is not. unchecked: nobody can say now. skipped: here it does not matter, or not yet.

    what: what it means; beside an ok a remark. mend: the next step, wherever it is not ok or skipped.
    """

    state: State
    what: str = ""
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One way in which a connection fails. title: what is so when all is well. fixable: doctor --fix can mend it.

    look: of a Scene. It may raise EdgewiseError: then the check could not be made, and the report says why.
    """

    name: str
    title: str
    look: Callable[[Any], Finding]
    fixable: bool = False


def fine(remark: str = "") -> Finding:
    """It is as it should be."""
    return Finding("ok", remark)


def fault(what: str, mend: str) -> Finding:
    """It is not: what that means, and the command or the click that mends it."""
    return Finding("failed", what, mend)


def skipped(why: str) -> Finding:
    """There is nothing to look at."""
    return Finding("skipped", why)


def unchecked(why: str, mend: str) -> Finding:
    """It may be so or not."""
    return Finding("unchecked", why, mend)


def report(check: Check, found: Finding) -> Report:
    """A check with its finding, as status, the dashboard and --json show it."""
    return {
        "name": check.name,
        "check": check.title,
        "ok": found.state in ("ok", "skipped"),
        "state": found.state,
        "what": found.what,
        "mend": found.mend,
        "fixable": check.fixable,
    }
