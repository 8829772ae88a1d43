"""Constraints of a search, such as `inference_flops <= 2e9`: a metric, a bound, and the violation of a trial."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lightning_modules.config import TrialConfig
from lightning_modules.record import describe, train_flops
from rrm.errors import suggest

# Columns of a record that follow from the config.
COSTS = (
    "params",
    "params_once",
    "params_recursed",
    "layers_per_step",
    "layers_executed",
    "inference_flops",
    "recursion",
    "train_flops",
)
# Columns that are known when a trial has ended.
MEASURED = (
    "steps", "fresh_examples", "mean_supervision_steps", "train_seconds", "wall_seconds", "examples_per_second",
    "peak_memory_bytes", "chosen_depth",
)  # fmt: skip
_FORM = re.compile(r"^\s*([\w/.]+)\s*(<=|>=)\s*([-+\d.eE]+)\s*$")


@dataclass(frozen=True)
class Constraint:
    """`metric <= bound`, or `metric >= bound`."""

    text: str
    metric: str
    at_most: bool
    bound: float

    def violation(self, values: dict[str, Any]) -> float:
        """Distance of a trial beyond the bound as a share of the bound; 0 or less within it, infinite without a value."""
        value = values.get(self.metric)
        if value is None:
            return float("inf")
        beyond = float(value) - self.bound if self.at_most else self.bound - float(value)
        return beyond / abs(self.bound) if self.bound else beyond


def parse_constraint(text: str, validation_metrics: Sequence[str]) -> Constraint:
    """Read a constraint.

    Raises:
        ValueError: the text does not have the form `metric <= number`, or the metric is unknown.
    """
    match = _FORM.match(text)
    if not match:
        raise ValueError(f"constraints must have the form 'inference_flops <= 2e9' (or >=), got {text!r}")
    metric, sense, number = match.groups()
    known = (*COSTS, *MEASURED, *validation_metrics)
    if metric not in known:
        problem = f"constraints must name a recorded metric other than test/..., got {metric!r}"
        raise ValueError(f"{problem}; {suggest(metric, known)}")
    try:
        bound = float(number)
    except ValueError:
        raise ValueError(f"constraints must end in a number, got {number!r} in {text!r}") from None
    if not math.isfinite(bound):
        raise ValueError(f"constraints must end in a finite number, got {text!r}")
    if metric.endswith("_accuracy") and not 0 <= bound <= 1:
        raise ValueError(f"constraints on {metric} must lie between 0 and 1, got {number}")
    return Constraint(" ".join(text.split()), metric, sense == "<=", bound)


def find_conflict(constraints: Sequence[Constraint]) -> str | None:
    """The reason why these constraints exclude each other or one has no effect; None where all are fine."""
    for constraint in constraints:
        rivals = [other for other in constraints if other.metric == constraint.metric and other is not constraint]
        if any(other.at_most == constraint.at_most for other in rivals):
            return f"constraints bound {constraint.metric} twice from the same side: remove one"
        if constraint.at_most and any(other.bound > constraint.bound for other in rivals):
            return f"constraints on {constraint.metric} exclude each other: {constraint.text}, {rivals[0].text}"
    return None


def known_costs(config: TrialConfig) -> dict[str, float]:
    """Costs of a trial before it runs; without `train_flops` where they depend on the course of training."""
    costs = {name: value for name, value in describe(config).items() if name in COSTS}
    unit = config.fit.budget.unit
    if unit == "train_flops" or (unit == "steps" and config.fit.curriculum is None):
        costs["train_flops"] = train_flops(config)
    return costs
