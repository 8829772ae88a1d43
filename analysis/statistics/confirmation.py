"""The confirm stage of a search: its best settings, repeated over fresh seeds."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.data.tables import Tables
from analysis.statistics.cells import summarise_cells
from lightning_modules.columns import CONFIRM
from lightning_modules.outcome import Outcome

ACCURACY = "test/exact_accuracy"


@dataclass(frozen=True)
class Confirmed:
    """A setting that was repeated."""

    settings: tuple[Any, ...]  # values of `Tables.varied`
    selected: pd.Series  # the trial of the search that has these settings
    metric: str  # the first objective, by which the search selected it
    repeated: float  # mean of that metric over the fresh seeds
    seeds: int  # fresh seeds that completed
    failed: int  # fresh seeds that failed
    mean: float  # exact accuracy on test, over the fresh seeds
    low: float  # 95 % CI with the variance pooled over settings; NaN where no setting has two seeds
    high: float

    @property
    def selected_by(self) -> float:
        """The value of the metric by which the search selected the setting."""
        return float(self.selected[self.metric])


def confirm_settings(tables: Tables) -> list[Confirmed]:
    """The settings of the confirm stage, the best by the first objective over the fresh seeds first.

    Empty for a sweep without this stage, and where the objective of the sweeps is not known.
    """
    completed, names = tables.completed, tables.varied
    if tables.objective is None or "stage" not in completed or not names:
        return []
    goal = tables.objective.goals[0]
    repeats = completed[(completed["stage"] == CONFIRM) & completed[goal.metric].notna()]
    if repeats.empty:
        return []
    cells = summarise_cells(repeats, names, ACCURACY)
    means = repeats.groupby(names)[goal.metric].mean()
    searched, failed = tables.searched, _failures(tables, names)
    found = []
    for cell in cells.to_dict("records"):
        settings = tuple(cell[name] for name in names)
        matching = searched[(searched[names] == pd.Series(dict(zip(names, settings, strict=True)))).all(axis=1)]
        if len(matching):
            key = settings if len(names) > 1 else settings[0]
            found.append(Confirmed(
                settings, matching.iloc[0], goal.metric, float(means[key]), int(cell["seeds"]),
                int(failed.get(settings, 0)), cell["mean"], cell["low"], cell["high"],
            ))  # fmt: skip
    return sorted(found, key=lambda one: -one.repeated if goal.is_maximized else one.repeated)


def _failures(tables: Tables, names: list[str]) -> dict[tuple[Any, ...], int]:
    """Failed trials of the confirm stage by their settings."""
    trials = tables.trials
    failed = trials[(trials["stage"] == CONFIRM) & (trials["outcome"] == Outcome.FAILED)]
    counts: dict[tuple[Any, ...], int] = {}
    for settings in failed[names].itertuples(index=False, name=None):
        counts[settings] = counts.get(settings, 0) + 1
    return counts
