"""The recurrence law: the worth of one doubling of recursion in parameters.

    log L = log(E + exp(c - alpha (log N_eff - mean)))    N_eff = N_once + R^phi N_recursed

N_once, N_recursed: parameters outside and inside the recursion; R = T (n + 1) N_sup, the number of times that a recursed
parameter is applied; E >= 0, the loss that neither size nor recursion removes. Its other forms: `curvature.py`, `axis_rates.py`.
"""

from dataclasses import replace
from typing import TypeVar

import numpy as np

from analysis.figures.data import FigureData
from analysis.laws.axis_levels import add_levels, draw_rates
from analysis.laws.axis_rates import AxesFit, fit_axes
from analysis.laws.cells import (
    ALPHA,
    NEEDED,
    PHI,
    RESPONSE,
    SIZE_SLOPE,
    Cells,
    aicc,
    check_misfit,
    draw_points,
    error_at_unseen_scales,
    find_reason,
    fit_law,
    fit_line,
    has_logarithms,
    law_misfit,
    line_misfit,
    line_slopes,
    read_recursion,
)
from analysis.laws.corners import add_corners
from analysis.laws.costs import ANSWER_COST, read_cost
from analysis.laws.curvature import (
    CurvatureFit,
    draw_local_rates,
    estimate_curvature,
    flags_of_curvature,
    middle_of_r,
    rate_without_a_law,
)
from analysis.laws.draft import Draft
from analysis.laws.drawing import LOSS_LABEL, SIZE_LABEL, Drawing
from analysis.laws.fit import Fit, Quality, only_bounded
from analysis.laws.groups import Group
from analysis.laws.law import Law
from analysis.statistics.interval import Interval
from analysis.statistics.regression import Curve, Linear, aic, fit_linear, r_squared
from sweeps.design.axes import DEPTH_AXES, RECURSION, SIZE
from sweeps.design.reasons import Reason
from sweeps.planning.evidence import is_size_clear

ONE_EXPONENT, CURVATURE = "one_exponent", "curvature"

AnyFit = TypeVar("AnyFit", bound=Fit)


class Recurrence(Law):
    """Loss against recursed parameters and R. `headline.py` has its sentences: one for all forms."""

    name = "recurrence"
    rank = 1
    is_leading = True
    needs = ((RESPONSE,), (SIZE,), DEPTH_AXES)
    shows = "the recurrence law, its misfit and the exchange rate"
    drawing = Drawing("The recurrence law", SIZE_LABEL, LOSS_LABEL)

    def fit(self, group: Group) -> list[Fit]:
        """The law with one exponent, its curvature, and a slope for each axis that varies.

        Trials without a loss, a size or a recursion are left out and flagged.
        """
        known = group.with_values_of(NEEDED)
        if known is None:
            return []
        axes = fit_axes(self, known)
        fits: list[Fit] = [*self._fit_recursion(known), *([add_levels(axes, known)] if axes else [])]
        if len(known.trials) < len(group.trials):
            return [replace(fit, flags=(*fit.flags, "survivors_only")) for fit in fits]
        return fits

    def _fit_recursion(self, group: Group) -> tuple[Fit, CurvatureFit]:
        """The forms with R as the only axis."""
        ranges = group.range_of(SIZE, RECURSION)
        one = Fit(self, RESPONSE, **group.facts, form=ONE_EXPONENT, fitted_range=ranges)
        curved = CurvatureFit(self, RESPONSE, **group.facts, form=CURVATURE, fitted_range=ranges)
        if not has_logarithms(group):
            return replace(one, reason=Reason.NOT_POSITIVE), replace(curved, reason=Reason.NOT_POSITIVE)
        cells = read_recursion(group)
        reason = find_reason(group, cells)
        if reason is not None:
            return replace(one, reason=reason), replace(curved, reason=reason)
        rate, between = rate_without_a_law(cells)
        flags = flags_of_curvature(cells)
        one = _estimate(one, cells)
        one = replace(one, estimates=one.estimates | only_bounded({"exchange_rate_model_free": rate}), flags=(*one.flags, *flags))
        cost = read_cost(group, cells, ANSWER_COST)
        curved = replace(curved, flags=flags, break_even_rate=cost.break_even_rate if cost else None)
        curved = estimate_curvature(curved, cells, between, middle_of_r(group))
        return _keep_without_the_law(one), _keep_without_the_law(curved)

    def figure(self, fit: Fit) -> FigureData | None:
        """What one doubling is worth in parameters: of recursion at every R, and of each axis."""
        if isinstance(fit, AxesFit):
            return draw_rates(fit)
        return draw_local_rates(fit) if isinstance(fit, CurvatureFit) else None

    def suggest(self, draft: Draft, fit: Fit) -> bool:
        if isinstance(fit, AxesFit) and len(fit.recursion_axes) > 1:
            add_corners(draft, fit.recursion_axes, more=1 if fit.reason == Reason.LACK_OF_FIT else 0)
            return True
        return super().suggest(draft, fit)


def _estimate(fit: Fit, cells: Cells) -> Fit:
    """Slopes, exponents, exchange rate, and how well the law fits."""
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
    estimates = only_bounded({**line_slopes(line), **_exponents(cells, line, law)})
    points = draw_points(cells, misfit)
    return replace(fit, estimates=estimates, quality=quality, flags=quality.flags, reason=check.reason, points=points)


def _exponents(cells: Cells, line: Linear, law: Curve) -> dict[str, Interval | None]:
    """alpha; and phi where the slope in size is clear.

    An interval takes E for unknown; the point in it is that of the form (with or without E) which AIC prefers.
    """
    count, unsaturated = len(cells.names), fit_law(cells, saturates=False)
    free = PHI + 2  # parameters of the law with E
    saturates = aicc(law.squares, count, free) < aicc(unsaturated.squares, count, free - 1)
    preferred = (law if saturates else unsaturated).parameters
    exponents = {"alpha": _around(law.profile(ALPHA, 0.05), preferred[ALPHA])}
    if not is_size_clear(line.t(SIZE_SLOPE), line.freedom):
        return exponents
    phi = _around(law.profile(PHI, 0.05), preferred[PHI])
    return exponents | {"phi": phi, "exchange_rate": phi and phi.map(lambda exponent: 2**exponent)}


def _around(interval: Interval | None, estimate: float) -> Interval | None:
    """The interval with another point estimate, which must lie in it."""
    return interval and replace(interval, estimate=float(np.clip(estimate, interval.low, interval.high)))


def _keep_without_the_law(fit: AnyFit) -> AnyFit:
    """Remove estimates that depend on the law from a fit that is refused for its misfit."""
    if fit.reason is None:
        return fit
    kept = {name: value for name, value in fit.estimates.items() if name.startswith(("slope", "exchange_rate_model"))}
    if isinstance(fit, CurvatureFit) and fit.local_rates is not None:
        return replace(fit, estimates=kept, local_rates=fit.local_rates[fit.local_rates["kind"] == "model_free"])
    return replace(fit, estimates=kept)
