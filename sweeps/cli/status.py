"""How a sweep stands, from its store alone: from any machine that sees it, neither ray nor torch."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from lightning_modules.outcome import Outcome
from lightning_modules.yaml_file import parse_yaml
from sweeps.store.store import Store
from sweeps.tracking.progress import describe_tracking
from sweeps.tracking.spool import SPOOL


@dataclass(frozen=True)
class Status:
    """What the store says."""

    name: str
    asked: int  # trials that the spec asks for
    outcomes: Counter[str]
    driver: str | None  # who runs it now
    begun: dict[str, str] = field(default_factory=dict)  # trials that a worker began and that have no end: where, how far each came
    waiting: list[str] = field(default_factory=list)  # trials that were handed out, which no worker has begun
    failed: dict[str, str] = field(default_factory=dict)  # trials that failed: why
    tracking: list[str] = field(default_factory=list)  # what MLflow lacks

    def lines(self) -> list[str]:
        """For people."""
        counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(self.outcomes.items())) or "none"
        now = f"run by {self.driver}" if self.driver else "nobody runs it"
        lines = [f"{self.name}: {sum(self.outcomes.values())} of {self.asked} trials have ended ({counts}); {now}"]
        verb = "runs" if self.driver else "was begun"
        lines += [f"  {verb}: {fingerprint}, {progress}" for fingerprint, progress in self.begun.items()]
        lines += [f"  waits for room: {fingerprint}" for fingerprint in self.waiting]
        lines += [f"  failed: {fingerprint}: {reason}" for fingerprint, reason in self.failed.items()]
        return lines + [f"  tracking: {line}" for line in self.tracking]


def read_status(store: Store) -> Status:
    """The status of a sweep that was run."""
    spec, results = parse_yaml(store.spec() or "", store.location), store.results()
    open_trials = {name: store.attempts(name) for name in sorted(store.begun() - results.keys())}
    asked = store.design()
    members = {name: result for name, result in results.items() if not asked or name in asked}
    return Status(
        name=spec["name"],
        asked=len(asked) or spec["search"]["num_trials"],
        outcomes=Counter(result["outcome"] for result in members.values()),
        driver=store.holder(),
        begun=_progress(store, {name: tries[-1] for name, tries in open_trials.items() if tries}),
        waiting=[name for name, tries in open_trials.items() if not tries],
        failed={name: result["reason"] for name, result in members.items() if result["outcome"] == Outcome.FAILED},
        tracking=describe_tracking(store.driver_folder / SPOOL),
    )


def _progress(store: Store, attempts: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Where the last attempt at each of these trials was begun, and the last row that it reported."""
    last = {row["fingerprint"]: row["row"] for row in store.rows()}
    found = {}
    for fingerprint, attempt in attempts.items():
        row = last.get(fingerprint)
        scores = {name.removeprefix("val_curve/"): value for name, value in row["metrics"].items()} if row else {}
        accuracy = f", val exact accuracy {scores['exact_accuracy']:.3f}" if "exact_accuracy" in scores else ""
        step = f"step {row['step']}{accuracy}" if row else "no validation yet"
        found[fingerprint] = f"{step}, on {attempt['host']}" if "host" in attempt else step  # a later driver's line has none
    return found
