"""`Tracker`: what MLflow is told of a sweep. The driver is the only writer, and nothing here makes the sweep wait or fail.

Events go to the spool; a thread delivers them and tries again until they have arrived.
"""

import os
import threading
import time
from pathlib import Path
from typing import Any

from lightning_modules.config import TrialConfig
from lightning_modules.record import CurvePoint, Record, describe
from lightning_modules.yaml_file import write_yaml
from sweeps.lineage import lineage_tags, read_diff
from sweeps.spec import SweepSpec
from sweeps.spool import BATCH_EVENTS, Spool
from sweeps.store import local_root

STATUS = {"completed": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
SHORT_NAMES = {
    "model.hidden_size": "h",
    "model.num_layers": "L",
    "model.h_cycles": "T",
    "model.l_cycles": "n",
    "model.supervision_steps": "S",
}
TEXT_COLUMNS = {"fingerprint", "outcome", "reason", "sweep", "matching", "data_fingerprint", "stage"}  # tags, not metrics
LONGEST_TAG = 5000
LONGEST_PROBLEM = 160
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.2, 5.0
GATHERING_SECONDS = 1.0  # between deliveries: what concerns one run is cheaper together


def tracking_uri(storage: Path) -> str:
    """Where runs are tracked: MLFLOW_TRACKING_URI, or a SQLite file beside the sweeps."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{storage.resolve() / 'mlflow.db'}"


def artifact_root(storage: Path) -> Path | None:
    """Where artifacts of the local default go; a server has its own place."""
    return None if os.environ.get("MLFLOW_TRACKING_URI") else storage.resolve() / "mlartifacts"


class Tracker:
    """Turns the ledger's changes into events. A change that was told before is not told again."""

    def __init__(self, spec: SweepSpec, spool: Spool) -> None:
        self.spool = spool
        self.varied = spec.varied_paths
        self.delivery = Delivery(spool, spec)
        self._tags = lineage_tags()

    def sweep(self, spec: SweepSpec) -> None:
        """The sweep is being run."""
        text = write_yaml(spec.model_dump(mode="json", exclude_none=True, by_alias=True))
        kind = "search" if spec.search else "measure"
        event = {"kind": "sweep", "time": _now(), "spec": text, "sweep_kind": kind, "tags": self._tags, "diff": read_diff()}
        self.spool.add_once(event)

    def start(self, config: TrialConfig) -> None:
        """A trial was handed to Ray."""
        params = {**config.flat(), "seed": config.seed}
        costs = {key: value for key, value in describe(config).items() if key not in params and key not in TEXT_COLUMNS}
        self.spool.add_once(
            {
                "kind": "start",
                "fingerprint": config.fingerprint,
                "name": self.name(config),
                "time": _now(),
                "params": params,
                "metrics": costs,
                "tags": {**self._tags, "matching": config.fit.budget.unit, "outcome": "running"},
                "trial": write_yaml(config.resolved()),
            }
        )

    def points(self, config: TrialConfig, points: list[CurvePoint]) -> None:
        """A trial reported a row."""
        self.spool.add_points(config.fingerprint, [dict(point) for point in points])

    def end(self, config: TrialConfig, record: Record, curves: list[CurvePoint]) -> None:
        """A trial is over; points that were not told before are told now."""
        if not self.spool.holds("start", config.fingerprint):
            self.start(config)
        self.points(config, [point for point in curves if point["axis"] == "step"])
        known = describe(config)
        now = _now()
        final = [
            {"metric": name, "value": float(value), "at": int(record.get("steps", 0)), "time": now}
            for name, value in record.items()
            if name not in known and name not in TEXT_COLUMNS
        ]
        tags = {
            name: str(record[name])[:LONGEST_TAG] for name in ("outcome", "reason", "data_fingerprint", "stage") if name in record
        }
        self.spool.add_once(
            {
                "kind": "end",
                "fingerprint": config.fingerprint,
                "time": now,
                "status": STATUS[record["outcome"]],
                "tags": tags,
                "points": final + [dict(point) for point in curves if point["axis"] == "depth"],
            }
        )

    def done(self) -> None:
        """The sweep is what its spec asks for."""
        self.spool.add_once({"kind": "done", "time": _now()})

    def name(self, config: TrialConfig) -> str:
        """A run's name: what differs from its siblings, such as `h32 n3 S4 seed1`."""
        flat = config.flat()
        parts = [
            f"{SHORT_NAMES[path]}{flat[path]}" if path in SHORT_NAMES else f"{path.split('.')[-1]}={_short(flat[path])}"
            for path in self.varied
            if path in flat
        ]
        return " ".join([*parts, f"seed{config.seed}"])


class Delivery:
    """The thread between spool and server."""

    def __init__(self, spool: Spool, spec: SweepSpec) -> None:
        self.spool = spool
        self.sweep, self.storage = spec.name, local_root(spec.storage)
        self.problem: str | None = None  # why the last try failed
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout_seconds: float) -> bool:
        """Wait until everything has arrived, at most so long; True if it has. What is left goes out with the next run."""
        self._closing.set()
        self._thread.join(timeout_seconds)
        return self.spool.is_empty

    def _run(self) -> None:
        writer, wait = None, FIRST_WAIT_SECONDS
        while not (self._closing.is_set() and self.spool.is_empty):
            events, position = self.spool.pending()
            if not events:
                time.sleep(FIRST_WAIT_SECONDS)
                continue
            try:
                from sweeps.mlflow_door import MlflowWriter, Poison  # mlflow takes seconds to import

                writer = writer or MlflowWriter(tracking_uri(self.storage), artifact_root(self.storage), self.sweep)
                try:
                    writer.deliver(events)
                except Poison:
                    self._deliver_singly(writer, events)
                self.spool.advance(position)
                self.problem, wait = None, FIRST_WAIT_SECONDS
                if len(events) < BATCH_EVENTS:
                    self._closing.wait(GATHERING_SECONDS)
            except Exception as error:  # whatever a server or its way can do must not reach the sweep
                self.problem = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:LONGEST_PROBLEM]
                time.sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT_SECONDS)

    def _deliver_singly(self, writer: Any, events: list[dict[str, Any]]) -> None:
        """Find the events that the server refuses for good and set them aside."""
        from sweeps.mlflow_door import Poison

        for event in events:
            try:
                writer.deliver([event])
            except Poison as poison:
                self.spool.bury([event], str(poison))


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _now() -> int:
    return time.time_ns() // 1_000_000
