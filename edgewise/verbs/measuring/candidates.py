"""How a language model may be asked, and how the options of an evaluation name several ways at once.

Knows options and settings; asks nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import product
from typing import Any

from edgewise.errors import InputError, NotFound
from edgewise.services.llm import ProviderChat
from edgewise.services.store import Instructions, Project
from edgewise.settings import Settings
from edgewise.verbs.prelabel import open_model
from edgewise.verbs.system import System

Json = Mapping[str, Any]

CODECS = ("json", "tags")
MOST_CANDIDATES = 24
MOST_DEMONSTRATIONS = 64
MOST_VARIANTS = 9
# Of a candidate -> what names several of them at once.
SEVERAL = {
    "model": "models",
    "instructions": "instructions",
    "codec": "codecs",
    "demonstrations": "demonstrations",
    "variants": "variants",
}
MEND = "docs/help.md has the options of every command."


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way to ask: which model, told what, answering in which form, shown how many demonstrations.

    instructions: their version, None for none. price: dollars for a million tokens in and out; None: that which is set.
    """

    model: str
    instructions: int | None
    codec: str
    demonstrations: int
    variants: int
    price: tuple[Decimal, Decimal] | None = None

    def name_among(self, others: Sequence["Candidate"]) -> str:
        """The model, and whatever tells it from the others."""
        parts = {
            "instructions": f"instructions {self.instructions}" if self.instructions else "no instructions",
            "codec": self.codec,
            "demonstrations": f"{self.demonstrations} demonstrations",
            "variants": f"{self.variants} variants",
        }
        told = [text for name, text in parts.items() if len({getattr(one, name) for one in others}) > 1]
        return ", ".join([self.model, *told])


def candidates(system: System, project: Project, options: Json) -> list[Candidate]:
    """The candidates that the options name; without any, the way in which `prelabel` asks. Raises InputError, NotFound.

    options: "candidates", a list of objects; else lists "models", "instructions" (versions; 0 for none), "codecs",
    "demonstrations" and "variants", of which every combination is one.
    """
    named = options.get("candidates")
    if named is None:
        several = {one: _listed(options, many) for one, many in SEVERAL.items() if options.get(many) is not None}
        named = [dict(zip(several, values, strict=True)) for values in product(*several.values())]
    if not isinstance(named, list) or not named or not all(isinstance(one, Mapping) for one in named):
        raise InputError("The option 'candidates' is not a list of objects.", MEND)
    if len(named) > MOST_CANDIDATES:
        raise InputError(f"{len(named)} candidates are too many.", f"Compare at most {MOST_CANDIDATES} at once.")
    found = [_candidate(system, project, one) for one in named]
    return list(dict.fromkeys(found))


def instructions_of(system: System, project: Project, candidate: Candidate) -> str:
    """What the candidate is told. Raises NotFound."""
    if not candidate.instructions:
        return ""
    return _version(system, project, candidate.instructions).text


def open_candidate(settings: Settings, candidate: Candidate) -> ProviderChat:
    """The candidate's model, at the endpoint that is set: an option never sends our key elsewhere.

    The price that is set is that of the model that is set. Raises as `open_model`.
    """
    prices: tuple[Decimal | None, Decimal | None] = (settings.llm_price_input_usd, settings.llm_price_output_usd)
    if candidate.price is not None:
        prices = candidate.price
    elif candidate.model != settings.llm_model:
        prices = (None, None)
    changed = {"llm_model": candidate.model, "llm_price_input_usd": prices[0], "llm_price_output_usd": prices[1]}
    return open_model(settings.model_copy(update=changed))


def whole_number(options: Json, name: str, default: int, most: int) -> int:
    """An option that counts something. Raises InputError."""
    value = options.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise InputError(f"The option {name!r} is no number from 0 to {most}.", MEND)
    return value


def _listed(options: Json, name: str) -> list[Any]:
    value = options[name]
    found = list(value) if isinstance(value, list | tuple) else [value]
    if not found:
        raise InputError(f"The option {name!r} is an empty list.", MEND)
    return found


def _candidate(system: System, project: Project, named: Json) -> Candidate:
    settings = system.settings
    unknown = set(named) - {*SEVERAL, "price_input_usd", "price_output_usd"}
    if unknown:
        raise InputError(f"A candidate has no {', '.join(map(repr, sorted(unknown)))}.", MEND)
    last = system.store.instructions(project.key)
    version = named.get("instructions")
    if version is None:
        version = last.version if last else 0
    elif whole_number(named, "instructions", 0, 10**9):
        _version(system, project, version)
    codec = named.get("codec") or settings.llm_codec
    if codec not in CODECS:
        raise InputError(f"There is no codec {codec!r}.", f"Choose one of {', '.join(CODECS)}.")
    model = named.get("model") or settings.llm_model
    if not isinstance(model, str):
        raise InputError("A candidate's model is not a name.", MEND)
    return Candidate(
        model=model,
        instructions=version or None,
        codec=codec,
        demonstrations=whole_number(named, "demonstrations", settings.llm_demonstrations, MOST_DEMONSTRATIONS),
        variants=max(1, whole_number(named, "variants", settings.llm_variants, MOST_VARIANTS)),
        price=_price(named),
    )


def _price(named: Json) -> tuple[Decimal, Decimal] | None:
    given = [named.get("price_input_usd"), named.get("price_output_usd")]
    if given == [None, None]:
        return None
    try:
        prices = Decimal(str(given[0])), Decimal(str(given[1]))
    except InvalidOperation:
        prices = Decimal(-1), Decimal(-1)
    if not all(price.is_finite() and price >= 0 for price in prices):
        raise InputError("A candidate's price is no number of dollars for a million tokens in, and one for out.", MEND)
    return prices


def _version(system: System, project: Project, version: int) -> Instructions:
    found = system.store.told(project.key, version)
    if found is None:
        raise NotFound(f"There are no instructions {version}.", "Leave it out for the last ones, or 0 for none.")
    return found
