"""A full disk, a read-only model folder, a locked database, a clock that jumps, and what people do in the middle."""

import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from edgewise.labels.schema import parse_schema
from edgewise.verbs.system import folder_name
from examples import wikigold
from tests.chaos.house import House, embedded, environment_of, web_server
from tests.chaos.loop import RANKING, TRAINING, Loop, connected
from tests.chaos.processes import send, until

pytestmark = pytest.mark.timeout(1200)
CLOCK = Path(__file__).with_name("clock.c")
MEGABYTE, AHEAD_S = 1 << 20, 3 * 3600


@contextmanager
def mounted(folder: Path, megabytes: int) -> Iterator[None]:
    """A file system of this size."""
    folder.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder], check=False).returncode:
        pytest.skip("mounting takes root")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def remount(folder: Path, option: str) -> None:
    """Change how it is mounted."""
    subprocess.run(["mount", "-o", f"remount,{option}", folder], check=True)


def test_a_full_disk_loses_nothing_and_leaves_no_half_version(tmp_path: Path) -> None:
    folder = tmp_path / "house" / "data"
    with mounted(folder, 400), embedded(tmp_path / "house") as house:
        loop = connected(house)
        loop.assert_all_is_well()
        before = loop.release()
        assert before is not None
        ballast = folder / "ballast"
        fill(ballast, leave=30 * MEGABYTE)  # a version takes 90
        job = loop.do("train")
        until(lambda: loop.store.job(job).error, "the training fails", 240, loop.told)
        assert "full" in str(loop.store.job(job).error)
        assert loop.versions_on_disk() == set()
        assert not [*house.data.glob("models/*/*/.staging/*/*")] or loop.running("train")
        assert loop.selected() == f"ew-{before.n}", "the order of before is still there"
        fill(ballast.with_suffix(".2"), leave=0)
        loop.label(2)
        time.sleep(15)
        assert httpx.get(f"{house.url}/health", timeout=1).is_success
        for file in folder.glob("ballast*"):
            file.unlink()
        loop.assert_all_is_well(above=before.n)
        loop.close()


def fill(file: Path, leave: int) -> None:
    """Take what is free on its disk, but for `leave` bytes."""
    with file.open("wb") as out:
        try:
            while shutil.disk_usage(file.parent).free > leave:
                out.write(bytes(min(MEGABYTE, max(4096, shutil.disk_usage(file.parent).free - leave))))
                out.flush()
        except OSError:
            return


def test_a_model_folder_that_becomes_read_only_is_named_and_the_order_stays(tmp_path: Path) -> None:
    models = tmp_path / "models"
    with mounted(models, 600), embedded(tmp_path / "house", MODEL_DIR=str(models)) as house:
        loop = connected(house)
        loop.assert_all_is_well()
        before = loop.release()
        assert before is not None
        remount(models, "ro")
        job = loop.do("train")
        until(lambda: loop.store.job(job).error, "the training says why it cannot be", 120, loop.told)
        assert "read-only" in str(loop.store.job(job).error)
        house.kill("server")  # nor can a worker start
        house.heal()
        loop.label(2)
        assert loop.selected() == f"ew-{before.n}"
        remount(models, "rw")
        loop.assert_all_is_well(above=before.n)
        loop.close()


def test_a_locked_database_makes_nobody_wait_for_long_and_loses_nothing(home: House, home_loop: Loop) -> None:
    with closing(sqlite3.connect(home.data / "edgewise.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        home_loop.label(3)
        ends = time.monotonic() + 30
        while time.monotonic() < ends:
            assert httpx.get(f"{home.url}/health", timeout=1).is_success
            time.sleep(1)
        other.execute("ROLLBACK")
    home_loop.assert_all_is_well()


def test_a_clock_that_jumps_in_a_training_and_is_put_right_in_another_stops_nothing(tmp_path: Path) -> None:
    library, ahead = tmp_path / "clock.so", tmp_path / "ahead"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, CLOCK, "-ldl"], check=True)
    ahead.write_text("0")
    with embedded(tmp_path / "house", LD_PRELOAD=str(library), CLOCK_AHEAD=str(ahead)) as house:
        loop = connected(house)
        loop.assert_all_is_well()
        before = loop.round_until(TRAINING)
        ahead.write_text(str(AHEAD_S))
        house.thaw()
        loop.assert_all_is_well(above=before)
        before = loop.round_until(TRAINING)
        ahead.write_text("0")
        house.kill("server")  # what it has leased by the wrong clock, nobody gives back
        house.heal()
        loop.assert_all_is_well(above=before)
        loop.close()


def test_a_label_config_changed_in_the_middle_of_a_training_serves_the_new_labels_at_last(
    home: House, home_loop: Loop
) -> None:
    before = home_loop.round_until(TRAINING)
    trainer = home.runners(home_loop.running("train").id)
    home.thaw(but=trainer)
    more = wikigold.LABEL_CONFIG.replace('<Label value="MISC"', '<Label value="DAY"/><Label value="MISC"')
    assert more != wikigold.LABEL_CONFIG
    home_loop.ask("PATCH", f"api/projects/{home_loop.id}/", {"label_config": more})
    until(lambda: "DAY" in home_loop.project.label_config, "the change is heard of", 45, home_loop.told)
    send(trainer, signal.SIGCONT)
    wanted = parse_schema(more).digest

    def serves_new_labels() -> bool:
        serving, release = home_loop.project.serving, home_loop.release()
        version = home_loop.store.version(home_loop.key, serving) if serving else None
        return version is not None and release is not None and version.schema_digest == release.schema_digest == wanted

    until(serves_new_labels, "a version of the new labels serves", 240, home_loop.told)
    home_loop.assert_all_is_well(above=before)


def test_a_project_deleted_in_the_middle_of_a_ranking_is_erased_and_the_others_go_on(
    home: House, home_loop: Loop
) -> None:
    doomed = connected(home)
    doomed.caught(RANKING)
    project = doomed.project
    ranker = home.runners(doomed.running("rank").id)
    home.thaw(but=ranker)
    doomed.ask("DELETE", f"api/projects/{doomed.id}/")
    send(ranker, signal.SIGCONT)
    until(lambda: project.key not in living(doomed), "it is erased", 90, doomed.told)
    until(lambda: not busy(doomed), "none of its jobs is left", 90, lambda: busy(doomed))
    assert not (home.data / "models" / "finetuned_model" / folder_name(project)).exists()
    assert not doomed.store.task_ids(doomed.key)
    home_loop.assert_all_is_well()


def test_two_servers_on_one_database_do_everything_once_and_one_is_enough(home: House, home_loop: Loop) -> None:
    second = web_server(home.data, environment_of(home.studio, home.data), "second")
    home.servers["second"] = second
    try:
        home.heal()
        before = home_loop.round_until(TRAINING)
        home.thaw()
        home_loop.assert_all_is_well(above=before)
        home.kill("server")
        home_loop.label(2)
        answer = httpx.post(f"http://127.0.0.1:{second.command[-1]}/projects/{home_loop.id}/train", timeout=30)
        assert answer.is_success
        home_loop.assert_all_is_well(above=before + 1)
    finally:
        second.end()
        del home.servers["second"]
        home.heal()


def living(loop: Loop) -> set[int]:
    """Keys of the projects that are there."""
    return {one.key for one in loop.store.projects() if one.state != "gone"}


def busy(loop: Loop) -> list[str]:
    """What is left to do."""
    return [job.kind for job in loop.store.jobs(50, loop.key) if job.state in ("queued", "running")]
