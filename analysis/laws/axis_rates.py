"""The recurrence law with a slope for each axis: what one doubling of T, of n + 1, of N_sup or of layers is worth in parameters.

    log L = c - a log N - sum_i b_i log x_i + sum_i q_i (log x_i)^2        rate of axis i = 2^(b_i / a)

`sweeps.design.axis_rates` has the columns of the law, and decides which axes have a slope. docs/laws.md, "A rate for each axis".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from analysis.laws.cells import (
    RESPONSE,
    SIGNIFICANT,
    SIZE_SLOPE,
    Cells,
    check_misfit,
    draw_points,
    find_end,
    has_logarithms,
    read_cells,
)
from analysis.laws.costs import COSTS, cost_exponents
from analysis.laws.fit import Fit, Quality, only_bounded
from analysis.laws.groups import Group
from analysis.laws.law import Law
from analysis.statistics.interval import Interval
from analysis.statistics.regression import Linear, aic, fieller, fit_linear, nested_p, r_squared
from sweeps.design.axes import AXIS_SETTINGS, LATENT_UPDATES, LAYERS, RECURSION, SIZE
from sweeps.design.axis_rates import FIRST_AXIS, RATE_AXES, AxisDesign, axis_values, design_axes
from sweeps.design.reasons import Reason
from sweeps.design.short_names import axis_name
from sweeps.design.thresholds import LEVEL, MIN_SIZE_SLOPE_T

AXES_FORM = "axes"
JOINT = "_joint"  # ending of the names of rates whose intervals hold together
CURVE_POINTS = 24  # points of a curve along an axis
INTERACTIONS, CURVATURE = "interactions", "curvature"  # flags


@dataclass(frozen=True, eq=False)
class AxesFit(Fit):
    """The form with a slope for each axis."""

    varied: tuple[str, ...] = ()  # axes that vary
    identified: tuple[str, ...] = ()  # those that have a slope
    unidentified: Mapping[str, Reason] = field(default_factory=dict)  # the others; the slopes hold at equal levels of them
    curvature_p: Mapping[str, float] = field(default_factory=dict)  # of each axis with a curvature term, adjusted by Holm
    interactions_p: float | None = None
    equal_slopes_p: float | None = None  # whether the slopes of all axes of recursion could be one; None for a single slope
    unexplained_costs: tuple[str, ...] = ()  # columns of costs in FLOPs that do not follow from size and axes
    local_rates: pd.DataFrame | None = None  # columns axis, recursion (value of the axis), estimate, low, high
    rates_by_level: pd.DataFrame | None = None  # columns axis, at, cells, reason, estimate, low, high

    @property
    def recursion_axes(self) -> tuple[str, ...]:
        """The varied axes of recursion: all but layers."""
        return tuple(axis for axis in self.varied if axis != LAYERS)

    def rate(self, axis: str) -> Interval | None:
        """What one doubling of an axis is worth; None where that is not known."""
        return self.estimates.get(f"exchange_rate_{RATE_AXES[axis]}")

    @property
    def joint_rates(self) -> dict[str, Interval]:
        """The rate of each axis, with intervals that hold together; empty where a rate is not known."""
        ending = JOINT if len(self.identified) > 1 else ""
        rates = {axis: self.estimates.get(f"exchange_rate_{RATE_AXES[axis]}{ending}") for axis in self.identified}
        known = {axis: rate for axis, rate in rates.items() if rate is not None}
        return known if len(known) == len(rates) else {}

    def slope(self, axis: str) -> Interval:
        """By how much log L falls a unit of the log of an axis."""
        return self.estimates[f"slope_log_{RATE_AXES[axis]}"]

    def gain(self, axis: str, cost: str) -> Interval | None:
        """By how much log L falls a unit of the log of an axis where parameters pay for it; None where that is not known."""
        return self.estimates.get(f"gain_of_{RATE_AXES[axis]}_at_equal_{cost}")

    def range_of(self, axis: str) -> list[float]:
        """The lowest and the highest value, of n + 1 for n."""
        return self.fitted_range[RATE_AXES[axis]]

    @property
    def is_curved(self) -> Mapping[str, bool]:
        """Whether the slope along an axis changes, of each axis."""
        return {axis: self.curvature_p.get(axis, 1.0) < SIGNIFICANT for axis in self.identified}

    def further_json(self) -> dict[str, Any]:
        """Axes have the words of estimates, so that `l_cycles_plus_1` stands for n + 1."""
        axes = {
            "varied": [RATE_AXES[axis] for axis in self.varied],
            "identified": [RATE_AXES[axis] for axis in self.identified],
            "unidentified": {RATE_AXES[axis]: reason for axis, reason in self.unidentified.items()},
            "curvature_p": {RATE_AXES[axis]: p for axis, p in self.curvature_p.items()},
            "interactions_p": self.interactions_p,
            "equal_slopes_p": self.equal_slopes_p,
            "rates_by_level": _records(self.rates_by_level),
        }
        return {"local_exchange_rates": _records(self.local_rates), "axes": axes}


def _records(table: pd.DataFrame | None) -> list[dict[str, Any]]:
    """Rows for JSON, with None for a value that is absent and the words of estimates for axes."""
    if table is None:
        return []
    known = table.assign(axis=table["axis"].map(RATE_AXES)).astype(object).where(table.notna(), None)
    return [{str(name): value for name, value in row.items()} for row in known.to_dict("records")]


def fit_axes(law: Law, group: Group) -> AxesFit | None:
    """The form for a group of trials with sizes and losses; None where no axis varies."""
    values = read_axes(group)
    if not any(axis != LAYERS for axis in values):
        return None
    ranges = group.range_of(SIZE, RECURSION) | {
        RATE_AXES[axis]: [float(own.min()), float(own.max())] for axis, own in values.items()
    }
    fit = AxesFit(law, RESPONSE, **group.facts, form=AXES_FORM, fitted_range=ranges, varied=tuple(values))
    return fit_values(fit, group, values)


def read_axes(group: Group) -> dict[str, np.ndarray]:
    """Values of the axes that vary, [trials] each; one that is no number counts as negative, which has no logarithm."""
    paths = [axis for axis in (*AXIS_SETTINGS, RECURSION) if axis in group.trials]
    numbers = {axis: pd.to_numeric(group.trials[axis], errors="coerce").astype(float).fillna(-1.0) for axis in paths}
    return axis_values({axis: column.to_numpy() for axis, column in numbers.items()})


def fit_values(fit: AxesFit, group: Group, values: Mapping[str, np.ndarray]) -> AxesFit:
    """The form with the given values of the axes, [trials] each, or the reason why it is refused."""
    if not has_logarithms(group) or any((own <= 0).any() for own in values.values()):
        return replace(fit, reason=Reason.NOT_POSITIVE, unidentified=dict.fromkeys(values, Reason.NOT_POSITIVE))
    cells = read_cells(group, list(values.values()))
    design = design_axes(cells.recursed, dict(zip(values, np.exp(cells.log_axes).T, strict=True)), cells.seeds)
    fit = replace(fit, identified=design.identified, unidentified=design.unidentified)
    reason = design.reason or find_end(group, cells)
    return replace(fit, reason=reason) if reason else _estimate(fit, group, cells, design)


def _estimate(fit: AxesFit, group: Group, cells: Cells, design: AxisDesign) -> AxesFit:
    line = replace(fit_linear(design.matrix, cells.log_loss, cells.names), freedom=design.freedom)
    misfit, count = cells.log_loss - design.matrix @ line.coefficients, len(cells.names)
    rank = count - design.freedom
    check = check_misfit(cells, misfit, rank)
    quality = Quality(
        r_squared=r_squared(misfit, cells.log_loss), aic=aic(cells.squares(misfit), count, rank), lack_of_fit=check.lack_of_fit
    )
    curvature_p = _curvature_p(cells, design)
    interactions_p = nested_p(cells.log_loss, design.matrix, np.column_stack([design.matrix, design.interactions]))
    flags = {
        CURVATURE: any(p < SIGNIFICANT for p in curvature_p.values()),
        INTERACTIONS: interactions_p is not None and interactions_p < SIGNIFICANT,
    }
    fit = replace(
        fit, quality=quality, flags=(*(flag for flag, is_set in flags.items() if is_set), *quality.flags), reason=check.reason,
        curvature_p=curvature_p, interactions_p=interactions_p, points=_points(fit, cells, misfit),
    )  # fmt: skip
    slopes = only_bounded(_slopes(line, design))
    if check.reason is not None:  # rates depend on the law, slopes are averages
        return replace(fit, estimates=slopes)
    gains = {cost: _gains(group, cost, line, design) for cost in COSTS if cost in group.trials}
    return replace(
        fit,
        estimates=slopes
        | only_bounded({**_rates(line, design), **{name: gain for own in gains.values() for name, gain in own.items()}}),
        unexplained_costs=tuple(cost for cost, own in gains.items() if not own),
        equal_slopes_p=_equal_slopes_p(line, design),
        local_rates=_local_rates(cells, line, design, list(fit.varied)),
    )


def _points(fit: AxesFit, cells: Cells, misfit: np.ndarray) -> pd.DataFrame | None:
    """A line for each combination of the axes; None for a single axis, of which the form with one exponent has the figure."""
    if len(fit.varied) == 1:
        return None
    return draw_points(cells, misfit, [name_level(fit.varied, np.exp(logs)) for logs in cells.log_axes])


# -- slopes and rates ---------------------------------------------------------------------------------------------


def _slopes(line: Linear, design: AxisDesign) -> dict[str, Interval]:
    """a, b and q, at the middle of the design."""
    unit = np.eye(len(line.coefficients))
    names = [
        *(f"slope_log_{RATE_AXES[axis]}" for axis in design.identified),
        *(f"curvature_{RATE_AXES[axis]}" for axis in design.curved),
    ]
    return {"slope_log_params": line.interval(unit[SIZE_SLOPE])} | {
        name: line.interval(unit[place]) for place, name in enumerate(names, FIRST_AXIS)
    }


def _rates(line: Linear, design: AxisDesign) -> dict[str, Interval | None]:
    """2^(b / a) of each axis by Fieller; None where the slope in size is not clear.

    Several axes also have intervals that hold together with a probability of at least 95 % (Bonferroni), for a statement on all.
    """
    if abs(line.t(SIZE_SLOPE)) <= MIN_SIZE_SLOPE_T:
        return {}
    count = len(design.identified)
    levels = {"": LEVEL} | ({JOINT: 1 - (1 - LEVEL) / count} if count > 1 else {})
    return {
        f"exchange_rate_{RATE_AXES[axis]}{ending}": _as_rate(fieller(line, place, SIZE_SLOPE, level))
        for ending, level in levels.items()
        for place, axis in enumerate(design.identified, FIRST_AXIS)
    }


def _as_rate(exponent: Interval | None) -> Interval | None:
    with np.errstate(over="ignore"):
        return exponent and exponent.map(lambda power: float(np.exp2(power)))


def _local_rates(cells: Cells, line: Linear, design: AxisDesign, varied: list[str]) -> pd.DataFrame:
    """2^((b - 2 q log x) / a) along each axis with a curvature term, the other axes in the middle of the design."""
    rows = []
    is_clear = abs(line.t(SIZE_SLOPE)) > MIN_SIZE_SLOPE_T
    for number, axis in enumerate(design.curved if is_clear else ()):
        place, log_x = design.identified.index(axis), cells.log_axes[:, varied.index(axis)]
        for at in np.linspace(log_x.min(), log_x.max(), CURVE_POINTS):
            slopes = np.zeros((2, len(line.coefficients)))
            slopes[0, FIRST_AXIS + place] = slopes[1, SIZE_SLOPE] = 1.0
            slopes[0, FIRST_AXIS + len(design.identified) + number] = -2 * (at - log_x.mean())
            pair = Linear(slopes @ line.coefficients, slopes @ line.covariance @ slopes.T, line.freedom)
            rate = _as_rate(fieller(pair, 0, 1))
            if rate is not None and rate.is_bounded:
                rows.append((axis, float(np.exp(at)), *rate.numbers))
    return pd.DataFrame(rows, columns=["axis", "recursion", "estimate", "low", "high"])


def _gains(group: Group, cost: str, line: Linear, design: AxisDesign) -> dict[str, Interval | None]:
    """By how much log L falls a unit of log x_i at equal cost, b_i - (k_i / k) a; empty where the cost does not follow."""
    first = FIRST_AXIS + len(design.identified)
    columns = np.column_stack([design.matrix[:, :first], design.matrix[:, first + len(design.curved) :]])
    exponents = cost_exponents(group, cost, columns)
    if exponents is None:
        return {}
    gains: dict[str, Interval | None] = {}
    for place, axis in enumerate(design.identified, FIRST_AXIS):
        weights = np.zeros(len(line.coefficients))
        weights[place], weights[SIZE_SLOPE] = 1.0, -exponents[place] / exponents[SIZE_SLOPE]
        gains[f"gain_of_{RATE_AXES[axis]}_at_equal_{cost}"] = line.interval(weights)
    return gains


def name_level(axes: Sequence[str], values: np.ndarray) -> str:
    """`T 1, n + 1 4`."""
    return ", ".join(f"{value_name(axis)} {value:g}" for axis, value in zip(axes, values.round(6), strict=True))


def value_name(axis: str) -> str:
    """The name of what counts along an axis: n + 1 for n, R for recursion."""
    return {LATENT_UPDATES: "n + 1", RECURSION: "R"}.get(axis, axis_name(axis))


# -- tests --------------------------------------------------------------------------------------------------------


def _curvature_p(cells: Cells, design: AxisDesign) -> dict[str, float]:
    """p of the curvature term of each axis, adjusted by Holm for their number."""
    first = FIRST_AXIS + len(design.identified)
    raw = {
        axis: nested_p(cells.log_loss, np.delete(design.matrix, first + number, axis=1), design.matrix)
        for number, axis in enumerate(design.curved)
    }
    known = sorted((p, axis) for axis, p in raw.items() if p is not None)
    adjusted, largest = dict[str, float](), 0.0
    for place, (p, axis) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - place)))
        adjusted[axis] = largest
    return adjusted


def _equal_slopes_p(line: Linear, design: AxisDesign) -> float | None:
    """F test by the jackknife covariance of equal slopes of the axes of recursion; None where fewer than two have one."""
    places = [place for place, axis in enumerate(design.identified, FIRST_AXIS) if axis != LAYERS]
    if len(places) < 2:
        return None
    contrasts = np.eye(len(line.coefficients))[places[1:]] - np.eye(len(line.coefficients))[places[0]]
    differences, covariance = contrasts @ line.coefficients, contrasts @ line.covariance @ contrasts.T
    f = float(differences @ np.linalg.pinv(covariance) @ differences) / len(contrasts)
    return float(stats.f.sf(f, len(contrasts), line.freedom))
