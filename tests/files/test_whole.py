"""Outputs that appear whole or not at all."""

import os
from pathlib import Path

import pytest

from edgewise.errors import Conflict, InputError
from edgewise.files.whole import whole, whole_folder


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    with whole(tmp_path / "out.csv") as made:
        made.write_text("content")
        assert not (tmp_path / "out.csv").exists()
    assert (tmp_path / "out.csv").read_text() == "content"
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
    assert (tmp_path / "out.csv").stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("stop", [ValueError, KeyboardInterrupt])
def test_what_breaks_off_leaves_what_was_there(tmp_path: Path, stop: type[BaseException]) -> None:
    (tmp_path / "out.csv").write_text("before")

    def write_half_a_file() -> None:
        with whole(tmp_path / "out.csv", overwrite=True) as made:
            made.write_text("half")
            raise stop

    def write_half_a_folder() -> None:
        with whole_folder(tmp_path / "folder") as made:
            (made / "half").write_text("half")
            raise stop

    for write in (write_half_a_file, write_half_a_folder):
        with pytest.raises(stop):
            write()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("out.csv", "before")]


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(Conflict), whole(tmp_path / "out"):
        pass
    with pytest.raises(Conflict), whole_folder(tmp_path / "out"):
        pass
    with whole(tmp_path / "out", overwrite=True) as made:
        made.write_text("theirs")
    assert (tmp_path / "out").read_text() == "theirs"


def test_what_is_read_is_never_overwritten(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("mine")
    (tmp_path / "link.csv").symlink_to(source)
    for name in ("in.csv", "link.csv"):
        with (
            pytest.raises(InputError, match="is what is read"),
            whole(tmp_path / name, overwrite=True, inputs=[source]),
        ):
            pass
    with pytest.raises(InputError), whole_folder(tmp_path, overwrite=True, inputs=[source]):
        pass
    assert source.read_text() == "mine"


def test_a_file_never_takes_the_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="is a folder"), whole(tmp_path / "out", overwrite=True):
        pass


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"), whole(tmp_path / "no" / "out.csv"):
        pass


def test_a_folder_takes_the_place_of_another(tmp_path: Path) -> None:
    for content in ("old", "new"):
        with whole_folder(tmp_path / "out", overwrite=True) as made:
            (made / content).write_text(content)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
