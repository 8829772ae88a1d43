"""Early stopping: Ray's own ASHA bracket and median rule, fed with the sweep's rows, so that a restart can replay its decisions.

`AshaJudge` uses `_brackets` of Ray's scheduler, and `MedianJudge` its `_stopped_trials`: Ray has no public way to feed them.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

from ray.tune.schedulers import ASHAScheduler, MedianStoppingRule, TrialScheduler

from lightning_modules.config import Budget
from lightning_modules.record import Row
from sweeps.spec.search import Search


def objective_value(search: Search, metrics: Mapping[str, float]) -> float | None:
    """The first objective in the metrics of a row; None where training does not measure it."""
    return metrics.get(search.objectives[0].metric.replace("val/", "val_curve/"))


class _Judged(NamedTuple):
    """Ray's rules read this of a trial and nothing else."""

    trial_id: str


class Judge(ABC):
    """Decides which trials stop early: a pure function of the sequence of rows."""

    def __init__(self, search: Search, budget: Budget) -> None:
        self.search, self.budget = search, budget
        self.sign = 1 if search.objectives[0].goal == "maximize" else -1

    def stops(self, fingerprint: str, row: Row) -> bool:
        """Judge a row; the caller passes every row once, in order."""
        value = objective_value(self.search, row["metrics"])
        used = row["used"]["train_seconds" if self.budget.unit == "seconds" else self.budget.unit]
        if value is None:
            return False
        decision = self._judge(_Judged(fingerprint), used, self.sign * value)
        return decision == TrialScheduler.STOP and used < self.budget.amount  # a trial at its budget ends by itself

    @abstractmethod
    def _judge(self, trial: _Judged, used: float, value: float) -> str:
        """Ray's decision on a trial that has used this much of its budget; larger values are better."""


class AshaJudge(Judge):
    """ASHA: stops a trial that is not among the best 1 / reduction at a rung."""

    def __init__(self, search: Search, budget: Budget) -> None:
        super().__init__(search, budget)
        # stop_last_trials=False: with the default, later rows of a trial would fall into lower rungs.
        scheduler = ASHAScheduler(
            time_attr="time",
            metric="value",
            mode="max",
            grace_period=_filled(search.scheduler.grace) * budget.amount,  # type: ignore[arg-type]  # declared as int
            max_t=budget.amount,  # type: ignore[arg-type]  # declared as int
            reduction_factor=_filled(search.scheduler.reduction),
            brackets=1,
            stop_last_trials=False,
        )
        self._bracket = scheduler._brackets[0]

    def _judge(self, trial: _Judged, used: float, value: float) -> str:
        if used >= self.budget.amount:
            return TrialScheduler.CONTINUE
        return self._bracket.on_result(trial, used, value)  # type: ignore[arg-type]


class MedianJudge(Judge):
    """Stops a trial whose best value is worse than the median of the other trials' running means at the same share."""

    def __init__(self, search: Search, budget: Budget) -> None:
        super().__init__(search, budget)
        self._rule = MedianStoppingRule(
            time_attr="time",
            metric="value",
            mode="max",
            grace_period=_filled(search.scheduler.grace) * budget.amount,
            min_samples_required=int(_filled(search.scheduler.min_trials)),
        )

    def _judge(self, trial: _Judged, used: float, value: float) -> str:
        if trial in self._rule._stopped_trials:  # its worker has not stopped yet
            return TrialScheduler.STOP
        return self._rule.on_trial_result(_NoOthers(), trial, {"time": used, "value": value})  # type: ignore[arg-type]


def _filled(value: float | None) -> float:
    """A setting for which `Scheduler` has a default of its kind."""
    assert value is not None
    return value


class _NoOthers:
    """Takes the place of Tune's controller: no trial waits in favor of which the rule could pause another."""

    def get_live_trials(self) -> list[Any]:
        return []


def build_judge(search: Search, budget: Budget) -> Judge | None:
    """The judge of a search; None where no trial stops early."""
    kind = search.scheduler.kind
    return {"asha": AshaJudge, "median": MedianJudge}[kind](search, budget) if kind != "none" else None
