"""The README cannot lie: its tree is the tree, its settings are the settings, its endpoints are the routes."""

import re
import subprocess
from pathlib import Path

import pytest

from edgewise.settings import Settings
from edgewise.web.server import VERBS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
TREE = re.search(r"compares this with the tree -->\n```\n(.*?)```", README, re.DOTALL)
SHOWN_WHOLE = ("edgewise", "benchmarks", "examples")


def listed() -> set[str]:
    """Paths in the README's tree; what is indented stands in the folder above it."""
    assert TREE is not None, "the README has no tree"
    paths, parents = set(), [""]
    for line in TREE[1].splitlines():
        depth, name = (len(line) - len(line.lstrip())) // 2, line.split()[0]
        parents = [*parents[: depth + 1], f"{''.join(parents[: depth + 1][-1:])}{name}"]
        paths.add(parents[-1])
    return paths


def tracked() -> set[str]:
    """Files of the repository, and the folders they are in (with a slash)."""
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    folders = {f"{parent}/" for file in files for parent in map(str, Path(file).parents) if parent != "."}
    return set(files) | folders


def test_everything_in_the_tree_is_there() -> None:
    assert listed() <= tracked()


def test_every_module_is_in_the_tree() -> None:
    modules = {
        path
        for path in tracked()
        if path.endswith(".py") and not path.endswith("__init__.py") and path.split("/")[0] in SHOWN_WHOLE
    }
    top = {path for path in tracked() if "/" not in path and not path.startswith(".")}
    assert modules | top <= listed()


@pytest.mark.parametrize("field", list(Settings.model_fields))
def test_every_setting_is_in_the_table_with_its_default(field: str) -> None:
    info = Settings.model_fields[field]
    name = str(info.validation_alias or field).upper()
    row = next(
        (line for line in README.splitlines() if line.startswith("|") and f"`{name}`" in line.split("|")[1]), None
    )
    assert row, f"{name} is not in the README's table"
    default = info.default
    if isinstance(default, bool):
        assert f"`{str(default).lower()}`" in row
    elif isinstance(default, int | float):
        assert default in {float(told) for told in re.findall(r"`([0-9]+(?:\.[0-9]+)?(?:e-[0-9]+)?)`", row)}
    elif isinstance(default, str):
        assert default in row


def test_every_verb_and_endpoint_is_in_the_readme() -> None:
    for verb in VERBS:
        assert verb in README
    for path in ("/health", "/setup", "/predict", "/webhook", "/versions", "/select_samples", "/ready", "/metrics"):
        assert path in README


def test_every_picture_is_there() -> None:
    for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (ROOT / picture).is_file(), picture
