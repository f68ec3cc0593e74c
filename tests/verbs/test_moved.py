"""Label Studio under another address, or another Label Studio: nothing is done for its projects, nothing is erased."""

import logging
from collections.abc import Iterator

import pytest

import model
from edgewise.errors import Conflict
from edgewise.services.store import Project, Task
from edgewise.verbs.doctor import examine
from edgewise.verbs.doctor.project import CONNECTION
from edgewise.verbs.sync import sweep_now, sync
from edgewise.verbs.system import System
from edgewise.verbs.timers import Timers
from tests.verbs.conftest import CONFIG, Make, started, waiting
from tests.verbs.small_studio import CREATED_AT, LS_ID, SmallStudio, small_studio

OLD = "http://old.example:8080"


@pytest.fixture
def studio() -> Iterator[SmallStudio]:
    with small_studio() as running:
        yield running


def system_at(studio: SmallStudio, offline: Make) -> System:
    return offline(label_studio_host=f"{studio.url}/", label_studio_api_key="x", sync_interval_s=1e-6)


def known_at(system: System, address: str, state: str = "live") -> Project:
    """A connected project with a task, of the organisation that the token belongs to here too."""
    made = system.store.record_project(address, LS_ID, CREATED_AT, title="Birds", label_config=CONFIG)
    system.store.upsert_tasks(made.key, [Task(1, {"text": "Anna"}, "k")], {})
    connection = {"organization": 1, "addresses": ["http://us.example:9090"]}
    return system.store.update_project(made.key, state=state, connection=connection)


def run(system: System, key: int, kind: str) -> None:
    job = system.store.add_job(kind, key, lane="light")
    with started(system, key, kind) as progress:
        model.run_verb(system, job, progress)


@pytest.mark.parametrize("state", ["live", "connecting", "gone"])
def test_timers_leave_a_project_of_another_address_alone_and_say_so_once(
    studio: SmallStudio, offline: Make, caplog: pytest.LogCaptureFixture, state: str
) -> None:
    system = system_at(studio, offline)
    old = known_at(system, OLD, state)
    tick = Timers(system)
    with caplog.at_level(logging.WARNING):
        tick()
        tick()
    assert waiting(system, old.key) == set()
    assert system.store.task_ids(old.key) == {1}
    assert caplog.text.count(f"recorded under {OLD}") == 1


@pytest.mark.parametrize("kind", ["sync", "sweep", "connect", "train", "rank", "forget", "saving"])
@pytest.mark.parametrize("there", [True, False], ids=["another project has the id", "nothing has the id"])
def test_no_job_of_a_project_of_another_address_does_anything(
    studio: SmallStudio, offline: Make, kind: str, there: bool
) -> None:
    system = system_at(studio, offline)
    old = known_at(system, OLD)
    studio.project = {"id": LS_ID, "created_at": "2027-01-15T08:00:00Z", "label_config": CONFIG} if there else None
    with pytest.raises(Conflict, match=f"recorded under {OLD}, and this process talks to {studio.url}"):
        run(system, old.key, kind)
    kept = system.by_key(old.key)
    assert (kept.state, system.store.task_ids(old.key)) == ("live", {1})
    assert kept.trouble is not None
    assert "LABEL_STUDIO_HOST" in kept.trouble["mend"]


@pytest.mark.parametrize("verb", [sync, sweep_now])
def test_sync_itself_refuses_before_it_asks_label_studio(studio: SmallStudio, offline: Make, verb: model.Verb) -> None:
    system = system_at(studio, offline)
    old = known_at(system, OLD)
    studio.answers = False
    with started(system, old.key, "sync") as progress, pytest.raises(Conflict, match="Nothing was erased"):
        verb(system, old, progress)


def test_an_address_with_and_without_a_slash_at_its_end_is_the_same(studio: SmallStudio, offline: Make) -> None:
    system = system_at(studio, offline)
    project = known_at(system, studio.url)
    Timers(system)()
    assert waiting(system, project.key) == {"sweep"}
    run(system, project.key, "pause")
    assert system.by_key(project.key).state == "paused"


def test_the_doctor_says_where_the_project_is_known(studio: SmallStudio, offline: Make) -> None:
    system = system_at(studio, offline)
    known_at(system, OLD)
    (known,) = examine(system, LS_ID, None, [check for check in CONNECTION if check.name == "known"])
    assert known["state"] == "failed"
    assert f"under {OLD}" in str(known["what"])
    assert "LABEL_STUDIO_HOST" in str(known["mend"])
