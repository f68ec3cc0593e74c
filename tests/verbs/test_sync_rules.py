"""The rules of sync that need no Label Studio: who is held out, what makes two texts one, what a task teaches."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.labels.annotations import Annotation, parse_annotation
from edgewise.services.store import Project
from edgewise.verbs.sync import (
    after_trouble,
    earliest_training,
    example_digest,
    is_audit,
    key_of,
    read_schema,
    text_key,
    texts_of,
)
from tests.studio_fixture import region
from tests.verbs.conftest import schema

PROJECT = Project(1, "http://localhost:8080", 7, "1700000000")
TEXT = "Ada met Grace in Paris"
TWO_HEADS = """<View><Labels name="people" toName="text"><Label value="PER"/></Labels>
<Labels name="places" toName="{where}"><Label value="LOC"/></Labels>
<Text name="text" value="$text"/><Text name="title" value="$title"/></View>"""


def annotation(*regions: dict[str, object], **fields: object) -> Annotation:
    raw = {"id": 1, "updated_at": "2026-01-01T00:00:00Z", "completed_by": 1, "lead_time": 2.0, "result": list(regions)}
    return parse_annotation(raw | fields, task_id=5)


@given(st.text(max_size=60), st.data())
def test_copies_that_differ_in_blanks_and_case_are_on_one_side(text: str, data: st.DataObject) -> None:
    blanks = st.text(alphabet=" \t\n\r", min_size=1, max_size=3)
    copy = "".join(data.draw(blanks) if sign.isspace() else sign for sign in text)
    padded = f"{data.draw(blanks)}{copy.casefold()}{data.draw(blanks)}"
    assert text_key([text]) == text_key([padded])
    assert is_audit(PROJECT, text_key([text]), 0.5) == is_audit(PROJECT, text_key([padded]), 0.5)


def test_texts_that_differ_in_a_word_have_keys_of_their_own() -> None:
    assert len({text_key([text]) for text in (TEXT, TEXT + "!", "Ada met Grace", "")}) == 4
    assert text_key(["a", "b"]) != text_key(["b", "a"])


@pytest.mark.parametrize("fraction", [0.02, 0.1, 0.4])
def test_the_held_out_share_is_about_the_fraction(fraction: float) -> None:
    drawn = [is_audit(PROJECT, text_key([f"text {i}"]), fraction) for i in range(20_000)]
    assert sum(drawn) / len(drawn) == pytest.approx(fraction, rel=0.1)


def test_a_larger_fraction_keeps_who_was_held_out() -> None:
    keys = [text_key([f"text {i}"]) for i in range(2000)]
    assert all(is_audit(PROJECT, key, 0.3) for key in keys if is_audit(PROJECT, key, 0.1))


@pytest.mark.parametrize("other", [{"ls_id": 8}, {"created_at": "1700000001"}, {"address": "http://elsewhere"}])
def test_another_project_draws_another_held_out_set(other: dict[str, object]) -> None:
    keys = [text_key([f"text {i}"]) for i in range(500)]
    here = [is_audit(PROJECT, key, 0.2) for key in keys]
    there = [is_audit(replace(PROJECT, **other), key, 0.2) for key in keys]  # type: ignore[arg-type]  # field by name
    assert here != there


def test_a_second_head_on_the_same_text_does_not_redraw_the_held_out_set() -> None:
    data = {"text": TEXT, "title": "A meeting"}
    same_field = schema(TWO_HEADS.format(where="text"))
    assert key_of(data, schema(), 1) == key_of(data, same_field, 1)
    assert key_of(data, schema(), 1) != key_of(data, schema(TWO_HEADS.format(where="title")), 1)


def test_a_task_without_any_text_has_a_key_all_the_same() -> None:
    assert key_of({}, schema(), 1) != key_of({}, schema(), 2)


def test_the_first_unreadable_field_is_named_and_the_others_are_read() -> None:
    texts, problem = texts_of({"text": TEXT}, schema(TWO_HEADS.format(where="title")))
    assert texts == {"people": TEXT}
    assert problem is not None
    assert "'title'" in problem


def test_a_digest_is_of_what_is_taught_and_not_of_who_drew_it() -> None:
    texts = {"label": TEXT}
    ada = region(0, 3, TEXT, "PER")
    first = example_digest([annotation(ada)], schema(), texts)
    again = example_digest([annotation(ada | {"id": "x"}, id=9, completed_by=2, lead_time=40)], schema(), texts)
    more = example_digest([annotation(ada, region(8, 13, TEXT, "PER"))], schema(), texts)
    nothing_here = example_digest([annotation()], schema(), texts)
    assert first == again
    assert len({first, more, nothing_here, None}) == 4


@pytest.mark.parametrize(
    "annotations",
    [
        [],
        [annotation(region(0, 3, TEXT, "PER"), was_cancelled=True)],
        [annotation(lead_time=None, parent_prediction=3)],
    ],
    ids=["none", "a skip with its pre-label", "made in bulk, never opened"],
)
def test_a_task_that_teaches_nothing_has_no_digest(annotations: list[Annotation]) -> None:
    assert example_digest(annotations, schema(), {"label": TEXT}) is None


def test_a_digest_holds_every_head_that_can_read_the_task() -> None:
    both = schema(TWO_HEADS.format(where="title"))
    drawn = [annotation(region(0, 3, TEXT, "PER", from_name="people"))]
    texts, _ = texts_of({"text": TEXT, "title": "A meeting"}, both)
    assert example_digest(drawn, both, texts) != example_digest(drawn, both, {"people": TEXT})
    assert example_digest(drawn, both, {}) is None


def test_a_config_without_labels_is_a_trouble_and_no_error() -> None:
    found, trouble = read_schema('<View><Image name="i" value="$i"/></View>')
    assert found is None
    assert trouble is not None
    assert (trouble["about"], bool(trouble["what"]), bool(trouble["mend"])) == ("schema", True, True)


def test_the_next_training_waits_twice_the_last_ones_time() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    assert earliest_training(PROJECT) is None
    last = {"started": start.isoformat(), "seconds": 30.0}
    assert earliest_training(replace(PROJECT, last_training=last)) == start + timedelta(seconds=60)


def test_what_has_just_failed_is_not_tried_again_at_once() -> None:
    now = datetime.now(UTC)
    troubled = replace(PROJECT, trouble={"what": "", "mend": "", "about": "rank", "at": now.isoformat()})
    later = after_trouble(troubled, "rank")
    assert later is not None
    assert later > now
    assert after_trouble(troubled, "train") is None
    assert earliest_training(troubled) is None


def test_a_clock_that_was_hours_ahead_and_is_right_again_delays_no_training() -> None:
    ahead = datetime.now(UTC) + timedelta(hours=3)
    trained = replace(PROJECT, last_training={"started": ahead.isoformat(), "seconds": 30.0})
    troubled = replace(PROJECT, trouble={"what": "", "mend": "", "about": "rank", "at": ahead.isoformat()})
    for moment in (earliest_training(trained), after_trouble(troubled, "rank")):
        assert moment is not None
        assert moment < datetime.now(UTC) + timedelta(minutes=3)
