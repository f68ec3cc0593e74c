"""What a language model is shown of a text, how it writes spans (JSON, or tags in the text), and that back to quotes.

Knows nothing of prompts, vendors or probabilities. An answer is not believed: what is not of the form that was asked
for, or under a label that the head has not, is invalid and counted. Where a quote stands in the text: `quotes`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import zip_longest
from typing import Any, Protocol

from edgewise.labels.quotes import Finder, Quote, fold
from edgewise.labels.schema import Head
from edgewise.labels.spans import Document, Span, longest_first

Json = dict[str, Any]

MOST_SPANS = 200  # in one answer: what a hostile text may make of it is bounded
MOST_OCCURRENCES = 20
_LABEL_VALUE = re.compile(r'"label"\s*:\s*"')
_NAME = re.compile(r"[^\W\d][\w-]*")
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]")
_HALF_PAIR = re.compile("[\ud800-\udfff]")


class Unreadable(ValueError):
    """An answer that is not of the form that was asked for."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What an answer says. label_at[i]: offset in the answer where the label of quotes[i] is named; None: unknown.

    invalid: entities left out, as they were not of the form asked for.
    """

    quotes: tuple[Quote, ...]
    label_at: tuple[int | None, ...]
    invalid: int


class Codec(Protocol):
    """A form to write spans in. schema: JSON schema of an answer, if it is JSON."""

    schema: Mapping[str, Any] | None

    def names(self, label: str) -> str:
        """How a label is introduced to the model."""
        ...

    def write(self, document: Document) -> str:
        """The right answer about a document."""
        ...

    def read(self, answer: str, text: str) -> Reading:
        """What an answer says about a text. Raises Unreadable."""
        ...


class AsJson:
    """{"entities": [{"text", "label", "occurrence"}]}, in text order. Labels in the order that the model sees."""

    def __init__(self, head: Head, labels: Sequence[str]) -> None:
        self._head = head
        self.schema: Mapping[str, Any] | None = _schema(labels)

    def names(self, label: str) -> str:
        """As it is."""
        return label

    def write(self, document: Document) -> str:
        """On one line."""
        finder = Finder(document.text)
        entities = []
        for span in _known(document, self._head):
            quote, hit = document.text[span.start : span.end], (span.start, span.end)
            hits = finder.hits(quote)
            number = hits.index(hit) + 1 if hit in hits else 1
            entities.append({"text": quote, "label": span.label, "occurrence": min(number, MOST_OCCURRENCES)})
        return json.dumps({"entities": entities}, ensure_ascii=False)

    def read(self, answer: str, text: str) -> Reading:
        """Prose or fences around the JSON are passed over; keys that nobody asked for are not."""
        begin = max(answer.find("{"), 0)
        try:
            content, end = json.JSONDecoder().raw_decode(answer, begin)
        except (ValueError, RecursionError):
            raise Unreadable("The answer is no JSON.") from None
        if not isinstance(content, dict) or set(content) != {"entities"} or not isinstance(content["entities"], list):
            raise Unreadable("The answer is JSON of another shape.")
        entities = content["entities"]
        places = [match.end() for match in _LABEL_VALUE.finditer(answer, begin, end)]
        known = places if len(places) == len(entities) else []
        pairs = [(self._quote(entity), at) for entity, at in zip_longest(entities, known)][:MOST_SPANS]
        good = [(quote, at) for quote, at in pairs if quote]
        return Reading(tuple(q for q, _ in good), tuple(at for _, at in good), len(entities) - len(good))

    def _quote(self, entity: object) -> Quote | None:
        if not isinstance(entity, dict) or not {"text", "label"} <= set(entity) <= {"text", "label", "occurrence"}:
            return None
        text, said, occurrence = entity["text"], entity["label"], entity.get("occurrence")
        label = self._head.label_for(said) if isinstance(said, str) else None
        if label is None or not isinstance(text, str):
            return None
        return Quote(text, label, occurrence if type(occurrence) is int else None)


class AsTags:
    """The text itself, entities between tags of their labels: <PER>Ada</PER>."""

    schema: Mapping[str, Any] | None = None

    def __init__(self, head: Head, texts: Sequence[str], mark: str) -> None:
        """texts: all that the model sees; if one has such tags itself, ours get the mark, which none of them has."""
        self._head = head
        names = {label: label if _NAME.fullmatch(label) else f"label{i}" for i, label in enumerate(head.labels, 1)}
        clear = not any(f"<{name}>" in text or f"</{name}>" in text for name in names.values() for text in texts)
        self._names = {label: name if clear else f"{name}-{mark}" for label, name in names.items()}

    def names(self, label: str) -> str:
        """With its tags."""
        return f"{label}: <{self._names[label]}>…</{self._names[label]}>"

    def write(self, document: Document) -> str:
        """The document with its tags."""
        text = document.text
        for span in reversed(_known(document, self._head)):
            name = self._names[span.label]
            text = f"{text[: span.start]}<{name}>{text[span.start : span.end]}</{name}>{text[span.end :]}"
        return text

    def read(self, answer: str, text: str) -> Reading:
        """The answer's own text may differ from ours: a quote's occurrence there finds it here. No tag: it may not."""
        spans, plain, unmatched = self._untagged(answer)
        if not spans and fold(plain) != fold(show(text)):
            raise Unreadable("The answer is another text.")
        finder = Finder(plain)
        quotes = []
        for span in spans[:MOST_SPANS]:
            hits = finder.hits(plain[span.start : span.end])
            hit = (span.start, span.end)
            number = hits.index(hit) + 1 if hit in hits else None
            quotes.append(Quote(plain[span.start : span.end], span.label, number))
        left_out = len(spans) - len(quotes)
        return Reading(tuple(quotes), (None,) * len(quotes), left_out + unmatched)

    def _untagged(self, answer: str) -> tuple[list[Span], str, int]:
        """Spans over the answer without its tags, that text, and how many tags had no partner."""
        labels = {name: label for label, name in self._names.items()}
        pattern = re.compile(rf"<(/?)({'|'.join(map(re.escape, labels))})>")
        spans: list[Span] = []
        opened: list[tuple[str, int]] = []
        pieces: list[str] = []
        at = length = unmatched = 0
        for match in pattern.finditer(answer):
            pieces.append(answer[at : match.start()])
            length, at = length + match.start() - at, match.end()
            if not match[1]:
                opened.append((match[2], length))
            elif opened and opened[-1][0] == match[2]:
                _, start = opened.pop()
                spans.append(Span(start, length, labels[match[2]]))
            else:
                unmatched += 1
        return sorted(spans), "".join([*pieces, answer[at:]]), unmatched + len(opened)


def show(text: str) -> str:
    """The text as a model sees it: without characters that nobody sees and that steer models or terminals."""
    seen = _UNSEEN.sub(lambda match: " " if match[0].isspace() else "", text)
    return _HALF_PAIR.sub("\ufffd", seen).replace("<|", "<\u200c|")  # part of a chat template, to some servers


def mark(text: str) -> str:
    """16 characters that do not stand in the text; always the same, or no answer could be found again."""
    found = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return mark(text + found) if found in text else found


def fenced(name: str, text: str) -> str:
    """The text between two lines that it cannot contain."""
    tag = f"{name}-{mark(text)}"
    return f"<{tag}>\n{text}\n</{tag}>"


def _known(document: Document, head: Head) -> tuple[Span, ...]:
    """A document's spans under labels of the head, in order and without overlaps."""
    return longest_first(span for span in document.spans if span.label in head.labels)[0]


def _schema(labels: Sequence[str]) -> Json:
    """The subset of JSON schema that all vendors enforce: everything required, nothing else allowed, no limits."""
    fields: Json = {
        "text": {"type": "string"},
        "label": {"type": "string", "enum": list(labels)},
        "occurrence": {"type": "integer", "enum": list(range(1, MOST_OCCURRENCES + 1))},
    }
    entity = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
    entities = {"entities": {"type": "array", "items": entity}}
    return {"type": "object", "properties": entities, "required": ["entities"], "additionalProperties": False}
