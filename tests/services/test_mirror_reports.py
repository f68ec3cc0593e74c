"""A report on language models as MLflow shows it: a real store, a real MLflow on SQLite."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from edgewise.services.mirror import mirror, report_message
from edgewise.services.store import Project, Report, Store

# MLflow's own tables use a loader that SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")

PROJECT = Project(1, "http://studio", 7, "1")
CONTENT: dict[str, Any] = {
    "tasks": {"examined": 60, "left_out": {}},
    "advice": ["good is better than poor by 0.10 F1."],
    "sources": [
        {
            "name": "good, json",
            "facts": {"model": "good", "codec": "json", "price_usd": None},
            "heads": {"label": {"tasks": 60, "score": {"value": 0.9, "low": 0.8, "high": 0.95}, "macro_f1": None}},
            "effort": {"usd": None, "unplaced": 0.01},
        }
    ],
}


def test_mlflow_shows_a_report_once_with_its_figures(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'edgewise.db'}")
    uri = f"sqlite:///{tmp_path / 'mlruns.db'}"
    report = Report("job-1", 1, "evaluate-llm", datetime(2026, 11, 21, tzinfo=UTC))
    for _ in range(2):
        store.outbox_add("report", report_message(PROJECT, report, CONTENT))
        assert mirror(store, uri, tmp_path / "artifacts") == 1
    store.close()
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    (run,) = client.search_runs([client.get_experiment_by_name("edgewise-7").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "evaluate-llm job-1"
    assert run.data.tags["edgewise.report"] == "job-1"
    assert run.data.tags["edgewise.advice"] == "good is better than poor by 0.10 F1."
    assert run.data.params["good_ json.model"] == "good"
    assert run.data.metrics["good_ json.label.score.low"] == 0.8
    assert run.data.metrics["good_ json.effort.unplaced"] == 0.01
    assert "good_ json.effort.usd" not in run.data.metrics, "unknown is not 0"
    kept = Path(client.download_artifacts(run.info.run_id, "report.json", str(tmp_path)))
    assert json.loads(kept.read_text()) == CONTENT
