"""`Delivery`: the thread between spool and server. It catches every error, and nothing waits for it but the end of a driver."""

import logging
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rrm.errors import UserError
from sweeps.tracking.destination import Destination
from sweeps.tracking.progress import RUN, Aside
from sweeps.tracking.spool import BATCH_EVENTS, STARTS, Event, Spool

if TYPE_CHECKING:
    from sweeps.tracking.mlflow.writer import MlflowWriter, Part, ReadFile

MAX_DELIVERY_SECONDS = 600.0  # at the end of a sweep; a large model takes minutes to export
UNREACHABLE_SECONDS = 6.0  # at the end of a sweep, of a server that does not answer
CHECK_SECONDS = 5.0  # before a sweep, for an answer about its experiment
MIN_WAIT_SECONDS, MAX_WAIT_SECONDS = 0.2, 5.0
GATHERING_SECONDS = 1.0  # between deliveries: what concerns one run is cheaper together
log = logging.getLogger("sweeps.tracking")
IDENTITY_PART = "identity"  # the experiment's tags with the sweep's identity and location


class Delivery:
    """Sends what a spool holds to one destination."""

    def __init__(self, destination: Destination, spool: Spool, read_file: "ReadFile") -> None:
        self.destination, self.spool, self.read_file = destination, spool, read_file
        self.spool.follow(destination.uri)
        self.problem: str | None = None  # why the last try failed
        self._failing_since = 0.0
        self._connecting_since: float | None = None
        self._writer: MlflowWriter | None = None
        self._closing, self._given_up = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)

    @property
    def uri(self) -> str:
        return self.destination.uri

    @property
    def is_local(self) -> bool:
        """Whether it writes a database of its own, which asks for no credentials."""
        return self.uri.startswith("sqlite:")

    def start(self) -> None:
        """Begin; later calls change nothing."""
        if self._thread.ident is None:
            self._thread.start()

    def close(self) -> bool:
        """Wait until everything has arrived, as long as there is hope; True if it has. What is left goes out with the next run."""
        self._closing.set()
        deadline = time.monotonic() + MAX_DELIVERY_SECONDS
        while self._thread.is_alive() and time.monotonic() < deadline and not self._is_hopeless():
            self._thread.join(MIN_WAIT_SECONDS)
        if self.problem is None and self._connecting_since is not None:
            self.problem = f"no answer within {UNREACHABLE_SECONDS:.0f} s"
        self._given_up.set()
        self._thread.join(MIN_WAIT_SECONDS)  # a thread that hangs in a request ends with the process
        return self.spool.is_empty

    def _is_hopeless(self) -> bool:
        """Whether the server has not answered for long."""
        since = self._failing_since if self.problem is not None else self._connecting_since
        return since is not None and time.monotonic() - since > UNREACHABLE_SECONDS

    def _run(self) -> None:
        wait = MIN_WAIT_SECONDS
        while not self._given_up.is_set():
            try:
                if self._writer is None:
                    self.connect()
                was_full = self.deliver()
                self.problem, wait = None, MIN_WAIT_SECONDS
                if self._closing.is_set() and self.spool.is_empty:
                    return
                if not was_full:
                    self._closing.wait(GATHERING_SECONDS)
            except Exception as error:  # whatever a server or its way can do must not reach the sweep
                self._note(error)
                self._given_up.wait(wait)
                wait = min(2 * wait, MAX_WAIT_SECONDS)

    def _note(self, error: Exception) -> None:
        """Remember why a try failed, and connect anew: the server may be another one by then."""
        from sweeps.tracking.mlflow.refusals import describe_error

        self._failing_since = self._failing_since if self.problem else time.monotonic()
        problem = str(error) if isinstance(error, UserError) else describe_error(error)
        if self.problem is None:
            log.warning("MLflow does not receive the sweep now: %s", problem)
        self.problem = problem
        self._writer = None

    def connect(self) -> None:
        """Find the experiment, and send again what it lacks of all that it received.

        Raises:
            UserError: the experiment holds another sweep, or is deleted.
            Exception: the server does not answer.
        """
        from sweeps.tracking.mlflow.writer import MlflowWriter  # mlflow takes seconds to import

        # The first use of a local database makes its tables, which takes seconds and ends.
        self._connecting_since = None if self.is_local else time.monotonic()
        writer = MlflowWriter(self.destination, self.spool.events, self.read_file)
        self._connecting_since = None
        progress = self.spool.progress
        progress.meet((writer.experiment_id, writer.experiment.creation_time or 0))
        self._writer = writer
        self._claim(writer)
        writer.delete_runs_ahead(self.spool.sent())
        sent = {event.get("fingerprint", "") for event in self.spool.sent() if event["kind"] in STARTS}
        incomplete = sent - writer.runs | {fingerprint for fingerprint, part in progress.aside if part == RUN}
        again = [event for event in self.spool.sent() if event.get("fingerprint", "") in incomplete] if incomplete else []
        for first in range(0, len(again), BATCH_EVENTS):
            self._send(writer, again[first : first + BATCH_EVENTS])
        self._send_parts(writer, [key for key, part in progress.aside.items() if not part.transient])

    def deliver(self) -> bool:
        """Send some events and what waits for another try; True where more events may be there.

        Raises:
            Exception: the server does not take them now.
        """
        assert self._writer is not None
        events, position = self.spool.pending()
        if events:
            self._send(self._writer, events)
        if position != self.spool.progress.position:
            self.spool.advance(position)
        if len(events) < BATCH_EVENTS:
            self._try_again(self._writer)
        return len(events) == BATCH_EVENTS

    def _claim(self, writer: "MlflowWriter") -> None:
        """Write into the experiment which sweep it holds; a server that refuses such tags gets the runs all the same."""
        from sweeps.tracking.mlflow.refusals import describe_error, is_refused

        self.spool.progress.aside.pop(("", IDENTITY_PART), None)
        try:
            writer.claim()
        except Exception as error:
            if not is_refused(error):
                raise
            self.spool.progress.set_aside(Aside("", IDENTITY_PART, describe_error(error)))

    def _send(self, writer: "MlflowWriter", events: list[Event]) -> None:
        """Send events: first what runs need, then each optional part alone."""
        aside = self.spool.progress.aside
        delivered = writer.deliver(events)
        for event in events:
            if event["kind"] in STARTS:  # a run is sent as a whole: what was refused of it before shows again
                aside.pop((event.get("fingerprint", ""), RUN), None)
        for refused in delivered.refused:
            self.spool.progress.set_aside(refused)
        is_busy = any(part.transient for part in aside.values())
        for part, event in delivered.parts.items():
            if is_busy:  # a server that does not answer takes seconds at each try: these are sent after those that wait
                self.spool.progress.set_aside(Aside(*part, "waits for its turn", transient=True))
            else:
                is_busy = self._send_part(writer, part, event)

    def _send_parts(self, writer: "MlflowWriter", parts: list["Part"]) -> None:
        """Try parts again that were set aside; of each kind until one is not taken."""
        stopped: set[str] = set()
        aside = self.spool.progress.aside
        found = writer.find_parts(parts)
        for part in parts:
            if part[1] == RUN or part[1] == IDENTITY_PART:
                continue
            if part not in found:
                del aside[part]
            elif part[1] not in stopped:
                self._send_part(writer, part, found[part])
                if part in aside:
                    stopped.add(part[1])
        self.spool.progress.write()

    def _send_part(self, writer: "MlflowWriter", part: "Part", event: Event) -> bool:
        """Send an optional part, or set it aside; True where the server may take it in a moment."""
        from sweeps.tracking.mlflow.refusals import describe_error, is_transient

        try:
            writer.send_part(part, event)
        except Exception as error:
            self.spool.progress.set_aside(Aside(*part, describe_error(error), transient=is_transient(error)))
            return is_transient(error)
        self.spool.progress.aside.pop(part, None)
        return False

    def _try_again(self, writer: "MlflowWriter") -> None:
        """Parts that a server did not take because it was busy or away.

        Raises:
            ConnectionError: it still is.
        """
        waiting = [key for key, part in self.spool.progress.aside.items() if part.transient]
        if not waiting:
            return
        self._send_parts(writer, waiting)
        left = [part for part in self.spool.progress.aside.values() if part.transient]
        if left:
            raise ConnectionError(left[0].reason)


def check_destination(destination: Destination) -> None:
    """Refuse a sweep whose experiment holds another one, before anything is spent.

    A server has `CHECK_SECONDS` to answer. A local database has no limit: its first use on a busy machine takes seconds, and ends.

    Raises:
        UserError: the experiment holds another sweep, or the original of which this store is a copy.
    """
    database = destination.uri.removeprefix("sqlite:///")
    if database != destination.uri and not Path(database).exists():  # it would be made
        return
    from sweeps.tracking.mlflow.experiment import check_experiment

    refusals: list[UserError] = []

    def look() -> None:
        try:
            check_experiment(destination)
        except UserError as error:
            refusals.append(error)
        except Exception:  # the thread of `Delivery` looks again, and reports what keeps it from an answer
            return

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    looking.join(None if destination.uri.startswith("sqlite:") else CHECK_SECONDS)
    if refusals:
        raise refusals[0]
