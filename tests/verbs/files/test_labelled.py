"""Cells to labels and back, splits by text, and what an export of Label Studio teaches."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.errors import DataError, InputError
from edgewise.files.rows import Row
from edgewise.labels.schema import Head, Kind
from edgewise.labels.spans import Document, Span, longest_first, on_whole
from edgewise.verbs.files.exported import control_in, documents_in
from edgewise.verbs.files.labelled import Columns, cell_of, documents_of, head_for, spans_in
from edgewise.verbs.files.split import TEST, VALIDATION, place_of, split
from edgewise.verbs.files.wishes import labels_given

LABELS = ("a", "b;c", "[d]", "e f")
TEXTS = st.text(min_size=1, max_size=40).filter(lambda text: text.strip() != "")


def columns(kind: Kind) -> Columns:
    """A text and a column of this kind."""
    return Columns(("text",), "said", kind)


def row(text: str, cell: str, number: int = 2) -> Row:
    """A row with these cells."""
    return Row(number, {"text": text, "said": cell})


@st.composite
def spans(draw: st.DrawFn, text: str) -> tuple[Span, ...]:
    """Spans of a text without overlaps."""
    found = []
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(text) - 1))
        found.append(Span(start, draw(st.integers(start + 1, len(text))), draw(st.sampled_from(LABELS))))
    return longest_first(found)[0]


@given(st.data(), TEXTS)
def test_spans_written_into_a_cell_are_read_back(data: st.DataObject, text: str) -> None:
    given_spans = data.draw(spans(text))
    assert spans_in(row(text, cell_of(given_spans, "spans")), columns("spans"), LABELS) == given_spans


@given(TEXTS, st.lists(st.sampled_from(LABELS), unique=True))
def test_choices_written_into_a_cell_are_read_back(text: str, labels: list[str]) -> None:
    chosen = tuple(on_whole(text, label) for label in labels)
    assert spans_in(row(text, cell_of(chosen, "choices")), columns("choices"), LABELS) == chosen


def test_several_labels_may_be_separated_by_semicolons() -> None:
    found = spans_in(row("text", " x; y ;"), columns("choices"), ("x", "y", "z"))
    assert found is not None
    assert [span.label for span in found] == ["x", "y"]


@pytest.mark.parametrize("kind", ["choice", "choices", "spans"])
def test_an_empty_cell_is_not_labelled_and_no_label_is_an_answer(kind: Kind) -> None:
    assert spans_in(row("text", " "), columns(kind), LABELS) is None
    if kind != "choice":
        assert spans_in(row("text", "[]"), columns(kind), LABELS) == ()


@pytest.mark.parametrize(
    ("kind", "cell"), [("choice", "zzz"), ("choices", "a;zzz"), ("choices", "[1]"), ("spans", "{}")]
)
def test_a_cell_that_is_none_of_ours_names_its_row(kind: Kind, cell: str) -> None:
    with pytest.raises(DataError, match="Row 7"):
        documents_of([row("text", "", 6), row("text", cell, 7)], columns(kind), LABELS)


def test_one_label_is_nothing_to_choose_from() -> None:
    with pytest.raises(InputError):
        head_for("choice", ["a", "a"], name="label")
    assert head_for("choices", ["a"], name="label").labels == ("a",)


def test_labels_come_from_a_list_or_a_file_with_their_meaning(tmp_path: Any) -> None:
    assert labels_given("a, b,a,") == (("a", "b"), ())
    file = tmp_path / "labels"
    file.write_text("a, or A\tthe first\n\nb\n")
    assert labels_given(f"@{file}") == (("a, or A", "b"), (("a, or A", "the first"),))
    with pytest.raises(InputError):
        labels_given(f"@{tmp_path / 'missing'}")


@given(TEXTS, st.integers(0, 3))
def test_copies_of_a_text_are_on_one_side(text: str, seed: int) -> None:
    assert place_of(text, seed) == place_of(f"  {' '.join(text.split()).casefold()} ", seed)


def test_a_split_has_about_the_shares_that_it_promises() -> None:
    documents = [Document(f"text {number}", ()) for number in range(4000)]
    parts = split(documents, seed=0)
    assert abs(len(parts.test) / 4000 - TEST) < 0.02
    assert abs(len(parts.validation) / 4000 - VALIDATION) < 0.02
    assert sorted((*parts.train, *parts.validation, *parts.test), key=lambda one: one.text) == sorted(
        documents, key=lambda one: one.text
    )
    assert split(documents, seed=1).test != parts.test


def exported(result: list[dict[str, Any]], number: int = 1, **fields: Any) -> Row:
    """A task of an export with one annotation."""
    annotation = {"id": number, "result": result, **fields}
    return Row(number, {"text": "Ada went"}, {"id": number, "annotations": [annotation]})


def choice(*labels: str, name: str = "topic") -> dict[str, Any]:
    """A choice as Label Studio writes it."""
    return {"from_name": name, "to_name": "text", "type": "choices", "value": {"choices": list(labels)}}


def test_an_export_says_which_tag_is_learnt_and_which_labels_it_has() -> None:
    rows = [exported([choice("x")]), exported([choice("y")], 2)]
    found = control_in(rows, None)
    assert (found.from_name, found.kind, found.labels) == ("topic", "choice", {"x", "y"})
    assert control_in([*rows, exported([choice("x", "y")], 3)], None).kind == "choices"
    with pytest.raises(InputError, match="'other', 'topic'"):
        control_in([*rows, exported([choice("z", name="other")], 3)], None)


def test_a_skipped_task_of_an_export_teaches_nothing() -> None:
    head = Head("topic", "text", "text", ("x", "y"), kind="choice")
    rows = [exported([choice("x")]), exported([choice("y")], 2, was_cancelled=True)]
    documents, left_out = documents_in(rows, head)
    assert [span.label for document in documents for span in document.spans] == ["x"]
    assert left_out == 1
