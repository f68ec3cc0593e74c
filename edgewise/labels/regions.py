"""Regions of Label Studio's result JSON to spans of a text and back, and what would be wrong with a prediction.

Knows the result format and its offsets (code points, as in Python). A choice is a label on the whole text. Knows
nothing of who made a result, of tokens, models or the network.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from edgewise.errors import DataError
from edgewise.labels.schema import Head, Schema, digest
from edgewise.labels.spans import Span, on_whole
from edgewise.labels.texts import text_of

Region = Mapping[str, Any]


def spans_of(result: Iterable[Region], head: Head, text: str) -> tuple[tuple[Span, ...], int]:
    """The valid spans of a head, in the order of the result, and how many labelled regions were left out.

    Left out: an unknown label, offsets that are no integers, empty or beyond the text, another target, a second choice
    where one is to be made. A region with several labels is several spans. Scores are those of the regions.
    """
    spans: list[Span] = []
    left_out = 0
    for region in result:
        if not isinstance(region, Mapping) or region.get("from_name") != head.from_name:
            continue
        found = list(_spans_of_region(region, head, text))
        spans.extend(span for span in found if span is not None)
        left_out += found.count(None)
    if head.kind == "choice":
        return tuple(spans[:1]), left_out + len(spans[1:])
    return tuple(spans), left_out


def _spans_of_region(region: Region, head: Head, text: str) -> Iterator[Span | None]:
    """A span for each label, None for each that is of no use."""
    value = region.get("value")
    labels = value.get(_key(head)) if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping) or not isinstance(labels, list) or region.get("to_name") != head.to_name:
        yield None
        return
    score = share(region.get("score"))
    place = _place(value, text) if head.kind == "spans" else on_whole(text, "")
    for label in labels:
        yield Span(place.start, place.end, label, score) if place is not None and label in head.labels else None


def _place(value: Region, text: str) -> Span | None:
    """Where a region is, without its label; None if that is nowhere in the text."""
    start, end = integer(value.get("start")), integer(value.get("end"))
    return None if start is None or end is None or not 0 <= start < end <= len(text) else Span(start, end, "")


def _key(head: Head) -> str:
    """What Label Studio calls the labels inside a region's value; also the region's type."""
    return "labels" if head.kind == "spans" else "choices"


def regions(spans: Iterable[Span], head: Head, text: str) -> list[dict[str, Any]]:
    """Label Studio's result for spans of a text. Ids are the same on every call, and unique in the result."""
    if head.kind != "spans":
        return _choice(list(spans), head)
    seen: Counter[Span] = Counter()
    result: list[dict[str, Any]] = []
    for span in spans:
        name = digest([head.from_name, span.start, span.end, span.label, seen[span]])
        value = {"start": span.start, "end": span.end, "text": text[span.start : span.end], "labels": [span.label]}
        result.append(_region(name, head, value, [span]))
        seen[span] += 1
    return result


def _choice(spans: list[Span], head: Head) -> list[dict[str, Any]]:
    """One region for all choices; where nothing is chosen Label Studio has no region at all."""
    labels = [span.label for span in spans]
    return [_region(digest([head.from_name, *labels]), head, {"choices": labels}, spans)] if spans else []


def _region(name: str, head: Head, value: dict[str, Any], spans: list[Span]) -> dict[str, Any]:
    region = {"id": name[:12], "from_name": head.from_name, "to_name": head.to_name, "type": _key(head), "value": value}
    scores = [span.score for span in spans if span.score is not None]
    return region | {"score": round(min(scores), 4)} if scores else region


def problems(prediction: Mapping[str, Any], schema: Schema, data: Mapping[str, Any]) -> list[str]:
    """Why Label Studio's bulk import would drop a prediction, or would show it on the wrong words. Empty: it is good.

    Stricter than Label Studio, which never compares offsets with the text. Names tags and positions, never content.
    """
    score, result = prediction.get("score"), prediction.get("result")
    found = [] if score is None or share(score) is not None else ["score: not a number from 0 to 1"]
    if not isinstance(result, list):
        return [*found, "result: not a list"]
    heads = {head.from_name: head for head in schema.heads}
    ids: Counter[str] = Counter()
    for position, region in enumerate(result):
        if not isinstance(region, Mapping):
            found.append(f"region {position}: not an object")
            continue
        head = heads.get(region["from_name"]) if isinstance(region.get("from_name"), str) else None
        faults = ["from_name is none of ours"] if head is None else _region_faults(region, head, data)
        ids[repr(region.get("id"))] += "id" in region
        if ids[repr(region.get("id"))] > 1:
            faults.append("id is used twice")
        found.extend(f"region {position}: {fault}" for fault in faults)
    return found


def _region_faults(region: Region, head: Head, data: Mapping[str, Any]) -> list[str]:
    faults = []
    if region.get("to_name") != head.to_name:
        faults.append(f"to_name is not '{head.to_name}'")
    if region.get("type") != _key(head):
        faults.append(f"type is not '{_key(head)}'")
    if region.get("score") is not None and share(region["score"]) is None:
        faults.append("score is not a number from 0 to 1")
    value = region.get("value")
    if not isinstance(value, Mapping):
        return [*faults, "value is not an object"]
    if isinstance(value.get(head.from_name), Mapping):  # Label Studio would read that in its stead
        faults.append(f"value holds an object '{head.from_name}'")
    labels = value.get(_key(head))
    if not isinstance(labels, list) or not labels or any(label not in head.labels for label in labels):
        faults.append(f"{_key(head)} are not of '{head.from_name}'")
    elif head.kind == "choice" and len(labels) > 1:
        faults.append("more than one choice is made")
    return faults + (_offset_faults(value, head, data) if head.kind == "spans" else [])


def _offset_faults(value: Mapping[str, Any], head: Head, data: Mapping[str, Any]) -> list[str]:
    try:
        text = text_of(data, head)
    except DataError as error:
        return [error.what]
    start, end = integer(value.get("start")), integer(value.get("end"))
    if start is None or end is None:
        return ["start and end are not integers"]
    if not 0 <= start < end <= len(text):
        return ["start and end are not inside the text"]
    return ["text is not what stands at the offsets"] if value.get("text", text[start:end]) != text[start:end] else []


def integer(value: object) -> int | None:
    """The value if it is an integer, and no boolean."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def number(value: object) -> float | None:
    """The value as a finite float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:  # JSON's integers have no end
        return None
    return found if math.isfinite(found) else None


def share(value: object) -> float | None:
    """The value as a float if it is in [0, 1]."""
    found = number(value)
    return found if found is not None and 0 <= found <= 1 else None
