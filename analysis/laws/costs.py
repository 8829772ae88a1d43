"""How a cost of trials in FLOPs grows with size and recursion."""

import numpy as np

from analysis.laws.groups import CELL, Group

COSTS = ("inference_flops", "train_flops")
MIN_EXPLAINED = 0.99  # share of the variance of log C that a design explains; with less, C is no function of it
MIN_EXPONENT = 0.1  # least exponent of a setting that costs; with less, nothing can be bought with it
SIZE_COLUMN = 1  # place of -log N in the columns of a law


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
