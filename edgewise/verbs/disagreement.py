"""Where the model that serves and the language model differ: such tasks move up the order, and a tab lists them.

Two sources that learned from different things seldom make the same mistake, so that one of them is wrong here. What is
compared is what each says, never how sure it is. Audit tasks are left out: nobody is to see what we think of them.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewise.errors import StudioRefused
from edgewise.labels.regions import spans_of
from edgewise.labels.schema import Head, Schema
from edgewise.labels.spans import Span
from edgewise.labels.texts import text_of
from edgewise.learning.evaluation import f1_of, on_words, span_counts
from edgewise.services.store import Project, Release, Task
from edgewise.verbs.scoring import Scored
from edgewise.verbs.system import System, schema_of
from edgewise.verbs.trust import answers_of
from edgewise.verbs.views import LISTED_MOST, keep_listed

log = logging.getLogger(__name__)
WEIGHT = 0.5  # a task that the model is surest of and the two say nothing alike about comes to the middle
QUOTE_MOST = 40  # characters

Regions = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Difference:
    """Of one task. value: 1 - F1 between the spans of the two, over all heads; 0 where both say nothing. what: the
    first thing that they differ in, "" if nothing."""

    value: float
    what: str


def weigh(system: System, project: Project, schema: Schema, tasks: Sequence[Task], scored: Scored) -> Scored:
    """The same answers with another priority: uncertainty, raised where the language model says something else, most
    where rounds of `improve` have left its label in doubt.

    Keeps how far they differ on each task, for the tab. The uncertainty itself stays as it is.
    """
    if project.serving is None or scored.uncertainty is None:
        return scored
    said = answers_of(system, project, schema, tasks)
    if not any(said):
        return scored
    found = [
        None if one is None or one.error is not None or task.audit else compare(schema, task, result, one.result)
        for task, result, one in zip(tasks, scored.results, said, strict=True)
    ]
    values = {task.task_id: one.value if one else None for task, one in zip(tasks, found, strict=True)}
    system.store.set_disagreements(project.key, values)
    if all(one is None for one in found):
        return scored
    reasons = [
        f"The model and the language model disagree: {one.what}. {reason}" if one and one.what else reason
        for one, reason in zip(found, scored.reasons, strict=True)
    ]
    differing = np.array(
        [
            np.nan if one is None else 1.0 if theirs is not None and theirs.believed is False else one.value
            for one, theirs in zip(found, said, strict=True)
        ]
    )
    return replace(scored, priority=priority(scored.uncertainty, differing), reasons=reasons)


def priority(uncertainty: NDArray[np.float64], disagreement: NDArray[np.float64]) -> NDArray[np.float64]:
    """What to label first, (n,), in (0, 1), higher is sooner; for the order alone.

    1 - (1 - q)(1 - d / 2): q is the quantile of a task's uncertainty among these tasks, as its scale is the model's
    own; d, in [0, 1], how far the sources differ; where it is unknown (NaN), the mean of the others.
    """
    n = len(uncertainty)
    quantile = (np.searchsorted(np.sort(uncertainty), uncertainty, side="left") + 0.5) / n
    differ = np.where(np.isnan(disagreement), np.nanmean(disagreement), disagreement)
    return np.asarray(1 - (1 - quantile) * (1 - WEIGHT * differ))


def compare(schema: Schema, task: Task, ours: Regions, theirs: Regions) -> Difference:
    """How far two results about a task differ: the model's and the language model's."""
    counts = np.zeros(3, dtype=np.int64)
    what = ""
    for head in schema.heads:
        text = text_of(task.data, head)
        both = [spans_of(result, head, text)[0] for result in (ours, theirs)]
        mine, other = on_words([text, text], both, head)
        counts += span_counts([mine], [other])[0]
        named = f"{head.from_name}: " if len(schema.heads) > 1 else ""
        if not what and set(mine) != set(other):
            what = named + in_words(head, text, mine, other)
    return Difference(float(1 - f1_of(counts)) if counts.any() else 0.0, what)


def in_words(head: Head, text: str, mine: Sequence[Span], other: Sequence[Span]) -> str:
    """The first difference for people, the model's word before the language model's."""
    if head.kind != "spans":
        return " or ".join(", ".join(sorted(span.label for span in spans)) or "nothing" for spans in (mine, other))
    first = min(set(mine) ^ set(other))
    here = first.start, first.end
    labels = [{(span.start, span.end): span.label for span in spans}.get(here) for spans in (mine, other)]
    rivals = [span for span in (*mine, *other) if span.overlaps(first) and (span.start, span.end) != here]
    quoted = quote(text[first.start : first.end])
    if None in labels and rivals:
        return f"{first.label} is {quoted} or {rivals[0].label} is {quote(text[rivals[0].start : rivals[0].end])}"
    return f"{quoted} is {' or '.join(label or 'nothing' for label in labels)}"


def quote(words: str) -> str:
    """Words of a text, cut to a few."""
    return f"'{words if len(words) <= QUOTE_MOST else words[: QUOTE_MOST - 1] + '…'}'"


def is_newer(project: Project, release: Release) -> bool:
    """Whether a language model has answered since a release of the trained model was made: then its order is to be made
    anew. Before that the release is the language model's own, and named after what it has answered."""
    at = (project.llm or {}).get("at")
    return project.serving is not None and at is not None and release.created_at < datetime.fromisoformat(at)


def list_them(system: System, project: Project) -> None:
    """Bring the tab up to date: the worst 500 among the open tasks."""
    schema, shown = schema_of(project), project.llm or {}
    known = schema is not None and project.serving is not None and shown.get("schema") == schema.digest
    ids = system.store.disagreeing(project.key, LISTED_MOST) if known else []
    try:
        keep_listed(system, system.by_key(project.key), "disagreement_view", ids)
    except StudioRefused as error:  # for looking only: no reason to stop a ranking
        log.warning("the tab of disagreements was not brought up to date: %s", error.what)
