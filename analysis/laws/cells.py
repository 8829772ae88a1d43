"""Cell means of log L, and the recurrence law fitted to them, as a curve and in its log-linear form."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from analysis.laws.groups import CELL, Group
from analysis.statistics.interval import Interval
from analysis.statistics.regression import Curve, LackOfFit, Linear, aic, fit_curve, fit_linear, root_mean_square
from sweeps.design.axes import RECURSION, SIZE
from sweeps.design.identifiability import find_refusal
from sweeps.design.reasons import Reason
from sweeps.design.slopes import centre, law_matrix
from sweeps.design.thresholds import LEVEL
from sweeps.planning.evidence import Measured, find_flat, find_misfit

RESPONSE, ACCURACY = "test/nll", "test/exact_accuracy"
NEEDED = (SIZE, RESPONSE, RECURSION)
SIGNIFICANT = 0.05  # p of the curvature term
C, ALPHA, PHI = 0, 1, 2  # places in the parameters of the law; log E follows, then q
SIZE_SLOPE, RECURSION_SLOPE = 1, 2  # places in the coefficients of the log-linear form; q follows


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
    variance: float  # variance of log L between seeds, pooled within cells
    replicates: int  # degrees of freedom of the variance

    @property
    def measured(self) -> Measured:
        """The values that the rules of refusals use."""
        return Measured(self.log_loss, self.seeds, self.variance, self.replicates)

    @property
    def axes(self) -> np.ndarray:
        """Log of recursion, centred at the design, [G, K]."""
        return centre(self.log_axes)

    @property
    def log_recursion(self) -> np.ndarray:
        """Log of the first axis, [G]: of R in the law itself, which has one."""
        return np.asarray(self.log_axes[:, 0])

    def squares(self, misfit: np.ndarray) -> float:
        """Sum of squares over trials of a misfit of cells [G]."""
        return float((self.seeds * misfit**2).sum())


def read_cells(group: Group, axes: list[np.ndarray], response: str = RESPONSE) -> Cells:
    """Cell means.

    Args:
        axes: K arrays [trials], the recursion (or the puzzles in training) of every trial along each axis.
        response: column whose logarithm is averaged.
    """
    table = pd.DataFrame({CELL: group.trials[CELL].to_numpy(), "y": np.log(group.trials[response].to_numpy(dtype=float))})
    table["once"], table["recursed"] = (group.trials[name].to_numpy(dtype=float) for name in ("params_once", SIZE))
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


def read_recursion(group: Group) -> Cells:
    """Cell means with R as the only axis."""
    return read_cells(group, [group.trials[RECURSION].to_numpy(dtype=float)])


def draw_points(cells: Cells, misfit: np.ndarray, lines: Sequence[str] | None = None) -> pd.DataFrame:
    """What the figures of a law draw, by rising R.

    Args:
        lines: [G] name of the line of each cell; its R where absent.
    """
    times = np.exp(cells.log_axes.sum(1))
    rows = {
        "line": [f"R {value:g}" for value in times.round(6)] if lines is None else list(lines),
        "x": cells.recursed,
        "measured": np.exp(cells.log_loss),
        "fitted": np.exp(cells.log_loss - misfit),
        "misfit": misfit,
        "half": stats.t.ppf(0.5 + LEVEL / 2, max(1, cells.replicates)) * np.sqrt(cells.variance / cells.seeds),
    }
    return pd.DataFrame(rows).iloc[np.argsort(times, kind="stable")]


# -- refusals -----------------------------------------------------------------------------------------------------


def has_logarithms(group: Group) -> bool:
    """Whether every loss, size and R is above 0."""
    return bool((group.trials[list(NEEDED)] > 0).all(axis=None))


def find_reason(group: Group, cells: Cells) -> Reason | None:
    """Why a group cannot identify the law, before anything is fitted."""
    refusal = find_refusal(cells.recursed, np.exp(cells.log_recursion), cells.seeds)
    return refusal.reason if refusal else find_end(group, cells)


def find_end(group: Group, cells: Cells) -> Reason | None:
    """Floor or ceiling of the task, where no cell differs from another."""
    known = ACCURACY in group.trials
    accuracy = group.trials.groupby(CELL, sort=True)[ACCURACY].mean().to_numpy(dtype=float) if known else None
    return find_flat(cells.measured, accuracy)


@dataclass(frozen=True)
class Check:
    """Lack of fit against the replicates: flagged where it is clear, and refused where it also matters."""

    lack_of_fit: LackOfFit | None
    reason: Reason | None


def check_misfit(cells: Cells, misfit: np.ndarray, parameters: int) -> Check:
    """The check of a misfit [G] in log L of a law with so many parameters."""
    verdict = find_misfit(cells.measured, misfit, parameters)
    if verdict is None:
        return Check(None, None)
    return Check(LackOfFit("F", verdict.p, verdict.is_clear), Reason.LACK_OF_FIT if verdict.is_refused else None)


# -- fits ---------------------------------------------------------------------------------------------------------


def fit_line(cells: Cells, *, quadratic: bool = False) -> Linear:
    """log L = c - a log N - b log R (+ q (log R)^2), by cell, logs centred at the design."""
    return fit_linear(law_matrix(cells.log_recursed, cells.axes, quadratic), cells.log_loss, cells.names)


def line_slopes(line: Linear) -> dict[str, Interval | None]:
    """a and b of the log-linear form."""
    unit = np.eye(len(line.coefficients))
    places = {"slope_log_params": SIZE_SLOPE, "slope_log_recursion": RECURSION_SLOPE}
    return {name: line.interval(unit[place]) for name, place in places.items()}


def line_misfit(cells: Cells, line: Linear) -> np.ndarray:
    """log L less that of a log-linear form with all slopes, or with the first of them, [G]."""
    matrix = law_matrix(cells.log_recursed, cells.axes, quadratic=True)[:, : len(line.coefficients)]
    return np.asarray(cells.log_loss - matrix @ line.coefficients)


def fit_law(cells: Cells, *, quadratic: bool = False, saturates: bool = True) -> Curve:
    """The law itself: parameters c, alpha, phi, log E (and q).

    Args:
        saturates: whether E is free; else it is held where it does nothing.
    """
    weights, low = np.sqrt(cells.seeds), float(cells.log_loss.min())

    def residuals(parameters: np.ndarray) -> np.ndarray:
        return np.asarray(weights * (cells.log_loss - _predict(cells, parameters, quadratic=quadratic)))

    q = int(quadratic)
    lower = [-np.inf, -20.0, -50.0, low - 14.0, *[-np.inf] * q]
    upper = [np.inf, 20.0, 50.0, low + 1.0 if saturates else low - 13.9, *[np.inf] * q]
    shares = (1e-6, 0.3, 0.7) if saturates else (1e-6,)
    starts = [_start(cells, share, quadratic=quadratic) for share in shares]
    return fit_curve(residuals, starts, (np.array(lower), np.array(upper)), len(cells.names))


def _predict(cells: Cells, parameters: np.ndarray, *, quadratic: bool) -> np.ndarray:
    """log L of the law, [G]."""
    phi, log_e = parameters[PHI], parameters[PHI + 1]
    # The mean goes with phi, else c would follow every step of it.
    mean = np.log(cells.recursed).mean() + cells.log_recursion.mean() * phi
    effective = np.logaddexp(np.log(np.maximum(cells.once, 1e-300)), np.log(cells.recursed) + cells.log_recursion * phi)
    log_loss = np.logaddexp(log_e, parameters[C] - parameters[ALPHA] * (effective - mean))
    return np.asarray(log_loss + parameters[-1] * cells.axes[:, 0] ** 2 if quadratic else log_loss)


def _start(cells: Cells, share: float, *, quadratic: bool) -> np.ndarray:
    """Parameters from which a search starts; E takes a share of the smallest loss."""
    slopes = fit_line(cells).coefficients
    a = float(slopes[SIZE_SLOPE]) or 1e-3
    scale = 1 / (1 - share * 0.7)
    phi = float(np.clip(slopes[RECURSION_SLOPE] / a, -5, 5))
    log_e = float(cells.log_loss.min()) + np.log(share)
    return np.array([float(slopes[C]), a * scale, phi, log_e, *([0.0] if quadratic else [])])


def law_misfit(cells: Cells, law: Curve) -> np.ndarray:
    """log L less that of the fitted law, [G]."""
    return np.asarray(law.residuals(law.parameters) / np.sqrt(cells.seeds))


def curvature_p(cells: Cells) -> float:
    """Whether a quadratic term in log R explains more than E does: F test of the law with it against the law without."""
    straight, quadratic = fit_law(cells), fit_law(cells, quadratic=True)
    gained = max(0.0, straight.squares - quadratic.squares)
    if not quadratic.squares:
        return 0.0
    return float(stats.f.sf(gained / (quadratic.squares / quadratic.freedom), 1, quadratic.freedom))


def aicc(squares: float, count: int, parameters: int) -> float:
    """AIC with the correction for few cells (Hurvich and Tsai 1989), by which forms are chosen."""
    free = count - parameters - 2
    return aic(squares, count, parameters) + 2 * (parameters + 1) * (parameters + 2) / free if free > 0 else float("inf")


def error_at_unseen_scales(cells: Cells, *, quadratic: bool = False) -> float | None:
    """Root mean squared error in log L at scales (each width, each recursion) by a log-linear fit without their cells."""
    squared = [cells.axes[:, :1] ** 2] if quadratic else []
    x = np.column_stack([np.ones(len(cells.names)), cells.log_recursed, cells.axes, *squared])
    errors: list[float] = []
    for values in (cells.log_recursed, *cells.axes.T):
        for value in np.unique(values):
            seen = values != value
            if seen.sum() > x.shape[1]:
                solved = np.linalg.lstsq(x[seen], cells.log_loss[seen], rcond=None)[0]
                errors += list(cells.log_loss[~seen] - x[~seen] @ solved)
    return root_mean_square(errors)
