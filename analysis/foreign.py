"""Tables that this project did not write: a row a trial, and a row a point of a curve, as CSV or Parquet."""

from pathlib import Path

import pandas as pd

from analysis.tables import CURVE_COLUMNS, Tables, split_bins
from rrm.errors import UserError

NEEDED_CURVES = ("fingerprint", "metric", "axis", "at", "value")
NUMBERS = ("params", "params_recursed", "params_once", "recursion", "test/nll", "test/exact_accuracy", "seed", "train_flops",
           "inference_flops", "model.hidden_size", "model.h_cycles", "model.l_cycles", "model.supervision_steps",
           "chosen_depth")  # fmt: skip
OUTCOMES = ("completed", "pruned", "failed", "running")


def load_csv(trials: Path, curves: Path | None = None, columns: str = "") -> Tables:
    """Read a table of trials, and one of curves.

    Args:
        columns: names of ours and theirs, such as `test/nll=eval_loss,model.hidden_size=width`.

    Raises:
        UserError: a file cannot be read, or a column is missing or not of numbers.
    """
    table = _renamed(_read(trials), columns)
    if table.empty:
        raise UserError("has no rows", str(trials))
    if "fingerprint" not in table:
        table["fingerprint"] = [f"row{number}" for number in range(len(table))]
    table["fingerprint"] = table["fingerprint"].astype(str)
    if "outcome" not in table:
        table["outcome"] = "completed"
    unknown = set(table["outcome"].astype(str)) - set(OUTCOMES)
    if unknown:
        raise UserError(f"must be one of {', '.join(OUTCOMES)}, got {sorted(unknown)[0]!r}", f"{trials}: outcome")
    table["sweep"] = table.get("sweep", trials.stem)
    table["outside_spec"] = table["outside_spec"].astype(bool) if "outside_spec" in table else False
    for name in NUMBERS:
        if name in table:
            table[name] = _numbers(table[name], f"{trials}: {name}")
    for name in ("test/nll", "params_recursed", "recursion"):  # whose logarithms are taken
        if name in table and (table[name] <= 0).any():
            raise UserError(f"must be above 0, got {table[name].min():g}", f"{trials}: {name}")
    return Tables(table, _curves(curves, table))


def _curves(path: Path | None, trials: pd.DataFrame) -> pd.DataFrame:
    if path is None:
        return pd.DataFrame(columns=CURVE_COLUMNS)
    table = _read(path)
    missing = [name for name in NEEDED_CURVES if name not in table]
    if missing:
        raise UserError(f"must have the columns {', '.join(NEEDED_CURVES)}; {', '.join(missing)} missing", str(path))
    table["fingerprint"] = table["fingerprint"].astype(str)
    if not set(table["fingerprint"]) & set(trials["fingerprint"]):
        raise UserError("has no fingerprint of the table of trials", str(path))
    for name in ("at", "value"):
        table[name] = _numbers(table[name], f"{path}: {name}")
    return split_bins(table)


def _read(path: Path) -> pd.DataFrame:
    """A CSV or Parquet file."""
    try:
        return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot be read: {str(error).splitlines()[0]}", str(path)) from None


def _renamed(table: pd.DataFrame, columns: str) -> pd.DataFrame:
    """Their columns under our names."""
    for pair in filter(None, columns.split(",")):
        ours, separator, theirs = (part.strip() for part in pair.partition("="))
        if not separator or not ours or not theirs:
            raise UserError(f"must be OURS=THEIRS,..., got {pair!r}", "--columns")
        if theirs not in table:
            raise UserError(f"{theirs!r} is not a column; there are: {', '.join(map(str, table.columns))}", "--columns")
        table = table.rename(columns={theirs: ours}) if ours not in table else table.assign(**{ours: table[theirs]})
    return table


def _numbers(column: pd.Series, where: str) -> pd.Series:
    try:
        return pd.to_numeric(column)
    except (ValueError, TypeError):
        wrong = next(value for value in column if pd.isna(pd.to_numeric(value, errors="coerce")) and not pd.isna(value))
        raise UserError(f"must be a number, got {wrong!r}", where) from None
