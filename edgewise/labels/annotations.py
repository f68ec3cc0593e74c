"""Annotation JSON of Label Studio to spans and back, and the training example of a task.

Knows Label Studio's result format, its offsets (code points, as in Python) and what an annotation's fields mean.
Knows nothing of tokens, models, databases or the network.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

from edgewise.errors import DataError, InputError
from edgewise.labels.schema import Head, Schema
from edgewise.labels.spans import Span, longest_first

Region = Mapping[str, Any]

_ADDRESS = re.compile(r"\s*[a-z][a-z0-9+.-]*://\S+\s*", re.IGNORECASE)
_SURROGATE = re.compile("[\ud800-\udfff]")
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Annotation:
    """One annotation, as far as we use it.

    unopened: made in bulk from predictions and never looked at. lead_time: seconds that a person needed.
    updated_at: ISO 8601.
    """

    id: int
    task_id: int
    updated_at: str
    completed_by: int | None
    ground_truth: bool
    was_cancelled: bool
    unopened: bool
    lead_time: float | None
    parent_prediction: int | None
    result: tuple[dict[str, Any], ...]

    @property
    def age_key(self) -> tuple[datetime, int]:
        """Sorts annotations by their last update, whatever precision and time zone it was written in."""
        return _moment(self.updated_at), self.id


@dataclass(frozen=True, slots=True)
class Example:
    """What a task teaches: its spans without overlaps, where they come from, and how many regions were dropped."""

    task_id: int
    spans: tuple[Span, ...]
    annotation_ids: tuple[int, ...]
    dropped: int

    @property
    def digest(self) -> str:
        """Hash of the spans alone: who drew them, and when, teaches a model nothing."""
        return _digest([[span.start, span.end, span.label] for span in sorted(self.spans)])


def parse_annotation(raw: Mapping[str, Any], task_id: int) -> Annotation:
    """An annotation from Label Studio's JSON: of a webhook, a list, an export or a task. InputError if it has no id."""
    annotation_id = _integer(raw.get("id"))
    if annotation_id is None:
        raise InputError("An annotation has no id.", "Send annotations as Label Studio's API lists them.")
    result = raw.get("result")
    regions = tuple(region for region in result if isinstance(region, dict)) if isinstance(result, list) else ()
    lead_time_s = _number(raw.get("lead_time"))
    parent = _identity(raw.get("parent_prediction"))
    ground_truth = raw.get("ground_truth") is True
    return Annotation(
        id=annotation_id,
        task_id=task_id,
        updated_at=str(raw.get("updated_at") or raw.get("created_at") or ""),
        completed_by=_identity(raw.get("completed_by")),
        ground_truth=ground_truth,
        was_cancelled=raw.get("was_cancelled") is True,
        # Who starred it has seen it, though that leaves no lead time.
        unopened=parent is not None and lead_time_s is None and not ground_truth and not _drawn_by_hand(regions),
        lead_time=lead_time_s,
        parent_prediction=parent,
        result=regions,
    )


def text_of(data: Mapping[str, Any], head: Head) -> str:
    """The text that a head reads. DataError if the field is missing, no string, half a character, or an address."""
    text = data.get(head.field)
    if not isinstance(text, str):
        what = "is not a text" if head.field in data else "is missing"
        raise DataError(
            f"The task's field '{head.field}' {what}.", f"Import the task with a text in '{head.field}', or skip it."
        )
    if _SURROGATE.search(text):
        raise DataError(
            f"The task's field '{head.field}' holds half a character (a lone surrogate).",
            "Import the task again as valid UTF-8.",
        )
    if _ADDRESS.fullmatch(text):
        raise DataError(
            f"The task's field '{head.field}' holds an address instead of the text.",
            "Import the text itself: Edgewise fetches nothing that a task points at.",
        )
    return text


def spans_of(source: Annotation | Iterable[Region], head: Head, text: str) -> tuple[tuple[Span, ...], int]:
    """The valid spans of a head, in the order of the result, and how many labelled regions were left out.

    Left out: an unknown label, offsets that are no integers, empty or beyond the text, another target. A region with
    several labels is several spans. Scores are kept from predictions; for what an annotation holds a person vouches.
    """
    by_person = isinstance(source, Annotation)
    result = source.result if isinstance(source, Annotation) else source
    spans: list[Span] = []
    left_out = 0
    for region in result:
        if not isinstance(region, Mapping) or region.get("from_name") != head.from_name:
            continue
        score = None if by_person else _share(region.get("score"))
        found = list(_spans_of_region(region, head, text, score))
        spans.extend(span for span in found if span is not None)
        left_out += found.count(None)
    return tuple(spans), left_out


def _spans_of_region(region: Region, head: Head, text: str, score: float | None) -> Iterator[Span | None]:
    """A span for each label, None for each that is of no use."""
    value = region.get("value")
    labels = value.get("labels") if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping) or not isinstance(labels, list) or region.get("to_name") != head.to_name:
        yield None
        return
    start, end = _integer(value.get("start")), _integer(value.get("end"))
    for label in labels:
        if start is None or end is None or not 0 <= start < end <= len(text) or label not in head.labels:
            yield None
        else:
            yield Span(start, end, label, score)


def training_example(annotations: Sequence[Annotation], head: Head, text: str) -> Example | None:
    """What a task's annotations teach a head; None if none of them counts.

    The latest ground truth; else of two annotators the one updated last; else the spans in a strict majority. Each
    annotator speaks once, by their last annotation. Skips and annotations that nobody opened are left out.
    """
    usable = sorted(
        (one for one in annotations if not one.was_cancelled and not one.unopened), key=lambda one: one.age_key
    )
    if not usable:
        return None
    truths = [one for one in usable if one.ground_truth]
    last = {_annotator(one): one for one in usable}
    voters = sorted(last.values(), key=lambda one: one.age_key)
    if truths or len(voters) <= 2:
        voters = [truths[-1] if truths else voters[-1]]
    read = [spans_of(one, head, text) for one in voters]
    votes = Counter(span for spans, _ in read for span in (spans if len(read) == 1 else set(spans)))
    majority = votes.elements() if len(read) == 1 else (span for span, n in votes.items() if 2 * n > len(read))
    spans, overlapping = longest_first(majority)
    return Example(
        task_id=voters[0].task_id,
        spans=spans,
        annotation_ids=tuple(sorted(one.id for one in voters)),
        dropped=overlapping + sum(left_out for _, left_out in read),
    )


def _annotator(annotation: Annotation) -> tuple[str, int]:
    """Who made it. Without a name everybody is somebody else."""
    if annotation.completed_by is None:
        return "annotation", annotation.id
    return "user", annotation.completed_by


def regions(spans: Iterable[Span], head: Head, text: str) -> list[dict[str, Any]]:
    """Label Studio's result for spans of a text. Ids are the same on every call, and unique in the result."""
    seen: Counter[Span] = Counter()
    result: list[dict[str, Any]] = []
    for span in spans:
        region: dict[str, Any] = {
            "id": _digest([head.from_name, span.start, span.end, span.label, seen[span]])[:12],
            "from_name": head.from_name,
            "to_name": head.to_name,
            "type": "labels",
            "value": {
                "start": span.start,
                "end": span.end,
                "text": text[span.start : span.end],
                "labels": [span.label],
            },
        }
        if span.score is not None:
            region["score"] = round(span.score, 4)
        seen[span] += 1
        result.append(region)
    return result


def problems(prediction: Mapping[str, Any], schema: Schema, data: Mapping[str, Any]) -> list[str]:
    """Why Label Studio's bulk import would drop a prediction, or would show it on the wrong words. Empty: it is good.

    Stricter than Label Studio, which never compares offsets with the text. Names tags and positions, never content.
    """
    score, result = prediction.get("score"), prediction.get("result")
    found = [] if score is None or _share(score) is not None else ["score: not a number from 0 to 1"]
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
    if region.get("type") != "labels":
        faults.append("type is not 'labels'")
    if region.get("score") is not None and _share(region["score"]) is None:
        faults.append("score is not a number from 0 to 1")
    value = region.get("value")
    if not isinstance(value, Mapping):
        return [*faults, "value is not an object"]
    if isinstance(value.get(head.from_name), Mapping):  # Label Studio would read that in its stead
        faults.append(f"value holds an object '{head.from_name}'")
    labels = value.get("labels")
    if not isinstance(labels, list) or not labels or any(label not in head.labels for label in labels):
        faults.append(f"labels are not of '{head.from_name}'")
    return faults + _offset_faults(value, head, data)


def _offset_faults(value: Mapping[str, Any], head: Head, data: Mapping[str, Any]) -> list[str]:
    try:
        text = text_of(data, head)
    except DataError as error:
        return [error.what]
    start, end = _integer(value.get("start")), _integer(value.get("end"))
    if start is None or end is None:
        return ["start and end are not integers"]
    if not 0 <= start < end <= len(text):
        return ["start and end are not inside the text"]
    return ["text is not what stands at the offsets"] if value.get("text", text[start:end]) != text[start:end] else []


def _drawn_by_hand(result: Iterable[Region]) -> bool:
    """True if a region came through Label Studio's page: only that writes `origin`."""
    return any("origin" in region for region in result)


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # JSON's integers have no end
        return None
    return number if math.isfinite(number) else None


def _share(value: object) -> float | None:
    number = _number(value)
    return number if number is not None and 0 <= number <= 1 else None


def _identity(value: object) -> int | None:
    """An id that Label Studio sends bare in some answers and inside an object in others."""
    return _integer(value.get("id")) if isinstance(value, Mapping) else _integer(value)


def _moment(iso: str) -> datetime:
    try:
        moment = datetime.fromisoformat(iso)
    except ValueError:
        return _LONG_AGO
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _digest(parts: Sequence[object]) -> str:
    canonical = json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
    return blake2b(canonical.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
