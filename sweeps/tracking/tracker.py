"""`Tracker`: which events of a sweep MLflow receives. The driver is the only writer, and nothing here makes the sweep wait or fail.

Events go to the spool; a thread delivers them and tries again until they have arrived.
"""

import hashlib
import time
from typing import Any

from lightning_modules.columns import DESCRIBED
from lightning_modules.config import TrialConfig
from lightning_modules.outcome import Outcome
from lightning_modules.record import CurvePoint, FitResult, Record, describe
from lightning_modules.trial_folder import ITEMS
from lightning_modules.yaml_file import write_yaml
from rrm.errors import UserError
from sweeps.design.short_names import LETTERS
from sweeps.spec.sweep import SweepSpec
from sweeps.store.store import Store
from sweeps.tracking.delivery import Delivery
from sweeps.tracking.destination import Destination, find_destination
from sweeps.tracking.provenance import provenance_tags, read_diff
from sweeps.tracking.spool import ENDING_TAGS, Spool

STATUS = {Outcome.COMPLETED: "FINISHED", Outcome.PRUNED: "KILLED", Outcome.FAILED: "FAILED"}
TEXT_COLUMNS = {"fingerprint", "training_fingerprint", "outcome", "reason", "sweep", "matching", "data_fingerprint", "stage",
                "device"}  # tags, not metrics  # fmt: skip
LONGEST_TAG = 5000


class Tracker:
    """Turns the ledger's changes into events. A change that was spooled before is not spooled again."""

    def __init__(self, spec: SweepSpec, spool: Spool, store: Store, destination: Destination | None = None) -> None:
        """Needs the lock of the store, which gets an identity where it has none.

        Args:
            destination: of a sweep that is shown and not run: the store needs no lock and is not written, and no fact of this
                machine is noted.
        """
        self.spool = spool
        self.name_of_sweep, self.kind = spec.name, "search" if spec.search else "measure"
        self.varied = spec.varied_paths
        self.delivery = Delivery(destination or _settle_destination(spec, store, spool), spool, store.file)
        self._tags = {} if destination else provenance_tags()
        self._diff = "" if destination else read_diff()

    def sweep(self, spec: SweepSpec, text: str) -> None:
        """The sweep is being run; `text` is the spec as the store holds it."""
        first = spec.search.objectives[0].model_dump() if spec.search else {"metric": "val/exact_accuracy", "goal": "maximize"}
        self.spool.add_once(
            {
                "kind": "sweep",
                "time": _now(),
                "status": hashlib.sha256(text.encode()).hexdigest(),  # a changed spec is spooled again
                "spec": text,
                "sweep_kind": self.kind,
                "axes": self.varied,
                "objective": first,
                "tags": self._tags,
                "diff": self._diff,
            }
        )
        self._spool_changed_cells()

    def _spool_changed_cells(self) -> None:
        """Spool the cells of trials that began under other axes: all seeds of one setting have the same cell."""
        params: dict[str, dict[str, Any]] = {}
        spooled: dict[str, str] = {}
        for event in self.spool.events():
            if event["kind"] in {"start", "cell"}:
                params.setdefault(event["fingerprint"], event.get("params", {}))
                spooled[event["fingerprint"]] = event["tags"]["cell"]
        for fingerprint, settings in params.items():
            cell = self._cell_of(settings)
            if cell != spooled[fingerprint]:
                self.spool.add_once({"kind": "cell", "fingerprint": fingerprint, "status": cell, "tags": {"cell": cell}})

    def start(self, config: TrialConfig, anew: bool = False) -> None:
        """A trial was handed to Ray, for the first time or again.

        Args:
            anew: it begins at step 0, and what an earlier attempt left holds no more.
        """
        if self.spool.holds_start(config.fingerprint) and not anew:
            self._set_state("RUNNING", config.fingerprint)
            return
        self._add_start(config, describe(config), _now())

    def _add_start(self, config: TrialConfig, described: Record, began: int) -> None:
        params = {**config.flat(), "seed": config.seed}
        self.spool.add_start(
            {
                "kind": "start",
                "fingerprint": config.fingerprint,
                "name": self.name(config),
                "time": began,
                "params": params,
                "metrics": {key: value for key, value in described.items() if key not in params and key not in TEXT_COLUMNS},
                "tags": {
                    **self._tags,
                    "sweep": self.name_of_sweep,
                    "kind": self.kind,
                    "cell": self.cell(config),
                    "matching": config.fit.budget.unit,
                    "training_fingerprint": config.training_fingerprint,
                    "outcome": "running",
                },
                "trial": write_yaml(config.resolved()),
            }
        )

    def points(self, config: TrialConfig, points: list[CurvePoint]) -> None:
        """A trial reported a row."""
        self.spool.add_points(config.fingerprint, [dict(point) for point in points])

    def end(self, config: TrialConfig, record: Record, curves: list[CurvePoint]) -> None:
        """A trial is over; points that were not spooled before are spooled now."""
        if not self.spool.holds_start(config.fingerprint):
            self.start(config)
        self._add_end(config, FitResult(record, curves), describe(config), _now())

    def restore(self, config: TrialConfig, result: FitResult, began: int) -> None:
        """A finished trial of which the spool has no end, from its record: no data file is read.

        Args:
            began: milliseconds since 1970; the last point of its curves gives its end.
        """
        flat = config.flat()
        described = {name: value for name, value in result.record.items() if name in DESCRIBED or name in flat}
        if not self.spool.holds_start(config.fingerprint):
            self._add_start(config, described, began)
        self._add_end(config, result, described, max([began, *(point["time"] for point in result.curves)]))

    def _add_end(self, config: TrialConfig, result: FitResult, described: Record, ended: int) -> None:
        record, curves = result.record, result.curves
        self.points(config, [point for point in curves if point["axis"] == "step"])
        final = [
            {"metric": name, "value": float(value), "at": int(record.get("steps", 0)), "time": ended}
            for name, value in record.items()
            if name not in described and name not in TEXT_COLUMNS
        ]
        self.spool.add_once(
            {
                "kind": "end",
                "fingerprint": config.fingerprint,
                "time": ended,
                "status": STATUS[record["outcome"]],
                "tags": {name: str(record[name])[:LONGEST_TAG] for name in ENDING_TAGS if name in record},
                "dataset": describe_data(config, record),
                "files": [ITEMS] if record["outcome"] == Outcome.COMPLETED else [],
                "points": final + [dict(point) for point in curves if point["axis"] == "depth"],
            }
        )

    def run(self) -> None:
        """Trials are missing, and are being run."""
        self._set_state("RUNNING")

    def wait(self, config: TrialConfig) -> None:
        """A trial was begun and goes on with the next driver."""
        if not self.spool.holds_start(config.fingerprint):  # by another driver, on another machine
            self.start(config)
        self._set_state("SCHEDULED", config.fingerprint)

    def conclude(self, finished: bool, best: list[str]) -> None:
        """The driver ends.

        Args:
            finished: whether the sweep is what its spec asks for.
            best: fingerprints of the trials whose models are logged, the best first; spooled when the sweep is finished.
        """
        self._set_state("FINISHED" if finished else "KILLED")
        self.spool.add_once({"kind": "curves", "status": str(self.spool.num_curve_events)})
        if finished and best:
            attempts = [name if self.spool.attempt(name) == 1 else f"{name}#{self.spool.attempt(name)}" for name in best]
            self.spool.add_once({"kind": "models", "fingerprints": best, "status": " ".join(attempts)})

    def _set_state(self, status: str, fingerprint: str = "") -> None:
        self.spool.add_once({"kind": "state", "fingerprint": fingerprint, "status": status, "time": _now()})

    def name(self, config: TrialConfig) -> str:
        """A run's name: what differs from its siblings, such as `h32 n3 S4 seed1`."""
        return " ".join(filter(None, (self.cell(config), f"seed{config.seed}")))

    def name_of_record(self, record: Record) -> str:
        """The name of an ended trial's run, from its record."""
        return " ".join(filter(None, (self._cell_of(record), f"seed{record['seed']}")))

    def cell(self, config: TrialConfig) -> str:
        """What the seeds of one setting have in common, such as `h32 n3 S4`."""
        return self._cell_of(config.flat())

    def _cell_of(self, flat: dict[str, Any]) -> str:
        parts = [
            f"{LETTERS[path]}{flat[path]}" if path in LETTERS else f"{path.split('.')[-1]}={_short(flat[path])}"
            for path in self.varied
            if path in flat
        ]
        return " ".join(parts)


def _settle_destination(spec: SweepSpec, store: Store, spool: Spool) -> Destination:
    """The destination of a sweep whose store has an identity from now on."""
    if store.identity() is None and store.begun():
        spool.mark_old()
    spool.belong_to(store.identify())
    return find_destination(spec, store, spool.folder)


def describe_data(config: TrialConfig, record: Record) -> dict[str, Any] | None:
    """The data of a trial as an input of its run; None where the trial failed before it saw any, or its files are gone."""
    if "data_fingerprint" not in record:
        return None
    try:
        shape = config.task.shape
    except UserError:  # of ARC's sets, which are read for their number of puzzles
        return None
    task = config.task.identity()
    size = "x".join(str(task[name]) for name in ("size",) if name in task)
    counts = {name: value for name, value in task.items() if name.endswith("_examples")}
    return {
        "name": f"{task['kind']}{size}",
        "digest": record["data_fingerprint"],
        "source": task,  # with `rrm-trial` the same task makes the same rows
        "profile": counts | {"tokens": shape.length, "vocabulary": shape.vocabulary},
    }


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _now() -> int:
    return time.time_ns() // 1_000_000
