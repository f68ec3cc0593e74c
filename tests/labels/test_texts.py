"""The text of a task, or why it has none."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from edgewise.errors import DataError
from edgewise.labels.texts import address_of, text_of, unread
from tests.labels.material import HEAD

REMOTE = replace(HEAD, by_address=True)


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


def test_whoever_may_have_meant_another_kind_of_text_is_told_of_it() -> None:
    with pytest.raises(DataError) as raised:
        text_of({"text": "http://secret/a.txt"}, HEAD)
    assert 'valueType="url"' in raised.value.mend


def test_a_text_that_was_fetched_is_a_text() -> None:
    for text in ("", "Anna lives in Paris.", "see http://example.com/ there", "a/b", "and/or\n"):
        assert text_of({"text": text}, REMOTE) == text


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({}, "is missing"),
        ({"text": None}, "is not a text"),
        ({"text": {"unread": 7}}, "is not a text"),
        ({"text": "http://secret/a.txt"}, "has not been read yet"),
        ({"text": "HTTPS://secret/a.txt\n"}, "has not been read yet"),
        ({"text": "s3://secret/a.txt"}, "has not been read yet"),
        ({"text": "/data/upload/1/secret.txt"}, "has not been read yet"),
        ({"text": unread("It could not be had: 'text'.")}, "could not be had"),
    ],
)
def test_an_address_is_never_taken_for_the_text_that_lies_there(data: Mapping[str, Any], reason: str) -> None:
    with pytest.raises(DataError, match=reason) as raised:
        text_of(data, REMOTE)
    assert "'text'" in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("address", ["http://a/b", "https://a/b?c=d", "/data/upload/1/a.txt", "//a/b"])
def test_an_address_is_what_label_studios_page_takes_for_one(address: str) -> None:
    assert address_of({"text": address}, REMOTE) == address


@pytest.mark.parametrize("data", [{}, {"text": None}, {"text": ""}, {"text": "secret a"}, {"text": "s3://secret/a"}])
def test_a_field_without_an_address_is_refused_and_never_quoted(data: Mapping[str, Any]) -> None:
    with pytest.raises(DataError, match="'text'") as raised:
        address_of(data, REMOTE)
    assert "secret" not in str(raised.value)
