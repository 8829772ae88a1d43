"""Early stopping: Ray's own ASHA bracket and median rule, fed with the sweep's rows, so that a restart can replay its decisions."""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from ray.tune.schedulers import ASHAScheduler, MedianStoppingRule, TrialScheduler

from lightning_modules.record import Row, used_of, value_of
from sweeps.spec.sweep import SweepSpec


class _Judged(NamedTuple):
    """All that a bracket wants to know of a trial."""

    trial_id: str


class Judge(ABC):
    """Stops trials. A pure function of the sequence of rows."""

    def __init__(self, spec: SweepSpec) -> None:
        assert spec.search is not None
        self.objective = spec.search.objectives[0]
        self.amount, self.unit = spec.base.fit.budget.amount, spec.budget_unit

    def stops(self, fingerprint: str, row: Row) -> bool:
        """Judge a row; the caller feeds every row once, in order."""
        value, used = value_of(row, self.objective.metric), used_of(row, self.unit)
        if value is None:
            return False
        decision = self._judge(_Judged(fingerprint), used, value if self.objective.goal == "maximize" else -value)
        return decision == TrialScheduler.STOP and used < self.amount  # a trial at its budget ends by itself

    @abstractmethod
    def _judge(self, trial: _Judged, used: float, value: float) -> str:
        """What Ray says of a trial that has used so much of the budget; larger values are better."""


class AshaJudge(Judge):
    """ASHA: stops a trial that is not among the best 1 / reduction at a rung."""

    def __init__(self, spec: SweepSpec) -> None:
        super().__init__(spec)
        assert spec.search is not None
        # stop_last_trials=False: with the default, later rows of a trial would fall into lower rungs.
        scheduler = ASHAScheduler(
            time_attr="time",
            metric="value",
            mode="max",
            grace_period=spec.search.scheduler.grace * self.amount,  # type: ignore[arg-type, operator]
            max_t=self.amount,  # type: ignore[arg-type]
            reduction_factor=spec.search.scheduler.reduction,  # type: ignore[arg-type]
            brackets=1,
            stop_last_trials=False,
        )
        self._bracket = scheduler._brackets[0]

    def _judge(self, trial: _Judged, used: float, value: float) -> str:
        if used >= self.amount:
            return TrialScheduler.CONTINUE
        return self._bracket.on_result(trial, used, value)  # type: ignore[arg-type]


class MedianJudge(Judge):
    """Stops a trial whose best value is worse than the median of the other trials' running means at the same share."""

    def __init__(self, spec: SweepSpec) -> None:
        super().__init__(spec)
        assert spec.search is not None
        self._rule = MedianStoppingRule(
            time_attr="time",
            metric="value",
            mode="max",
            grace_period=spec.search.scheduler.grace * self.amount,  # type: ignore[operator]
            min_samples_required=spec.search.scheduler.min_trials,  # type: ignore[arg-type]
        )

    def _judge(self, trial: _Judged, used: float, value: float) -> str:
        if trial in self._rule._stopped_trials:  # it has not heard of it yet
            return TrialScheduler.STOP
        return self._rule.on_trial_result(_NoOthers(), trial, {"time": used, "value": value})  # type: ignore[arg-type]


class _NoOthers:
    """Tune's controller, which the rule asks whether it should pause a trial for others that wait: never."""

    def get_live_trials(self) -> list[Any]:
        return []


def build_judge(spec: SweepSpec) -> Judge | None:
    """Who stops trials of this sweep early; nobody in a measure sweep."""
    kind = spec.search.scheduler.kind if spec.search else "none"
    return {"asha": AshaJudge, "median": MedianJudge}[kind](spec) if kind != "none" else None
