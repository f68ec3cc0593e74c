"""axe-core, which finds what keeps people from using a page: installed once into .run/axe-core, pinned.

It is run in the page by the debugger, so that the page's own content policy stays as it is.
"""

import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

VERSION = "4.14.1"
FOLDER = Path(__file__).parent.parent / ".run" / "axe-core" / VERSION
GRAVE = ("serious", "critical")


def faults(page: Page) -> list[str]:
    """Serious and critical faults of a page as it is now: the rule, and where it is broken."""
    page.evaluate(_source())
    found: list[dict[str, Any]] = page.evaluate("async () => (await axe.run()).violations")
    return [
        f"{one['id']}: {one['help']} ({', '.join(str(node['target'][0]) for node in one['nodes'][:3])})"
        for one in found
        if one["impact"] in GRAVE
    ]


@cache
def _source() -> str:
    script = FOLDER / "node_modules" / "axe-core" / "axe.min.js"
    if not script.exists():
        _install()
    return script.read_text(encoding="utf-8")


def _install() -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.fail("npm is missing: apt-get install nodejs npm")
    FOLDER.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER.parent) as scratch:
        made = Path(scratch) / "axe"
        made.mkdir()
        quiet = ["--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(
            [npm, "install", "--prefix", str(made), *quiet, f"axe-core@{VERSION}"], capture_output=True, text=True
        )
        if done.returncode:
            pytest.fail(f"npm cannot install axe-core: {done.stderr[-400:]}")
        if not FOLDER.is_dir():  # another test run may have been faster
            made.rename(FOLDER)
