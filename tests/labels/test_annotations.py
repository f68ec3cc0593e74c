"""Annotations to spans and back; the rule for training examples; Label Studio's own validator as the oracle."""

import json
from collections.abc import Mapping
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_studio_sdk.label_interface import LabelInterface

from edgewise.errors import DataError, InputError
from edgewise.labels.annotations import (
    Annotation,
    parse_annotation,
    problems,
    regions,
    spans_of,
    text_of,
    training_example,
)
from edgewise.labels.schema import parse_schema
from edgewise.labels.spans import Span

RECORDED = Path(__file__).parents[1] / "recorded"
XML = (
    '<View><Labels name="label" toName="text"><Label value="PER"/><Label value="O &amp; G" alias="ORG"/></Labels>'
    '<Labels name="labels" toName="text"><Label value="X"/></Labels><Text name="text" value="$text"/></View>'
)
SCHEMA = parse_schema(XML)
HEAD, OTHER = SCHEMA.heads
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


# Reading annotations


def test_an_annotation_drawn_by_hand_is_read_with_its_emoji() -> None:
    body = recorded("webhook_annotation_created_ui_ner_emoji")
    read = parse_annotation(body["annotation"], body["task"]["id"])
    text = text_of(body["task"]["data"], HEAD)
    spans, left_out = spans_of(read, HEAD, text)
    assert [text[span.start : span.end] for span in spans] == ["Anna", "Acme", "Bob", "Carl", "Zoë"]
    assert (left_out, read.completed_by, read.lead_time, read.parent_prediction) == (0, 1, 22.056, 244)
    assert not read.unopened


def test_a_bulk_annotation_that_nobody_opened_is_known() -> None:
    body = recorded("webhook_annotations_created_from_predictions")
    read = [parse_annotation(raw, raw["task"]) for raw in body["annotation"]]
    assert [one.unopened for one in read] == [True, True, True]


def test_a_bulk_annotation_that_somebody_starred_or_edited_was_opened() -> None:
    raw = recorded("webhook_annotations_created_from_predictions")["annotation"][0]
    assert not parse_annotation(raw | {"ground_truth": True}, 152).unopened
    assert not parse_annotation(raw | {"lead_time": 2.0}, 152).unopened


def test_an_imported_annotation_counts_as_opened() -> None:
    assert not parse_annotation({"id": 1, "result": [], "lead_time": None, "parent_prediction": None}, 7).unopened


def test_the_annotator_may_be_an_object_or_a_number() -> None:
    assert parse_annotation({"id": 1, "completed_by": {"id": 5, "email": "a@b"}}, 7).completed_by == 5
    assert parse_annotation({"id": 1, "completed_by": 5}, 7).completed_by == 5


@pytest.mark.parametrize("raw", [{}, {"id": None}, {"id": "7"}, {"id": True}])
def test_an_annotation_without_an_id_is_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="no id"):
        parse_annotation(raw, 7)


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


@settings(deadline=None)  # the machine is shared
@given(st.dictionaries(st.sampled_from([*FIELDS, "parent_prediction"]), json_values), odd_result)
def test_odd_content_of_an_annotation_never_raises(fields: dict[str, Any], result: Any) -> None:
    one = parse_annotation({**fields, "result": result, "id": 1}, 7)
    example = training_example([one], HEAD, TEXT)
    assert example is None or all(0 <= span.start < span.end <= len(TEXT) for span in example.spans)


# The text of a task


def test_an_empty_text_is_a_text() -> None:
    assert text_of({"text": ""}, HEAD) == ""


def test_a_text_that_mentions_an_address_is_a_text() -> None:
    assert text_of({"text": "see http://example.com/ there"}, HEAD)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({}, "is missing"),
        ({"other": "x"}, "is missing"),
        ({"text": None}, "is not a text"),
        ({"text": ["secret"]}, "is not a text"),
        ({"text": 7}, "is not a text"),
        ({"text": "http://secret/a.txt"}, "an address"),
        ({"text": " S3://secret/a.txt\n"}, "an address"),
        ({"text": "gs://secret"}, "an address"),
        ({"text": "secret \ud83d"}, "half a character"),
    ],
)
def test_a_task_without_a_text_is_refused_by_field_and_never_quoted(data: Mapping[str, Any], reason: str) -> None:
    with pytest.raises(DataError, match=reason) as raised:
        text_of(data, HEAD)
    assert "'text'" in str(raised.value)
    assert "secret" not in str(raised.value)


# Spans and regions


@settings(deadline=None)  # the machine is shared
@given(texts_with_spans())
def test_spans_come_back_from_their_regions(case: tuple[str, list[Span]]) -> None:
    text, spans = case
    result = regions(spans, HEAD, text)
    again, left_out = spans_of(result, HEAD, text)
    assert (list(again), left_out) == (spans, 0)
    assert all(a.score == (None if b.score is None else round(b.score, 4)) for a, b in zip(again, spans, strict=True))


@settings(deadline=None)  # the machine is shared
@given(texts_with_spans())
def test_a_region_quotes_the_text_at_its_offsets_after_a_trip_through_json(case: tuple[str, list[Span]]) -> None:
    text, spans = case
    prediction = {"result": regions(spans, HEAD, text), "score": 0.25}
    sent = json.loads(json.dumps(prediction))
    for one in sent["result"]:
        assert text[one["value"]["start"] : one["value"]["end"]] == one["value"]["text"]
    assert len({one["id"] for one in sent["result"]}) == len(spans)
    assert sent["result"] == regions(spans, HEAD, text)
    assert problems(sent, SCHEMA, {"text": text}) == []
    assert ORACLE.validate_prediction(sent, return_errors=True) == []


def test_a_region_with_two_labels_is_two_spans() -> None:
    assert spans_of([region(0, 4, "PER", "ORG")], HEAD, TEXT) == ((Span(0, 4, "PER"), Span(0, 4, "ORG")), 0)


@pytest.mark.parametrize(
    "bad",
    [
        region(0, 4, "MISC"),
        region(0, 4, "O & G"),
        region(4, 4, "PER"),
        region(5, 4, "PER"),
        region(-1, 4, "PER"),
        region(0, len(TEXT) + 1, "PER"),
        region("0", 4, "PER"),
        region(0.0, 4, "PER"),
        region(False, 4, "PER"),
        region(0, 4, ["PER"]),
        region(0, 4, "PER", to_name="elsewhere"),
        region(0, 4, "PER", value="PER"),
        {"from_name": "label"},
    ],
)
def test_a_region_of_no_use_is_left_out_and_counted(bad: dict[str, Any]) -> None:
    assert spans_of([bad, region(*ANNA)], HEAD, TEXT) == ((Span(*ANNA),), 1)


def test_regions_of_other_heads_are_not_counted() -> None:
    result = [region(0, 4, "X", from_name="labels"), {"type": "relation", "from_id": "a", "to_id": "b"}]
    assert spans_of(result, HEAD, TEXT) == ((), 0)


def test_an_annotation_does_not_keep_the_predictions_score() -> None:
    one = annotation(1, result=[region(*ANNA, score=0.5, origin="prediction")])
    assert spans_of(one, HEAD, TEXT)[0][0].score is None
    assert spans_of(one.result, HEAD, TEXT)[0][0].score == 0.5


# The training example of a task


def test_a_skip_is_never_a_training_example() -> None:
    body = recorded("webhook_annotation_created_ui_skipped_with_result")
    assert parse_annotation(body["annotation"], 1).was_cancelled
    assert taught(annotation(1, ANNA, was_cancelled=True)) is None
    assert taught(annotation(1, ANNA, was_cancelled=True, ground_truth=True), annotation(2, BOB)) == (Span(*BOB),)


def test_nobodys_annotation_teaches_nothing() -> None:
    assert training_example([], HEAD, TEXT) is None
    assert taught(annotation(1, lead_time=None, parent_prediction=3, result=[region(*ANNA)])) is None


def test_a_submitted_empty_result_means_nothing_here() -> None:
    example = training_example([annotation(1)], HEAD, TEXT)
    assert example is not None
    assert (example.spans, example.annotation_ids, example.dropped) == ((), (1,), 0)


def test_the_latest_ground_truth_goes_before_any_majority() -> None:
    truths = annotation(1, BOB, ground_truth=True), annotation(2, ANNA, ground_truth=True)
    assert taught(*truths, annotation(3, YORK, by=2), annotation(4, YORK, by=3)) == (Span(*ANNA),)


def test_of_two_annotators_the_one_updated_last_counts() -> None:
    assert taught(annotation(1, ANNA, by=1), annotation(2, BOB, by=2)) == (Span(*BOB),)
    assert taught(annotation(3, ANNA, by=1), annotation(2, BOB, by=2)) == (Span(*ANNA),)


def test_the_last_update_is_found_whatever_its_precision_and_zone() -> None:
    whole = annotation(1, ANNA, updated_at="2026-11-20T13:00:00Z")
    later = annotation(2, BOB, by=2, updated_at="2026-11-20T13:00:00.5Z")
    elsewhere = annotation(3, YORK, by=2, updated_at="2026-11-20T14:30:00+02:00")
    assert taught(whole, later) == (Span(*BOB),)
    assert taught(whole, elsewhere) == (Span(*ANNA),)


def test_of_one_annotator_the_last_annotation_counts() -> None:
    assert taught(annotation(1, ANNA), annotation(2, BOB)) == (Span(*BOB),)


def test_three_annotators_teach_what_two_of_them_drew() -> None:
    example = training_example(
        [annotation(1, ANNA, BOB, by=1), annotation(2, ANNA, YORK, by=2), annotation(3, YORK, ANNA, by=3)], HEAD, TEXT
    )
    assert example is not None
    assert (example.spans, example.annotation_ids, example.dropped) == ((Span(*ANNA), Span(*YORK)), (1, 2, 3), 0)


def test_half_of_four_annotators_is_no_majority() -> None:
    assert taught(*(annotation(n, ANNA if n < 3 else BOB, by=n) for n in range(1, 5))) == ()


def test_an_annotator_has_one_vote_for_a_span() -> None:
    first = annotation(1, BOB, by=1), annotation(2, BOB, BOB, by=1)
    assert taught(*first, annotation(3, ANNA, by=2), annotation(4, ANNA, by=3)) == (Span(*ANNA),)


def test_annotations_without_a_name_are_of_different_people() -> None:
    assert taught(*(annotation(n, ANNA, by=None) for n in (1, 2)), annotation(3, BOB, by=None)) == (Span(*ANNA),)


def test_of_overlapping_spans_the_longest_stays_and_the_rest_is_counted() -> None:
    example = training_example(
        [annotation(1, (16, 19, "PER"), (16, 24, "ORG"), (20, 24, "PER"), ANNA, (0, 9, "MISC"))], HEAD, TEXT
    )
    assert example is not None
    assert (example.spans, example.dropped) == ((Span(*ANNA), Span(16, 24, "ORG")), 3)


def test_the_digest_of_an_example_is_about_its_spans_alone() -> None:
    digests = [
        training_example([one], HEAD, TEXT)
        for one in (annotation(1, ANNA, BOB), annotation(2, BOB, ANNA, by=9), annotation(1, ANNA))
    ]
    first, same, other = (example.digest for example in digests if example)
    assert first == same != other


# Predictions before they are sent

GOOD = {"score": 0.5, "result": [region(*ANNA, id="a"), region(*BOB, id="b")]}


def broken(**changes: Any) -> dict[str, Any]:
    return {"score": 0.5, "result": [{**region(*ANNA, id="a"), **changes}]}


@pytest.mark.parametrize(
    ("prediction", "problem"),
    [
        ({"score": 0.5}, "result: not a list"),
        ({"result": "PER"}, "result: not a list"),
        ({"result": [], "score": 1.5}, "score: not a number from 0 to 1"),
        ({"result": [], "score": float("nan")}, "score: not a number from 0 to 1"),
        ({"result": [], "score": "0.5"}, "score: not a number from 0 to 1"),
        ({"result": [], "score": True}, "score: not a number from 0 to 1"),
        ({"result": ["PER"]}, "region 0: not an object"),
        (broken(from_name="elsewhere"), "region 0: from_name is none of ours"),
        (broken(to_name="elsewhere"), "region 0: to_name is not 'text'"),
        (broken(type="choices"), "region 0: type is not 'labels'"),
        (broken(score=7), "region 0: score is not a number from 0 to 1"),
        (broken(value="PER"), "region 0: value is not an object"),
        (
            broken(value={"start": 0, "end": 4, "labels": ["PER"], "label": {}}),
            "region 0: value holds an object 'label'",
        ),
        (broken(value={"start": 0, "end": 4, "labels": ["Anna"]}), "region 0: labels are not of 'label'"),
        (broken(value={"start": 0, "end": 4, "labels": []}), "region 0: labels are not of 'label'"),
        (broken(value={"start": "0", "end": 4, "labels": ["PER"]}), "region 0: start and end are not integers"),
        (broken(value={"start": 0, "end": 99, "labels": ["PER"]}), "region 0: start and end are not inside the text"),
        (
            broken(value={"start": 0, "end": 4, "labels": ["PER"], "text": "Bob"}),
            "region 0: text is not what stands at the offsets",
        ),
        ({"result": [region(*ANNA, id="a"), region(*BOB, id="a")]}, "region 1: id is used twice"),
    ],
)
def test_a_bad_prediction_is_named_without_quoting_it(prediction: dict[str, Any], problem: str) -> None:
    assert problems(prediction, SCHEMA, {"text": TEXT}) == [problem]


def test_a_prediction_for_a_task_without_text_is_a_problem() -> None:
    assert problems({"result": []}, SCHEMA, {}) == []
    assert problems(broken(), SCHEMA, {}) == ["region 0: The task's field 'text' is missing."]


def mutated(draw: st.DrawFn) -> dict[str, Any]:
    prediction: dict[str, Any] = json.loads(json.dumps(GOOD))
    spot = draw(st.sampled_from(["prediction", "region", "value"]))
    target = {
        "prediction": prediction,
        "region": prediction["result"][0],
        "value": prediction["result"][0]["value"],
    }[spot]
    key = draw(st.sampled_from([*target, "extra", "label"]))
    if draw(st.booleans()):
        target.pop(key, None)
    else:
        target[key] = draw(json_values | st.sampled_from(["labels", "text", "X", ["X"], ["O & G"], 1.5, 0]))
    return prediction


@settings(deadline=None)  # the machine is shared
@given(st.composite(mutated)())
def test_what_passes_ours_passes_label_studios_validator(prediction: dict[str, Any]) -> None:
    if not problems(prediction, SCHEMA, {"text": TEXT}):
        assert ORACLE.validate_prediction(prediction, return_errors=True) == []


@settings(deadline=None)  # the machine is shared
@given(odd_result, json_values)
def test_any_json_that_passes_ours_passes_label_studios_validator(result: Any, score: Any) -> None:
    prediction = {"result": result, "score": score}
    if not problems(prediction, SCHEMA, {"text": TEXT}):
        assert ORACLE.validate_prediction(prediction, return_errors=True) == []
