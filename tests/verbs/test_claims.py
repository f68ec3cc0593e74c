"""A /setup for an id that we know, with another creation time: a re-created database, or another Label Studio that has
our address. Only Label Studio itself, asked, decides which: before that nothing is erased."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest

import model
from edgewise.errors import SchemaError, StudioRefused, StudioUnavailable
from edgewise.services.registry import Registry
from edgewise.services.store import Project, Task
from edgewise.services.studio import Studio
from edgewise.verbs.system import System
from edgewise.verbs.timers import Timers
from edgewise.web.wire import SetupRequest
from tests.verbs.conftest import CONFIG, Killed, Make, dies, started, waiting
from tests.verbs.small_studio import (
    ANOTHER_CREATED,
    ANOTHER_CREATED_AT,
    CREATED_AT,
    LS_ID,
    SmallStudio,
    small_studio,
    task,
)

THEIR_ADDRESS = "http://us.example:9090"


@pytest.fixture
def studio() -> Iterator[SmallStudio]:
    with small_studio() as running:
        running.tasks = [task(1)]
        yield running


@pytest.fixture
def system(studio: SmallStudio, offline: Make) -> System:
    """One that asks Label Studio once: repeating takes its time."""
    made = offline(label_studio_host=studio.url, label_studio_api_key="x", sync_interval_s=1e-6)
    made.__dict__["studio"] = Studio(made.address, "x", tries=1)
    return made


def known(system: System, **fields: Any) -> Project:
    """Our project, with a task; live and connected unless `fields` say otherwise."""
    made = system.store.record_project(system.address, LS_ID, CREATED_AT, title="Birds", label_config=CONFIG)
    system.store.upsert_tasks(made.key, [Task(1, {"text": "Anna 1"}, "k")], {})
    return system.store.update_project(made.key, **{"state": "live", "connection": {"organization": 1}} | fields)


def claimed(system: System) -> str:
    """Somebody's /setup for another project of this id."""
    request = SetupRequest(LS_ID, ANOTHER_CREATED_AT, CONFIG, "", THEIR_ADDRESS)
    return model.backend_of(system).setup(request)


def look(system: System, key: int, kind: str = "sync") -> None:
    """The look at Label Studio that is due."""
    job = system.store.add_job(kind, key, lane="light")
    with started(system, key, kind) as progress:
        model.run_verb(system, job, progress)


def test_a_setup_alone_changes_nothing_of_the_project_that_we_know(studio: SmallStudio, system: System) -> None:
    old = known(system)
    studio.answers = False
    assert claimed(system) == "ew-live"
    Timers(system)()
    (kept,) = system.store.projects()
    assert (kept.key, kept.state, kept.created_at, system.store.task_ids(old.key)) == (old.key, "live", CREATED_AT, {1})
    assert waiting(system, old.key) >= {"sync"}, "Label Studio is asked"


def test_a_project_that_is_alive_stays_and_the_log_says_why(system: System, caplog: pytest.LogCaptureFixture) -> None:
    old = known(system)
    claimed(system)
    with caplog.at_level(logging.WARNING):
        look(system, old.key)
        look(system, old.key)
    assert caplog.text.count(f"Label Studio still has project {LS_ID} as we know it") == 1
    Timers(system)()
    (kept,) = system.store.projects()
    assert (kept.key, kept.state, system.store.task_ids(old.key)) == (old.key, "live", {1})


@pytest.mark.parametrize("fields", [{}, {"state": "paused"}, {"state": "connecting", "connection": {}}], ids=str)
def test_a_project_whose_id_another_has_is_erased_and_that_one_is_connected(
    studio: SmallStudio, system: System, fields: dict[str, Any]
) -> None:
    old = known(system, **fields)
    claimed(system)
    assert studio.project is not None
    studio.project["created_at"] = ANOTHER_CREATED
    (kind,) = waiting(system, old.key)
    look(system, old.key, kind)
    (new,) = system.store.projects()
    assert (new.key != old.key, new.created_at, new.state) == (True, ANOTHER_CREATED_AT, "connecting")
    assert new.connection == {"addresses": [THEIR_ADDRESS], "backend_url": THEIR_ADDRESS}
    assert (waiting(system, new.key), system.store.task_ids(old.key)) == ({"connect"}, set())


def test_a_project_that_label_studio_deleted_is_erased_and_who_has_no_place_there_is_not_recorded(
    studio: SmallStudio, system: System
) -> None:
    old = known(system)
    claimed(system)
    studio.project = None
    look(system, old.key)
    assert system.store.projects() == []


def test_who_claims_the_id_and_is_not_what_label_studio_has_is_not_recorded(
    studio: SmallStudio, system: System
) -> None:
    old = known(system)
    claimed(system)
    assert studio.project is not None
    studio.project["created_at"] = "2028-01-01T00:00:00Z"
    look(system, old.key)
    assert system.store.projects() == []


def test_while_label_studio_is_away_nothing_is_erased_and_it_is_asked_again(
    studio: SmallStudio, system: System
) -> None:
    old = known(system)
    claimed(system)
    studio.answers = False
    with pytest.raises(StudioUnavailable):
        look(system, old.key)
    Timers(system)()
    assert system.store.task_ids(old.key) == {1}
    studio.answers = True
    assert studio.project is not None
    studio.project["created_at"] = ANOTHER_CREATED
    look(system, old.key)
    assert [one.created_at for one in system.store.projects()] == [ANOTHER_CREATED_AT]


def test_a_token_of_another_organisation_erases_nothing(studio: SmallStudio, system: System) -> None:
    old = known(system)
    claimed(system)
    assert studio.project is not None
    studio.project["created_at"], studio.organization = ANOTHER_CREATED, 2
    with pytest.raises(StudioRefused, match="Nothing was erased"):
        look(system, old.key)
    assert [(one.key, one.state) for one in system.store.projects()] == [(old.key, "live")]


def test_killed_while_it_makes_way_the_timers_end_it(
    studio: SmallStudio, system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = known(system)
    claimed(system)
    assert studio.project is not None
    studio.project["created_at"] = ANOTHER_CREATED
    with monkeypatch.context() as patch:
        dies(patch, Registry, "erase")
        with pytest.raises(Killed):
            look(system, old.key)
    assert system.store.task_ids(old.key) == {1}
    Timers(system)()
    (new,) = system.store.projects()
    assert (new.created_at, waiting(system, new.key)) == (ANOTHER_CREATED_AT, {"connect"})


def test_a_claim_without_anything_to_learn_is_refused_at_once(system: System) -> None:
    known(system)
    with pytest.raises(SchemaError):
        model.backend_of(system).setup(SetupRequest(LS_ID, ANOTHER_CREATED_AT, "<View/>", "", THEIR_ADDRESS))
