"""Chunks of an order, of each step of its head and of the rest behind that, which any worker on any machine may score.

The ranking itself takes chunks too, so that one worker alone does without help; jobs of the lane "score" help it while
workers are idle. A chunk belongs to a job as long as that runs, but the ranking waits for none for long: killed or
stuck, only its chunk is scored again. Knows nothing of Label Studio: only the ranking places a head and pushes, and it
alone sees to it that no two tasks have the same score.
"""

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edgewise.errors import Unavailable
from edgewise.learning.selection import place
from edgewise.services.jobs import HELPERS, Progress
from edgewise.services.store import Chunk, Job, Project, Release, Task
from edgewise.services.store.database import chunks
from edgewise.services.store.queue import HELPERS_LANE
from edgewise.verbs.models import Model, models_of
from edgewise.verbs.parcels import packed, unpacked
from edgewise.verbs.placing import Run, as_ranks, said_by_models, wanted_scores, with_language_model
from edgewise.verbs.scoring import Report, Scored, joined, part
from edgewise.verbs.system import System, schema_of, source_of

AHEAD = 128  # chunks that are cut at a time: so many workers find one, and no list is as long as the pool
PART = 125  # tasks of a step of the head that one worker scores at a time: all wait for the last one
ALONE = 4  # chunks that are not worth another process
LOOK_EVERY_S = 0.1
PATIENCE_S = 1.0  # so long may another job wait for a worker that helps
STUCK_S, SLOWER = 5.0, 3  # so long, or so many times its own slowest, the ranking waits for a chunk that others hold


class Turns:
    """The ranking's own turns at its chunks."""

    def __init__(self, run: Run, job: Job) -> None:
        self._run, self._job = run, job
        self._since, self._most = time.monotonic(), STUCK_S

    def take(self, report: Report) -> None:
        """Score a chunk that nobody is at; without one wait a moment, and take over what is held for too long: whoever
        is at it may be dead or stuck. If not, what comes late is dropped, or says the same."""
        store, key, n = self._run.system.store, self._run.project.key, self._run.release.n
        waited = time.monotonic() - self._since
        chunk = store.claim_chunk(key, n, self._job)
        if chunk is None and waited > self._most:
            chunk = store.take_over_chunk(key, n, self._job)
        if chunk is None:
            wait(report)
            return
        begun = time.monotonic()
        score_chunk(self._run, chunk, self._job, report)
        self._since = time.monotonic()
        self._most = max(self._most, SLOWER * (self._since - begun))


def cut(run: Run, size: int) -> int:
    """How many chunks are left; new ones, of so many tasks, are made while there are few."""
    store, key, n = run.system.store, run.project.key, run.release.n
    left = store.count_chunks(key, n)
    if left >= AHEAD:
        return left
    store.cut_chunks(key, n, size, AHEAD)
    return store.count_chunks(key, n)


def score_step(run: Run, ids: Sequence[int], job: Job, report: Report) -> tuple[list[Task], Scored]:
    """The readable ones of these tasks of a head, ascending, and what the models say of them: in chunks, if there are
    helpers. Several heads' first step is not shared, as it makes the scales that all tasks are put on."""
    store, key, n = run.system.store, run.project.key, run.release.n
    ask_for_help(run.system, run.project, run.open_tasks // (ALONE * PART))  # again: helpers make room for others
    comparable = bool(run.release.scales) or len(run.schema.heads) == 1 or not run.models
    if len(ids) <= PART or not comparable or not store.unfinished_jobs(key, HELPERS_LANE):
        return said_by_models(run, ids, report)
    known, parts = store.tasks(key, ids), list(chunks(ids, PART))
    store.cut_step(key, n, parts)
    turns = Turns(run, job)
    while left := store.count_chunks(key, n):
        turns.take(part(report, len(parts) - left, len(parts)))
    taken = store.take_said(key, n)
    if len(taken) != len(parts) or not all(taken):
        raise Unavailable("Another process is at this ranking, or its tasks changed just now.", "It goes on by itself.")
    said = [unpacked(one) for one in taken]
    known |= store.tasks(key, ids)  # as they were when they were scored; those that are gone meanwhile as they were
    return [known[task] for readable, _ in said for task in readable], joined([scored for _, scored in said])


def score_next(run: Run, job: Job, report: Report) -> bool:
    """Score the first chunk that nobody is at; False if there is none."""
    chunk = run.system.store.claim_chunk(run.project.key, run.release.n, job)
    if chunk is not None:
        score_chunk(run, chunk, job, report)
    return chunk is not None


def score_chunk(run: Run, chunk: Chunk, job: Job, report: Report) -> None:
    """Keep what is said of a chunk's tasks: of the rest their ranks."""
    store, key, n = run.system.store, run.project.key, run.release.n
    run = replace(run, release=store.release(key, n))  # now: the head's first step has made the scales of all others
    if chunk.tasks is None:
        keep_ranks(run, chunk, report)
    else:
        store.keep_said(key, n, chunk, job, packed(*said_by_models(run, chunk.tasks, report)))


def keep_ranks(run: Run, chunk: Chunk, report: Report) -> None:
    """Ranks of a chunk of the rest. What is drawn at random in it is drawn alike whoever does it, and however often."""
    store, key, n = run.system.store, run.project.key, run.release.n
    ids = store.unranked(key, n, above=chunk.first - 1, upto=chunk.last)
    if ids:
        run = replace(run, rng=np.random.default_rng([run.system.settings.seed, key, n, chunk.first]))
        tasks, scored = said_by_models(run, ids, report)
        scored = with_language_model(run, tasks, scored)
        scores = place(np.empty(0), wanted_scores(run, tasks, scored))
        store.add_ranks(key, n, as_ranks(run, tasks, scored, scores))
    store.end_chunk(key, n, chunk)


def wait(report: Report) -> None:
    """Others are at work; in a moment we look again."""
    report(0)
    time.sleep(LOOK_EVERY_S)


def ask_for_help(system: System, project: Project, left: int) -> None:
    """Queue a helper for each worker that has nothing to do, as far as there are chunks for them."""
    if left <= ALONE:
        return
    there = system.store.unfinished_jobs(project.key, HELPERS_LANE)
    idle = system.queue.idle_workers(HELPERS_LANE) - sum(job.state == "queued" for job in there)
    free = [kind for kind in HELPERS if kind not in {job.kind for job in there}]
    for kind in free[: max(0, min(idle, left - 1 - len(there)))]:
        system.queue.enqueue(kind, project.key)


def dismiss(system: System, project: Project) -> None:
    """Helpers that no worker has taken are not needed any more. Those at work find nothing more to do by themselves."""
    for job in system.store.unfinished_jobs(project.key, HELPERS_LANE):
        if job.state == "queued":
            system.queue.cancel(job.id)


def help_rank(system: System, project: Project, progress: Progress) -> None:
    """A helper's job: chunk after chunk of the project's ranking, until there is none or somebody needs the worker."""
    run, store = join(system, project), system.store
    while run is not None and is_wanted(run):
        head_is_open = store.release(project.key, run.release.n).state == "ranking"
        if not score_next(run, progress.job, lambda done: progress(0.6, "scoring")):
            if not head_is_open:
                return
            wait(lambda done: progress(0.6, "waiting for the next step of the head"))
        if store.waiting_s() > PATIENCE_S:
            return


def join(system: System, project: Project) -> Run | None:
    """The ranking that is under way, or None if there is none to help."""
    store, schema, source = system.store, schema_of(project), source_of(project)
    newest = newest_release(system, project)
    if schema is None or newest is None or (newest.version, newest.schema_digest) != (source, schema.digest):
        return None
    version = store.version(project.key, project.serving) if project.serving else None
    run = Run(system, project, schema, source, version, {}, newest, np.random.default_rng())
    if not is_wanted(run):
        return None
    return replace(run, models=answering(run))


def answering(run: Run) -> dict[str, Model]:
    """The models whose answers the order is made of. A baseline that nobody has examined gives way to the language
    model."""
    if run.version is None and run.source:
        return {}
    return models_of(run.system, run.project, run.schema, run.version)


def is_wanted(run: Run) -> bool:
    """Whether a ranking of the project runs, of this release, and nothing newer serves by now."""
    system, project = run.system, run.project
    ranked = any((job.kind, job.state) == ("rank", "running") for job in system.store.unfinished_jobs(project.key))
    newest = newest_release(system, project)
    return ranked and serves(run) and newest is not None and newest.n == run.release.n


def newest_release(system: System, project: Project) -> Release | None:
    """The last one that was begun, None before the first."""
    return max(system.store.releases(project.key), key=lambda release: release.n, default=None)


def serves(run: Run) -> bool:
    """Whether the project's answers are still those that the order is made of."""
    return source_of(run.system.store.project(run.project.key)) == run.source
