"""Tables that Weights & Biases and MLflow export: their names and states in the words of docs/formats.md.

W&B: the CSV of a project's table (`Name, State, ..., model.hidden_size`), and tables made of `run.config` and `run.summary`, with a
column a key or with a dictionary a cell.
MLflow: `mlflow.search_runs().to_csv()` (`run_id, status, params.x, metrics.y, tags.z`), and the CSV of its page.
"""

import ast
import re
from pathlib import Path

import pandas as pd

from analysis.data.names import RECORD, SETTINGS
from analysis.data.table_file import MISSING
from analysis.data.tables import OUTCOMES
from lightning_modules.columns import TEXTS
from lightning_modules.config import flatten
from rrm.errors import UserError

STATES = {  # outcomes by the states of W&B and of MLflow in lower case
    "finished": "completed", "failed": "failed", "crashed": "failed", "killed": "failed", "preempted": "failed",
    "running": "running", "preempting": "running", "pending": "running", "scheduled": "running",
}  # fmt: skip
PREFIXES = ("params.", "config.", "metrics.", "summary.", "tags.")  # the first of two columns with one name is taken
FINGERPRINT_TAG, SWEEP_TAG, PARENT_TAG = "tags.rrm.fingerprint", "tags.rrm.sweep", "tags.mlflow.parentRunId"
PACKED = ("config", "summary")  # columns of dictionaries
LITERALS = {"nan": "None", "inf": "1e999", "null": "None", "true": "True", "false": "False", "NaN": "None", "Infinity": "1e999"}
NO_LITERAL = re.compile(rf"""(?<![\w'"])(?:{"|".join(LITERALS)})(?![\w'"])""")  # words that are no literals of Python
RUN_IDS = ("run_id", "Run ID", "ID", "id")
STATUSES = ("status", "Status", "State", "state")
STATUS_WORDS = {"status", "state", "result", "outcome"}  # last words of the name of a column of states in other tables


def unpack_dictionaries(table: pd.DataFrame, where: Path) -> pd.DataFrame:
    """A column for each key, `config.model.hidden_size`, where the cells of the column `config` or `summary` are dictionaries.

    Raises:
        UserError: a cell cannot be read as a dictionary.
    """
    for name in PACKED:
        if name in table and table[name].astype(str).str.startswith("{").any():
            cells = [_keys_of(cell, f"{where}: {name}", row) for row, cell in enumerate(table[name], 1)]
            keys = pd.DataFrame([{f"{name}.{key}": value for key, value in cell.items()} for cell in cells], index=table.index)
            table = pd.concat([table.drop(columns=name), keys], axis=1)
    return table


def _keys_of(cell: str | None, where: str, row: int) -> dict[str, str]:
    """Values by dotted key, as text, without those that represent a missing value."""
    try:
        value = ast.literal_eval(NO_LITERAL.sub(lambda word: LITERALS[word[0]], cell or "{}"))
        flat = flatten({str(key): part for key, part in value.items()})
    except (ValueError, SyntaxError, AttributeError, RecursionError, MemoryError):
        raise UserError(where, f"must be a dictionary, got {str(cell)[:40]!r} in row {row}; give each key a column") from None
    return {key: str(part) for key, part in flat.items() if str(part) not in MISSING}


def is_export(columns: pd.Index) -> bool:
    """Whether a table has the columns of an export: a pair that only exports have, or a setting or a seed behind a prefix."""
    names = set(columns)
    marks = ({"run_id", "status"}, {"Run ID", "Status"}, {"Name", "State"})
    prefixed = [name for name in names if name.startswith(("params.", "config."))]
    has_settings = any(_our_name(name) in {*SETTINGS, *RECORD} for name in prefixed)
    return has_settings or any(mark <= names for mark in marks) or any(name.startswith("_wandb") for name in names)


def rename_export(table: pd.DataFrame) -> dict[str, str]:
    """Names of ours by theirs. A column keeps its name where that, or a column before it, has the name already."""
    names = {column: _our_name(column) for column in map(str, table)}
    owners: dict[str, str] = {}
    for column in sorted(names, key=lambda column: (names[column] != column, _rank(column))):
        owners.setdefault(names[column], column)
    return {column: name if owners[name] == column else column for column, name in names.items()}


def trials_of_export(table: pd.DataFrame, names: dict[str, str]) -> pd.Series:
    """Whether a row is a trial [rows]: a run that holds others is none, nor is one without any setting or score.

    Args:
        table: with the names of the export.
        names: what `rename_export` gave.
    """
    known = [theirs for theirs, ours in names.items() if ours in SETTINGS or (ours in RECORD and ours not in TEXTS)]
    is_trial = table[known].notna().any(axis=1) if known else pd.Series(True, index=table.index)
    if SWEEP_TAG in table:
        is_trial &= table[SWEEP_TAG].isna()
    if PARENT_TAG in table and "run_id" in table:
        is_trial &= ~table["run_id"].isin(table[PARENT_TAG].dropna())
    return is_trial


def run_names(table: pd.DataFrame) -> pd.Series:
    """A name for each row [rows]: the id of its run in an export, else its number."""
    numbers = pd.Series([f"row{number}" for number in range(len(table))], index=table.index, dtype=object)
    column = next((name for name in RUN_IDS if name in table), None) if is_export(table.columns) else None
    return numbers if column is None else table[column].fillna(numbers)


def find_status(table: pd.DataFrame) -> str | None:
    """The column that holds the states of the runs: in an export by its name, in another table if every cell is a state."""
    if is_export(table.columns):
        return next((name for name in STATUSES if name in table), None)
    named = [name for name in map(str, table) if re.split(r"[^a-z]+", name.lower())[-1] in STATUS_WORDS]
    return next((name for name in named if known_outcomes(table[name]).notna().all()), None)


def known_outcomes(states: pd.Series) -> pd.Series:
    """The outcome that each state represents; NaN for a text that is no state."""
    return states.astype(str).str.strip().str.lower().map({name: name for name in OUTCOMES} | STATES)


def outcomes_of(table: pd.DataFrame, renamed: pd.DataFrame, where: Path) -> pd.Series:
    """The outcome of each row: the column of that name, else the status of the run; completed in a table with neither.

    Raises:
        UserError: a state is not known, or a row has none.
    """
    status = find_status(table)
    states = renamed.get("outcome")
    if status is not None:
        states = table[status] if states is None else states.fillna(table[status])
    if states is None:
        return pd.Series("completed", index=table.index)
    outcomes = known_outcomes(states)
    wrong = outcomes.isna()
    if wrong.any():
        row = states.index[wrong][0]
        got = "an empty cell" if pd.isna(states[row]) else repr(states.astype(object)[row])
        column = "outcome" if "outcome" in renamed else str(status)
        rule = f"must be one of {', '.join(OUTCOMES)}, or a state of W&B or MLflow"
        raise UserError(f"{where}: {column}", f"{rule}; got {got} in row {row + 1}")
    return outcomes


def _our_name(theirs: str) -> str:
    """The name here of a column of an export; its own name if it has none here."""
    if theirs == FINGERPRINT_TAG:
        return "fingerprint"
    prefix = next((prefix for prefix in PREFIXES if theirs.startswith(prefix)), "")
    name = theirs.removeprefix(prefix)
    if prefix == "tags.":
        return name if name in TEXTS else theirs
    plain = name.removesuffix(".value")  # W&B's files hold {value: ..., desc: ...}
    spellings = (name, plain, plain.replace("/", "."), plain.replace(".", "/", 1))  # loggers flatten sections with either
    return next((spelling for spelling in spellings if spelling in SETTINGS or spelling in RECORD), name)


def _rank(column: str) -> int:
    return next((rank for rank, prefix in enumerate(PREFIXES) if column.startswith(prefix)), -1)
