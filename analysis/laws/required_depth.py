"""The required-depth law: how the depth that solves half of the items grows with their difficulty k.

    logit P(solved) = a + b log D - c log k      so that D50 ~ k^(c / b)

D is the inference depth at fixed layers a step; fitted for each seed as a fractional logit on proportions, then t over seeds.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import optimize
from scipy.special import expit

from analysis.laws.fit import Fit
from analysis.laws.groups import CELL, Group
from analysis.statistics.regression import aic, lack_of_fit_over_seeds, r_squared, root_mean_square, t_interval
from rrm.tasks.task import EASE
from sweeps.design.axes import CYCLES, LATENT_UPDATES, SUPERVISION_STEPS, WIDTH

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
        if SUPERVISION_STEPS in part and part[SUPERVISION_STEPS].iloc[0] == 1:
            continue  # makes no claim beyond D = 1
        points = own[own["fingerprint"].isin(part["fingerprint"])]
        measures = sorted(points["binned_by"].dropna().unique()) if "binned_by" in points else []
        for measure in [name for name in measures if name not in EASE] if measures else [None]:
            told = points if measure is None else points[points["binned_by"] == measure]
            if len(told):
                fits.append(_fit_cell(group, part, told, measure))
    return fits


def _fit_cell(group: Group, part: pd.DataFrame, points: pd.DataFrame, measure: str | None) -> Fit:
    setting = {name: part[name].iloc[0] for name in (WIDTH, CYCLES, LATENT_UPDATES, SUPERVISION_STEPS) if name in part}
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
    seeds = [_design(seed) for _, seed in points[points["difficulty"] > 0].groupby("fingerprint")]
    found, fitted = [], []
    for seed in seeds:
        solution = fractional_logit(seed.x, seed.y, seed.weights)
        if solution is None:
            fit.reason = "floor" if seed.y.mean() < 0.5 else "ceiling"
            return
        found.append(solution)
        fitted.append(expit(seed.x @ solution))
    table = np.array(found)
    fit.seeds = len(table)
    for number, constant in enumerate("abc"):
        fit.add(constant, t_interval(table[:, number]))
    if (table[:, 1] > 0).all() and (table[:, 2] > 0).all():
        ratio = t_interval(np.log(table[:, 2] / table[:, 1]))
        if ratio is not None:
            fit.add("exponent", tuple(float(np.exp(value)) for value in ratio))  # type: ignore[arg-type]
    _judge(fit, seeds, fitted)
    rows = [
        pd.DataFrame({"depth": seed.depths, "x": seed.levels, "measured": seed.y, "fitted": values})
        for seed, values in zip(seeds, fitted, strict=True)
    ]
    means = pd.concat(rows).groupby(["depth", "x"]).mean().reset_index()
    means["residual"] = means["measured"] - means["fitted"]
    fit.seen = means.assign(line=[f"D {depth:g}" for depth in means["depth"]])


class Seed(NamedTuple):
    """Proportions of one trial; N pairs of depth and difficulty."""

    x: np.ndarray  # [N, 3]: 1, log D, - log k
    y: np.ndarray  # [N] share solved
    weights: np.ndarray  # [N] items
    depths: np.ndarray
    levels: np.ndarray


def _design(points: pd.DataFrame) -> Seed:
    depths, levels = points["at"].to_numpy(dtype=float), points["difficulty"].to_numpy(dtype=float)
    told = "examples" in points and points["examples"].notna().all()
    weights = points["examples"].to_numpy(dtype=float) if told else np.ones(len(points))
    x = np.column_stack([np.ones(len(points)), np.log(depths), -np.log(levels)])
    return Seed(x, points["solved"].to_numpy(dtype=float), weights, depths, levels)


def _judge(fit: Fit, seeds: list[Seed], fitted: list[np.ndarray]) -> None:
    """How well the law fits: shares explained, against simpler laws, at difficulties that it has not seen."""
    residual = [seed.y - values for seed, values in zip(seeds, fitted, strict=True)]
    y = np.concatenate([seed.y - seed.y.mean() for seed in seeds])
    squares, count = float((np.concatenate(residual) ** 2).sum()), len(y)
    fit.r_squared = r_squared(np.concatenate(residual), y)
    fit.aic = aic(squares, count, 3 * len(seeds))
    for name, columns in {"no_difficulty": [0, 1], "no_depth": [0, 2]}.items():
        simpler = [fractional_logit(seed.x[:, columns], seed.y, seed.weights) for seed in seeds]
        if all(solution is not None for solution in simpler):
            left = [seed.y - expit(seed.x[:, columns] @ solution) for seed, solution in zip(seeds, simpler, strict=True)]
            fit.aic_simpler[name] = aic(float((np.concatenate(left) ** 2).sum()), count, 2 * len(seeds))
    if len({len(values) for values in residual}) == 1:
        fit.lack_of_fit = lack_of_fit_over_seeds(np.array(residual))
        if fit.lack_of_fit and fit.lack_of_fit["flagged"]:
            fit.flags.append("lack_of_fit")
    errors = []
    for seed in seeds:
        for level in np.unique(seed.levels):
            left_out = seed.levels == level
            solution = fractional_logit(seed.x[~left_out], seed.y[~left_out], seed.weights[~left_out])
            if solution is not None:
                errors += list(seed.y[left_out] - expit(seed.x[left_out] @ solution))
    fit.leave_one_scale_out_error = root_mean_square(errors)


def fractional_logit(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray | None:
    """Quasi-likelihood of proportions (Papke and Wooldridge 1996); None where a line separates solved from unsolved."""

    def loss(beta: np.ndarray) -> tuple[float, np.ndarray]:
        linear = x @ beta
        value = weights @ (np.logaddexp(0, linear) - y * linear)
        return float(value), x.T @ (weights * (expit(linear) - y))

    result = optimize.minimize(loss, np.zeros(x.shape[1]), jac=True, method="BFGS", options={"maxiter": 500})
    separated = np.abs(result.x).max() > 50 or ((y < 1e-9) | (y > 1 - 1e-9)).all()
    return None if separated else result.x
