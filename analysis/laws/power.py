"""Saturating power laws in one axis, and accuracy against the logarithm of depth; for tables of at least four scales.

power_params, power_depth:  log L = log(E + exp(c - alpha (log x - mean)))   x: recursed parameters, or R
log_depth:                  exact accuracy = a + b log2 R
"""

from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from analysis.fits import Fit
from analysis.groups import RECURSION, Group
from analysis.regression import fit_curve, fit_linear

LOSS, ACCURACY = "test/nll", "test/exact_accuracy"
FEWEST_SCALES = 4
FLOOR, CEILING = 0.05, 0.95


def fit_power(group: Group, law: Literal["power_params", "power_depth"]) -> list[Fit]:
    """The law along one axis, an entry at each level of the other."""
    along, other = ("params_recursed", RECURSION) if law == "power_params" else (RECURSION, "params_recursed")
    if not {along, other, LOSS} <= set(group.trials):
        return []
    fits = []
    for level, part in group.trials.dropna(subset=[along, LOSS]).groupby(other, sort=True):
        if part[along].nunique() < 2:
            continue
        fit = Fit(law, LOSS, group.settings | {other: float(level)}, **_counts(part, along))  # type: ignore[arg-type]
        fit.fitted_range = {along: [float(part[along].min()), float(part[along].max())]}
        if part[along].nunique() < FEWEST_SCALES:
            fit.reason = "too_few_scales"
        elif part.groupby(along).size().median() < 2:
            fit.reason = "too_few_seeds"
        elif not _differs(part, along):
            fit.reason = "ceiling" if ACCURACY in part and part[ACCURACY].mean() > 0.5 else "floor"
        else:
            _estimate(fit, np.log(part[along].to_numpy(dtype=float)), np.log(part[LOSS].to_numpy(dtype=float)))
        fits.append(fit)
    return fits


def _estimate(fit: Fit, x: np.ndarray, y: np.ndarray) -> None:
    centred, low = x - x.mean(), float(y.min())

    def residuals(p: np.ndarray) -> np.ndarray:
        return y - np.logaddexp(p[2], p[0] - p[1] * centred)

    slope = -float(np.polyfit(centred, y, 1)[0])
    starts = [np.array([float(y.mean()), slope * scale, low + shift]) for scale, shift in ((1, -10), (1.5, -1.5), (2.5, -0.5))]
    bounds = (np.array([-np.inf, -20, low - 14]), np.array([np.inf, 20, low + 1]))
    curve = fit_curve(residuals, starts, bounds, len(y))
    fit.add("alpha", curve.profile(1, 0.05))
    floor = curve.profile(2, 0.2)
    if floor is not None:
        nothing = bounds[0][2] + 1  # below it E does nothing
        fit.add("e", tuple(float(np.exp(value)) if value > nothing else 0.0 for value in floor))  # type: ignore[arg-type]
    line = fit_linear(np.column_stack([np.ones(len(x)), -centred]), y, np.round(x, 9))
    fit.add("slope", line.interval(np.array([0.0, 1.0])))
    total = float(((y - y.mean()) ** 2).sum())
    fit.r_squared = 1 - curve.squares / total
    count = len(y)
    fit.aic = float(count * np.log(curve.squares / count) + 8)
    straight = float(((y - np.polyval(np.polyfit(centred, y, 1), centred)) ** 2).sum())
    fit.aic_simpler = {"log_linear": float(count * np.log(straight / count) + 6)}
    fit.lack_of_fit = _lack_of_fit(residuals(curve.parameters), np.round(x, 9), 3)
    if fit.lack_of_fit and fit.lack_of_fit["flagged"]:
        fit.flags.append("lack_of_fit")


def fit_log_depth(group: Group) -> list[Fit]:
    """Exact accuracy against log2 R, an entry at each number of recursed parameters."""
    if not {RECURSION, ACCURACY, "params_recursed"} <= set(group.trials):
        return []
    fits = []
    for level, part in group.trials.dropna(subset=[ACCURACY]).groupby("params_recursed", sort=True):
        if part[RECURSION].nunique() < 2:
            continue
        fit = Fit("log_depth", ACCURACY, group.settings | {"params_recursed": float(level)}, **_counts(part, RECURSION))  # type: ignore[arg-type]
        fit.fitted_range = {RECURSION: [float(part[RECURSION].min()), float(part[RECURSION].max())]}
        means = part.groupby(RECURSION)[ACCURACY].mean()
        if part[RECURSION].nunique() < FEWEST_SCALES:
            fit.reason = "too_few_scales"
        elif part.groupby(RECURSION).size().median() < 2:
            fit.reason = "too_few_seeds"
        elif (means < FLOOR).all():
            fit.reason = "floor"
        elif (means > CEILING).all():
            fit.reason = "ceiling"
        else:
            x, y = np.log2(part[RECURSION].to_numpy(dtype=float)), part[ACCURACY].to_numpy(dtype=float)
            line = fit_linear(np.column_stack([np.ones(len(x)), x]), y, np.round(x, 9))
            fit.add("intercept", line.interval(np.array([1.0, 0.0])))
            fit.add("slope_per_doubling", line.interval(np.array([0.0, 1.0])))
            residual = y - line.coefficients[0] - line.coefficients[1] * x
            fit.r_squared = float(1 - (residual**2).sum() / max(((y - y.mean()) ** 2).sum(), 1e-300))
            fit.lack_of_fit = _lack_of_fit(residual, np.round(x, 9), 2)
            if fit.lack_of_fit and fit.lack_of_fit["flagged"]:
                fit.flags.append("lack_of_fit")
        fits.append(fit)
    return fits


def _counts(part: pd.DataFrame, along: str) -> dict[str, int]:
    sizes = part.groupby(along).size()
    return {"trials": len(part), "cells": len(sizes), "seeds": int(sizes.median())}


def _differs(part: pd.DataFrame, along: str) -> bool:
    """Whether the loss differs between scales, beyond seed noise."""
    samples = [np.log(values.to_numpy(dtype=float)) for _, values in part.groupby(along)[LOSS] if len(values) > 1]
    return len(samples) > 1 and bool(stats.f_oneway(*samples).pvalue < 0.05)


def _lack_of_fit(residual: np.ndarray, cells: np.ndarray, parameters: int) -> dict[str, object] | None:
    """F test of the misfit of cell means against replicates."""
    table = pd.DataFrame({"cell": cells, "residual": residual})
    means = table.groupby("cell")["residual"].transform("mean")
    count = table["cell"].nunique()
    within, free = float(((table["residual"] - means) ** 2).sum()), len(table) - count
    if free < 1 or count <= parameters or within == 0:
        return None
    p = float(stats.f.sf(float((means**2).sum()) / (count - parameters) / (within / free), count - parameters, free))
    return {"test": "F", "p": p, "flagged": p < 0.01}
