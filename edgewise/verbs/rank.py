"""rank: score the open tasks, order them, push the order to Label Studio as a release, and make it the active one.

Head first: the release is activated as soon as the top of the order is pushed, of many tasks the very first ones; the
rest follows under the same release.
Killed anywhere, the next run goes on: ranks are kept before they are pushed, and a push that was cut off first asks
what is there already.
"""

import logging
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np

from edgewise.errors import StudioRefused, StudioUnavailable
from edgewise.labels.schema import Schema
from edgewise.learning.selection import place
from edgewise.services.jobs import Progress
from edgewise.services.store import Project, Rank, Release, Version
from edgewise.verbs import arithmetic, rank_chunks
from edgewise.verbs.disagreement import is_newer, list_them
from edgewise.verbs.head_first import score_head
from edgewise.verbs.numbers.settled import note_changed
from edgewise.verbs.placing import Run, ranks_in_order, release_name, with_language_model
from edgewise.verbs.pushing import push_predictions
from edgewise.verbs.sync import NO_RELEASE, catch_up
from edgewise.verbs.system import System, schema_of, source_of

log = logging.getLogger(__name__)
SCORED = 500  # tasks that one worker scores at a time: what is lost when it is killed, and idle at the end
PUSHED, PUSHED_MOST, PUSHED_SHARE = 2500, 5000, 0.05  # tasks pushed at a time: a head in one, as it is calls that cost
FIRST, MANY = 12, 2000  # predictions sent singly, 0.1 s each, where as many open tasks make any import take seconds
NEARLY = 0.9  # of a push: some tasks cannot be read
ON_SCREEN = timedelta(hours=1)  # nobody looks at one task for longer
RELEASES_THERE_MOST = 6  # each is a prediction for every open task


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
    if not is_active(run):
        if not push_first(run):
            push(run, progress)
        activate(run)
        count_head(run, time.monotonic() - began)
    push(run, progress)
    rank_rest(run, progress)
    note_changed(system, project, run.release.n)
    retire_older(run)
    list_them(system, project)
    if arithmetic.is_wanted(system, project, version) and system.store.release(project.key, run.release.n).whole:
        system.queue.enqueue(arithmetic.KIND, project.key)
    progress(1.0, f"{run.name} is active")


def open_run(system: System, project: Project, schema: Schema, version: Version | None) -> Run:
    """The release to work on: the newest one if it belongs to the serving version, else a new one."""
    newest = rank_chunks.newest_release(system, project)
    source = source_of(project)
    if newest is None or newest.version != source or outdated(project, newest, schema):
        # Label Studio may carry releases of a life that we have forgotten: a number of theirs would be pushed twice.
        above = max(numbers(system.studio.model_versions(project.ls_id)), default=0)
        newest = system.store.new_release(project.key, source, schema.digest, above)
    system.store.drop_chunks_of_others(project.key, newest.n)
    if newest.state == "ranking":
        system.store.drop_ranks(project.key, newest.n)
        newest = system.store.update_release(project.key, newest.n, scales={})
    rng = np.random.default_rng([system.settings.seed, project.key, newest.n])
    run = Run(system, project, schema, source, version, {}, newest, rng, system.store.counts(project.key)["open"])
    return replace(run, models=rank_chunks.answering(run))


def push_size(run: Run) -> int:
    """Tasks pushed at a time: more of more tasks, as Label Studio looks through many with each push, however small:
    among 100,000 on SQLite 1,000 predictions took it 52 s, and 5,000 took 66 s (by hand, once, beside other work)."""
    return min(PUSHED_MOST, max(PUSHED, int(PUSHED_SHARE * run.open_tasks)))


def how_far(run: Run) -> float:
    """Progress behind the head, by what has a rank."""
    ranked = run.system.store.pool_size(run.project.key, run.release.n)
    return 0.5 + 0.5 * min(0.99, ranked / max(1, run.open_tasks))


def outdated(project: Project, release: Release, schema: Schema) -> bool:
    """A release made under another labelling config would show labels that are no longer there; one made before the
    language model answered does not know where it disagrees."""
    return release.state == "retired" or release.schema_digest != schema.digest or is_newer(project, release)


def rank_head(run: Run, progress: Progress) -> Run:
    """Score what will probably be the top of the order, and keep its ranks, and on which scales the heads were put."""
    store, key = run.system.store, run.project.key
    run, tasks, scored = score_head(run, progress.job, lambda done: progress(0.05 + 0.4 * done, "scoring the head"))
    scored = with_language_model(run, tasks, scored)
    store.save_ranks(key, run.release.n, ranks_in_order(run, tasks, scored))
    run = replace(run, release=store.update_release(key, run.release.n, state="pushing"))
    rank_chunks.ask_for_help(run.system, run.project, rank_chunks.cut(run, SCORED))  # while the head is pushed
    return run


def settle(run: Run) -> None:
    """After a push that was cut off: what arrived counts as pushed. Pushed twice, every score would count double."""
    store, key, n = run.system.store, run.project.key, run.release.n
    waiting = store.unpushed(key, n)
    if waiting:
        run.system.studio.remove_doubles(run.project.ls_id, run.name)
        carried = run.system.studio.carrying(run.project.ls_id, run.name)
        store.mark_pushed(key, n, [rank.task_id for rank in waiting if rank.task_id in carried])


def push_first(run: Run) -> bool:
    """Send what annotators see next, one by one, of many open tasks: for an import, however small, Label Studio
    recounts the whole project (0.4 s with 5,000 tasks, 4 s once all have predictions). Whether there is something to
    activate now."""
    store, key, n = run.system.store, run.project.key, run.release.n
    if run.open_tasks < MANY:
        return False
    first = apart(run, store.unpushed(key, n, FIRST))
    try:
        for rank in first:
            run.system.studio.push_one(run.project.ls_id, run.name, sendable(rank))
            store.mark_pushed(key, n, [rank.task_id])
    except StudioRefused:
        log.info("a task of %s is gone; which ones are is seen with the others", run.name)
    except StudioUnavailable:
        settle(run)  # nobody knows whether the last one arrived
    return store.count_ranks(key, n, pushed=True) > 0


def push(run: Run, progress: Progress, least: int = 1) -> None:
    """Send the kept ranks that are not marked as pushed, lowest score first; nothing if there are fewer than `least`.
    What others add meanwhile waits for the next time."""
    store, key, n = run.system.store, run.project.key, run.release.n
    waiting = store.count_ranks(key, n, pushed=False)
    if waiting < least:
        return
    size = push_size(run)
    for done in range(0, waiting, size):
        chunk = apart(run, store.unpushed(key, n, min(size, waiting - done)))
        dropped = push_predictions(run.system, run.project, run.name, [sendable(rank) for rank in chunk])
        store.mark_pushed(key, n, [rank.task_id for rank in chunk])
        if dropped:
            log.warning("%d predictions of %s were not taken", len(dropped), run.name)
        progress(how_far(run), f"{done + len(chunk)} predictions pushed to {run.name}")


def apart(run: Run, chunk: Sequence[Rank]) -> list[Rank]:
    """The same ranks, kept anew where tasks that were pushed have their scores, or others of them: two tasks with one
    score have no order. Who scores does not know of the others; here is one process."""
    store, key, n = run.system.store, run.project.key, run.release.n
    wanted, taken = np.array([rank.score for rank in chunk], dtype=np.float64), set[float]()
    while True:
        scores = place(np.array(sorted(taken)), wanted).tolist()
        met = store.taken_scores(key, n, scores) - taken
        if not met:
            break
        taken |= met
    placed = [replace(rank, score=score) for rank, score in zip(chunk, scores, strict=True)]
    store.save_ranks(key, n, [new for new, old in zip(placed, chunk, strict=True) if new.score != old.score])
    return placed


def sendable(rank: Rank) -> dict[str, object]:
    """A rank as Label Studio's prediction."""
    return {"task": rank.task_id, "result": rank.result, "score": rank.score}


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
    """Score what the release does not hold yet, chunk by chunk and with all help there is, and push it, until a newer
    version serves."""
    store, key, n = run.system.store, run.project.key, run.release.n
    store.update_release(key, n, whole=False)

    def report(_: float) -> None:
        progress(how_far(run), "scoring the rest")

    turns = rank_chunks.Turns(run, progress.job)
    while left := rank_chunks.cut(run, SCORED):
        if not rank_chunks.serves(run):
            return
        rank_chunks.ask_for_help(run.system, run.project, left)
        turns.take(report)
        push(run, progress, least=int(NEARLY * push_size(run)))
    push(run, progress)
    rank_chunks.dismiss(run.system, run.project)
    store.update_release(key, n, whole=True)


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
    if there.get(run.name, 0) > system.store.count_ranks(key, run.release.n):
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
