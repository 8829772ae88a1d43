"""Parameters tied together: one is solved for, so that a cost comes out as asked (iso-parameter and iso-FLOP designs)."""

from collections.abc import Callable
from typing import Literal

from pydantic import Field

from lightning_modules.config import TrialConfig
from rrm.config import StrictConfig
from rrm.errors import UserError
from sweeps.spec.constraints import known_costs

MAX_COUNT = 1 << 20  # largest solved value, in grains


class Tie(StrictConfig):
    """Choose the value of `solve` so that `so_that` equals `equals`, within a share of it."""

    solve: str
    """Dotted path of the field that is solved for: a whole number with which the cost grows, such as `model.hidden_size`."""
    so_that: Literal["params", "params_recursed", "inference_flops", "layers_executed", "train_flops"]
    """Cost that is to be equal in all trials."""
    equals: float = Field(gt=0)
    """Value of the cost."""
    within: float = Field(0.1, gt=0, lt=1)
    """Largest deviation from that value, as a share of it."""


def solve_tie(tie: Tie, build: Callable[[int], TrialConfig], grain: int, where: str) -> int:
    """The value whose cost is nearest to that of the tie.

    Args:
        build: the trial with a value of the field that is solved for.
        grain: the value is a multiple of it; a width is a multiple of the head size.
        where: path of the tie in the spec.

    Raises:
        UserError: no value is near enough, or the field cannot be solved for.
    """

    def cost(count: int) -> float:
        costs = known_costs(build(count * grain))
        if tie.so_that not in costs:
            raise UserError(f"{where}.so_that", f"{tie.so_that} is not known before training with this budget: tie another cost")
        return costs[tie.so_that]

    low, high = _bracket(cost, tie.equals)
    if cost(low) == cost(high):
        raise UserError(f"{where}.solve", f"{tie.so_that} does not grow with {tie.solve}: solve for another field")
    best = min((low, high), key=lambda count: abs(cost(count) - tie.equals))
    reached = cost(best)
    if abs(reached - tie.equals) > tie.within * tie.equals:
        raise UserError(
            where,
            f"no value of {tie.solve} gives {tie.so_that} = {tie.equals:g} within {tie.within:.0%}; "
            f"the nearest is {best * grain} with {reached:g}",
        )
    return best * grain


def _bracket(cost: Callable[[int], float], target: float) -> tuple[int, int]:
    """Two neighbouring counts around the point where a growing cost reaches the target; the largest two where it does not."""
    low, high = 1, 2
    while cost(high) < target and high < MAX_COUNT:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost(middle) < target else (low, middle)
    return low, high
