"""What surrounds the verbs: troubles that are noted, projects that pause, come again or are forgotten, timers."""

import pytest

import model
from edgewise.errors import Cancelled, Conflict, Unavailable
from edgewise.services.jobs import Progress
from edgewise.services.store import Job, Project
from edgewise.verbs.connect import forget
from edgewise.verbs.system import System
from edgewise.verbs.timers import Timers
from edgewise.web.wire import SetupRequest
from tests.verbs.conftest import CONFIG, Make, started, waiting


def project_of(system: System, ls_id: int = 7, state: str = "live") -> Project:
    made = system.store.record_project(system.address, ls_id, "1700000000", title="Old", label_config=CONFIG)
    return system.store.update_project(made.key, state=state)


def running(system: System, key: int, kind: str) -> Job:
    job = system.store.start_job(system.store.add_job(kind, key, lane="light").id, 60)
    assert job is not None
    return job


def verb_that(monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> None:
    def verb(system: System, project: Project, progress: Progress) -> None:
        if error is not None:
            raise error

    monkeypatch.setattr(model, "VERBS", {"rank": verb})


def run(system: System, key: int) -> None:
    job = system.store.add_job("rank", key, lane="light")
    with started(system, key, "rank") as progress:
        model.run_verb(system, job, progress)


def test_what_goes_wrong_stays_in_status_until_it_goes_right(offline: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    system = offline()
    key = project_of(system).key
    verb_that(monkeypatch, Conflict("It went wrong.", "Mend it."))
    with pytest.raises(Conflict):
        run(system, key)
    trouble = system.by_key(key).trouble
    assert trouble is not None
    assert (trouble["what"], trouble["mend"], trouble["about"]) == ("It went wrong.", "Mend it.", "rank")
    verb_that(monkeypatch, None)
    run(system, key)
    assert system.by_key(key).trouble is None


def test_a_cancelled_job_is_no_trouble(offline: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    system = offline()
    key = project_of(system).key
    verb_that(monkeypatch, Cancelled("The job was cancelled.", "Run it again."))
    with pytest.raises(Cancelled):
        run(system, key)
    assert system.by_key(key).trouble is None


def test_a_job_of_a_project_that_was_erased_meanwhile_has_nothing_left_to_do(offline: Make) -> None:
    system = offline()
    key = project_of(system).key
    with started(system, key, "forget") as progress:
        system.store.erase_project(key)
        model.run_verb(system, system.queue.job(progress.job_id), progress)


def test_forget_waits_until_no_job_can_push_again_what_it_removes(offline: Make) -> None:
    system = offline()
    key = project_of(system).key
    ranking = running(system, key, "rank")
    system.store.add_job("train", key, lane="light")
    other = running(system, project_of(system, 8).key, "rank")
    with started(system, key, "forget") as progress, pytest.raises(Unavailable, match="rank is still stopping"):
        forget(system, system.by_key(key), progress)
    assert system.by_key(key).state == "paused", "nothing of its own begins meanwhile"
    assert waiting(system, key) == set()
    assert system.queue.job(ranking.id).cancel_at is not None
    assert system.queue.job(other.id).cancel_at is None


def test_a_project_that_nobody_knows_is_recorded_and_connected(offline: Make) -> None:
    system = offline()
    answered = model.backend_of(system).setup(SetupRequest(7, "1800000000", CONFIG, "", "http://us"))
    new = system.store.find_project(system.address, 7)
    assert new is not None
    assert (new.title, new.label_config, new.state) == ("", CONFIG, "connecting")
    assert answered == "ew-live"
    assert waiting(system, new.key) == {"connect"}


def test_setup_changes_nothing_of_a_project_that_we_know(offline: Make) -> None:
    system = offline()
    known = project_of(system)
    system.store.update_project(known.key, connection={"addresses": ["http://us"]})
    model.backend_of(system).setup(SetupRequest(7, "1700000000", CONFIG, "", "http://us"))
    assert waiting(system, known.key) == set()
    model.backend_of(system).setup(SetupRequest(7, "1700000000", CONFIG.replace("PER", "BIRD"), "", "http://us"))
    assert waiting(system, known.key) == {"sync"}
    assert system.by_key(known.key).label_config == CONFIG, "the truth is fetched"


def test_timers_sweep_at_the_start_then_sync_live_projects_only(offline: Make) -> None:
    system = offline(sync_interval_s=1e-6)
    live, paused = project_of(system, 1), project_of(system, 2, "paused")
    connecting = project_of(system, 3, "connecting")
    tick = Timers(system)
    tick()
    assert waiting(system, live.key) == {"sweep"}
    tick()
    assert waiting(system, live.key) == {"sweep", "sync"}
    assert waiting(system, paused.key) == waiting(system, connecting.key) == set()


def test_timers_bring_to_mlflow_what_a_killed_training_left(offline: Make) -> None:
    system = offline(sync_interval_s=1e-6)
    tick = Timers(system)
    tick()
    assert [job.kind for job in system.queue.jobs(5)] == []
    system.store.outbox_add("champion", {"model": "m", "version": "v"})
    tick()
    assert [job.kind for job in system.queue.jobs(5)] == ["mirror"]


def test_timers_leave_the_pause_of_a_mlflow_that_is_away(offline: Make) -> None:
    system = offline(sync_interval_s=1e-6)
    system.store.outbox_add("champion", {"model": "m", "version": "v"})
    tick = Timers(system)
    tick()
    (waits,) = system.queue.jobs(5)
    started = system.store.start_job(waits.id, 60)
    assert started is not None
    tick()
    assert [job.state for job in system.queue.jobs(5)] == ["running"]
    system.store.put_back(started, error=None, faults=0, pause_s=300)
    paused = system.queue.job(waits.id)
    tick()
    assert system.queue.jobs(5) == [paused]
    assert paused.run_after is not None
