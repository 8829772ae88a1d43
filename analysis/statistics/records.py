"""The best cell of several sweeps for each task and budget, and the cells of a sweep that no cheaper cell beats."""

from typing import Any

import pandas as pd

from analysis.data.tables import Tables
from analysis.statistics.cells import summarise_cells
from sweeps.design.axes import TASK

ACCURACY, VALIDATION = "test/exact_accuracy", "val/exact_accuracy"
BUDGET = ("matching", "fit.budget.unit", "fit.budget.amount")
TRAINING_DATA = ("task.train_examples", "task.augment", "task.augmentations")  # settings of a task that leave its test as it is
COSTS = ("params", "inference_flops", "train_flops")
CHOSEN_ON = "chosen_on"  # column: the split on which the cell is the best, val or test
SWEEPS = "sweeps"  # column with the names of the sweeps that have trials of a cell


def task_settings(tables: Tables) -> list[str]:
    """The columns by which tasks differ in their test; the kind of task at least, where it is known."""
    differing = [name for name in tables.varied if name.startswith("task.") and name not in TRAINING_DATA]
    return [TASK, *(name for name in differing if name != TASK)] if TASK in tables.completed else differing


def find_records(tables: Tables) -> pd.DataFrame:
    """The best cell for each task and budget: on validation, or on test where a table has no validation scores.

    Returns:
        One row per task and budget: columns of tasks, of budgets and `Tables.varied`, `COSTS`, seeds, mean, low and high of
        exact accuracy on test (variance pooled over the cells of the task and budget), `CHOSEN_ON`, `SWEEPS`. Empty for a
        single sweep.
    """
    completed = tables.completed
    if len(tables.members) < 2 or ACCURACY not in completed:
        return pd.DataFrame()
    groups = [*task_settings(tables), *(name for name in BUDGET if name in completed)]
    keys = list(dict.fromkeys([*groups, *tables.varied]))
    parts = completed.groupby(groups, sort=True) if groups else [((), completed)]
    best = [row for _, part in parts if (row := _best_cell(tables, part, keys)) is not None]
    return pd.DataFrame(best)


def _best_cell(tables: Tables, trials: pd.DataFrame, keys: list[str]) -> dict[str, Any] | None:
    cells = cells_with_costs(trials, keys)
    if cells.empty:
        return None
    ranking = VALIDATION if VALIDATION in cells and cells[VALIDATION].notna().all() else "mean"
    order = [name for name in (ranking, "params", *keys) if name in cells]
    best = cells.sort_values(order, ascending=[False] + [True] * (len(order) - 1), key=_comparable).to_dict("records")[0]
    own = set(trials[(trials[keys] == pd.Series({key: best[key] for key in keys})).all(axis=1)]["fingerprint"])
    return {str(name): value for name, value in best.items()} | {
        CHOSEN_ON: "val" if ranking == VALIDATION else "test",
        SWEEPS: ", ".join(sorted(name for name, members in tables.members.items() if members & own)),
    }


def _comparable(column: pd.Series) -> pd.Series:
    return column if pd.api.types.is_numeric_dtype(column) else column.astype(str)


def cells_with_costs(trials: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Cells with mean and 95 % CI of exact accuracy on test, and the means of their costs and of their accuracy on validation."""
    if not keys or trials[ACCURACY].notna().sum() == 0:
        return pd.DataFrame()
    cells = summarise_cells(trials, keys, ACCURACY)
    known = [name for name in (*COSTS, VALIDATION) if name in trials]
    means = trials[trials[ACCURACY].notna()].groupby(keys, sort=True)[known].mean().reset_index()
    return cells.merge(means, on=keys)


def front_of(cells: pd.DataFrame, cost: str) -> pd.DataFrame:
    """The cells that are more accurate than every cell that costs at most as much, the cheapest first."""
    ranked = cells[cells[cost].notna()].sort_values([cost, "mean"], ascending=[True, False])
    return ranked[ranked["mean"] > ranked["mean"].cummax().shift(fill_value=-1.0)]
