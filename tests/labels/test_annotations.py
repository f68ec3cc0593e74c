"""Reading annotations, and the rule for training examples."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewise.errors import InputError
from edgewise.labels.annotations import parse_annotation, parse_annotations, training_example
from edgewise.labels.regions import spans_of
from edgewise.labels.spans import Span
from edgewise.labels.texts import text_of
from tests.labels.material import (
    ANNA,
    BOB,
    FIELDS,
    HEAD,
    MOOD,
    TEXT,
    TOPICS,
    YORK,
    annotation,
    json_values,
    judged,
    learnt,
    odd_result,
    recorded,
    region,
    taught,
)

# Reading annotations


def test_an_annotation_drawn_by_hand_is_read_with_its_emoji() -> None:
    body = recorded("webhook_annotation_created_ui_ner_emoji")
    read = parse_annotation(body["annotation"], body["task"]["id"])
    text = text_of(body["task"]["data"], HEAD)
    spans, left_out = spans_of(read.result, HEAD, text)
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


@settings(deadline=None)  # the machine is shared
@given(st.dictionaries(st.sampled_from([*FIELDS, "parent_prediction"]), json_values), odd_result)
def test_odd_content_of_an_annotation_never_raises(fields: dict[str, Any], result: Any) -> None:
    one = parse_annotation({**fields, "result": result, "id": 1}, 7)
    example = training_example([one], HEAD, TEXT)
    assert example is None or all(0 <= span.start < span.end <= len(TEXT) for span in example.spans)


def test_an_annotation_does_not_keep_the_predictions_score() -> None:
    one = annotation(1, result=[region(*ANNA, score=0.5, origin="prediction")])
    example = training_example([one], HEAD, TEXT)
    assert example is not None
    assert example.spans[0].score is None
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


# Choices


def test_a_choice_is_a_label_on_the_whole_text() -> None:
    assert learnt(MOOD, judged(1, MOOD, "good")) == ("good",)
    assert learnt(TOPICS, judged(1, TOPICS, "b", "a")) == ("a", "b")


def test_where_one_choice_is_to_be_made_none_teaches_nothing() -> None:
    assert learnt(MOOD, judged(1, MOOD)) is None
    assert learnt(MOOD, judged(1, MOOD, "neither")) is None


def test_where_many_may_be_chosen_none_is_an_answer() -> None:
    assert learnt(TOPICS, judged(1, TOPICS)) == ()


def test_three_annotators_teach_the_choice_of_two() -> None:
    votes = judged(1, MOOD, "good", by=1), judged(2, MOOD, "bad", by=2), judged(3, MOOD, "good", by=3)
    assert learnt(MOOD, *votes) == ("good",)
    assert learnt(MOOD, *votes[:2], judged(3, MOOD, by=3)) is None
    many = judged(1, TOPICS, "a", by=1), judged(2, TOPICS, "a", "b", by=2), judged(3, TOPICS, "b", by=3)
    assert learnt(TOPICS, *many) == ("a", "b")


def test_of_two_annotators_the_last_choice_counts() -> None:
    assert learnt(MOOD, judged(1, MOOD, "good", by=1), judged(2, MOOD, "bad", by=2)) == ("bad",)


def test_the_digest_of_a_choice_changes_with_the_choice() -> None:
    examples = [
        training_example([judged(n, MOOD, label)], MOOD, TEXT) for n, label in enumerate(("good", "good", "bad"))
    ]
    good, same, bad = (example.digest for example in examples if example)
    assert good == same != bad


@pytest.mark.parametrize(
    "listed", [None, 7, "x", {}, [None], [[]], [{}], [{"id": None}], [{"id": "7"}], [{"id": True}]]
)
def test_what_is_no_list_of_annotations_has_none(listed: object) -> None:
    assert parse_annotations(listed, 1, {}) == []


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**40])
def test_an_id_that_no_database_keeps_is_none(number: int) -> None:
    assert parse_annotations([{"id": number}], 1, {}) == []
    (read,) = parse_annotations([{"id": 1, "completed_by": number, "parent_prediction": {"id": number}}], 1, {})
    assert (read.completed_by, read.parent_prediction) == (None, None)


def test_a_bad_neighbour_costs_an_annotation_nothing_and_what_it_began_from_is_remembered() -> None:
    (read,) = parse_annotations([None, {"id": 5, "result": [], "lead_time": 1.5}, {"result": []}], 1, {5: 9})
    assert (read.id, read.parent_prediction) == (5, 9)
