"""The required-depth law: how the depth that solves half of the items grows with their difficulty k.

    logit P(solved) = a + b log D - c log k      so that D50 ~ k^(c / b)

D is the inference depth at fixed layers a step; fitted for each seed as a fractional logit on proportions, then t over seeds.
"""

import numpy as np
import pandas as pd
from scipy import optimize
from scipy.special import expit

from analysis.fits import Fit
from analysis.groups import CELL, Group
from analysis.regression import t_interval

ACCURACY, ERROR = "depth/exact_accuracy", "depth/error"
FEWEST_SCALES = 4  # depths, and levels of difficulty at least 3
FEWEST_LEVELS = 3


def fit_required_depth(group: Group, curves: pd.DataFrame) -> list[Fit]:
    """One entry a cell whose curves are told by difficulty; none where no curve is."""
    if "difficulty" not in curves:
        return []
    own = curves[(curves["axis"] == "depth") & curves["metric"].isin([ACCURACY, ERROR]) & curves["difficulty"].notna()]
    fits = []
    for _, part in group.trials.groupby(CELL, sort=True):
        points = own[own["fingerprint"].isin(part["fingerprint"])]
        measures = sorted(points["binned_by"].dropna().unique()) if "binned_by" in points else []
        for measure in measures or [None]:
            told = points if measure is None else points[points["binned_by"] == measure]
            if len(told):
                fits.append(_fit_cell(group, part, told, measure))
    return fits


def _fit_cell(group: Group, part: pd.DataFrame, points: pd.DataFrame, measure: str | None) -> Fit:
    setting = {name: part[name].iloc[0] for name in ("model.hidden_size", "model.h_cycles", "model.l_cycles",
                                                     "model.supervision_steps") if name in part}  # fmt: skip
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in setting.items()}
    about = plain | ({"difficulty": measure} if measure else {})
    fit = Fit("required_depth", "depth/exact_accuracy", group.settings | about, trials=len(part), cells=1, seeds=len(part))
    levels, depths = points["difficulty"].astype(float), points["at"].astype(float)
    fit.fitted_range = {
        "difficulty": [float(levels.min()), float(levels.max())],
        "depth": [float(depths.min()), float(depths.max())],
    }
    solved = np.where(points["metric"] == ERROR, 1 - points["value"], points["value"])
    if levels[levels > 0].nunique() < FEWEST_LEVELS or depths.nunique() < FEWEST_SCALES:
        fit.reason = "too_few_scales"
    elif points["fingerprint"].nunique() < 2:
        fit.reason = "too_few_seeds"
    elif solved.max() < 0.05:
        fit.reason = "floor"
    elif solved.min() > 0.95:
        fit.reason = "ceiling"
    else:
        _estimate(fit, points.assign(solved=solved))
    return fit


def _estimate(fit: Fit, points: pd.DataFrame) -> None:
    found, residuals, values = [], [], []
    for _, seed in points[points["difficulty"] > 0].groupby("fingerprint"):
        x = np.column_stack([np.ones(len(seed)), np.log(seed["at"].astype(float)), -np.log(seed["difficulty"].astype(float))])
        weights = (
            seed["examples"].to_numpy(dtype=float) if "examples" in seed and seed["examples"].notna().all() else np.ones(len(seed))
        )
        y = seed["solved"].to_numpy(dtype=float)
        solution = fractional_logit(x, y, weights)
        if solution is None:
            fit.reason = "floor" if y.mean() < 0.5 else "ceiling"
            return
        found.append(solution)
        residuals.append(y - expit(x @ solution))
        values.append(y - y.mean())
    table = np.array(found)
    fit.seeds = len(table)
    for number, name in enumerate("abc"):
        fit.add(name, t_interval(table[:, number]))
    if (table[:, 1] > 0).all() and (table[:, 2] > 0).all():
        ratio = t_interval(np.log(table[:, 2] / table[:, 1]))
        if ratio is not None:
            fit.add("exponent", tuple(float(np.exp(value)) for value in ratio))  # type: ignore[arg-type]
    fit.r_squared = float(1 - np.square(np.concatenate(residuals)).sum() / np.square(np.concatenate(values)).sum())


def fractional_logit(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray | None:
    """Quasi-likelihood of proportions (Papke and Wooldridge 1996); None where a line separates solved from unsolved."""

    def loss(beta: np.ndarray) -> tuple[float, np.ndarray]:
        linear = x @ beta
        value = weights @ (np.logaddexp(0, linear) - y * linear)
        return float(value), x.T @ (weights * (expit(linear) - y))

    result = optimize.minimize(loss, np.zeros(x.shape[1]), jac=True, method="BFGS", options={"maxiter": 500})
    separated = np.abs(result.x).max() > 50 or ((y < 1e-9) | (y > 1 - 1e-9)).all()
    return None if separated else result.x
