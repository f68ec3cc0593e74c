"""What the tests of labels/ work with: a config with four heads, awkward texts, odd JSON, annotations in a line."""

import json
from itertools import permutations
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from label_studio_sdk.label_interface import LabelInterface

from edgewise.labels.annotations import Annotation, parse_annotation, training_example
from edgewise.labels.schema import Head, parse_schema
from edgewise.labels.spans import Span

RECORDED = Path(__file__).parents[1] / "recorded"
XML = (
    '<View><Labels name="label" toName="text"><Label value="PER"/><Label value="O &amp; G" alias="ORG"/></Labels>'
    '<Labels name="labels" toName="text"><Label value="X"/></Labels><Text name="text" value="$text"/>'
    '<Choices name="mood" toName="text"><Choice value="good"/><Choice value="bad"/></Choices>'
    '<Choices name="topics" toName="text" choice="multiple"><Choice value="a"/>'
    '<Choice value="Bee" alias="b"/></Choices>'
    "</View>"
)
SCHEMA = parse_schema(XML)
HEAD, OTHER, MOOD, TOPICS = SCHEMA.heads
ORACLE = LabelInterface(XML)
TEXT = "Anna met Bob in New York."

# Emoji with joiners, combining marks, line ends of both kinds, right-to-left, scripts without blanks.
pieces = st.sampled_from(
    ["Anna", " ", "👍", "👩‍👧", "é", "\r\n", "\n", "שלום", "\u202e", "العربية", "東京", "ไทย", "\u0301", "\t"]
)
characters = st.characters(exclude_categories=["Cs"])
texts = st.lists(pieces | st.text(characters, min_size=1, max_size=5), min_size=1, max_size=12).map("".join)


@st.composite
def texts_with_spans(draw: st.DrawFn) -> tuple[str, list[Span]]:
    text = draw(texts)
    spans = []
    for _ in range(draw(st.integers(0, 5))):
        start = draw(st.integers(0, len(text) - 1))
        end = draw(st.integers(start + 1, len(text)))
        score = draw(st.none() | st.floats(0, 1))
        spans.append(Span(start, end, draw(st.sampled_from(HEAD.labels)), score))
    return text, spans


def recorded(name: str) -> Any:
    return json.loads((RECORDED / f"{name}.json").read_text())


def region(start: Any, end: Any, *labels: Any, **more: Any) -> dict[str, Any]:
    value = {"start": start, "end": end, "labels": list(labels)}
    return {"from_name": "label", "to_name": "text", "type": "labels", "value": value, **more}


def annotation(number: int, *spans: tuple[int, int, str], by: int | None = 1, **more: Any) -> Annotation:
    """One made by hand at minute `number`."""
    raw = {
        "id": number,
        "completed_by": by,
        "lead_time": 3.5,
        "updated_at": f"2026-11-20T13:{number:02}:00.000000Z",
        "result": [region(*span, origin="manual") for span in spans],
    }
    return parse_annotation(raw | more, task_id=7)


def taught(*annotations: Annotation) -> tuple[Span, ...] | None:
    """The example's spans, which must not depend on the order of the annotations."""
    examples = {training_example(order, HEAD, TEXT) for order in permutations(annotations)}
    assert len(examples) == 1
    example = examples.pop()
    return example.spans if example else None


ANNA, BOB, YORK = (0, 4, "PER"), (9, 12, "PER"), (16, 24, "ORG")


def chosen(head: Head, *labels: Any, **more: Any) -> dict[str, Any]:
    """A region of choices."""
    return {
        "from_name": head.from_name,
        "to_name": "text",
        "type": "choices",
        "value": {"choices": list(labels)},
        **more,
    }


def judged(number: int, head: Head, *labels: str, by: int | None = 1, **more: Any) -> Annotation:
    """An annotation of choices alone; without labels nothing was chosen."""
    return annotation(number, by=by, result=[chosen(head, *labels, origin="manual")] if labels else [], **more)


def learnt(head: Head, *annotations: Annotation) -> tuple[str, ...] | None:
    """The labels of the example, which must not depend on the order of the annotations."""
    examples = {training_example(order, head, TEXT) for order in permutations(annotations)}
    assert len(examples) == 1
    example = examples.pop()
    if example is None:
        return None
    assert all((span.start, span.end, span.score) == (0, len(TEXT), None) for span in example.spans)
    return tuple(span.label for span in example.spans)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
odd_value = st.dictionaries(st.sampled_from(["start", "end", "labels", "text"]), json_values | st.just(["PER"]))
odd_region = st.fixed_dictionaries(
    {},
    optional={
        "id": json_values,
        "from_name": json_values | st.just("label"),
        "to_name": json_values | st.just("text"),
        "type": json_values | st.just("labels"),
        "score": json_values | st.just(10**400),
        "value": json_values | odd_value,
        "origin": json_values,
    },
)
odd_result = json_values | st.lists(json_values | odd_region, max_size=4)
FIELDS = ["result", "updated_at", "created_at", "completed_by", "ground_truth", "was_cancelled", "lead_time"]
