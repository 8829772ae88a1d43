"""Parameters tied together: one is solved for, so that a cost comes out as asked (iso-parameter and iso-FLOP designs)."""

from collections.abc import Callable
from typing import Literal

from pydantic import Field

from lightning_modules.config import TrialConfig
from rrm.config import StrictConfig
from rrm.errors import UserError
from sweeps.spec.constraints import known_costs

LARGEST = 1 << 20  # of a solved value, in grains


class Tie(StrictConfig):
    """Choose the value of `solve` so that `so_that` equals `equals`, within a share of it."""

    solve: str  # an integer field that makes the cost grow, such as model.hidden_size
    so_that: Literal["params", "params_recursed", "inference_flops", "layers_executed", "train_flops"]
    equals: float = Field(gt=0)
    within: float = Field(0.1, gt=0, lt=1)


def solve_tie(tie: Tie, build: Callable[[int], TrialConfig], grain: int, where: str) -> int:
    """The value that comes nearest.

    Args:
        tie: what to solve.
        build: the trial with a value in the place of what is solved for.
        grain: steps in which the value goes; a width is a multiple of the head size.
        where: path of the tie in the spec.

    Raises:
        UserError: no value comes near enough, or the field cannot be solved for.
    """

    def cost(count: int) -> float:
        costs = known_costs(build(count * grain))
        if tie.so_that not in costs:
            raise UserError(f"{where}.so_that", f"{tie.so_that} is not known before training with this budget: tie another cost")
        return costs[tie.so_that]

    low, high = 1, 2
    while cost(high) < tie.equals and high < LARGEST:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost(middle) < tie.equals else (low, middle)
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
