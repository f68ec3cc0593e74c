"""Faults that need a Label Studio of their own: its network protection, its version; and a doctor that is killed."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgewise.errors import StudioRefused
from edgewise.services.studio import Studio
from edgewise.verbs.doctor import examine, trial
from edgewise.verbs.doctor.finding import Report
from edgewise.verbs.doctor.mend import mend
from examples import label_studio as starter
from examples.label_studio import EXECUTABLE, RunningStudio, free_port
from tests.live.doctor_bench import Bench, check_table, row
from tests.live.helpers import TEXTS, new_project
from tests.studio_fixture import _migrated

PROTECTED = {"USE_DEFAULT_BANNED_SUBNETS": "true", "USER_ADDITIONAL_BANNED_SUBNETS": ""}  # as Label Studio comes
NO_WEBHOOKS = {**PROTECTED, "ML_BLOCK_LOCAL_IP": "false"}  # half of the protection: backends are allowed
OLD = """#!{python}
import sys
import label_studio
label_studio.__version__ = "1.8.0"
from label_studio.server import main
sys.exit(main())
"""
FAULTS = 4
SEEN: dict[str, str] = {}


@contextmanager
def studio_on(
    folder: Path, network: Mapping[str, str], port: int, executable: Path = EXECUTABLE
) -> Iterator[RunningStudio]:
    """A Label Studio on this folder, its network protection set so."""
    if not folder.exists():
        shutil.copytree(_migrated(), folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(starter, "NETWORK", {**starter.NETWORK, **network})
        running = starter.start(folder, port, executable=executable)
    try:
        yield running
    finally:
        running.stop()


@contextmanager
def beside(label_studio: RunningStudio, data: Path) -> Iterator[Bench]:
    """Our server, and a project that nobody has connected yet."""
    with Studio(label_studio.url, label_studio.token) as studio, new_project(label_studio, studio) as project:
        project.add_tasks(TEXTS)
        place = Bench(label_studio, project, data)
        try:
            place.start()
            yield place
        finally:
            place.stop()


def told(place: Bench, how: str, check: str) -> list[Report]:
    """What the doctor says of a fault, which it must recognise; --fix cannot mend it, and says so or leaves it."""
    with place.system() as system:
        found = examine(system, place.project.id, place.url)
        one = next(one for one in found if one["name"] == check)
        assert one["state"] == "failed", found
        SEEN[how] = row(how, one)
        mend(system, place.project.id, found, place.url)
        left = examine(system, place.project.id, place.url)
    assert next(one for one in left if one["name"] == check)["state"] == "failed"
    return found


@pytest.mark.timeout(600)
def test_network_protection_as_label_studio_comes_is_recognised(tmp_path: Path) -> None:
    with (
        studio_on(tmp_path / "studio", PROTECTED, free_port()) as label_studio,
        beside(label_studio, tmp_path / "data") as place,
    ):
        with pytest.raises(StudioRefused, match="network protection"):
            place.add_backend()
        told(place, "Label Studio's network protection is as it comes", "network")


@pytest.mark.timeout(600)
def test_network_protection_that_refuses_webhooks_alone_is_recognised(tmp_path: Path) -> None:
    with (
        studio_on(tmp_path / "studio", NO_WEBHOOKS, free_port()) as label_studio,
        beside(label_studio, tmp_path / "data") as place,
    ):
        with pytest.raises(StudioRefused, match="network protection"):
            place.add_backend()
        assert place.project.studio.backends(place.project.id), "Label Studio adds it all the same, and says no"
        found = told(place, "network protection lets backends through, and no webhooks", "network")
        assert next(one for one in found if one["name"] == "webhook")["state"] == "failed"


@pytest.mark.timeout(600)
def test_network_protection_that_came_later_is_recognised(tmp_path: Path) -> None:
    port = free_port()
    with (
        studio_on(tmp_path / "studio", {}, port) as label_studio,
        beside(label_studio, tmp_path / "data") as place,
    ):
        place.add_backend()
        place.wait(lambda known: known.state == "live")
        place.rest()
        label_studio.stop()
        with studio_on(tmp_path / "studio", PROTECTED, port):
            told(place, "network protection was switched on after we were connected", "reached")


@pytest.mark.timeout(600)
def test_another_version_is_recognised(tmp_path: Path) -> None:
    """The same program, which says of itself that it is another: all that the doctor can see of a version."""
    old = tmp_path / "label-studio"
    old.write_text(OLD.format(python=EXECUTABLE.with_name("python")))
    old.chmod(0o755)
    with (
        studio_on(tmp_path / "studio", {}, free_port(), old) as label_studio,
        beside(label_studio, tmp_path / "data") as place,
    ):
        told(place, "Label Studio is of another version", "version")


@pytest.mark.timeout(600)
def test_what_a_killed_doctor_leaves_is_removed_by_the_next_and_touches_nobody(tmp_path: Path) -> None:
    with (
        studio_on(tmp_path / "studio", {}, free_port()) as label_studio,
        beside(label_studio, tmp_path / "data") as place,
    ):
        studio = place.project.studio
        before = studio.project(place.project.id)
        killed_in_its_trial(place)
        (left,) = studio.projects_titled(trial.TITLE)
        assert studio.project(place.project.id) == before
        with place.system() as system:
            examine(system, place.project.id, place.url)
            assert [one["id"] for one in studio.projects_titled(trial.TITLE)] == [left["id"]], "it may be at work"
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(trial, "LEFT_AFTER", trial.LEFT_AFTER * 0)
                examine(system, place.project.id, place.url)
        assert studio.projects_titled(trial.TITLE) == []
        assert studio.project(place.project.id) == before


def killed_in_its_trial(place: Bench) -> None:
    """A doctor in a terminal, killed as soon as Label Studio has its project."""
    words = [sys.executable, "-m", "edgewise", "doctor", "-p", str(place.project.id), "--url", place.url]
    deadline = time.monotonic() + 300
    while not place.project.studio.projects_titled(trial.TITLE):
        assert time.monotonic() < deadline
        process = subprocess.Popen(words, env=place.variables(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not place.project.studio.projects_titled(trial.TITLE):
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()


def test_the_table_in_the_documentation_says_what_the_doctor_said() -> None:
    check_table("long faults", SEEN, FAULTS)
