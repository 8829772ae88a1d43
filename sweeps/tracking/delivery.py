"""`Delivery`: the thread between spool and tracker. It catches every error, and only the end of a driver waits for it."""

import logging
import threading
import time

from sweeps.tracking.spool import BATCH_EVENTS, Spool
from sweeps.tracking.tracker import Tracker

MAX_DELIVERY_SECONDS = 600.0  # limit at the end of a sweep; a large model takes minutes to export
UNREACHABLE_SECONDS = 6.0  # limit at the end of a sweep for a server that does not answer
MIN_WAIT_SECONDS, MAX_WAIT_SECONDS = 0.2, 5.0
GATHERING_SECONDS = 1.0  # pause between deliveries: one request can then hold several events of a run
log = logging.getLogger("sweeps.tracking")


class Delivery:
    """Gives a tracker what a spool holds."""

    def __init__(self, tracker: Tracker, spool: Spool) -> None:
        self.tracker, self.spool = tracker, spool
        self.spool.follow(tracker.address)
        self.problem: str | None = None  # why the last try failed
        self._failing_since = 0.0
        self._connecting_since: float | None = None
        self._is_connected = False
        self._closing, self._given_up = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)

    def start(self) -> None:
        """Begin; later calls change nothing."""
        if self._thread.ident is None:
            self._thread.start()

    def close(self) -> bool:
        """Wait until everything has arrived, or until the receiver is unreachable. The next run sends what is missing.

        Returns:
            Whether everything has arrived.
        """
        self._closing.set()
        deadline = time.monotonic() + MAX_DELIVERY_SECONDS
        while self._thread.is_alive() and time.monotonic() < deadline and not self._is_unreachable():
            self._thread.join(MIN_WAIT_SECONDS)
        if self.problem is None and self._connecting_since is not None:
            self.problem = f"no answer within {UNREACHABLE_SECONDS:.0f} s"
        self._given_up.set()
        self._thread.join(MIN_WAIT_SECONDS)  # a thread that hangs in a request ends with the process
        return self.spool.is_empty

    def _is_unreachable(self) -> bool:
        """Whether the receiver has not answered for `UNREACHABLE_SECONDS`."""
        since = self._failing_since if self.problem is not None else self._connecting_since
        return since is not None and time.monotonic() - since > UNREACHABLE_SECONDS

    def _run(self) -> None:
        wait = MIN_WAIT_SECONDS
        while not self._given_up.is_set():
            try:
                if not self._is_connected:
                    self.connect()
                was_full = self.deliver()
                self.problem, wait = None, MIN_WAIT_SECONDS
                if self._closing.is_set() and self.spool.is_empty:
                    return
                if not was_full:
                    self._closing.wait(GATHERING_SECONDS)
            except (Exception, SystemExit) as error:  # no failure of a server, a network or a plug-in may reach the sweep
                self._note(error)
                self._given_up.wait(wait)
                wait = min(2 * wait, MAX_WAIT_SECONDS)

    def _note(self, error: BaseException) -> None:
        """Remember why a try failed, and connect again: the server may be another one by then."""
        self._failing_since = self._failing_since if self.problem else time.monotonic()
        problem = self.tracker.describe_error(error)
        if self.problem is None:
            log.warning("%s does not receive the sweep now: %s", self.tracker.title, problem)
        self.problem = problem
        self._is_connected = False

    def connect(self) -> None:
        """Reach the receiver, and send again what it lacks of all that it received.

        Raises:
            Exception: it does not answer, or refuses the sweep.
        """
        # The first use of a local database makes its tables, which takes seconds and ends.
        self._connecting_since = None if self.tracker.is_local else time.monotonic()
        self.tracker.connect()
        self._connecting_since = None
        self._is_connected = True
        self.tracker.catch_up()

    def deliver(self) -> bool:
        """Send some events, and what was set aside where none is left; True where more events may follow.

        Raises:
            Exception: the receiver does not take them now.
        """
        events, position = self.spool.pending()
        if events:
            self.tracker.deliver(events)
        if position != self.spool.progress.position:
            self.spool.advance(position)
        if len(events) < BATCH_EVENTS:
            self.tracker.retry()
        return len(events) == BATCH_EVENTS
