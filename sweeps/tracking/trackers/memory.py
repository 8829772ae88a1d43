"""A tracker that keeps everything in memory: for tests, and for sweeps that are analyzed from their store alone."""

from collections.abc import Sequence
from uuid import uuid4

from sweeps.spec.sweep import SweepSpec
from sweeps.store.store import Store
from sweeps.tracking.events import Event, StateChanged, TrialBegun, TrialEnded, points_of
from sweeps.tracking.spool import Spool
from sweeps.tracking.tracker import Tracker


class MemoryTracker(Tracker):
    """Holds each run and each point once; a new one receives the whole spool."""

    kind = "memory"
    takes_models = False

    def __init__(self, spec: SweepSpec, store: Store, spool: Spool) -> None:
        super().__init__(spec, store, spool)
        self._receiver = (uuid4().hex, 0)
        self.standings: dict[str, str] = {}  # state or outcome by fingerprint, "" for the sweep's
        self.points: dict[tuple[str, str, int], float] = {}  # by fingerprint, metric and step or depth

    def connect(self) -> None:
        self.spool.progress.meet(self._receiver)

    def deliver(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, TrialBegun):
                self.points = {key: value for key, value in self.points.items() if key[0] != event.fingerprint}
                self.standings[event.fingerprint] = "running"
            elif isinstance(event, StateChanged):
                self.standings[event.fingerprint] = event.state
            elif isinstance(event, TrialEnded):
                self.standings[event.fingerprint] = event.outcome
            for point in points_of(event):
                self.points[event.fingerprint, point["metric"], point["at"]] = point["value"]
