"""docs/operations.md is true: its commands are run, its metrics are on the page, its log line is one."""

import json
import logging
import os
import re
import shutil
import sqlite3
import stat
import subprocess
from contextlib import closing
from contextvars import Context
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]  # its stubs are a package more

from edgewise.logs import JsonLines
from edgewise.services.store import LlmRun, Store, Task, Version, migrate
from edgewise.settings import Settings
from edgewise.verbs.gauges import gauges
from edgewise.verbs.spending import NOTHING
from edgewise.web.metrics import Metrics
from tests.services.conftest import postgres_server, postgres_url
from tests.verbs.conftest import Make, offline

__all__ = ["offline", "postgres_server", "postgres_url"]
DOCUMENT = (Path(__file__).parents[1] / "docs" / "operations.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", DOCUMENT, re.DOTALL)


def block(words: str) -> str:
    """The commands that have these words among them."""
    (found,) = [one for one in BLOCKS if words in one]
    return str(found)


def run(commands: str, **environment: object) -> None:
    """The document's commands in a shell that stops at the first that fails."""
    told = {name: str(value) for name, value in environment.items()}
    subprocess.run(["bash", "-eu", "-c", commands], env={**os.environ, **told}, check=True, timeout=60)


def test_every_setting_may_stand_in_the_env_file_of_the_containers() -> None:
    stack = yaml.safe_load((Path(__file__).parents[1] / "docker-compose.yml").read_text(encoding="utf-8"))
    handed_on = set(stack["services"]["backend"]["environment"])
    fixed = {
        "DATA_DIR",
        "MODEL_DIR",
        "HOST",
        "PORT",
        "ALLOW_ANONYMOUS",
    }  # by the image, or credentials are a must
    settings = {str(field.validation_alias or name).upper() for name, field in Settings.model_fields.items()}
    assert handed_on == settings - fixed


def titles(url: str) -> set[str]:
    """The projects that a database has; opening it upgrades it."""
    store = Store(url)
    found = {project.title for project in store.projects()}
    store.close()
    return found


def add(url: str, ls_id: int, title: str) -> None:
    store = Store(url)
    store.record_project("studio", ls_id, "c", title=title)
    store.close()


def test_a_sqlite_database_is_backed_up_while_it_is_open_and_restored(tmp_path: Path, sqlite_file: Path) -> None:
    data, backup = sqlite_file.parent, tmp_path / "backup"
    weights = data / "models" / "finetuned_model" / "1" / "abc" / "version.json"
    weights.parent.mkdir(parents=True)
    weights.write_text("{}")
    url = f"sqlite:///{sqlite_file}"
    kept, paid = data / "datasets" / "mails" / "v1.json", data / "file-answers.db"
    kept.parent.mkdir(parents=True)
    kept.write_text("{}")
    with closing(sqlite3.connect(paid)) as answers, answers:
        answers.execute("CREATE TABLE answers (key)")
    running = Store(url)
    running.record_project("studio", 1, "c", title="before")
    run(block("edgewise.db?mode=rw") + block("cp -a"), DATA_DIR=data, BACKUP=backup)
    running.record_project("studio", 2, "c", title="after")
    running.close()
    for folder in ("models", "datasets"):
        shutil.rmtree(data / folder)
    paid.unlink()
    sqlite_file.with_name("edgewise.db-wal").write_bytes(b"of another life")
    another = data / "mlruns.db-wal"
    another.write_bytes(b"not in the back-up")
    data.chmod(0o700)
    sqlite_file.chmod(0o600)
    run(block("cp -R"), DATA_DIR=data, BACKUP=backup)
    assert (stat.S_IMODE(data.stat().st_mode), stat.S_IMODE(sqlite_file.stat().st_mode)) == (0o700, 0o600)
    assert another.read_bytes() == b"not in the back-up"
    assert titles(url) == {"before"}
    assert weights.read_text() == kept.read_text() == "{}"
    with closing(sqlite3.connect(paid)) as answers:
        assert not answers.execute("SELECT * FROM answers").fetchall()


def test_weights_that_lie_elsewhere_are_backed_up_and_restored_there(tmp_path: Path) -> None:
    weights = tmp_path / "weights" / "abc"
    weights.parent.mkdir()
    weights.write_text("{}")
    told = {"DATA_DIR": tmp_path / "data", "MODEL_DIR": weights.parent, "BACKUP": tmp_path / "backup"}
    (tmp_path / "data").mkdir()
    (tmp_path / "backup").mkdir()
    run(block("cp -a"), **told)
    shutil.rmtree(weights.parent)
    run(block("cp -R"), **told)
    assert weights.read_text() == "{}"
    assert not (tmp_path / "data" / "models").exists()


@pytest.mark.parametrize("words", ["edgewise.db?mode=rw", "cp -a"])
def test_a_back_up_of_a_folder_without_data_fails(tmp_path: Path, words: str) -> None:
    (tmp_path / "backup").mkdir()
    with pytest.raises(subprocess.CalledProcessError):
        run(block(words), DATA_DIR=tmp_path, BACKUP=tmp_path / "backup")
    assert not (tmp_path / "edgewise.db").exists()


def test_a_postgres_database_is_backed_up_and_restored_whatever_was_made_since(
    tmp_path: Path, postgres_url: str
) -> None:
    add(postgres_url, 1, "before")
    run(block("pg_dump"), DATABASE=postgres_url, BACKUP=tmp_path)
    add(postgres_url, 2, "after")
    run(f'psql --quiet --dbname="$DATABASE" --command="UPDATE {migrate.TABLE} SET version_num = 9999"'
        ' --command="CREATE TABLE of_a_newer_one (n int)"', DATABASE=postgres_url)  # fmt: skip
    run(block("pg_restore"), DATABASE=postgres_url, BACKUP=tmp_path)
    assert titles(postgres_url) == {"before"}
    run('psql --quiet --dbname="$DATABASE" --command="CREATE TABLE of_a_newer_one (n int)"', DATABASE=postgres_url)


@pytest.fixture
def sqlite_file(tmp_path: Path) -> Path:
    """Where a server with this DATA_DIR has its database."""
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "edgewise.db"


def test_every_metric_that_the_document_names_is_on_the_page(offline: Make) -> None:
    system = offline()
    key = system.store.record_project(system.address, 1, "c").key
    scores = {"label": {"held_out": {"overall": {"f1": 0.5}}}}
    system.store.add_version(Version("v1", key, "s", "h", scores=scores))
    system.store.update_project(key, serving="v1")
    system.store.upsert_tasks(key, [Task(1, {}, "k")], {})
    system.store.add_llm_run(key, LlmRun(1, "d", "s", "j", {}, {**NOTHING}, {}), [])
    system.queue.enqueue("sync", key)
    metrics = Metrics(lambda: gauges(system))
    metrics.record("predict", 500, 0.1)
    metrics.record_error("RuntimeError")
    there = set(re.findall(r"^(edgewise_\w+)", metrics.page().decode(), re.MULTILINE))
    named = set(re.findall(r"\bedgewise_\w+", DOCUMENT)) - {migrate.TABLE}
    known = {re.sub(r"_(sum|count|bucket|created)$", "", name) for name in there} | there
    assert named - known == set()
    assert {name for name in known if name.startswith("edgewise_llm")} <= named


def test_the_alerts_are_rules() -> None:
    (found,) = re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)
    rules = yaml.safe_load(found)["groups"][0]["rules"]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    assert all(rule["expr"].count("(") == rule["expr"].count(")") for rule in rules)


def test_the_log_line_is_as_we_write_them() -> None:
    (found,) = re.findall(r"```json\n(.*?)```", DOCUMENT, re.DOTALL)
    record = logging.LogRecord("edgewise.web.server", logging.INFO, "", 0, "POST webhook: 201, 14 ms", (), None)
    record.facts = {"endpoint": "webhook", "status": 201, "ms": 14}
    told = json.loads(Context().run(JsonLines().format, record))  # a test before this one may have made a request
    shown = json.loads(found)
    assert shown.keys() - told.keys() == {"request"}
    assert {name: told[name] for name in shown if name not in ("time", "request")}.items() <= shown.items()
