"""What is asked for and what an answer says, in no form yet: heads as a model sees them, readings, demonstrations."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from edgewise.labels.quotes import Quote
from edgewise.labels.schema import Head
from edgewise.labels.spans import Span, longest_first

Json = dict[str, Any]

MOST_SPANS = 200  # in one answer and head: what a hostile text may make of it is bounded
NOTHING = ""  # the option of a single choice that was left empty; no label is empty
SOLE_KEY = "entities"
ENTITY = ("text", "label", "occurrence")


class Unreadable(ValueError):
    """An answer that is not of the form that was asked for."""


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A text and its right answers by from_name. A choice is a label on the whole text."""

    text: str
    answers: Mapping[str, tuple[Span, ...]]


@dataclass(frozen=True, slots=True)
class Asked:
    """A head as it is asked for: its key in an answer, and what may stand there, in the order that the model sees.

    options: the head's labels; also NOTHING where a single choice may be left empty.
    """

    head: Head
    key: str
    options: tuple[str, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The options but NOTHING."""
        return tuple(option for option in self.options if option != NOTHING)


@dataclass(slots=True)
class Reading:
    """What an answer says, by from_name: quotes of heads that mark spans, labels chosen of the others.

    label_at: for each of them, in order, where in the answer its label is named; None: unknown. invalid: what was left
    out, as it was not of the form asked for.
    """

    quotes: dict[str, tuple[Quote, ...]] = field(default_factory=dict)
    chosen: dict[str, tuple[str, ...]] = field(default_factory=dict)
    label_at: dict[str, tuple[int | None, ...]] = field(default_factory=dict)
    invalid: int = 0

    def add_quotes(self, head: Head, said: Sequence[tuple[Quote, int | None] | None]) -> None:
        """What is said to be marked; None for what is no quote."""
        good = [one for one in said[:MOST_SPANS] if one]
        self.quotes[head.from_name] = tuple(quote for quote, _ in good)
        self.label_at[head.from_name] = tuple(at for _, at in good)
        self.invalid += len(said) - len(good)

    def add_choices(self, asked: "Asked", said: Sequence[object]) -> None:
        """What is said to be chosen. Raises Unreadable where one was to be chosen and none of the options was."""
        good: dict[str, int | None] = {}
        for one in said:
            label = _option(asked, one)
            if label is None and asked.head.kind == "choice":
                raise Unreadable("The answer chooses what is not among the labels.")
            if label is None or label in good:
                self.invalid += 1
            else:
                good[label] = one.at if isinstance(one, Placed) else None
        self.chosen[asked.head.from_name] = tuple(good)
        self.label_at[asked.head.from_name] = tuple(good.values())


class Codec(Protocol):
    """A form to write answers in. schema: JSON schema of an answer, if it is JSON."""

    schema: Mapping[str, Any] | None

    def spelled(self, asked: Asked, option: str) -> str:
        """How an option is written where `Reading.label_at` points, with the character that ends it."""
        ...

    def introduced(self, asked: Asked, label: str) -> str:
        """What stands behind a label where it is explained, if anything must."""
        ...

    def write(self, demonstration: Demonstration) -> str:
        """The right answer about a text."""
        ...

    def read(self, answer: str, text: str) -> Reading:
        """What an answer says about a text. Raises Unreadable."""
        ...


def keys(heads: Iterable[Head]) -> list[str]:
    """A name in an answer for each head: "entities" for the only one that marks, else like its own, and unique."""
    heads = list(heads)
    sole = sum(head.kind == "spans" for head in heads) == 1
    like = [re.sub(r"[^0-9A-Za-z]+", "_", head.from_name).strip("_") or "answer" for head in heads]
    found: list[str] = []
    for head, name in zip(heads, like, strict=True):
        others = (name, *(f"{name}_{n}" for n in range(2, len(heads) + 6)))
        taken = {SOLE_KEY, *ENTITY, *found}
        found.append(SOLE_KEY if sole and head.kind == "spans" else next(one for one in others if one not in taken))
    return found


def marked(demonstration: Demonstration, asked: Asked) -> tuple[Span, ...]:
    """What a demonstration marks under labels that are asked for, in order and without overlaps."""
    spans = demonstration.answers.get(asked.head.from_name, ())
    return longest_first(span for span in spans if span.label in asked.labels)[0]


def chosen(demonstration: Demonstration, asked: Asked) -> list[str]:
    """Which of the labels that are asked for a demonstration chooses, in the order in which they are."""
    said = {span.label for span in demonstration.answers.get(asked.head.from_name, ())}
    return [label for label in asked.labels if label in said]


class Placed(str):
    """A string of an answer, and where in the answer it begins."""

    at: int

    @classmethod
    def of(cls, text: str, at: int) -> "Placed":
        placed = cls(text)
        placed.at = at
        return placed


def _option(asked: Asked, said: object) -> str | None:
    if said == NOTHING and NOTHING in asked.options:
        return NOTHING
    return asked.head.label_for(str(said)) if isinstance(said, str) else None
