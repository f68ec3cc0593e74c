"""Answers as the text itself with tags in it, after a line for each choice: for models that write poor JSON."""

import re
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

from edgewise.labels.answers.shown import show
from edgewise.labels.answers.values import NOTHING, Asked, Demonstration, Placed, Reading, Unreadable, chosen, marked
from edgewise.labels.quotes import Finder, Quote, fold
from edgewise.labels.spans import Span

_NAME = re.compile(r"[^\W\d][\w-]*")


class AsTags:
    """A line for each choice, <intent>label</intent>, then the text itself, entities between tags: <PER>Ada</PER>.

    Nothing chosen is a line without a label, several are several lines. Without heads that mark there is no text.
    """

    schema: Mapping[str, Any] | None = None

    def __init__(self, asked: Sequence[Asked], texts: Sequence[str], mark: str) -> None:
        """texts: all that the model sees; if one has such tags itself, ours get the mark, which none of them has."""
        self._choices = [one for one in asked if one.head.kind != "spans"]
        self._marks = [one for one in asked if one.head.kind == "spans"]
        wanted = [(one.key, NOTHING) for one in self._choices]
        wanted += [(one.key, label) for one in self._marks for label in one.labels]
        names = dict(zip(wanted, _names([label or key for key, label in wanted]), strict=True))
        seen = [*texts, *(label for one in self._choices for label in one.labels)]
        clear = not any(f"<{name}>" in text or f"</{name}>" in text for name in names.values() for text in seen)
        self._names = {what: name if clear else f"{name}-{mark}" for what, name in names.items()}

    def name(self, asked: Asked, label: str = NOTHING) -> str:
        """The name of the tag of a label that is marked, or of a choice."""
        return self._names[asked.key, label]

    def spelled(self, asked: Asked, option: str) -> str:
        """The name of the tag of what is marked; what is chosen, up to its closing tag."""
        return f"{self.name(asked, option)}>" if asked.head.kind == "spans" else f"{option}<"

    def introduced(self, asked: Asked, label: str) -> str:
        """The tags of what is marked."""
        return f" <{self.name(asked, label)}>…</{self.name(asked, label)}>" if asked.head.kind == "spans" else ""

    def write(self, demonstration: Demonstration) -> str:
        """Lines, and the text with its tags."""
        lines = []
        for asked in self._choices:
            tag = self.name(asked)
            lines += [f"<{tag}>{label}</{tag}>" for label in chosen(demonstration, asked) or [NOTHING]]
        return "\n".join([*lines, self._tagged(demonstration)] if self._marks else lines)

    def _tagged(self, demonstration: Demonstration) -> str:
        """Tags of two heads may cross. Where several stand together those that close are first, then the longest."""
        tags = []
        for asked in self._marks:
            for span in marked(demonstration, asked):
                name = self.name(asked, span.label)
                tags.append((span.start, 1, -span.end, f"<{name}>"))
                tags.append((span.end, 0, -span.start, f"</{name}>"))
        text = demonstration.text
        for at, *_, tag in sorted(tags, reverse=True):
            text = f"{text[:at]}{tag}{text[at:]}"
        return text

    def read(self, answer: str, text: str) -> Reading:
        """The answer's own text may differ from ours: a quote's occurrence there finds it here. No tag: it may not."""
        reading = Reading()
        rest = self._read_choices(answer, reading)
        found, plain = self._untagged(rest, reading)
        if self._marks and not any(found.values()) and fold(plain) not in (fold(show(text)), fold(text)):
            raise Unreadable("The answer is another text.")
        finder = Finder(plain)
        for asked in self._marks:
            quotes = []
            for at, span in sorted(found[asked.key], key=lambda pair: pair[1]):
                quote, hit = plain[span.start : span.end], (span.start, span.end)
                hits = finder.hits(quote)
                quotes.append((Quote(quote, span.label, hits.index(hit) + 1 if hit in hits else None), at))
            reading.add_quotes(asked.head, quotes)
        return reading

    def _read_choices(self, answer: str, reading: Reading) -> str:
        """The answer with its choices blanked out, so that places in it stay."""
        for asked in self._choices:
            tag = re.escape(self.name(asked))
            said = [Placed.of(match[1], match.start(1)) for match in re.finditer(rf"<{tag}>(.*?)</{tag}>", answer)]
            if not said or (len(said) > 1 and asked.head.kind == "choice"):
                raise Unreadable("The answer has not one line for each choice.")
            reading.add_choices(asked, [one for one in said if one or asked.head.kind == "choice"])
            answer = re.sub(rf"<{tag}>.*?</{tag}>", lambda match: " " * len(match[0]), answer)
        return answer

    def _untagged(self, answer: str, reading: Reading) -> tuple[dict[str, list[tuple[int, Span]]], str]:
        """By key, spans over the answer without its tags and where their tags are named; and that text."""
        meant = {name: what for what, name in self._names.items()}
        found: dict[str, list[tuple[int, Span]]] = {asked.key: [] for asked in self._marks}
        opened: dict[str, tuple[int, int]] = {}
        pieces: list[str] = []
        at = length = 0
        for match in re.finditer(rf"<(/?)({'|'.join(map(re.escape, meant))})>", answer):
            pieces.append(answer[at : match.start()])
            length, at = length + match.start() - at, match.end()
            key, label = meant[match[2]]
            if not match[1]:
                reading.invalid += match[2] in opened
                opened[match[2]] = (match.start(2), length)
            elif match[2] in opened and key in found:
                named, start = opened.pop(match[2])
                found[key].append((named, Span(start, length, label)))
            else:
                reading.invalid += 1
        reading.invalid += len(opened)
        return found, "".join([*pieces, answer[at:]])


def _names(wishes: Sequence[str]) -> list[str]:
    """Unique names of tags, as wished where they can be."""
    names: list[str] = []
    for i, wish in enumerate(wishes, 1):
        others = (f"label{n}" for n in count(i))
        can = _NAME.fullmatch(wish) and wish not in names
        names.append(wish if can else next(name for name in others if name not in {*names, *wishes}))
    return names
