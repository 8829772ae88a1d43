"""The form of the recurrence law with a curvature term: an exchange rate for every R.

log L = c - a log N - b log R + q (log R)^2
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.figures.data import BLACK, FigureData, Series
from analysis.laws.cells import (
    RECURSION_SLOPE,
    SIGNIFICANT,
    SIZE_SLOPE,
    Cells,
    check_misfit,
    curvature_p,
    error_at_unseen_scales,
    fit_line,
    line_misfit,
    line_slopes,
)
from analysis.laws.drawing import R_LABEL, interval_columns
from analysis.laws.exchange_rate import model_free_rate
from analysis.laws.fit import Fit, Quality, only_bounded
from analysis.laws.groups import CELL, Group
from analysis.statistics.interval import Interval
from analysis.statistics.regression import Linear, aic, fieller, r_squared
from sweeps.design.axes import RECURSION
from sweeps.design.thresholds import MIN_SIZE_SLOPE_T

CURVE_POINTS = 24  # points of a curve over the design
CURVATURE_SLOPE = 3  # place of q in the coefficients of the log-linear form


@dataclass(frozen=True, eq=False)
class CurvatureFit(Fit):
    """The form with a curvature term, which has an exchange rate for every R."""

    local_rates: pd.DataFrame | None = None  # columns kind (law, model_free), recursion, estimate, low, high
    break_even_rate: float | None = None  # the rate above which recursion pays at equal FLOPs of an answer

    def further_json(self) -> dict[str, Any]:
        return {"local_exchange_rates": [] if self.local_rates is None else self.local_rates.to_dict("records")}


def middle_of_r(group: Group) -> float:
    """Mean of log R over cells."""
    return float(np.log(group.trials.groupby(CELL)[RECURSION].first()).mean())


def rate_without_a_law(cells: Cells) -> tuple[Interval | None, pd.DataFrame]:
    error = np.sqrt(cells.variance / cells.seeds) if cells.replicates else cells.seeds
    return model_free_rate(np.log(cells.recursed), cells.log_recursion, cells.log_loss, error, cells.replicates)


def flags_of_curvature(cells: Cells) -> tuple[str, ...]:
    """Whether the law is bent in log R beyond what E explains, and whether more recursion stops helping in the design."""
    if curvature_p(cells) >= SIGNIFICANT:
        return ()
    slopes = fit_line(cells, quadratic=True).coefficients
    b, q = float(slopes[RECURSION_SLOPE]), float(slopes[CURVATURE_SLOPE])
    is_over = q > 0 and b - 2 * q * float(cells.axes[:, 0].max()) <= 0
    return ("curvature", "plateau") if is_over else ("curvature",)


def estimate_curvature(fit: CurvatureFit, cells: Cells, between: pd.DataFrame, middle: float) -> CurvatureFit:
    """The log-linear form with a quadratic term in log R.

    Args:
        fit: with the flags of the curvature.
        between: model-free rates between neighbouring R.
        middle: mean of log R over cells.
    """
    line, count = fit_line(cells, quadratic=True), len(cells.names)
    misfit = line_misfit(cells, line)
    check = check_misfit(cells, misfit, len(line.coefficients))
    straight = fit_line(cells)
    quality = Quality(
        r_squared=r_squared(misfit, cells.log_loss),
        aic=aic(cells.squares(misfit), count, len(line.coefficients)),
        aic_simpler={"log_linear": aic(cells.squares(line_misfit(cells, straight)), count, len(straight.coefficients))},
        leave_one_scale_out_error=error_at_unseen_scales(cells, quadratic=True),
        lack_of_fit=check.lack_of_fit,
    )
    rate = fieller(line, RECURSION_SLOPE, SIZE_SLOPE) if abs(line.t(SIZE_SLOPE)) > MIN_SIZE_SLOPE_T else None
    best = _best_recursion(cells, line) if "curvature" in fit.flags else None
    estimates = {
        **line_slopes(line),
        "curvature": line.interval(np.eye(len(line.coefficients))[CURVATURE_SLOPE]),
        "exchange_rate": rate and rate.map(lambda exponent: 2**exponent),
        "best_recursion": best and best.map(lambda log_r: np.exp(middle + log_r)),
    }
    return replace(
        fit, estimates=only_bounded(estimates), quality=quality, flags=(*fit.flags, *quality.flags), reason=check.reason,
        local_rates=_local_rates(cells, line, between),
    )  # fmt: skip


def _best_recursion(cells: Cells, line: Linear) -> Interval | None:
    """log R, centred, at which more recursion stops helping at equal parameters; None where it lies outside the design."""
    if line.coefficients[CURVATURE_SLOPE] <= 0:
        return None
    twice = np.array([1, 1, 1, 2])
    doubled = Linear(line.coefficients * twice, line.covariance * np.outer(twice, twice), line.freedom)
    point, log_r = fieller(doubled, RECURSION_SLOPE, CURVATURE_SLOPE), cells.axes[:, 0]
    return point if point is not None and log_r.min() <= point.estimate <= log_r.max() else None


def _local_rates(cells: Cells, line: Linear, between: pd.DataFrame) -> pd.DataFrame:
    """2^((b - 2 q log R) / a) over the design with Fieller's interval, and the model-free rate between neighbouring R.

    Returns:
        Columns `kind` (law, model_free), `recursion`, `estimate`, `low`, `high`.
    """
    rates = between.assign(kind="model_free")[["kind", *between.columns]]
    if abs(line.t(SIZE_SLOPE)) <= MIN_SIZE_SLOPE_T:
        return rates
    rows = []
    for log_r in np.linspace(cells.axes[:, 0].min(), cells.axes[:, 0].max(), CURVE_POINTS):
        slopes = np.array([[0.0, 0.0, 1.0, -2 * log_r], [0.0, 1.0, 0.0, 0.0]])  # slopes at this R: in log R, and in log N
        ratio = fieller(Linear(slopes @ line.coefficients, slopes @ line.covariance @ slopes.T, line.freedom), 0, 1)
        if ratio is not None:
            numbers = ratio.map(lambda exponent: 2**exponent).numbers
            rows.append(("law", float(np.exp(log_r + cells.log_axes.mean())), *numbers))
    return pd.concat([part for part in (pd.DataFrame(rows, columns=rates.columns), rates) if len(part)], ignore_index=True)


def draw_local_rates(fit: CurvatureFit) -> FigureData | None:
    """What one doubling of recursion is worth in parameters, at every R."""
    rates = fit.local_rates
    if rates is None or rates.empty:
        return None
    law, free = rates[rates["kind"] == "law"], rates[rates["kind"] == "model_free"]
    series = []
    if len(law):
        series.append(Series("at each R", *interval_columns(law, "recursion", "estimate"), style="curve"))
    if len(free):
        columns = interval_columns(free, "recursion", "estimate")
        series.append(Series("without a law, between two R", *columns, color=1, style="points"))
    ends = [float(rates["recursion"].min()), float(rates["recursion"].max())]
    series.append(Series("worth nothing", ends, [1.0, 1.0], color=BLACK, dash=2, style="curve"))
    if fit.break_even_rate is not None:
        level = [fit.break_even_rate] * 2
        series.append(Series("break-even at equal FLOPs of an answer", ends, level, color=BLACK, dash=1, style="curve"))
    return FigureData(
        f"exchange_rate{fit.suffix}", "What one doubling of recursion is worth",
        "Factor in recursed parameters; band and bars: 95 % CI. Below 1, more recursion harms. "
        "The curve may change with R; the headline has one rate for all R unless that change is clear.",
        R_LABEL, "factor in recursed parameters", series, x_scale="log", y_scale="log",
    )  # fmt: skip
