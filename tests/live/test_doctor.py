"""Every way in which a connection fails, made for real on a real Label Studio: recognised, and mended where it can be.

docs/doctor.md has a row for each, in the words that the doctor says here.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from edgewise.services.studio import Studio
from edgewise.verbs.doctor import CHECKS, examine
from edgewise.verbs.doctor.mend import FIXES, mend
from edgewise.verbs.doctor.trial import AT_RANDOM, round_trip
from edgewise.verbs.status import status
from examples.label_studio import RunningStudio
from tests.live.conftest import ROOT
from tests.live.doctor_bench import Bench, Fault, bench, check_table, row
from tests.live.doctor_faults import FAULTS
from tests.live.helpers import TEXTS, new_project

SEEN: dict[str, str] = {}
A_FEW_SECONDS = 30.0  # on a machine that others use; by itself it takes two


@pytest.fixture(scope="module")
def place(
    label_studio: RunningStudio, studio: Studio, personal_token: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    with (
        new_project(label_studio, studio) as project,
        bench(label_studio, project, tmp_path_factory.mktemp("doctor"), personal_token) as made,
    ):
        yield made


def test_a_sound_connection_passes_every_check_and_leaves_no_trace(place: Bench) -> None:
    projects = {one["id"] for one in place.project.studio.projects()}
    before = place.project.studio.project(place.project.id)
    began = time.monotonic()
    with place.system() as system:
        found = examine(system, place.project.id)
    assert time.monotonic() - began < A_FEW_SECONDS
    assert [one for one in found if not one["ok"]] == []
    assert {one["name"] for one in found if one["state"] == "skipped"} == {"redis", "worker"}
    assert {one["id"] for one in place.project.studio.projects()} == projects
    assert place.project.studio.project(place.project.id) == before


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.how)
def test_a_fault_is_recognised_and_mended_if_it_can_be(place: Bench, fault: Fault) -> None:
    checks = [check for check in CHECKS if check.name == fault.check]
    with fault.make(place) as asked:
        found = examine(asked.system, asked.ls_id, asked.url, checks)
        (told,) = found
        assert told["state"] == fault.state, told
        assert told["what"]
        assert told["mend"]
        SEEN[fault.how] = row(fault.how, told, fault.mended)
        nothing_secret_in(place, json.dumps(found))
        if fault.mended:
            did = mend(asked.system, asked.ls_id, found, asked.url)
            assert did
            place.rest()  # --fix itself waits two minutes at most for a ranking
            (again,) = examine(asked.system, asked.ls_id, asked.url, checks)
            assert again["state"] == "ok", (did, again)
            nothing_secret_in(place, json.dumps(did))


def test_a_terminal_tells_mends_and_exits_by_what_is_left_and_status_shows_it(place: Bench) -> None:
    place.project.studio.update_project(place.project.id, sampling="Uniform sampling")
    code, said = terminal(place)
    assert code == 1
    assert "FAIL  task sampling follows the score" in said
    with place.system() as system:
        shown = status(system, system.project(place.project.id))
    assert [one["name"] for one in shown["checks"] if not one["ok"]] == ["sampling"]
    assert "Task Sampling" in shown["next_step"]
    code, said = terminal(place, "--fix")
    assert code == 0
    assert said.startswith("did   switched task sampling")
    with place.system() as system:
        shown = status(system, system.project(place.project.id))
    assert all(one["ok"] for one in shown["checks"])


def terminal(place: Bench, *words: str) -> tuple[int, str]:
    """`edgewise doctor`: its exit code and what it printed."""
    command = [sys.executable, "-m", "edgewise", "doctor", "-p", str(place.project.id), *words]
    ended = subprocess.run(command, env=place.variables(), cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert "Traceback" not in ended.stderr
    nothing_secret_in(place, ended.stdout + ended.stderr)
    return ended.returncode, ended.stdout


def test_the_round_trip_notices_an_order_that_is_not_ours(place: Bench) -> None:
    with new_project(place.label_studio, place.project.studio) as other:
        found = round_trip(other.studio, other.id)
    assert (found.state, found.what) == ("failed", AT_RANDOM)


def test_after_all_of_that_the_connection_is_sound_again(place: Bench) -> None:
    with place.system() as system:
        assert [one for one in examine(system, place.project.id) if not one["ok"]] == []


def nothing_secret_in(place: Bench, text: str) -> None:
    """No token, secret, password or task text, and no traceback."""
    known = place.known()
    secrets = [place.label_studio.token, place.password, (known.connection if known else {}).get("secret", TEXTS[0])]
    assert not [one for one in [*secrets, *TEXTS, "Traceback"] if one in text]


def test_the_table_in_the_documentation_says_what_the_doctor_said() -> None:
    check_table("faults", SEEN, len(FAULTS))


def test_every_check_that_says_it_can_be_mended_has_a_fix() -> None:
    assert {check.name for check in CHECKS if check.fixable} == set(FIXES)
    assert len({check.name for check in CHECKS}) == len(CHECKS)
