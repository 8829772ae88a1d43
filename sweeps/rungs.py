"""ASHA's rungs: Ray's own bracket, fed with the sweep's rows, so that a restart can replay its decisions."""

from typing import NamedTuple

from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from lightning_modules.record import Row
from sweeps.spec import SweepSpec


class _Judged(NamedTuple):
    """All that a bracket wants to know of a trial."""

    trial_id: str


class Rungs:
    """Stops a trial that is not among the best 1 / reduction at a rung. A pure function of the sequence of rows."""

    def __init__(self, spec: SweepSpec) -> None:
        assert spec.search is not None
        self.objective = spec.search.objectives[0]
        self.metric = self.objective.metric.replace("val/", "val_curve/")
        self.amount, self.unit = spec.base.fit.budget.amount, spec.budget_unit
        # stop_last_trials=False: with the default, later rows of a trial would fall into lower rungs.
        scheduler = ASHAScheduler(
            time_attr="time",
            metric="value",
            mode="max",
            grace_period=spec.search.scheduler.grace * self.amount,  # type: ignore[arg-type]
            max_t=self.amount,  # type: ignore[arg-type]
            reduction_factor=spec.search.scheduler.reduction,
            brackets=1,
            stop_last_trials=False,
        )
        self._bracket = scheduler._brackets[0]

    def stops(self, fingerprint: str, row: Row) -> bool:
        """Judge a row; the caller feeds every row once, in order."""
        value = row["metrics"].get(self.metric)
        used = row["used"]["train_seconds" if self.unit == "seconds" else self.unit]
        if value is None or used >= self.amount:  # a trial at its budget ends by itself
            return False
        signed = value if self.objective.goal == "maximize" else -value
        return self._bracket.on_result(_Judged(fingerprint), used, signed) == TrialScheduler.STOP  # type: ignore[arg-type]
