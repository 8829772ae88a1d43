"""Delivering spooled events to MLflow so that each arrives once.

What makes it exactly once: a metric point sent again with the same timestamp, a param or a tag sent again with the same
value, a dataset of the same name and digest, change nothing; a run is made only where it is certain that there is none with
its fingerprint, and one that arrived late all the same is deleted.

What a run needs comes first: params, metrics, tags, the status. Its optional parts (dataset, artifacts, models, the view) are
sent one by one, so that a server that refuses one of them takes the others.
"""

import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from lightning_modules.columns import axis_of
from lightning_modules.trial_folder import TRIAL
from sweeps.tracking.curves_file import write_curves
from sweeps.tracking.destination import Destination
from sweeps.tracking.mlflow import ATTEMPT, CURVES, FINGERPRINT, KIND, SPEC, SWEEP
from sweeps.tracking.mlflow.experiment import DELETED, check_active, claim, move_artifacts, open_experiment
from sweeps.tracking.mlflow.model_logging import log_best
from sweeps.tracking.mlflow.refusals import Refused, describe_error, is_divisible, is_refused
from sweeps.tracking.mlflow.runs import all_runs
from sweeps.tracking.mlflow.view import prepare_view
from sweeps.tracking.progress import RUN, Aside
from sweeps.tracking.spool import ENDING_TAGS, STARTS, Event

MAX_METRICS = 800  # in one log_batch, which takes 1000 metrics, params and tags together
MAX_PARAMS = 100
MAX_TAGS = 100
TERMINAL = {"FINISHED", "FAILED", "KILLED"}
DIFF, VIEW, DATASET, MODELS = "code.diff", "view", "dataset", "models"  # optional parts
Part = tuple[str, str]  # fingerprint and name
Item = Metric | Param | RunTag
ReadFile = Callable[[str, str], bytes | None]  # fingerprint and name of a trial's file to its content, None if it is absent


class Delivered(NamedTuple):
    """What became of some events."""

    refused: list[Aside]  # runs, of which the server refused something
    parts: dict[Part, Event]  # what is optional and is to be sent, with the event that names it


class MlflowWriter:
    """Writes one sweep's events into its experiment: a parent run, and a child run a trial."""

    def __init__(self, destination: Destination, events: Callable[[], Iterable[Event]], read_file: ReadFile) -> None:
        """Find the experiment and its runs, or make it.

        Args:
            events: returns every event of the sweep so far, of the last attempt at each trial.
            read_file: reads a file of a trial's folder in the store.

        Raises:
            UserError: the experiment holds another sweep, or is deleted.
            Exception: whatever else keeps the server from answering.
        """
        self.client = MlflowClient(tracking_uri=destination.uri)
        self.destination, self.sweep = destination, destination.sweep
        self._events, self._read_file = events, read_file
        self.experiment = open_experiment(self.client, destination)
        self.experiment_id = self.experiment.experiment_id
        if move_artifacts(self.experiment, destination):
            self.experiment = self.client.get_experiment(self.experiment_id)
        self._start_times: dict[str, int] = {}  # milliseconds since 1970, by fingerprint
        self._runs = self._settle_runs()  # run id by fingerprint, "" for the parent
        self._unanswered: set[str] = set()  # runs that may have been made although no answer came

    @property
    def runs(self) -> set[str]:
        """Fingerprints of the runs that the experiment has; "" is the parent's."""
        return set(self._runs)

    def claim(self) -> None:
        """Write into the experiment which sweep it holds and where the store lies."""
        claim(self.client, self.experiment, self.destination)

    def delete_runs_ahead(self, sent: Iterable[Event]) -> None:
        """Delete runs that hold more than was spooled, of trials that had not ended: the store was restored from a backup.

        Args:
            sent: the events that the server has received according to the spool.
        """
        unfinished = _find_unfinished(sent) & self._runs.keys()
        events: dict[str, list[Event]] = {fingerprint: [] for fingerprint in unfinished}
        for event in self._events() if unfinished else []:
            if event.get("fingerprint") in unfinished:
                events[event["fingerprint"]].append(event)
        for fingerprint in unfinished:
            if self._is_ahead(self._runs[fingerprint], events[fingerprint]):
                self.client.delete_run(self._runs.pop(fingerprint))

    def _is_ahead(self, run_id: str, events: list[Event]) -> bool:
        """Whether a run has an end or a point of a curve that is not among these events of its trial."""
        run = self.client.get_run(run_id)
        if run.info.end_time and run.info.end_time not in {event["time"] for event in events if event["kind"] == "end"}:
            return True
        curve = next(filter(axis_of, sorted(run.data.metrics)), None)  # the points of all curves are sent together
        if curve is None:
            return False
        spooled = {(p["at"], p["time"]) for event in events for p in event.get("points", []) if p["metric"] == curve}
        points = self.client.get_metric_history(run_id, curve)
        return any((point.step, point.timestamp) not in spooled for point in points)

    # -- what a run needs -----------------------------------------------------------------------------------------

    def deliver(self, events: Iterable[Event]) -> Delivered:
        """Send what runs need: params, metrics, tags and statuses. What concerns one run travels together, in order.

        Raises:
            Exception: whatever keeps events from arriving and is no refusal; sending them again is safe.
        """
        by_run: dict[str, list[Event]] = defaultdict(list)
        for event in events:
            by_run[event.get("fingerprint", "")].append(event)
        refused: list[Aside] = []
        parts: dict[Part, Event] = {}
        of_parent = by_run.pop("", [])
        groups = [("", [event for event in of_parent if event["kind"] == "sweep"]), *by_run.items()]
        groups.append(("", [event for event in of_parent if event["kind"] != "sweep"]))  # it ends after its trials
        for fingerprint, some in groups:
            if some:
                parts |= self._deliver_run(fingerprint, some, refused)
        return Delivered(refused, parts)

    def _deliver_run(self, fingerprint: str, events: list[Event], refused: list[Aside]) -> dict[Part, Event]:
        """Send events of one run, or all that there are where the run is gone. Returns their optional parts."""
        try:
            if fingerprint not in self._runs and not _has_start(events):
                events = self._all_events(fingerprint)
            try:
                self._send(fingerprint, events)
            except Exception as error:
                if not is_refused(error) or not self._forget_if_gone(fingerprint):
                    raise
                events = self._all_events(fingerprint)
                self._send(fingerprint, events)
        except Exception as error:
            if not is_refused(error) or (fingerprint not in self._runs and not fingerprint):
                raise  # without a parent no other run can be made either
            refused.append(Aside(fingerprint, RUN, describe_error(error)))
        return {(fingerprint, part): event for event in events for part in _parts(event)}

    def _all_events(self, fingerprint: str) -> list[Event]:
        """Everything that was spooled of a run.

        Raises:
            Refused: its start is not in the spool.
        """
        events = [event for event in self._events() if event.get("fingerprint", "") == fingerprint]
        if not _has_start(events):
            raise Refused("the run is gone, and the spool does not have its start")
        return events

    def _forget_if_gone(self, fingerprint: str) -> bool:
        """Whether the run is deleted on the server; such a run is forgotten, so that it is made anew.

        Raises:
            UserError: the whole experiment is deleted.
        """
        check_active(self.client.get_experiment(self.experiment_id), self.destination)
        if fingerprint not in self._runs:
            return False
        try:
            gone = self.client.get_run(self._runs[fingerprint]).info.lifecycle_stage == DELETED
        except MlflowException as error:
            gone = error.error_code == "RESOURCE_DOES_NOT_EXIST"
        if gone:
            del self._runs[fingerprint]
        return gone

    def _send(self, fingerprint: str, events: list[Event]) -> None:
        """Create the run if it is not there, then its params, points and tags, then its status.

        Raises:
            Refused: the server does not take something; the rest is there.
        """
        refusals = self._send_trial(fingerprint, events) if fingerprint else self._send_sweep(events)
        for event in events:
            if event["kind"] in {"end", "state"}:
                self._set_status(self._runs[fingerprint], event)
                if not fingerprint and event["status"] in TERMINAL:
                    self._runs = self._settle_runs()
        if refusals:
            raise Refused(refusals[0] + (f" (and {len(refusals) - 1} more)" if len(refusals) > 1 else ""))

    def _send_sweep(self, events: list[Event]) -> list[str]:
        """The parent run. Where it is made anew, the runs of trials get the new one for a parent."""
        for event in events:
            if event["kind"] == "sweep":
                tags = {"mlflow.runName": self.sweep, SWEEP: self.sweep, KIND: event["sweep_kind"], **event["tags"]}
                if self._find_or_create("", event["time"], tags):
                    for run_id in [run_id for fingerprint, run_id in self._runs.items() if fingerprint]:
                        self.client.set_tag(run_id, "mlflow.parentRunId", self._runs[""])
        return []

    def _send_trial(self, fingerprint: str, events: list[Event]) -> list[str]:
        """A child run: params and costs at its start, curves, tags and scores at its end. Returns a reason per refused item."""
        params: dict[str, Any] = {}
        points: list[dict[str, Any]] = []
        for event in events:
            points += event["points"] if "points" in event else _costs(event)
            params |= event.get("params", {})
        tags, outdated = _fold_tags(events)
        start = next((event for event in events if event["kind"] == "start"), None)
        if start is not None and self._start(start, tags):
            tags, outdated = {}, set()
        run_id = self._runs[fingerprint]
        refusals = self._log(run_id, points, params, tags)
        if outdated:
            for name in outdated & self.client.get_run(run_id).data.tags.keys():
                self.client.delete_tag(run_id, name)
        return refusals

    def _start(self, event: Event, tags: dict[str, str]) -> bool:
        """Make the run of a trial with these tags; False if the run of this start exists.

        A run with another start time is deleted: it belongs to an earlier attempt, or to events that the spool lost, because
        the spool was deleted or the store was restored from a backup.
        """
        fingerprint, attempt = event["fingerprint"], event.get("attempt", 1)
        parent = self._parent()
        if fingerprint in self._runs and self._start_times[fingerprint] != event["time"]:
            self.client.delete_run(self._runs.pop(fingerprint))
        run_tags = {"mlflow.parentRunId": parent, "mlflow.runName": event["name"], FINGERPRINT: fingerprint}
        run_tags |= {ATTEMPT: str(attempt)} if attempt > 1 else {}
        return self._find_or_create(fingerprint, event["time"], tags | run_tags | {"sweep": self.sweep})

    def _parent(self) -> str:
        """The run of the sweep, which is made anew where it is gone."""
        if "" not in self._runs:
            self._send("", self._all_events(""))
        return self._runs[""]

    def _set_status(self, run_id: str, event: Event) -> None:
        if event["status"] in TERMINAL:
            self.client.set_terminated(run_id, status=event["status"], end_time=event["time"])
        else:
            self.client.update_run(run_id, status=event["status"])

    def _log(self, run_id: str, points: list[dict[str, Any]], params: dict[str, Any], tags: dict[str, str]) -> list[str]:
        """Points, params and tags, in as few requests as MLflow's limits allow. Returns what was refused alone, and why."""
        metrics = [Metric(p["metric"], p["value"], p["time"], p["at"]) for p in points]
        named = [Param(key, str(value)) for key, value in params.items()]
        marks = [RunTag(key, value) for key, value in tags.items()]
        refusals: list[str] = []
        while metrics or named or marks:
            self._log_items(run_id, [*named[:MAX_PARAMS], *metrics[:MAX_METRICS], *marks[:MAX_TAGS]], refusals)
            metrics, named, marks = metrics[MAX_METRICS:], named[MAX_PARAMS:], marks[MAX_TAGS:]
        return refusals

    def _log_items(self, run_id: str, items: list[Item], refusals: list[str]) -> None:
        """One request; where it is too large, or something in it is refused, its halves, down to what is refused alone."""
        try:
            self.client.log_batch(
                run_id,
                metrics=[item for item in items if isinstance(item, Metric)],
                params=[item for item in items if isinstance(item, Param)],
                tags=[item for item in items if isinstance(item, RunTag)],
            )
        except Exception as error:
            if not is_divisible(error) or self._is_inactive(run_id):
                raise
            if len(items) == 1:
                refusals.append(f"{items[0].key}: {describe_error(error)}")
                return
            half = len(items) // 2
            self._log_items(run_id, items[:half], refusals)
            self._log_items(run_id, items[half:], refusals)

    def _is_inactive(self, run_id: str) -> bool:
        return bool(self.client.get_run(run_id).info.lifecycle_stage == DELETED)

    def _find_or_create(self, fingerprint: str, start_time: int, tags: dict[str, str]) -> bool:
        """Make a run where it is certain that there is none with this fingerprint; False if there is one."""
        if fingerprint in self._unanswered:
            self._runs = self._settle_runs()
            self._unanswered.clear()
        if fingerprint in self._runs:
            return False
        self._unanswered.add(fingerprint)  # it may still arrive, also after the next look
        run = self.client.create_run(self.experiment_id, start_time=start_time, tags=tags)
        self._runs[fingerprint], self._start_times[fingerprint] = run.info.run_id, start_time
        self._unanswered.remove(fingerprint)
        return True

    def _settle_runs(self) -> dict[str, str]:
        """Run ids of the experiment by fingerprint. Of runs with one fingerprint that of the last attempt, with most in it, stays.

        This writer is the only one, so it need not look again while every request is answered.
        """
        by_fingerprint: dict[str, list[Run]] = defaultdict(list)
        for run in all_runs(self.client, self.experiment_id):
            tags = run.data.tags
            if FINGERPRINT in tags or SWEEP in tags:
                by_fingerprint[tags.get(FINGERPRINT, "")].append(run)
        runs = {}
        for fingerprint, same in by_fingerprint.items():
            first, *others = sorted(same, key=_precedence)
            runs[fingerprint], self._start_times[fingerprint] = first.info.run_id, first.info.start_time
            for other in others:
                self.client.delete_run(other.info.run_id)
        return runs

    # -- what is optional -----------------------------------------------------------------------------------------

    def find_parts(self, parts: Iterable[Part]) -> dict[Part, Event]:
        """Parts with the last event that names each; those that no event names any more are left out."""
        names = set(parts)
        last_events: dict[Part, Event] = {}
        for event in self._events():
            for part in _parts(event):
                if (event.get("fingerprint", ""), part) in names:
                    last_events[event.get("fingerprint", ""), part] = event
        return last_events

    def send_part(self, part: Part, event: Event) -> None:
        """Send one optional part of a run.

        Raises:
            Exception: it did not arrive.
        """
        fingerprint, name = part
        if fingerprint not in self._runs:
            raise Refused("the run is not there")
        run_id = self._runs[fingerprint]
        match name:
            case "spec.yaml" | "code.diff":
                self.client.log_text(run_id, event["spec" if name == SPEC else "diff"], name)
            case "view":
                prepare_view(self.client, self.experiment_id, event["axes"], event["objective"])
            case "trial.yaml":
                self.client.log_text(run_id, event["trial"], TRIAL)
            case "dataset":
                self._log_dataset(run_id, event["dataset"])
            case "curves.parquet":
                self._log_curves(run_id)
            case "models":
                self._log_models(event["fingerprints"])
            case _:
                self._log_file(run_id, fingerprint, name)

    def _log_dataset(self, run_id: str, data: dict[str, Any]) -> None:
        """The data that a trial was trained and scored on."""
        facts = Dataset(data["name"], data["digest"], "code", json.dumps(data["source"]), profile=json.dumps(data["profile"]))
        splits = InputTag("mlflow.data.context", "train, validation, test")
        self.client.log_inputs(run_id, datasets=[DatasetInput(facts, [splits])])

    def _log_curves(self, run_id: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / CURVES
            write_curves(path, self._events())
            self.client.log_artifact(run_id, str(path))

    def _log_models(self, fingerprints: list[str]) -> None:
        missing = [fingerprint for fingerprint in fingerprints if fingerprint not in self._runs]
        if missing:
            raise Refused(f"the run of trial {missing[0]} is not there")
        best = {fingerprint: self._runs[fingerprint] for fingerprint in fingerprints}
        log_best(self.client, self.experiment_id, self.sweep, best, self._read_file)

    def _log_file(self, run_id: str, fingerprint: str, name: str) -> None:
        """A file that a trial left; nothing where it is gone."""
        content = self._read_file(fingerprint, name)
        if content is not None:
            with tempfile.TemporaryDirectory() as folder:
                (Path(folder) / name).write_bytes(content)
                self.client.log_artifact(run_id, str(Path(folder) / name))


def _has_start(events: list[Event]) -> bool:
    return any(event["kind"] in STARTS for event in events)


def _find_unfinished(events: Iterable[Event]) -> set[str]:
    """Fingerprints of the trials that have begun and have not ended after these events."""
    last = {event["fingerprint"]: event["kind"] for event in events if event["kind"] in {"start", "state", "end"}}
    return {fingerprint for fingerprint, kind in last.items() if fingerprint and kind != "end"}


def _parts(event: Event) -> list[str]:
    """Names of the optional parts of an event."""
    match event["kind"]:
        case "sweep":
            return [SPEC, VIEW] + ([DIFF] if event["diff"] else [])
        case "start":
            return [TRIAL]
        case "end":
            return ([DATASET] if event.get("dataset") is not None else []) + event.get("files", [])
        case "curves":
            return [CURVES]
        case "models":
            return [MODELS]
    return []


def _fold_tags(events: list[Event]) -> tuple[dict[str, str], set[str]]:
    """The tags after some events of a trial, and those of an earlier end that hold no more since the trial went on."""
    tags: dict[str, str] = {}
    outdated: set[str] = set()
    for event in events:
        if event["kind"] == "state" and event["status"] == "RUNNING":
            outdated |= set(ENDING_TAGS)
            tags = {name: value for name, value in tags.items() if name not in ENDING_TAGS} | {"outcome": "running"}
        tags |= event.get("tags", {})
    return tags, outdated - tags.keys()


def _precedence(run: Run) -> tuple[int, int, int]:
    """Sorts runs of one fingerprint, the one that stays first."""
    return -_attempt(run), -len(run.data.metrics) - len(run.data.params), run.info.start_time


def _attempt(run: Run) -> int:
    return int(run.data.tags.get(ATTEMPT, 1))


def _costs(event: Event) -> list[dict[str, Any]]:
    """What a trial costs, as points at step 0; of its start only."""
    return [{"metric": name, "value": value, "at": 0, "time": event["time"]} for name, value in event.get("metrics", {}).items()]
