"""The recurrence law: what one doubling of recursion is worth in parameters.

    log L = log(E + exp(c - alpha (log N_eff - mean)))    N_eff = N_once + R^phi N_recursed

N_once, N_recursed: parameters outside and inside the recursion; R = T (n + 1) N_sup, the number of times that a recursed
parameter is applied (or three numbers, each with an exponent of its own); E >= 0, the loss that neither removes.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from analysis.laws.exchange_rate import model_free_rate
from analysis.laws.fit import Fit, Reason
from analysis.laws.groups import CELL, Group
from analysis.statistics.regression import Curve, Linear, aic, fieller, fit_curve, fit_linear, r_squared, root_mean_square
from sweeps.design.axes import CYCLES, LATENT_UPDATES, RECURSION, SUPERVISION_STEPS
from sweeps.design.identifiability import find_refusal, find_refusal_of_three
from sweeps.design.slopes import centre, law_matrix
from sweeps.design.thresholds import LEVEL, MIN_SIZE_SLOPE_T
from sweeps.planning.evidence import Measured, find_flat, find_misfit, is_size_clear

RESPONSE, ACCURACY = "test/nll", "test/exact_accuracy"
THREE = {"h_cycles": CYCLES, "l_cycles": LATENT_UPDATES, "supervision_steps": SUPERVISION_STEPS}
SHOWN = 24  # points of a curve over the design
SIGNIFICANT = 0.05  # p of the curvature term


@dataclass(frozen=True)
class Cells:
    """Cell means of log L; G cells, K axes of recursion."""

    names: np.ndarray  # [G]
    log_loss: np.ndarray  # [G] mean over seeds
    seeds: np.ndarray  # [G]
    once: np.ndarray  # [G] parameters applied once
    recursed: np.ndarray  # [G]
    log_axes: np.ndarray  # [G, K] log of recursion
    log_recursed: np.ndarray  # [G] centred
    variance: float  # of one seed, pooled within cells
    replicates: int  # its degrees of freedom

    @property
    def measured(self) -> Measured:
        """What the rules of refusals look at."""
        return Measured(self.log_loss, self.seeds, self.variance, self.replicates)

    @property
    def axes(self) -> np.ndarray:
        """Log of recursion, centred at the design, [G, K]."""
        return centre(self.log_axes)


def read_cells(group: Group, axes: list[np.ndarray]) -> Cells:
    """Cell means.

    Args:
        axes: of every trial, the recursion along each axis.
    """
    table = pd.DataFrame({CELL: group.trials[CELL].to_numpy(), "y": np.log(group.trials[RESPONSE].to_numpy(dtype=float))})
    table["once"], table["recursed"] = (group.trials[name].to_numpy(dtype=float) for name in ("params_once", "params_recursed"))
    for number, values in enumerate(axes):
        table[f"axis{number}"] = np.log(values)
    means = table.groupby(CELL, sort=True).mean()
    sizes = table.groupby(CELL, sort=True)["y"].size().to_numpy()
    within = table["y"] - table.groupby(CELL)["y"].transform("mean")
    freedom = len(table) - len(means)
    logs = means[[f"axis{number}" for number in range(len(axes))]].to_numpy()
    log_recursed = np.log(means["recursed"].to_numpy())
    return Cells(
        means.index.to_numpy(), means["y"].to_numpy(), sizes, means["once"].to_numpy(), means["recursed"].to_numpy(),
        logs, centre(log_recursed),
        float((within**2).sum() / freedom) if freedom else float("nan"), freedom,
    )  # fmt: skip


NEEDED = ("params_recursed", RESPONSE, RECURSION)


def fit_recurrence(whole: Group) -> list[Fit]:
    """The law with one exponent, its curvature, and three exponents where T, n and N_sup move apart.

    Trials without a loss, a size or a recursion are left out, and the fits say so.
    """
    group = whole.knowing(NEEDED)
    if group is None:
        return []
    cells = read_cells(group, [group.trials[RECURSION].to_numpy(dtype=float)])
    one = Fit("recurrence", RESPONSE, **group.facts, form="one_exponent")
    curved = Fit("recurrence", RESPONSE, **group.facts, form="curvature")
    fits = [one, curved]
    reason = refuse(group, cells)
    if reason is None:
        describe(one, cells, ["recursion"])
        error = np.sqrt(cells.variance / cells.seeds) if cells.replicates else cells.seeds
        overall, free = model_free_rate(np.log(cells.recursed), cells.log_axes[:, 0], cells.log_loss, error, cells.replicates)
        one.add("exchange_rate_model_free", overall)
        curved.local_rates = bend(one, curved, cells, free, float(np.log(group.trials.groupby(CELL)[RECURSION].first()).mean()))
    for fit in fits:
        settle(fit, cells, reason, group)
    three = _three_exponents(group)
    if three is not None:
        fits.append(three)
    if len(group.trials) < len(whole.trials):
        for fit in fits:
            fit.flags.append("survivors_only")
    return fits


def refuse(group: Group, cells: Cells) -> Reason | None:
    """Why a group cannot identify the law, before anything is fitted."""
    refusal = find_refusal(cells.recursed, np.exp(cells.log_axes[:, 0]), cells.seeds)
    return refusal.reason if refusal else flat(group, cells)


def flat(group: Group, cells: Cells) -> Reason | None:
    """Whether no cell differs from another, at the floor or at the ceiling of the task."""
    known = ACCURACY in group.trials
    accuracy = group.trials.groupby(CELL, sort=True)[ACCURACY].mean().to_numpy(dtype=float) if known else None
    return find_flat(cells.measured, accuracy)


def linear_fit(cells: Cells, quadratic: bool = False) -> Linear:
    """log L = c - a log N - b log R (+ q (log R)^2), by cell, logs centred at the design."""
    return fit_linear(law_matrix(cells.log_recursed, cells.axes, quadratic), cells.log_loss, cells.names)


def law_fit(cells: Cells, quadratic: bool = False, saturates: bool = True) -> Curve:
    """The law itself: parameters c, alpha, phi for each axis, log E (and q).

    Args:
        saturates: whether E is free; else it is held where it does nothing.
    """
    weights, axes_count = np.sqrt(cells.seeds), cells.log_axes.shape[1]
    centred = cells.axes[:, 0]

    def residuals(parameters: np.ndarray) -> np.ndarray:
        c, alpha, *phi = parameters[: 2 + axes_count]
        # The mean goes with phi, else c would follow every step of it.
        mean = np.log(cells.recursed).mean() + cells.log_axes.mean(0) @ np.array(phi)
        effective = np.logaddexp(np.log(np.maximum(cells.once, 1e-300)), np.log(cells.recursed) + cells.log_axes @ np.array(phi))
        said = np.logaddexp(parameters[2 + axes_count], c - alpha * (effective - mean))
        if quadratic:
            said = said + parameters[-1] * centred**2
        return weights * (cells.log_loss - said)

    line = linear_fit(cells)
    slopes = line.coefficients
    level, a = float(slopes[0]), float(slopes[1]) or 1e-3
    low = float(cells.log_loss.min())
    starts = []
    for share in (1e-6, 0.3, 0.7) if saturates else (1e-6,):  # of the smallest loss that E takes
        scale = 1 / (1 - share * 0.7)
        phi = np.clip(slopes[2:] / a, -5, 5)
        starts.append(np.array([level, a * scale, *phi, low + np.log(share), *([0.0] if quadratic else [])]))
    lower = [-np.inf, -20.0, *[-50.0] * axes_count, low - 14.0, *([-np.inf] if quadratic else [])]
    upper = [np.inf, 20.0, *[50.0] * axes_count, low + 1.0 if saturates else low - 13.9, *([np.inf] if quadratic else [])]
    return fit_curve(residuals, starts, (np.array(lower), np.array(upper)), len(cells.names))


def describe(fit: Fit, cells: Cells, names: list[str]) -> Curve:
    """Slopes, exponents, exchange rate, and how well the law fits."""
    line, law = linear_fit(cells), law_fit(cells)
    count = len(names)
    fit.add("slope_log_params", line.interval(np.eye(2 + count)[1]))
    for number, name in enumerate(names):
        fit.add(f"slope_log_{name}", line.interval(np.eye(2 + count)[2 + number]))
    # The interval always takes E for unknown; the point is that of the form which AIC prefers.
    unsaturated = law_fit(cells, saturates=False)
    number_of_cells = len(cells.names)
    saturates = _aicc(law.squares, number_of_cells, 3 + count) < _aicc(unsaturated.squares, number_of_cells, 2 + count)
    drawn = law.parameters if saturates else unsaturated.parameters
    fit.add("alpha", _around(law.profile(1, 0.05), drawn[1]))
    if is_size_clear(line.t(1), line.freedom):
        for number, name in enumerate(names):
            phi = _around(law.profile(2 + number, 0.05), drawn[2 + number])
            fit.add("phi" if count == 1 else f"phi_{name}", phi)
            if phi is not None and count == 1:
                low, middle, high = 2 ** phi[1], 2 ** phi[0], 2 ** phi[2]
                fit.add("exchange_rate", (middle, low, high))
    residual = law.residuals(law.parameters) / np.sqrt(cells.seeds)
    times = np.exp(cells.log_axes.sum(1))
    fit.seen = pd.DataFrame(
        {
            "line": [f"R {value:g}" for value in times.round(6)],
            "x": cells.recursed,
            "measured": np.exp(cells.log_loss),
            "fitted": np.exp(cells.log_loss - residual),
            "residual": residual,
            "half": stats.t.ppf(0.5 + LEVEL / 2, max(1, cells.replicates)) * np.sqrt(cells.variance / cells.seeds),
        }
    ).iloc[np.argsort(times, kind="stable")]
    fit.r_squared = r_squared(residual, cells.log_loss)
    fit.aic = aic(law.squares, len(cells.names), len(law.parameters))
    width = fit_linear(np.column_stack([np.ones(len(cells.names)), -cells.log_recursed]), cells.log_loss, cells.names)
    fit.aic_simpler = {
        "log_linear": aic(_squares(cells, line, 2 + count), len(cells.names), 2 + count),
        "params_only": aic(_squares(cells, width, 2), len(cells.names), 2),
    }
    fit.leave_one_scale_out_error = leave_one_scale_out(cells)
    check_fit(fit, cells, residual, len(law.parameters))
    return law


def _around(interval: tuple[float, float, float] | None, estimate: float) -> tuple[float, float, float] | None:
    """The interval with another point estimate, which must lie in it."""
    return None if interval is None else (float(np.clip(estimate, interval[1], interval[2])), interval[1], interval[2])


def check_fit(fit: Fit, cells: Cells, residual: np.ndarray, parameters: int) -> None:
    """Lack of fit against the replicates: always flagged, and refused where it also matters."""
    misfit = find_misfit(cells.measured, residual, parameters)
    if misfit is None:
        return
    fit.lack_of_fit = {"test": "F", "p": misfit.p, "flagged": misfit.is_clear}
    if misfit.is_clear:
        fit.flags.append("lack_of_fit")
    if misfit.is_refused:
        fit.reason = "lack_of_fit"


def bend(one: Fit, curved: Fit, cells: Cells, free: pd.DataFrame, centre: float) -> pd.DataFrame:
    """The curvature term: is the law straight in log R, beyond what E explains; and where would more recursion stop helping?

    Args:
        free: model-free rates between neighbouring R.
        centre: mean of log R over the design.

    Returns:
        The exchange rate at every R.
    """
    p, line = curvature_p(cells), linear_fit(cells, quadratic=True)
    b, q = float(line.coefficients[2]), float(line.coefficients[3])
    for name, index in (("slope_log_params", 1), ("slope_log_recursion", 2), ("curvature", 3)):
        curved.add(name, line.interval(np.eye(4)[index]))
    ratio = fieller(line, 2, 1) if abs(line.t(1)) > MIN_SIZE_SLOPE_T else None
    if ratio is not None:
        curved.add("exchange_rate", (2 ** ratio[0], 2 ** ratio[1], 2 ** ratio[2]))
    if p < SIGNIFICANT:
        flags = ["curvature"]
        largest = float(cells.axes[:, 0].max())
        if b - 2 * q * largest <= 0 and q > 0:
            flags.append("plateau")
        for fit in (one, curved):
            fit.flags += flags
        if q > 0:
            best = _turning_point(cells, largest, float(cells.axes[:, 0].min()))
            if best is not None:
                curved.add("best_recursion", tuple(float(np.exp(centre + value)) for value in best))  # type: ignore[arg-type]
    residual = cells.log_loss - _predict_line(cells, line)
    curved.r_squared = r_squared(residual, cells.log_loss)
    curved.aic = aic(float((cells.seeds * residual**2).sum()), len(cells.names), 4)
    curved.aic_simpler = {"log_linear": aic(_squares(cells, linear_fit(cells), 3), len(cells.names), 3)}
    curved.leave_one_scale_out_error = leave_one_scale_out(cells, quadratic=True)
    check_fit(curved, cells, residual, 4)
    return local_rates(cells, line, free)


def curvature_p(cells: Cells) -> float:
    """Whether a quadratic term in log R explains more than E does: F test of the law with it against the law without."""
    straight, quadratic = law_fit(cells), law_fit(cells, quadratic=True)
    gained = max(0.0, straight.squares - quadratic.squares)
    if not quadratic.squares:
        return 0.0
    return float(stats.f.sf(gained / (quadratic.squares / quadratic.freedom), 1, quadratic.freedom))


def local_rates(cells: Cells, line: Linear, free: pd.DataFrame) -> pd.DataFrame:
    """2^((b - 2 q log R) / a) over the design with Fieller's interval, and the model-free rate between neighbouring R.

    Returns:
        Columns `kind` (law, model_free), `recursion`, `estimate`, `low`, `high`.
    """
    rates = free.assign(kind="model_free")[["kind", *free.columns]]
    if abs(line.t(1)) <= MIN_SIZE_SLOPE_T:
        return rates
    rows = []
    for at in np.linspace(cells.axes[:, 0].min(), cells.axes[:, 0].max(), SHOWN):
        both = np.array([[0.0, 0.0, 1.0, -2 * at], [0.0, 1.0, 0.0, 0.0]])
        ratio = fieller(Linear(both @ line.coefficients, both @ line.covariance @ both.T, line.freedom), 0, 1)
        if ratio is not None:
            rows.append(("law", float(np.exp(at + cells.log_axes.mean())), *(float(2**value) for value in ratio)))
    return pd.concat([part for part in (pd.DataFrame(rows, columns=rates.columns), rates) if len(part)], ignore_index=True)


def _predict_line(cells: Cells, line: Linear) -> np.ndarray:
    return np.asarray(law_matrix(cells.log_recursed, cells.axes, quadratic=True) @ line.coefficients)


def _turning_point(cells: Cells, largest: float, smallest: float) -> tuple[float, float, float] | None:
    """log R at which more recursion stops helping at equal parameters, where it lies inside the design; by Fieller."""
    line, twice = linear_fit(cells, quadratic=True), np.array([1, 1, 1, 2])
    doubled = Linear(line.coefficients * twice, line.covariance * np.outer(twice, twice), line.freedom)
    point = fieller(doubled, 2, 3)
    return point if point is not None and smallest <= point[0] <= largest else None


def leave_one_scale_out(cells: Cells, quadratic: bool = False) -> float | None:
    """Root mean squared error in log L of scales (each width, each recursion) that the fit has not seen."""
    errors = []
    scales = [cells.log_recursed, *cells.axes.T]
    for values in scales:
        for value in np.unique(values):
            left = values == value
            kept = ~left
            x = np.column_stack(
                [np.ones(len(left)), cells.log_recursed, cells.axes, *([cells.axes[:, :1] ** 2] if quadratic else [])]
            )
            if kept.sum() <= x.shape[1]:
                continue
            solved = np.linalg.lstsq(x[kept], cells.log_loss[kept], rcond=None)[0]
            errors += list(cells.log_loss[left] - x[left] @ solved)
    return root_mean_square(errors)


def settle(fit: Fit, cells: Cells, reason: Reason | None, group: Group) -> None:
    """Range and refusal."""
    fit.reason = reason or fit.reason
    trials = group.trials
    fit.fitted_range = {name: [float(trials[name].min()), float(trials[name].max())] for name in ("params_recursed", RECURSION)}
    if fit.reason in {"floor", "ceiling", "too_few_scales", "too_few_seeds", "confounded"}:
        fit.estimates = {}
    elif fit.reason == "lack_of_fit":
        fit.estimates = {name: value for name, value in fit.estimates.items() if name.startswith(("slope", "exchange_rate_model"))}
        if fit.local_rates is not None:
            fit.local_rates = fit.local_rates[fit.local_rates["kind"] == "model_free"]


def _three_exponents(group: Group) -> Fit | None:
    """One exponent for T, n + 1 and N_sup each; None for a table that does not have all three."""
    if not set(THREE.values()) <= set(group.trials) or group.trials[list(THREE.values())].isna().any(axis=None):
        return None
    fit = Fit("recurrence", RESPONSE, **group.facts, form="three_exponents")
    axes = [group.trials[path].to_numpy(dtype=float) + (name == "l_cycles") for name, path in THREE.items()]
    if any((values <= 0).any() for values in axes) or sum(len(np.unique(values)) > 1 for values in axes) < 2:
        return None
    cells = read_cells(group, axes)
    refusal = find_refusal_of_three(cells.recursed, np.exp(cells.log_axes), cells.seeds)
    reason = refusal.reason if refusal else flat(group, cells)
    if reason is None:
        describe(fit, cells, ["h_cycles", "l_cycles_plus_1", "supervision_steps"])
    settle(fit, cells, reason, group)
    return fit


def _squares(cells: Cells, line: Linear, count: int) -> float:
    columns = law_matrix(cells.log_recursed, cells.axes)[:, :count]
    return float((cells.seeds * (cells.log_loss - columns @ line.coefficients) ** 2).sum())


def _aicc(squares: float, count: int, parameters: int) -> float:
    """AIC with the correction for few cells (Hurvich and Tsai 1989), by which forms are chosen."""
    free = count - parameters - 2
    return aic(squares, count, parameters) + 2 * (parameters + 1) * (parameters + 2) / free if free > 0 else float("inf")
