"""`Ledger`: the truth about a sweep. Every change of a trial's state goes through here.

The store is the truth, the study a cache of it, tracking a mirror. A state is written in this order: store, study,
tracking; `reconcile` at every start settles what a driver that died in between has left.
"""

import math
from dataclasses import dataclass, field
from typing import Any

from lightning_modules.config import TrialConfig, flatten, validate_trial
from lightning_modules.datamodule import data_columns
from lightning_modules.outcome import Outcome
from lightning_modules.record import CurvePoint, FitResult, Record, Row, describe, step_points
from lightning_modules.trial_folder import TRIAL
from lightning_modules.yaml_file import parse_yaml, write_yaml
from rrm.errors import UserError
from sweeps.design.groups import FILE_PATHS
from sweeps.driver.early_stopping import build_judge
from sweeps.driver.study import Study, objective_value
from sweeps.planning.same_meaning import refuse_changed_meaning, varied_fields
from sweeps.planning.warm_start import warm_results
from sweeps.spec.space import with_values
from sweeps.spec.sweep import SweepSpec
from sweeps.store.attempts import count_losses, note_losses
from sweeps.store.store import STUDY, Store
from sweeps.tracking.recorder import EventRecorder

CONFIRM = "confirm"  # stage of a record: measured after the search, not told to the sampler


@dataclass
class LiveTrial:
    """A trial that was started and has not ended."""

    config: TrialConfig
    rows: list[Row] = field(default_factory=list)
    stopped: bool = False  # by the scheduler; the trial may not have heard of it yet


class Ledger:
    """Asks, rows and ends of one sweep."""

    def __init__(self, spec: SweepSpec, store: Store, tracker: EventRecorder) -> None:
        self.spec, self.store, self.tracker = spec, store, tracker
        self._files = spec.files_by_digest
        self.live: dict[str, LiveTrial] = {}
        self.problem: Exception | None = None  # what kept a row or an end from being taken
        self.results: dict[str, Record] = {}
        self._resumed: list[TrialConfig] = []  # started by an earlier driver
        self._waiting: list[TrialConfig] = []  # of a measure sweep, not started yet
        self._with_rows: set[str] = set()  # fingerprints with rows that an earlier driver took
        self.planned = spec.design
        self.study: Study | None = None  # of a search, once `reconcile` has opened it
        self.judge = build_judge(spec)
        self._confirmed: dict[str, TrialConfig] | None = None  # the last stage of a search, once it is known

    # -- at the start ---------------------------------------------------------------------------------------------

    def reconcile(self) -> None:
        """Make study and tracking agree with the store, and find what is left to do.

        Raises:
            UserError: the spec gives another meaning to a sweep that has finished trials.
        """
        results = self.store.results()
        refuse_changed_meaning(self.spec, self.store, results)
        warm = warm_results(self.spec)
        identity = self.store.identify()
        if self.spec.search:
            self.study = Study(self.spec, self.store.driver_folder / STUDY, identity, self.store.begun())
            self._claim_study(self.study)
        text = write_yaml(stored_sections(self.spec))
        self.store.write_spec(text)
        self._open_again(results)
        members = self._reconcile_study(results, warm) if self.study else self._reconcile_design(results)
        self.results = {fingerprint: results[fingerprint] for fingerprint in members if fingerprint in results}
        for row in self.store.rows():
            self._with_rows.add(row["fingerprint"])
            self._replay(row["fingerprint"], row["row"])
        self.tracker.sweep(self.spec, text)
        for fingerprint, record in self.results.items():
            config = self.stored_trial(fingerprint)
            self.tracker.end(config, *_split(record))

    def _claim_study(self, study: Study) -> None:
        """Refuse a copy of a store, whose original goes on with the same study."""
        if study.location and self.store.is_copy_of(study.location):
            raise UserError(self.store.location, f"is a copy of {study.location}: give one of them another name: name=NEW")
        study.location = self.store.location

    def _reconcile_design(self, results: dict[str, Record]) -> list[str]:
        begun = self.store.begun()
        for config in self.planned:
            if config.fingerprint not in results:
                (self._resumed if config.fingerprint in begun else self._waiting).append(config)
        members = [config.fingerprint for config in self.planned]
        self.store.write_design(members)
        return members

    def _reconcile_study(self, results: dict[str, Record], warm: dict[str, Record]) -> list[str]:
        assert self.study is not None
        begun = self.store.begun()
        searched = {name: record for name, record in results.items() if record.get("stage") != CONFIRM}
        stored = {name: self.stored_trial(name) for name in sorted(begun - results.keys())}
        unfinished = {name: config for name, config in stored.items() if config.seed == self.spec.base.seed}  # others: last stage
        going_on = self.study.reconcile(searched, unfinished, warm)
        self._resumed += [unfinished[fingerprint] for fingerprint in going_on]
        members = [name for name in self.study.fingerprints() if name in begun]
        return members + [name for name in results if name not in searched]

    def _open_again(self, results: dict[str, Record]) -> None:
        """Trials whose process was lost, that the spec asks for and allows another attempt, are unfinished again."""
        for fingerprint, record in list(results.items()):
            may_retry = record.get("retryable") and record["losses"] <= self.spec.resources.max_retries
            if may_retry and self._asks_for(fingerprint, record):
                note_losses(self.store, fingerprint, record["losses"])
                self.store.remove_result(fingerprint)
                del results[fingerprint]

    def _asks_for(self, fingerprint: str, record: Record) -> bool:
        """Whether a trial is of the design, of the search, or of its last stage."""
        if self.study is None:
            return any(config.fingerprint == fingerprint for config in self.planned)
        return record.get("stage") == CONFIRM or self.study.could_propose(fingerprint, record)

    def stored_trial(self, fingerprint: str) -> TrialConfig:
        """The trial in a folder of the store, which bears its fingerprint; the file follows data that was moved."""
        where = f"{self.store.where(fingerprint)}/{TRIAL}"
        config = validate_trial(parse_yaml(self.store.trial(fingerprint) or "", where) or {})
        if config.fingerprint != fingerprint:
            raise UserError(where, f"was edited: it is the trial {config.fingerprint} now; restore it or remove its folder")
        moved = config.relocated(self._files)
        if moved.resolved() != config.resolved():
            self.store.write_trial(fingerprint, write_yaml(moved.resolved()))
        return moved

    def _replay(self, fingerprint: str, row: Row) -> None:
        """A row that an earlier driver judged: early stopping judges it again, and a stop that was not carried out is."""
        stopped = self.judge is not None and self._is_searched(fingerprint) and self.judge.stops(fingerprint, row)
        config = next((config for config in self._resumed if config.fingerprint == fingerprint), None)
        if config is None:
            return
        trial = self.live.setdefault(fingerprint, LiveTrial(config))
        trial.rows.append(row)
        if stopped:
            self._resumed.remove(config)
            self.end(fingerprint, None)

    # -- while it runs --------------------------------------------------------------------------------------------

    def ask(self) -> TrialConfig | None:
        """The next trial to run: one of an earlier driver, then a new one; None when there is none."""
        if self._resumed:
            config = self._resumed.pop(0)
        elif self._waiting:
            config = self._waiting.pop(0)
        else:
            proposed = (self.study.ask() or self._next_to_confirm()) if self.study else None
            if proposed is None:
                return None
            config = proposed
        is_new = self.store.trial(config.fingerprint) is None
        if is_new and config.fingerprint in self._with_rows:  # its folder was removed
            self.store.restart_rows(config.fingerprint)
        self.tracker.start(config, anew=is_new)  # before the file: a driver that is killed here starts it anew once more
        self.store.write_trial(config.fingerprint, write_yaml(config.resolved()))
        trial = self.live.setdefault(config.fingerprint, LiveTrial(config))
        for row in trial.rows:  # a spool that was lost lacks them
            self.tracker.points(config, step_points(row))
        return config

    def row(self, fingerprint: str, row: Row) -> bool:
        """Take a reported row and judge it; True stops the trial. A resumed trial's repeated rows are dropped."""
        trial = self.live[fingerprint]
        if trial.rows and row["step"] <= trial.rows[-1]["step"]:
            return trial.stopped
        trial.rows.append(row)
        self.store.append_row(fingerprint, row)
        if self.study and self._is_searched(fingerprint):
            value = objective_value(self.study.search, row["metrics"])
            if value is not None:
                self.study.report(fingerprint, row["step"], value)
        self.tracker.points(trial.config, step_points(row))
        if self.judge is not None and self._is_searched(fingerprint) and self.judge.stops(fingerprint, row):
            trial.stopped = True
        return trial.stopped

    def _is_searched(self, fingerprint: str) -> bool:
        """Whether the sampler and the scheduler are told of a trial: those of the last stage are measured only."""
        return self.study is not None and self.study.knows(fingerprint)

    def _next_to_confirm(self) -> TrialConfig | None:
        """When the search itself has ended: its best trials under fresh seeds, one after the other."""
        if self._confirmed is None:
            confirm = self.spec.search.confirm if self.spec.search else None
            if confirm is None or self.live:
                return None
            best = self.spec.search.best([r for r in self.results.values() if r.get("stage") != CONFIRM], confirm.top)  # type: ignore[union-attr]
            again = [
                self.stored_trial(record["fingerprint"]).model_copy(update={"seed": seed})
                for record in best
                for seed in range(1, confirm.seeds + 1)
            ]
            self._confirmed = {config.fingerprint: config for config in again}
        return next((c for name, c in self._confirmed.items() if name not in self.results and name not in self.live), None)

    @property
    def running(self) -> int:
        """Trials that this driver has handed out and that have not ended; not those of an earlier one that are yet to go on."""
        return len(self.live.keys() - {config.fingerprint for config in self._resumed})

    def end(self, fingerprint: str, ending: dict[str, Any] | None) -> None:
        """A trial is over.

        Args:
            ending: the trial's own last word (its record and curves), or None for one that the scheduler stopped.
        """
        trial = self.live.pop(fingerprint)
        if ending is None:
            ending = _pruned(trial)
        record, curves = _split(ending)
        record = self._checked(record) | {"sweep": self.spec.name}
        if self.study and not self._is_searched(fingerprint):
            record["stage"] = CONFIRM
        self.store.write_result(fingerprint, FitResult(record, curves).to_json())
        if self.study and self._is_searched(fingerprint):
            self.study.tell(fingerprint, record)
        self.tracker.end(trial.config, record, curves)
        self.results[fingerprint] = record

    def best(self, count: int) -> list[Record]:
        """The best completed trials on validation: by a search's first objective within its constraints, else by exact accuracy."""
        records = list(self.results.values())
        if self.spec.search:
            return self.spec.search.best(records, count)
        completed = [record for record in records if record["outcome"] == Outcome.COMPLETED]
        # Of equals the smaller model, then the order of fingerprints, so that two runs name the same one.
        return sorted(completed, key=lambda r: (-r["val/exact_accuracy"], r["params"], r["fingerprint"]))[:count]

    def close(self) -> None:
        """The driver ends: trials that it leaves unfinished wait for the next one, and what there is to conclude is told."""
        for trial in self.live.values():
            self.tracker.wait(trial.config)
        self.tracker.conclude(self.finished, [record["fingerprint"] for record in self.best(self.spec.tracking.models)])

    def requeue(self) -> None:
        """Ray gave up as a whole: what was live is asked for again and goes on from its checkpoint."""
        self._resumed += [trial.config for trial in self.live.values() if not trial.stopped]
        for fingerprint in [f for f, trial in self.live.items() if trial.stopped]:
            self.end(fingerprint, None)
        self.live = {c.fingerprint: self.live[c.fingerprint] for c in self._resumed if c.fingerprint in self.live}

    def give_back(self, fingerprint: str) -> None:
        """A trial was handed out in vain: it is asked for again."""
        self._resumed.append(self.live[fingerprint].config)

    def lose(self, fingerprint: str, reason: str, losses: int | None = None) -> None:
        """A trial was lost more often than it is retried; where it could not say how often, once more than it knew."""
        trial = self.live[fingerprint]
        used = trial.rows[-1]["used"] if trial.rows else {}
        killed = self.store.why_killed(fingerprint)
        # Without a reason of its own it is not the trial's fault, and a later run may try again.
        excuse = {"retryable": True, "losses": losses or 1 + count_losses(self.store, fingerprint)}
        lost = {"outcome": Outcome.FAILED, "reason": killed} if killed else {"outcome": Outcome.FAILED, "reason": reason, **excuse}
        points = [point for row in trial.rows for point in step_points(row)]
        self.end(fingerprint, {**describe(trial.config), **used, **lost, "curves": points})

    def _checked(self, record: Record) -> Record:
        """A completed trial without a finite objective has failed; found out before the result is written."""
        needed = [objective.metric for objective in self.spec.search.objectives] if self.spec.search else ["test/nll"]
        if record["outcome"] == Outcome.COMPLETED:
            for metric in needed:
                value = record.get(metric)
                if value is None or not math.isfinite(value):
                    return record | {"outcome": Outcome.FAILED, "reason": f"{metric} is {value}"}
        return record

    @property
    def total(self) -> int:
        """Trials that the spec asks for."""
        return self.spec.total

    @property
    def notes(self) -> list[str]:
        """What a user should know of the search before it goes on."""
        return self.study.notes if self.study else []

    @property
    def shortfall(self) -> str | None:
        """Why a search that is finished has fewer trials than its spec asks for; None where it has all."""
        return self.study.shortfall if self.study else None

    @property
    def finished(self) -> bool:
        """Whether nothing is left to ask and nothing runs."""
        if self.live or self._resumed or self._waiting:
            return False
        return self.study is None or (self.study.is_full and self._next_to_confirm() is None)


def _split(ending: dict[str, Any]) -> tuple[Record, list[CurvePoint]]:
    """The record and the curves of a `result.json` or of a trial's last word."""
    return {key: value for key, value in ending.items() if key != "curves"}, ending["curves"]


def _pruned(trial: LiveTrial) -> dict[str, Any]:
    """The record of a stopped trial: its last validation scores and what it used up to there."""
    last = trial.rows[-1]
    scores = {name.replace("val_curve/", "val/"): value for name, value in last["metrics"].items() if name.startswith("val_curve/")}
    points = [point for row in trial.rows for point in step_points(row)]
    known = {**describe(trial.config), **data_columns(trial.config.task)}
    return {**known, **last["used"], **scores, "outcome": Outcome.PRUNED, "curves": points}


def stored_sections(spec: SweepSpec) -> dict[str, Any]:
    """What `spec.yaml` in the store holds: the spec as it ran, with absolute data paths and their digests."""
    sections = spec.model_dump(mode="json", exclude_none=True, by_alias=True)
    located = flatten(spec.base.resolved())
    fields = {field for path, digests in FILE_PATHS.items() for field in (path, *digests)} - varied_fields(spec)
    return with_values(sections, {f"trial.{field}": located[field] for field in sorted(fields) if field in located})
