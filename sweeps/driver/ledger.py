"""`Ledger`: the state of a sweep while its driver runs. Every change of a trial's state goes through here.

The store is the truth, the study a cache of it, tracking a mirror. A state is written in this order: store, study,
tracking. `reconcile` makes a ledger, and repeats what a driver that died in between has not written.
"""

import logging
import math
from dataclasses import dataclass, field
from typing import Any

from lightning_modules.config import TrialConfig, dump_plugins, flatten
from lightning_modules.datamodule import data_columns
from lightning_modules.outcome import Outcome
from lightning_modules.record import CurvePoint, FitResult, Record, Row, describe, scores_of, step_points
from lightning_modules.trial_folder import WEIGHTS
from lightning_modules.yaml_file import write_yaml
from sweeps.design.groups import FILE_FACTS, FILE_PATHS
from sweeps.driver.queues import Members, Queue
from sweeps.planning.donors import Donors
from sweeps.planning.same_meaning import varied_fields
from sweeps.spec.best import best_trials
from sweeps.spec.space import with_values
from sweeps.spec.sweep import SweepSpec
from sweeps.store.attempts import count_losses
from sweeps.store.store import Store
from sweeps.tracking.recorder import EventRecorder
from sweeps.worker.messages import Completed, Failed, Lost, Pruned, TrialEnding

log = logging.getLogger("sweeps.driver")


@dataclass
class LiveTrial:
    """A trial that has begun and not ended."""

    config: TrialConfig
    rows: list[Row] = field(default_factory=list)
    donor: str | None = None  # fingerprint of the completed trial from whose weights it is scored; None where it is trained
    stopped: bool = False  # the scheduler stopped it; its worker may still run


class Ledger:
    """Hands out trials, and takes their rows and endings."""

    def __init__(
        self, spec: SweepSpec, store: Store, tracker: EventRecorder, queue: Queue, members: Members, donors: Donors
    ) -> None:
        """
        Args:
            queue: reconciled with the store.
            members: what `queue.reconcile` returned.
        """
        self.spec, self.store, self.tracker, self.queue, self.donors = spec, store, tracker, queue, donors
        self.live: dict[str, LiveTrial] = {}
        self.problem: Exception | None = None  # raised while a row or an ending was taken
        self.results: dict[str, Record] = dict(members.finished)
        self._resumed: list[TrialConfig] = list(members.unfinished)
        self._earlier_rows: dict[str, list[Row]] = {}  # rows of unfinished trials that an earlier driver took

    def replay(self, fingerprint: str, row: Row) -> None:
        """Judge a row that an earlier driver took, and carry out a stop that it did not carry out."""
        stopped = self.queue.stops(fingerprint, row)
        if fingerprint in self.results:
            return
        rows = self._earlier_rows.setdefault(fingerprint, [])
        rows.append(row)
        config = next((config for config in self._resumed if config.fingerprint == fingerprint), None)
        if config is None:
            return
        self.live.setdefault(fingerprint, LiveTrial(config, rows))
        if stopped:
            self._resumed.remove(config)
            self.end(fingerprint, Pruned())

    def ask(self) -> TrialConfig | None:
        """The next trial to run: one that an earlier driver began, else a new one; None where there is none now."""
        config = self._resumed.pop(0) if self._resumed else self.queue.next()
        if config is None:
            return None
        fingerprint = config.fingerprint
        is_new = self.store.trial(fingerprint) is None
        if is_new and self._earlier_rows.pop(fingerprint, []):  # the folder of the trial was removed
            self.store.restart_rows(fingerprint)
        self.tracker.start(config, anew=is_new)  # before the file: a driver that is killed here starts it anew once more
        self.store.write_trial(fingerprint, write_yaml(config.resolved()))
        trial = self.live.setdefault(fingerprint, LiveTrial(config, self._earlier_rows.get(fingerprint, [])))
        for row in trial.rows:  # a spool that was lost lacks them
            self.tracker.points(config, step_points(row))
        trial.donor = None if trial.rows else self._find_donor(config)  # a trial that has begun to train goes on
        return config

    def _find_donor(self, config: TrialConfig) -> str | None:
        """The completed trial from whose weights a trial is scored; None where the trial is trained."""
        donor = self.donors.find(config)
        if donor is None:
            return None
        if not donor.has_weights:
            log.warning("trial %s is trained: %s/%s is missing", config.fingerprint, self.store.where(donor.fingerprint), WEIGHTS)
            return None
        log.info("trial %s is scored from the weights of trial %s", config.fingerprint, donor.fingerprint)
        return donor.fingerprint

    def row(self, fingerprint: str, row: Row) -> bool:
        """Take a reported row and judge it; True stops the trial. A row that a resumed trial repeats is dropped."""
        trial = self.live[fingerprint]
        if trial.rows and row["step"] <= trial.rows[-1]["step"]:
            return trial.stopped
        trial.rows.append(row)
        self.store.append_row(fingerprint, row)
        self.queue.report(fingerprint, row)
        self.tracker.points(trial.config, step_points(row))
        if self.queue.stops(fingerprint, row):
            log.info("early stop: trial %s at step %d", fingerprint, row["step"])
            trial.stopped = True
        return trial.stopped

    def end(self, fingerprint: str, ending: TrialEnding) -> None:
        """A trial is over: write its result, then end it in the study and in tracking."""
        record, curves = self._conclude(self.live[fingerprint], ending)
        trial = self.live.pop(fingerprint)
        record["sweep"] = self.spec.name
        if stage := self.queue.stage(fingerprint):
            record["stage"] = stage
        self.store.write_result(fingerprint, FitResult(record, curves).to_json())
        self.queue.end(fingerprint, record)
        self.tracker.end(trial.config, record, curves)
        self.results[fingerprint] = record
        if record["outcome"] == Outcome.COMPLETED:
            self.donors.add(trial.config)
        if record["outcome"] == Outcome.FAILED:
            log.warning("trial %s %s: %s", fingerprint, "lost" if record.get("retryable") else "failed", record["reason"])

    def _conclude(self, trial: LiveTrial, ending: TrialEnding) -> tuple[Record, list[CurvePoint]]:
        """The record and the curves of a trial that is over."""
        points = [point for row in trial.rows for point in step_points(row)]
        match ending:
            case Completed():
                return ending.record | _missing_objective(ending.record, self.queue.objectives), ending.curves
            case Failed():
                return dict(ending.record), ending.curves
            case Pruned():
                return _pruned(trial), points
            case Lost():
                used = trial.rows[-1]["used"] if trial.rows else {}
                return {**describe(trial.config), **used, **self._explain_loss(trial.config.fingerprint, ending)}, points

    def _explain_loss(self, fingerprint: str, ending: Lost) -> Record:
        """The outcome of a lost trial. A watchdog's reason is final; without one a later run may retry the trial."""
        killed = self.store.why_killed(fingerprint)
        if killed is not None:
            return {"outcome": Outcome.FAILED, "reason": killed}
        losses = 1 + count_losses(self.store, fingerprint) if ending.losses is None else ending.losses
        return {"outcome": Outcome.FAILED, "reason": ending.reason, "retryable": True, "losses": losses}

    def give_back(self, fingerprint: str) -> None:
        """A trial did not begin on the node that it was offered to: it is handed out again."""
        self._resumed.append(self.live[fingerprint].config)

    def requeue(self) -> None:
        """Ray gave up as a whole: the trials that ran are handed out again and continue from their checkpoints."""
        log.warning("Ray gave up as a whole: %d trials are handed out again", len(self.live))
        self._resumed += [trial.config for trial in self.live.values() if not trial.stopped]
        for fingerprint in [name for name, trial in self.live.items() if trial.stopped]:
            self.end(fingerprint, Pruned())
        self.live = {c.fingerprint: self.live[c.fingerprint] for c in self._resumed if c.fingerprint in self.live}

    def close(self) -> None:
        """The driver ends: unfinished trials wait for the next one, and tracking gets the state of the sweep."""
        for trial in self.live.values():
            self.tracker.wait(trial.config)
        self.tracker.conclude(self.finished, self._best_with_weights())

    def best(self, count: int) -> list[Record]:
        """The best completed trials on validation, the best first."""
        return best_trials(self.spec, list(self.results.values()), count)

    def _best_with_weights(self) -> list[str]:
        """The trials whose models are logged, the best first; imported ones came without weights."""
        imported = self.store.imported()
        records = [record for name, record in self.results.items() if name not in imported]
        return [record["fingerprint"] for record in best_trials(self.spec, records, self.spec.tracking.num_models)]

    @property
    def running(self) -> int:
        """Trials that this driver handed out and that have not ended; a trial to be handed out again is not among them."""
        return len(self.live.keys() - {config.fingerprint for config in self._resumed})

    @property
    def finished(self) -> bool:
        """Whether no trial runs and none is left to run."""
        return not self.live and not self._resumed and self.queue.is_used_up


def _missing_objective(record: Record, objectives: list[str]) -> Record:
    """The outcome of a completed trial that lacks a finite objective: it has failed."""
    for metric in objectives:
        value = record.get(metric)
        if value is None or not math.isfinite(value):
            return {"outcome": Outcome.FAILED, "reason": f"{metric} is {value}"}
    return {}


def _pruned(trial: LiveTrial) -> Record:
    """The record of a stopped trial: its last validation scores and what it used up to that row."""
    last = trial.rows[-1]
    described = {**describe(trial.config), **data_columns(trial.config.task)}
    return {**described, **last["used"], **scores_of(last), "outcome": Outcome.PRUNED}


def stored_sections(spec: SweepSpec) -> dict[str, Any]:
    """What `spec.yaml` in the store holds: the spec as it ran, with absolute data paths and their digests."""
    sections = spec.model_dump(mode="json", exclude_none=True, by_alias=True)
    if spec.every_plugin:
        sections["plugins"] = dump_plugins(spec.every_plugin)
    located = flatten(spec.base.resolved())
    fields = {field for path, digests in FILE_PATHS.items() if digests & located.keys() for field in (path, *digests)}
    fields = (fields | FILE_FACTS) - varied_fields(spec)
    return with_values(sections, {f"trial.{field}": located[field] for field in sorted(fields) if field in located})
