"""The interface of a tracker: the receiver of a sweep's events, such as MLflow."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from rrm.errors import UserError, first_line
from rrm.extensions import Extension
from sweeps.spec.sweep import SweepSpec
from sweeps.store.store import Store
from sweeps.tracking.events import Event
from sweeps.tracking.secrets import blank_secrets
from sweeps.tracking.spool import Spool


class Tracker(Extension):
    """Receives the events of one sweep. A subclass needs `kind` and `deliver`; a spec chooses it: `tracking: {kind: NAME}`.

    Threads: the driver constructs it and calls `check` and `result_line`. One thread, which nothing else waits for, calls
    `connect`, `catch_up`, `deliver` and `retry`, one at a time. A request may take long and may fail: an exception reaches neither
    the sweep nor its trials, and the same thread tries again after a pause.

    Exactly once: each event is delivered in order and until `deliver` has returned. After an exception or a crash of the driver
    some events come a second time, so a receiver must hold one value per (fingerprint, metric, at), one run per fingerprint, and
    the last status. Events of an earlier attempt at a trial are left out; where some of them were delivered before the trial
    began anew, a `TrialBegun` with a higher `attempt` replaces them.
    """

    family: ClassVar[str] = "tracker"
    kind: ClassVar[str]
    title: ClassVar[str]  # name in messages; the kind by default
    takes_models: ClassVar[bool] = True  # whether `BestChosen` has an effect; False refuses `tracking.models`

    def __init__(self, spec: SweepSpec, store: Store, spool: Spool) -> None:
        """Opens nothing yet."""
        self.spec, self.store, self.spool = spec, store, spool

    def __init_subclass__(cls) -> None:
        if "kind" in vars(cls):
            cls.title = vars(cls).get("title", cls.kind)

    @property
    def address(self) -> str:
        """Names the receiver; the spool has a position for each. May hold credentials, which no file gets."""
        return f"{self.kind}:{self.store.location}"

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine: it reads no credentials, and connecting to it ends."""
        return True

    @classmethod
    def check(cls, spec: SweepSpec, store: Store) -> None:
        """Refuse a sweep before anything is spent; changes nothing and takes seconds at most.

        Raises:
            UserError: the receiver cannot take this sweep.
        """

    def connect(self) -> None:
        """Reach the receiver; called again after every failure.

        Raises:
            Exception: it does not answer.
        """

    def catch_up(self) -> None:
        """Send again what the receiver lacks of `self.spool.sent()`; called after `connect`."""

    @abstractmethod
    def deliver(self, events: Sequence[Event]) -> None:
        """Send events, which are in order.

        Raises:
            Exception: they have not all arrived; all of them come again.
        """

    def retry(self) -> None:
        """Send what was set aside (`self.spool.progress`); called while all events are delivered.

        Raises:
            Exception: it must be tried again.
        """

    def describe_error(self, error: BaseException) -> str:
        """An error in one line without secrets."""
        return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {first_line(error, blank_secrets)}"

    def result_line(self) -> str:
        """The last line of a run: where the results can be looked at; empty for no line."""
        return ""
