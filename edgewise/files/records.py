"""What all exchange formats carry: a task's data, and what people answered to it.

Label Studio's JSON of tasks to records and back. A record has the spans and choices of the heads; region ids, who drew
what by hand, relations and the results of other tags stay behind: only Label Studio's own format keeps those. Knows
nothing of files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgewise.errors import DataError
from edgewise.labels.regions import integer, number, regions, spans_of
from edgewise.labels.schema import Head, Schema
from edgewise.labels.spans import Span
from edgewise.labels.texts import text_of

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """One annotation. spans: by from_name, those heads left out to which it says nothing. lead_time: seconds."""

    spans: Mapping[str, tuple[Span, ...]] = field(default_factory=dict)
    annotator: int | None = None
    was_cancelled: bool = False
    ground_truth: bool = False
    lead_time: float | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """A task with its answers, the oldest first."""

    task_id: int
    data: Mapping[str, Any]
    answers: tuple[Answer, ...] = ()


def record_of(task: Mapping[str, Any], schema: Schema, number: int) -> tuple[Record, int]:
    """A task of Label Studio as a record, and how many of its regions that leaves out. number: its id if it has none.

    Scores are left out: what a person has submitted, a person vouches for.
    """
    data = task.get("data") or {}
    answers = []
    left_out = 0
    for annotation in annotations_of(task):
        spans, missing = _spans(annotation, schema, data)
        left_out += missing
        answers.append(Answer(spans, *(annotation[name] for name in _FLAGS)))
    task_id = integer(task.get("id"))
    return Record(number if task_id is None else task_id, data, tuple(answers)), left_out


_FLAGS = ("completed_by", "was_cancelled", "ground_truth", "lead_time")  # in the order of Answer's fields


def _spans(annotation: Json, schema: Schema, data: Mapping[str, Any]) -> tuple[dict[str, tuple[Span, ...]], int]:
    found = {}
    known = 0
    for head in schema.heads:
        spans, _ = spans_of(annotation["result"], head, text_in(data, head))
        if spans:
            found[head.from_name] = tuple(Span(span.start, span.end, span.label) for span in spans)
            known += len(spans)
    return found, max(0, sum(map(_labels, annotation["result"])) - known)


def _labels(region: Any) -> int:
    """How many labels a region gives; one for what is none of ours."""
    value = region.get("value") if isinstance(region, Mapping) else None
    given = value.get(str(region.get("type"))) if isinstance(value, Mapping) else None
    return max(1, len(given)) if isinstance(given, list) else 1


def text_in(data: Mapping[str, Any], head: Head) -> str:
    """The text that a head reads; "" where it can read none, so that no span is in it."""
    try:
        return text_of(data, head)
    except DataError:
        return ""


def task_of(record: Record, schema: Schema) -> Json:
    """A record as Label Studio imports it."""
    annotations = []
    for answer in record.answers:
        result: list[Json] = []
        for head in schema.heads:
            result += regions(answer.spans.get(head.from_name, ()), head, text_in(record.data, head))
        annotations.append(
            {
                "result": result,
                "completed_by": answer.annotator,
                "was_cancelled": answer.was_cancelled,
                "ground_truth": answer.ground_truth,
                "lead_time": answer.lead_time,
            }
        )
    return {"data": dict(record.data), "annotations": annotations}


def plain_task(task: Mapping[str, Any]) -> Json:
    """A task with nothing but what survives an import: data, meta, annotations and predictions, without ids and times.

    So the export of an import is the file that was imported, byte for byte.
    """
    made: Json = {"data": task.get("data") or {}, "annotations": annotations_of(task)}
    if task.get("meta"):
        made["meta"] = task["meta"]
    predictions = [
        {"result": one.get("result") or [], "score": number(one.get("score")), "model_version": _version(one)}
        for one in _objects(task.get("predictions"))
    ]
    return made | {"predictions": predictions} if predictions else made


def annotations_of(task: Mapping[str, Any]) -> list[Json]:
    """A task's annotations, the oldest first, with what survives an import."""
    found = sorted(_objects(task.get("annotations")), key=lambda one: integer(one.get("id")) or 0)
    return [
        {
            "result": one["result"] if isinstance(one.get("result"), list) else [],
            "completed_by": _person(one.get("completed_by")),
            "was_cancelled": one.get("was_cancelled") is True,
            "ground_truth": one.get("ground_truth") is True,
            "lead_time": number(one.get("lead_time")),
        }
        for one in found
    ]


def _objects(value: Any) -> Sequence[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _person(value: Any) -> int | None:
    return integer(value.get("id")) if isinstance(value, Mapping) else integer(value)


def _version(prediction: Mapping[str, Any]) -> str:
    return str(prediction.get("model_version") or "undefined")
