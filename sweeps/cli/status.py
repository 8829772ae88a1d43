"""How a sweep stands, from its store alone: from any machine that sees it, neither ray nor torch."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_modules.outcome import Outcome
from lightning_modules.record import value_of
from lightning_modules.yaml_file import parse_yaml, read_yaml
from rrm.errors import UserError
from rrm.files import expand_home
from sweeps.store.store import SPEC, Store
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


def find_store(target: str) -> Store:
    """The store of a sweep that was run, by where it lies (a folder or a URI) or by its spec.

    Raises:
        UserError: there is no such sweep.
    """
    if Path(expand_home(target)).is_file():
        sections = read_yaml(Path(expand_home(target)))
        target = f"{sections.get('storage', 'runs')}/{sections.get('name')}"
    store = Store(target)
    if store.spec() is None:
        folder = Path(store.location)
        inside = sorted(path.parent.name for path in folder.glob(f"*/{SPEC}"))
        sweeps = f"; sweeps in it: {', '.join(inside)}" if inside else ""
        is_absent = "://" not in store.location and not folder.exists()
        reason = "there is no such folder or spec" if is_absent else f"no {SPEC} in it"
        raise UserError(target, f"has never been run ({reason}){sweeps}")
    return store


def read_status(target: str) -> Status:
    """The status of a sweep, by its store (a folder or a URI) or its spec.

    Raises:
        UserError: there is no such sweep.
    """
    store = find_store(target)
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
        score = value_of(row, "val/exact_accuracy") if row else None
        accuracy = f", val exact accuracy {score:.3f}" if score is not None else ""
        step = f"step {row['step']}{accuracy}" if row else "no validation yet"
        found[fingerprint] = f"{step}, on {attempt['host']}" if "host" in attempt else step  # a later driver's line has none
    return found
