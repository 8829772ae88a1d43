"""Notes on a foreign table once it is read: what a law lacks, and columns that are not used."""

import pandas as pd

from analysis.data.csv_options import settings_option
from analysis.data.names import RECORD
from analysis.data.tables import Tables
from sweeps.design.axes import DEPTH_AXES

MAX_LISTED_VALUES = 4  # values of a column in a note


def notes_on(tables: Tables) -> list[str]:
    """What was changed in a foreign table, what a law lacks in it, and which of its columns mix within cells."""
    trials, notes = tables.completed, list(tables.notes)
    missing = [name for name in ("params_recursed", "test/nll") if name not in trials]
    missing += [] if any(name in trials for name in DEPTH_AXES) else ["recursion"]
    if missing:
        rule = "it requires params_recursed, test/nll and recursion"
        notes.append(f"no recurrence law: {rule}; the table has no {', '.join(missing)}")
    cells = [name for name in tables.varied if name in trials]
    if "seed" not in trials:
        notes.append("no seed: rows of a cell are taken as replicates")
    elif trials.duplicated([*cells, "seed"]).any():
        notes.append("several rows have the same cell and seed: they are taken as replicates")
    return notes + _note_mixed(tables, trials, cells)


def _note_mixed(tables: Tables, trials: pd.DataFrame, cells: list[str]) -> list[str]:
    """A note on columns that look like settings and are not taken as such."""
    known = {*RECORD, *tables.lookalikes.values()}
    others = [name for name in map(str, trials) if name not in known and not tables.is_setting(name)]
    within = [name for name in others if _differs_within_cells(trials, cells, name)]
    if not within:
        return []
    mixed = ", ".join(f"{name} ({_list_values(trials[name])})" for name in within)
    how = "takes it as a setting" if len(within) == 1 else "takes them as settings"
    return [
        f"cells mix rows of different {mixed} as if these were seeds: {settings_option(within)} {how}; "
        "--columns gives a column a name of ours, such as optim.lr=THEIRS"
    ]


def _list_values(values: pd.Series) -> str:
    """The different values, at most `MAX_LISTED_VALUES` of them."""
    texts = [f"{value:g}" if isinstance(value, float) else str(value) for value in sorted(values.dropna().unique(), key=str)]
    return ", ".join([*texts[:MAX_LISTED_VALUES], "..."] if len(texts) > MAX_LISTED_VALUES else texts)


def _differs_within_cells(trials: pd.DataFrame, cells: list[str], name: str) -> bool:
    """Whether a column has few values that differ within cells, as a setting does and a measurement does not."""
    values = trials[name]
    if not 1 < values.nunique() <= max(2, len(values) // 3):
        return False
    return bool((trials.groupby(cells)[name].nunique() > 1).any()) if cells else True
