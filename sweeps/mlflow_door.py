"""MLflow's door: delivering spooled events so that each arrives once, and reading runs back.

What makes it exactly once: a metric point sent again with the same timestamp, a param or a tag sent again with the same
value, change nothing; a run is made only where it is certain that there is none with its fingerprint.
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
MOST_METRICS = 800  # of one log_batch, which takes 1000 things of all kinds
MOST_PARAMS = 100
MOST_RUNS = 1000  # of one page
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
        self._runs = self._existing_runs() if experiment else {}  # fingerprint ("" for the parent) -> run id
        self._unanswered: set[str] = set()  # runs that may have been made although nobody said so

    def deliver(self, events: list[Event]) -> None:
        """Send events; what concerns one run travels together, in order.

        Raises:
            Poison: the server refuses them for good.
            Exception: whatever else keeps them from arriving; sending them again is safe.
        """
        by_run: dict[str, list[Event]] = defaultdict(list)
        for event in events:
            by_run[event.get("fingerprint", "")].append(event)
        of_parent = by_run.pop("", [])
        try:
            for event in of_parent:
                if event["kind"] == "sweep":
                    self._sweep(event)
            for fingerprint, some in by_run.items():
                self._trial(fingerprint, some)
            for event in of_parent:
                if event["kind"] == "done":
                    self.client.set_terminated(self._run(""), status="FINISHED", end_time=event["time"])
        except MlflowException as error:
            # A transport error bears the code of an internal one and is tried again.
            if error.error_code in POISON:
                raise Poison(str(error)) from error
            raise

    def _sweep(self, event: Event) -> None:
        """The parent run, open, with the spec and what was changed in the code."""
        tags = {"mlflow.runName": self.sweep, SWEEP: self.sweep, KIND: event["sweep_kind"], **event["tags"]}
        self._find_or_create("", event["time"], tags)
        run_id = self._run("")
        self.client.update_run(run_id, status="RUNNING")
        self.client.log_text(run_id, event["spec"], "spec.yaml")
        if event["diff"]:
            self.client.log_text(run_id, event["diff"], "code.diff")

    def _trial(self, fingerprint: str, events: list[Event]) -> None:
        """A child run: params, costs and `trial.yaml` at its start, curves, and what its end says."""
        params: dict[str, Any] = {}
        tags: dict[str, str] = {}
        points: list[dict[str, Any]] = []
        for event in events:
            points += event["points"] if "points" in event else _costs(event)
            params |= event.get("params", {})
            tags |= event.get("tags", {})
        start = next((event for event in events if event["kind"] == "start"), None)
        if start is not None and self._start(start, tags):
            tags = {}
        run_id = self._run(fingerprint)
        self._log(run_id, points, params, tags)
        for event in events:
            if event["kind"] == "end":
                self.client.set_terminated(run_id, status=event["status"], end_time=event["time"])

    def _start(self, event: Event, tags: dict[str, str]) -> bool:
        """The run of a trial with these tags, and its config; False if it was there."""
        own = {"mlflow.parentRunId": self._run(""), "mlflow.runName": event["name"], FINGERPRINT: event["fingerprint"]}
        created = self._find_or_create(event["fingerprint"], event["time"], own | tags)
        self.client.log_text(self._run(event["fingerprint"]), event["trial"], "trial.yaml")
        return created

    def _log(self, run_id: str, points: list[dict[str, Any]], params: dict[str, Any], tags: dict[str, str]) -> None:
        """Points, params and tags, in as few requests as MLflow's limits allow."""
        metrics = [Metric(p["metric"], p["value"], p["time"], p["at"]) for p in points]
        named = [Param(key, str(value)) for key, value in params.items()]
        marks = [RunTag(key, value) for key, value in tags.items()]
        while metrics or named or marks:
            self.client.log_batch(run_id, metrics=metrics[:MOST_METRICS], params=named[:MOST_PARAMS], tags=marks)
            metrics, named, marks = metrics[MOST_METRICS:], named[MOST_PARAMS:], []

    def _run(self, fingerprint: str) -> str:
        """The run of a trial, or of the sweep."""
        if fingerprint not in self._runs:
            raise Poison(f"the run of trial {fingerprint} is gone" if fingerprint else f"the parent run of {self.sweep} is gone")
        return self._runs[fingerprint]

    def _find_or_create(self, fingerprint: str, start_time: int, tags: dict[str, str]) -> bool:
        """Make a run where it is certain that there is none with this fingerprint; False if there is one."""
        if fingerprint in self._unanswered:
            self._runs = self._existing_runs()
            self._unanswered.clear()
        if fingerprint in self._runs:
            return False
        self._unanswered.add(fingerprint)
        self._runs[fingerprint] = self.client.create_run(self.experiment_id, start_time=start_time, tags=tags).info.run_id
        self._unanswered.remove(fingerprint)
        return True

    def _existing_runs(self) -> dict[str, str]:
        """Runs of the experiment by fingerprint, the oldest of each. This writer is the only one, so it need not look again."""
        runs: dict[str, str] = {}
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment_id], max_results=MOST_RUNS, order_by=["attributes.start_time ASC"], page_token=token
            )
            for run in page:
                tags = run.data.tags
                if FINGERPRINT in tags or SWEEP in tags:
                    runs.setdefault(tags.get(FINGERPRINT, ""), run.info.run_id)
            token = page.token
            if not token:
                return runs


def _costs(start: Event) -> list[dict[str, Any]]:
    """What a trial costs, as points at step 0."""
    return [{"metric": name, "value": value, "at": 0, "time": start["time"]} for name, value in start["metrics"].items()]


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
        page = client.search_runs([experiment.experiment_id], max_results=MOST_RUNS, page_token=token)
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
