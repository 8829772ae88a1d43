"""`Tracker`: what MLflow is told of a sweep. The driver is the only writer, and nothing here makes the sweep wait or fail.

Events go to the spool; a thread delivers them and tries again until they have arrived.
"""

import hashlib
import os
import threading
import time
from pathlib import Path
from typing import Any

from lightning_modules.config import TrialConfig
from lightning_modules.record import CurvePoint, Record, describe
from lightning_modules.trial_folder import ITEMS
from lightning_modules.yaml_file import write_yaml
from sweeps.design.short_names import LETTERS
from sweeps.spec.sweep import SweepSpec
from sweeps.store.store import Store, local_root, tracking_uri
from sweeps.tracking.provenance import provenance_tags, read_diff
from sweeps.tracking.secrets import blank_secrets
from sweeps.tracking.spool import BATCH_EVENTS, Spool

STATUS = {"completed": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
TEXT_COLUMNS = {"fingerprint", "outcome", "reason", "sweep", "matching", "data_fingerprint", "stage", "device"}  # tags, not metrics
ENDING_TAGS = ("outcome", "reason", "data_fingerprint", "stage", "device")
LONGEST_TAG = 5000
LONGEST_PROBLEM = 160
LONGEST_DELIVERY_SECONDS = 600.0  # at the end of a sweep; a large model takes minutes to export
UNREACHABLE_SECONDS = 6.0  # at the end of a sweep, of a server that does not answer
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.2, 5.0
GATHERING_SECONDS = 1.0  # between deliveries: what concerns one run is cheaper together


def artifact_root(storage: Path) -> Path | None:
    """Where artifacts of the local default go; a server has its own place."""
    return None if os.environ.get("MLFLOW_TRACKING_URI") else storage.resolve() / "mlartifacts"


class Tracker:
    """Turns the ledger's changes into events. A change that was told before is not told again."""

    def __init__(self, spec: SweepSpec, spool: Spool, store: Store) -> None:
        self.spool = spool
        self.name_of_sweep, self.kind = spec.name, "search" if spec.search else "measure"
        self.varied = spec.varied_paths
        self.delivery = Delivery(spec, Sources(spool, store))
        self._tags = provenance_tags()

    def sweep(self, spec: SweepSpec) -> None:
        """The sweep is being run."""
        text = write_yaml(spec.model_dump(mode="json", exclude_none=True, by_alias=True))
        first = spec.search.objectives[0].model_dump() if spec.search else {"metric": "val/exact_accuracy", "goal": "maximize"}
        self.spool.add_once(
            {
                "kind": "sweep",
                "time": _now(),
                "status": hashlib.sha256(text.encode()).hexdigest(),  # a changed spec is told anew
                "spec": text,
                "sweep_kind": self.kind,
                "axes": self.varied,
                "objective": first,
                "tags": self._tags,
                "diff": read_diff(),
            }
        )
        self._tell_cells_again()

    def _tell_cells_again(self) -> None:
        """The cells of trials that began under other axes: seeds of one setting have one cell whenever they began."""
        params: dict[str, dict[str, Any]] = {}
        told: dict[str, str] = {}
        for event in self.spool.events():
            if event["kind"] in {"start", "cell"}:
                params.setdefault(event["fingerprint"], event.get("params", {}))
                told[event["fingerprint"]] = event["tags"]["cell"]
        for fingerprint, settings in params.items():
            cell = self._cell_of(settings)
            if cell != told[fingerprint]:
                self.spool.add_once({"kind": "cell", "fingerprint": fingerprint, "status": cell, "tags": {"cell": cell}})

    def start(self, config: TrialConfig) -> None:
        """A trial was handed to Ray, for the first time or again."""
        if self.spool.holds("start", config.fingerprint):
            self._set_state("RUNNING", config.fingerprint)
            return
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
                "tags": {
                    **self._tags,
                    "sweep": self.name_of_sweep,
                    "kind": self.kind,
                    "cell": self.cell(config),
                    "matching": config.fit.budget.unit,
                    "outcome": "running",
                },
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
        self.spool.add_once(
            {
                "kind": "end",
                "fingerprint": config.fingerprint,
                "time": now,
                "status": STATUS[record["outcome"]],
                "tags": {name: str(record[name])[:LONGEST_TAG] for name in ENDING_TAGS if name in record},
                "dataset": describe_data(config, record),
                "files": [ITEMS] if record["outcome"] == "completed" else [],
                "points": final + [dict(point) for point in curves if point["axis"] == "depth"],
            }
        )

    def run(self) -> None:
        """Trials are missing, and are being run."""
        self._set_state("RUNNING")

    def wait(self, config: TrialConfig) -> None:
        """A trial was begun and goes on with the next driver."""
        if not self.spool.holds("start", config.fingerprint):  # by another driver, on another machine
            self.start(config)
        self._set_state("SCHEDULED", config.fingerprint)

    def conclude(self, finished: bool, best: list[str]) -> None:
        """The driver ends.

        Args:
            finished: whether the sweep is what its spec asks for.
            best: fingerprints of the trials whose models are logged, the best first; told when the sweep is finished.
        """
        self._set_state("FINISHED" if finished else "KILLED")
        self.spool.add_once({"kind": "curves", "status": str(self.spool.told)})
        if finished and best:
            self.spool.add_once({"kind": "models", "fingerprints": best, "status": " ".join(best)})

    def _set_state(self, status: str, fingerprint: str = "") -> None:
        self.spool.add_once({"kind": "state", "fingerprint": fingerprint, "status": status, "time": _now()})

    def name(self, config: TrialConfig) -> str:
        """A run's name: what differs from its siblings, such as `h32 n3 S4 seed1`."""
        return " ".join(filter(None, (self.cell(config), f"seed{config.seed}")))

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


def describe_data(config: TrialConfig, record: Record) -> dict[str, Any] | None:
    """The data of a trial as an input of its run; None where the trial failed before it saw any."""
    if "data_fingerprint" not in record:
        return None
    task = config.task.identity()
    size = "x".join(str(task[name]) for name in ("size",) if name in task)
    counts = {name: value for name, value in task.items() if name.endswith("_examples")}
    return {
        "name": f"{task['kind']}{size}",
        "digest": record["data_fingerprint"],
        "source": task,  # with `rrm-trial` the same task makes the same rows
        "profile": counts | {"tokens": config.task.shape.length, "vocabulary": config.task.shape.vocabulary},
    }


class Sources:
    """Where the writer finds what an event only names."""

    def __init__(self, spool: Spool, store: Store) -> None:
        self.spool, self.file, self.events = spool, store.file, spool.events


class Delivery:
    """The thread between spool and server."""

    def __init__(self, spec: SweepSpec, sources: Sources) -> None:
        self.spool, self.sources = sources.spool, sources
        self.sweep, storage = spec.name, local_root(spec.storage)
        self.uri, self.artifact_root = tracking_uri(storage), artifact_root(storage)
        self.problem: str | None = None  # why the last try failed
        self._failing_since = 0.0
        self._closing, self._given_up = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)

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
        deadline = time.monotonic() + LONGEST_DELIVERY_SECONDS
        while self._thread.is_alive() and time.monotonic() < deadline:
            if self.problem is not None and time.monotonic() - self._failing_since > UNREACHABLE_SECONDS:
                break
            self._thread.join(FIRST_WAIT_SECONDS)
        self._given_up.set()  # the next driver in this process has a thread of its own
        self._thread.join(UNREACHABLE_SECONDS)
        return self.spool.is_empty

    def _run(self) -> None:
        writer, wait = None, FIRST_WAIT_SECONDS
        while not self._given_up.is_set() and not (self._closing.is_set() and self.spool.is_empty):
            events, position = self.spool.pending()
            if not events:
                time.sleep(FIRST_WAIT_SECONDS)
                continue
            try:
                from sweeps.tracking.mlflow.writer import MlflowWriter, Poison  # mlflow takes seconds to import

                writer = writer or MlflowWriter(self.uri, self.artifact_root, self.sweep, self.sources)
                try:
                    writer.deliver(events)
                except Poison:
                    self._deliver_singly(writer, events)
                self.spool.advance(position)
                self.problem, wait = None, FIRST_WAIT_SECONDS
                if len(events) < BATCH_EVENTS:
                    self._closing.wait(GATHERING_SECONDS)
            except Exception as error:  # whatever a server or its way can do must not reach the sweep
                self._failing_since = self._failing_since if self.problem else time.monotonic()
                why = blank_secrets(str(error).splitlines()[0] if str(error) else "")
                self.problem = f"{type(error).__name__}: {why}"[:LONGEST_PROBLEM]
                self._given_up.wait(wait)
                wait = min(2 * wait, LONGEST_WAIT_SECONDS)

    def _deliver_singly(self, writer: Any, events: list[dict[str, Any]]) -> None:
        """Find the events that the server refuses for good and set them aside."""
        from sweeps.tracking.mlflow.writer import Poison

        for event in events:
            try:
                writer.deliver([event])
            except Poison as poison:
                self.spool.bury([event], blank_secrets(str(poison)))


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _now() -> int:
    return time.time_ns() // 1_000_000
