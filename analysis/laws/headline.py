"""The headline of a group of trials: what one doubling of recursion is worth, or why that is not known; and whether width or
recursion is the better buy. docs/laws.md, "The headline", has the rule.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import pandas as pd

from analysis.laws.axis_rates import INTERACTIONS, AxesFit, value_name
from analysis.laws.cells import SIGNIFICANT
from analysis.laws.compute_optimal import BudgetFit
from analysis.laws.curvature import CurvatureFit
from analysis.laws.fit import Fit
from analysis.laws.recurrence import CURVATURE, ONE_EXPONENT, Recurrence
from analysis.laws.sentence import Sentence, capitalize, name_place, state_change, state_interval, state_range, state_refusals
from analysis.statistics.interval import Interval
from sweeps.design.axes import LAYERS, RECURSION, SIZE
from sweeps.design.axis_rates import RATE_AXES
from sweeps.design.reasons import Reason
from sweeps.design.short_names import axis_name

NEEDED = {  # what would identify the rate, by the reason of a refusal
    Reason.TOO_FEW_SCALES: "at least three sizes, crossed with at least three values of each axis of recursion, identify it",
    Reason.TOO_FEW_SEEDS: "at least two seeds a cell, better three, identify it",
    Reason.CONFOUNDED: "cells in which one axis differs while size and the other axes are equal identify it",
    Reason.NOT_POSITIVE: "trials in which all of these are above 0 identify it",
    Reason.FLOOR: "longer training or easier puzzles identify it",
    Reason.CEILING: "shorter training or harder puzzles identify it",
    Reason.LACK_OF_FIT: "one rate does not describe them, and more cells would not; effects of single settings stand on their own",
}
UNKNOWN_COST = "it is not known which is better, because these FLOPs do not follow from parameters and recursion"
WITHOUT_PRICE = "the loss does not fall clearly with parameters"
COST_NAMES = {"train_flops": "training FLOPs", "inference_flops": "FLOPs of an answer"}


@dataclass(frozen=True)
class Headline:
    """What a report and a terminal state first about a group of trials."""

    text: str
    figure: str = ""
    rates: Mapping[str, Interval] = field(default_factory=dict)  # printed factors in parameters by axis; `recursion` is R
    ended: Collection[str] = ()  # axes of `rates` along which more than the largest value brings nothing
    fit: Fit | None = None  # that has these rates; None for refusals
    reason: Reason | None = None  # why there is no rate
    equal_cost: str = ""  # whether width or recursion is the better buy; empty where no cost is known
    is_cost_open: bool = False  # at equal cost neither is clearly better

    @property
    def sentences(self) -> list[Sentence]:
        """What is printed: the headline, and beneath it the answer at equal cost."""
        return [Sentence(self.text, self.figure), *([Sentence(self.equal_cost)] if self.equal_cost else [])]


def find_headlines(fits: Sequence[Fit], order: Sequence[str] = ()) -> list[Headline]:
    """A headline for each group of trials with a fitted law; then one for all refusals of the same reason.

    Args:
        fits: of all laws.
        order: axes in the order in which rates are printed, as the spec has them; that of `RATE_AXES` where absent.
    """
    groups: dict[str, list[Fit]] = {}
    for fit in fits:
        if isinstance(fit.fitted_by, Recurrence):
            groups.setdefault(str(fit.group), []).append(fit)
    chosen = [choose(own) for own in groups.values()]
    ranks = {axis: rank for rank, axis in enumerate(dict.fromkeys((*order, *RATE_AXES)))}
    found = [_headline(choice, ranks, fits) for choice in chosen if choice.fit.is_fitted]
    return [*found, *_refusals([choice.fit for choice in chosen if not choice.fit.is_fitted])]


@dataclass(frozen=True)
class Choice:
    """The fit whose rates are printed, or whose refusal is."""

    fit: Fit
    axes: AxesFit | None  # the form with a slope for each axis, of the same group; None where no axis varies
    is_of_recursion: bool  # the fit has one rate, that of R
    has_two_values: bool = False  # of its only axis


def choose(fits: Sequence[Fit]) -> Choice:
    """Which form of the recurrence law is printed, by the rule of docs/laws.md.

    Args:
        fits: all forms of one group.
    """
    forms = {fit.form: fit for fit in fits}
    axes = next((fit for fit in fits if isinstance(fit, AxesFit)), None)
    one = forms.get(ONE_EXPONENT) or fits[0]
    of_recursion = forms.get(CURVATURE, one) if "curvature" in one.flags else one
    if axes is None or axes.reason == Reason.NOT_POSITIVE:
        return Choice(axes or of_recursion, axes, is_of_recursion=axes is None)
    is_single = len(axes.recursion_axes) == 1
    if may_have_one_rate(axes) and of_recursion.is_fitted:
        return Choice(of_recursion, axes, is_of_recursion=True)
    if axes.is_fitted or not is_single:
        return Choice(axes, axes, is_of_recursion=False, has_two_values=of_recursion.reason == Reason.TOO_FEW_SCALES)
    return Choice(of_recursion, axes, is_of_recursion=True)


def may_have_one_rate(axes: AxesFit) -> bool:
    """Whether R may stand for its axes: one varies, or all that vary have slopes which may be equal; and layers do not vary."""
    has_slopes = set(axes.recursion_axes) <= set(axes.identified)
    are_equal = has_slopes and axes.equal_slopes_p is not None and axes.equal_slopes_p >= SIGNIFICANT
    return LAYERS not in axes.identified and (len(axes.recursion_axes) == 1 or are_equal)


def _headline(choice: Choice, ranks: Mapping[str, int], fits: Sequence[Fit]) -> Headline:
    if choice.is_of_recursion:
        headline = _of_recursion(choice.fit, choice.axes)
    else:
        assert choice.axes is not None
        headline = _of_axes(choice, choice.axes, sorted(choice.axes.identified, key=lambda axis: ranks[axis]))
    verdict = _compare_at_equal_cost(choice, ranks, fits)
    return replace(headline, text=capitalize(headline.text), fit=choice.fit, equal_cost=verdict.text, is_cost_open=verdict.is_open)


def _refusals(refused: Sequence[Fit]) -> list[Headline]:
    """One for all groups of the same reason, with what would identify the law."""
    headlines = []
    for reason in dict.fromkeys(fit.reason for fit in refused if fit.reason is not None):
        own = [fit for fit in refused if fit.reason == reason]
        (sentence,) = state_refusals(own, "the recurrence law", "exchange_rate")
        is_suggested = reason != Reason.LACK_OF_FIT and any(fit.suggestion for fit in own)
        spec = "; the report suggests such a spec" if is_suggested else ""
        text = f"{sentence.text.removesuffix('.')}; {NEEDED[reason]}{spec}."
        headlines.append(Headline(capitalize(text), sentence.figure, reason=reason))
    return headlines


# -- rates --------------------------------------------------------------------------------------------------------


def _has_price(fit: Fit) -> bool:
    """Whether more parameters lower the loss, so that they can be a price."""
    size = fit.estimates.get("slope_log_params")
    return size is not None and size.estimate > 0


def _of_recursion(fit: Fit, axes: AxesFit | None) -> Headline:
    """The worth of one doubling of R, and where it changes."""
    rate = fit.estimates.get("exchange_rate") if _has_price(fit) else None
    over = f"over {_range(fit, RECURSION, 'R')} and {_sizes(fit)}"
    if rate is None:
        change = f"each doubling changes test NLL by {state_change(fit.estimates['slope_log_recursion'])}, {over}"
        text = f"{WITHOUT_PRICE}, so that what a doubling of recursion is worth cannot be stated in parameters; {change}."
        return Headline(f"{name_place(fit)}{text}", "law_one_exponent")
    local = pd.DataFrame()
    if isinstance(fit, CurvatureFit) and fit.local_rates is not None:
        local = fit.local_rates[fit.local_rates["kind"] == "law"]
    stops = "; at the largest R more recursion brings nothing" if "plateau" in fit.flags else ""
    worth = f"one doubling of recursion is worth {state_interval(rate)} times the recursed parameters {over}"
    text = f"{name_place(fit)}{worth}{_state_ends(local, 'R')}{stops}{_state_interactions(axes)}{_state_harm([rate])}."
    ended = {"recursion"} if "plateau" in fit.flags or _has_ended(local) else set()
    return Headline(text, f"exchange_rate{fit.suffix}", {"recursion": rate}, ended)


def _of_axes(choice: Choice, fit: AxesFit, axes: Sequence[str]) -> Headline:
    """The worth of one doubling of each axis."""
    is_single = len(fit.recursion_axes) == 1
    names = {axis: "recursion" if is_single and axis != LAYERS else value_name(axis) for axis in axes}
    joint = fit.joint_rates if _has_price(fit) else {}
    rates = {axis: joint[axis] for axis in axes if joint}
    ranges = [_range(fit, RECURSION, "R")] if is_single else []
    ranges += [_range(fit, RATE_AXES[axis], value_name(axis)) for axis in axes if not is_single or axis == LAYERS]
    over = f"over {', '.join(ranges)} and {_sizes(fit)}{' (two values of R)' if is_single and choice.has_two_values else ''}"
    if not rates:
        changes = _listed([f"{state_change(fit.slope(axis))} along {names[axis]}" for axis in axes])
        text = f"{name_place(fit)}{WITHOUT_PRICE}, so that what a doubling is worth cannot be stated in parameters"
        return Headline(f"{text}; each doubling changes test NLL by {changes}, {over}.", f"axis_rates{fit.suffix}")
    parts = [f"{state_interval(rate)}{{}} along {names[axis]}{_ends_along(fit, axis)}" for axis, rate in rates.items()]
    first, *others = [part.format(" times the recursed parameters" if not place else "") for place, part in enumerate(parts)]
    worth = f"{name_place(fit)}one doubling is worth {_listed([first, *others])}, {over}"
    text = f"{worth}{_state_caveats(fit, names)}{_state_harm(list(rates.values()))}."
    words = {axis: "recursion" if names[axis] == "recursion" else RATE_AXES[axis] for axis in rates}
    ended = {word for axis, word in words.items() if _has_ended(_changing_rates(fit, axis))}
    return Headline(text, f"axis_rates{fit.suffix}", {words[axis]: rate for axis, rate in rates.items()}, ended)


def _state_caveats(fit: AxesFit, names: Mapping[str, str]) -> str:
    """Clauses on what a reader must know of rates of axes."""
    clauses = ["the intervals hold together"] if len(names) > 1 else []
    if LAYERS in names:
        clauses.append("layers are compared at equal recursed parameters: deeper and narrower")
    if fit.equal_slopes_p is not None and fit.equal_slopes_p < SIGNIFICANT:
        clauses.append(f"the axes differ ({_state_p(fit.equal_slopes_p)}), so that recursion as a whole has no rate")
    for axis, reason in fit.unidentified.items():
        if axis != LAYERS:
            why = (
                "rises with size or another axis" if reason == Reason.CONFOUNDED else "varies in too few cells or at too few sizes"
            )
            clauses.append(f"the rate along {axis_name(axis)} is not known: it {why}")
    return "".join(f"; {clause}" for clause in clauses) + _state_interactions(fit)


def _state_interactions(fit: AxesFit | None) -> str:
    """A clause where rates depend on size or on another axis."""
    if fit is None or INTERACTIONS not in fit.flags or fit.interactions_p is None:
        return ""
    over = "size" if len(fit.varied) == 1 else "size and the other axes"
    return f"; each rate is an average: it changes with {over} ({_state_p(fit.interactions_p)})"


def _state_p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def _state_harm(rates: Sequence[Interval]) -> str:
    return "; a factor below 1 means harm" if any(rate.high < 1 for rate in rates) else ""


def _ends_along(fit: AxesFit, axis: str) -> str:
    return _state_ends(_changing_rates(fit, axis), value_name(axis))


def _changing_rates(fit: AxesFit, axis: str) -> pd.DataFrame:
    """The rate at each value of an axis, rising; empty where the rate does not clearly change."""
    if not fit.is_curved[axis] or fit.local_rates is None:
        return pd.DataFrame()
    return fit.local_rates[fit.local_rates["axis"] == axis]


def _has_ended(local: pd.DataFrame) -> bool:
    """Whether the rate at the largest value, as it is printed, is at most 1."""
    return len(local) > 0 and float(f"{local['estimate'].iloc[-1]:.2g}") <= 1


def _state_ends(local: pd.DataFrame, name: str) -> str:
    """`, from about 5 at R 2 to about 1 at R 9`."""
    if len(local) < 2:
        return ""
    first, last = (f"about {end['estimate']:.2g} at {name} {end['recursion']:.3g}" for _, end in local.iloc[[0, -1]].iterrows())
    return f", from {first} to {last}"


def _listed(parts: Sequence[str]) -> str:
    """`a, b and c`."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _range(fit: Fit, column: str, name: str) -> str:
    low, high = fit.fitted_range[column]
    return f"{name}{' from' if ' ' in name else ''} {low:.6g} to {high:.6g}"  # `R 2 to 9`, `n + 1 from 2 to 4`


def _sizes(fit: Fit) -> str:
    low, high = fit.fitted_range[SIZE]
    return f"{low:,.0f} to {high:,.0f} recursed parameters"


# -- at equal cost ------------------------------------------------------------------------------------------------


class Verdict(NamedTuple):
    """Which is the better buy."""

    text: str
    is_open: bool  # neither is clearly better


def _compare_at_equal_cost(choice: Choice, ranks: Mapping[str, int], fits: Sequence[Fit]) -> Verdict:
    """Whether size or recursion is the better buy at equal training FLOPs and at equal FLOPs of an answer."""
    wider = "more parameters" if choice.axes is not None and LAYERS in choice.axes.unidentified else "wider"
    costs: dict[Verdict, list[str]] = {}
    for cost, name in COST_NAMES.items():
        verdict = _of_budgets(choice.fit, cost, fits, wider) if choice.is_of_recursion else None
        verdict = verdict or _of_gains(choice.axes, cost, ranks, wider)
        if verdict is not None:
            costs.setdefault(verdict, []).append(f"at equal {name}")
    if not costs:
        return Verdict("", is_open=False)
    place = name_place(choice.fit).removesuffix(", ")
    text = " ".join(capitalize(f"{' and '.join(names)}, {verdict.text}.") for verdict, names in costs.items())
    question = f"{place}{': w' if place else 'W'}ider, or more recursion?"
    return Verdict(f"{question} {text}", any(verdict.is_open for verdict in costs))


def _of_budgets(fit: Fit, cost: str, fits: Sequence[Fit], wider: str) -> Verdict | None:
    """The verdict on R, by the law `compute_optimal` of the same trials; None where that does not have this cost."""
    for other in fits:
        if isinstance(other, BudgetFit) and other.cost == cost and other.is_fitted and fit.group.items() <= other.group.items():
            assert other.choice is not None
            gain, best = other.estimates["gain_of_recursion_at_equal_cost"], other.estimates.get("best_recursion")
            even = f"break-even is a doubling worth {other.choice.pays_above_exchange_rate:.2g} times the recursed parameters"
            further = f"the loss is least at R {best.estimate:.3g} ({state_range(best)})" if best else even
            return Verdict(f"{_state_gain(gain, 'recursion', 'recursion', wider)}; {further}", not gain.is_clear)
    return None


def _of_gains(axes: AxesFit | None, cost: str, ranks: Mapping[str, int], wider: str) -> Verdict | None:
    """The verdict on each axis of recursion."""
    if axes is None or not axes.is_fitted:
        return None
    if cost in axes.unexplained_costs:
        return Verdict(UNKNOWN_COST, is_open=False)
    gains = {axis: gain for axis in axes.identified if axis != LAYERS and (gain := axes.gain(axis, cost)) is not None}
    if not gains:
        return None
    is_single = len(axes.recursion_axes) == 1
    names = {axis: ("recursion", "recursion") if is_single else (axis_name(axis), value_name(axis)) for axis in gains}
    texts = [_state_gain(gains[axis], *names[axis], wider) for axis in sorted(gains, key=lambda axis: ranks[axis])]
    return Verdict("; ".join(texts), not all(gain.is_clear for gain in gains.values()))


def _state_gain(gain: Interval, name: str, value: str, wider: str) -> str:
    """The verdict on one axis, by the fall of log L a step in the log of its value that parameters pay for."""
    change = f"a doubling of {value}, paid for with fewer parameters, changes test NLL by {state_change(gain)}"
    if not gain.is_clear:
        return f"neither {wider} nor more {name} is clearly better: {change}"
    better, worse = (f"more {name}", wider) if gain.low > 0 else (wider, f"more {name}")
    return f"{better} is better than {worse}: {change}"
