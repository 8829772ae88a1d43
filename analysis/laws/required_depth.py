"""The required-depth law: how the depth that solves half of the items grows with their difficulty k.

    logit P(solved) = a + b log D - c log k      so that D50 ~ k^(c / b)

D is the inference depth at fixed layers a step; fitted for each seed as a fractional logit on proportions, then t over seeds.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import optimize
from scipy.special import expit

from analysis.data.tables import label
from analysis.laws.draft import Draft
from analysis.laws.drawing import SHARE_MISFIT, Drawing
from analysis.laws.fit import Fit, Quality, only_bounded
from analysis.laws.groups import CELL, Group
from analysis.laws.law import Law
from analysis.laws.sentence import Sentence, name_place, state_interval
from analysis.statistics.regression import aic, lack_of_fit_over_seeds, r_squared, root_mean_square, t_interval
from rrm.tasks.task import EASE
from sweeps.design.axes import CAPACITY_AXES, CYCLES, DEPTH_AXES, LATENT_UPDATES, SUPERVISION_STEPS, WIDTH
from sweeps.design.reasons import Reason
from sweeps.design.thresholds import CEILING, FLOOR, MIN_SEEDS

ACCURACY, ERROR = "depth/exact_accuracy", "depth/error"
MIN_DEPTHS, MIN_LEVELS = 4, 3  # inference depths, and levels of a difficulty above 0
SEPARATED = 50.0  # |coefficient| of a logit that separates solved from unsolved items without error


class RequiredDepth(Law):
    """Share solved against inference depth and difficulty, of each cell and measure of difficulty."""

    name = "required_depth"
    rank = 6
    drawing = Drawing("The required-depth law", "difficulty", "share solved", "log", "linear", SHARE_MISFIT)
    grows = ()

    def fit(self, group: Group) -> list[Fit]:
        """One fit of each cell whose curves are split by difficulty; none where no curve is."""
        curves = group.curves
        if "difficulty" not in curves:
            return []
        curves = curves[(curves["axis"] == "depth") & curves["metric"].isin([ACCURACY, ERROR]) & curves["difficulty"].notna()]
        fits = []
        for _, part in group.trials.groupby(CELL, sort=True):
            if SUPERVISION_STEPS in part and part[SUPERVISION_STEPS].iloc[0] == 1:
                continue  # makes no claim beyond D = 1
            points = curves[curves["fingerprint"].isin(part["fingerprint"])]
            measures = sorted(points["binned_by"].dropna().unique()) if "binned_by" in points else []
            for measure in [name for name in measures if name not in EASE] if measures else [None]:
                binned = points if measure is None else points[points["binned_by"] == measure]
                if len(binned):
                    fits.append(_fit_cell(self, group, part, binned, measure))
        return fits

    def sentence(self, fit: Fit) -> list[Sentence]:
        if "exponent" not in fit.estimates:
            return []
        exponent = state_interval(fit.estimates["exponent"])
        axes = {name: value for name, value in fit.group.items() if name in (*CAPACITY_AXES, *DEPTH_AXES)}
        cell = label(list(axes), tuple(axes.values()))
        text = f"the depth that solves half of the items grows as k to the power {exponent}{f' ({cell})' if cell else ''}."
        return [Sentence(f"{name_place(fit)}{text}", "law_required_depth")]

    def suggest(self, draft: Draft, fit: Fit) -> bool:
        """More supervision steps, unless the task has too few levels of difficulty, which no design of a model changes."""
        if fit.reason == Reason.TOO_FEW_SCALES and fit.fitted_range["depth"][1] >= MIN_DEPTHS:
            return False
        return draft.add_supervision_steps()


def _fit_cell(law: Law, group: Group, part: pd.DataFrame, points: pd.DataFrame, measure: str | None) -> Fit:
    setting = {name: part[name].iloc[0] for name in (WIDTH, CYCLES, LATENT_UPDATES, SUPERVISION_STEPS) if name in part}
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in setting.items()}
    settings = group.settings | plain | ({"difficulty": measure} if measure else {})
    levels, depths = points["difficulty"].astype(float), points["at"].astype(float)
    ranges = {"difficulty": [float(levels.min()), float(levels.max())], "depth": [float(depths.min()), float(depths.max())]}
    fit = Fit(law, ACCURACY, settings, trials=len(part), cells=1, seeds=len(part), fitted_range=ranges)
    solved = np.where(points["metric"] == ERROR, 1 - points["value"], points["value"])
    if levels[levels > 0].nunique() < MIN_LEVELS or depths.nunique() < MIN_DEPTHS:
        return replace(fit, reason=Reason.TOO_FEW_SCALES)
    if points["fingerprint"].nunique() < MIN_SEEDS:
        return replace(fit, reason=Reason.TOO_FEW_SEEDS)
    if solved.max() < FLOOR:
        return replace(fit, reason=Reason.FLOOR)
    if solved.min() > CEILING:
        return replace(fit, reason=Reason.CEILING)
    return _estimate(fit, points.assign(solved=solved))


def _estimate(fit: Fit, points: pd.DataFrame) -> Fit:
    """Coefficients of each seed, then their means; a refusal where a logit separates the items of a seed without error."""
    seeds = [_design(seed) for _, seed in points[points["difficulty"] > 0].groupby("fingerprint")]
    solutions, fitted = [], []
    for seed in seeds:
        solution = fractional_logit(seed.x, seed.y, seed.weights)
        if solution is None:
            return replace(fit, reason=Reason.FLOOR if seed.y.mean() < 0.5 else Reason.CEILING)
        solutions.append(solution)
        fitted.append(expit(seed.x @ solution))
    a, b, c = np.array(solutions).T
    log_exponent = t_interval(np.log(c / b)) if (b > 0).all() and (c > 0).all() else None
    exponent = log_exponent and log_exponent.map(np.exp)
    intervals = {"a": t_interval(a), "b": t_interval(b), "c": t_interval(c), "exponent": exponent}
    quality = _judge(seeds, fitted)
    return replace(
        fit,
        seeds=len(seeds),
        estimates=only_bounded(intervals),
        quality=quality,
        flags=quality.flags,
        points=_points(seeds, fitted),
    )


def _points(seeds: "list[Seed]", fitted: list[np.ndarray]) -> pd.DataFrame:
    """Means over seeds, a line for each inference depth."""
    rows = [
        pd.DataFrame({"depth": seed.depths, "x": seed.levels, "measured": seed.y, "fitted": values})
        for seed, values in zip(seeds, fitted, strict=True)
    ]
    means = pd.concat(rows).groupby(["depth", "x"]).mean().reset_index()
    lines = [f"D {depth:g}" for depth in means["depth"]]
    return means.assign(misfit=means["measured"] - means["fitted"], line=lines)


class Seed(NamedTuple):
    """Proportions of one trial; N pairs of depth and difficulty."""

    x: np.ndarray  # [N, 3]: 1, log D, - log k
    y: np.ndarray  # [N] share solved
    weights: np.ndarray  # [N] items
    depths: np.ndarray
    levels: np.ndarray


def _design(points: pd.DataFrame) -> Seed:
    depths, levels = points["at"].to_numpy(dtype=float), points["difficulty"].to_numpy(dtype=float)
    is_weighted = "examples" in points and points["examples"].notna().all()
    weights = points["examples"].to_numpy(dtype=float) if is_weighted else np.ones(len(points))
    x = np.column_stack([np.ones(len(points)), np.log(depths), -np.log(levels)])
    return Seed(x, points["solved"].to_numpy(dtype=float), weights, depths, levels)


def _judge(seeds: list[Seed], fitted: list[np.ndarray]) -> Quality:
    """How well the law fits: shares explained, against simpler laws, at difficulties that a fit has not seen."""
    misfits = [seed.y - values for seed, values in zip(seeds, fitted, strict=True)]
    misfit, y = np.concatenate(misfits), np.concatenate([seed.y - seed.y.mean() for seed in seeds])
    simpler = {"no_difficulty": _aic_of(seeds, [0, 1]), "no_depth": _aic_of(seeds, [0, 2])}
    is_complete = len({len(values) for values in misfits}) == 1
    return Quality(
        r_squared=r_squared(misfit, y),
        aic=aic(float((misfit**2).sum()), len(y), 3 * len(seeds)),
        aic_simpler={name: value for name, value in simpler.items() if value is not None},
        leave_one_scale_out_error=root_mean_square([error for seed in seeds for error in _errors_at_unseen_levels(seed)]),
        lack_of_fit=lack_of_fit_over_seeds(np.array(misfits)) if is_complete else None,
    )


def _aic_of(seeds: list[Seed], columns: list[int]) -> float | None:
    """AIC of a law with two of the three coefficients; None where it separates the items of a seed."""
    misfits = []
    for seed in seeds:
        solution = fractional_logit(seed.x[:, columns], seed.y, seed.weights)
        if solution is None:
            return None
        misfits.append(seed.y - expit(seed.x[:, columns] @ solution))
    misfit = np.concatenate(misfits)
    return aic(float((misfit**2).sum()), len(misfit), len(columns) * len(seeds))


def _errors_at_unseen_levels(seed: Seed) -> list[float]:
    """Errors at each difficulty by a fit of the other ones."""
    errors: list[float] = []
    for level in np.unique(seed.levels):
        seen = seed.levels != level
        solution = fractional_logit(seed.x[seen], seed.y[seen], seed.weights[seen])
        if solution is not None:
            errors += list(seed.y[~seen] - expit(seed.x[~seen] @ solution))
    return errors


def fractional_logit(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray | None:
    """Quasi-likelihood of proportions (Papke and Wooldridge 1996); None where a line separates solved from unsolved."""

    def loss(beta: np.ndarray) -> tuple[float, np.ndarray]:
        linear = x @ beta
        value = weights @ (np.logaddexp(0, linear) - y * linear)
        return float(value), x.T @ (weights * (expit(linear) - y))

    result = optimize.minimize(loss, np.zeros(x.shape[1]), jac=True, method="BFGS", options={"maxiter": 500})
    separated = np.abs(result.x).max() > SEPARATED or ((y < 1e-9) | (y > 1 - 1e-9)).all()
    return None if separated else result.x
