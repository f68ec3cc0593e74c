"""The doctor where nothing answers, hangs, or breaks: it ends soon, says what it could not look at, and never that it
is fine."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgewise.errors import StudioUnavailable, Unavailable
from edgewise.services.registry import Registry
from edgewise.verbs.doctor import CHECKS, examine, in_words, label_studio, scene
from edgewise.verbs.doctor.finding import Check, Finding, fault, fine, report, skipped, unchecked
from edgewise.verbs.doctor.scene import Scene, within
from examples.label_studio import EXECUTABLE
from tests.verbs.conftest import Make

NEEDS_NOBODY = {"database", "models", "base", "mlflow"}  # with what the settings of these tests name


@contextmanager
def silent() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield int(listener.getsockname()[1])


def settings_of(tmp_path: Path, port: int) -> dict[str, object]:
    """Settings that name a Label Studio on this port."""
    return {
        "label_studio_host": f"http://127.0.0.1:{port}",
        "label_studio_api_key": "0" * 40,
        "baseline_model_name": "packaged:minilm",
        "mlflow_tracking_uri": f"sqlite:///{tmp_path / 'mlruns.db'}",
    }


def test_a_label_studio_that_hangs_ends_the_doctor_soon_and_nothing_of_it_is_fine(
    offline: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scene, "TIMEOUT_S", 1.0)
    with silent() as port:
        began = time.monotonic()
        found = examine(offline(**settings_of(tmp_path, port)), 1)
    assert time.monotonic() - began < 15, "one call after the other would take longer"
    assert {one["name"] for one in found if one["state"] == "ok"} == NEEDS_NOBODY
    assert all(one["mend"] for one in found if not one["ok"])
    answers, *_ = found
    assert (answers["name"], answers["state"]) == ("answers", "failed")


def test_each_check_gets_its_word_in_the_same_order_whatever_is_away(offline: Make, tmp_path: Path) -> None:
    found = examine(offline(**settings_of(tmp_path, 1)), 1)
    assert [one["name"] for one in found] == [check.name for check in CHECKS]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            StudioUnavailable("Label Studio cannot be reached.", "Start it."),
            "Not checked: Label Studio cannot be reached.",
        ),
        (KeyError("Anna lives in Paris"), "Not checked: KeyError, which nobody expected."),
    ],
    ids=["expected", "unexpected"],
)
def test_a_check_that_breaks_off_is_unchecked_and_says_no_more_than_it_may(
    offline: Make, error: Exception, told: str
) -> None:
    def look(_: Scene) -> Finding:
        raise error

    (found,) = examine(offline(), 1, None, [Check("one", "all is well", look)])
    assert (found["state"], found["ok"], found["what"]) == ("unchecked", False, told)
    assert found["mend"]


def test_what_hangs_is_given_up() -> None:
    with pytest.raises(Unavailable, match=r"within 0 s"):
        within(0.05, lambda: time.sleep(5))()


def test_a_fact_is_asked_for_once_and_fails_the_same_way_again(offline: Make, tmp_path: Path) -> None:
    looked = Scene(offline(**settings_of(tmp_path, 1)), 1)
    errors = []
    for _ in range(2):
        with pytest.raises(StudioUnavailable) as raised:
            _ = looked.raw
        errors.append(raised.value)
    looked.close()
    assert errors[0] is errors[1]


def test_the_sentence_counts_what_failed_and_what_nobody_could_look_at() -> None:
    def told(*findings: Finding) -> str:
        return in_words([report(Check(str(n), f"it is {n}", lambda _: fine()), one) for n, one in enumerate(findings)])

    assert told(fine(), skipped("no Redis")) == "All 2 checks passed."
    assert told(fine(), fault("x", "y")) == "1 of 2 checks failed: not so that it is 1."
    assert told(unchecked("x", "y"), fine()) == "1 of 2 checks could not be made."


def test_a_worker_with_another_folder_is_told_by_the_folders_mark(tmp_path: Path) -> None:
    one, other = Registry(tmp_path / "one"), Registry(tmp_path / "other")
    assert one.mark() == Registry(tmp_path / "one").mark()
    assert one.mark() != other.mark()
    (tmp_path / "file").write_text("")
    assert Registry(tmp_path / "file" / "below").mark() is None


def test_it_names_the_version_that_is_installed_for_the_tests() -> None:
    (installed,) = EXECUTABLE.parents[1].glob("lib/python*/site-packages/label_studio-*.dist-info")
    assert installed.stem.removeprefix("label_studio-") == label_studio.TESTED
