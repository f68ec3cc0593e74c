"""rank: score the open tasks, order them, push the order to Label Studio as a release, and make it the active one.

Head first: the release is activated as soon as the top of the order is pushed, the rest follows under the same release.
Killed anywhere, the next run goes on: ranks are kept before they are pushed, and a push that was cut off first asks
what is there already.
"""

import logging
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewise.errors import StudioRefused
from edgewise.labels.regions import problems
from edgewise.labels.schema import Schema
from edgewise.learning.selection import SIMILAR, certainties, close, diverse_order, order, place
from edgewise.services.jobs import Progress
from edgewise.services.store import Project, Rank, Release, Task, Version
from edgewise.verbs.disagreement import is_newer, list_them, weigh
from edgewise.verbs.erasure import erase_tasks
from edgewise.verbs.numbers.settled import note_changed
from edgewise.verbs.scoring import Model, Scored, models_of, readable, scales_of, score
from edgewise.verbs.sync import NO_RELEASE, catch_up
from edgewise.verbs.system import System, schema_of, source_of
from edgewise.verbs.trust import asked

log = logging.getLogger(__name__)
HEAD_LEAST = 500
HEAD_SHARE = 0.05
HEAD_RANDOM = 500
CHUNK, CHUNK_MOST, CHUNK_SHARE = 1000, 5000, 0.05
COLD_HEAD = 0.5  # in the cold start the diverse head takes the scores below, what follows at random those above
ENOUGH_PLACES = 50
ON_SCREEN = timedelta(hours=1)  # nobody looks at one task for longer
RELEASES_THERE_MOST = 6  # each is a prediction for every open task


@dataclass(frozen=True)
class Run:
    """One ranking: of which project, with whose answers, into which release."""

    system: System
    project: Project
    schema: Schema
    source: str | None
    version: Version | None
    models: dict[str, Model]
    release: Release
    rng: np.random.Generator
    chunk: int  # tasks that are scored and pushed at a time

    @property
    def name(self) -> str:
        """The release as Label Studio knows it."""
        return release_name(self.release.n)


def release_name(n: int) -> str:
    """What Label Studio sees in `model_version`."""
    return f"ew-{n}"


def numbers(names: Iterable[str]) -> list[int]:
    """The releases among names of versions, by their number."""
    return [int(name[3:]) for name in names if re.fullmatch(r"ew-[0-9]{1,9}", name)]


def rank(system: System, project: Project, progress: Progress) -> None:
    """Bring the project's order up to date: a new release for a new version, else the new tasks into the active one."""
    schema = schema_of(project)
    if schema is None or not system.store.unranked(project.key, NO_RELEASE, limit=1):
        return  # nothing open that can be predicted, and Label Studio activates no release without a prediction
    began = time.monotonic()
    version = system.store.version(project.key, project.serving) if project.serving else None
    run = open_run(system, project, schema, version)
    progress(0.05, f"ranking for {run.name}")
    if run.release.state == "ranking":
        run = rank_head(run, progress)
    else:
        settle(run)
    push(run, progress)
    if not is_active(run):
        activate(run)
        count_head(run, time.monotonic() - began)
    rank_rest(run, progress)
    note_changed(system, project, run.release.n)
    retire_older(run)
    list_them(system, project)
    progress(1.0, f"{run.name} is active")


def open_run(system: System, project: Project, schema: Schema, version: Version | None) -> Run:
    """The release to work on: the newest one if it belongs to the serving version, else a new one."""
    releases = system.store.releases(project.key)
    newest = max(releases, key=lambda release: release.n, default=None)
    source = source_of(project)
    if newest is None or newest.version != source or outdated(project, newest, schema):
        # Label Studio may carry releases of a life that we have forgotten: a number of theirs would be pushed twice.
        above = max(numbers(system.studio.model_versions(project.ls_id)), default=0)
        newest = system.store.new_release(project.key, source, schema.digest, above)
    if newest.state == "ranking":
        system.store.drop_ranks(project.key, newest.n)
    # A baseline that nobody has examined gives way to the language model.
    models = {} if version is None and source else models_of(system, project, schema, version)
    rng = np.random.default_rng([system.settings.seed, project.key, newest.n])
    return Run(system, project, schema, source, version, models, newest, rng, chunk_of(system, project))


def chunk_of(system: System, project: Project) -> int:
    """Larger for more tasks, as Label Studio looks through many with each push, however small: among 100,000 on SQLite
    1,000 predictions took it 52 s, and 5,000 took 66 s (by hand, once, beside other work)."""
    return min(CHUNK_MOST, max(CHUNK, int(CHUNK_SHARE * system.store.counts(project.key)["open"])))


def outdated(project: Project, release: Release, schema: Schema) -> bool:
    """A release made under another labelling config would show labels that are no longer there; one made before the
    language model answered does not know where it disagrees."""
    return release.state == "retired" or release.schema_digest != schema.digest or is_newer(project, release)


def rank_head(run: Run, progress: Progress) -> Run:
    """Score what will probably be the top of the order, and keep its ranks, and on which scales the heads were put."""
    store, key = run.system.store, run.project.key
    ids = head_of(run)
    scored_ids, scored, audit = score_tasks(run, ids, lambda done: progress(0.05 + 0.4 * done, "scoring the head"))
    ranks = ranks_in_order(run, scored_ids, scored, audit)
    store.save_ranks(key, run.release.n, ranks)
    release = store.update_release(key, run.release.n, state="pushing", scales=scales_of(scored.by_head))
    return replace(run, release=release)


def head_of(run: Run) -> list[int]:
    """The last order's hardest, some drawn at random, and the tasks that the last order did not know."""
    store, key = run.system.store, run.project.key
    ids = store.open_task_ids(key)
    hardest = max(HEAD_LEAST, int(HEAD_SHARE * len(ids)))
    if len(ids) <= hardest + HEAD_RANDOM or run.project.active_release is None:
        return ids if len(ids) <= hardest + HEAD_RANDOM else run.rng.choice(ids, hardest + HEAD_RANDOM, False).tolist()
    last = run.project.active_release
    top = store.order(key, last, limit=hardest)
    new = store.unranked(key, last, limit=HEAD_LEAST)
    chosen = set(top) | set(new)
    others = [task for task in ids if task not in chosen]
    drawn = run.rng.choice(others, min(HEAD_RANDOM, len(others)), replace=False).tolist()
    return sorted(chosen | set(drawn))


def score_tasks(run: Run, ids: Sequence[int], report: Any) -> tuple[list[Task], Scored, NDArray[Any]]:
    """The readable ones of these tasks, what the models say of them, and which of them are audit tasks."""
    store, key = run.system.store, run.project.key
    tasks = list(store.tasks(key, ids).values())
    good, bad = readable(run.schema, [task.data for task in tasks])
    store.set_problems(key, {task.task_id: bad.get(position) for position, task in enumerate(tasks)})
    kept = [tasks[position] for position in good]
    scored = score(run.system, run.schema, run.models, [task.data for task in kept], report, run.release.scales)
    if run.source and run.version is None:
        scored = asked(run.system, run.project, run.schema, kept, scored)
    scored = weigh(run.system, run.project, run.schema, kept, scored)
    return kept, scored, np.array([task.audit for task in kept], dtype=bool)


def ranks_in_order(run: Run, tasks: Sequence[Task], scored: Scored, audit: NDArray[Any]) -> list[Rank]:
    """The head's order, written as scores: the k-th task gets the k-th smallest certainty."""
    counts = run.system.store.counts(run.project.key)
    done = counts["audit_labelled"]
    placing: dict[str, Any] = {
        "audit": audit,
        "audit_fraction": run.system.settings.audit_fraction,
        "labelled": (counts["labelled"] + done, done),
        "rng": run.rng,
    }
    if scored.uncertainty is None:
        sequence = diverse_order(scored.embeddings, **placing)
        scores: NDArray[np.float64] = np.empty(len(tasks), dtype=np.float64)
        scores[sequence] = COLD_HEAD * (np.arange(len(tasks)) + 1.0) / (len(tasks) + 1.0)
    else:
        placing |= {"similar": similar(run, scored), "urgent": scored.urgent}
        sequence = order(urgency(scored), scored.embeddings, **placing)
        scores = np.asarray(certainties(scored.uncertainty, sequence), dtype=np.float64)
    return as_ranks(run, tasks, scored, scores)


def urgency(scored: Scored) -> NDArray[np.float64]:
    """By what the order goes, (n,): higher is sooner. What is kept and written into scores is the uncertainty."""
    assert scored.uncertainty is not None
    return scored.uncertainty if scored.priority is None else scored.priority


def similar(run: Run, scored: Scored) -> float:
    """How alike two tasks may be without standing apart in the order."""
    choices = any(head.kind != "spans" for head in run.schema.heads)
    return close(scored.embeddings, run.rng) if choices else SIMILAR


def as_ranks(run: Run, tasks: Sequence[Task], scored: Scored, scores: NDArray[Any]) -> list[Rank]:
    """One rank per task, checked as Label Studio will check it; a prediction that it would drop becomes an empty one.

    Here, and only here, uncertainty has become Label Studio's score: lowest first.
    """
    ranks = []
    hide_audit = not run.system.settings.audit_prelabel
    for position, task in enumerate(tasks):
        result = () if task.audit and hide_audit else tuple(scored.results[position])
        faults = problems({"result": list(result), "score": float(scores[position])}, run.schema, task.data)
        if faults:
            log.error("task %s: a prediction that Label Studio would refuse: %s", task.task_id, "; ".join(faults))
            result = ()
        ranks.append(
            Rank(
                task_id=task.task_id,
                uncertainty=None if scored.uncertainty is None else float(scored.uncertainty[position]),
                score=float(scores[position]),
                reason=scored.reasons[position],
                result=result,
                audit=task.audit,
            )
        )
    return ranks


def settle(run: Run) -> None:
    """After a push that was cut off: what arrived counts as pushed. Pushed twice, every score would count double."""
    store, key, n = run.system.store, run.project.key, run.release.n
    waiting = store.unpushed(key, n)
    if waiting:
        run.system.studio.remove_doubles(run.project.ls_id, run.name)
        carried = run.system.studio.carrying(run.project.ls_id, run.name)
        store.mark_pushed(key, n, [rank.task_id for rank in waiting if rank.task_id in carried])


def push(run: Run, progress: Progress) -> None:
    """Send all kept ranks that are not marked as pushed."""
    store, key, n = run.system.store, run.project.key, run.release.n
    waiting = store.unpushed(key, n)
    for start in range(0, len(waiting), run.chunk):
        chunk = waiting[start : start + run.chunk]
        dropped = push_chunk(run, chunk)
        store.mark_pushed(key, n, [rank.task_id for rank in chunk])
        if dropped:
            log.warning("%d predictions of %s were not taken", len(dropped), run.name)
        progress(0.5, f"{start + len(chunk)} predictions pushed to {run.name}")


def push_chunk(run: Run, chunk: Sequence[Rank]) -> list[int]:
    """Send a chunk; tasks whose prediction was dropped. One deleted task makes Label Studio refuse all of them, so
    then we forget the deleted ones, as a sweep would, and send the others."""
    studio, ls_id = run.system.studio, run.project.ls_id
    predictions = [{"task": rank.task_id, "result": rank.result, "score": rank.score} for rank in chunk]
    try:
        return studio.push_release(ls_id, run.name, predictions) if predictions else []
    except StudioRefused:
        there = studio.task_ids(ls_id)
        gone = [rank.task_id for rank in chunk if rank.task_id not in there]
        if not gone:
            raise
    erase_tasks(run.system, run.project, gone)
    return push_chunk(run, [rank for rank in chunk if rank.task_id in there])


def is_active(run: Run) -> bool:
    """Whether Label Studio serves this release and we know it. Somebody may have selected another one there."""
    if run.release.state != "active" or run.project.active_release != run.release.n:
        return False
    return bool(run.system.studio.project(run.project.ls_id).get("model_version") == run.name)


def activate(run: Run) -> None:
    """From now on Label Studio serves this order. Done again it changes nothing: killed in between, it is."""
    system, key = run.system, run.project.key
    system.studio.activate(run.project.ls_id, run.name)
    system.store.update_project(key, active_release=run.release.n)
    system.store.update_release(key, run.release.n, state="active")


def count_head(run: Run, seconds: float) -> None:
    """People wait for a training and for the head of its order: the pause until the next training is by both."""
    last = run.system.by_key(run.project.key).last_training
    if last and run.version and last.get("version") == run.version.id and "head" not in last:
        counted = dict(last) | {"head": seconds, "seconds": last["seconds"] + seconds}
        run.system.store.update_project(run.project.key, last_training=counted)


def rank_rest(run: Run, progress: Progress) -> None:
    """Score and push, chunk by chunk, what the release does not hold yet, until a newer version serves."""
    store, key, n = run.system.store, run.project.key, run.release.n
    store.update_release(key, n, whole=False)
    while ids := store.unranked(key, n, limit=run.chunk):
        if source_of(store.project(key)) != run.source:
            return
        tasks, scored, audit = score_tasks(run, ids, lambda done: progress(0.6, "scoring the rest"))
        scores = place(np.array(store.taken_scores(key, n)), wanted_scores(run, scored, audit))
        store.save_ranks(key, n, as_ranks(run, tasks, scored, scores))
        push(run, progress)
    store.update_release(key, n, whole=True)


def wanted_scores(run: Run, scored: Scored, audit: NDArray[Any]) -> NDArray[np.float64]:
    """Where tasks that join a release belong, (n,): by certainty, near-duplicates apart; audit tasks anywhere."""
    if scored.uncertainty is None:
        return np.asarray(run.rng.uniform(COLD_HEAD, 1.0, len(audit)), dtype=np.float64)
    wanted: NDArray[np.float64] = 1 - scored.uncertainty
    others = np.flatnonzero(~audit)
    unsure, fraction = scored.uncertainty[others], run.system.settings.audit_fraction
    placing: dict[str, Any] = {"audit": audit[others], "audit_fraction": fraction, "labelled": (0, 0), "rng": run.rng}
    placing |= {"similar": similar(run, scored), "urgent": None if scored.urgent is None else scored.urgent[others]}
    sequence = order(urgency(scored)[others], scored.embeddings[others], **placing)
    wanted[others] = certainties(unsure, sequence)
    if audit.any():
        wanted[audit] = run.rng.choice(places(run, 1 - scored.uncertainty), int(audit.sum()))
    return wanted


def places(run: Run, certainty: NDArray[np.float64]) -> Sequence[float] | NDArray[np.float64]:
    """Scores among which an audit task's is drawn: whatever the model thinks of itself must not show."""
    if len(certainty) >= ENOUGH_PLACES:
        return certainty
    store, key, n = run.system.store, run.project.key, run.release.n
    here = store.order(key, n)
    drawn = run.rng.choice(here, ENOUGH_PLACES).tolist() if here else []
    return [rank.score for rank in store.ranks(key, n, drawn).values()] or certainty


def first_on_screen(releases: Iterable[Release], before: int) -> int:
    """The first release of which somebody may have a task open: `before`, or one that served within the hour."""
    since = datetime.now(UTC) - ON_SCREEN
    newest = sorted(releases, key=lambda release: release.n, reverse=True)[:RELEASES_THERE_MOST]
    recent = [older.n for newer, older in pairwise(newest) if newer.created_at > since]
    return min([before, *recent])


def retire_older(run: Run) -> None:
    """Remove the releases older than the one before this here, and what was pushed twice; there, older ones than may
    be on anybody's screen: Label Studio refuses what began from a deleted prediction, and its page does not say so."""
    system, key = run.system, run.project.key
    kept = sorted(release.n for release in system.store.releases(key) if release.n <= run.release.n)[-2:]
    there = system.studio.model_versions(run.project.ls_id)
    if there.get(run.name, 0) > len(system.store.taken_scores(key, run.release.n)):
        # A push that we gave up arrived after all, later than the next run asked what is there.
        system.studio.remove_doubles(run.project.ls_id, run.name)
    past = [n for n in numbers(there) if n < first_on_screen(system.store.releases(key), min(kept))]
    if past:
        catch_up(system, system.by_key(key), run.schema)
    for n in past:
        system.studio.delete_model_version(run.project.ls_id, release_name(n))
    for release in system.store.releases(key):
        if release.n < min(kept) and release.state != "retired":
            system.store.drop_ranks(key, release.n)
            system.store.update_release(key, release.n, state="retired")
