"""Groups: trials that one law may span. Cells: trials that differ in nothing but the seed."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.tables import is_parameter
from lightning_modules.config import CURVE_SETTINGS
from sweeps.design.axes import AXES, CYCLES, LATENT_UPDATES, RECURSION, SUPERVISION_STEPS, count_recursion, independent_axes
from sweeps.design.groups import find_splitting, name_rows, split_rows

CELL = "cell"
SHOWN = ("task.kind", "model.kind", "matching")  # settings that every group states
Budgets = Mapping[str, Sequence[float]]  # FLOPs by name of the cost: inference_flops, train_flops


@dataclass(frozen=True)
class Group:
    """Trials of equal task, matching, budget and every setting that is not an axis."""

    settings: dict[str, Any]
    trials: pd.DataFrame  # with the columns `cell`, `recursion`, `params_once`
    curves: pd.DataFrame = field(default_factory=pd.DataFrame)  # curves of the whole table: fingerprint, metric, axis, at, value
    budgets: Budgets = field(default_factory=dict)  # for which the user asks what to run

    @property
    def facts(self) -> dict[str, Any]:
        """Settings and counts that every fit has."""
        return {
            "group": self.settings,
            "trials": len(self.trials),
            "cells": self.trials[CELL].nunique(),
            "seeds": int(self.trials.groupby(CELL).size().median()),
        }

    def has(self, needs: Sequence[tuple[str, ...]]) -> bool:
        """Whether the trials have at least one column of each tuple."""
        return all(any(name in self.trials for name in names) for names in needs)

    def range_of(self, *columns: str) -> dict[str, list[float]]:
        """The lowest and the highest value of each column."""
        return {name: [float(self.trials[name].min()), float(self.trials[name].max())] for name in columns}

    def with_values_of(self, columns: Sequence[str]) -> "Group | None":
        """The trials that have all of these values; None where a column is absent, or no trial has them."""
        if not set(columns) <= set(self.trials):
            return None
        known = self.trials[list(columns)].notna().all(axis=1)
        return replace(self, trials=self.trials[known]) if known.any() else None


def groups_of(trials: pd.DataFrame, across: Sequence[str] = (), further: Collection[str] = ()) -> Iterator[Group]:
    """Split completed trials into groups, by the rules of `sweeps.design.groups`.

    Args:
        across: settings that a law spans although they differ.
        further: columns that are settings beside the dotted paths of a trial, as `Tables.settings` has them.
    """
    table = trials.copy()
    if RECURSION not in table:
        absent = {CYCLES: 1, LATENT_UPDATES: 0, SUPERVISION_STEPS: 1}
        table[RECURSION] = count_recursion(*(_column(table, name, value).to_numpy() for name, value in absent.items()))
    table["params_once"] = _column(table, "params_once", 0)
    names = [name for name in map(str, table) if (is_parameter(name) or name in further) and name not in (*AXES, *CURVE_SETTINGS)]
    settings = _values(table, [name for name in map(str, table) if name == "matching" or (name in names and name not in across)])
    table[CELL] = name_rows(_values(table, [name for name in (*AXES, *across) if name in table]), len(table))
    axes = [*independent_axes(list(map(str, trials))), *(name for name in across if name in table)]
    splitting = find_splitting(settings, _values(table, axes), len(table))
    same = {name: values[0] for name, values in settings.items() if len(set(map(str, values))) == 1}
    for rows in split_rows({name: settings[name] for name in splitting}, len(table)):
        differing = {name: settings[name][rows[0]] for name in splitting}
        shown = {name: value for name, value in (same | differing).items() if name in SHOWN}
        yield Group(shown | differing, table.iloc[rows].copy())


def _values(table: pd.DataFrame, names: Sequence[str]) -> dict[str, list[Any]]:
    """Columns as plain values; "" stands for an absent one."""
    return {name: table[name].astype(object).where(table[name].notna(), "").tolist() for name in names}


def trials_with(trials: pd.DataFrame, settings: Mapping[str, Any]) -> pd.DataFrame:
    """The trials that have these settings, such as those of a group; a setting that the table does not have is left out."""
    names = [name for name in settings if name in trials]
    wanted = pd.Series({name: str(settings[name]) for name in names})
    return trials[(pd.DataFrame(_values(trials, names), trials.index).astype(str) == wanted).all(axis=1)]


def first_values(part: pd.DataFrame, names: Sequence[str]) -> dict[str, Any]:
    """The settings that all trials of a part share, among these columns, as plain values."""
    values = {name: part[name].iloc[0] for name in names if name in part}
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()}


def _column(table: pd.DataFrame, name: str, absent: float) -> pd.Series:
    """A numeric column, with a value where a model or a table does not have it."""
    if name not in table:
        return pd.Series(absent, index=table.index, dtype=float)
    return pd.to_numeric(table[name]).replace(0, np.nan).fillna(absent)
