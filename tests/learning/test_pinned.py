"""A hub name may say which revision it means: that one is loaded, whatever its owner has made of the name since."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgewise.learning.baseline import pinned

ROOT = Path(__file__).parents[2]
FIRST, LATEST = "a" * 40, "b" * 40
LOOK = """
from edgewise.errors import EdgewiseError
from edgewise.learning.baseline import load_pretrained
import sys
for name in sys.argv[1:]:
    try:
        print(load_pretrained("AutoConfig", name).hidden_size)
    except EdgewiseError as error:
        print(error.what)
"""


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("org/model", ("org/model", "main")),
        ("org/model@" + FIRST, ("org/model", FIRST)),
        ("model@v1.0", ("model", "v1.0")),
        ("/srv/models/a@b", ("/srv/models/a@b", "main")),
        ("org/model@../../x", ("org/model@../../x", "main")),
    ],
)
def test_a_name_is_told_from_its_revision(name: str, meant: tuple[str, str]) -> None:
    assert pinned(name) == meant


def test_a_folder_with_an_at_in_its_name_stays_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine@home").mkdir()
    monkeypatch.chdir(tmp_path)
    assert pinned("mine@home") == ("mine@home", "main")


def test_the_revision_that_is_named_is_loaded(tmp_path: Path) -> None:
    """From a cache of the hub's own form, as nothing is fetched in tests."""
    kept = tmp_path / "hub" / "models--org--tiny"
    for revision, size in ((FIRST, 32), (LATEST, 64)):
        folder = kept / "snapshots" / revision
        folder.mkdir(parents=True)
        config = {"model_type": "bert", "hidden_size": size, "num_attention_heads": 2}
        (folder / "config.json").write_text(json.dumps(config))
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text(LATEST)
    names = ["org/tiny", f"org/tiny@{FIRST}", f"org/tiny@{LATEST}", f"org/tiny@{'c' * 40}"]
    environment = {"PATH": os.environ["PATH"], "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    said = subprocess.run(
        [sys.executable, "-c", LOOK, *names], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert said.stdout.splitlines()[:3] == ["64", "32", "64"]
    assert "is not on this machine" in said.stdout.splitlines()[3]
