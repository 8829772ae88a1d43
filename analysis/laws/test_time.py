"""The test-time law: how the error falls with the inference depth D, and whether it collapses beyond.

    err(D) = e + (err(1) - e) exp(-(D - 1) / tau)

Fitted for each seed on D up to the depth chosen on validation, then Student's t over seeds: depths share their items, so that
a pooled curve has no honest interval.
"""

from typing import Any

import numpy as np
import pandas as pd
from scipy import optimize, stats

from analysis.fits import Fit
from analysis.groups import CELL, Group
from analysis.regression import t_interval

ERROR, ACCURACY = "depth/error", "depth/exact_accuracy"
FEWEST_DEPTHS = 4
COLLAPSE, COLLAPSE_P = 0.03, 0.05  # rise of the error that counts, and its one-sided p over seeds
NEIGHBOURS = 4  # depths around the chosen one
FLOOR, CEILING = 0.98, 0.02  # of the error: nothing is solved, everything is


def fit_test_time(group: Group, curves: pd.DataFrame) -> list[Fit]:
    """One entry a cell.

    Args:
        curves: `fingerprint, metric, axis, at, value` of all trials, over all items.
    """
    errors = _errors(group.trials, curves)
    fits = []
    for _, part in group.trials[group.trials["fingerprint"].isin(errors)].groupby(CELL, sort=True):
        fits.append(_fit_cell(group, part, [errors[name] for name in part["fingerprint"]]))
    return fits


def _errors(trials: pd.DataFrame, curves: pd.DataFrame) -> dict[str, pd.Series]:
    """Error by depth of each trial."""
    own = curves[(curves["axis"] == "depth") & curves["metric"].isin([ERROR, ACCURACY])]
    if "difficulty" in own:
        own = own[own["difficulty"].isna()]
    own = own[own["fingerprint"].isin(trials["fingerprint"])]
    values = np.where(own["metric"] == ERROR, own["value"], 1 - own["value"])
    table = pd.DataFrame({"fingerprint": own["fingerprint"], "at": own["at"].astype(int), "error": values})
    return {str(name): part.groupby("at")["error"].mean().sort_index() for name, part in table.groupby("fingerprint")}


def _fit_cell(group: Group, part: pd.DataFrame, seeds: list[pd.Series]) -> Fit:
    setting = {name: part[name].iloc[0] for name in ("model.hidden_size", "model.h_cycles", "model.l_cycles",
                                                     "model.supervision_steps", "params_recursed") if name in part}  # fmt: skip
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in setting.items()}
    fit = Fit("test_time", "depth/error", group.settings | plain, trials=len(part), cells=1, seeds=len(seeds))
    trained = int(part["model.supervision_steps"].iloc[0] or 1) if "model.supervision_steps" in part else int(seeds[0].index.max())
    chosen = part["chosen_depth"].to_numpy() if "chosen_depth" in part else np.full(len(part), np.nan)
    lasts = [int(value) if np.isfinite(value) else trained for value in chosen.astype(float)]
    if trained > 1:
        note_collapse(fit, seeds, lasts)
    used = [curve[curve.index <= max(last, 1)] for curve, last in zip(seeds, lasts, strict=True)]
    fit.fitted_range = {"depth": [1.0, float(max(lasts))]}
    if trained == 1 or min(len(curve) for curve in used) < FEWEST_DEPTHS:
        used = [curve[curve.index <= max(last, trained)] for curve, last in zip(seeds, lasts, strict=True)]
    if trained == 1 or min(len(curve) for curve in used) < FEWEST_DEPTHS:
        fit.reason = "too_few_scales"
    elif len(seeds) < 2:
        fit.reason = "too_few_seeds"
    elif min(curve.min() for curve in used) > FLOOR:
        fit.reason = "floor"
    elif max(curve.max() for curve in used) < CEILING:
        fit.reason = "ceiling"
    else:
        fit.fitted_range = {"depth": [1.0, float(max(curve.index.max() for curve in used))]}
        _estimate(fit, used)
    return fit


def _estimate(fit: Fit, used: list[pd.Series]) -> None:
    """Parameters of each seed, then their means."""
    found = np.array([_fit_seed(curve) for curve in used])
    spans = np.array([float(np.ptp(curve.index)) for curve in used])
    if np.median(found[:, 2] / spans) > 0.5:
        fit.reason = "too_few_scales"  # the curve still falls where it ends: its floor is not seen
        return
    fit.add("e", t_interval(found[:, 0]))
    fit.add("first_error", t_interval(found[:, 1]))
    tau = t_interval(np.log(found[:, 2]))
    if tau is not None:
        fit.add("tau", tuple(float(np.exp(value)) for value in tau))  # type: ignore[arg-type]
    residual = np.concatenate(
        [curve.to_numpy() - _law(curve.index.to_numpy(), *row) for curve, row in zip(used, found, strict=True)]
    )
    total = np.concatenate([curve.to_numpy() - curve.mean() for curve in used])
    fit.r_squared = float(1 - (residual**2).sum() / max((total**2).sum(), 1e-300))


def _fit_seed(curve: pd.Series) -> tuple[float, float, float]:
    """e, err(1) and tau of one seed."""
    depths, errors = curve.index.to_numpy(dtype=float), curve.to_numpy()
    best: Any = None
    for tau in (0.5, 1.5, 4.0, 12.0):
        start = [float(errors.min()), float(errors[0]), np.log(tau)]
        found = optimize.least_squares(
            lambda p: errors - _law(depths, p[0], p[1], np.exp(p[2])),
            start, bounds=([-0.5, -0.5, np.log(0.05)], [1.5, 1.5, np.log(1e4)]),
        )  # fmt: skip
        best = found if best is None or found.cost < best.cost else best
    return float(best.x[0]), float(best.x[1]), float(np.exp(best.x[2]))


def _law(depths: np.ndarray, e: float, first: float, tau: float) -> np.ndarray:
    return e + (first - e) * np.exp(-(depths - 1) / tau)


def note_collapse(fit: Fit, seeds: list[pd.Series], chosen: list[int]) -> None:
    """Flag a rise of the error: the last quarter of depths against those around the chosen one, paired by seed."""
    rises = []
    for curve, depth in zip(seeds, chosen, strict=True):
        last = curve[curve.index > curve.index.max() * 0.75]
        near = curve.iloc[np.argsort(np.abs(curve.index.to_numpy() - depth), kind="stable")[:NEIGHBOURS]]
        if curve.index.max() > depth:
            rises.append(float(last.mean() - near.mean()))
    if len(rises) < 2:
        return
    values = np.array(rises)
    error = values.std(ddof=1) / np.sqrt(len(values))
    clear = values.mean() > error * stats.t.ppf(1 - COLLAPSE_P, len(values) - 1)
    if values.mean() > COLLAPSE and (values > COLLAPSE).mean() > 0.5 and clear:
        fit.flags.append("collapse")
        fit.add("rise", t_interval(values))
