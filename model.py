"""Edgewise, told in its verbs: what Label Studio's plugin calls, what the queue runs, what the terminal starts.

Glue only: no formula, no SQL, no HTTP, no prompt. The verbs are in edgewise/verbs; this file says which
there are, hands uncertainty.py down to them, and holds the plugin class.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import llm_prelabel
import uncertainty
from edgewise.errors import Cancelled, EdgewiseError, InputError, NotFound
from edgewise.services import jobs, workers
from edgewise.services.mirror import mirror
from edgewise.services.store import Job, Project
from edgewise.settings import Settings, read_settings
from edgewise.verbs import answer
from edgewise.verbs.backend import Backend
from edgewise.verbs.connect import connect, forget
from edgewise.verbs.doctor import doctor
from edgewise.verbs.private import refuse_endpoint
from edgewise.verbs.sync import sweep_now, sync
from edgewise.verbs.system import System, Uncertainty
from edgewise.verbs.timers import Timers

try:
    from label_studio_ml.model import LabelStudioMLBase
except ImportError as error:
    raise ImportError(
        "label-studio-ml is not installed. It comes in a second step, without its dependencies: "
        "pip install --no-deps -r requirements-label-studio-ml.txt"
    ) from error

log = logging.getLogger(__name__)
Json = dict[str, Any]
Verb = Callable[[System, Project, jobs.Progress], None]
MeasuringVerb = Callable[[System, Project, Mapping[str, Any], jobs.Progress], None]


def train(system: System, project: Project, progress: jobs.Progress) -> None:
    """Snapshot -> version -> gate. Imported here: the web process never loads the Trainer."""
    from edgewise.verbs.train import train as run

    run(system, project, progress)


def rank(system: System, project: Project, progress: jobs.Progress) -> None:
    """Score, order, push, activate."""
    from edgewise.verbs.rank import rank as run

    run(system, project, progress)


def help_rank(system: System, project: Project, progress: jobs.Progress) -> None:
    """Score a part of what a ranking that runs elsewhere has to."""
    from edgewise.verbs.rank_chunks import help_rank as run

    run(system, project, progress)


def arithmetic(system: System, project: Project, progress: jobs.Progress) -> None:
    """The fastest arithmetic in which the serving version ranks as it does in 32 bits."""
    from edgewise.verbs.arithmetic import arithmetic as run

    run(system, project, progress)


def prelabel(system: System, project: Project, progress: jobs.Progress) -> None:
    """A language model's answers for the open tasks."""
    from edgewise.verbs.prelabel import prelabel as run

    run(system, project, progress)


def evaluate_llm(system: System, project: Project, options: Mapping[str, Any], progress: jobs.Progress) -> None:
    """Quality, cost and time of language models on labelled tasks."""
    from edgewise.verbs.evaluate_llm import evaluate_llm as run

    run(system, project, options, progress)


def improve(system: System, project: Project, options: Mapping[str, Any], progress: jobs.Progress) -> None:
    """Rounds in which the language model and a small model teach each other (FreeAL)."""
    from edgewise.verbs.improve import improve as run

    run(system, project, options, progress)


def plan(system: System, project: Project, options: Mapping[str, Any], progress: jobs.Progress) -> None:
    """What a language-model run would cost and take."""
    from edgewise.verbs.plan import plan as run

    run(system, project, options, progress)


def label_errors(system: System, project: Project, options: Mapping[str, Any], progress: jobs.Progress) -> None:
    """Labels that are likely wrong, and how far annotators agree."""
    from edgewise.verbs.numbers.label_errors import label_errors as run

    run(system, project, options, progress)


def saving(system: System, project: Project, options: Mapping[str, Any], progress: jobs.Progress) -> None:
    """How many labels random order would have needed."""
    from edgewise.verbs.numbers.saving import saving as run

    run(system, project, options, progress)


def resume(system: System, project: Project, progress: jobs.Progress) -> None:
    """Jobs of the project's own start again."""
    system.store.update_project(project.key, state="live")
    system.queue.enqueue("sync", project.key)
    progress(1.0)


def pause(system: System, project: Project, progress: jobs.Progress) -> None:
    """No jobs of the project's own until told."""
    system.store.update_project(project.key, state="paused")
    progress(1.0)


VERBS: Mapping[str, Verb] = {
    "connect": connect,
    "sync": sync,
    "sweep": sweep_now,
    "train": train,
    "rank": rank,
    "arithmetic": arithmetic,
    "prelabel": prelabel,
    "pause": pause,
    "resume": resume,
    "doctor": doctor,
    "forget": forget,
}
MEASURING: Mapping[str, MeasuringVerb] = {
    "evaluate-llm": evaluate_llm,
    "plan": plan,
    "improve": improve,
    "label-errors": label_errors,
    "saving": saving,
}
"""Kinds of job -> what does them. Those that measure take options and leave a report under the job's id.

`rollback` is done at once and queues a ranking; `mirror` belongs to no project.
"""


@cache
def open_system() -> System:
    """This process's Edgewise, by the environment. Raises SettingsError, also for what PRIVATE forbids."""
    settings = read_settings()
    refuse_endpoint(settings)
    return system_for(settings)


def system_for(settings: Settings) -> System:
    """An Edgewise with these settings, scoring by uncertainty.py."""
    return System(settings, uncertainty_functions(), llm_prelabel.prelabel)


def uncertainty_functions() -> Uncertainty:
    """uncertainty.py as the verbs know it."""
    return Uncertainty(
        scores=uncertainty.SCORES,
        default=uncertainty.DEFAULT,
        contributions=uncertainty.word_contributions,
        choice_scores=uncertainty.CHOICE_SCORES,
        choice_default=uncertainty.CHOICE_DEFAULT,
    )


def run_job(job_id: str) -> None:
    """Run one job to its end: what the local worker and RQ both call, by this name."""
    system = open_system()
    jobs.perform(system.store, system.queue, job_id, lambda job, progress: run_verb(system, job, progress))


def run_verb(system: System, job: Job, progress: jobs.Progress) -> None:
    """The verb of a job. What goes wrong stays visible in the project's status until it goes right."""
    if job.project_key is None:
        mirror(system.store, system.settings.mlflow_tracking_uri, system.settings.data_dir / "mlflow-artifacts")
        return
    try:
        project = system.by_key(job.project_key)
    except NotFound:
        log.info("%s: the project was erased, nothing is left to do", job.kind)
        return
    helps = job.kind in jobs.HELPERS
    about = "rank" if helps else job.kind  # a ranking that goes through needs no help any more
    try:
        system.refuse_elsewhere(project)
        if job.kind in MEASURING:
            MEASURING[job.kind](system, project, job.args, progress)
        elif helps:
            help_rank(system, project, progress)
        else:
            VERBS[job.kind](system, project, progress)
    except Cancelled:
        raise  # no trouble: somebody wanted it so, or another process has taken the job over
    except EdgewiseError as error:
        system.note_trouble(project, about, error)
        raise
    if not helps:
        system.clear_trouble(project, about)


def work(system: System, lanes: Sequence[str] = jobs.LANES) -> None:
    """Do jobs until told to stop: from Redis where REDIS_URL is set, else from the jobs table alone."""
    system.registry.check()
    if system.settings.redis_url is not None:
        workers.work_redis(system.settings, system.store, lanes=lanes, tick=Timers(system))
    else:
        workers.work(system.settings, run_job, tick=Timers(system))


def backend_of(system: System) -> Backend:
    """What the web server and the terminal ask."""
    return Backend(system, (*VERBS, *MEASURING))


class Edgewise(LabelStudioMLBase):  # type: ignore[misc]  # untyped in both releases
    """The plugin as label-studio-ml knows it, under the published 1.0.9 and the development version alike.

    A new object may be made for every request, so nothing is kept on it.
    """

    def __init__(self, project_id: Any = None, label_config: str | None = None, **kwargs: Any) -> None:
        super().__init__(project_id=project_id, label_config=label_config, **kwargs)
        self.model_version = "ew-live"

    def setup(self) -> None:
        """Nothing is loaded before it is needed."""

    def predict(self, tasks: Sequence[Json], context: Json | None = None, **kwargs: Any) -> list[Json]:
        """One prediction per task, in order."""
        if not tasks:
            return []
        ls_id = tasks[0].get("project")
        if not isinstance(ls_id, int):
            raise InputError(
                "The tasks name no project.", "Send tasks as Label Studio does, each with its project's id."
            )
        system = open_system()
        drawn = (context or {}).get("result")
        return answer.predict(system, system.project(ls_id), tasks, drawn)

    def fit(self, *args: Any, event: str | None = None, data: Json | None = None, **kwargs: Any) -> Json:
        """An event of Label Studio: a hint that something changed, or an order to train.

        The development version calls fit(event, data), the published one fit((), event=…, data=…, job_id=…).
        """
        if len(args) == 2 and isinstance(args[0], str):
            event, data = args
        ls_id = ((data or {}).get("project") or {}).get("id")
        if not isinstance(ls_id, int):
            return {"status": "ignored: no project"}
        system = open_system()
        kind = "train" if event == "START_TRAINING" else "sync"
        job = system.queue.enqueue(kind, system.project(ls_id).key)
        return {"job": job.id, "model_version": self.model_version}
