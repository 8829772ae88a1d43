"""The recurrence law in its log-linear form: log L = c - a log N - b log R (+ q (log R)^2).

N: recursed parameters. R: how often each is applied to an example. L: test NLL. Logs are centred at the design.
"""

import numpy as np


def centre(logs: np.ndarray) -> np.ndarray:
    """Logs [cells] or [cells, axes] less their mean over cells."""
    return np.asarray(logs - logs.mean(axis=0))


def law_matrix(log_sizes: np.ndarray, log_recursions: np.ndarray, quadratic: bool = False) -> np.ndarray:
    """Columns of the law, [cells, 2 + axes], whose coefficients are c, a and a b for each axis; behind them q.

    Args:
        log_sizes: [cells], centred.
        log_recursions: [cells, axes], centred; one axis for R, three for T, n + 1 and N_sup.
        quadratic: add the square of the first axis.
    """
    columns = [np.ones(len(log_sizes)), -log_sizes, *(-log_recursions.T)]
    if quadratic:
        columns.append(log_recursions[:, 0] ** 2)
    return np.column_stack(columns)
