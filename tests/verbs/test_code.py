"""Which code trained a version, by what git leaves in its folder."""

from pathlib import Path

import pytest

from edgewise.verbs.code import code_version, commit_of

COMMIT = "0b8568114f11d2f3a4b5c6d7e8f900112233aabb"


@pytest.mark.parametrize(
    "files",
    [
        pytest.param({"HEAD": COMMIT}, id="detached"),
        pytest.param({"HEAD": "ref: refs/heads/main", "refs/heads/main": COMMIT}, id="on a branch"),
        pytest.param({"HEAD": "ref: refs/heads/main", "packed-refs": f"# pack\n{COMMIT} refs/heads/main"}, id="packed"),
    ],
)
def test_the_commit_is_read_wherever_git_keeps_it(tmp_path: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    assert commit_of(tmp_path) == COMMIT


def test_without_a_checkout_the_release_is_all_that_is_told(tmp_path: Path) -> None:
    assert commit_of(tmp_path / "nowhere") is None
    (tmp_path / "HEAD").write_text("ref: refs/heads/main\n")
    assert commit_of(tmp_path) is None
    assert code_version()
