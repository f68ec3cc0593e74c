"""The text of a task that a head reads, or what is wrong with it.

Knows a task's data and which field a head reads. Knows nothing of annotations, tokens or models, and fetches nothing:
where a field holds the text's address, whoever fetched the text has put it there in its place, or `unread`.
"""

import re
from collections.abc import Mapping
from typing import Any

from edgewise.errors import DataError
from edgewise.labels.schema import Head

_ADDRESS = re.compile(r"\s*[a-z][a-z0-9+.-]*://\S+\s*", re.IGNORECASE)
_SURROGATE = re.compile("[\ud800-\udfff]")
_UNREAD = "unread"  # the only key of what stands in a text's place

# What Label Studio's page takes for an address: on the web, or from the root of its own.
_FETCHABLE = re.compile(r"(https?:/)?/\S+", re.IGNORECASE)


def text_of(data: Mapping[str, Any], head: Head) -> str:
    """The text that a head reads. DataError if the field is missing, no string, half a character, or an address."""
    text = data.get(head.field)
    if head.by_address:
        _refuse_unread(text, head)
    if not isinstance(text, str):
        what = "is not a text" if head.field in data else "is missing"
        raise DataError(
            f"The task's field '{head.field}' {what}.", f"Import the task with a text in '{head.field}', or skip it."
        )
    if _SURROGATE.search(text):
        raise DataError(
            f"The task's field '{head.field}' holds half a character (a lone surrogate).",
            "Import the task again as valid UTF-8.",
        )
    if not head.by_address and _ADDRESS.fullmatch(text):
        raise DataError(
            f"The task's field '{head.field}' holds an address instead of the text.",
            'Import the text itself, or give the <Text> valueType="url": then Label Studio and we show and read what '
            "lies at the address.",
        )
    return text


def address_of(data: Mapping[str, Any], head: Head) -> str:
    """The address of a head's text, in data as Label Studio has it. DataError if there is none, never quoting it."""
    address = data.get(head.field)
    if not isinstance(address, str) or not _FETCHABLE.fullmatch(address):
        what = "holds no address" if head.field in data else "is missing"
        raise DataError(
            f"The task's field '{head.field}' {what}.",
            f"Import the task with http://…, https://… or a path of Label Studio's in '{head.field}', or skip it.",
        )
    return address


def unread(why: str) -> dict[str, str]:
    """What stands in the place of a text that nobody has. why: a sentence for people."""
    return {_UNREAD: why}


def _refuse_unread(text: object, head: Head) -> None:
    """Raise DataError for what stands in a text's place. An address is one that nobody has looked behind; a file that
    holds nothing but an address is refused as well."""
    mend = "Edgewise tries again with the next full comparison, within about an hour."
    if isinstance(text, Mapping) and isinstance(text.get(_UNREAD), str):
        raise DataError(text[_UNREAD], mend)
    if isinstance(text, str) and (_ADDRESS.fullmatch(text) or _FETCHABLE.fullmatch(text.strip())):
        raise DataError(f"The text that the task's field '{head.field}' points at has not been read yet.", mend)
