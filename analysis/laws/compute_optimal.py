"""Wider, or more recursion, at a given compute: where the fitted loss is least along a line of equal cost.

    log L = c - a log N - b log R + q (log R)^2        log C = k_0 + k_1 log N + k_2 log R

At equal cost a step in log R costs kappa = k_2 / k_1 steps in log N, so that the loss falls by d = b - kappa a a step in log R,
less what the curvature takes: log R* = d / 2q where q is clear, else an edge of the design. The budget then gives N*.
Logs are centred at the design; docs/laws.md, "A budget", describes the recommendation.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.figures.data import FigureData, Series
from analysis.laws.cells import (
    NEEDED,
    RESPONSE,
    SIGNIFICANT,
    Cells,
    check_misfit,
    curvature_p,
    find_reason,
    fit_law,
    fit_line,
    has_logarithms,
    law_misfit,
    read_recursion,
)
from analysis.laws.costs import COSTS, Cost, read_cost
from analysis.laws.drawing import LOSS_LABEL, R_LABEL, interval_columns
from analysis.laws.fit import Fit, Quality, only_bounded
from analysis.laws.groups import Budgets, Group
from analysis.laws.law import Law
from analysis.laws.sentence import Sentence, name_place, state_change, state_range
from analysis.statistics.interval import Interval
from analysis.statistics.regression import Linear, fieller
from sweeps.design.axes import DEPTH_AXES, RECURSION, SIZE

CURVE_POINTS = 40
SHOWN_BUDGETS = (0.25, 1.0, 4.0)  # factors of the budget whose lines a figure has
EDGE, NO_PREFERENCE, EXTRAPOLATION = "edge", "no_preference", "extrapolation"
CURVATURE = 3  # place of q in the coefficients of the surface


@dataclass(frozen=True)
class Choice:
    """What to run at a budget."""

    recursion: float
    params_recursed: float
    pays_above_exchange_rate: float  # the worth of a doubling of R, in parameters, above which recursion pays at this cost


@dataclass(frozen=True, eq=False)
class BudgetFit(Fit):
    """A recommendation for one budget of one cost."""

    cost: str = ""
    budget_flops: float = 0.0
    choice: Choice | None = None  # None for a refusal
    slices: pd.DataFrame | None = None  # loss along equal cost: columns line, x (R), size, fitted, low, high

    def further_json(self) -> dict[str, Any]:
        return {"choice": vars(self.choice) if self.choice else {}}

    @property
    def figure_name(self) -> str:
        budget = f"{self.budget_flops:.3g}".replace("+", "")
        return f"compute_optimal_{self.cost}_{budget}{self.suffix}"


class ComputeOptimal(Law):
    """The size and the recursion with the least loss at a budget."""

    name = "compute_optimal"
    rank = 7
    is_leading = True
    needs = ((RESPONSE,), (SIZE,), DEPTH_AXES, COSTS)
    shows = "the best size and recursion for a budget"

    def fit(self, group: Group) -> list[Fit]:
        """One fit for each cost that follows from N and R, and each budget (the middle of the design where none is given).

        Empty where the design cannot identify the recurrence law; refused where that law does not fit its cells.
        """
        known = group.with_values_of(NEEDED)
        if known is None or not has_logarithms(known):
            return []
        cells = read_recursion(known)
        if find_reason(known, cells) is not None:
            return []
        costs = [cost for name in COSTS if (cost := read_cost(known, cells, name)) is not None]
        if not costs:
            return []
        law = fit_law(cells)
        reason = check_misfit(cells, law_misfit(cells, law), len(law.parameters)).reason
        surface = Surface.fit(cells)
        fits: list[Fit] = []
        for cost in costs:
            centre = cost.flops(float(np.log(cells.recursed).mean()), float(cells.log_axes.mean()))
            for budget in group.budgets.get(cost.name) or [centre]:
                rounded = float(f"{budget:.4g}")
                facts = known.facts | {"group": known.settings | {"cost": cost.name, "budget_flops": rounded}}
                is_asked = bool(group.budgets.get(cost.name))
                fit = BudgetFit(self, RESPONSE, **facts, reason=reason, is_asked=is_asked, cost=cost.name, budget_flops=rounded)
                fits.append(fit if reason else _recommend(fit, surface, cost, budget))
        return fits

    def sentence(self, fit: Fit) -> list[Sentence]:
        """What to run at a budget; where the budget is not one that was asked for, the headline has said whether recursion pays."""
        assert isinstance(fit, BudgetFit)
        unit = "FLOPs an answer" if fit.cost == "inference_flops" else "training FLOPs"
        text = f"{name_place(fit)}at {fit.budget_flops:.2g} {unit}, {_state_choice(fit)}"
        low, high = fit.fitted_range[fit.cost]
        known = f"{low:.2g} to {high:.2g} FLOPs, for which sizes were run"
        is_beyond = EXTRAPOLATION in fit.flags
        text += f". This budget lies outside of {known}: extrapolation" if is_beyond else f"; it holds for {known}"
        if "lack_of_fit" in fit.flags:
            text += "; the cells differ from the surface by more than seed noise"
        return [Sentence(f"{text}.", fit.figure_name, is_detail=not fit.is_asked)]

    def figure(self, fit: Fit) -> FigureData | None:
        """The loss along lines of equal compute, and where it is least."""
        assert isinstance(fit, BudgetFit)
        if fit.slices is None or fit.slices.empty:
            return None
        series = []
        for rank, (name, part) in enumerate(fit.slices.groupby("line", sort=False)):
            series.append(Series(str(name), *interval_columns(part, "x", "fitted"), color=rank, style="curve"))
            place = int(part["fitted"].to_numpy().argmin())
            if 0 < place < len(part) - 1:  # at an end the sizes or the recursions that were run are over
                least = part.iloc[place]
                x, y, text = float(least["x"]), float(least["fitted"]), f"{least['size']:,.0f} parameters"
                series.append(Series(f"{name}, least", [x], [y], color=rank, style="points", texts=[text]))
        return FigureData(
            fit.figure_name, f"Wider, or more recursion, at {fit.budget_flops:.2g} FLOPs",
            f"Loss by the fitted surface along equal {fit.cost.replace('_', ' ')}, at this budget, a quarter and four times of it: "
            "to the right more recursion and fewer parameters. Bands: 95 % CI. "
            "A line ends where the design does; a dot is a least loss within it.",
            R_LABEL, LOSS_LABEL, series, x_scale="log", y_scale="log",
        )  # fmt: skip

    def unanswered(self, fits: Sequence[Fit], budgets: Budgets) -> list[str]:
        answered = {fit.cost for fit in fits if isinstance(fit, BudgetFit)}
        why = "the recurrence law is refused, or the cost does not follow from size and recursion"
        return [f"no recommendation for {name}: {why}" for name, amounts in budgets.items() if amounts and name not in answered]


def _state_choice(fit: BudgetFit) -> str:
    """Where the loss is least, and whether that is clear."""
    assert fit.choice is not None
    gain = fit.estimates["gain_of_recursion_at_equal_cost"]
    if NO_PREFERENCE in fit.flags:
        falls = f"a doubling of R at equal cost changes test NLL by {state_change(gain)}"
        return f"neither width nor recursion is clearly the better buy ({falls})"
    if EDGE in fit.flags:
        return _state_edge(fit.choice, fit.fitted_range[RECURSION][0])
    best, params = fit.estimates["best_recursion"], fit.estimates.get("best_params_recursed")
    interval = f" ({state_range(params)})" if params else ""
    size = f"{fit.choice.params_recursed:,.0f} recursed parameters{interval}"
    return f"the loss is least at R {best.estimate:.3g} ({state_range(best)}) with {size}"


def _state_edge(choice: Choice, smallest: float) -> str:
    edge = "smallest" if choice.recursion <= 1.001 * smallest else "largest"
    better, worse = ("width", "recursion") if edge == "smallest" else ("recursion", "width")
    threshold = f"more than {choice.pays_above_exchange_rate:.2g} times the parameters"
    pays = f"a doubling of R pays at this cost where it is worth {threshold}"
    beyond = "" if choice.recursion <= 1 else "; what lies beyond that edge is not known"
    run = f"R {choice.recursion:g}, the {edge} of the design, with {choice.params_recursed:,.0f} recursed parameters"
    return f"spend on {better}, not on {worse} ({pays}): {run}{beyond}"


@dataclass(frozen=True)
class Surface:
    """The log-linear law, with the curvature term where that is clear, over sizes and recursions that are not centred."""

    cells: Cells
    line: Linear
    is_curved: bool

    @classmethod
    def fit(cls, cells: Cells) -> "Surface":
        is_curved = curvature_p(cells) < SIGNIFICANT
        return cls(cells, fit_line(cells, quadratic=is_curved), is_curved)

    @property
    def log_r(self) -> np.ndarray:
        """[G]"""
        return self.cells.log_recursion

    @property
    def log_sizes(self) -> np.ndarray:
        """[G]"""
        return np.asarray(np.log(self.cells.recursed))

    def weights(self, log_size: float, log_recursion: float) -> np.ndarray:
        """Factors of the coefficients, whose sum is the log loss at a point."""
        size, recursion = log_size - self.log_sizes.mean(), log_recursion - self.cells.log_axes.mean()
        return np.array([1.0, -size, -recursion, recursion**2][: len(self.line.coefficients)])

    def loss(self, log_size: float, log_recursion: float) -> Interval:
        return self.line.interval(self.weights(log_size, log_recursion)).map(np.exp)

    @property
    def misfit(self) -> np.ndarray:
        """log L of cells less that of the surface, [G]."""
        weights = np.array([self.weights(*place) for place in zip(self.log_sizes, self.log_r, strict=True)])
        return np.asarray(self.cells.log_loss - weights @ self.line.coefficients)

    def gain(self, cost: Cost) -> np.ndarray:
        """Factors of the coefficients, whose sum is the fall of log L a step in log R at equal cost, at the centre."""
        return np.array([0.0, -cost.kappa, 1.0, 0.0][: len(self.line.coefficients)])

    def best(self, cost: Cost) -> Interval | None:
        """log R of the least loss at equal cost less its mean, by Fieller; None where it lies outside the design."""
        if not self.is_curved or self.line.coefficients[CURVATURE] <= 0:
            return None
        weights = np.array([self.gain(cost), [0.0, 0.0, 0.0, 2.0]])  # d and 2q
        pair = Linear(weights @ self.line.coefficients, weights @ self.line.covariance @ weights.T, self.line.freedom)
        best, middle = fieller(pair, 0, 1), float(self.log_r.mean())
        return best if best is not None and self.log_r.min() <= middle + best.estimate <= self.log_r.max() else None

    def best_edge(self, cost: Cost) -> float:
        """log R of the edge of the design with the smaller loss at equal cost."""
        centred = self.log_r - float(self.log_r.mean())
        low, high = float(centred.min()), float(centred.max())
        bent = self.line.coefficients[CURVATURE] * (high**2 - low**2) if self.is_curved else 0.0
        falls = float(self.gain(cost) @ self.line.coefficients * (high - low) - bent)
        return float(self.log_r.max() if falls > 0 else self.log_r.min())


def _recommend(fit: BudgetFit, surface: Surface, cost: Cost, budget: float) -> BudgetFit:
    """The fit with the point of least loss at a budget in FLOPs, or refused where the surface does not fit its cells."""
    check = check_misfit(surface.cells, surface.misfit, len(surface.line.coefficients))
    quality = Quality(lack_of_fit=check.lack_of_fit)
    fit = replace(fit, quality=quality, flags=quality.flags, reason=check.reason)
    if fit.reason is not None:
        return fit
    gain, best = surface.line.interval(surface.gain(cost)), surface.best(cost)
    middle, sizes = float(surface.log_r.mean()), surface.log_sizes
    log_best = surface.best_edge(cost) if best is None else middle + best.estimate
    log_size = cost.log_size(budget, log_best)
    is_inside = bool(sizes.min() <= log_size <= sizes.max())
    estimates = {
        "gain_of_recursion_at_equal_cost": gain,
        "best_recursion": best and best.map(lambda log_r: np.exp(middle + log_r)),
        "best_params_recursed": best and best.map(lambda log_r: np.exp(cost.log_size(budget, middle + log_r))),
        "loss": surface.loss(log_size, log_best) if is_inside else None,  # a surface of slopes gives none outside the design
    }
    is_unclear = best is None and not surface.is_curved and not gain.is_clear
    flags = {EDGE: best is None, NO_PREFERENCE: is_unclear, EXTRAPOLATION: not is_inside}
    return replace(
        fit,
        estimates=only_bounded(estimates),
        flags=(*fit.flags, *(flag for flag, is_set in flags.items() if is_set)),
        fitted_range=_range(surface, cost, log_best),
        choice=Choice(float(np.exp(log_best)), float(np.exp(log_size)), cost.break_even_rate),
        slices=_slices(surface, cost, budget),
    )


def _range(surface: Surface, cost: Cost, log_best: float) -> dict[str, list[float]]:
    """FLOPs of the smallest and the largest size at the chosen recursion, and the values of R."""
    sizes, log_r = surface.log_sizes, surface.log_r
    budgets = [cost.flops(float(size), log_best) for size in (sizes.min(), sizes.max())]
    return {cost.name: budgets, RECURSION: [float(np.exp(value)) for value in (log_r.min(), log_r.max())]}


def _slices(surface: Surface, cost: Cost, budget: float) -> pd.DataFrame:
    """The fitted loss along equal cost, for this budget and for a quarter and four times of it, within the sizes of the design."""
    sizes, log_r = surface.log_sizes, surface.log_r
    rows = []
    for factor in SHOWN_BUDGETS:
        for at in np.linspace(log_r.min(), log_r.max(), CURVE_POINTS):
            log_size = cost.log_size(factor * budget, at)
            if sizes.min() <= log_size <= sizes.max():
                numbers = surface.loss(log_size, at).numbers
                rows.append((f"{factor * budget:.2g} FLOPs", float(np.exp(at)), float(np.exp(log_size)), *numbers))
    return pd.DataFrame(rows, columns=["line", "x", "size", "fitted", "low", "high"])
