"""`MlflowTracker`: MLflow as the receiver of a sweep's events. Importing this does not import mlflow, which takes seconds."""

import shlex
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rrm.errors import UserError
from sweeps.spec.sweep import SweepSpec
from sweeps.store.store import Store
from sweeps.tracking.events import Event, SweepBegun, TrialBegun
from sweeps.tracking.mlflow.address import is_absent, is_local
from sweeps.tracking.mlflow.destination import Destination, find_destination
from sweeps.tracking.progress import RUN, Aside
from sweeps.tracking.secrets import blank_secrets
from sweeps.tracking.spool import BATCH_EVENTS, Spool
from sweeps.tracking.tracker import Tracker

if TYPE_CHECKING:
    from sweeps.tracking.mlflow.parts import Part
    from sweeps.tracking.mlflow.writer import MlflowWriter

CHECK_SECONDS = 5.0  # before a sweep, limit for an answer about its experiment
IDENTITY_PART = "identity"  # the experiment's tags with the sweep's identity and location


class MlflowTracker(Tracker):
    """Sends what runs need, then their optional parts; what the server refuses is set aside and tried again later."""

    kind = "mlflow"
    title = "MLflow"

    def __init__(self, spec: SweepSpec, store: Store, spool: Spool, destination: Destination | None = None) -> None:
        super().__init__(spec, store, spool)
        self.destination = destination or find_destination(spec, store)
        self._writer: MlflowWriter | None = None

    @property
    def address(self) -> str:
        return self.destination.uri

    @property
    def is_local(self) -> bool:
        return is_local(self.destination.uri)

    @classmethod
    def check(cls, spec: SweepSpec, store: Store) -> None:
        check_destination(find_destination(spec, store))

    def describe_error(self, error: BaseException) -> str:
        from sweeps.tracking.mlflow.refusals import describe_error

        return str(error) if isinstance(error, UserError) else describe_error(error)

    def result_line(self) -> str:
        command = shlex.join(["rrm-sweep", "ui", self.store.location])
        return f"compare in MLflow: {command if self.is_local else f'{blank_secrets(self.address)}, experiment {self.spec.name}'}"

    @property
    def writer(self) -> "MlflowWriter":
        assert self._writer is not None, "connect comes first"
        return self._writer

    def connect(self) -> None:
        from sweeps.tracking.mlflow.writer import MlflowWriter

        self._writer = MlflowWriter(self.destination, self.spool.events, self.store.file)

    def catch_up(self) -> None:
        writer, progress = self.writer, self.spool.progress
        progress.meet((writer.experiment_id, writer.experiment.creation_time or 0))
        self._claim()
        writer.delete_runs_ahead(self.spool.sent())
        sent = {event.fingerprint for event in self.spool.sent() if isinstance(event, SweepBegun | TrialBegun)}
        incomplete = sent - writer.index.ids.keys() | {fingerprint for fingerprint, part in progress.aside if part == RUN}
        again = [event for event in self.spool.sent() if event.fingerprint in incomplete] if incomplete else []
        for first in range(0, len(again), BATCH_EVENTS):
            self.deliver(again[first : first + BATCH_EVENTS])
        self._send_parts([key for key, part in progress.aside.items() if not part.transient])

    def _claim(self) -> None:
        """Write into the experiment which sweep it holds; a server that refuses such tags still gets the runs."""
        from sweeps.tracking.mlflow.experiment import claim
        from sweeps.tracking.mlflow.refusals import describe_error, is_refused

        self.spool.progress.aside.pop(("", IDENTITY_PART), None)
        try:
            claim(self.writer.client, self.writer.experiment, self.destination)
        except Exception as error:
            if not is_refused(error):
                raise
            self.spool.progress.set_aside(Aside("", IDENTITY_PART, describe_error(error)))

    def deliver(self, events: Sequence[Event]) -> None:
        aside = self.spool.progress.aside
        delivered = self.writer.deliver(events)
        for event in events:
            if isinstance(event, SweepBegun | TrialBegun):  # the whole run is sent again: a refusal shows again
                aside.pop((event.fingerprint, RUN), None)
        for refused in delivered.refused:
            self.spool.progress.set_aside(refused)
        is_busy = any(part.transient for part in aside.values())
        for part, event in delivered.parts.items():
            if is_busy:  # a server that does not answer takes seconds at each try: these are sent after those that wait
                self.spool.progress.set_aside(Aside(*part, "waits for its turn", transient=True))
            else:
                is_busy = self._send_part(part, event)

    def retry(self) -> None:
        waiting = [key for key, part in self.spool.progress.aside.items() if part.transient]
        if not waiting:
            return
        self._send_parts(waiting)
        still = [part for part in self.spool.progress.aside.values() if part.transient]
        if still:
            raise ConnectionError(still[0].reason)

    def _send_parts(self, parts: list["Part"]) -> None:
        """Try parts again that were set aside; of each kind until one is not taken."""
        from sweeps.tracking.mlflow.parts import find_parts

        if not parts:
            return
        stopped: set[str] = set()  # names of parts
        aside = self.spool.progress.aside
        events = find_parts(parts, self.spool.events())
        for part in parts:
            if part[1] in {RUN, IDENTITY_PART}:
                continue
            if part not in events:
                del aside[part]
            elif part[1] not in stopped:
                self._send_part(part, events[part])
                if part in aside:
                    stopped.add(part[1])
        self.spool.progress.write()

    def _send_part(self, part: "Part", event: Event) -> bool:
        """Send an optional part, or set it aside; True where the server may take it in a moment."""
        from sweeps.tracking.mlflow.refusals import describe_error, is_transient

        try:
            self.writer.send_part(part, event)
        except Exception as error:
            self.spool.progress.set_aside(Aside(*part, describe_error(error), transient=is_transient(error)))
            return is_transient(error)
        self.spool.progress.aside.pop(part, None)
        return False


def check_destination(destination: Destination) -> None:
    """Refuse a sweep whose experiment holds another one, before anything is spent.

    A server has `CHECK_SECONDS` to answer. A local database has no limit: its first use on a busy machine takes seconds, and ends.

    Raises:
        UserError: the experiment holds another sweep, or the original of which this store is a copy.
    """
    if is_absent(destination.uri):
        return
    from sweeps.tracking.mlflow.experiment import check_experiment

    refusals: list[UserError] = []

    def look() -> None:
        try:
            check_experiment(destination)
        except UserError as error:
            refusals.append(error)
        except Exception:  # the thread of `Delivery` asks again, and reports why no answer comes
            return

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(None if is_local(destination.uri) else CHECK_SECONDS)
    if refusals:
        raise refusals[0]
