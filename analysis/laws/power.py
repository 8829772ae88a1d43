"""Saturating power laws in one axis, and accuracy against the logarithm of depth; for tables of at least four scales.

power_params, power_depth:  log L = log(E + exp(c - alpha (log x - mean)))   x: recursed parameters, or R
log_depth:                  exact accuracy = a + b log2 R
"""

from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from analysis.laws.fit import Fit
from analysis.laws.groups import Group
from analysis.statistics.regression import aic, fit_curve, fit_linear, half_widths, lack_of_fit, r_squared, root_mean_square
from sweeps.design.axes import RECURSION

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
    fitted, count = y - residuals(curve.parameters), len(y)
    fit.r_squared = r_squared(y - fitted, y)
    fit.aic = aic(curve.squares, count, 3)
    straight = y - np.polyval(np.polyfit(centred, y, 1), centred)
    fit.aic_simpler = {
        "log_linear": aic(float((straight**2).sum()), count, 2),
        "constant": aic(float(((y - y.mean()) ** 2).sum()), count, 1),
    }
    note_lack_of_fit(fit, y - fitted, x, 3)
    fit.leave_one_scale_out_error = root_mean_square(_left_out(x, y, bounds, curve.parameters))
    fit.seen = pd.DataFrame(
        {
            "line": "",
            "x": np.exp(x),
            "measured": np.exp(y),
            "fitted": np.exp(fitted),
            "residual": y - fitted,
            "half": half_widths(y, np.round(x, 9)),
        }
    )


def _left_out(x: np.ndarray, y: np.ndarray, bounds: tuple[np.ndarray, np.ndarray], start: np.ndarray) -> list[float]:
    """Errors of the mean of each scale by a fit that has not seen it."""
    errors = []
    for scale in np.unique(np.round(x, 9)):
        left = np.round(x, 9) == scale
        own, seen = x - x[~left].mean(), ~left

        def residuals(p: np.ndarray, own: np.ndarray = own, seen: np.ndarray = seen) -> np.ndarray:
            return y[seen] - np.logaddexp(p[2], p[0] - p[1] * own[seen])

        p = fit_curve(residuals, [start], bounds, int(seen.sum())).parameters
        errors.append(float((y[left] - np.logaddexp(p[2], p[0] - p[1] * own[left])).mean()))
    return errors


def note_lack_of_fit(fit: Fit, residual: np.ndarray, x: np.ndarray, parameters: int) -> None:
    """The test and its flag; a scale is a cell."""
    fit.lack_of_fit = lack_of_fit(residual, np.round(x, 9), parameters)
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
            fitted = line.coefficients[0] + line.coefficients[1] * x
            fit.r_squared = r_squared(y - fitted, y)
            fit.aic = aic(float(((y - fitted) ** 2).sum()), len(y), 2)
            fit.aic_simpler = {"constant": aic(float(((y - y.mean()) ** 2).sum()), len(y), 1)}
            note_lack_of_fit(fit, y - fitted, x, 2)
            fit.leave_one_scale_out_error = root_mean_square(_left_out_line(x, y))
            rows = {"line": "", "x": 2**x, "measured": y, "fitted": fitted, "residual": y - fitted, "half": half_widths(y, x)}
            fit.seen = pd.DataFrame(rows)
        fits.append(fit)
    return fits


def _counts(part: pd.DataFrame, along: str) -> dict[str, int]:
    sizes = part.groupby(along).size()
    return {"trials": len(part), "cells": len(sizes), "seeds": int(sizes.median())}


def _differs(part: pd.DataFrame, along: str) -> bool:
    """Whether the loss differs between scales, beyond seed noise."""
    samples = [np.log(values.to_numpy(dtype=float)) for _, values in part.groupby(along)[LOSS] if len(values) > 1]
    return len(samples) > 1 and bool(stats.f_oneway(*samples).pvalue < 0.05)


def _left_out_line(x: np.ndarray, y: np.ndarray) -> list[float]:
    """Errors of the mean of each scale by a line that has not seen it."""
    errors = []
    for scale in np.unique(x):
        left = x == scale
        errors.append(float((y[left] - np.polyval(np.polyfit(x[~left], y[~left], 1), x[left])).mean()))
    return errors
