"""What each setting does to a response, all else equal, and whether that depends on another setting.

A numeric setting is compared at two levels, low and high. A setting of words is compared level by level with a base level.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from analysis.data.tables import label
from analysis.statistics.base_levels import base_level
from analysis.statistics.contrasts import Change, Interval, Pair, average_change, equality_p, scores_by_seed
from sweeps.design.axes import AXES, CAPACITY_AXES, DEPTH_AXES, independent_axes
from sweeps.design.groups import find_splitting
from sweeps.design.short_names import axis_name
from sweeps.design.thresholds import LEVEL, MIN_SEEDS

ALL_CELLS = "all cells"
TASK = "task.kind"  # scores on two tasks are not compared
SIGNIFICANT = 1 - LEVEL  # an adjusted p below it is called clear


@dataclass(frozen=True)
class Effect:
    """What going from one level of an axis to another does to a response, all else equal."""

    axis: str
    base: Any  # the lower level, or the base level of a setting of words
    level: Any
    where: str  # the cells that it is averaged over
    pairs: int  # pairs of cells that differ in the axis alone
    change: Interval
    p_holm: float = math.nan  # adjusted for the comparisons that were made together

    @property
    def p(self) -> float:
        return self.change.p

    @property
    def is_clear(self) -> bool:
        """Whether it holds among all comparisons that were made together."""
        return self.p_holm < SIGNIFICANT


@dataclass(frozen=True)
class Interaction:
    """Whether the effect of one level against its base is the same at every level of another setting."""

    axis: str
    base: Any
    level: Any
    other: str
    changes: tuple[tuple[Any, Interval], ...]  # by level of `other`
    p: float  # of the changes being equal
    p_holm: float = math.nan

    @property
    def is_clear(self) -> bool:
        """Whether the effect depends on the other setting, among all that were asked."""
        return self.p_holm < SIGNIFICANT


@dataclass(frozen=True)
class Difference:
    """How one cell differs from another in a response."""

    cell: tuple
    other: tuple
    change: Interval
    p_holm: float = math.nan

    @property
    def p(self) -> float:
        return self.change.p


Compared = TypeVar("Compared", Effect, Interaction, Difference)


def measure_effects(trials: pd.DataFrame, varied: Sequence[str], response: str) -> list[Effect]:
    """The effect of every setting over all cells, then of recursion by size, and of words by each other setting.

    Args:
        trials: completed trials, one for each cell and seed.
        varied: settings that differ between them.

    Returns:
        In the order of `varied`, the effects over all cells first; p is adjusted within each of the two families.
    """
    settings = _independent(trials, varied)
    overall, within = [], []
    for axis in _compared(settings):
        others = [name for name in settings if name != axis]
        overall += axis_effects(trials, axis, others, response)
        for other in _other_settings(trials, axis, others):
            rest = [name for name in others if name != other]
            for level, part in trials.groupby(other, sort=True):
                within += axis_effects(part, axis, rest, response, name_level(other, level))
    adjusted = [*adjust(overall), *adjust(within)]
    return sorted(adjusted, key=lambda effect: settings.index(effect.axis))


def measure_interactions(trials: pd.DataFrame, varied: Sequence[str], response: str) -> list[Interaction]:
    """Whether the effects of settings of words depend on the other settings; p is adjusted over all that were asked."""
    settings = _independent(trials, varied)
    found = []
    for axis in [name for name in _compared(settings) if is_categorical(trials[name])]:
        others = [name for name in settings if name != axis]
        for other in others:
            if other != TASK:
                found += axis_interactions(trials, axis, other, [name for name in others if name != other], response)
    return adjust(found)


def axis_effects(trials: pd.DataFrame, axis: str, others: Sequence[str], response: str, where: str = ALL_CELLS) -> list[Effect]:
    """Effects of an axis, averaged over the settings of the other axes.

    Each cell is compared with the one that differs in `axis` alone; trials without a response are left out. A numeric axis
    has one effect, over the widest range for which there are such cells. Empty without pairs, or without replicates.
    """
    if not is_categorical(trials[axis]):
        ranges = _ranges(sorted(trials[axis].unique()))
        found = (_effect(trials, axis, low, high, others, response, where) for low, high in ranges)
        return list(itertools.islice((effect for effect in found if effect is not None), 1))
    base, *levels = _levels(trials, axis)
    effects = [_effect(trials, axis, base, level, others, response, where) for level in levels]
    return [effect for effect in effects if effect is not None]


def axis_interactions(trials: pd.DataFrame, axis: str, other: str, rest: Sequence[str], response: str) -> list[Interaction]:
    """Whether the effect of each level of an axis of words is the same at every level of another setting."""
    base, *levels = _levels(trials, axis)
    found = []
    for level in levels:
        changes = [
            (at, average_change(_pairs(part, axis, base, level, rest, response))) for at, part in trials.groupby(other, sort=True)
        ]
        known: list[tuple[Any, Change]] = [(at, change) for at, change in changes if change is not None]
        if len(known) > 1:
            p = equality_p([change for _, change in known])
            found.append(Interaction(axis, base, level, other, tuple((at, change.interval) for at, change in known), p))
    return found


def cell_differences(trials: pd.DataFrame, by: Sequence[str], response: str) -> list[Difference]:
    """Every pair of cells with at least two seeds each: the difference of their scores, the second minus the first."""
    cells = _cells(trials, by, response)
    replicated = {key: scores for key, scores in cells.items() if len(scores) >= MIN_SEEDS}
    differences = []
    for (key, scores), (other, others) in itertools.combinations(replicated.items(), 2):
        change = average_change([Pair(scores, others)])
        assert change is not None  # both have replicates
        differences.append(Difference(other, key, change.interval))
    return differences


def adjust(family: Sequence[Compared]) -> list[Compared]:
    """Comparisons that were made together with Holm's adjusted p (Holm 1979)."""
    order = sorted(range(len(family)), key=lambda number: family[number].p)
    adjusted, largest = {}, 0.0
    for rank, number in enumerate(order):
        largest = max(largest, min(1.0, (len(family) - rank) * family[number].p))
        adjusted[number] = replace(family[number], p_holm=largest)
    return [adjusted[number] for number in range(len(family))]


def is_categorical(column: pd.Series) -> bool:
    """Whether a setting is a word or a truth value, whose levels have no order."""
    return not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column)


def is_word(level: Any) -> bool:
    """Whether a level is one of a setting of words."""
    return isinstance(level, str | bool | np.bool_)


def describe_step(compared: Effect | Interaction) -> str:
    """`n 1 to 3`, or for words `state reset all instead of carry`."""
    between = f"{compared.level} instead of {compared.base}" if is_word(compared.level) else f"{compared.base} to {compared.level}"
    return f"{axis_name(compared.axis)} {between}"


def name_level(setting: str, level: Any) -> str:
    """`width 16`; `no N_sup` where a model does not have the setting."""
    return label([setting], (level,)) or f"no {axis_name(setting)}"


def _independent(trials: pd.DataFrame, varied: Sequence[str]) -> list[str]:
    """The varied settings without numbers that follow from the others, as a learning rate for each width does."""
    axes = independent_axes([name for name in varied if name in AXES])
    further = {name: trials[name].tolist() for name in varied if name not in AXES}
    splitting = find_splitting(further, {name: trials[name].tolist() for name in axes}, len(trials))
    return [name for name in varied if name in axes or name in splitting]


def _compared(settings: Sequence[str]) -> list[str]:
    return [name for name in settings if name != TASK]


def _other_settings(trials: pd.DataFrame, axis: str, others: Sequence[str]) -> list[str]:
    """The settings by whose levels an effect is given apart."""
    if is_categorical(trials[axis]):
        return [name for name in others if name != TASK]
    return [name for name in others if name in CAPACITY_AXES] if axis in DEPTH_AXES else []


def _levels(trials: pd.DataFrame, axis: str) -> list[Any]:
    """The levels of a setting of words, the base level first."""
    levels = sorted(trials[axis].unique(), key=str)
    base = base_level(axis, levels, trials)
    return [base, *(level for level in levels if level != base)]


def _ranges(levels: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Pairs of a lower and a higher level, the widest first."""
    places = [(low, high) for low in range(len(levels)) for high in range(low + 1, len(levels))]
    return [(levels[low], levels[high]) for low, high in sorted(places, key=lambda place: (place[0] - place[1], place[0]))]


def _effect(
    trials: pd.DataFrame, axis: str, base: Any, level: Any, others: Sequence[str], response: str, where: str
) -> Effect | None:
    pairs = _pairs(trials, axis, base, level, others, response)
    change = average_change(pairs)
    usable = sum(pair.has_replicates for pair in pairs)
    return None if change is None else Effect(axis, base, level, where, usable, change.interval)


def _pairs(trials: pd.DataFrame, axis: str, base: Any, level: Any, others: Sequence[str], response: str) -> list[Pair]:
    """The cells at two levels of an axis that are alike in all other settings."""
    bases, levels = (_cells(trials[trials[axis] == value], others, response) for value in (base, level))
    return [Pair(scores, levels[key]) for key, scores in bases.items() if key in levels]


def _cells(trials: pd.DataFrame, by: Sequence[str], response: str) -> dict[tuple, pd.Series]:
    """The scores of each cell by its settings; trials without one are left out."""
    scored = trials[trials[response].notna()]
    if not by:
        return {(): scores_by_seed(scored, response)} if len(scored) else {}
    return {key: scores_by_seed(part, response) for key, part in scored.groupby(list(by), sort=True)}
