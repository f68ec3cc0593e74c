"""export --format preferences: what people corrected in pre-labels, to teach a language model what they prefer.

From our memory, as of the last sync: Label Studio has forgotten what an annotation began from. Never an audit task,
or what is taught would be examined.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewise.errors import DataError
from edgewise.files.whole import whole
from edgewise.labels.annotations import Annotation, training_example
from edgewise.labels.preferences import preferences
from edgewise.labels.prompts import Questions
from edgewise.labels.regions import spans_of
from edgewise.labels.schema import Head, Schema
from edgewise.labels.spans import Span
from edgewise.labels.texts import text_of
from edgewise.services.store import Project, Suggestion, Task
from edgewise.verbs.numbers.feedback import is_work
from edgewise.verbs.prelabel import by_field
from edgewise.verbs.system import System, schema_needed

Json = dict[str, Any]
Report = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Preferences:
    """What was written: pairs, and of how many tasks."""

    pairs: int
    tasks: int


def export_preferences(
    system: System, project: Project, path: Path, *, overwrite: bool = False, report: Report
) -> Preferences:
    """Write JSON Lines with prompt, chosen, rejected, task_id and sources, in the order of the tasks.

    Raises Conflict: the labelling config has no labels, or `path` is there and may not be overwritten.
    """
    schema = schema_needed(project)
    report(0.0, "comparing")
    pairs = 0
    tasks: set[int] = set()
    with whole(path, overwrite=overwrite) as made, made.open("w", encoding="utf-8", newline="\n") as file:
        for row in corrections(system, project, schema):
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            pairs += 1
            tasks.add(row["task_id"])
    report(1.0, "written")
    return Preferences(pairs, len(tasks))


def corrections(system: System, project: Project, schema: Schema) -> Iterator[Json]:
    """Each correction once. Chosen is what the task teaches, whoever of several annotators is believed; rejected is
    whatever one of them began from that says something else."""
    told = system.store.instructions(project.key)
    asked = [
        Questions(tuple(heads), told.text if told else "", system.settings.llm_codec)
        for heads in by_field(schema).values()
    ]
    for task, annotations, begun in system.store.suggested(project.key):
        if task.audit:
            continue
        shown = [begun[one.id] for one in annotations if one.id in begun and is_work(one)]
        rows = [row for questions in asked for row in of_task(questions, task, annotations, shown)]
        yield from {json.dumps(row["rejected"]) + json.dumps(row["prompt"]): row for row in rows}.values()


def of_task(
    questions: Questions, task: Task, annotations: Sequence[Annotation], shown: Sequence[Suggestion]
) -> Iterator[Json]:
    """The corrections of one field of a task; none if it cannot be read."""
    with suppress(DataError):
        text = text_of(task.data, questions.heads[0])
        right = taught(questions.heads, annotations, text)
        for suggestion in shown:
            wrong = {
                head.from_name: spans_of(suggestion.result, head, text)[0]
                for head in questions.heads
                if head.from_name in suggestion.sources
            }
            sources = sorted({suggestion.sources[name] for name in wrong})
            for pair in preferences(questions, text, right, wrong):
                yield pair | {"task_id": task.task_id, "sources": sources}


def taught(heads: Sequence[Head], annotations: Sequence[Annotation], text: str) -> dict[str, tuple[Span, ...]]:
    """What people agree on about a text, for each head that they spoke of."""
    found = {head.from_name: training_example(annotations, head, text) for head in heads}
    return {name: example.spans for name, example in found.items() if example is not None}
