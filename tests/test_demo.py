"""What `make run` leaves for the commands that it prints."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from examples.demo import written
from examples.label_studio import RunningStudio

SAY = f"{sys.executable} -c 'import json, os; print(json.dumps(dict(os.environ)))'"


def test_commands_get_the_servers_variables_from_a_file_for_our_user_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "edgewise.env"
    path.touch(mode=0o644)
    monkeypatch.setenv("MODEL_DIR", "/on a large disk")
    monkeypatch.delenv("DATABASE_URL", raising=False)
    with subprocess.Popen(["true"]) as process:
        studio = RunningStudio("http://127.0.0.1:8080", "it's a token", "user", "secret", process)
        written(path, studio, tmp_path / "data", 9090)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    shell = ["bash", "-euc", f'. "$1"; {SAY}', "-", str(path)]
    told = json.loads(subprocess.run(shell, env={"PATH": os.environ["PATH"]}, check=True, capture_output=True).stdout)
    assert (told["MODEL_DIR"], told["LABEL_STUDIO_API_KEY"]) == ("/on a large disk", "it's a token")
    assert (told["DATA_DIR"], told["PORT"]) == (str(tmp_path / "data"), "9090")
    assert "DATABASE_URL" not in told
    assert "secret" not in path.read_text()
