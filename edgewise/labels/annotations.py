"""Annotations of Label Studio, and what a task's annotations teach: its training example.

Knows what an annotation's fields mean and who of several annotators is believed; regions are read by `regions`. Knows
nothing of tokens, models, databases or the network.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from edgewise.errors import InputError
from edgewise.labels.regions import Region, integer, number, spans_of
from edgewise.labels.schema import Head, digest
from edgewise.labels.spans import Span, longest_first

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
        return digest([[span.start, span.end, span.label] for span in sorted(self.spans)])


def parse_annotation(raw: Mapping[str, Any], task_id: int) -> Annotation:
    """An annotation from Label Studio's JSON: of a webhook, a list, an export or a task. InputError if it has no id."""
    annotation_id = _number(raw.get("id"))
    if annotation_id is None:
        raise InputError("An annotation has no id.", "Send annotations as Label Studio's API lists them.")
    result = raw.get("result")
    regions = tuple(region for region in result if isinstance(region, dict)) if isinstance(result, list) else ()
    lead_time_s = number(raw.get("lead_time"))
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


def parse_annotations(listed: object, task_id: int, begun: Mapping[int, int]) -> list[Annotation]:
    """A task's annotations, as Label Studio lists them. What has no id cannot be told from its neighbour: left out.

    begun: annotation -> the prediction that it began from, where the list may no longer say.
    """
    found = []
    for raw in listed if isinstance(listed, list) else []:
        annotation_id = _number(raw.get("id")) if isinstance(raw, Mapping) else None
        if annotation_id is not None:
            parent = raw.get("parent_prediction") or begun.get(annotation_id)
            found.append(parse_annotation({**raw, "parent_prediction": parent}, task_id))
    return found


def training_example(annotations: Sequence[Annotation], head: Head, text: str) -> Example | None:
    """What a task's annotations teach a head; None if none of them counts, or if one choice is to be made and none is.

    The latest ground truth; else of two annotators the one updated last; else the labels in a strict majority. Each
    annotator speaks once, by their last annotation. Skips and annotations that nobody opened are left out.
    """
    voters = _voters(annotations)
    if not voters:
        return None
    read = [spans_of(one.result, head, text) for one in voters]
    votes = Counter(_by_hand(span) for spans, _ in read for span in (spans if len(read) == 1 else set(spans)))
    majority = votes.elements() if len(read) == 1 else (span for span, n in votes.items() if 2 * n > len(read))
    spans, overlapping = longest_first(majority) if head.kind == "spans" else _choices(majority, head)
    if head.kind == "choice" and not spans:
        return None
    return Example(
        task_id=voters[0].task_id,
        spans=spans,
        annotation_ids=tuple(sorted(one.id for one in voters)),
        dropped=overlapping + sum(left_out for _, left_out in read),
    )


def _voters(annotations: Sequence[Annotation]) -> list[Annotation]:
    """The annotations that are believed: all of them agree, or a majority of them decides."""
    usable = sorted(
        (one for one in annotations if not one.was_cancelled and not one.unopened), key=lambda one: one.age_key
    )
    truths = [one for one in usable if one.ground_truth]
    if truths:
        return truths[-1:]
    last = {_annotator(one): one for one in usable}
    voters = sorted(last.values(), key=lambda one: one.age_key)
    return voters if len(voters) > 2 else voters[-1:]


def _by_hand(span: Span) -> Span:
    """A span that a person vouches for, whatever score a model once gave it."""
    return Span(span.start, span.end, span.label)


def _choices(chosen: Iterable[Span], head: Head) -> tuple[tuple[Span, ...], int]:
    """Each choice once, in the config's order, and how many doubles were dropped."""
    every = list(chosen)
    kept = sorted(set(every), key=lambda span: head.labels.index(span.label))
    return tuple(kept), len(every) - len(kept)


def _annotator(annotation: Annotation) -> tuple[str, int]:
    """Who made it. Without a name everybody is somebody else."""
    if annotation.completed_by is None:
        return "annotation", annotation.id
    return "user", annotation.completed_by


def _drawn_by_hand(result: Iterable[Region]) -> bool:
    """True if a region came through Label Studio's page: only that writes `origin`."""
    return any("origin" in region for region in result)


def _identity(value: object) -> int | None:
    """An id that Label Studio sends bare in some answers and inside an object in others."""
    return _number(value.get("id")) if isinstance(value, Mapping) else _number(value)


def _number(value: object) -> int | None:
    """An id that a database can keep: of 64 bits, as all of Label Studio's are."""
    found = integer(value)
    return found if found is not None and -(2**63) <= found < 2**63 else None


def _moment(iso: str) -> datetime:
    try:
        moment = datetime.fromisoformat(iso)
    except ValueError:
        return _LONG_AGO
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
