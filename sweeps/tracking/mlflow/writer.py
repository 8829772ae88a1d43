"""Delivering spooled events to MLflow so that each arrives once.

What makes it exactly once: a metric point sent again with the same timestamp, a param or a tag sent again with the same
value, a dataset of the same name and digest, change nothing; a run is made only where it is certain that there is none with
its fingerprint, and one that arrived late all the same is deleted.
"""

import json
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from lightning_modules.trial_folder import TRIAL
from sweeps.tracking.curves_file import write_curves
from sweeps.tracking.mlflow import CURVES, FINGERPRINT, KIND, MOST_RUNS, SWEEP
from sweeps.tracking.mlflow.model_logging import Unsavable, log_best
from sweeps.tracking.mlflow.view import prepare_view
from sweeps.tracking.spool import Event

MOST_METRICS = 800  # of one log_batch, which takes 1000 things of all kinds
MOST_PARAMS = 100
POISON = {"INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS", "BAD_REQUEST", "INVALID_STATE"}
TERMINAL = {"FINISHED", "FAILED", "KILLED"}


class Poison(Exception):
    """The server will never take these events."""


class Sources(Protocol):
    """Where the writer finds what an event only names."""

    def file(self, fingerprint: str, name: str) -> bytes | None:
        """A file of a trial's folder in the store; None where it is not."""

    def events(self) -> Iterable[Event]:
        """Every event of the sweep so far."""


class MlflowWriter:
    """Writes one sweep's events into its experiment: a parent run, and a child run a trial."""

    def __init__(self, tracking_uri: str, artifact_root: Path | None, sweep: str, sources: Sources) -> None:
        self.client = MlflowClient(tracking_uri=tracking_uri)
        self.sources = sources
        experiment = self.client.get_experiment_by_name(sweep)
        if experiment is None:
            location = (artifact_root / sweep).resolve().as_uri() if artifact_root else None
            self.experiment_id = self.client.create_experiment(sweep, artifact_location=location)
        else:
            self.experiment_id = experiment.experiment_id
        self.sweep = sweep
        self._runs = self._settle_runs() if experiment else {}  # fingerprint ("" for the parent) -> run id
        self._unanswered: set[str] = set()  # runs that may have been made although nobody said so
        self._was_unsure = False

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
                self._conclude(event)
        except Unsavable as error:
            raise Poison(str(error)) from error
        except MlflowException as error:
            # A transport error bears the code of an internal one and is tried again.
            if error.error_code in POISON:
                raise Poison(str(error)) from error
            raise

    def _sweep(self, event: Event) -> None:
        """The parent run with the spec and what was changed in the code, and the view that the UI opens."""
        tags = {"mlflow.runName": self.sweep, SWEEP: self.sweep, KIND: event["sweep_kind"], **event["tags"]}
        self._find_or_create("", event["time"], tags)
        run_id = self._run("")
        self.client.log_text(run_id, event["spec"], "spec.yaml")
        if event["diff"]:
            self.client.log_text(run_id, event["diff"], "code.diff")
        prepare_view(self.client, self.experiment_id, event["axes"], event["objective"])

    def _conclude(self, event: Event) -> None:
        """What is said of the sweep after its trials: how it stands, all curves, the best models."""
        if event["kind"] == "state":
            self._set_status(self._run(""), event)
            if self._was_unsure and event["status"] in TERMINAL:
                self._runs = self._settle_runs()
        elif event["kind"] == "curves":
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / CURVES
                write_curves(path, self.sources.events())
                self.client.log_artifact(self._run(""), path)
        elif event["kind"] == "models":
            best = {fingerprint: self._run(fingerprint) for fingerprint in event["fingerprints"]}
            log_best(self.client, self.experiment_id, self.sweep, best, self.sources.file)

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
                self._log_end(run_id, event)
            if event["kind"] in {"end", "state"}:
                self._set_status(run_id, event)

    def _start(self, event: Event, tags: dict[str, str]) -> bool:
        """The run of a trial with these tags, and its config; False if it was there."""
        own = {"mlflow.parentRunId": self._run(""), "mlflow.runName": event["name"], FINGERPRINT: event["fingerprint"]}
        created = self._find_or_create(event["fingerprint"], event["time"], own | tags)
        self.client.log_text(self._run(event["fingerprint"]), event["trial"], TRIAL)
        return created

    def _log_end(self, run_id: str, event: Event) -> None:
        """The data that a trial was trained and scored on, and the files that it left."""
        data = event.get("dataset")
        if data is not None:
            facts = Dataset(data["name"], data["digest"], "code", json.dumps(data["source"]), profile=json.dumps(data["profile"]))
            splits = InputTag("mlflow.data.context", "train, validation, test")
            self.client.log_inputs(run_id, datasets=[DatasetInput(facts, [splits])])
        for name in event.get("files", []):
            content = self.sources.file(event["fingerprint"], name)
            if content is not None:
                with tempfile.TemporaryDirectory() as folder:
                    (Path(folder) / name).write_bytes(content)
                    self.client.log_artifact(run_id, Path(folder) / name)

    def _set_status(self, run_id: str, event: Event) -> None:
        if event["status"] in TERMINAL:
            self.client.set_terminated(run_id, status=event["status"], end_time=event["time"])
        else:
            self.client.update_run(run_id, status=event["status"])

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
            self._runs = self._settle_runs()
            self._unanswered.clear()
        if fingerprint in self._runs:
            return False
        self._unanswered.add(fingerprint)
        try:
            run = self.client.create_run(self.experiment_id, start_time=start_time, tags=tags)
        except Exception:
            self._was_unsure = True  # it may still arrive, after the next look
            raise
        self._runs[fingerprint] = run.info.run_id
        self._unanswered.remove(fingerprint)
        return True

    def _settle_runs(self) -> dict[str, str]:
        """Run ids of the experiment by fingerprint. Of runs with one fingerprint that with most in it stays.

        This writer is the only one, so it need not look again while every request is answered.
        """
        by_fingerprint: dict[str, list[Run]] = defaultdict(list)
        token = None
        while True:
            page = self.client.search_runs([self.experiment_id], max_results=MOST_RUNS, page_token=token)
            for run in page:
                tags = run.data.tags
                if FINGERPRINT in tags or SWEEP in tags:
                    by_fingerprint[tags.get(FINGERPRINT, "")].append(run)
            token = page.token
            if not token:
                break
        runs = {}
        for fingerprint, same in by_fingerprint.items():
            first, *others = sorted(same, key=lambda run: (-len(run.data.metrics) - len(run.data.params), run.info.start_time))
            runs[fingerprint] = first.info.run_id
            for other in others:
                self.client.delete_run(other.info.run_id)
        return runs


def _costs(event: Event) -> list[dict[str, Any]]:
    """What a trial costs, as points at step 0; of its start only."""
    return [{"metric": name, "value": value, "at": 0, "time": event["time"]} for name, value in event.get("metrics", {}).items()]
