"""A model folder that a terminal's `train` makes and `predict` loads: weights in heads/<name>/, and edgewise.json.

edgewise.json says what the weights answer (head, labels, the columns that the text comes from), what they were taught
(dataset version, recipe) and how good they were. Knows nothing of rows or of how models are trained.
"""

import json
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from edgewise.errors import InputError
from edgewise.labels.schema import Head

NAME = "edgewise.json"
FORMAT = 1
_NO_FOLDER = "Name the folder that `edgewise train --output-model` made."


@dataclass(frozen=True, slots=True)
class FileModel:
    """What edgewise.json holds.

    text_columns: the columns that the text is made of. dataset: the version of what it was taught, validated and
    tested with. base: the encoder that it began with. recipe: as asked for. code: Edgewise's version. told: what people
    said of the work, for language models as well. scores: by part, as `train` printed them.
    """

    head: Head
    text_columns: tuple[str, ...]
    dataset: str
    base: str
    max_length: int
    recipe: dict[str, Any]
    code: str
    told: str = ""
    scores: dict[str, Any] = field(default_factory=dict)

    def weights(self, folder: Path) -> Path:
        """Where in a model folder the weights are."""
        return folder / "heads" / self.head.from_name


def write_description(folder: Path, model: FileModel, scores: dict[str, Any]) -> None:
    """edgewise.json, with these scores."""
    content = {"format": FORMAT, **asdict(replace(model, scores=scores))}
    (folder / NAME).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_description(folder: Path) -> FileModel:
    """What a model folder holds. Raises InputError: no model folder, or one of a later Edgewise."""
    try:
        content = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except OSError:
        raise InputError(f"{folder} has no {NAME}: it is no model folder.", _NO_FOLDER) from None
    except ValueError:
        raise InputError(f"{folder / NAME} is not JSON.", _NO_FOLDER) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{folder / NAME} has a format that we do not know.", "Use the Edgewise that made it.")
    known = {one.name for one in fields(FileModel)}
    try:
        model = FileModel(**{name: value for name, value in content.items() if name in known})
        return replace(model, head=_head(content["head"]), text_columns=tuple(model.text_columns))
    except (TypeError, KeyError):
        raise InputError(f"{folder / NAME} does not say all that it must.", _NO_FOLDER) from None


def _head(content: dict[str, Any]) -> Head:
    pairs = {name: tuple((a, b) for a, b in content[name]) for name in ("predicted_values", "described")}
    return Head(**{**content, "labels": tuple(content["labels"]), **pairs})
