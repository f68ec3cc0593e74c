"""wikigold as Label Studio tasks: sentences from Wikipedia with people, places, organisations and the rest.

Balasuriya et al. 2009, CC-BY 4.0; LICENSE.md stands beside the data.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
LABELS = ("PER", "ORG", "LOC", "MISC")
LABEL_CONFIG = (FOLDER / "label_config.xml").read_text(encoding="utf-8")


@cache
def rows(split: str) -> list[dict[str, Any]]:
    """The rows of "train", "dev" or "test": id, text, spans of start, end and label."""
    lines = (FOLDER / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def result(row: dict[str, Any]) -> list[dict[str, Any]]:
    """A row's gold spans as Label Studio's result."""
    return [
        {
            "id": f"gold{number}",
            "from_name": "label",
            "to_name": "text",
            "type": "labels",
            "value": {
                "start": span["start"],
                "end": span["end"],
                "text": row["text"][span["start"] : span["end"]],
                "labels": [span["label"]],
            },
        }
        for number, span in enumerate(row["spans"])
    ]


def task(row: dict[str, Any]) -> dict[str, Any]:
    """A row as a task to import."""
    return {"data": {"text": row["text"]}}


def labelled_task(row: dict[str, Any]) -> dict[str, Any]:
    """A row as a task to import, its gold labels included."""
    return task(row) | {"annotations": [{"result": result(row), "ground_truth": False}]}
