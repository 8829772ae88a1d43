"""The iso-FLOP law: at each training compute the width with the least loss, and how it grows with compute.

    log L = m_C + q (log N - log N*(C))^2      log N*(C) = mu + s (log C - mean)

One curvature for all levels of compute; s is the exponent of the optimal size. The optimal recursion is the share of compute
that is left: with C ~ N R at equal examples, its exponent is 1 - s.
"""

import numpy as np
import pandas as pd

from analysis.laws.fit import Fit
from analysis.laws.groups import Group
from analysis.statistics.regression import aic, fit_curve, half_widths, lack_of_fit, r_squared, root_mean_square
from sweeps.design.axes import SIZE

LOSS, COMPUTE = "test/nll", "train_flops"
SAME_COMPUTE = 0.15  # largest relative distance of costs that count as one level
FEWEST_LEVELS, FEWEST_SIZES = 3, 4


def fit_iso_flop(group: Group) -> list[Fit]:
    """One entry a group whose trials lie on levels of equal training FLOPs; none where they do not."""
    if not {LOSS, COMPUTE, SIZE} <= set(group.trials):
        return []
    table = group.trials.dropna(subset=[LOSS, COMPUTE, SIZE]).copy()
    table["level"] = _levels(table[COMPUTE].to_numpy(dtype=float))
    sizes = table.groupby("level")[SIZE].nunique()
    if (sizes >= 2).sum() < 2:
        return []
    fit = Fit("iso_flop", LOSS, **group.facts)
    used = table[table["level"].isin(sizes[sizes >= FEWEST_SIZES].index)]
    fit.fitted_range = {name: [float(table[name].min()), float(table[name].max())] for name in (COMPUTE, SIZE)}
    if used["level"].nunique() < FEWEST_LEVELS:
        fit.reason = "too_few_scales"
    elif used.groupby(["level", SIZE]).size().median() < 2:
        fit.reason = "too_few_seeds"
    else:
        _estimate(fit, used)
    return [fit]


def _levels(costs: np.ndarray) -> np.ndarray:
    """The level of each cost: neighbours closer than `SAME_COMPUTE` share one."""
    order = np.argsort(costs)
    levels = np.zeros(len(costs), dtype=int)
    level, first = 0, costs[order[0]]
    for index in order:
        if costs[index] > first * (1 + SAME_COMPUTE):
            level, first = level + 1, costs[index]
        levels[index] = level
    return levels


def _estimate(fit: Fit, table: pd.DataFrame) -> None:
    y, size = np.log(table[LOSS].to_numpy(dtype=float)), np.log(table[SIZE].to_numpy(dtype=float))
    codes, names = pd.factorize(table["level"], sort=True)
    compute = np.log(table.groupby("level")[COMPUTE].mean().to_numpy())[codes]
    centre, middle = compute.mean(), size.mean()
    count = len(names)

    def residuals(p: np.ndarray) -> np.ndarray:
        mu, s, q, levels = p[0], p[1], p[2], p[3:]
        return y - levels[codes] - q * (size - middle - mu - s * (compute - centre)) ** 2

    optima = []
    for code in range(count):
        at = codes == code
        quadratic = np.polyfit(size[at] - middle, y[at], 2)
        optima.append(-quadratic[1] / (2 * quadratic[0]) if quadratic[0] > 0 else np.nan)
        if not np.isfinite(optima[-1]) or not (size[at] - middle).min() < optima[-1] < (size[at] - middle).max():
            fit.reason = "no_interior_optimum"
            return
    levels = np.array([y[codes == code].min() for code in range(count)])
    slope = float(np.polyfit(np.unique(compute) - centre, optima, 1)[0])
    start = np.array([float(np.mean(optima)), slope, 0.1, *levels])
    bounds = (np.array([-20.0, -10.0, 1e-6, *[-np.inf] * count]), np.array([20.0, 10.0, 100.0, *[np.inf] * count]))
    curve = fit_curve(residuals, [start], bounds, len(y))
    exponent, optimum = curve.profile(1, 0.05), curve.profile(0, 0.05)
    fit.add("optimal_params_exponent", exponent)
    if exponent is not None:
        fit.add("optimal_recursion_exponent", (1 - exponent[0], 1 - exponent[2], 1 - exponent[1]))
    if optimum is not None:
        fit.add("optimal_params_at_mean_compute", tuple(float(np.exp(middle + value)) for value in optimum))  # type: ignore[arg-type]
    fitted = y - residuals(curve.parameters)
    fit.r_squared = r_squared(y - fitted, y)
    fit.aic = aic(curve.squares, len(y), len(start))
    still = fit_curve(lambda p: residuals(np.insert(p, 1, 0.0)), [np.delete(start, 1)], _without(bounds, 1), len(y))
    fit.aic_simpler = {"same_optimum": aic(still.squares, len(y), len(start) - 1)}
    places = np.round(codes * 1e6 + size, 6)  # of equal compute and size
    fit.lack_of_fit = lack_of_fit(y - fitted, places, len(start))
    if fit.lack_of_fit and fit.lack_of_fit["flagged"]:
        fit.flags.append("lack_of_fit")
    errors = []
    for place in np.unique(places):
        left = places == place
        seen = fit_curve(lambda p, kept=~left: residuals(p)[kept], [curve.parameters], bounds, int((~left).sum()))  # type: ignore[misc]
        errors.append(float(residuals(seen.parameters)[left].mean()))
    fit.leave_one_scale_out_error = root_mean_square(errors)
    names_of = [f"{value:.1e} FLOPs" for value in np.exp(compute)]
    rows = {
        "line": names_of,
        "x": np.exp(size),
        "measured": np.exp(y),
        "fitted": np.exp(fitted),
        "residual": y - fitted,
        "half": half_widths(y, places),
    }
    fit.seen = pd.DataFrame(rows).iloc[np.argsort(compute, kind="stable")]


def _without(bounds: tuple[np.ndarray, np.ndarray], index: int) -> tuple[np.ndarray, np.ndarray]:
    return np.delete(bounds[0], index), np.delete(bounds[1], index)
