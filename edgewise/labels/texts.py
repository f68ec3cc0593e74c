"""The text of a task that a head reads, or what is wrong with it.

Knows a task's data and which field a head reads. Knows nothing of annotations, tokens or models, and fetches nothing.
"""

import re
from collections.abc import Mapping
from typing import Any

from edgewise.errors import DataError
from edgewise.labels.schema import Head

_ADDRESS = re.compile(r"\s*[a-z][a-z0-9+.-]*://\S+\s*", re.IGNORECASE)
_SURROGATE = re.compile("[\ud800-\udfff]")


def text_of(data: Mapping[str, Any], head: Head) -> str:
    """The text that a head reads. DataError if the field is missing, no string, half a character, or an address."""
    text = data.get(head.field)
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
    if _ADDRESS.fullmatch(text):
        raise DataError(
            f"The task's field '{head.field}' holds an address instead of the text.",
            "Import the text itself: Edgewise fetches nothing that a task points at.",
        )
    return text
