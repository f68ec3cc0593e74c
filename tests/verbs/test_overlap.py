"""Other annotations per task: Label Studio gives them to all tasks at once, and moves no task's `updated_at`."""

from collections.abc import Iterator
from typing import Any

import pytest

from edgewise.services.store import Project
from edgewise.verbs.sync import read_changes, refresh_project, sync
from edgewise.verbs.system import System, schema_of
from tests.studio_fixture import region
from tests.verbs.conftest import CONFIG, Make, do, started
from tests.verbs.small_studio import CREATED_AT, LS_ID, SmallStudio, small_studio, task


@pytest.fixture
def studio() -> Iterator[SmallStudio]:
    """With a task that has the one annotation that it wants, and one that has none."""
    with small_studio() as running:
        running.tasks = [task(1, annotations=[annotation(1)]), task(2)]
        yield running


@pytest.fixture
def system(studio: SmallStudio, offline: Make) -> System:
    return offline(label_studio_host=studio.url, label_studio_api_key="x")


def annotation(number: int) -> dict[str, Any]:
    """One as the API lists it."""
    drawn = [region(0, 4, "Anna 1", "PER")]
    when = "2023-11-15T00:00:00.000000Z"
    return {"id": number, "result": drawn, "updated_at": when, "completed_by": 1, "lead_time": 2.0}


def synced(system: System) -> Project:
    """The project after its first reading."""
    made = system.store.record_project(system.address, LS_ID, CREATED_AT, title="Birds", label_config=CONFIG)
    system.store.update_project(made.key, state="live", connection={"organization": 1})
    return do(system, made.key, sync)


def wants(studio: SmallStudio, number: int) -> None:
    """Each task is to have so many annotations from now on."""
    assert studio.project is not None
    studio.project["maximum_annotations"] = number
    studio.tasks = [one | {"overlap": number} for one in studio.tasks]


def test_tasks_open_and_close_with_the_annotations_that_each_is_to_have(studio: SmallStudio, system: System) -> None:
    key = synced(system).key
    assert system.store.open_task_ids(key) == [2]
    wants(studio, 2)
    do(system, key, sync)
    assert system.store.open_task_ids(key) == [1, 2]
    wants(studio, 1)
    do(system, key, sync)
    assert system.store.open_task_ids(key) == [2]


def test_a_reading_during_which_the_number_changed_is_repeated(studio: SmallStudio, system: System) -> None:
    before = synced(system)
    schema = schema_of(before)
    assert schema is not None
    wants(studio, 2)
    with started(system, before.key, "connect") as progress:
        refresh_project(system, before, progress)  # as connect does, while a sync reads
        read_changes(system, before, schema, progress)
    assert system.by_key(before.key).watermark is None
    do(system, before.key, sync)
    assert system.store.open_task_ids(before.key) == [1, 2]


def test_a_number_that_stays_costs_no_full_reading(studio: SmallStudio, system: System) -> None:
    wants(studio, 2)
    key = synced(system).key
    studio.tasks = [one | {"overlap": 3} for one in studio.tasks]  # would be seen
    do(system, key, sync)
    assert {one.overlap for one in system.store.tasks(key, [1, 2]).values()} == {2}
