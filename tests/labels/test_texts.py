"""The text of a task, or why it has none."""

from collections.abc import Mapping
from typing import Any

import pytest

from edgewise.errors import DataError
from edgewise.labels.texts import text_of
from tests.labels.material import HEAD


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
