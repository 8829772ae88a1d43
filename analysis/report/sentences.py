"""Sentences of a report: each gives an effect, its unit, its interval and its condition, and names the figure that shows it."""

import math
from collections.abc import Iterable

import pandas as pd

from analysis.data.tables import Tables, label
from analysis.laws.sentence import Sentence
from analysis.statistics.confirmation import Confirmed
from analysis.statistics.effects import ALL_CELLS, Difference, Effect, Interaction, describe_step, is_word, name_level
from analysis.statistics.interval import Interval
from analysis.statistics.task_agreement import Agreement
from lightning_modules.outcome import Outcome
from sweeps.design.axes import AXES, CAPACITY_AXES, DEPTH_AXES, SUPERVISION_STEPS
from sweeps.design.short_names import axis_name, count_of
from sweeps.design.thresholds import CEILING, FLOOR

ACCURACY = "test/exact_accuracy"
RESET, MEDIUM = "model.state_reset", "model.medium"
MIN_LISTED = 3  # with at least 3 settings on which an effect does not depend, one sentence lists them
MAX_LEVELS_SHOWN = 4  # an interaction with more levels shows the first and the last alone


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
    """The best trial by each objective of a search; a search supports no claim about an axis."""
    objective, completed = tables.objective, tables.searched
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


def describe_confirmed(confirmed: list[Confirmed], names: list[str]) -> list[Sentence]:
    """The confirmed setting with the best mean over fresh seeds, chosen by the objective, and its accuracy on test."""
    if not confirmed:
        return []
    best = confirmed[0]
    rival = f" (the best of {len(confirmed)} by its mean)" if len(confirmed) > 1 else ""
    interval = "" if math.isnan(best.low) else f" (95 % CI {best.low:.3f} to {best.high:.3f})"
    return [
        Sentence(
            f"Confirmed over {count_of(best.seeds, 'fresh seed')}: {label_rounded(names, best.settings)}{rival} has exact accuracy "
            f"{best.mean:.3f} on test{interval}; {best.metric} is {best.repeated:.4g}, and was {best.selected_by:.4g} in the "
            "trial by which the search selected it."
        )
    ]


def label_rounded(names: list[str], values: tuple[object, ...]) -> str:
    """The label of a setting, with three digits of each number that is not whole."""
    return label(names, tuple(f"{value:.3g}" if isinstance(value, float) else value for value in values))


def _describe_trial(trial: pd.Series, metric: str, names: list[str]) -> str:
    """The settings of a trial, the value by which it was chosen, and its accuracy on test."""
    settings = label_rounded(names, tuple(trial[name] for name in names))
    return f"{settings} ({metric} {trial[metric]:.4g}, exact accuracy on test {trial[ACCURACY]:.3f})"


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
    if low and high:
        which = f"{low} of {len(cells)} cells {_lie(low)} below 5 % exact accuracy and {high} above 95 %"
    else:
        which = f"{low + high} of {len(cells)} cells {_lie(low + high)} {'below 5' if low else 'above 95'} % exact accuracy"
    return [f"{which}, where an effect cannot show in full."]


def _lie(count: int) -> str:
    return "lies" if count == 1 else "lie"


def _failed(tables: Tables) -> list[str]:
    """A sentence on failed trials, which no claim covers."""
    failed = int((tables.trials["outcome"] == Outcome.FAILED).sum())
    if not failed or tables.kind == "search":
        return []
    return [f"{failed} of {len(tables.trials)} trials failed: all statements above are about completed trials."]
