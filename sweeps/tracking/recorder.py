"""`EventRecorder`: which events of a sweep a tracker receives. Nothing here makes the sweep wait or fail.

Events go to the spool; the thread of `Delivery` gives them to the tracker and tries again until they have arrived.
"""

import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from lightning_modules.columns import DESCRIBED, TEXTS
from lightning_modules.config import TrialConfig
from lightning_modules.outcome import Outcome
from lightning_modules.record import CurvePoint, FitResult, Record, describe
from lightning_modules.trial_folder import ITEMS, THINKING
from rrm.plugins import faults_of
from sweeps.design.short_names import short_name
from sweeps.spec.sweep import SweepSpec
from sweeps.store.store import Store
from sweeps.tracking.delivery import Delivery
from sweeps.tracking.events import (
    ENDING_TAGS,
    BestChosen,
    CellChanged,
    CurvesReady,
    Objective,
    Point,
    State,
    StateChanged,
    SweepBegun,
    TrialBegun,
    TrialEnded,
)
from sweeps.tracking.provenance import provenance_tags, read_diff
from sweeps.tracking.spool import Spool
from sweeps.tracking.tracker import Tracker
from sweeps.tracking.trackers import find_tracker
from sweeps.tracking.trial_facts import TrialFacts, facts_of

MAX_TAG_CHARACTERS = 5000


class EventRecorder:
    """Turns the ledger's changes into events. A change that was spooled before is not spooled again."""

    def __init__(self, spec: SweepSpec, spool: Spool, store: Store, tracker: Tracker | None = None) -> None:
        """Requires the lock of the store, which gets an identity where it has none.

        Args:
            tracker: receives a sweep that is shown and not run: the store needs no lock and is not written, and no fact of
                this machine is recorded.
        """
        self.spool = spool
        self.name_of_sweep, self.kind = spec.name, "search" if spec.search else "measure"
        self.varied = spec.varied_paths
        self._tags = {} if tracker else provenance_tags()
        self._diff = "" if tracker else read_diff()
        if tracker is None:
            settle_owner(spool, store)
        self.delivery = Delivery(tracker, spool) if tracker else _deliver_to_chosen(spec, store, spool)

    def sweep(self, spec: SweepSpec, text: str) -> None:
        """The sweep is being run; `text` is the spec as the store holds it."""
        objective = Objective(metric="val/exact_accuracy", goal="maximize")
        if spec.search:
            first = spec.search.objectives[0]
            objective = Objective(metric=first.metric, goal=first.goal)
        digest = hashlib.sha256(text.encode()).hexdigest()
        self.spool.add_once(
            SweepBegun(
                time=_now(),
                spec=text,
                digest=digest,
                sweep_kind=self.kind,
                axes=self.varied,
                objective=objective,
                tags=self._tags,
                diff=self._diff,
            )
        )
        self._spool_changed_cells()

    def _spool_changed_cells(self) -> None:
        """Spool the cells of trials that began under other axes: all seeds of one setting have the same cell."""
        params: dict[str, Mapping[str, Any]] = {}
        spooled: dict[str, str] = {}
        for event in self.spool.events():
            if isinstance(event, TrialBegun):
                params[event.fingerprint], spooled[event.fingerprint] = event.params, event.tags["cell"]
            elif isinstance(event, CellChanged):
                spooled[event.fingerprint] = event.cell
        for fingerprint, settings in params.items():
            cell = self._cell_of(settings)
            if cell != spooled[fingerprint]:
                self.spool.add_once(CellChanged(fingerprint=fingerprint, cell=cell))

    def start(self, config: TrialConfig, anew: bool = False) -> None:
        """A trial was handed to Ray, for the first time or again.

        Args:
            anew: it begins at step 0, and results of an earlier attempt are void.
        """
        if self.spool.holds_start(config.fingerprint) and not anew:
            self._set_state(State.RUNNING, config.fingerprint)
            return
        self._add_start(facts_of(config), describe(config), _now())

    def _add_start(self, trial: TrialFacts, described: Record, began: int) -> None:
        self.spool.add_start(
            TrialBegun(
                fingerprint=trial.fingerprint,
                name=self.name_of_record(trial.params),
                time=began,
                params=trial.params,
                metrics={key: value for key, value in described.items() if key not in trial.params and key not in TEXTS},
                tags={
                    **self._tags,
                    "sweep": self.name_of_sweep,
                    "kind": self.kind,
                    "cell": self._cell_of(trial.params),
                    "matching": trial.matching,
                    "training_fingerprint": trial.training_fingerprint,
                    "outcome": "running",
                },
                trial=trial.text,
            )
        )

    def points(self, config: TrialConfig, points: Sequence[CurvePoint]) -> None:
        """A trial reported a row."""
        self.spool.add_points(config.fingerprint, points)

    def end(self, config: TrialConfig, record: Record, curves: list[CurvePoint]) -> None:
        """A trial is over; points that were not spooled before are spooled now."""
        if not self.spool.holds_start(config.fingerprint):
            self.start(config)
        self._add_end(facts_of(config), FitResult(record, curves), describe(config), _now())

    def restore(self, trial: TrialFacts, result: FitResult, began: int) -> None:
        """Spool a finished trial, whose end the spool lacks, from its record; reads no data file.

        Args:
            began: milliseconds since 1970; the last point of its curves gives its end.
        """
        described = {name: value for name, value in result.record.items() if name in DESCRIBED or name in trial.params}
        if not self.spool.holds_start(trial.fingerprint):
            self._add_start(trial, described, began)
        self._add_end(trial, result, described, max([began, *(point["time"] for point in result.curves)]))

    def _add_end(self, trial: TrialFacts, result: FitResult, described: Record, ended: int) -> None:
        record, curves = result.record, result.curves
        self.spool.add_points(trial.fingerprint, [point for point in curves if point["axis"] == "step"])
        at = int(record.get("steps", 0))
        scores: list[Point] = [
            Point(metric=name, value=float(value), at=at, time=ended)
            for name, value in record.items()
            if name not in described and name not in TEXTS
        ]
        outcome = Outcome(record["outcome"])
        self.spool.add_once(
            TrialEnded(
                fingerprint=trial.fingerprint,
                time=ended,
                outcome=outcome,
                tags={name: str(record[name])[:MAX_TAG_CHARACTERS] for name in ENDING_TAGS if name in record},
                dataset=trial.describe_data(record),
                files=[ITEMS, THINKING] if outcome == Outcome.COMPLETED else [],
                points=[*scores, *(point for point in curves if point["axis"] == "depth")],
            )
        )

    def run(self) -> None:
        """Trials are missing, and are being run."""
        self._set_state(State.RUNNING)

    def wait(self, config: TrialConfig) -> None:
        """A trial was begun and goes on with the next driver."""
        if not self.spool.holds_start(config.fingerprint):  # another driver began it, on another machine
            self.start(config)
        self._set_state(State.WAITING, config.fingerprint)

    def conclude(self, finished: bool, best: list[str]) -> None:
        """The driver ends.

        Args:
            finished: whether the sweep is what its spec asks for.
            best: fingerprints of the trials whose models are logged, the best first; spooled when the sweep is finished.
        """
        self._set_state(State.FINISHED if finished else State.STOPPED)
        self.spool.add_once(CurvesReady(num_events=self.spool.num_curve_events))
        if finished and best:
            self.spool.add_once(BestChosen(fingerprints=best, attempts=[self.spool.attempt(name) for name in best]))

    def _set_state(self, state: State, fingerprint: str = "") -> None:
        self.spool.add_once(StateChanged(fingerprint=fingerprint, state=state, time=_now()))

    def name(self, config: TrialConfig) -> str:
        """A run's name: what differs from its siblings, such as `width=32 n=3 N_sup=4 seed1`."""
        return self.name_of_record(config.flat() | {"seed": config.seed})

    def name_of_record(self, record: Record) -> str:
        """The name of an ended trial's run, from its record."""
        return " ".join(filter(None, (self._cell_of(record), f"seed{record['seed']}")))

    def _cell_of(self, flat: Mapping[str, Any]) -> str:
        """The name of a cell, which all seeds of one setting share, such as `width=32 n=3 N_sup=4`."""
        return " ".join(f"{short_name(path)}={_short(flat[path])}" for path in self.varied if path in flat)


def settle_owner(spool: Spool, store: Store) -> None:
    """Give the store an identity, and the spool to that store."""
    if store.identity() is None and store.begun():
        spool.mark_old()
    spool.belong_to(store.identify())


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _deliver_to_chosen(spec: SweepSpec, store: Store, spool: Spool) -> Delivery:
    """The delivery to the tracker that a spec chooses.

    Raises:
        UserError: the tracker of a plug-in cannot be made.
    """
    kind = spec.tracking.kind
    with faults_of(spec.registry.plugins.get(("tracker", kind)), f"tracker {kind}"):
        return Delivery(find_tracker(spec)(spec, store, spool), spool)


def _now() -> int:
    return time.time_ns() // 1_000_000
