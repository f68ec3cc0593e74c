"""Every version's score on today's held-out tasks, against how much was labelled for it, and what that advises.

Scored are the answers that each version left behind, so that no weights are needed and the curve does not jump when
the held-out set grows. While that is too small, answers out of fold stand in, and are named as such. Pages ask for
this every few seconds, of hundreds of versions: what is drawn is kept until what it is drawn from changes.
"""

from collections.abc import Hashable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewise.labels.schema import Head
from edgewise.learning import progress
from edgewise.learning.progress import Advice
from edgewise.services.store import Project, Version
from edgewise.verbs.judge import SHOWN_ENOUGH
from edgewise.verbs.numbers.scored import Labelled, Purpose, Scored
from edgewise.verbs.status import stamp
from edgewise.verbs.system import System

Json = dict[str, Any]
Bounds = list[tuple[float, float]]
MORE = 100  # labels


def curve(labelled: Labelled, head: Head) -> tuple[Json, Advice | None]:
    """A head's points, oldest first, and what the next labels should add; no advice while nobody can tell."""
    scored = [one for version in labelled.versions if (one := scored_of(labelled, version, head)) is not None]
    measure = progress.measure_of(head, max((one.tasks for one in scored if one.shows), default=SHOWN_ENOUGH))
    shown = [one for one in scored if one.shows]
    bounds, rng = intervals(labelled, shown, measure)
    known = {one.version.id: interval for one, interval in zip(shown, bounds, strict=True)}
    points = [point(labelled, one, measure, known.get(one.version.id)) for one in scored]
    return {"measure": measure, "points": points}, advise(labelled, shown, measure, rng)


def scored_of(labelled: Labelled, version: Version, head: Head) -> Scored | None:
    """On held-out tasks if there are enough; else out of fold; else on the few. None: it never learned these labels."""
    if version.settings.get("heads", {}).get(head.from_name) != head.digest:
        return None
    found = []
    purposes: tuple[Purpose, ...] = ("held_out", "out_of_fold")
    for purpose in purposes:
        one = Scored(labelled, version, head, purpose)
        if not one.is_there:
            continue
        if one.shows:
            return one
        if one.tasks:
            found.append(one)
    return found[-1] if found else None


def point(labelled: Labelled, scored: Scored, measure: str, interval: tuple[float, float] | None) -> Json:
    """One version on the curve."""
    version, figures = scored.version, scored.figures(measure)
    minutes = labelled.minutes(version)
    low, high = interval or (None, None)
    return {
        "version": version.id,
        "state": version.state,
        "at": stamp(version.created_at),
        "examples": version.examples,
        "minutes": None if minutes is None else round(minutes, 1),
        "score": round(figures.score, 4),
        "low": None if low is None else round(low, 4),
        "high": None if high is None else round(high, 4),
        "on": scored.purpose,
        "tasks": scored.tasks,
        "per_label": {
            label: {"f1": round(f1, 4), "support": support} for label, (f1, support) in figures.per_label.items()
        },
    }


def intervals(labelled: Labelled, shown: Sequence[Scored], measure: str) -> tuple[Bounds, np.random.Generator]:
    """Between what each version's score lies; and the generator as that left it. All are drawn together, so a new
    version moves the others' a little."""
    rng = np.random.default_rng([labelled.system.settings.seed, labelled.project.key])
    if not shown:
        return [], rng

    def draw() -> tuple[Bounds, np.random.Generator]:
        return progress.bounds(tallies_of(shown, measure), rng=rng), rng

    return labelled.once(("intervals", shown[0].head.from_name), all_of(shown, measure), draw)


def tallies_of(scored: Sequence[Scored], measure: str) -> NDArray[np.float64]:
    """(n_versions, n_tasks, n_columns, 2)."""
    return np.stack([one.figures(measure).tallies for one in scored]).astype(np.float64)


def all_of(scored: Sequence[Scored], measure: str) -> Hashable:
    """The stamp of what was drawn from all of these."""
    return measure, tuple(one.stamp for one in scored)


def advise(labelled: Labelled, shown: Sequence[Scored], measure: str, rng: np.random.Generator) -> Advice | None:
    """What the versions that passed their gate say of the next labels, and of all that are left."""
    passed = sorted((one for one in shown if one.version.state == "accepted"), key=lambda one: one.version.examples)
    rest = left(labelled.system, labelled.project)
    if not passed or not rest:
        return None
    sizes = [one.version.examples for one in passed]
    changed = last_changed(labelled.system, labelled.project)

    def draw() -> Advice | None:
        counted = tallies_of(passed, measure)
        fresh = deepcopy(rng)  # the remembered one stays as the intervals left it
        return progress.advise(sizes, counted, more=min(MORE, rest), rest=rest, changed=changed, rng=fresh)

    facts = (tuple(sizes), rest, changed)
    drawn_from = (all_of(shown, measure), all_of(passed, measure), facts)
    return labelled.once(("advice", passed[0].head.from_name), drawn_from, draw)


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
