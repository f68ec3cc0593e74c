"""Labels in cells, and texts from columns."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.errors import DataError
from edgewise.files.cells import read_choices, read_labels, read_spans, write_labels
from edgewise.files.rows import Row
from edgewise.files.texts import columns_of, text_of_row
from edgewise.labels.schema import Head
from edgewise.labels.spans import Span, on_whole
from tests.files.material import SCHEMAS, TEXTS, spans

HEADS = [head for schema in SCHEMAS for head in schema.heads]


@given(st.sampled_from(HEADS).flatmap(lambda head: st.tuples(st.just(head), TEXTS)), st.data())
def test_labels_come_back_from_their_cell(made: tuple[Head, str], data: st.DataObject) -> None:
    head, text = made
    labels = tuple(data.draw(spans(text, head)))
    cell = write_labels(labels, head)
    assert (read_labels(Row(2, {"x": cell}), "x", text, head) or ()) == labels


def test_an_empty_cell_and_an_empty_list_are_two_things() -> None:
    head = Head("label", "text", "text", ("PER",))
    assert read_labels(Row(2, {"x": " "}), "x", "Ann", head) is None
    assert read_labels(Row(2, {"x": "[]"}), "x", "Ann", head) == ()


def test_several_choices_are_read_with_semicolons_or_as_json() -> None:
    labels = ("a", "b", "c")
    assert read_choices(Row(2, {"x": "b; a"}), "x", labels) == ("b", "a")
    assert read_choices(Row(2, {"x": '["c"]'}), "x", labels) == ("c",)
    for cell in ("a;d", "a;a", '["a", 1]', "[a"):
        with pytest.raises(DataError, match="Row 2 "):
            read_choices(Row(2, {"x": cell}), "x", labels)


def test_a_region_of_label_studio_is_a_span_for_each_label() -> None:
    region = {"value": {"start": 0, "end": 3, "labels": ["PER", "ORG"], "text": "Ann"}, "score": 0.5}
    found = read_spans(Row(2, {"x": json.dumps([region])}), "x", "Ann", None)
    assert [(span.label, span.score) for span in found] == [("PER", 0.5), ("ORG", 0.5)]


@pytest.mark.parametrize(
    ("item", "what"),
    [
        ({"start": 0, "end": 9, "label": "PER"}, "not inside the text, which has 6 characters"),
        ({"start": 3, "end": 3, "label": "PER"}, "not inside the text"),
        ({"start": "0", "end": 3, "label": "PER"}, "no start and end that are integers"),
        ({"start": True, "end": 3, "label": "PER"}, "no start and end that are integers"),
        ({"start": 0, "end": 3}, "has no label"),
        ({"start": 0, "end": 3, "label": "secret"}, "a label that is not in the set"),
        ({"start": 0, "end": 3, "label": "PER", "text": "cre"}, "another 'text' than stands at its offsets"),
        ("secret", "is no object"),
    ],
)
def test_a_span_that_is_wrong_is_told_by_its_place(item: Any, what: str) -> None:
    good = {"start": 0, "end": 3, "label": "PER"}
    with pytest.raises(DataError) as caught:
        read_spans(Row(7, {"x": json.dumps([good, item])}), "x", "secret", ["PER"])
    assert caught.value.what.startswith("Row 7 has a span in the column 'x' (number 2) that ")
    assert what in caught.value.what
    assert "secret" not in str(caught.value)


def test_a_cell_that_is_no_json_is_told() -> None:
    for cell in ("secret", "{}", "[" * 100_000):
        with pytest.raises(DataError, match="is no JSON"):
            read_spans(Row(2, {"x": cell}), "x", "text", None)


def test_scores_go_along_with_spans() -> None:
    head = Head("label", "text", "text", ("PER",))
    cell = write_labels((Span(0, 3, "PER", 0.123456),), head)
    assert json.loads(cell) == [{"start": 0, "end": 3, "label": "PER", "score": 0.1235}]


def test_a_choice_is_on_the_whole_text() -> None:
    head = Head("mood", "text", "text", ("good", "bad"), kind="choice")
    assert read_labels(Row(2, {"x": "bad"}), "x", "Ann", head) == (on_whole("Ann", "bad"),)


def test_a_text_is_one_column_or_several_by_name() -> None:
    values = {"title": "A", "body": " ", "more": "C\nD"}
    assert text_of_row(values, ["more"]) == "C\nD"
    assert text_of_row(values, ["title", "body", "more"]) == "title: A, more: C\nD"
    assert text_of_row(values, ["body", "title"]) == "title: A"
    assert columns_of(" title, body,,title") == ("title", "body")
