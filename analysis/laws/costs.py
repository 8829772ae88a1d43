"""How a cost of trials in FLOPs grows with size and recursion."""

from dataclasses import dataclass

import numpy as np

from analysis.laws.cells import Cells
from analysis.laws.groups import CELL, Group

ANSWER_COST = "inference_flops"
COSTS = (ANSWER_COST, "train_flops")
MIN_EXPLAINED = 0.99  # share of the variance of log C that a design explains; with less, C is no function of it
MIN_EXPONENT = 0.1  # least exponent of a setting that costs; with less, nothing can be bought with it
SIZE_COLUMN = 1  # place of -log N in the columns of a law


@dataclass(frozen=True)
class Cost:
    """log C = k_0 + k_1 log N + k_2 log R, not centred."""

    name: str
    constant: float
    size: float
    recursion: float

    @property
    def kappa(self) -> float:
        return self.recursion / self.size

    @property
    def break_even_rate(self) -> float:
        """The worth of a doubling of R, in recursed parameters, above which recursion pays at this cost."""
        return float(2**self.kappa)

    def log_size(self, budget: float, log_recursion: float) -> float:
        """log N that a budget in FLOPs leaves at this log R."""
        return float((np.log(budget) - self.constant - self.recursion * log_recursion) / self.size)

    def flops(self, log_size: float, log_recursion: float) -> float:
        return float(np.exp(self.constant + self.size * log_size + self.recursion * log_recursion))


def cost_exponents(group: Group, name: str, columns: np.ndarray) -> np.ndarray | None:
    """Exponents of a cost, one for each column of a law that is linear in logs; the sign is that of a column -log x.

    Args:
        name: column of trials, FLOPs.
        columns: [cells, K], the first is constant and the second -log N.

    Returns:
        [K], or None where the table does not have the cost, or where it does not follow from the columns or not from size.
    """
    if name not in group.trials or not (group.trials[name] > 0).all():
        return None
    log_cost = np.log(group.trials.groupby(CELL, sort=True)[name].mean().to_numpy(dtype=float))
    if np.ptp(log_cost) == 0:
        return None
    exponents = np.linalg.lstsq(columns, log_cost, rcond=None)[0]
    unexplained = log_cost - columns @ exponents
    if 1 - unexplained.var() / log_cost.var() < MIN_EXPLAINED or -exponents[SIZE_COLUMN] < MIN_EXPONENT:
        return None
    return np.asarray(exponents)


def read_cost(group: Group, cells: Cells, name: str) -> Cost | None:
    """How a cost of the trials of `cells` grows with N and R; None where it is no function of these."""
    columns = np.column_stack([np.ones(len(cells.names)), -np.log(cells.recursed), -cells.log_recursion])
    exponents = cost_exponents(group, name, columns)
    if exponents is None or -exponents[2] < MIN_EXPONENT:
        return None
    return Cost(name, float(exponents[0]), -float(exponents[1]), -float(exponents[2]))
