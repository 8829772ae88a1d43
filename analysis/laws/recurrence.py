"""The recurrence law: the worth of one doubling of recursion in parameters.

    log L = log(E + exp(c - alpha (log N_eff - mean)))    N_eff = N_once + R^phi N_recursed

N_once, N_recursed: parameters outside and inside the recursion; R = T (n + 1) N_sup, the number of times that a recursed
parameter is applied (or three numbers, each with an exponent of its own); E >= 0, the loss that neither size nor recursion removes.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from scipy import stats

from analysis.figures.data import BLACK, FigureData, Series
from analysis.laws.cells import (
    ALPHA,
    FIRST_PHI,
    FIRST_SLOPE,
    NEEDED,
    RESPONSE,
    SIGNIFICANT,
    SIZE_SLOPE,
    Cells,
    aicc,
    check_misfit,
    curvature_p,
    error_at_unseen_scales,
    find_end,
    find_reason,
    fit_law,
    fit_line,
    law_misfit,
    line_misfit,
    read_cells,
    read_recursion,
)
from analysis.laws.draft import Draft
from analysis.laws.drawing import LOSS_LABEL, R_LABEL, SIZE_LABEL, Drawing, interval_columns
from analysis.laws.exchange_rate import model_free_rate
from analysis.laws.fit import Fit, Quality, only_bounded
from analysis.laws.groups import CELL, Group
from analysis.laws.law import Law
from analysis.laws.sentence import Sentence, name_place, state_interval, state_refusals
from analysis.statistics.interval import Interval
from analysis.statistics.regression import Curve, Linear, aic, fieller, fit_linear, r_squared
from sweeps.design.axes import CYCLES, DEPTH_AXES, LATENT_UPDATES, RECURSION, SIZE, SUPERVISION_STEPS
from sweeps.design.identifiability import find_refusal_of_three
from sweeps.design.reasons import Reason
from sweeps.design.thresholds import LEVEL, MIN_SIZE_SLOPE_T
from sweeps.planning.evidence import is_size_clear
from sweeps.spec.measure import Block

THREE = {"h_cycles": CYCLES, "l_cycles_plus_1": LATENT_UPDATES, "supervision_steps": SUPERVISION_STEPS}  # axis and its setting
ONE_EXPONENT, CURVATURE, THREE_EXPONENTS = "one_exponent", "curvature", "three_exponents"
CURVE_POINTS = 24  # points of a curve over the design
SUGGESTED_SIZES = 3  # sizes in a design for three exponents
CURVATURE_SLOPE = 3  # place of q in the coefficients of the log-linear form
DOUBLING_OF_R = -0.693  # change of log L a doubling, for a slope of log L in log R


@dataclass(frozen=True, eq=False)
class CurvatureFit(Fit):
    """The form with a curvature term, which has an exchange rate for every R."""

    local_rates: pd.DataFrame | None = None  # columns kind (law, model_free), recursion, estimate, low, high

    def further_json(self) -> dict[str, Any]:
        return {"local_exchange_rates": [] if self.local_rates is None else self.local_rates.to_dict("records")}


AnyFit = TypeVar("AnyFit", bound=Fit)


class Recurrence(Law):
    """Loss against recursed parameters and R."""

    name = "recurrence"
    rank = 1
    is_leading = True
    needs = ((RESPONSE,), (SIZE,), DEPTH_AXES)
    shows = "the recurrence law, its misfit and the exchange rate"
    drawing = Drawing("The recurrence law", SIZE_LABEL, LOSS_LABEL)

    def fit(self, group: Group) -> list[Fit]:
        """The law with one exponent, its curvature, and three exponents where T, n and N_sup move apart.

        Trials without a loss, a size or a recursion are left out and flagged.
        """
        known = group.with_values_of(NEEDED)
        if known is None:
            return []
        fits: list[Fit] = [*self._fit_recursion(known)]
        three = self._fit_three_exponents(known)
        if three is not None:
            fits.append(three)
        if len(known.trials) < len(group.trials):
            return [replace(fit, flags=(*fit.flags, "survivors_only")) for fit in fits]
        return fits

    def _fit_recursion(self, group: Group) -> tuple[Fit, CurvatureFit]:
        """The forms with R as the only axis."""
        cells, ranges = read_recursion(group), group.range_of(SIZE, RECURSION)
        one = Fit(self, RESPONSE, **group.facts, form=ONE_EXPONENT, fitted_range=ranges)
        curved = CurvatureFit(self, RESPONSE, **group.facts, form=CURVATURE, fitted_range=ranges)
        reason = find_reason(group, cells)
        if reason is not None:
            return replace(one, reason=reason), replace(curved, reason=reason)
        rate, between = _rate_without_a_law(cells)
        flags = _flags_of_curvature(cells)
        one = _estimate(one, cells, ["recursion"])
        one = replace(one, estimates=one.estimates | only_bounded({"exchange_rate_model_free": rate}), flags=(*one.flags, *flags))
        curved = _estimate_curvature(replace(curved, flags=flags), cells, between, _middle_of_r(group))
        return _keep_without_the_law(one), _keep_without_the_law(curved)

    def _fit_three_exponents(self, group: Group) -> Fit | None:
        """One exponent for T, n + 1 and N_sup each; None for a table that does not have all three."""
        if not set(THREE.values()) <= set(group.trials) or group.trials[list(THREE.values())].isna().any(axis=None):
            return None
        axes = [group.trials[path].to_numpy(dtype=float) + (path == LATENT_UPDATES) for path in THREE.values()]
        if any((values <= 0).any() for values in axes) or sum(len(np.unique(values)) > 1 for values in axes) < 2:
            return None
        cells, ranges = read_cells(group, axes), group.range_of(SIZE, RECURSION)
        fit = Fit(self, RESPONSE, **group.facts, form=THREE_EXPONENTS, fitted_range=ranges)
        refusal = find_refusal_of_three(cells.recursed, np.exp(cells.log_axes), cells.seeds)
        reason = refusal.reason if refusal else find_end(group, cells)
        return _keep_without_the_law(_estimate(fit, cells, list(THREE))) if reason is None else replace(fit, reason=reason)

    def sentences(self, fits: Sequence[Fit]) -> list[Sentence]:
        return super().sentences([fit for fit in fits if fit.form == ONE_EXPONENT])

    def sentence(self, fit: Fit) -> list[Sentence]:
        """The worth of one doubling of recursion, and where it ends."""
        rate = fit.estimates.get("exchange_rate")
        sizes, recursion = fit.fitted_range[SIZE], fit.fitted_range[RECURSION]
        over = f"over R {recursion[0]:g} to {recursion[1]:g} and {sizes[0]:,.0f} to {sizes[1]:,.0f} recursed parameters"
        if rate is None:
            change = state_interval(fit.estimates["slope_log_recursion"], DOUBLING_OF_R)
            text = "the loss does not fall clearly with parameters, so that a doubling of recursion has no price in them"
            return [Sentence(f"{name_place(fit)}{text}; log loss changes by {change} a doubling, {over}.", "law_one_exponent")]
        worth = f"one doubling of recursion is worth {state_interval(rate)} times the recursed parameters, {over}."
        sentences = [Sentence(f"{name_place(fit)}{worth}", "law_one_exponent")]
        if "plateau" in fit.flags:
            text = "At the largest R more recursion brings nothing: the rate above is of the middle of the design."
            sentences.append(Sentence(text, f"exchange_rate{fit.suffix}"))
        elif "curvature" in fit.flags:
            text = "The gain is not the same over all R: the rate above is of the middle of the design."
            sentences.append(Sentence(text, f"exchange_rate{fit.suffix}"))
        return sentences

    def refusals(self, fits: Sequence[Fit]) -> list[Sentence]:
        return state_refusals([fit for fit in fits if fit.form == ONE_EXPONENT], "the recurrence law", "exchange_rate")

    def figure(self, fit: Fit) -> FigureData | None:
        """What one doubling of recursion is worth in parameters, at every R."""
        rates = fit.local_rates if isinstance(fit, CurvatureFit) else None
        if rates is None or rates.empty:
            return None
        law, free = rates[rates["kind"] == "law"], rates[rates["kind"] == "model_free"]
        series = []
        if len(law):
            series.append(Series("with curvature", *interval_columns(law, "recursion", "estimate"), style="curve"))
        if len(free):
            columns = interval_columns(free, "recursion", "estimate")
            series.append(Series("without a law, between two R", *columns, color=1, style="points"))
        ends = [float(rates["recursion"].min()), float(rates["recursion"].max())]
        series.append(Series("worth nothing", ends, [1.0, 1.0], color=BLACK, dash=2, style="curve"))
        series.append(Series("pays where compute is N x R", ends, [2.0, 2.0], color=BLACK, dash=1, style="curve"))
        return FigureData(
            f"exchange_rate{fit.suffix}", "What one doubling of recursion is worth",
            "Factor in recursed parameters; band and bars: 95 % CI. Below 1 more recursion harms.",
            R_LABEL, "factor in recursed parameters", series, x_scale="log", y_scale="log",
        )  # fmt: skip

    def suggest(self, draft: Draft, fit: Fit) -> bool:
        if fit.form != THREE_EXPONENTS:
            return super().suggest(draft, fit)
        _add_corners(draft, more=1 if fit.reason == Reason.LACK_OF_FIT else 0)
        return True


# -- one exponent, or three ---------------------------------------------------------------------------------------


def _estimate(fit: Fit, cells: Cells, axes: Sequence[str]) -> Fit:
    """Slopes, exponents, exchange rate, and how well the law fits.

    Args:
        axes: names of the K axes in the names of estimates.
    """
    line, law = fit_line(cells), fit_law(cells)
    misfit, count = law_misfit(cells, law), len(cells.names)
    check = check_misfit(cells, misfit, len(law.parameters))
    width = fit_linear(np.column_stack([np.ones(count), -cells.log_recursed]), cells.log_loss, cells.names)
    quality = Quality(
        r_squared=r_squared(misfit, cells.log_loss),
        aic=aic(law.squares, count, len(law.parameters)),
        aic_simpler={
            "log_linear": aic(cells.squares(line_misfit(cells, line)), count, len(line.coefficients)),
            "params_only": aic(cells.squares(line_misfit(cells, width)), count, len(width.coefficients)),
        },
        leave_one_scale_out_error=error_at_unseen_scales(cells),
        lack_of_fit=check.lack_of_fit,
    )
    estimates = only_bounded({**_slopes(line, axes), **_exponents(cells, line, law, axes)})
    points = _points(cells, misfit)
    return replace(fit, estimates=estimates, quality=quality, flags=quality.flags, reason=check.reason, points=points)


def _slopes(line: Linear, axes: Sequence[str]) -> dict[str, Interval | None]:
    unit = np.eye(len(line.coefficients))
    slopes = {f"slope_log_{name}": line.interval(unit[FIRST_SLOPE + number]) for number, name in enumerate(axes)}
    return {"slope_log_params": line.interval(unit[SIZE_SLOPE]), **slopes}


def _exponents(cells: Cells, line: Linear, law: Curve, axes: Sequence[str]) -> dict[str, Interval | None]:
    """alpha; and phi of each axis where the slope in size is clear.

    An interval takes E for unknown; the point in it is that of the form (with or without E) which AIC prefers.
    """
    count, unsaturated = len(cells.names), fit_law(cells, saturates=False)
    free = FIRST_PHI + 1 + len(axes)  # parameters of the law with E
    saturates = aicc(law.squares, count, free) < aicc(unsaturated.squares, count, free - 1)
    preferred = (law if saturates else unsaturated).parameters
    exponents = {"alpha": _around(law.profile(ALPHA, 0.05), preferred[ALPHA])}
    if not is_size_clear(line.t(SIZE_SLOPE), line.freedom):
        return exponents
    for place, name in enumerate(axes, FIRST_PHI):
        phi = _around(law.profile(place, 0.05), preferred[place])
        if len(axes) > 1:
            exponents[f"phi_{name}"] = phi
        else:
            exponents |= {"phi": phi, "exchange_rate": phi and phi.map(lambda exponent: 2**exponent)}
    return exponents


def _around(interval: Interval | None, estimate: float) -> Interval | None:
    """The interval with another point estimate, which must lie in it."""
    return interval and replace(interval, estimate=float(np.clip(estimate, interval.low, interval.high)))


def _points(cells: Cells, misfit: np.ndarray) -> pd.DataFrame:
    """What the figures draw, a line for each R, by rising R."""
    times = np.exp(cells.log_axes.sum(1))
    rows = {
        "line": [f"R {value:g}" for value in times.round(6)],
        "x": cells.recursed,
        "measured": np.exp(cells.log_loss),
        "fitted": np.exp(cells.log_loss - misfit),
        "misfit": misfit,
        "half": stats.t.ppf(0.5 + LEVEL / 2, max(1, cells.replicates)) * np.sqrt(cells.variance / cells.seeds),
    }
    return pd.DataFrame(rows).iloc[np.argsort(times, kind="stable")]


def _keep_without_the_law(fit: AnyFit) -> AnyFit:
    """Remove estimates that depend on the law from a fit that is refused for its misfit."""
    if fit.reason is None:
        return fit
    kept = {name: value for name, value in fit.estimates.items() if name.startswith(("slope", "exchange_rate_model"))}
    if isinstance(fit, CurvatureFit) and fit.local_rates is not None:
        return replace(fit, estimates=kept, local_rates=fit.local_rates[fit.local_rates["kind"] == "model_free"])
    return replace(fit, estimates=kept)


# -- curvature ----------------------------------------------------------------------------------------------------


def _middle_of_r(group: Group) -> float:
    """Mean of log R over cells."""
    return float(np.log(group.trials.groupby(CELL)[RECURSION].first()).mean())


def _rate_without_a_law(cells: Cells) -> tuple[Interval | None, pd.DataFrame]:
    error = np.sqrt(cells.variance / cells.seeds) if cells.replicates else cells.seeds
    return model_free_rate(np.log(cells.recursed), cells.log_axes[:, 0], cells.log_loss, error, cells.replicates)


def _flags_of_curvature(cells: Cells) -> tuple[str, ...]:
    """Whether the law is bent in log R beyond what E explains, and whether more recursion stops helping in the design."""
    if curvature_p(cells) >= SIGNIFICANT:
        return ()
    slopes = fit_line(cells, quadratic=True).coefficients
    b, q = float(slopes[FIRST_SLOPE]), float(slopes[CURVATURE_SLOPE])
    is_over = q > 0 and b - 2 * q * float(cells.axes[:, 0].max()) <= 0
    return ("curvature", "plateau") if is_over else ("curvature",)


def _estimate_curvature(fit: CurvatureFit, cells: Cells, between: pd.DataFrame, middle: float) -> CurvatureFit:
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
    rate = fieller(line, FIRST_SLOPE, SIZE_SLOPE) if abs(line.t(SIZE_SLOPE)) > MIN_SIZE_SLOPE_T else None
    best = _best_recursion(cells, line) if "curvature" in fit.flags else None
    estimates = {
        **_slopes(line, ["recursion"]),
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
    point, log_r = fieller(doubled, FIRST_SLOPE, CURVATURE_SLOPE), cells.axes[:, 0]
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


# -- a design for three exponents ---------------------------------------------------------------------------------


def _add_corners(draft: Draft, more: int) -> None:
    """Three sizes, both ends of T, n and N_sup, and a centre (docs/laws.md, "Three exponents")."""
    size = draft.size_axis()
    levels = draft.grow(size, max(SUGGESTED_SIZES, len(draft.levels(size)) + more))
    levels_of = {path: draft.grow(path, 2) for path in THREE.values()}
    ends: Block = {path: [values[0], values[-1]] for path, values in levels_of.items()}
    centre: Block = {path: [_middle(values[0], values[-1])] for path, values in levels_of.items()}
    blocks = copy.deepcopy(draft.blocks)
    draft.cross(size, levels)
    crossed, draft.blocks = draft.blocks, blocks
    for number in draft.cells:
        for depths in (ends, centre):
            draft.append({**crossed[number], **depths})


def _middle(low: int, high: int) -> int:
    return max(1, round((low * high) ** 0.5)) if high > low + 1 else low
