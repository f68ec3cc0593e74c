"""Spans to regions and back; what Label Studio would refuse, with its own validator as the oracle."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewise.labels.regions import problems, regions, spans_of
from edgewise.labels.spans import Span, on_whole
from tests.labels.material import (
    ANNA,
    BOB,
    HEAD,
    MOOD,
    ORACLE,
    SCHEMA,
    TEXT,
    TOPICS,
    chosen,
    json_values,
    odd_result,
    region,
    texts_with_spans,
)


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


# Predictions before they are sent

SOUND = {"score": 0.5, "result": [region(*ANNA, id="a"), region(*BOB, id="b")]}


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
    prediction: dict[str, Any] = json.loads(json.dumps(SOUND))
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


# Choices


@given(st.lists(st.sampled_from(TOPICS.labels), unique=True), st.none() | st.floats(0, 1), st.text(max_size=5))
def test_choices_come_back_from_their_region(labels: list[str], score: float | None, text: str) -> None:
    spans = [on_whole(text, label, score) for label in labels]
    result = regions(spans, TOPICS, text)
    assert spans_of(result, TOPICS, text) == (tuple(spans), 0)
    assert len(result) == bool(labels)
    prediction = {"result": result, "score": 0.5}
    assert problems(prediction, SCHEMA, {"text": text}) == []
    assert ORACLE.validate_prediction(prediction, return_errors=True) == []


def test_the_least_sure_choice_gives_the_region_its_score() -> None:
    spans = [on_whole(TEXT, "a", 0.9), on_whole(TEXT, "b", 0.61234)]
    assert regions(spans, TOPICS, TEXT)[0]["score"] == 0.6123


def test_a_second_choice_where_one_is_to_be_made_is_left_out() -> None:
    assert spans_of([chosen(MOOD, "good", "bad")], MOOD, TEXT) == ((on_whole(TEXT, "good"),), 1)
    assert problems({"result": [chosen(MOOD, "good", "bad")]}, SCHEMA, {"text": TEXT}) == [
        "region 0: more than one choice is made"
    ]


@pytest.mark.parametrize(
    "value", [{"labels": ["good"]}, {"choices": "good"}, {"choices": ["awful"]}, {"choices": []}, {}]
)
def test_a_choice_of_another_form_is_a_problem(value: dict[str, Any]) -> None:
    one = {"from_name": "mood", "to_name": "text", "type": "choices", "value": value}
    assert problems({"result": [one]}, SCHEMA, {"text": TEXT}) == ["region 0: choices are not of 'mood'"]
    assert not spans_of([one], MOOD, TEXT)[0]
