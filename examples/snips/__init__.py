"""snips as Label Studio tasks with two heads: what people tell an assistant, its intent as Choices, slots as Labels.

Coucke et al. 2018, CC0 1.0; LICENSE.md stands beside the data, which is a part of it drawn at random.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
LABEL_CONFIG = (FOLDER / "label_config.xml").read_text(encoding="utf-8")


@cache
def rows(split: str) -> list[dict[str, Any]]:
    """The rows of "train" or "test": id, text, intent, and spans of start, end and label."""
    lines = (FOLDER / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def result(row: dict[str, Any]) -> list[dict[str, Any]]:
    """A row's intent and slots as Label Studio's result."""
    target = {"to_name": "text"}
    intent = {"id": "gold", "from_name": "intent", "type": "choices", "value": {"choices": [row["intent"]]}} | target
    slots = [
        {"id": f"gold{number}", "from_name": "slot", "type": "labels", "value": value_of(row["text"], span)} | target
        for number, span in enumerate(row["spans"])
    ]
    return [intent, *slots]


def value_of(text: str, span: dict[str, Any]) -> dict[str, Any]:
    """A span as the value of a region."""
    start, end = span["start"], span["end"]
    return {"start": start, "end": end, "text": text[start:end], "labels": [span["label"]]}


def task(row: dict[str, Any]) -> dict[str, Any]:
    """A row as a task to import."""
    return {"data": {"text": row["text"]}}
