"""How a language model writes labels (JSON, or tags in the text), and that back to quotes.

Knows nothing of prompts, vendors or probabilities. An answer is not believed: what is not of the form that was asked
for, or under a label that the head has not, is invalid and counted. Where a quote stands in the text: `quotes`.
"""

from edgewise.labels.answers.as_json import AsJson
from edgewise.labels.answers.as_tags import AsTags
from edgewise.labels.answers.shown import fenced, mark, show
from edgewise.labels.answers.values import (
    NOTHING,
    Asked,
    Codec,
    Demonstration,
    Reading,
    Unreadable,
    chosen,
    keys,
    marked,
)

__all__ = [
    "NOTHING",
    "AsJson",
    "AsTags",
    "Asked",
    "Codec",
    "Demonstration",
    "Reading",
    "Unreadable",
    "chosen",
    "fenced",
    "keys",
    "mark",
    "marked",
    "show",
]
