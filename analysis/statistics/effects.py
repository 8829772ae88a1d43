"""The effect of each setting on a response, all else equal, and whether the effect depends on another setting.

A numeric setting is compared at two levels, low and high. Each level of a categorical setting is compared with a base level.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from analysis.data.tables import label
from analysis.statistics.base_levels import base_level
from analysis.statistics.contrasts import (
    Change,
    Noise,
    Pair,
    average_change,
    average_scores,
    equality_p,
    pool_noise,
    scores_by_seed,
)
from analysis.statistics.interval import Interval
from sweeps.design.axes import AXES, CAPACITY_AXES, DEPTH_AXES, TASK, independent_axes
from sweeps.design.groups import find_splitting
from sweeps.design.short_names import axis_name
from sweeps.design.thresholds import LEVEL, MIN_SEEDS

ALL_CELLS = "all cells"
MAX_CLEAR_P = 1 - LEVEL  # an effect with a smaller adjusted p is called clear


@dataclass(frozen=True)
class Effect:
    """The change of a response from one level of an axis to another, all else equal."""

    axis: str
    base: Any  # the lower level, or the base level of a categorical setting
    level: Any
    where: str  # name of the cells over which the effect is averaged
    pairs: int  # number of pairs of cells that differ in the axis alone
    change: Interval
    is_blocked: bool = False  # True if each pair of cells was compared within seeds
    p_holm: float = math.nan  # p after Holm's adjustment over the comparisons made together

    @property
    def p(self) -> float:
        return self.change.p

    @property
    def is_clear(self) -> bool:
        """Whether the effect remains clear after the adjustment for all comparisons made together."""
        return self.p_holm < MAX_CLEAR_P


@dataclass(frozen=True)
class Interaction:
    """Whether the effect of one level against its base is the same at every level of another setting."""

    axis: str
    base: Any
    level: Any
    other: str
    changes: tuple[tuple[Any, Interval], ...]  # one pair (level of `other`, change) per level
    p: float  # p value against equal changes at all levels
    p_holm: float = math.nan

    @property
    def is_clear(self) -> bool:
        """Whether the effect depends on the other setting, after the adjustment for all interactions tested."""
        return self.p_holm < MAX_CLEAR_P


@dataclass(frozen=True)
class Difference:
    """The difference of a response between two cells."""

    cell: tuple[Any, ...]
    other: tuple[Any, ...]
    change: Interval
    p_holm: float = math.nan

    @property
    def p(self) -> float:
        return self.change.p


Compared = TypeVar("Compared", Effect, Interaction, Difference)


def measure_effects(trials: pd.DataFrame, varied: Sequence[str], response: str) -> list[Effect]:
    """The effect of every setting over all cells, of recursion at each size, and of categorical settings at each other level.

    Args:
        trials: completed trials, one for each cell and seed.
        varied: settings that differ between the trials.

    Returns:
        Effects in the order of `varied`, those over all cells first. p is adjusted within each of these two families.
    """
    design = Design(trials, _independent(trials, varied), response)
    overall, within = [], []
    for axis in design.compared:
        overall += design.effects(axis, trials, ())
        for other in design.moderators_of(axis):
            for level, part in trials.groupby(other, sort=True):
                within += design.effects(axis, part, (other,), name_level(other, level))
    adjusted = [*adjust(overall), *adjust(within)]
    return sorted(adjusted, key=lambda effect: design.settings.index(effect.axis))


def measure_interactions(trials: pd.DataFrame, varied: Sequence[str], response: str) -> list[Interaction]:
    """Whether the effects of categorical settings depend on the other settings; p is adjusted over all interactions."""
    design = Design(trials, _independent(trials, varied), response)
    return adjust(
        [one for axis in design.contrasts for other in design.moderators_of(axis) for one in design.interactions(axis, other)]
    )


@dataclass(frozen=True)
class Design:
    """Completed trials, the settings that define their cells, and the score that is compared."""

    trials: pd.DataFrame
    settings: Sequence[str]
    response: str

    @cached_property
    def noise(self) -> Noise:
        return pool_noise(_cells(self.trials, self.settings, self.response).values())

    @property
    def compared(self) -> list[str]:
        return [name for name in self.settings if name != TASK]

    def moderators_of(self, axis: str) -> list[str]:
        """The settings at whose levels the effect of an axis is also given separately."""
        others = [name for name in self.compared if name != axis]
        if is_categorical(self.trials[axis]):
            return others
        return [name for name in others if name in CAPACITY_AXES] if axis in DEPTH_AXES else []

    def effects(self, axis: str, part: pd.DataFrame, fixed: Sequence[str], where: str = ALL_CELLS) -> list[Effect]:
        """Effects of an axis on some of the trials, averaged over the settings of the other axes.

        Each cell is compared with the cell that differs in `axis` alone. A numeric axis has one effect, over the widest range for
        which such cells exist. The list is empty without pairs or without replicates.

        Args:
            fixed: settings that are equal in all trials of `part`.
        """
        if is_categorical(self.trials[axis]):
            effects = [self._effect(axis, base, level, part, fixed, where) for base, level in self.contrasts[axis]]
            return [effect for effect in effects if effect is not None]
        levels = sorted(level for level in part[axis].unique() if level != 0 or axis not in AXES)
        ranges = (self._effect(axis, low, high, part, fixed, where) for low, high in _ranges(levels))
        return list(itertools.islice((effect for effect in ranges if effect is not None), 1))

    @cached_property
    def contrasts(self) -> dict[str, list[tuple[Any, Any]]]:
        """Pairs (base, level) of every effect of each categorical setting."""
        return {axis: self._find_contrasts(axis) for axis in self.compared if is_categorical(self.trials[axis])}

    def _find_contrasts(self, axis: str) -> list[tuple[Any, Any]]:
        """Levels without cells to compare with the base are compared with each other, with a second base."""
        remaining, contrasts = sorted(self.trials[axis].unique(), key=str), []
        while len(remaining) > 1:
            base = base_level(axis, remaining, self.trials)
            remaining.remove(base)
            compared = [level for level in remaining if self._effect(axis, base, level, self.trials, (), ALL_CELLS) is not None]
            contrasts += [(base, level) for level in compared]
            remaining = [level for level in remaining if level not in compared]
        return contrasts

    def interactions(self, axis: str, other: str) -> list[Interaction]:
        """Whether the effect of each level of a categorical setting is the same at every level of another setting."""
        interactions = []
        for base, level in self.contrasts[axis]:
            parts = self.trials.groupby(other, sort=True)
            changes = [(at, average_change(self._pairs(axis, base, level, part, (other,)), self.noise)) for at, part in parts]
            known: list[tuple[Any, Change]] = [(at, change) for at, change in changes if change is not None]
            if len(known) > 1:
                p = equality_p([change for _, change in known])
                interactions.append(Interaction(axis, base, level, other, tuple((at, change.interval) for at, change in known), p))
        return interactions

    def _effect(self, axis: str, base: Any, level: Any, part: pd.DataFrame, fixed: Sequence[str], where: str) -> Effect | None:
        pairs = self._pairs(axis, base, level, part, fixed)
        change = average_change(pairs, self.noise)
        usable = sum(pair.has_replicates for pair in pairs)
        return None if change is None else Effect(axis, base, level, where, usable, change.interval, change.is_blocked)

    def _pairs(self, axis: str, base: Any, level: Any, part: pd.DataFrame, fixed: Sequence[str]) -> list[Pair]:
        """Pairs of cells at two levels of an axis that agree in all other settings that both models have.

        A one-pass model has neither n nor N_sup: it is compared with the mean over the cells that differ in these alone.
        """
        others = [name for name in self.settings if name != axis and name not in fixed]
        bases, levels = (_cells(part[part[axis] == value], others, self.response) for value in (base, level))
        pairs = []
        for key, scores in bases.items():
            present = [place for place, value in enumerate(key) if not _is_absent(others[place], value)]
            matches = [cell for other, cell in levels.items() if all(other[place] == key[place] for place in present)]
            if matches:
                pairs.append(Pair(scores, average_scores(matches)))
        return pairs


def cell_differences(trials: pd.DataFrame, by: Sequence[str], response: str) -> list[Difference]:
    """Every pair of cells with at least two seeds each: the difference of their scores, the second minus the first."""
    cells = _cells(trials, by, response)
    noise = pool_noise(cells.values())
    replicated = {key: scores for key, scores in cells.items() if len(scores) >= MIN_SEEDS}
    differences = []
    for (key, scores), (other, others) in itertools.combinations(replicated.items(), 2):
        change = average_change([Pair(scores, others)], noise)
        assert change is not None  # every cell in `replicated` has replicates
        differences.append(Difference(other, key, change.interval))
    return differences


def adjust(family: Sequence[Compared]) -> list[Compared]:
    """The same comparisons with p adjusted for all of them (Holm 1979)."""
    order = sorted(range(len(family)), key=lambda number: family[number].p)
    adjusted, largest = {}, 0.0
    for rank, number in enumerate(order):
        largest = max(largest, min(1.0, (len(family) - rank) * family[number].p))
        adjusted[number] = replace(family[number], p_holm=largest)
    return [adjusted[number] for number in range(len(family))]


def is_categorical(column: pd.Series) -> bool:
    """Whether a setting is text or a truth value, whose levels have no order."""
    return not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column)


def is_word(level: Any) -> bool:
    """Whether a level belongs to a categorical setting."""
    return isinstance(level, str | bool | np.bool_)


def describe_step(compared: Effect | Interaction) -> str:
    """`n 1 to 3`, or for a categorical setting `state reset all instead of carry`."""
    between = f"{compared.level} instead of {compared.base}" if is_word(compared.level) else f"{compared.base} to {compared.level}"
    return f"{axis_name(compared.axis)} {between}"


def name_level(setting: str, level: Any) -> str:
    """`width 16`; `no N_sup` if the model does not have the setting."""
    return label([setting], (level,)) or f"no {axis_name(setting)}"


def _independent(trials: pd.DataFrame, varied: Sequence[str]) -> list[str]:
    """The varied settings, except numbers that other settings determine, such as a learning rate given for each width."""
    axes = independent_axes([name for name in varied if name in AXES])
    further = {name: trials[name].tolist() for name in varied if name not in AXES}
    splitting = find_splitting(further, {name: trials[name].tolist() for name in axes}, len(trials))
    return [name for name in varied if name in axes or name in splitting]


def _ranges(levels: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Pairs of a lower and a higher level, the widest first."""
    places = [(low, high) for low in range(len(levels)) for high in range(low + 1, len(levels))]
    return [(levels[low], levels[high]) for low, high in sorted(places, key=lambda place: (place[0] - place[1], place[0]))]


def _is_absent(setting: str, value: Any) -> bool:
    """Whether `Tables.completed` filled in this value because the model does not have the setting."""
    return bool(value == "" or (value == 0 and setting in AXES))


def _cells(trials: pd.DataFrame, by: Sequence[str], response: str) -> dict[tuple[Any, ...], pd.Series]:
    """The scores of each cell, by the values of its settings; trials without a score are left out."""
    scored = trials[trials[response].notna()]
    if not by:
        return {(): scores_by_seed(scored, response)} if len(scored) else {}
    return {key: scores_by_seed(part, response) for key, part in scored.groupby(list(by), sort=True)}
