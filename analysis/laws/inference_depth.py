"""The test-time law: how the error falls with the inference depth D, and whether it collapses beyond.

    err(D) = e + (err(1) - e) exp(-(D - 1) / tau)

Fitted for each seed on D up to the depth chosen on validation, then Student's t over seeds: depths share their items, so that
a pooled curve has no honest interval.
"""

import numpy as np
import pandas as pd
from scipy import optimize, stats

from analysis.laws.fit import Fit
from analysis.laws.groups import CELL, Group
from analysis.statistics.regression import aic, is_constant, lack_of_fit_over_seeds, r_squared, root_mean_square, t_interval
from sweeps.design.axes import CYCLES, LATENT_UPDATES, SIZE, SUPERVISION_STEPS, WIDTH

ERROR, ACCURACY = "depth/error", "depth/exact_accuracy"
FEWEST_DEPTHS = 4
ERRORS = (-0.5, 1.5)  # bounds of e and err(1)
TAUS, GRID = (0.05, 1e4), 60  # bounds of tau, and how many of it are tried before the best is refined
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
    setting = {name: part[name].iloc[0] for name in (WIDTH, CYCLES, LATENT_UPDATES, SUPERVISION_STEPS, SIZE) if name in part}
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in setting.items()}
    fit = Fit("test_time", "depth/error", group.settings | plain, trials=len(part), cells=1, seeds=len(seeds))
    trained = int(part[SUPERVISION_STEPS].iloc[0] or 1) if SUPERVISION_STEPS in part else int(seeds[0].index.max())
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
    elif any(is_constant(curve.to_numpy()) for curve in used):
        fit.reason = "flat"  # any tau fits such a seed
    else:
        fit.fitted_range = {"depth": [1.0, float(max(curve.index.max() for curve in used))]}
        _estimate(fit, used)
    return fit


def _estimate(fit: Fit, used: list[pd.Series]) -> None:
    """Parameters of each seed, then their means; a refusal where a constant describes the curves as well."""
    found = np.array([_fit_seed(curve) for curve in used])
    fitted = [_law(curve.index.to_numpy(), *row) for curve, row in zip(used, found, strict=True)]
    residual = [curve.to_numpy() - values for curve, values in zip(used, fitted, strict=True)]
    total = np.concatenate([curve.to_numpy() - curve.mean() for curve in used])
    squares, count = float((np.concatenate(residual) ** 2).sum()), len(total)
    of_law, of_constant = aic(squares, count, 3 * len(used)), aic(float((total**2).sum()), count, len(used))
    if of_constant <= of_law:
        fit.reason = "flat"
        return
    spans = np.array([float(np.ptp(curve.index)) for curve in used])
    if np.median(found[:, 2] / spans) > 0.5:
        fit.reason = "too_few_scales"  # the curve still falls where it ends: its floor is not seen
        return
    fit.add("e", _share_interval(found[:, 0]))
    fit.add("first_error", _share_interval(found[:, 1]))
    tau = t_interval(np.log(found[:, 2]))
    if tau is not None:
        fit.add("tau", tuple(float(np.exp(value)) for value in tau))  # type: ignore[arg-type]
    fit.r_squared, fit.aic = r_squared(np.concatenate(residual), total), of_law
    lines = [np.polyval(np.polyfit(np.log(curve.index), curve, 1), np.log(curve.index)) - curve for curve in used]
    straight = float((np.concatenate(lines) ** 2).sum())
    fit.aic_simpler = {
        "log_linear": aic(straight, count, 2 * len(used)),
        "constant": of_constant,
    }
    shortest = min(map(len, residual))
    fit.lack_of_fit = lack_of_fit_over_seeds(np.array([values[:shortest] for values in residual]))
    if fit.lack_of_fit and fit.lack_of_fit["flagged"]:
        fit.flags.append("lack_of_fit")
    fit.leave_one_scale_out_error = root_mean_square([error for curve in used for error in _deepest_left_out(curve)])
    # Means of all seeds only: where some are not fitted, a mean would jump.
    depth = min(float(curve.index.max()) for curve in used)
    rows = [pd.DataFrame({"x": curve.index, "measured": curve.to_numpy(), "fitted": values, "residual": curve.to_numpy() - values})
            for curve, values in zip(used, fitted, strict=True)]  # fmt: skip
    means = pd.concat(rows).groupby("x").mean().reset_index()
    fit.seen = means[means["x"] <= depth].assign(line="")


def _share_interval(values: np.ndarray) -> tuple[float, float, float] | None:
    """Student's interval of a share, cut to [0, 1]: it loses no share that is possible, so that it covers as often.

    One that lies outside as a whole is left as it is, as no share agrees with the law.
    """
    interval = t_interval(values)
    if interval is None or interval[1] > 1 or interval[2] < 0:
        return interval
    estimate, low, high = (min(1.0, max(0.0, end)) for end in interval)
    return estimate, low, high


def _deepest_left_out(curve: pd.Series) -> list[float]:
    """Errors in the deepest quarter of a curve by a fit that has not seen it."""
    kept = max(FEWEST_DEPTHS, round(0.75 * len(curve)))
    if kept >= len(curve):
        return []
    beyond = curve.iloc[kept:]
    return list(beyond.to_numpy() - _law(beyond.index.to_numpy(), *_fit_seed(curve.iloc[:kept])))


def _fit_seed(curve: pd.Series) -> tuple[float, float, float]:
    """e, err(1) and tau of one seed: at each tau the law is a line in the other two."""
    depths, errors = curve.index.to_numpy(dtype=float), curve.to_numpy(dtype=float)

    def at(log_tau: float) -> tuple[float, float, float]:
        """Squares, e and err(1)."""
        falling = np.exp(-(depths - 1) / np.exp(log_tau))
        x = np.column_stack([1 - falling, falling])
        e, first = np.clip(np.linalg.lstsq(x, errors, rcond=None)[0], *ERRORS)
        return float(((errors - x @ np.array([e, first])) ** 2).sum()), float(e), float(first)

    grid = np.linspace(np.log(TAUS[0]), np.log(TAUS[1]), GRID)
    best = int(np.argmin([at(log_tau)[0] for log_tau in grid]))
    around = (grid[max(0, best - 1)], grid[min(GRID - 1, best + 1)])
    log_tau = optimize.minimize_scalar(lambda value: at(value)[0], bounds=around, method="bounded", options={"xatol": 1e-5}).x
    _, e, first = at(log_tau)
    return e, first, float(np.exp(log_tau))


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
