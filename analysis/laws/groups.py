"""Groups: trials that one law may span. Cells: trials that differ in nothing but the seed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.tables import AXES, RECURSION, is_parameter

SECTIONS = ("task.", "model.", "loss.", "optim.", "fit.", "eval.")  # of a TrialConfig; other columns do not tell trials apart
CELL = "cell"


@dataclass(frozen=True)
class Group:
    """Trials of equal task, matching, budget and every setting that is not an axis."""

    settings: dict[str, Any]
    trials: pd.DataFrame  # with the columns `cell`, `recursion`, `params_once`

    @property
    def facts(self) -> dict[str, Any]:
        """What every fit says of its data."""
        return {
            "group": self.settings,
            "trials": len(self.trials),
            "cells": self.trials[CELL].nunique(),
            "seeds": int(self.trials.groupby(CELL).size().median()) if len(self.trials) else 0,
        }

    def knowing(self, columns: Sequence[str]) -> "Group | None":
        """The trials that have all of these values; None where a column is absent, or no trial has them."""
        if not set(columns) <= set(self.trials):
            return None
        known = self.trials[list(columns)].notna().all(axis=1)
        return Group(self.settings, self.trials[known]) if known.any() else None


def groups_of(trials: pd.DataFrame, across: Sequence[str] = ()) -> Iterator[Group]:
    """Split completed trials into groups.

    A setting that is a function of a cell's axes (a learning rate for each width) does not split.

    Args:
        across: settings that a law spans although they differ.
    """
    table = trials.copy()
    if RECURSION not in table:
        cycles = _column(table, "model.h_cycles", 1) * (_column(table, "model.l_cycles", 0) + 1)
        table[RECURSION] = cycles * _column(table, "model.supervision_steps", 1)
    table["params_once"] = _column(table, "params_once", 0)
    axes = [name for name in AXES if name in table]
    settings = [
        name
        for name in map(str, table)
        if (name.startswith(SECTIONS) and is_parameter(name) and name not in (*AXES, *across)) or name == "matching"
    ]
    keys = table[settings].astype(object).where(table[settings].notna(), "")
    places = table[axes].astype(object).where(table[axes].notna(), "").astype(str)
    position = places.agg("|".join, axis=1) if axes else pd.Series("", index=table.index)
    splitting = [
        name
        for name in settings
        if keys[name].astype(str).nunique() > 1 and keys[name].astype(str).groupby(position).nunique().max() > 1
    ]
    constant = {name: _plain(keys[name].iloc[0]) for name in settings if len(keys) and keys[name].astype(str).nunique() == 1}
    parts = keys.groupby([keys[name].astype(str) for name in splitting], sort=True).groups if splitting else {(): table.index}
    for index in parts.values():
        part = table.loc[index].copy()
        part[CELL] = position.loc[index]
        own = {name: _plain(keys[name].loc[index].iloc[0]) for name in splitting}
        shown = {name: value for name, value in (constant | own).items() if name in ("task.kind", "model.kind", "matching")}
        yield Group(shown | own, part)


def _column(table: pd.DataFrame, name: str, absent: float) -> pd.Series:
    """A numeric column, with a value where a model or a table does not have it."""
    if name not in table:
        return pd.Series(absent, index=table.index, dtype=float)
    return pd.to_numeric(table[name]).replace(0, np.nan).fillna(absent)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
