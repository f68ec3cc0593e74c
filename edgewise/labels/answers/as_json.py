"""Answers as JSON under a schema."""

import json
from collections.abc import Mapping, Sequence
from json.decoder import scanstring  # type: ignore[attr-defined]
from json.scanner import py_make_scanner  # type: ignore[attr-defined]
from typing import Any

from edgewise.labels.answers.values import (
    ENTITY,
    NOTHING,
    Asked,
    Demonstration,
    Json,
    Placed,
    Reading,
    Unreadable,
    chosen,
    marked,
)
from edgewise.labels.quotes import Finder, Quote
from edgewise.labels.schema import Head
from edgewise.labels.spans import Span

MOST_OCCURRENCES = 20


class AsJson:
    """{"<choice>": label, "<choices>": [label], "entities": [{"text", "label", "occurrence"}]}: what is asked first
    is answered first.
    """

    def __init__(self, asked: Sequence[Asked]) -> None:
        self._asked = {one.key: one for one in asked}
        self.schema: Mapping[str, Any] | None = _object({one.key: _schema(one) for one in asked})

    def spelled(self, asked: Asked, option: str) -> str:
        """As JSON has it, and the quotation mark."""
        return json.dumps(option, ensure_ascii=False)[1:]

    def introduced(self, asked: Asked, label: str) -> str:
        """Nothing."""
        return ""

    def write(self, demonstration: Demonstration) -> str:
        """On one line."""
        finder = Finder(demonstration.text)
        content: Json = {}
        for key, asked in self._asked.items():
            if asked.head.kind == "spans":
                content[key] = [_entity(finder, span, demonstration.text) for span in marked(demonstration, asked)]
            elif asked.head.kind == "choices":
                content[key] = chosen(demonstration, asked)
            else:
                content[key] = next(iter(chosen(demonstration, asked)), NOTHING)
        return json.dumps(content, ensure_ascii=False)

    def read(self, answer: str, text: str) -> Reading:
        """Prose or fences around the JSON are passed over; keys that nobody asked for are not."""
        try:
            content, _ = _PlacingDecoder().raw_decode(answer, max(answer.find("{"), 0))
        except (ValueError, RecursionError):
            raise Unreadable("The answer is no JSON.") from None
        if not isinstance(content, dict) or set(content) != set(self._asked):
            raise Unreadable("The answer is JSON of another shape.")
        reading = Reading()
        for key, asked in self._asked.items():
            said = content[key]
            if not isinstance(said, str if asked.head.kind == "choice" else list):
                raise Unreadable("The answer is JSON of another shape.")
            if asked.head.kind == "spans":
                reading.add_quotes(asked.head, [_quote(entity, asked.head) for entity in said])
            else:
                reading.add_choices(asked, [said] if asked.head.kind == "choice" else said)
        return reading


class _PlacingDecoder(json.JSONDecoder):
    """A JSON decoder whose strings know where they stand; keys do not."""

    def __init__(self) -> None:
        super().__init__()
        self.parse_string = self._string
        self.scan_once = py_make_scanner(self)  # the one in C takes no other parse_string

    def _string(self, text: str, begin: int, strict: bool) -> tuple[str, int]:
        found, end = scanstring(text, begin, strict)
        return Placed.of(found, begin), end


def _quote(entity: object, head: Head) -> tuple[Quote, int | None] | None:
    if not isinstance(entity, dict) or not {"text", "label"} <= set(entity) <= set(ENTITY):
        return None
    text, said, occurrence = entity["text"], entity["label"], entity.get("occurrence")
    label = head.label_for(str(said)) if isinstance(said, Placed) else None
    if label is None or not isinstance(text, str):
        return None
    return Quote(str(text), label, occurrence if type(occurrence) is int else None), said.at


def _entity(finder: Finder, span: Span, text: str) -> Json:
    quote, hit = text[span.start : span.end], (span.start, span.end)
    hits = finder.hits(quote)
    number = hits.index(hit) + 1 if hit in hits else 1
    return {"text": quote, "label": span.label, "occurrence": min(number, MOST_OCCURRENCES)}


def _schema(asked: Asked) -> Json:
    """The subset of JSON schema that all vendors enforce: everything required, nothing else allowed, no limits."""
    label: Json = {"type": "string", "enum": list(asked.options)}
    if asked.head.kind == "choice":
        return label
    if asked.head.kind == "choices":
        return {"type": "array", "items": label}
    occurrence: Json = {"type": "integer", "enum": list(range(1, MOST_OCCURRENCES + 1))}
    entity = _object({"text": {"type": "string"}, "label": label, "occurrence": occurrence})
    return {"type": "array", "items": entity}


def _object(properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
