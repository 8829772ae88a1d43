"""Wider, or more recursion, at a given compute: where the fitted loss is least along a line of equal cost.

    log L = c - a log N - b log R + q (log R)^2        log C = k_0 + k_1 log N + k_2 log R

At equal cost a step in log R costs kappa = k_2 / k_1 steps in log N, so that the loss falls by d = b - kappa a a step in log R,
less what the curvature takes: log R* = d / 2q where q is clear, else an edge of the design. N* is what is left of the budget.
Logs are centred at the design; docs/laws.md, "A budget", describes the recommendation.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.laws.fit import Fit, Reason
from analysis.laws.groups import CELL, Group
from analysis.laws.recurrence import NEEDED, RESPONSE, SIGNIFICANT, Cells, check_fit, curvature_p, linear_fit, read_cells, refuse
from analysis.statistics.regression import Linear, fieller
from sweeps.design.axes import RECURSION

COSTS = ("inference_flops", "train_flops")
EXPLAINED = 0.99  # of the variance of log C, by log N and log R; below it C is no function of them
LEAST_SHARE = 0.1  # of k_1 and k_2: a cost that does not grow with both has no exchange
SHOWN = 40  # points of a curve
EDGE, NO_PREFERENCE, EXTRAPOLATION = "edge", "no_preference", "extrapolation"

Budgets = dict[str, list[float]]  # of each cost in FLOPs


@dataclass(frozen=True)
class Cost:
    """log C = k_0 + k_1 log N + k_2 log R, not centred."""

    constant: float
    size: float
    recursion: float

    @property
    def kappa(self) -> float:
        return self.recursion / self.size

    def log_size(self, budget: float, log_recursion: float | np.ndarray) -> float | np.ndarray:
        """log N that a budget leaves at this log R."""
        return (np.log(budget) - self.constant - self.recursion * log_recursion) / self.size

    def of(self, log_size: float, log_recursion: float) -> float:
        """C in FLOPs."""
        return float(np.exp(self.constant + self.size * log_size + self.recursion * log_recursion))


def fit_compute_optimal(whole: Group, reason: Reason | None = None, budgets: Budgets | None = None) -> list[Fit]:
    """One entry a cost that follows from N and R, and a budget; none where no recurrence law could be fitted.

    Args:
        reason: why the recurrence law of this group is refused, if it is: the recommendation is refused with it.
        budgets: in FLOPs; the middle of the design where absent.
    """
    group = whole.knowing(NEEDED)
    if group is None:
        return []
    cells = read_cells(group, [group.trials[RECURSION].to_numpy(dtype=float)])
    if refuse(group, cells) is not None:
        return []
    fits = []
    for name in COSTS:
        cost = _cost(group, cells, name)
        if cost is not None:
            centre = cost.of(float(np.log(cells.recursed).mean()), float(cells.log_axes.mean()))
            for budget in (budgets or {}).get(name) or [centre]:
                fits.append(_recommend(group, cells, cost, name, budget, reason))
    return fits


def _cost(group: Group, cells: Cells, name: str) -> Cost | None:
    """How a cost grows with N and R; None where it is no function of these."""
    if name not in group.trials or not (group.trials[name] > 0).all():
        return None
    log_cost = np.log(group.trials.groupby(CELL, sort=True)[name].mean().to_numpy(dtype=float))
    if np.ptp(log_cost) == 0:
        return None
    x = np.column_stack([np.ones(len(log_cost)), np.log(cells.recursed), cells.log_axes[:, 0]])
    (constant, size, recursion), *_ = np.linalg.lstsq(x, log_cost, rcond=None)
    residual = log_cost - x @ np.array([constant, size, recursion])
    if 1 - residual.var() / log_cost.var() < EXPLAINED or min(size, recursion) < LEAST_SHARE:
        return None
    return Cost(float(constant), float(size), float(recursion))


def _recommend(group: Group, cells: Cells, cost: Cost, name: str, budget: float, reason: Reason | None) -> Fit:
    facts = group.facts | {"group": group.settings | {"cost": name, "budget_flops": float(f"{budget:.4g}")}}
    fit = Fit("compute_optimal", RESPONSE, **facts)
    if reason is not None:
        fit.reason = reason
        return fit
    curved = curvature_p(cells) < SIGNIFICANT
    line = linear_fit(cells, quadratic=curved)
    fitted = np.array(
        [
            _weights(cells, len(line.coefficients), *place)
            for place in zip(np.log(cells.recursed), cells.log_axes[:, 0], strict=True)
        ]
    )
    check_fit(fit, cells, cells.log_loss - fitted @ line.coefficients, len(line.coefficients))
    if fit.reason is not None:
        return fit
    gain = np.array([0.0, -cost.kappa, 1.0, 0.0][: len(line.coefficients)])
    fit.add("gain_of_recursion_at_equal_cost", line.interval(gain))
    log_r, sizes = cells.log_axes[:, 0], np.log(cells.recursed)
    best = _turning_point(line, gain) if curved and line.coefficients[3] > 0 else None
    middle = float(log_r.mean())
    if best is not None and log_r.min() <= middle + best[0] <= log_r.max():
        log_best = middle + best[0]
        fit.add("best_recursion", tuple(float(np.exp(middle + value)) for value in best))  # type: ignore[arg-type]
        ends = [cost.log_size(budget, middle + value) for value in (best[0], best[2], best[1])]
        fit.add("best_params_recursed", tuple(float(np.exp(value)) for value in ends))  # type: ignore[arg-type]
    else:
        fit.flags.append(EDGE)
        slope = _slope_at_edges(line, gain, log_r - middle)
        log_best = float(log_r.max() if slope > 0 else log_r.min())
        overall = fit.estimates["gain_of_recursion_at_equal_cost"]
        if overall.low < 0 < overall.high and not curved:
            fit.flags.append(NO_PREFERENCE)
    log_size = float(cost.log_size(budget, log_best))
    if not sizes.min() <= log_size <= sizes.max():
        fit.flags.append(EXTRAPOLATION)  # of which a surface of slopes says no loss
    else:
        fit.add("loss", _loss(cells, line, log_size, log_best))
    inside = [cost.of(float(size), log_best) for size in (sizes.min(), sizes.max())]
    fit.fitted_range = {name: inside, RECURSION: [float(np.exp(value)) for value in (log_r.min(), log_r.max())]}
    fit.choice = {
        "recursion": float(np.exp(log_best)),
        "params_recursed": float(np.exp(log_size)),
        "pays_above_exchange_rate": float(2**cost.kappa),
    }
    fit.seen = _slices(cells, line, cost, budget)
    return fit


def _turning_point(line: Linear, gain: np.ndarray) -> tuple[float, float, float] | None:
    """d / 2q with Fieller's interval, relative to the centre of the design."""
    both = np.array([gain, [0.0, 0.0, 0.0, 2.0]])
    pair = Linear(both @ line.coefficients, both @ line.covariance @ both.T, line.freedom)
    return fieller(pair, 0, 1)


def _slope_at_edges(line: Linear, gain: np.ndarray, log_r: np.ndarray) -> float:
    """By how much the loss falls from the lowest to the highest R of the design at equal cost."""
    low, high = float(log_r.min()), float(log_r.max())
    bent = line.coefficients[3] * (high**2 - low**2) if len(line.coefficients) > 3 else 0.0
    return float(gain @ line.coefficients * (high - low) - bent)


def _weights(cells: Cells, count: int, log_size: float, log_recursion: float) -> np.ndarray:
    """Of the coefficients, for the log loss at a point."""
    size, recursion = log_size - np.log(cells.recursed).mean(), log_recursion - cells.log_axes.mean()
    return np.array([1.0, -size, -recursion, recursion**2][:count])


def _loss(cells: Cells, line: Linear, log_size: float, log_recursion: float) -> tuple[float, float, float]:
    estimate, low, high = line.interval(_weights(cells, len(line.coefficients), log_size, log_recursion))
    return float(np.exp(estimate)), float(np.exp(low)), float(np.exp(high))


def _slices(cells: Cells, line: Linear, cost: Cost, budget: float) -> pd.DataFrame:
    """The fitted loss along equal cost, for this budget and for a quarter and four times of it, within the sizes of the design."""
    sizes, log_r = np.log(cells.recursed), cells.log_axes[:, 0]
    rows = []
    for factor in (0.25, 1.0, 4.0):
        for at in np.linspace(log_r.min(), log_r.max(), SHOWN):
            log_size = float(cost.log_size(factor * budget, at))
            if sizes.min() <= log_size <= sizes.max():
                rows.append(
                    (f"{factor * budget:.2g} FLOPs", float(np.exp(at)), float(np.exp(log_size)), *_loss(cells, line, log_size, at))
                )
    return pd.DataFrame(rows, columns=["line", "x", "size", "fitted", "low", "high"])


def figure_name(fit: Fit) -> str:
    """Of the figure of one budget."""
    budget = f"{fit.group['budget_flops']:.3g}".replace("+", "")
    return f"compute_optimal_{fit.group['cost']}_{budget}{fit.suffix}"
