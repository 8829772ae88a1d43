"""The test-time law: how the error falls with the inference depth D, and whether it collapses beyond.

    err(D) = e + (err(1) - e) exp(-(D - 1) / tau)

Fitted for each seed on D up to the depth chosen on validation, then Student's t over seeds: depths share their items, so that
a pooled curve has no honest interval.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import optimize, stats

from analysis.laws.draft import Draft
from analysis.laws.drawing import SHARE_MISFIT, Drawing
from analysis.laws.fit import Fit, Quality, only_bounded
from analysis.laws.groups import CELL, Group
from analysis.laws.law import Law
from analysis.laws.sentence import Sentence, state_interval
from analysis.statistics.interval import Interval
from analysis.statistics.regression import aic, is_constant, lack_of_fit_over_seeds, r_squared, root_mean_square, t_interval
from sweeps.design.axes import CYCLES, LATENT_UPDATES, SIZE, SUPERVISION_STEPS, WIDTH
from sweeps.design.reasons import Reason
from sweeps.design.thresholds import ALL_SOLVED, MIN_SEEDS, NOTHING_SOLVED

ERROR, ACCURACY = "depth/error", "depth/exact_accuracy"
MIN_DEPTHS = 4
ERRORS = (-0.5, 1.5)  # bounds of e and err(1)
TAUS, TAU_COUNT = (0.05, 1e4), 60  # bounds of tau, and number of values that are tried before the best is refined
COLLAPSE, COLLAPSE_P = 0.03, 0.05  # rise of the error that counts, and its one-sided p over seeds
NEIGHBOURS = 4  # depths around the chosen one


class InferenceDepth(Law):
    """Error against the inference depth D, of each cell."""

    name = "test_time"
    rank = 5
    drawing = Drawing(
        "The test-time law", "D, supervision steps at inference", "share not solved", "linear", "linear", SHARE_MISFIT
    )
    grows = ()

    def fit(self, group: Group) -> list[Fit]:
        """One fit of each cell that has curves by inference depth over all items."""
        errors = _errors(group.trials, group.curves)
        cells = group.trials[group.trials["fingerprint"].isin(errors)].groupby(CELL, sort=True)
        return [_fit_cell(self, group, part, [errors[name] for name in part["fingerprint"]]) for _, part in cells]

    def sentences(self, fits: Sequence[Fit]) -> list[Sentence]:
        """One sentence for all cells whose error rises beyond the chosen depth."""
        risen = [fit for fit in fits if "collapse" in fit.flags]
        if not risen:
            return []
        worst = max(risen, key=lambda fit: fit.estimates["rise"].estimate if "rise" in fit.estimates else 0.0)
        width, steps = worst.group.get(WIDTH), worst.group.get(SUPERVISION_STEPS)
        rise = state_interval(worst.estimates["rise"]) if "rise" in worst.estimates else f"more than {COLLAPSE}"
        count = f"{len(risen)} {'cell collapses' if len(risen) == 1 else 'cells collapse'}"
        text = (
            f"Run deeper than the depth chosen on validation, {count}; "
            f"the worst (width {width}, N_sup {steps}) gains {rise} in error."
        )
        return [Sentence(text, "inference_depth")]

    def suggest(self, draft: Draft, fit: Fit) -> bool:
        return draft.add_supervision_steps()


def _errors(trials: pd.DataFrame, curves: pd.DataFrame) -> dict[str, pd.Series]:
    """Error by depth of each trial."""
    if "axis" not in curves:
        return {}
    points = curves[(curves["axis"] == "depth") & curves["metric"].isin([ERROR, ACCURACY])]
    if "difficulty" in points:
        points = points[points["difficulty"].isna()]
    points = points[points["fingerprint"].isin(trials["fingerprint"])]
    values = np.where(points["metric"] == ERROR, points["value"], 1 - points["value"])
    table = pd.DataFrame({"fingerprint": points["fingerprint"], "at": points["at"].astype(int), "error": values})
    return {str(name): part.groupby("at")["error"].mean().sort_index() for name, part in table.groupby("fingerprint")}


def _fit_cell(law: Law, group: Group, part: pd.DataFrame, seeds: list[pd.Series]) -> Fit:
    """The fit of one cell; the curves of its seeds are cut at the depth chosen on validation, or at N_sup."""
    names = (WIDTH, CYCLES, LATENT_UPDATES, SUPERVISION_STEPS, SIZE)
    setting = {name: _plain(part[name].iloc[0]) for name in names if name in part}
    trained = int(part[SUPERVISION_STEPS].iloc[0] or 1) if SUPERVISION_STEPS in part else int(seeds[0].index.max())
    chosen = part["chosen_depth"].to_numpy() if "chosen_depth" in part else np.full(len(part), np.nan)
    lasts = [int(value) if np.isfinite(value) else trained for value in chosen.astype(float)]
    rise = find_collapse(seeds, lasts) if trained > 1 else None
    fit = Fit(
        law, ERROR, group.settings | setting, trials=len(part), cells=1, seeds=len(seeds),
        estimates=only_bounded({"rise": rise}), flags=("collapse",) if rise else (),
        fitted_range={"depth": [1.0, float(max(lasts))]},
    )  # fmt: skip
    used = _cut(seeds, lasts, 1)
    if min(map(len, used)) < MIN_DEPTHS:
        used = _cut(seeds, lasts, trained)
    reason = Reason.TOO_FEW_SCALES if trained == 1 else _find_reason(used)
    if reason is not None:
        return replace(fit, reason=reason)
    return _estimate(replace(fit, fitted_range={"depth": [1.0, float(max(curve.index.max() for curve in used))]}), used)


def _plain(value: object) -> object:
    """A number of a table as Python has it."""
    return value.item() if isinstance(value, np.generic) else value


def _cut(seeds: list[pd.Series], lasts: list[int], least: int) -> list[pd.Series]:
    """Curves up to the last depth of each, or up to `least`."""
    return [curve[curve.index <= max(last, least)] for curve, last in zip(seeds, lasts, strict=True)]


def _find_reason(used: list[pd.Series]) -> Reason | None:
    """Why curves [seeds] of the error cannot be fitted."""
    if min(map(len, used)) < MIN_DEPTHS:
        return Reason.TOO_FEW_SCALES
    if len(used) < MIN_SEEDS:
        return Reason.TOO_FEW_SEEDS
    if 1 - min(curve.min() for curve in used) < NOTHING_SOLVED:
        return Reason.FLOOR
    if 1 - max(curve.max() for curve in used) > ALL_SOLVED:
        return Reason.CEILING
    return Reason.FLAT if any(is_constant(curve.to_numpy()) for curve in used) else None  # any tau fits a constant seed


def _estimate(fit: Fit, used: list[pd.Series]) -> Fit:
    """Parameters of each seed, then their means; a refusal where a constant describes the curves as well."""
    parameters = np.array([_fit_seed(curve) for curve in used])
    e, first, tau = parameters.T
    fitted = [_law(curve.index.to_numpy(), *row) for curve, row in zip(used, parameters, strict=True)]
    misfits = [curve.to_numpy() - values for curve, values in zip(used, fitted, strict=True)]
    quality = _judge(used, misfits)
    if quality.aic is None or quality.aic_simpler["constant"] <= quality.aic:
        return replace(fit, reason=Reason.FLAT)
    if np.median(tau / np.array([float(np.ptp(curve.index)) for curve in used])) > 0.5:
        return replace(fit, reason=Reason.TOO_FEW_SCALES)  # the curve still falls where it ends: its floor is not seen
    log_tau = t_interval(np.log(tau))
    intervals = {"e": _share_interval(e), "first_error": _share_interval(first), "tau": log_tau and log_tau.map(np.exp)}
    return replace(
        fit,
        estimates=fit.estimates | only_bounded(intervals),
        quality=quality,
        flags=(*fit.flags, *quality.flags),
        points=_points(used, fitted),
    )


def _judge(used: list[pd.Series], misfits: list[np.ndarray]) -> Quality:
    """How well the law fits; each seed has parameters of its own."""
    misfit, total = np.concatenate(misfits), np.concatenate([curve.to_numpy() - curve.mean() for curve in used])
    lines = [np.polyval(np.polyfit(np.log(curve.index), curve, 1), np.log(curve.index)) - curve for curve in used]
    count, shortest = len(total), min(map(len, misfits))
    return Quality(
        r_squared=r_squared(misfit, total),
        aic=aic(float((misfit**2).sum()), count, 3 * len(used)),
        aic_simpler={
            "log_linear": aic(float((np.concatenate(lines) ** 2).sum()), count, 2 * len(used)),
            "constant": aic(float((total**2).sum()), count, len(used)),
        },
        leave_one_scale_out_error=root_mean_square([error for curve in used for error in _errors_at_unseen_depths(curve)]),
        lack_of_fit=lack_of_fit_over_seeds(np.array([values[:shortest] for values in misfits])),
    )


def _points(used: list[pd.Series], fitted: list[np.ndarray]) -> pd.DataFrame:
    """Means over seeds at the depths that all seeds have: a mean of some seeds alone would jump."""
    rows = [pd.DataFrame({"x": curve.index, "measured": curve.to_numpy(), "fitted": values, "misfit": curve.to_numpy() - values})
            for curve, values in zip(used, fitted, strict=True)]  # fmt: skip
    means = pd.concat(rows).groupby("x").mean().reset_index()
    return means[means["x"] <= min(float(curve.index.max()) for curve in used)].assign(line="")


def _share_interval(values: np.ndarray) -> Interval | None:
    """Student's interval of a share, cut to [0, 1]: it loses no share that is possible, so that it covers as often.

    One that lies outside as a whole is left as it is, as no share agrees with the law.
    """
    interval = t_interval(values)
    if interval is None or interval.low > 1 or interval.high < 0:
        return interval
    return interval.map(lambda share: min(1.0, max(0.0, share)))


def _errors_at_unseen_depths(curve: pd.Series) -> list[float]:
    """Errors in the deepest quarter of a curve by a fit of the other depths."""
    kept = max(MIN_DEPTHS, round(0.75 * len(curve)))
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

    grid = np.linspace(np.log(TAUS[0]), np.log(TAUS[1]), TAU_COUNT)
    best = int(np.argmin([at(log_tau)[0] for log_tau in grid]))
    around = (grid[max(0, best - 1)], grid[min(TAU_COUNT - 1, best + 1)])
    log_tau = optimize.minimize_scalar(lambda value: at(value)[0], bounds=around, method="bounded", options={"xatol": 1e-5}).x
    _, e, first = at(log_tau)
    return e, first, float(np.exp(log_tau))


def _law(depths: np.ndarray, e: float, first: float, tau: float) -> np.ndarray:
    return e + (first - e) * np.exp(-(depths - 1) / tau)


def find_collapse(seeds: list[pd.Series], chosen: list[int]) -> Interval | None:
    """The rise of the error from the depths around the chosen one to the last quarter of depths, paired by seed.

    None where it does not count: it must exceed `COLLAPSE` on average and in most seeds, and be clear over seeds.
    """
    rises = []
    for curve, depth in zip(seeds, chosen, strict=True):
        last = curve[curve.index > curve.index.max() * 0.75]
        near = curve.iloc[np.argsort(np.abs(curve.index.to_numpy() - depth), kind="stable")[:NEIGHBOURS]]
        if curve.index.max() > depth:
            rises.append(float(last.mean() - near.mean()))
    if len(rises) < MIN_SEEDS:
        return None
    values = np.array(rises)
    error = values.std(ddof=1) / np.sqrt(len(values))
    is_clear = values.mean() > error * stats.t.ppf(1 - COLLAPSE_P, len(values) - 1)
    return t_interval(values) if values.mean() > COLLAPSE and (values > COLLAPSE).mean() > 0.5 and is_clear else None
