"""Delivering events to MLflow so that each arrives once.

What makes it exactly once: a metric point sent again with the same timestamp, a param or a tag sent again with the same
value, a dataset of the same name and digest, change nothing; a run is created only where it is certain that none has its
fingerprint, and a second one that arrives late is deleted.

What a run needs comes first: params, metrics, tags, the status. Its optional parts are sent one by one (`parts`).
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from mlflow import MlflowClient

from lightning_modules.columns import axis_of
from sweeps.tracking.events import (
    ENDING_TAGS,
    CellChanged,
    Event,
    Point,
    State,
    StateChanged,
    SweepBegun,
    TrialBegun,
    TrialEnded,
    points_of,
)
from sweeps.tracking.mlflow import ATTEMPT, FINGERPRINT, KIND, SWEEP
from sweeps.tracking.mlflow.batches import log_values
from sweeps.tracking.mlflow.destination import Destination
from sweeps.tracking.mlflow.experiment import check_active, move_artifacts, open_experiment
from sweeps.tracking.mlflow.parts import Part, PartSender, ReadFile, part_names
from sweeps.tracking.mlflow.refusals import Refused, describe_error, is_refused
from sweeps.tracking.mlflow.run_index import RunIndex
from sweeps.tracking.mlflow.words import ENDED, PARENT, RUN_NAME, STATUS, mlflow_tags
from sweeps.tracking.progress import RUN, Aside


class Delivered(NamedTuple):
    """The result of a delivery."""

    refused: list[Aside]  # runs for which the server refused something
    parts: dict[Part, Event]  # optional parts that remain to be sent, with the event that names each


class MlflowWriter:
    """Writes one sweep's events into its experiment: a parent run, and a child run per trial."""

    def __init__(self, destination: Destination, events: Callable[[], Iterable[Event]], read_file: ReadFile) -> None:
        """Find the experiment and its runs, or create it.

        Args:
            events: returns every event of the sweep so far, from the last attempt at each trial.
            read_file: reads a file of a trial's folder in the store.

        Raises:
            UserError: the experiment holds another sweep, or is deleted.
            Exception: the server does not answer.
        """
        self.client = MlflowClient(tracking_uri=destination.uri)
        self.destination, self.sweep = destination, destination.sweep
        self._events = events
        self.experiment = open_experiment(self.client, destination)
        self.experiment_id = self.experiment.experiment_id
        if move_artifacts(self.experiment, destination):
            self.experiment = self.client.get_experiment(self.experiment_id)
        self.index = RunIndex(self.client, self.experiment_id)
        self.send_part = PartSender(self.index, self.sweep, events, read_file).send

    def delete_runs_ahead(self, sent: Iterable[Event]) -> None:
        """Delete runs that hold more than was spooled, of trials that had not ended: the store was restored from a backup.

        Args:
            sent: the events that the server has received according to the spool.
        """
        unfinished = _find_unfinished(sent) & self.index.ids.keys()
        events: dict[str, list[Event]] = {fingerprint: [] for fingerprint in unfinished}
        for event in self._events() if unfinished else []:
            if event.fingerprint in unfinished:
                events[event.fingerprint].append(event)
        for fingerprint in unfinished:
            if self._is_ahead(self.index.ids[fingerprint], events[fingerprint]):
                self.index.delete(fingerprint)

    def _is_ahead(self, run_id: str, events: list[Event]) -> bool:
        """Whether a run has an end or a point of a curve that these events of its trial lack."""
        run = self.client.get_run(run_id)
        if run.info.end_time and run.info.end_time not in {event.time for event in events if isinstance(event, TrialEnded)}:
            return True
        curve = next(filter(axis_of, sorted(run.data.metrics)), None)  # the points of all curves are sent together
        if curve is None:
            return False
        spooled = {(point["at"], point["time"]) for event in events for point in points_of(event) if point["metric"] == curve}
        points = self.client.get_metric_history(run_id, curve)
        return any((point.step, point.timestamp) not in spooled for point in points)

    def deliver(self, events: Iterable[Event]) -> Delivered:
        """Send what runs need: params, metrics, tags and statuses. What concerns one run travels together, in order.

        Raises:
            Exception: events have not arrived, and the server has not refused them; sending them again is safe.
        """
        by_run: dict[str, list[Event]] = defaultdict(list)
        for event in events:
            by_run[event.fingerprint].append(event)
        refused: list[Aside] = []
        parts: dict[Part, Event] = {}
        of_sweep = by_run.pop("", [])
        begun: list[Event] = [event for event in of_sweep if isinstance(event, SweepBegun)]
        later = [event for event in of_sweep if not isinstance(event, SweepBegun)]  # the sweep's run ends after its trials
        groups = [("", begun), *by_run.items(), ("", later)]
        for fingerprint, some in groups:
            if some:
                parts |= self._deliver_run(fingerprint, some, refused)
        return Delivered(refused, parts)

    def _deliver_run(self, fingerprint: str, events: list[Event], refused: list[Aside]) -> dict[Part, Event]:
        """Send events of one run, or all of its events where the run is gone. Returns their optional parts."""
        try:
            if fingerprint not in self.index.ids and not _has_start(events):
                events = self._all_events(fingerprint)
            try:
                self._send(fingerprint, events)
            except Exception as error:
                if not is_refused(error) or not self._forget_if_deleted(fingerprint):
                    raise
                events = self._all_events(fingerprint)
                self._send(fingerprint, events)
        except Exception as error:
            if not is_refused(error) or (fingerprint not in self.index.ids and not fingerprint):
                raise  # without a parent no other run can be created either
            refused.append(Aside(fingerprint, RUN, describe_error(error)))
        return {(fingerprint, name): event for event in events for name in part_names(event)}

    def _all_events(self, fingerprint: str) -> list[Event]:
        """Everything that was spooled of a run.

        Raises:
            Refused: its start is not in the spool.
        """
        events = [event for event in self._events() if event.fingerprint == fingerprint]
        if not _has_start(events):
            raise Refused("the run is gone, and the spool does not have its start")
        return events

    def _forget_if_deleted(self, fingerprint: str) -> bool:
        """Whether the run is deleted on the server; the index forgets such a run.

        Raises:
            UserError: the whole experiment is deleted.
        """
        check_active(self.client.get_experiment(self.experiment_id), self.destination)
        return self.index.forget_if_deleted(fingerprint)

    def _send(self, fingerprint: str, events: list[Event]) -> None:
        """Create the run if it does not exist, then send its params, points and tags, then its status.

        Raises:
            Refused: the server does not take some items; the others have arrived.
        """
        refusals = self._send_trial(fingerprint, events) if fingerprint else self._send_sweep(events)
        for event in events:
            if isinstance(event, TrialEnded | StateChanged):
                status = self._set_status(self.index.ids[fingerprint], event)
                if not fingerprint and status in ENDED:
                    self.index.refresh()
        if refusals:
            raise Refused(refusals[0] + (f" (and {len(refusals) - 1} more)" if len(refusals) > 1 else ""))

    def _send_sweep(self, events: list[Event]) -> list[str]:
        """The parent run. Where it is created again, the runs of trials get the new one as their parent."""
        for event in events:
            if isinstance(event, SweepBegun):
                tags = {RUN_NAME: self.sweep, SWEEP: self.sweep, KIND: event.sweep_kind, **mlflow_tags(event.tags)}
                if self.index.find_or_create("", event.time, tags):
                    for run_id in [run_id for fingerprint, run_id in self.index.ids.items() if fingerprint]:
                        self.client.set_tag(run_id, PARENT, self.index.ids[""])
        return []

    def _send_trial(self, fingerprint: str, events: list[Event]) -> list[str]:
        """A child run: params and costs at its start, curves, tags and scores at its end. Returns a line per refused item."""
        params: dict[str, Any] = {}
        points: list[Point] = []
        for event in events:
            points += points_of(event)
            if isinstance(event, TrialBegun):
                points += [Point(metric=name, value=value, at=0, time=event.time) for name, value in event.metrics.items()]
                params |= event.params
        tags, outdated = _fold_tags(events)
        start = next((event for event in events if isinstance(event, TrialBegun)), None)
        if start is not None and self._start(start, tags):
            tags, outdated = {}, set()
        run_id = self.index.ids[fingerprint]
        refusals = log_values(self.index, run_id, points, params, tags)
        if outdated:
            for name in outdated & self.client.get_run(run_id).data.tags.keys():
                self.client.delete_tag(run_id, name)
        return refusals

    def _start(self, event: TrialBegun, tags: dict[str, str]) -> bool:
        """Create the run of a trial with these tags; False if the run of this start exists.

        A run with another start time is deleted: it belongs to an earlier attempt, or to events that the spool lost, because
        the spool was deleted or the store was restored from a backup.
        """
        fingerprint, parent = event.fingerprint, self._parent()
        if fingerprint in self.index.ids and self.index.start_times[fingerprint] != event.time:
            self.index.delete(fingerprint)
        run_tags = {PARENT: parent, RUN_NAME: event.name, FINGERPRINT: fingerprint}
        run_tags |= {ATTEMPT: str(event.attempt)} if event.attempt > 1 else {}
        return self.index.find_or_create(fingerprint, event.time, tags | run_tags | {"sweep": self.sweep})

    def _parent(self) -> str:
        """The run of the sweep, which is created again where it is gone."""
        if "" not in self.index.ids:
            self._send("", self._all_events(""))
        return self.index.ids[""]

    def _set_status(self, run_id: str, event: TrialEnded | StateChanged) -> str:
        """Write the status of a run, and return it."""
        status = STATUS[event.outcome if isinstance(event, TrialEnded) else event.state]
        if status in ENDED:
            self.client.set_terminated(run_id, status=status, end_time=event.time)
        else:
            self.client.update_run(run_id, status=status)
        return status


def _has_start(events: list[Event]) -> bool:
    return any(isinstance(event, SweepBegun | TrialBegun) for event in events)


def _find_unfinished(events: Iterable[Event]) -> set[str]:
    """Fingerprints of the trials that have begun and have not ended after these events."""
    last = {event.fingerprint: event for event in events if isinstance(event, TrialBegun | StateChanged | TrialEnded)}
    return {fingerprint for fingerprint, event in last.items() if fingerprint and not isinstance(event, TrialEnded)}


def _fold_tags(events: list[Event]) -> tuple[dict[str, str], set[str]]:
    """The tags after some events of a trial, and the names of those that its continuation makes void."""
    tags: dict[str, str] = {}
    outdated: set[str] = set()
    for event in events:
        match event:
            case StateChanged(state=State.RUNNING):
                outdated |= set(ENDING_TAGS)
                tags = {name: value for name, value in tags.items() if name not in ENDING_TAGS} | {"outcome": "running"}
            case TrialBegun():
                tags |= mlflow_tags(event.tags)
            case TrialEnded():
                tags |= event.tags
            case CellChanged():
                tags["cell"] = event.cell
    return tags, outdated - tags.keys()
