"""How a sweep stands, from its store alone: from any machine that sees it, neither ray nor torch."""

import fcntl
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_modules.yaml_file import read_yaml
from rrm.errors import UserError
from sweeps.store import Store


@dataclass(frozen=True)
class Status:
    """What the store says."""

    name: str
    asked: int  # trials that the spec asks for
    outcomes: Counter[str]
    driver: str | None  # who runs it now
    begun: dict[str, str] = field(default_factory=dict)  # trials without an end: how far each came
    failed: dict[str, str] = field(default_factory=dict)  # trials that failed: why

    def lines(self) -> list[str]:
        """For people."""
        counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(self.outcomes.items())) or "none"
        now = f"run by {self.driver}" if self.driver else "nobody runs it"
        lines = [f"{self.name}: {sum(self.outcomes.values())} of {self.asked} trials have ended ({counts}); {now}"]
        verb = "runs" if self.driver else "was begun"
        lines += [f"  {verb}: {fingerprint}, {progress}" for fingerprint, progress in self.begun.items()]
        return lines + [f"  failed: {fingerprint}: {reason}" for fingerprint, reason in self.failed.items()]


def read_status(target: Path) -> Status:
    """The status of a sweep, by its store or its spec.

    Raises:
        UserError: there is no such sweep.
    """
    if target.is_file():
        sections = read_yaml(target)
        target = Path(sections.get("storage", "runs")) / str(sections.get("name"))
    store = Store(target)
    if not store.spec_file.exists():
        raise UserError("has never been run (no spec.yaml in it)", str(target))
    spec, results = read_yaml(store.spec_file), store.results()
    asked = store.design()
    members = {name: result for name, result in results.items() if not asked or name in asked}
    return Status(
        name=spec["name"],
        asked=len(asked) or spec["search"]["num_trials"],
        outcomes=Counter(result["outcome"] for result in members.values()),
        driver=_driver(store),
        begun=_begun(store, results),
        failed={name: result["reason"] for name, result in members.items() if result["outcome"] == "failed"},
    )


def _driver(store: Store) -> str | None:
    """Who holds the lock of a sweep."""
    with store.lock_file.open("r") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return file.read().strip() or "another driver"
    return None


def _begun(store: Store, results: dict[str, Any]) -> dict[str, str]:
    """Trials that have a folder and no result, with the last row that each reported."""
    last = {row["fingerprint"]: row["row"] for row in store.rows()}
    found = {}
    for folder in sorted((store.path / "trials").iterdir()):
        if folder.name not in results:
            row = last.get(folder.name)
            scores = {name.removeprefix("val_curve/"): value for name, value in row["metrics"].items()} if row else {}
            accuracy = f", val exact accuracy {scores['exact_accuracy']:.3f}" if "exact_accuracy" in scores else ""
            found[folder.name] = f"step {row['step']}{accuracy}" if row else "no row yet"
    return found
