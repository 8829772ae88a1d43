"""What the report says, in sentences; each number with its interval, each sentence with the figure that shows it."""

import math
from collections.abc import Iterable

import pandas as pd

from analysis.data.tables import Tables, label
from analysis.laws.sentence import Sentence
from analysis.statistics.effects import ALL_CELLS, Difference, Effect, Interaction, describe_step, is_word, name_level
from analysis.statistics.interval import Interval
from analysis.statistics.task_agreement import Agreement
from lightning_modules.outcome import Outcome
from sweeps.design.axes import AXES, CAPACITY_AXES, DEPTH_AXES, SUPERVISION_STEPS
from sweeps.design.short_names import axis_name
from sweeps.design.thresholds import CEILING, FLOOR

ACCURACY = "test/exact_accuracy"
RESET, MEDIUM = "model.state_reset", "model.medium"
MIN_LISTED = 3  # settings that an effect does not depend on, from which one sentence names them all
MAX_LEVELS_SHOWN = 4  # in a sentence on what an effect depends on; beyond it the first and the last level stand for all


# -- effects, differences, tasks ----------------------------------------------------------------------------------


def describe_effects(effects: Iterable[Effect], matching: str) -> list[Sentence]:
    """What numeric settings do: recursion first, the clear effects first among them, then size, then the others."""
    overall = [effect for effect in effects if effect.where == ALL_CELLS and not is_word(effect.level)]
    groups: list[tuple[str, list[Effect]]] = [
        ("equal parameters and ", [effect for effect in overall if effect.axis in DEPTH_AXES]),
        ("equal depth and ", [effect for effect in overall if effect.axis in CAPACITY_AXES]),
        ("", [effect for effect in overall if effect.axis not in AXES]),
    ]
    return [
        Sentence(f"At {equal}equal {matching}, {_effect(effect)}.", "effects")
        for equal, group in groups
        for effect in _clear_first(group)
    ]


def describe_word_effects(effects: Iterable[Effect], interactions: Iterable[Interaction], matching: str) -> list[Sentence]:
    """What settings of words do, level by level against their base, and whether it depends on the other settings."""
    overall = [effect for effect in effects if effect.where == ALL_CELLS and is_word(effect.level)]
    asked = list(interactions)
    said = []
    for axis in dict.fromkeys(effect.axis for effect in overall):
        said += [f"At equal {matching}, {_effect(effect)}." for effect in _clear_first([e for e in overall if e.axis == axis])]
        said += _interactions([one for one in asked if one.axis == axis])
    return [Sentence(text, "effects") for text in said]


def _interactions(asked: list[Interaction]) -> list[str]:
    """What each effect of an axis depends on; where it depends on none of several settings, one sentence for all of them."""
    said = [_interaction(one) for one in asked if one.is_clear]
    unclear: dict[str, list[Interaction]] = {}
    for one in asked:
        if not one.is_clear:
            unclear.setdefault(describe_step(one), []).append(one)
    for step, group in unclear.items():
        if len(group) < MIN_LISTED:
            said += map(_interaction, group)
        else:
            *names, last = (axis_name(one.other) for one in group)
            smallest = min(one.p_holm for one in group)
            p = f"adjusted p = {smallest:.2g}" + (" or more" if smallest < 1 else "")
            said.append(f"The effect of {step} does not clearly depend on {', '.join(names)} or {last} ({p}).")
    return said


def describe_unknown_words(settings: Iterable[str]) -> list[Sentence]:
    """One sentence on settings of words that have no effect, because they change together with other settings."""
    names = [axis_name(setting) for setting in settings]
    if not names:
        return []
    return [
        Sentence(f"What {' and '.join(names)} {'do' if len(names) > 1 else 'does'} is not known: no two cells differ in it alone.")
    ]


def _clear_first(effects: Iterable[Effect]) -> list[Effect]:
    return sorted(effects, key=lambda effect: (not effect.is_clear, -abs(effect.change.estimate)))


def _effect(effect: Effect) -> str:
    """`n 1 to 3 raises exact accuracy by 0.20 (95 % interval 0.15 to 0.25)`."""
    change = effect.change
    pairs = f"mean over {effect.pairs} pairs of cells" if effect.pairs > 1 else "one pair of cells"
    interval = f"95 % interval {_range_of(change)}, {pairs}"
    if not effect.is_clear:
        many = "; not clear among all the comparisons made" if change.is_clear else ""
        return f"{describe_step(effect)} has no clear effect on test exact accuracy ({signed(change.estimate)}; {interval}{many})"
    verb = "raises" if change.estimate > 0 else "lowers"
    return f"{describe_step(effect)} {verb} test exact accuracy by {abs(change.estimate):.3f} ({interval})"


def _interaction(one: Interaction) -> str:
    """Whether the effect of a level depends on another setting, with the effect at the levels of that setting."""
    shown = one.changes if len(one.changes) <= MAX_LEVELS_SHOWN else (one.changes[0], one.changes[-1])
    verdict = "depends" if one.is_clear else "does not clearly depend"
    p = "adjusted p < 0.001" if one.p_holm < 0.001 else f"adjusted p = {one.p_holm:.2g}"
    effects = ", ".join(
        f"{signed(change.estimate)} ({_range_of(change)}) at {name_level(one.other, level)}" for level, change in shown
    )
    return f"The effect of {describe_step(one)} {verdict} on {axis_name(one.other)} ({p}): {effects}."


def signed(value: float) -> str:
    """`+0.203`; a value that rounds to 0 has no minus."""
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
    """`+0.20 test exact accuracy (95 % interval +0.15 to +0.25)`."""
    return f"{signed(change.estimate)} test exact accuracy (95 % interval {_range_of(change)})"


def describe_agreements(agreements: Iterable[Agreement]) -> list[Sentence]:
    """Whether settings that are good on one task are good on another."""
    return [
        Sentence(
            f"Settings rank on {one.task} as on {one.other} with a correlation of {one.correlation:.2f} "
            f"(95 % interval {one.low:.2f} to {one.high:.2f}, {one.settings} settings).",
            "task_agreement",
        )
        for one in agreements
    ]


def describe_search(tables: Tables) -> list[Sentence]:
    """The best trial by each objective of a search; a search supports no claim about an axis."""
    objective, completed = tables.objective, tables.completed
    caution = "A search: the sampler chose its trials, so that they are not compared."
    if objective is None:
        return [Sentence(f"{caution} No trial is named the best: the objective is not known, or these searches differ in it.")]
    limits = " and ".join(limit.text for limit in objective.constraints)
    if objective.feasible(completed).empty:
        metrics = " and ".join(goal.metric for goal in objective.goals)
        return [Sentence(f"{caution} No completed trial has {metrics}{f' and keeps {limits}' if limits else ''}.")]
    within = f" among trials that keep {limits}" if limits else ""
    best = "; ".join(
        f"{goal}{within}: {_describe_trial(trial, goal.metric, tables.varied)}"
        for goal in objective.goals
        if (trial := objective.best(completed, goal)) is not None
    )
    advice = "a measure sweep around it would show what each setting brings"
    return [Sentence(f"{caution} Best trial by {best}; {advice}.", "importance")]


def _describe_trial(trial: pd.Series, metric: str, names: list[str]) -> str:
    """The settings of a trial, the value by which it was chosen, and its accuracy on test."""
    settings = label(names, tuple(f"{trial[name]:.3g}" if isinstance(trial[name], float) else trial[name] for name in names))
    return f"{settings} ({metric} {trial[metric]:.4g}, exact accuracy on test {trial[ACCURACY]:.3f})"


# -- what to keep in mind -----------------------------------------------------------------------------------------


def warn(tables: Tables, cells: pd.DataFrame) -> list[Sentence]:
    """What limits the claims: cells at floor or ceiling, unequal examples, steps that repeat the first, lost trials."""
    floor = [Sentence(text, "seeds") for text in _floor_and_ceiling(cells)]
    texts = (*_repeating_steps(tables), *_unequal_examples(tables), *_scored_again(tables), *_failed(tables))
    return [*floor, *map(Sentence, texts)]


def _scored_again(tables: Tables) -> list[str]:
    """Trials of one trained model that were scored to several depths are one replicate."""
    count = len(tables.scored_again)
    if not count:
        return []
    one = "1 trial is" if count == 1 else f"{count} trials are"
    return [f"{one} not counted: the same model was trained in another trial, which scored it deeper or more often."]


def _unequal_examples(tables: Tables) -> list[str]:
    """At equal steps a larger N_sup sees fewer fresh examples: an effect of it is one of both."""
    completed, axis = tables.completed, "model.supervision_steps"
    if axis not in tables.varied or "fresh_examples" not in completed:
        return []
    means = completed.groupby(axis)["fresh_examples"].mean()
    if means.max() < 1.05 * means.min():
        return []
    seen = ", ".join(f"N_sup {level} saw {mean:,.0f}" for level, mean in means.items() if level)
    return [f"Fresh examples are not equal: {seen} on average."]


def _repeating_steps(tables: Tables) -> list[str]:
    """Trials with N_sup above 1 in which no supervision step receives anything from the step before."""
    completed = tables.completed
    if not {RESET, SUPERVISION_STEPS} <= set(completed):
        return []
    repeating = (completed[RESET] == "all") & (completed[SUPERVISION_STEPS] > 1)
    if MEDIUM in completed:
        repeating &= completed[MEDIUM] != "tokens"  # which pass the answer
    if not repeating.any():
        return []
    return [
        f"State reset all: in {int(repeating.sum())} of {len(completed)} trials each supervision step repeats the first; there, "
        "N_sup adds passes over a batch and no recursion, although R and layers executed count it, and D has no effect."
    ]


def _floor_and_ceiling(cells: pd.DataFrame) -> list[str]:
    """Cells whose accuracy can hardly move say little about an axis."""
    if cells.empty:
        return []
    low, high = int((cells["mean"] < FLOOR).sum()), int((cells["mean"] > CEILING).sum())
    if not low + high:
        return []
    return [f"{low} of {len(cells)} cells lie below 5 % and {high} above 95 %, where an effect cannot show in full."]


def _failed(tables: Tables) -> list[str]:
    """What is said is said of the trials that survived."""
    failed = int((tables.trials["outcome"] == Outcome.FAILED).sum())
    if not failed or tables.kind == "search":
        return []
    return [f"{failed} of {len(tables.trials)} trials failed: all of this is said of those that did not."]
