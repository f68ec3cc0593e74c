"""Our model versions and reports as MLflow shows them: runs, metrics, registered versions, the alias `champion`.

A mirror and never the truth: fed from the store's outbox, so MLflow may be away. Weights stay where the registry has
them; only an MLflow server, which cannot see our disk, gets a copy. No flavour, no pickle.
"""

import logging
import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from edgewise.errors import Unavailable
from edgewise.services.store import Improvement, Project, Report, Store, Version

if TYPE_CHECKING:
    from mlflow.entities import Run

log = logging.getLogger(__name__)

Json = dict[str, Any]
BATCH = 50
PARAMS_PER_CALL = 100  # MLflow's limits
METRICS_PER_CALL = 500
LONGEST_VALUE = 500
TOLD = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
}
VERSION_TAG = "edgewise.version"
REPORT_TAG = "edgewise.report"
IMPROVEMENT_TAG = "edgewise.improvement"
ROUND_TAG = "edgewise.round"
MEND = "See MLFLOW_TRACKING_URI and MLflow's log; nothing is lost, we try again by ourselves."


def version_message(project: Project, version: Version, folder: Path) -> Json:
    """The outbox payload of topic "version": what MLflow is to show of it. `folder`: where the registry has it."""
    facts = {
        "edgewise.snapshot": version.snapshot,
        "edgewise.schema": version.schema_digest,
        "edgewise.parent": version.parent or "",
        "edgewise.state": version.state + (" (provisional)" if version.provisional else ""),
        "edgewise.reason": version.reason,
        "edgewise.weights": version.weights_hash,
        "edgewise.code": version.code,
        "edgewise.project": project.address,
    }
    metrics = {"examples": version.examples, "scores": version.scores, "label_count": version.label_counts}
    moment = version.created_at
    return {
        "model": f"edgewise-{project.ls_id}",
        "version": version.id,
        "at_ms": int(moment.timestamp() * 1000) if moment else 0,
        "params": dict(version.settings),
        "metrics": metrics,
        "tags": facts,
        "folder": str(folder),
    }


def champion_message(project: Project, version: str) -> Json:
    """The outbox payload of topic "champion": `version` serves from now on."""
    return {"model": f"edgewise-{project.ls_id}", "version": version}


def report_message(project: Project, report: Report, content: Json) -> Json:
    """The outbox payload of topic "report": what MLflow is to show of a report on language models, sources by name."""
    sources = {source["name"]: source for source in content["sources"]}
    facts = {f"{name}.{fact}": value for name, one in sources.items() for fact, value in one["facts"].items()}
    figures = {name: one["heads"] | {"effort": one["effort"]} for name, one in sources.items()}
    return {
        "model": f"edgewise-{project.ls_id}",
        "report": report.id,
        "name": f"{report.kind} {report.id}",
        "at_ms": int(report.created_at.timestamp() * 1000),
        "params": facts,
        "metrics": figures | {"tasks": content["tasks"]},
        "tags": {"edgewise.kind": report.kind, "edgewise.advice": " ".join(content["advice"])},
        "content": content,
    }


def round_message(project: Project, improvement: Improvement) -> Json:
    """The outbox payload of topic "round": what MLflow is to show of an improvement's last round, under one parent."""
    last = improvement.rounds[-1]
    assert improvement.created_at is not None
    return {
        "model": f"edgewise-{project.ls_id}",
        "improvement": improvement.id,
        "round": last["round"],
        "name": f"round {last['round']}",
        "at_ms": int(improvement.created_at.timestamp() * 1000),
        "params": {"llm_run": last["run"], "demonstrations": len(last["demonstrations"])},
        "metrics": {"heads": last["heads"], "spend": last["spend"] | {"usd": float(last["spend"]["usd"] or "nan")}},
        "tags": {"edgewise.kind": "improve", "edgewise.project": project.address},
        "content": last,
        "ended": improvement.ended,
    }


def mirror(store: Store, tracking_uri: str, artifact_root: Path) -> int:
    """Bring the outbox to MLflow; how many messages. A message that comes twice changes nothing the second time.

    `artifact_root`: for a database of our own, which would put a folder where we happen to run; a server has its own.
    Raises Unavailable: MLflow is away or refuses; the message stays in the outbox, and those after it.
    """
    done = 0
    outlet: Outlet | None = None
    while messages := store.outbox_next(BATCH):
        for message in messages:
            try:
                outlet = outlet or Outlet(tracking_uri, artifact_root)
                outlet.deliver(message.topic, message.payload)
            except Exception as error:  # MLflow lets pass whatever its database, its HTTP library and its files raise
                reason = getattr(error, "error_code", None) or type(error).__name__
                raise Unavailable(f"MLflow does not take our model versions ({reason}).", MEND) from error
            store.outbox_done(message.id)
            done += 1
    return done


class Outlet:
    """One MLflow, open for our messages."""

    def __init__(self, tracking_uri: str, artifact_root: Path) -> None:
        """A database that is new gets its tables now: about 9 s."""
        # The one place that sets environment variables (settings.py reads them): MLflow cannot be told otherwise, its
        # telemetry starts with the import, and its seven retries would block the job for minutes.
        os.environ.update(TOLD)
        from mlflow import MlflowClient

        self._client = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
        self._is_server = urlsplit(tracking_uri).scheme in ("http", "https")
        self._artifact_root = artifact_root

    def deliver(self, topic: str, payload: Json) -> None:
        """Show one message. Topics that are not MLflow's are passed over."""
        if topic == "version":
            self._show_version(payload)
        elif topic == "champion":
            self._show_champion(payload)
        elif topic == "report":
            self._show_report(payload)
        elif topic == "round":
            self._show_round(payload)

    def _show_version(self, payload: Json) -> None:
        run = self._unfinished(payload, (VERSION_TAG, payload["version"]), payload["version"])
        if run is not None:
            self._log(run.info.run_id, payload)
            self._register(run, payload)
            self._client.set_terminated(run.info.run_id)  # the last step: a run that is not finished is done again

    def _show_report(self, payload: Json) -> None:
        run = self._unfinished(payload, (REPORT_TAG, payload["report"]), payload["name"])
        if run is not None:
            self._log(run.info.run_id, payload)
            self._client.log_dict(run.info.run_id, payload["content"], "report.json")
            self._client.set_terminated(run.info.run_id)

    def _show_round(self, payload: Json) -> None:
        """A child run for each round; their parent is finished with the last one."""
        whole = {"edgewise.kind": "improve"}
        identity = (IMPROVEMENT_TAG, payload["improvement"])
        parent = self._run(payload["model"], *identity) or self._made(payload | {"tags": whole}, identity, "improve")
        child = (ROUND_TAG, f"{payload['improvement']}/{payload['round']}")
        tags = payload["tags"] | {"mlflow.parentRunId": parent.info.run_id}
        run = self._unfinished(payload | {"tags": tags}, child, payload["name"])
        if run is not None:
            self._log(run.info.run_id, payload)
            self._client.log_dict(run.info.run_id, payload["content"], "round.json")
            self._client.set_terminated(run.info.run_id)
        if payload["ended"] is not None:
            self._client.set_tag(parent.info.run_id, "edgewise.ended", payload["ended"][:LONGEST_VALUE])
            self._client.set_terminated(parent.info.run_id)

    def _unfinished(self, payload: Json, identity: tuple[str, str], name: str) -> "Run | None":
        """The run of this tag, made if there is none; None if it is finished: the message came before."""
        run = self._run(payload["model"], *identity)
        if run is not None:
            return None if run.info.status == "FINISHED" else run
        return self._made(payload, identity, name)

    def _made(self, payload: Json, identity: tuple[str, str], name: str) -> "Run":
        tags = {key: str(value)[:LONGEST_VALUE] for key, value in payload["tags"].items()}
        tags[identity[0]] = identity[1]
        return self._client.create_run(self._experiment(payload["model"]), payload["at_ms"], tags, name)

    def _show_champion(self, payload: Json) -> None:
        run = self._run(payload["model"], VERSION_TAG, payload["version"])
        number = self._number(payload["model"], run.info.run_id) if run else None
        if number is None:  # its weights were removed before MLflow came back
            log.info("MLflow does not know version %s, so that it cannot be its champion.", payload["version"])
            return
        self._client.set_registered_model_alias(payload["model"], "champion", number)

    def _log(self, run_id: str, payload: Json) -> None:
        from mlflow.entities import Metric, Param

        params = [Param(_key(name), str(value)[:LONGEST_VALUE]) for name, value in payload["params"].items()]
        numbers = dict(_flatten("", payload["metrics"]))
        metrics = [Metric(_key(name), value, payload["at_ms"], 0) for name, value in numbers.items()]
        for start in range(0, len(params), PARAMS_PER_CALL):
            self._client.log_batch(run_id, params=params[start : start + PARAMS_PER_CALL])
        for start in range(0, len(metrics), METRICS_PER_CALL):
            self._client.log_batch(run_id, metrics=metrics[start : start + METRICS_PER_CALL])

    def _register(self, run: "Run", payload: Json) -> None:
        model, run_id, folder = payload["model"], run.info.run_id, Path(payload["folder"])
        if not folder.is_dir() or self._number(model, run_id) is not None:
            return
        if not self._client.search_registered_models(f"name = '{model}'"):
            self._client.create_registered_model(model)
        source = folder.absolute().as_uri()
        if self._is_server:
            self._client.log_artifacts(run_id, str(folder), "model")
            source = f"{run.info.artifact_uri}/model"
        tags = {VERSION_TAG: payload["version"]}
        self._client.create_model_version(model, source, run_id, tags=tags, await_creation_for=0)

    def _experiment(self, name: str) -> str:
        known = self._client.get_experiment_by_name(name)
        if known is not None:
            return str(known.experiment_id)
        place = None if self._is_server else (self._artifact_root / name).absolute().as_uri()
        return str(self._client.create_experiment(name, artifact_location=place))

    def _run(self, model: str, tag: str, value: str) -> "Run | None":
        known = self._client.get_experiment_by_name(model)
        if known is None:
            return None
        runs = self._client.search_runs([known.experiment_id], f"tags.`{tag}` = '{value}'", max_results=1)
        return runs[0] if runs else None

    def _number(self, model: str, run_id: str) -> str | None:
        """MLflow's number of the model version that came from this run."""
        found = self._client.search_model_versions(f"name = '{model}'")
        return next((str(one.version) for one in found if one.run_id == run_id), None)


def _flatten(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The finite numbers in nested values, by dotted names."""
    for name, value in values.items():
        path = f"{prefix}.{name}" if prefix else str(name)
        if isinstance(value, Mapping):
            yield from _flatten(path, value)
        elif isinstance(value, int | float) and math.isfinite(value):
            yield path, float(value)


def _key(name: str) -> str:
    """The name with what MLflow allows in one."""
    return re.sub(r"[^\w./: -]", "_", name)[:250]
