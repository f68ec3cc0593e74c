"""Tasks as people make them, and worse: emoji, joiners, right-to-left, tabs, quotes, every kind of line end."""

from typing import Any

from hypothesis import strategies as st

from edgewise.labels.regions import regions
from edgewise.labels.schema import Head, Schema, parse_schema
from edgewise.labels.spans import Span, on_whole

NER = """<View><Labels name="label" toName="text"><Label value="PER"/><Label value="a;b, c"/></Labels>
<Text name="text" value="$text"/></View>"""
CHOICE = """<View><Choices name="mood" toName="text"><Choice value="good"/><Choice value="[bad]"/></Choices>
<Text name="text" value="$text"/></View>"""
MIXED = """<View>
<Labels name="label" toName="text"><Label value="PER"/><Label value="ORG"/></Labels>
<Labels name="role" toName="title"><Label value="A"/><Label value="B"/></Labels>
<Choices name="text" toName="text"><Choice value="x"/><Choice value=" y "/></Choices>
<Choices name="topics" toName="text" choice="multiple"><Choice value="a"/><Choice value="b"/><Choice value="a;b"/>
</Choices>
<Text name="text" value="$text"/><Text name="title" value="$title"/></View>"""
SCHEMAS = [parse_schema(config) for config in (NER, CHOICE, MIXED)]

PIECES = [
    *("Ann", "Ümit", "x", "don't", "東京", "สวัสดี", "שלום", "مرحبا", "e\u0301", "1,000", "#", "# id = 3", "-DOCSTART-"),
    *(
        "👍",
        "👩‍👧",
        "🏳️‍🌈",
        '"',
        '""',
        "'",
        ",",
        ";",
        "|",
        "\t",
        "\n",
        "\r",
        "\r\n",
        " ",
        "  ",
        "\u2028",
        "\x85",
        "\u200f",
    ),
    *("\ufeff", "[]", "null", "=1+1", "\\", "\\n", "O", "B-PER", "http://a.de/x"),
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=8).map("".join) | st.text(max_size=12)
VALUES = TEXTS | st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.lists(TEXTS, max_size=2)
FIELDS = st.sampled_from(
    ["id", "task_id", "label", "mood", "annotated_label", "annotated_annotated_task_id", "other_data", "ä ,\n", ""]
)


@st.composite
def tasks(draw: st.DrawFn, schema: Schema) -> dict[str, Any]:
    """A task of Label Studio with any number of annotations, as its API lists it."""
    data = draw(st.dictionaries(FIELDS, VALUES, max_size=3))
    data |= {head.field: draw(TEXTS) for head in schema.heads}
    annotations = draw(st.lists(annotations_on(data, schema), max_size=3))
    for number, annotation in enumerate(annotations):
        annotation["id"] = 7 + number
    return {"id": draw(st.integers(1, 10**9)), "data": data, "annotations": annotations}


@st.composite
def annotations_on(draw: st.DrawFn, data: dict[str, Any], schema: Schema) -> dict[str, Any]:
    """An annotation of some of the heads."""
    result = [
        one for head in schema.heads for one in regions(draw(spans(data[head.field], head)), head, data[head.field])
    ]
    return {
        "result": result,
        "completed_by": draw(st.none() | st.integers(1, 3)),
        "was_cancelled": draw(st.booleans()),
        "ground_truth": draw(st.booleans()),
        "lead_time": draw(st.none() | st.floats(0, 1e6)),
    }


@st.composite
def spans(draw: st.DrawFn, text: str, head: Head) -> list[Span]:
    """Spans anywhere in the text, overlapping and inside words; or choices."""
    labels = st.sampled_from(head.labels)
    if head.kind == "choice":
        return [on_whole(text, label) for label in draw(st.lists(labels, max_size=1))]
    if head.kind == "choices":
        return [on_whole(text, label) for label in draw(st.lists(labels, unique=True))]
    if not text:
        return []
    places = st.tuples(st.integers(0, len(text) - 1), st.integers(1, 6), labels)
    found = draw(st.lists(places, max_size=4))
    return [Span(start, min(start + length, len(text)), label) for start, length, label in found]
