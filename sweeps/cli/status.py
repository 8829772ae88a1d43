"""The progress of a sweep, from its store, on any machine that can read it; loads neither ray nor torch."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from lightning_modules.columns import CONFIRM
from lightning_modules.outcome import Outcome
from lightning_modules.record import Record, value_of
from rrm.errors import UserError
from sweeps.planning.space_size import count_missing_trials, describe_shortfall
from sweeps.spec.best import best_trials, describe_score
from sweeps.spec.load_spec import parse_stored_spec
from sweeps.spec.sweep import SweepSpec
from sweeps.store.store import SPEC, AttemptLine, Store
from sweeps.tracking.progress import describe_tracking
from sweeps.tracking.spool import SPOOL

Results = Mapping[str, Record]  # by fingerprint


@dataclass(frozen=True)
class Status:
    """Counts and trials in the store of a sweep."""

    name: str
    asked: int  # trials that the spec asks for, the confirm stage of a search included
    outcomes: Counter[str]
    driver: str | None  # the process that runs the sweep now
    scored: int = 0  # completed trials that were scored from the weights of another one and not trained
    stages: str = ""  # ended and asked trials of each stage, for a search with a confirm stage
    best: str = ""  # fingerprint, score and size of the best trial
    score: str = ""  # the best trial and its score
    shortfall: str = ""  # why a search that has ended has fewer trials than its spec asks for
    begun: dict[str, str] = field(default_factory=dict)  # progress and host of begun trials that have not ended, by fingerprint
    queued: list[str] = field(default_factory=list)  # trials that the driver handed out and that no worker has begun
    failed: dict[str, str] = field(default_factory=dict)  # reasons of failed trials, by fingerprint
    tracking: list[str] = field(default_factory=list)  # lines about events that the tracker lacks

    @property
    def state(self) -> str:
        """`running`, `finished` or `stopped`."""
        if self.driver:
            return "running"
        return "finished" if self.outcomes.total() >= self.asked or self.shortfall else "stopped"

    def lines(self) -> list[str]:
        """The status in lines of text."""
        counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(self.outcomes.items())) or "none"
        driver = f"{self.driver} runs the sweep" if self.driver else "no driver runs the sweep"
        counts += f"; {self.scored} scored from the weights of other trials" if self.scored else ""
        ended = f"{self.outcomes.total()} of {self.asked} trials have ended ({counts}{self.stages})"
        lines = [f"{self.name}: {ended}; {driver}"]
        lines += [f"  best: {self.best}"] if self.best else []
        state = "running" if self.driver else "interrupted"
        lines += [f"  {state}: {fingerprint}, {progress}" for fingerprint, progress in self.begun.items()]
        lines += [f"  queued: {fingerprint}" for fingerprint in self.queued]
        lines += [f"  failed: {fingerprint}: {reason}" for fingerprint, reason in self.failed.items()]
        lines += [f"  complete: {self.shortfall}"] if self.shortfall else []
        return lines + [f"  tracking: {line}" for line in self.tracking]


def read_status(store: Store) -> Status:
    """The status of a sweep that was run.

    Raises:
        UserError: its spec is damaged, or a later version wrote it.
    """
    spec = parse_stored_spec(store.spec() or "", f"{store.location}/{SPEC}", {}, imports_plugins=False)
    results = store.results()
    design, driver = store.design(), store.holder()
    open_trials = {name: store.attempts(name) for name in sorted(store.begun() - results.keys()) if not design or name in design}
    members = {name: result for name, result in results.items() if not design or name in design}
    best = next(iter(best_trials(spec, members.values(), 1)), None)
    score = "" if best is None else describe_score(spec, best)
    return Status(
        name=spec.name,
        asked=len(design) or spec.total,
        outcomes=Counter(result["outcome"] for result in members.values()),
        driver=driver,
        scored=sum("scored_from" in result for result in members.values()),
        stages=_describe_stages(spec, members),
        best="" if best is None else f"{best['fingerprint']}, {score}, params {best['params']:,}",
        score=score,
        shortfall="" if driver or open_trials else _find_shortfall(spec, members),
        begun=_progress(store, {name: attempts[-1] for name, attempts in open_trials.items() if attempts}),
        queued=[name for name, attempts in open_trials.items() if not attempts],
        failed={name: result["reason"] for name, result in members.items() if result["outcome"] == Outcome.FAILED},
        tracking=describe_tracking(store.driver_folder / SPOOL),
    )


def _searched(results: Results) -> Collection[str]:
    """Fingerprints of the trials of a search without those of its confirm stage."""
    return [name for name, result in results.items() if result.get("stage") != CONFIRM]


def _describe_stages(spec: SweepSpec, results: Results) -> str:
    """`; search 3 of 3, confirm 0 of 4`; empty for a sweep without a confirm stage."""
    if spec.search is None or spec.search.confirm is None:
        return ""
    searched, asked = len(_searched(results)), spec.search.num_trials
    return f"; search {searched} of {asked}, {CONFIRM} {len(results) - searched} of {spec.total - asked}"


def _find_shortfall(spec: SweepSpec, results: Results) -> str:
    """Why a search has tried all that its space holds, and has fewer trials than it asks for; empty where it has not."""
    if spec.search is None or spec.plugins or len(_searched(results)) >= spec.search.num_trials:
        return ""  # the points of a space with kinds of plug-ins are not counted here, because no plug-in is imported
    try:
        missing = count_missing_trials(spec)
    except UserError:  # a data file is missing
        return ""
    is_complete = missing and len(_searched(results)) >= spec.search.num_trials - missing
    return describe_shortfall(spec, missing) if is_complete else ""


def _progress(store: Store, attempts: Mapping[str, AttemptLine]) -> dict[str, str]:
    """Last reported row and host of trials, by fingerprint."""
    rows = {row["fingerprint"]: row["row"] for row in store.rows()}
    progress = {}
    for fingerprint, attempt in attempts.items():
        row = rows.get(fingerprint)
        accuracy = value_of(row, "val/exact_accuracy") if row else None
        score = "" if accuracy is None else f", val exact accuracy {accuracy:.3f}"
        step = f"step {row['step']}{score}" if row else "no validation yet"
        progress[fingerprint] = f"{step}, on {attempt['host']}" if "host" in attempt else step  # a line by the driver has no host
    return progress
