"""A table of points of curves that another program wrote."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.data.csv_values import as_numbers, check_shares, count_infinite, refuse, refuse_signs, without_sign
from analysis.data.table_file import read_table
from analysis.data.tables import CURVE_COLUMNS
from lightning_modules.columns import current_name
from rrm.errors import UserError

REQUIRED = ("fingerprint", "metric", "axis", "at", "value")
FINITE = ("at", "difficulty", "examples")


def read_curves(path: Path | None, fingerprints: Collection[str], percent: Collection[str]) -> tuple[pd.DataFrame, list[str]]:
    """Points of curves, and notes on infinite values, which count as missing; no points without a path.

    Args:
        fingerprints: those of the trials.
        percent: metrics that are in percent, which become shares.

    Raises:
        UserError: the file cannot be read, lacks a column or all trials, or holds a value that its column cannot hold.
    """
    if path is None:
        return pd.DataFrame(columns=CURVE_COLUMNS), []
    table = read_table(path)
    missing = [name for name in REQUIRED if name not in table]
    if missing:
        raise UserError(str(path), f"must have the columns {', '.join(REQUIRED)}; {', '.join(missing)} missing")
    if not set(table["fingerprint"].astype(str)) & set(fingerprints):
        raise UserError(str(path), "must have a fingerprint of the table of trials, got none of them")
    for name in ("fingerprint", "metric", "axis", "at"):
        refuse(table[name], table[name].isna(), "must not be empty", f"{path}: {name}")
    texts = {name: table[name].astype(str) for name in ("fingerprint", "metric", "axis")}
    numbers = {name: as_numbers(table[name], f"{path}: {name}") for name in FINITE if name in table}
    for name, column in numbers.items():
        refuse(column, np.isinf(column), "must be finite", f"{path}: {name}")
    values = _read_values(table["value"], texts["metric"], percent, path)
    infinite = np.isinf(values)
    notes = [f"{path}: {count_infinite(infinite)}"] if infinite.any() else []
    metrics = texts["metric"].map(current_name)
    values = check_shares(values.mask(infinite), metrics, path)
    return table.assign(**texts | {"metric": metrics}, **numbers, value=values), notes


def _read_values(cells: pd.Series, metrics: pd.Series, percent: Collection[str], path: Path) -> pd.Series:
    """The values of points as numbers, with those in percent divided by 100."""
    is_percent = metrics_in(metrics, percent)
    refuse_signs(cells[~is_percent], metrics, f"{path}: value")
    values = as_numbers(cells.map(without_sign).where(is_percent, cells), f"{path}: value")
    return values.where(~is_percent, values / 100).astype(float)


def metrics_in(metrics: pd.Series, names: Collection[str]) -> pd.Series:
    """Whether each metric, or the metric of which it is a bin, is one of the names [points]."""
    return metrics.map(lambda metric: any(f"{metric}/".startswith(f"{name}/") for name in names)).astype(bool)
