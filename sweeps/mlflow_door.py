"""MLflow's door: delivering spooled events so that each arrives once, and reading runs back.

What makes it exactly once: a metric point sent again with the same timestamp, a param or a tag sent again with the same
value, change nothing; a run is looked up by its fingerprint before it is made.
"""

import os
from collections import defaultdict
from pathlib import Path
from typing import Any

from rrm.errors import UserError
from sweeps.spool import Event

os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # the client's own retry repeats POSTs and doubles runs
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

# After the environment: mlflow reads parts of it when it is imported.
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

FINGERPRINT = "rrm.fingerprint"
SWEEP = "rrm.sweep"  # on the parent run only
KIND = "rrm.kind"  # search or measure; on the parent run only
MOST_METRICS = 1000  # of one log_batch
MOST_PARAMS = 100
POISON = {"INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS", "BAD_REQUEST", "INVALID_STATE"}


class Poison(Exception):
    """The server will never take these events."""


class MlflowWriter:
    """Writes one sweep's events into its experiment: a parent run, and a child run a trial."""

    def __init__(self, tracking_uri: str, artifact_root: Path | None, sweep: str) -> None:
        self.client = MlflowClient(tracking_uri=tracking_uri)
        experiment = self.client.get_experiment_by_name(sweep)
        if experiment is None:
            location = (artifact_root / sweep).resolve().as_uri() if artifact_root else None
            self.experiment_id = self.client.create_experiment(sweep, artifact_location=location)
        else:
            self.experiment_id = experiment.experiment_id
        self.sweep = sweep
        self._runs: dict[str, str] = {}  # fingerprint ("" for the parent) -> run id

    def deliver(self, events: list[Event]) -> None:
        """Send events in order; the points of one run travel together.

        Raises:
            Poison: the server refuses them for good.
            Exception: whatever else keeps them from arriving; sending them again is safe.
        """
        try:
            points: dict[str, list[dict[str, Any]]] = defaultdict(list)
            for event in events:
                if event["kind"] == "points":
                    points[event["fingerprint"]] += event["points"]
            for event in events:
                if event["kind"] != "points":
                    getattr(self, f"_{event['kind']}")(event)
            for fingerprint, some in points.items():
                self._log_points(self._run(fingerprint), some)
        except MlflowException as error:
            # A transport error bears the code of an internal one and is tried again.
            if error.error_code in POISON:
                raise Poison(str(error)) from error
            raise

    def _sweep(self, event: Event) -> None:
        """The parent run, open, with the spec."""
        run_id = self._find(f"tags.`{SWEEP}` = '{self.sweep}'")
        if run_id is None:
            tags = {"mlflow.runName": self.sweep, SWEEP: self.sweep, KIND: event["sweep_kind"], **event["tags"]}
            run_id = self.client.create_run(self.experiment_id, start_time=event["time"], tags=tags).info.run_id
        self._runs[""] = run_id
        self.client.update_run(run_id, status="RUNNING")
        self.client.log_text(run_id, event["spec"], "spec.yaml")

    def _start(self, event: Event) -> None:
        """A child run with its params, tags and costs."""
        fingerprint = event["fingerprint"]
        run_id = self._find(f"tags.`{FINGERPRINT}` = '{fingerprint}'")
        if run_id is None:
            tags = {
                "mlflow.parentRunId": self._parent(),
                "mlflow.runName": event["name"],
                FINGERPRINT: fingerprint,
                **event["tags"],
            }
            run_id = self.client.create_run(self.experiment_id, start_time=event["time"], tags=tags).info.run_id
        self._runs[fingerprint] = run_id
        params = [Param(key, str(value)) for key, value in event["params"].items()]
        for first in range(0, len(params), MOST_PARAMS):
            self.client.log_batch(run_id, params=params[first : first + MOST_PARAMS])
        self._log_points(run_id, [{"metric": k, "value": v, "at": 0, "time": event["time"]} for k, v in event["metrics"].items()])
        self.client.log_text(run_id, event["trial"], "trial.yaml")

    def _end(self, event: Event) -> None:
        """Final metrics, depth curves, outcome and status of a child run."""
        run_id = self._run(event["fingerprint"])
        self._log_points(run_id, event["points"])
        self.client.log_batch(run_id, tags=[RunTag(key, value) for key, value in event["tags"].items()])
        self.client.set_terminated(run_id, status=event["status"], end_time=event["time"])

    def _done(self, event: Event) -> None:
        """The sweep is what its spec asks for."""
        self.client.set_terminated(self._parent(), status="FINISHED", end_time=event["time"])

    def _log_points(self, run_id: str, points: list[dict[str, Any]]) -> None:
        metrics = [Metric(p["metric"], p["value"], p["time"], p["at"]) for p in points]
        for first in range(0, len(metrics), MOST_METRICS):
            self.client.log_batch(run_id, metrics=metrics[first : first + MOST_METRICS])

    def _parent(self) -> str:
        if "" not in self._runs:
            run_id = self._find(f"tags.`{SWEEP}` = '{self.sweep}'")
            if run_id is None:
                raise Poison(f"the parent run of {self.sweep} is gone")
            self._runs[""] = run_id
        return self._runs[""]

    def _run(self, fingerprint: str) -> str:
        if fingerprint not in self._runs:
            run_id = self._find(f"tags.`{FINGERPRINT}` = '{fingerprint}'")
            if run_id is None:
                raise Poison(f"the run of trial {fingerprint} is gone")
            self._runs[fingerprint] = run_id
        return self._runs[fingerprint]

    def _find(self, condition: str) -> str | None:
        """The oldest run that meets a condition."""
        runs = self.client.search_runs([self.experiment_id], condition, max_results=1, order_by=["attributes.start_time ASC"])
        return runs[0].info.run_id if runs else None


def read_runs(tracking_uri: str, sweep: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]], str] | None:
    """Records, curves and kind (search or measure) of a sweep as MLflow holds them; None when there is no such experiment.

    Columns have the names of the store's records; params come back as numbers where they are numbers.

    Raises:
        UserError: MLflow cannot be read at this URI.
    """
    database = Path(tracking_uri.removeprefix("sqlite:///"))
    if tracking_uri.startswith("sqlite:") and not database.exists():  # it would be created
        raise UserError("is not there", str(database))
    try:
        client = MlflowClient(tracking_uri=tracking_uri)
        experiment = client.get_experiment_by_name(sweep)
    except (MlflowException, ValueError, ImportError) as error:
        raise UserError(f"cannot be read as a tracking URI: {str(error).splitlines()[0][:200]}", tracking_uri) from None
    if experiment is None:
        return None
    records, curves, kind, token = [], [], "measure", None
    while True:
        page = client.search_runs([experiment.experiment_id], max_results=1000, page_token=token)
        for run in page:
            kind = run.data.tags.get(KIND, kind)
            if FINGERPRINT in run.data.tags:
                records.append(_record(run))
                curves += _curves(client, run)
        token = page.token
        if not token:
            return records, curves, kind


def _record(run: Run) -> dict[str, Any]:
    tags = run.data.tags
    record: dict[str, Any] = {name: _parse(value) for name, value in run.data.params.items()}
    record |= {name: value for name, value in run.data.metrics.items() if _axis(name) is None}
    record |= {"fingerprint": tags[FINGERPRINT], "outcome": tags.get("outcome", "running")}
    record |= {name: tags[name] for name in ("reason", "matching", "data_fingerprint", "stage") if name in tags}
    return record


def _curves(client: MlflowClient, run: Run) -> list[dict[str, Any]]:
    fingerprint = run.data.tags[FINGERPRINT]
    return [
        {"fingerprint": fingerprint, "metric": name, "axis": _axis(name), "at": point.step, "value": point.value}
        for name in run.data.metrics
        if _axis(name)
        for point in client.get_metric_history(run.info.run_id, name)
    ]


def _axis(metric: str) -> str | None:
    """What a curve runs over; None for a single value."""
    return {"train_curve": "step", "val_curve": "step", "depth": "depth", "val_depth": "depth", "ood_depth": "depth"}.get(
        metric.split("/")[0]
    )


def _parse(text: str) -> Any:
    """A param, which MLflow keeps as text, as the value that it was."""
    if text in {"True", "False"}:
        return text == "True"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
