"""Sentences of a report: each gives an effect, its unit, its interval and its condition, and names the figure that shows it."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from analysis.data.tables import Tables, is_parameter, label
from analysis.laws.compute_optimal import EDGE, EXTRAPOLATION, NO_PREFERENCE, figure_name
from analysis.laws.fit import Estimate, Fit
from analysis.statistics.contrasts import Interval
from analysis.statistics.effects import ALL_CELLS, Difference, Effect, Interaction, describe_step, is_word, name_level
from analysis.statistics.task_agreement import Agreement
from lightning_modules.outcome import Outcome
from sweeps.design.axes import AXES, CAPACITY_AXES, DEPTH_AXES, SUPERVISION_STEPS
from sweeps.design.short_names import axis_name

ACCURACY = "test/exact_accuracy"
RESET, MEDIUM = "model.state_reset", "model.medium"
FLOOR, CEILING = 0.05, 0.95
MIN_LISTED = 3  # with at least 3 settings on which an effect does not depend, one sentence lists them
MAX_LEVELS_SHOWN = 4  # an interaction with more levels shows the first and the last alone
REASONS = {
    "too_few_scales": "the design has too few sizes or depths",
    "too_few_seeds": "most cells have a single seed",
    "confounded": "depth rises with width, so that neither can be told from the other",
    "floor": "no cell differs from another beyond seed noise: all are at the floor",
    "ceiling": "no cell differs from another beyond seed noise: all are at the ceiling",
    "flat": "the accuracy of a seed or of all does not change with D",
    "lack_of_fit": "the cells differ from it by more than seed noise",
    "no_interior_optimum": "the best size is an edge of the design",
}


@dataclass(frozen=True)
class Sentence:
    """A claim, and the name of the figure that shows it."""

    text: str
    figure: str = ""

    def __str__(self) -> str:
        return self.text


# -- laws ---------------------------------------------------------------------------------------------------------


def describe_fits(fits: list[Fit]) -> list[Sentence]:
    """What the laws of recursion and depth say; refusals last."""
    one = [fit for fit in fits if fit.law == "recurrence" and fit.form == "one_exponent"]
    said = [sentence for fit in one if fit.is_fitted for sentence in _recurrence(fit)]
    said += [sentence for fit in fits if fit.law == "compute_optimal" and fit.is_fitted for sentence in _compute_optimal(fit)]
    said += [_iso_flop(fit) for fit in fits if fit.law == "iso_flop" and "optimal_params_exponent" in fit.estimates]
    said += [_required_depth(fit) for fit in fits if fit.law == "required_depth" and "exponent" in fit.estimates]
    said += _collapses([fit for fit in fits if fit.law == "test_time" and "collapse" in fit.flags])
    said += _refusals([fit for fit in one if not fit.is_fitted])
    return [Sentence(sentence.text[0].upper() + sentence.text[1:], sentence.figure) for sentence in said]


def _refusals(fits: list[Fit]) -> list[Sentence]:
    """One sentence for all groups of trials in which the recurrence law is refused for the same reason."""
    said = []
    for reason in dict.fromkeys(fit.reason for fit in fits):
        group = [fit for fit in fits if fit.reason == reason]
        places = "; ".join(dict.fromkeys(_where(fit).removesuffix(", ").removeprefix("On ") for fit in group))
        text = f"{f'on {places}, ' if places else ''}the recurrence law is not fitted: {REASONS[str(reason)]}."
        said.append(Sentence(text, f"exchange_rate{group[0].suffix}"))
    return said


def _recurrence(fit: Fit) -> list[Sentence]:
    """What one doubling of recursion is worth, and where it ends."""
    figure = "law_one_exponent"
    rate = fit.estimates.get("exchange_rate")
    sizes, recursion = fit.fitted_range["params_recursed"], fit.fitted_range["recursion"]
    over = f"over R {recursion[0]:g} to {recursion[1]:g} and {sizes[0]:,.0f} to {sizes[1]:,.0f} recursed parameters"
    if rate is None:
        slope = fit.estimates["slope_log_recursion"]
        text = "the loss does not fall clearly with parameters, so that a doubling of recursion has no price in them; "
        return [Sentence(f"{_where(fit)}{text}log loss changes by {_interval(slope, -0.693)} a doubling, {over}.", figure)]
    said = [
        Sentence(
            f"{_where(fit)}one doubling of recursion is worth {_interval(rate)} times the recursed parameters, {over}.", figure
        )
    ]
    if "plateau" in fit.flags:
        text = "At the largest R more recursion brings nothing: the rate above is of the middle of the design."
        said.append(Sentence(text, f"exchange_rate{fit.suffix}"))
    elif "curvature" in fit.flags:
        text = "The gain is not the same over all R: the rate above is of the middle of the design."
        said.append(Sentence(text, f"exchange_rate{fit.suffix}"))
    return said


def _compute_optimal(fit: Fit) -> list[Sentence]:
    """What to run at a budget."""
    cost = str(fit.group["cost"])
    budget, recursion, size = fit.group["budget_flops"], fit.choice["recursion"], fit.choice["params_recursed"]
    at = f"{_where(fit)}at {budget:.2g} {'FLOPs an answer' if cost == 'inference_flops' else 'training FLOPs'}"
    gain = fit.estimates["gain_of_recursion_at_equal_cost"]
    if NO_PREFERENCE in fit.flags:
        falls = f"log loss falls by {_interval(gain, 0.693)} a doubling of R at equal cost"
        text = f"{at}, neither width nor recursion is clearly the better buy ({falls})"
    elif EDGE in fit.flags:
        edge = "smallest" if recursion <= 1.001 * fit.fitted_range["recursion"][0] else "largest"
        what, but = ("width", "recursion") if edge == "smallest" else ("recursion", "width")
        threshold = fit.choice["pays_above_exchange_rate"]
        pays = f"a doubling of R pays at this cost where it is worth more than {threshold:.2g} times the parameters"
        beyond = "" if recursion <= 1 else "; what lies beyond that edge is not known"
        run = f"R {recursion:g}, the {edge} of the design, with {size:,.0f} recursed parameters"
        text = f"{at}, spend on {what}, not on {but} ({pays}): {run}{beyond}"
    else:
        best, params = fit.estimates["best_recursion"], fit.estimates.get("best_params_recursed")
        interval = f" ({_range(params)})" if params else ""
        text = f"{at}, the loss is least at R {best.estimate:.3g} ({_range(best)}) with {size:,.0f} recursed parameters{interval}"
    low, high = fit.fitted_range[cost]
    outside = f"{low:.2g} to {high:.2g} FLOPs, for which sizes were run"
    text += f". This budget lies outside of {outside}: extrapolation" if EXTRAPOLATION in fit.flags else f"; it holds for {outside}"
    if "lack_of_fit" in fit.flags:
        text += "; the cells differ from the surface by more than seed noise"
    return [Sentence(f"{text}.", figure_name(fit))]


def _iso_flop(fit: Fit) -> Sentence:
    exponent = _interval(fit.estimates["optimal_params_exponent"])
    return Sentence(f"{_where(fit)}the best size grows as training compute to the power {exponent}.", "law_iso_flop")


def _required_depth(fit: Fit) -> Sentence:
    text = f"the depth that solves half of the items grows as k to the power {_interval(fit.estimates['exponent'])}"
    axes = {name: value for name, value in fit.group.items() if name in (*CAPACITY_AXES, *DEPTH_AXES)}
    cell = label(list(axes), tuple(axes.values()))
    return Sentence(f"{_where(fit)}{text}{f' ({cell})' if cell else ''}.", "law_required_depth")


def _collapses(fits: list[Fit]) -> list[Sentence]:
    """One sentence for all cells whose error rises beyond the chosen depth."""
    if not fits:
        return []
    worst = max(fits, key=lambda fit: fit.estimates["rise"].estimate if "rise" in fit.estimates else 0.0)
    width, steps = worst.group.get("model.hidden_size"), worst.group.get("model.supervision_steps")
    rise = _interval(worst.estimates["rise"]) if "rise" in worst.estimates else "more than 0.03"
    text = (
        f"Run deeper than the depth chosen on validation, {len(fits)} {'cell collapses' if len(fits) == 1 else 'cells collapse'}; "
        f"the worst (width {width}, N_sup {steps}) gains {rise} in error."
    )
    return [Sentence(text, "inference_depth")]


def _where(fit: Fit) -> str:
    """`On sudoku (trm, state reset all), `: the settings by which the group of trials differs from others."""
    task, kind = fit.group.get("task.kind"), fit.group.get("model.kind")
    if task is None:
        return ""
    settings = [name for name in fit.group if is_parameter(name) and name not in ("task.kind", "model.kind", *AXES)]
    names = ", ".join([*([str(kind)] if kind else []), *(name_level(name, fit.group[name]) for name in settings)])
    return f"On {task}{f' ({names})' if names else ''}, "


def _interval(estimate: Estimate, scale: float = 1.0) -> str:
    """`1.70 (95 % CI 1.41 to 2.10)`."""
    low, high = sorted((scale * estimate.low, scale * estimate.high))
    return f"{scale * estimate.estimate:.2f} (95 % CI {low:.2f} to {high:.2f})"


def _range(estimate: Estimate) -> str:
    return f"95 % CI {estimate.low:,.3g} to {estimate.high:,.3g}"


# -- effects, differences, tasks ----------------------------------------------------------------------------------


def describe_effects(effects: Iterable[Effect], matching: str) -> list[Sentence]:
    """Effects of numeric settings: recursion, then size, then the others; in each group the clear effects come first."""
    overall = [effect for effect in effects if effect.where == ALL_CELLS and not is_word(effect.level)]
    groups: list[tuple[str, list[Effect]]] = [
        ("equal parameters and ", [effect for effect in overall if effect.axis in DEPTH_AXES]),
        ("equal recursion and ", [effect for effect in overall if effect.axis in CAPACITY_AXES]),
        ("", [effect for effect in overall if effect.axis not in AXES]),
    ]
    return [
        Sentence(f"At {equal}equal {matching}, {_effect(effect)}.", "effects")
        for equal, group in groups
        for effect in _clear_first(group)
    ]


def describe_word_effects(effects: Iterable[Effect], interactions: Iterable[Interaction], matching: str) -> list[Sentence]:
    """Effects of categorical settings, each level against its base, and whether they depend on the other settings."""
    overall = [effect for effect in effects if effect.where == ALL_CELLS and is_word(effect.level)]
    tested = list(interactions)
    texts = []
    for axis in dict.fromkeys(effect.axis for effect in overall):
        texts += [f"At equal {matching}, {_effect(effect)}." for effect in _clear_first([e for e in overall if e.axis == axis])]
        texts += _interactions([one for one in tested if one.axis == axis])
    return [Sentence(text, "effects") for text in texts]


def _interactions(tested: list[Interaction]) -> list[str]:
    """One sentence per clear interaction, and one for all settings on which an effect does not clearly depend."""
    texts = [_interaction(one) for one in tested if one.is_clear]
    unclear: dict[str, list[Interaction]] = {}
    for one in tested:
        if not one.is_clear:
            unclear.setdefault(describe_step(one), []).append(one)
    for step, group in unclear.items():
        if len(group) < MIN_LISTED:
            texts += map(_interaction, group)
        else:
            *names, last = (axis_name(one.other) for one in group)
            smallest = min(one.p_holm for one in group)
            p = f"adjusted p = {smallest:.2g}" + (" or more" if smallest < 1 else "")
            texts.append(f"The effect of {step} does not clearly depend on {', '.join(names)} or {last} ({p}).")
    return texts


def describe_unknown_words(settings: Iterable[str]) -> list[Sentence]:
    """One sentence on categorical settings whose effect is not known, because they change together with other settings."""
    names = [axis_name(setting) for setting in settings]
    if not names:
        return []
    alone = "one of them" if len(names) > 1 else "it"
    return [Sentence(f"The effect of {' and '.join(names)} is not known: no two cells differ in {alone} alone.")]


def _clear_first(effects: Iterable[Effect]) -> list[Effect]:
    return sorted(effects, key=lambda effect: (not effect.is_clear, -abs(effect.change.estimate)))


def _effect(effect: Effect) -> str:
    """`n 1 to 3 raises exact accuracy by 0.20 (95 % CI 0.15 to 0.25)`."""
    change = effect.change
    pairs = f"mean over {effect.pairs} pairs of cells" if effect.pairs > 1 else "one pair of cells"
    interval = f"95 % CI {_range_of(change)}, {pairs}"
    if not effect.is_clear:
        many = "; not clear after the adjustment for all comparisons" if change.is_clear else ""
        return f"{describe_step(effect)} has no clear effect on test exact accuracy ({signed(change.estimate)}; {interval}{many})"
    verb = "raises" if change.estimate > 0 else "lowers"
    return f"{describe_step(effect)} {verb} test exact accuracy by {abs(change.estimate):.3f} ({interval})"


def _interaction(one: Interaction) -> str:
    """A sentence on whether an effect depends on another setting, with the effect at the levels of that setting."""
    shown = one.changes if len(one.changes) <= MAX_LEVELS_SHOWN else (one.changes[0], one.changes[-1])
    verdict = "depends" if one.is_clear else "does not clearly depend"
    p = "adjusted p < 0.001" if one.p_holm < 0.001 else f"adjusted p = {one.p_holm:.2g}"
    effects = ", ".join(
        f"{signed(change.estimate)} ({_range_of(change)}) at {name_level(one.other, level)}" for level, change in shown
    )
    return f"The effect of {describe_step(one)} {verdict} on {axis_name(one.other)} ({p}): {effects}."


def signed(value: float) -> str:
    """`+0.203`; a value that rounds to 0 gets a plus."""
    return f"{round(value, 3) + 0.0:+.3f}"


def _range_of(change: Interval) -> str:
    """`+0.15 to +0.25`."""
    if math.isinf(change.high):
        return "not known, because no score differs between seeds"
    return f"{signed(change.low)} to {signed(change.high)}"


def describe_differences(differences: Iterable[Difference], names: list[str]) -> list[Sentence]:
    """A sentence for each pair of cells."""
    return [
        Sentence(f"{label(names, d.cell)} against {label(names, d.other)}: {_with_interval(d.change)}.", "seeds")
        for d in differences
    ]


def _with_interval(change: Interval) -> str:
    """`+0.20 test exact accuracy (95 % CI +0.15 to +0.25)`."""
    return f"{signed(change.estimate)} test exact accuracy (95 % CI {_range_of(change)})"


def describe_agreements(agreements: Iterable[Agreement]) -> list[Sentence]:
    """One sentence for each pair of tasks on the agreement of their rankings of settings."""
    return [
        Sentence(
            f"The rank correlation of settings between {one.task} and {one.other} is {one.correlation:.2f} "
            f"(95 % CI {one.low:.2f} to {one.high:.2f}, {one.settings} settings).",
            "task_agreement",
        )
        for one in agreements
    ]


def describe_search(tables: Tables) -> list[Sentence]:
    """A search claims nothing about an axis; it names what it found."""
    completed = tables.completed
    best = completed.sort_values("val/exact_accuracy").iloc[-1]
    names = tables.varied
    found = label(names, tuple(f"{best[name]:.3g}" if isinstance(best[name], float) else best[name] for name in names))
    scores = f"{best['val/exact_accuracy']:.3f} exact accuracy there, {best[ACCURACY]:.3f} on test"
    text = (
        "A search: its trials are the sampler's choice and are not compared. "
        f"Best on validation: {found} ({scores}); a measure sweep around it would say what each setting brings."
    )
    return [Sentence(text, "importance")]


# -- limits of the claims -----------------------------------------------------------------------------------------


def warn(tables: Tables, cells: pd.DataFrame) -> list[Sentence]:
    """Limits of the claims: cells at floor or ceiling, unequal examples, repeated supervision steps, failed trials."""
    floor = [Sentence(text, "seeds") for text in _floor_and_ceiling(cells)]
    texts = (*_repeating_steps(tables), *_unequal_examples(tables), *_scored_again(tables), *_failed(tables))
    return [*floor, *map(Sentence, texts)]


def _scored_again(tables: Tables) -> list[str]:
    """A sentence on trials that score a model which another trial scored deeper: together they are one replicate."""
    count = len(tables.scored_again)
    if not count:
        return []
    one = "1 trial is" if count == 1 else f"{count} trials are"
    return [f"{one} not counted: another trial trained the same model and scored it deeper or more often."]


def _unequal_examples(tables: Tables) -> list[str]:
    """At equal steps a larger N_sup trains on fewer fresh examples, so that its effect includes theirs."""
    completed, axis = tables.completed, "model.supervision_steps"
    if axis not in tables.varied or "fresh_examples" not in completed:
        return []
    means = completed.groupby(axis)["fresh_examples"].mean()
    if means.max() < 1.05 * means.min():
        return []
    counts = ", ".join(f"{mean:,.0f} at N_sup = {level}" for level, mean in means.items() if level)
    return [f"Fresh examples per trial are not equal (mean): {counts}."]


def _repeating_steps(tables: Tables) -> list[str]:
    """A sentence on trials with N_sup above 1 in which no supervision step receives anything from the step before."""
    completed = tables.completed
    if not {RESET, SUPERVISION_STEPS} <= set(completed):
        return []
    repeating = (completed[RESET] == "all") & (completed[SUPERVISION_STEPS] > 1)
    if MEDIUM in completed:
        repeating &= completed[MEDIUM] != "tokens"  # the medium `tokens` passes the answer to the next step
    if not repeating.any():
        return []
    return [
        f"State reset all: in {int(repeating.sum())} of {len(completed)} trials each supervision step repeats the first. "
        "In these, N_sup adds passes over a batch and no recursion, although R and layers executed count it, and D has no effect."
    ]


def _floor_and_ceiling(cells: pd.DataFrame) -> list[str]:
    """A sentence on cells whose accuracy is so low or so high that an effect cannot show in full."""
    if cells.empty:
        return []
    low, high = int((cells["mean"] < FLOOR).sum()), int((cells["mean"] > CEILING).sum())
    if not low + high:
        return []
    return [f"{low} of {len(cells)} cells lie below 5 % exact accuracy and {high} above 95 %, where an effect cannot show in full."]


def _failed(tables: Tables) -> list[str]:
    """A sentence on failed trials, which no claim covers."""
    failed = int((tables.trials["outcome"] == Outcome.FAILED).sum())
    if not failed or tables.kind == "search":
        return []
    return [f"{failed} of {len(tables.trials)} trials failed: all statements above are about completed trials."]
