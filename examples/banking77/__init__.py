"""banking77 as Label Studio tasks: what customers write to a bank, and what they want.

Casanueva et al. 2020, CC-BY 4.0; LICENSE.md stands beside the data. `rows` has all 77 intents; a dozen that are easily
taken for each other, payments and cash, make the project of LABEL_CONFIG: `dozen`.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

from defusedxml.ElementTree import fromstring

FOLDER = Path(__file__).parent
LABEL_CONFIG = (FOLDER / "label_config.xml").read_text(encoding="utf-8")
INTENTS = tuple(choice.attrib["value"] for choice in fromstring(LABEL_CONFIG).iter("Choice"))


@cache
def rows(split: str) -> list[dict[str, Any]]:
    """The rows of "train" or "test": id, text and label."""
    lines = (FOLDER / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@cache
def dozen(split: str) -> list[dict[str, Any]]:
    """The rows of the dozen intents."""
    return [row for row in rows(split) if row["label"] in INTENTS]


def result(row: dict[str, Any]) -> list[dict[str, Any]]:
    """A row's intent as Label Studio's result."""
    choice = {"from_name": "intent", "to_name": "text", "type": "choices", "value": {"choices": [row["label"]]}}
    return [choice | {"id": "gold0"}]


def task(row: dict[str, Any]) -> dict[str, Any]:
    """A row as a task to import."""
    return {"data": {"text": row["text"]}}
