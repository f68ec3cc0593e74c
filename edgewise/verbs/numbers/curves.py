"""Every version's score on today's held-out tasks, against how much was labelled for it, and what that advises.

Scored are the answers that each version left behind, so that no weights are needed and the curve does not jump when
the held-out set grows. While that is too small, answers out of fold stand in, and are named as such.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgewise.labels.annotations import Annotation
from edgewise.labels.schema import Head
from edgewise.learning import progress
from edgewise.learning.progress import Advice
from edgewise.services.store import Project, Task, Version
from edgewise.verbs.judge import SHOWN_ENOUGH, gold_of, spans_from
from edgewise.verbs.lessons import HELD_OUT_MOST, Spans, lesson_of
from edgewise.verbs.status import stamp
from edgewise.verbs.system import System

Json = dict[str, Any]
Purpose = Literal["held_out", "out_of_fold"]
MORE = 100  # labels
KNOWN_SHARE = 0.5  # of the examples whose time must be known to tell the time of all


@dataclass(frozen=True)
class Labelled:
    """A project's labelled tasks and versions, read when first needed."""

    system: System
    project: Project
    _gold: dict[tuple[str, Purpose], Spans] = field(default_factory=dict)

    @cached_property
    def versions(self) -> list[Version]:
        """Oldest first."""
        return self.system.store.versions(self.project.key)[::-1]

    @cached_property
    def _held_out(self) -> Sequence[tuple[Task, Sequence[Annotation]]]:
        return list(self.system.store.examined(self.project.key))[:HELD_OUT_MOST]

    @cached_property
    def _taught(self) -> Sequence[tuple[Task, Sequence[Annotation]]]:
        return [pair for pair in self.system.store.labelled(self.project.key) if not pair[0].audit]

    @cached_property
    def _lead_times(self) -> dict[int, float]:
        return self.system.store.lead_times(self.project.key)

    def gold(self, head: Head, purpose: Purpose) -> Spans:
        """What people say today, by task."""
        where = (head.from_name, purpose)
        if where not in self._gold:
            self._gold[where] = gold_of(lesson_of(head, self._held_out if purpose == "held_out" else self._taught))
        return self._gold[where]

    def answers(self, version: Version, purpose: Purpose) -> dict[int, Json]:
        """What a version said, by task and head."""
        return self.system.store.version_predictions(self.project.key, version.id, purpose)

    def minutes(self, version: Version) -> float | None:
        """What people needed for the version's examples; None if that is known of less than half of them."""
        rows = self.system.store.snapshot_rows(self.project.key, version.snapshot)
        times = [[self._lead_times[i] for i in row.annotation_ids if i in self._lead_times] for row in rows]
        known = [sum(some) for some in times if some]
        if not known or len(known) < KNOWN_SHARE * len(rows):
            return None
        return sum(known) / len(known) * len(rows) / 60


@dataclass(frozen=True)
class Scored:
    """A version's answers at one head, on tasks that it did not learn from."""

    version: Version
    purpose: Purpose
    gold: Spans
    answers: Spans  # of the same tasks, or of some of them

    @property
    def shows(self) -> bool:
        """Whether these are enough held-out tasks for an interval."""
        return self.purpose == "held_out" and len(self.answers) >= SHOWN_ENOUGH

    def tallies(self, head: Head, measure: str) -> NDArray[np.float64]:
        """(n_tasks, n_columns, 2) over all tasks of gold; 0 where there is no answer."""
        counted = progress.tallies(
            list(self.gold.values()), [self.answers.get(task, ()) for task in self.gold], head, measure
        )
        there = np.array([task in self.answers for task in self.gold], dtype=np.float64)
        return np.asarray(counted * there[:, None, None])


def curve(labelled: Labelled, head: Head) -> tuple[Json, Advice | None]:
    """A head's points, oldest first, and what the next labels should add; no advice while nobody can tell."""
    scored = [one for version in labelled.versions if (one := scored_of(labelled, version, head)) is not None]
    measure = progress.measure_of(head, max((len(one.answers) for one in scored if one.shows), default=SHOWN_ENOUGH))
    rng = np.random.default_rng([labelled.system.settings.seed, labelled.project.key])
    shown = [one for one in scored if one.shows]
    counted = np.stack([one.tallies(head, measure) for one in shown]) if shown else None
    bounds = progress.bounds(counted, rng=rng) if counted is not None else []
    intervals = {one.version.id: interval for one, interval in zip(shown, bounds, strict=True)}
    points = [point(labelled, one, head, measure, intervals.get(one.version.id)) for one in scored]
    return {"measure": measure, "points": points}, advise(labelled, shown, counted, rng)


def scored_of(labelled: Labelled, version: Version, head: Head) -> Scored | None:
    """On held-out tasks if there are enough; else out of fold; else on the few. None: it never learned these labels."""
    if version.settings.get("heads", {}).get(head.from_name) != head.digest:
        return None
    found = []
    purposes: tuple[Purpose, ...] = ("held_out", "out_of_fold")
    for purpose in purposes:
        said = labelled.answers(version, purpose)
        gold = labelled.gold(head, purpose) if said else {}
        name = head.from_name
        answers = {task: spans_from(said[task][name]) for task in gold if name in said.get(task, {})}
        one = Scored(version, purpose, gold, answers)
        if one.shows:
            return one
        if answers:
            found.append(one)
    return found[-1] if found else None


def point(labelled: Labelled, scored: Scored, head: Head, measure: str, interval: tuple[float, float] | None) -> Json:
    """One version on the curve."""
    version = scored.version
    gold, answers = [scored.gold[task] for task in scored.answers], list(scored.answers.values())
    minutes = labelled.minutes(version)
    low, high = interval or (None, None)
    return {
        "version": version.id,
        "state": version.state,
        "at": stamp(version.created_at),
        "examples": version.examples,
        "minutes": None if minutes is None else round(minutes, 1),
        "score": round(progress.score_of(progress.tallies(gold, answers, head, measure)), 4),
        "low": None if low is None else round(low, 4),
        "high": None if high is None else round(high, 4),
        "on": scored.purpose,
        "tasks": len(answers),
        "per_label": {
            label: {"f1": round(f1, 4), "support": support}
            for label, (f1, support) in progress.per_label(gold, answers, head).items()
        },
    }


def advise(
    labelled: Labelled, shown: Sequence[Scored], counted: NDArray[np.float64] | None, rng: np.random.Generator
) -> Advice | None:
    """What the versions that passed their gate say of the next labels, and of all that are left."""
    passed = [position for position, one in enumerate(shown) if one.version.state == "accepted"]
    passed.sort(key=lambda position: shown[position].version.examples)
    rest = left(labelled.system, labelled.project)
    if counted is None or not passed or not rest:
        return None
    sizes = [shown[position].version.examples for position in passed]
    changed = last_changed(labelled.system, labelled.project)
    return progress.advise(sizes, counted[passed], more=min(MORE, rest), rest=rest, changed=changed, rng=rng)


def left(system: System, project: Project) -> int:
    """Open tasks that can still be learned from."""
    counts = system.store.counts(project.key)
    return counts["open"] - counts["open_audit"]


def last_changed(system: System, project: Project) -> float | None:
    """The share of open tasks that the version which Label Studio shows answers otherwise than the one before."""
    if project.active_release is None:
        return None
    return system.store.release(project.key, project.active_release).changed


def advice(held_out: int, found: Mapping[str, tuple[str, Advice | None]], changed: float | None) -> Json:
    """Of several heads the one that has most to gain. found: from_name -> its measure, and what is known of it."""
    plain: Json = {"gain": None, "low": None, "high": None, "per": MORE, "rest": None, "stop": None, "changed": changed}
    known = {name: (measure, one) for name, (measure, one) in found.items() if one is not None}
    if not known:
        return plain | {"sentence": unknown(held_out)}
    name, (measure, one) = max(known.items(), key=lambda item: item[1][1].high)
    of = measure if len(found) == 1 else f"{measure} of {name!r}"
    told: Json = {"gain": round(one.gain, 4), "low": round(one.low, 4), "high": round(one.high, 4)}
    told["per"] = one.more
    told["rest"] = {"tasks": one.rest, "gain": round(one.rest_gain, 4), "high": round(one.rest_high, 4)}
    stop = one.stop and len(known) == len(found)
    return plain | told | {"stop": stop, "sentence": sentence(of, one, stop)}


def unknown(held_out: int) -> str:
    """Why there is no advice."""
    if held_out < SHOWN_ENOUGH:
        return f"Too few held-out tasks to advise: {held_out} are labelled, it takes {SHOWN_ENOUGH}."
    few = f"it takes {progress.FEWEST_VERSIONS} that passed their gate, on different numbers of labels"
    return f"No advice: too few versions, {few}; or nothing is left to label."


def sentence(of: str, one: Advice, stop: bool) -> str:
    """The advice for people."""
    low, gain, high = (f"{100 * value:.1f}" for value in (one.low, one.gain, one.high))
    said = f"The next {one.more} labels should add {gain} points of {of} (95 % interval {low} to {high})"
    all_of_it = f"all {one.rest} open tasks {100 * one.rest_gain:.1f}, at most {100 * one.rest_high:.1f}"
    if stop:
        return f"{said}, {all_of_it}: you may stop."
    if one.gain >= progress.WORTH_IT:
        return f"{said}: going on is worth it."
    if one.high < progress.WORTH_IT and not one.settled:
        return f"{said}, but the last version still changed many predictions: too early to stop."
    return f"{said}, {all_of_it}: it may still be worth going on."
