"""The ranking of the trials of a sweep: a search by its objectives and constraints, a measure sweep by accuracy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from sweeps.spec.constraints import Constraint, parse_constraint
from sweeps.spec.search import VALIDATION_METRICS


@dataclass(frozen=True)
class Goal:
    """A column of a record, and its direction."""

    metric: str
    is_maximized: bool

    def __str__(self) -> str:
        return f"{'largest' if self.is_maximized else 'smallest'} {self.metric}"


@dataclass(frozen=True)
class Objective:
    """Goals, the first one first, and the constraints that a trial must keep."""

    goals: tuple[Goal, ...]
    constraints: tuple[Constraint, ...] = ()

    def feasible(self, trials: pd.DataFrame) -> pd.DataFrame:
        """The trials that keep every constraint and have a value of every goal."""
        has_values = trials.reindex(columns=[goal.metric for goal in self.goals]).notna().all(axis=1)
        is_kept = [all(limit.violation({limit.metric: row.get(limit.metric)}) <= 0 for limit in self.constraints)
                   for _, row in trials.iterrows()]  # fmt: skip
        return trials[has_values & pd.Series(is_kept, index=trials.index, dtype=bool)]

    def best(self, trials: pd.DataFrame, goal: Goal) -> pd.Series | None:
        """The feasible trial that reaches a goal best, the smaller model among equals; None where no trial is feasible."""
        order = [name for name in (goal.metric, "params", "fingerprint") if name in trials]
        ranked = self.feasible(trials).sort_values(order, ascending=[not goal.is_maximized] + [True] * (len(order) - 1))
        return None if ranked.empty else ranked.iloc[0]


BY_ACCURACY = Objective((Goal("val/exact_accuracy", is_maximized=True),))


def read_objective(spec: Mapping[str, Any]) -> Objective | None:
    """The objective in the sections of a stored spec; None for a search that does not state it.

    Raises:
        ValueError: a constraint cannot be read.
    """
    if "search" not in spec:
        return BY_ACCURACY
    goals = tuple(Goal(part["metric"], part["goal"] == "maximize") for part in spec["search"].get("objectives", []))
    limits = tuple(parse_constraint(text, VALIDATION_METRICS) for text in spec["search"].get("constraints", []))
    return Objective(goals, limits) if goals else None
