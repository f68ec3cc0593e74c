"""Model versions on disk and their mirror in MLflow: real files, a real store, a real MLflow on SQLite."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.errors import Conflict, NotFound, SettingsError, Unavailable
from edgewise.services.mirror import champion_message, mirror, version_message
from edgewise.services.registry import Card, Registry, head_folder, safe_name, version_id, weights_hash
from edgewise.services.store import Project, Store, Version

# MLflow's own tables use a loader that SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")

SETTINGS = {"learning_rate": 2e-5, "epochs": 3, "base": "packaged:minilm"}


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models" / "finetuned_model")


def publish(registry: Registry, weights: bytes = b"weights", project: str = "1") -> Card:
    with registry.staging(project) as staged:
        head = head_folder(staged, "label")
        head.mkdir(parents=True)
        (head / "model.safetensors").write_bytes(weights)
        (head / "config.json").write_text("{}")
        return registry.publish(project, staged, schema_digest="s", snapshot="n", settings=SETTINGS)


# Names


@given(st.text(max_size=100))
def test_any_name_becomes_a_safe_file_name(name: str) -> None:
    safe = safe_name(name)
    assert 0 < len(safe) <= 64
    assert safe == Path(safe).name
    assert not safe.startswith(".")
    assert safe == safe.lower()


@given(st.lists(st.text(max_size=8), unique=True, max_size=30))
def test_different_names_never_share_a_file_name(names: list[str]) -> None:
    assert len({safe_name(name) for name in names}) == len(names)


def test_a_plain_name_stays_as_it_is() -> None:
    assert safe_name("label") == "label"
    assert safe_name("Label") != "label"


# Versions


def test_a_version_is_found_again_with_its_card_and_its_heads(registry: Registry, tmp_path: Path) -> None:
    card = publish(registry)
    assert len(card.id) == 12
    assert registry.versions("1") == {card.id}
    assert registry.card("1", card.id) == card
    folder = registry.folder("1", card.id, "label")
    assert folder == tmp_path / "models/finetuned_model/1" / card.id / "heads/label"
    assert (folder / "model.safetensors").read_bytes() == b"weights"


def test_a_version_depends_on_all_that_makes_it_and_on_nothing_else(registry: Registry) -> None:
    one = version_id("schema", "snapshot", {"a": 1, "b": 2}, "weights")
    assert one == version_id("schema", "snapshot", {"b": 2, "a": 1}, "weights")
    others = [("x", "snapshot", {"a": 1, "b": 2}, "weights"), ("schema", "x", {"a": 1, "b": 2}, "weights")]
    others += [("schema", "snapshot", {"a": 1}, "weights"), ("schema", "snapshot", {"a": 1, "b": 2}, "x")]
    assert len({one, *(version_id(*other) for other in others)}) == 5
    assert publish(registry).id == publish(registry).id != publish(registry, b"others").id


def test_publishing_twice_leaves_one_version_and_nothing_staged(registry: Registry, tmp_path: Path) -> None:
    assert publish(registry) == publish(registry)
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(path.name for path in kept) == ["config.json", "model.safetensors", "version.json"]


def test_a_training_that_fails_leaves_nothing(registry: Registry, tmp_path: Path) -> None:
    with suppress(RuntimeError), registry.staging("1") as staged:
        (staged / "half").touch()
        raise RuntimeError
    assert registry.versions("1") == set()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_moved_renamed_and_changed_files_change_the_hash(tmp_path: Path) -> None:
    hashes: set[str] = set()
    for name, content in [("a", b"xy"), ("b", b"xy"), ("a", b"xz"), ("c/a", b"xy")]:
        file = tmp_path / f"version-{len(hashes)}" / "heads" / name
        file.parent.mkdir(parents=True)
        file.write_bytes(content)
        hashes.add(weights_hash(tmp_path / f"version-{len(hashes)}"))
    assert len(hashes) == 4


def test_changed_weights_are_not_loaded(registry: Registry, tmp_path: Path) -> None:
    card = publish(registry)
    weights = next(tmp_path.rglob("model.safetensors"))
    weights.write_bytes(b"tampered")
    with pytest.raises(Conflict, match=card.id):
        registry.folder("1", card.id, "label")
    publish(registry)  # the same training again repairs it
    assert registry.folder("1", card.id, "label").is_dir()


def test_weights_that_changed_together_with_their_card_are_not_loaded(registry: Registry, tmp_path: Path) -> None:
    card = publish(registry)
    folder = registry.verify("1", card.id)
    next(tmp_path.rglob("model.safetensors")).write_bytes(b"tampered")
    (folder / "version.json").write_text(json.dumps(asdict(replace(card, weights_hash=weights_hash(folder)))))
    with pytest.raises(Conflict, match=card.id):
        Registry(tmp_path / "models/finetuned_model").verify("1", card.id)


def test_a_file_that_was_made_of_a_head_is_no_part_of_the_version_and_goes_with_it(registry: Registry) -> None:
    card = publish(registry)
    exported = registry.exported("1", card.id, "label")
    assert registry.exported_hash("1", card.id, "label") is None
    exported.write_bytes(b"graph")
    assert registry.exported_hash("1", card.id, "label") == hashlib.sha256(b"graph").hexdigest()
    exported.write_bytes(b"another")
    assert registry.exported_hash("1", card.id, "label") == hashlib.sha256(b"another").hexdigest()
    assert Registry(exported.parent.parent.parent).verify("1", card.id).is_dir()
    registry.prune("1", keep=())
    assert not exported.exists()


def test_a_version_or_head_that_is_not_here_says_what_to_do(registry: Registry) -> None:
    with pytest.raises(NotFound, match="MODEL_DIR"):
        registry.verify("1", "0123456789ab")
    card = publish(registry)
    with pytest.raises(NotFound, match="config"):
        registry.folder("1", card.id, "sentiment")
    registry.erase("1")
    with pytest.raises(NotFound):
        registry.verify("1", card.id)


def test_pruning_keeps_what_is_kept_and_other_projects(registry: Registry) -> None:
    first, second = publish(registry, b"1"), publish(registry, b"2")
    elsewhere = publish(registry, b"1", project="2")
    assert registry.prune("1", keep=[second.id]) == {first.id}
    assert registry.versions("1") == {second.id}
    assert registry.versions("2") == {elsewhere.id}
    registry.erase("1")
    registry.erase("1")
    assert registry.versions("1") == set()
    assert registry.prune("3", keep=[]) == set()


def test_a_killed_training_is_swept_and_a_living_one_is_not(registry: Registry, tmp_path: Path) -> None:
    root = tmp_path / "models" / "finetuned_model"
    code = """
import os, sys
from pathlib import Path
from edgewise.services.registry import Registry
with Registry(Path(sys.argv[1])).staging("1") as staged:
    (staged / "half").touch()
    os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", code, str(root)], check=False, env={**os.environ, "PYTHONPATH": os.getcwd()})
    assert [path.name for path in root.rglob("half")] == ["half"]
    assert registry.sweep() == 0  # too young to judge
    with registry.staging("1") as staged:
        for lock in root.rglob("*.lock"):
            os.utime(lock, (0, 0))
        assert registry.sweep() == 1
        assert staged.is_dir()
    assert not list(root.rglob("half"))
    assert registry.sweep() == 0


def test_a_folder_that_cannot_be_written_to_is_a_settings_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="MODEL_DIR"):
        Registry(tmp_path / "file" / "models").check()
    Registry(tmp_path / "models").check()
    assert list((tmp_path / "models").iterdir()) == []


# MLflow


@pytest.fixture(scope="session")
def migrated_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database: making its tables takes about 9 s, copying it none."""
    folder = tmp_path_factory.mktemp("mlflow")
    code = "import sys; from edgewise.services.mirror import Outlet; from pathlib import Path; "
    code += "Outlet(sys.argv[1], Path('.'))._client.search_experiments()"
    subprocess.run([sys.executable, "-c", code, f"sqlite:///{folder}/mlflow.db"], check=True, capture_output=True)
    return folder / "mlflow.db"


@pytest.fixture
def tracking_uri(migrated_mlflow: Path, tmp_path: Path) -> str:
    shutil.copy(migrated_mlflow, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path}/edgewise.db")
    yield store
    store.close()


PROJECT = Project(key=3, address="http://localhost:8080", ls_id=7, created_at="2026-01-01T00:00:00Z")


def message(card: Card, folder: Path, **fields: Any) -> dict[str, Any]:
    version = Version(
        id=card.id,
        project_key=3,
        schema_digest="s",
        snapshot="n",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        settings=SETTINGS,
        scores={"overall": {"f1": 0.75, "low": None}, "label": {"PER (人)": {"f1": float("nan"), "recall": 0.5}}},
        label_counts={"PER (人)": 12},
        examples=40,
        **fields,
    )
    return version_message(PROJECT, version, folder)


def client(tracking_uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


def test_mlflow_shows_a_version_its_scores_and_the_champion(
    registry: Registry, outbox: Store, tracking_uri: str, tmp_path: Path
) -> None:
    card = publish(registry)
    outbox.outbox_add("version", message(card, registry.verify("1", card.id)))
    outbox.outbox_add("champion", champion_message(PROJECT, card.id))
    assert mirror(outbox, tracking_uri, tmp_path / "artifacts") == 2
    assert outbox.outbox_next(10) == []

    mlflow = client(tracking_uri)
    shown = mlflow.get_model_version_by_alias("edgewise-7", "champion")
    assert shown.tags["edgewise.version"] == card.id
    assert shown.source == registry.verify("1", card.id).as_uri()
    run = mlflow.get_run(shown.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["base"] == "packaged:minilm"
    assert run.data.tags["edgewise.snapshot"] == "n"
    assert run.data.metrics["scores.overall.f1"] == 0.75
    assert run.data.metrics["label_count.PER _人_"] == 12
    assert run.data.metrics["examples"] == 40


def test_a_message_that_comes_twice_or_broke_off_halfway_is_shown_once(
    registry: Registry, outbox: Store, tracking_uri: str, tmp_path: Path
) -> None:
    card = publish(registry)
    payload = message(card, registry.verify("1", card.id))
    outbox.outbox_add("version", payload)
    mirror(outbox, tracking_uri, tmp_path / "artifacts")
    mlflow = client(tracking_uri)
    (run,) = mlflow.search_runs([mlflow.get_experiment_by_name("edgewise-7").experiment_id])
    mlflow.update_run(run.info.run_id, status="RUNNING")  # as if we had been killed before the last step
    for _ in range(2):
        outbox.outbox_add("version", payload)
        outbox.outbox_add("champion", champion_message(PROJECT, card.id))
        mirror(outbox, tracking_uri, tmp_path / "artifacts")
    (run,) = mlflow.search_runs([run.info.experiment_id])
    assert run.info.status == "FINISHED"
    assert len(mlflow.get_metric_history(run.info.run_id, "examples")) == 1
    assert len(mlflow.search_model_versions("name = 'edgewise-7'")) == 1


def test_a_version_whose_weights_are_gone_already_still_shows_its_run(
    outbox: Store, tracking_uri: str, tmp_path: Path
) -> None:
    card = Card("0123456789ab", "s", "n", SETTINGS, "w")
    outbox.outbox_add("version", message(card, tmp_path / "pruned"))
    outbox.outbox_add("champion", champion_message(PROJECT, card.id))
    outbox.outbox_add("weather", {"of": "another receiver"})
    assert mirror(outbox, tracking_uri, tmp_path / "artifacts") == 3
    mlflow = client(tracking_uri)
    assert len(mlflow.search_runs([mlflow.get_experiment_by_name("edgewise-7").experiment_id])) == 1
    assert mlflow.search_model_versions("name = 'edgewise-7'") == []


def test_messages_wait_while_mlflow_is_away(outbox: Store, tmp_path: Path) -> None:
    outbox.outbox_add("champion", champion_message(PROJECT, "0123456789ab"))
    for away in (f"sqlite:///{tmp_path}/edgewise.db/mlflow.db", "http://127.0.0.1:9", "nonsense://x"):
        with pytest.raises(Unavailable, match="MLFLOW_TRACKING_URI"):
            mirror(outbox, away, tmp_path)
    assert len(outbox.outbox_next(10)) == 1


def test_an_empty_outbox_does_not_even_import_mlflow(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from edgewise.services.mirror import mirror
from edgewise.services.store import Store
assert mirror(Store(sys.argv[1]), "http://127.0.0.1:9", Path(".")) == 0
assert "mlflow" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code, f"sqlite:///{tmp_path}/edgewise.db"], check=True)
