"""Cells of a foreign table: as numbers, shares and truth values, checked against what their column can hold.

An error names the file with the column, the rule, and the first wrong cell with its row in the file.
"""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.data.names import NUMBERS, is_share
from lightning_modules.columns import COUNTS, SCORES
from lightning_modules.outcome import Outcome
from rrm.errors import UserError

POSITIVE = ("test/nll", "params_recursed", "recursion")  # laws take their logarithms
RESPONSES = ("test/exact_accuracy", "test/nll")  # scores by which cells are compared
SHARE_ERROR = 1e-6  # a mean of ones in float32 may exceed 1 by a few units of 1e-7
TRUTH = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


def refuse(column: pd.Series, wrong: pd.Series, rule: str, where: str, remedy: str = "") -> None:
    """Refuse a column that has a wrong cell.

    Raises:
        UserError: there is one.
    """
    if wrong.any():
        raise UserError(where, f"{rule}, got {_first(column, wrong)}{remedy}")


def _first(column: pd.Series, chosen: pd.Series) -> str:
    """The first chosen value of a column, with its row in the file."""
    value = column[chosen].iloc[0]
    value = value.item() if isinstance(value, np.generic) else value
    shown = "an empty cell" if pd.isna(value) else f"{value:g}" if isinstance(value, float) else repr(value)
    return f"{shown} in row {column.index[chosen][0] + 1}"


def as_numbers(column: pd.Series, where: str) -> pd.Series:
    """The cells as numbers; NaN for an empty cell.

    Raises:
        UserError: a cell is no number.
    """
    numbers = pd.to_numeric(column, errors="coerce")
    refuse(column, numbers.isna() & column.notna(), "must be a number or empty", where)
    return numbers


def without_sign(cell: object) -> object:
    """A cell such as `50%` without its sign."""
    return cell.rstrip(" %") if isinstance(cell, str) else cell


def refuse_signs(column: pd.Series, names: pd.Series, where: str) -> None:
    """Refuse shares such as `50%`, which `--percent` reads.

    Args:
        names: the metric of each cell, by the index of `column`.

    Raises:
        UserError: there is such a cell.
    """
    signed = column.astype(str).str.endswith("%") & names.map(is_share).astype(bool)
    if signed.any():
        refuse(column, signed, "must be a number or empty", where, f": it is in percent, add --percent {names[signed].iloc[0]}")


def check_shares(values: pd.Series, names: pd.Series, where: Path | None) -> pd.Series:
    """The values, with shares that a float32 made larger than 1 by at most `SHARE_ERROR` cut to 1.

    Raises:
        UserError: a share is below 0 or above 1.
    """
    are_shares = names.map(is_share).astype(bool)
    wrong = are_shares & ((values < 0) | (values > 1 + SHARE_ERROR))
    if wrong.any():
        name = names[wrong].iloc[0]
        remedy = f": if it is in percent, add --percent {name}" if 1 < values[wrong].iloc[0] <= 100 else ""
        refuse(values, wrong, "must be a share between 0 and 1", f"{where}: {name}", remedy)
    return values.mask(are_shares & (values > 1), 1)


def check_values(table: pd.DataFrame, where: Path) -> None:
    """Convert the columns of a record in place.

    Raises:
        UserError: a cell has a value that its column cannot hold.
    """
    for name in filter(is_share, map(str, table)):
        refuse_signs(table[name], pd.Series(name, index=table.index), f"{where}: {name}")
    for name in filter(table.__contains__, NUMBERS):
        numbers = as_numbers(table[name], f"{where}: {name}")
        is_whole = name in COUNTS and bool((numbers % 1 == 0).all())  # MLflow has them as floats
        table[name] = numbers.astype("int64") if is_whole else numbers
    for name in filter(table.__contains__, POSITIVE):
        refuse(table[name], table[name] <= 0, "must be above 0", f"{where}: {name}")
    for name in map(str, table.select_dtypes("number")):
        table[name] = check_shares(table[name], pd.Series(name, index=table.index), where)
    table["outside_spec"] = _truth(table["outside_spec"], f"{where}: outside_spec") if "outside_spec" in table else False


def _truth(column: pd.Series, where: str) -> pd.Series:
    """Yes and no as True and False; an empty cell is False."""
    words = column.map(lambda value: f"{value:g}" if isinstance(value, float) else str(value).lower())
    truth = words.map(TRUTH).mask(column.isna(), False)
    refuse(column, truth.isna(), f"must be one of {', '.join(TRUTH)}, or empty", where)
    return truth.astype(bool)


def blank_infinite(table: pd.DataFrame, settings: Collection[str], where: Path) -> list[str]:
    """Make infinite scores and costs missing, in place; returns a note on each column.

    Raises:
        UserError: a setting is infinite.
    """
    notes = []
    for name in map(str, table.select_dtypes("number")):
        infinite = np.isinf(table[name])
        if name in settings:
            refuse(table[name], infinite, "must be finite", f"{where}: {name}")
        if infinite.any():
            table[name] = table[name].mask(infinite)
            notes.append(f"{name}: {count_infinite(infinite)}")
    return notes


def count_infinite(infinite: pd.Series) -> str:
    """A note on how many values count as missing."""
    count = int(infinite.sum())
    return "1 infinite value counts as missing" if count == 1 else f"{count} infinite values count as missing"


def mark_unscored(table: pd.DataFrame, has_outcomes: bool) -> list[str]:
    """Mark rows without a score as unfinished where the table has no outcomes, in place; returns notes on all empty scores.

    The score is the one by which cells are compared, or any score where the table has none of these.
    """
    scores = [name for name in (RESPONSES if table.columns.isin(RESPONSES).any() else SCORES) if name in table]
    scores = [name for name in scores if table[name].notna().any()]
    notes = []
    empty = table[scores].isna().all(axis=1) & (table["outcome"] == Outcome.COMPLETED)
    if scores and not has_outcomes and empty.any():
        table.loc[empty, "outcome"] = "running"
        notes.append(f"{_count_rows(empty)} left out as unfinished: no outcome, and an empty {' and '.join(scores)}")
    for name in scores:
        empty = table[name].isna() & (table["outcome"] == Outcome.COMPLETED)
        if empty.any():
            notes.append(f"{_count_rows(empty)} left out wherever {name} is compared: completed, and an empty {name}")
    return notes


def _count_rows(chosen: pd.Series) -> str:
    count = int(chosen.sum())
    return f"{count} of {len(chosen)} rows {'is' if count == 1 else 'are'}"
