"""Tables that this project did not write: a row a trial, and a row a point of a curve, as CSV or Parquet."""

from difflib import get_close_matches
from pathlib import Path

import pandas as pd

from analysis.data.tables import CURVE_COLUMNS, SECTIONS, Tables, split_bins
from rrm.errors import UserError, first_line
from sweeps.design.axes import DEPTH_AXES

NEEDED_CURVES = ("fingerprint", "metric", "axis", "at", "value")
NUMBERS = ("params", "params_recursed", "params_once", "recursion", "test/nll", "test/exact_accuracy", "seed", "train_flops",
           "inference_flops", "model.hidden_size", "model.h_cycles", "model.l_cycles", "model.supervision_steps",
           "chosen_depth")  # fmt: skip
OUTCOMES = ("completed", "pruned", "failed", "running")
STATES = {"finished": "completed", "crashed": "failed", "killed": "failed"}  # of Weights & Biases
# What a table may be told under, beside dotted paths of a trial (docs/formats.md).
NAMES = (*NUMBERS, "fingerprint", "sweep", "outcome", "reason", "matching", "layers_executed", "layers_per_step",
         "test/token_accuracy",
         "test/examples", "val/exact_accuracy", "val/token_accuracy", "val/nll", "fresh_examples", "steps", "train_seconds",
         "wall_seconds")  # fmt: skip


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
    table["outcome"] = table["outcome"].replace(STATES)
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
    if not path.exists():
        raise UserError("is not there", str(path))
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (OSError, ValueError) as error:
        why = first_line(error).removeprefix("Error tokenizing data. C error: ")
        raise UserError(f"cannot be read as {'Parquet' if path.suffix == '.parquet' else 'CSV'}: {why}", str(path)) from None
    if len(table.columns) == 1 and ";" in str(table.columns[0]):
        raise UserError("must have its columns separated by commas, got semicolons", str(path))
    return table


def _renamed(table: pd.DataFrame, columns: str) -> pd.DataFrame:
    """Their columns under our names."""
    for pair in filter(None, columns.split(",")):
        ours, separator, theirs = (part.strip() for part in pair.partition("="))
        if not separator or not ours or not theirs:
            raise UserError(f"must be OURS=THEIRS,..., got {pair!r}", "--columns")
        if ours not in NAMES and not ours.startswith(SECTIONS):
            close = get_close_matches(ours, NAMES, 1)
            meant = f"; did you mean {close[0]}?" if close else ""
            raise UserError(f"{ours!r} is not a name of ours (docs/formats.md){meant}", "--columns")
        if theirs not in table:
            raise UserError(f"{theirs!r} is not a column; there are: {', '.join(map(str, table.columns))}", "--columns")
        table = table.rename(columns={theirs: ours}) if ours not in table else table.assign(**{ours: table[theirs]})
    return table


def _numbers(column: pd.Series, where: str) -> pd.Series:
    try:
        return pd.to_numeric(column)
    except (ValueError, TypeError):
        wrong = column[pd.to_numeric(column, errors="coerce").isna() & column.notna()]
        raise UserError(f"must be a number or empty, got {wrong.iloc[0]!r} in row {wrong.index[0] + 1}", where) from None


def notes_on(tables: Tables) -> list[str]:
    """What a reader of somebody else's table should know: what is missing for a law, and what is there and not used."""
    trials, said = tables.completed, []
    recursion = [name for name in DEPTH_AXES if name in trials]
    missing = [name for name in ("params_recursed", "test/nll") if name not in trials] + ([] if recursion else ["recursion"])
    if missing:
        said.append(f"no recurrence law: it takes params_recursed, test/nll and recursion; the table has no {', '.join(missing)}")
    cells = [name for name in tables.varied if name in trials]
    if "seed" not in trials:
        said.append("no seed: rows of a cell are taken as replicates")
    elif trials.duplicated([*cells, "seed"]).any():
        said.append("several rows have the same cell and seed: they are taken as replicates all the same")
    others = [name for name in map(str, trials) if name not in NAMES and not name.startswith(SECTIONS) and name != "outside_spec"]
    within = [name for name in others if _tells_apart(trials, cells, name)]
    if within:
        how = "--columns gives them a name of ours, such as optim.lr=THEIRS"
        said.append(f"not used: {', '.join(within)}, which differ within cells; {how}")
    return said


def _tells_apart(trials: pd.DataFrame, cells: list[str], name: str) -> bool:
    """Whether a column has few values that differ within cells: a setting, and no measurement."""
    values = trials[name]
    if not 1 < values.nunique() <= max(2, len(values) // 3):
        return False
    return bool((trials.groupby(cells)[name].nunique() > 1).any()) if cells else True
