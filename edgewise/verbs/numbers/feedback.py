"""What people made of pre-labels, by head, label and source; and how long labelling takes with and without them.

By comparison of annotations with what they began from. Audit tasks show no pre-label: they are left out of the one, and
are the other's measure.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from statistics import median
from typing import Any

from edgewise.errors import DataError
from edgewise.labels.annotations import Annotation
from edgewise.labels.feedback import OUTCOMES, Counts, compare
from edgewise.labels.regions import spans_of
from edgewise.labels.schema import Schema
from edgewise.labels.texts import text_of
from edgewise.services.store import Project, Suggestion, Task
from edgewise.verbs.system import System, schema_of

Json = dict[str, Any]
Key = tuple[str, str]  # from_name, source


def feedback(system: System, project: Project) -> list[Json]:
    """head, label, source, and how many pre-labels were accepted as they were, moved, changed, deleted, or missed.

    In the config's order. What is missed is counted for sources that speak of the head at all. Left out: skips,
    annotations made in bulk that nobody opened, and pre-labels of nobody (`suggestions.sources_of`).
    """
    schema = schema_of(project)
    if schema is None:
        return []
    counts: defaultdict[Key, Counts] = defaultdict(Counter)
    for task, annotation, suggestion in judged(system, project):
        for key, found in outcomes(schema, task, annotation, suggestion):
            counts[key] += found
    return [
        {"head": head.from_name, "label": label, "source": source}
        | {outcome: counts[name, source][label, outcome] for outcome in OUTCOMES}
        for head in schema.heads
        for label in head.labels
        for name, source in sorted(counts)
        if name == head.from_name and any(counts[name, source][label, outcome] for outcome in OUTCOMES)
    ]


def judged(system: System, project: Project) -> Iterator[tuple[Task, Annotation, Suggestion]]:
    """Annotations by which somebody has judged a pre-label."""
    for task, annotations, begun in system.store.suggested(project.key):
        for annotation in annotations if not task.audit else ():
            if annotation.id in begun and is_work(annotation):
                yield task, annotation, begun[annotation.id]


def is_work(annotation: Annotation) -> bool:
    """Whether a person has decided something with it."""
    return not annotation.was_cancelled and not annotation.unopened


def outcomes(
    schema: Schema, task: Task, annotation: Annotation, suggestion: Suggestion
) -> Iterator[tuple[Key, Counts]]:
    """What became of one suggestion, for each head that somebody spoke of and the task can be read for."""
    for head in schema.heads:
        source = suggestion.sources.get(head.from_name)
        with suppress(DataError):
            if source is not None:
                text = text_of(task.data, head)
                before, after = (spans_of(one.result, head, text)[0] for one in (suggestion, annotation))
                yield (head.from_name, source), compare(before, after, head.kind)


def pace(system: System, project: Project) -> Json | None:
    """Seconds per task with a pre-label and without: how many tasks, and the median of what each took; None until
    there are both.

    Without: the audit tasks, unless they are shown with one. They are drawn at random, while the others come hardest
    first, so that pre-labels save rather more than the difference.
    """
    taken: dict[bool, dict[int, list[float]]] = {True: {}, False: {}}
    for one in system.store.times(project.key):
        if one.helped or one.audit:
            taken[one.helped].setdefault(one.task_id, []).append(one.seconds)
    if not all(taken.values()):
        return None
    return {name: summary(taken[helped].values()) for name, helped in (("with", True), ("without", False))}


def summary(times: Collection[Sequence[float]]) -> Json:
    """Of tasks, by what each of their annotations took: how many, and the median; a task has one voice."""
    return {"tasks": len(times), "median_s": round(median(median(one) for one in times), 1)}
