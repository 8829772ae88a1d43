"""Does what helps on one task help on the others? Rank correlation of settings between tasks."""

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from analysis.data.tables import Tables, label
from sweeps.design.thresholds import LEVEL

FEWEST_SETTINGS = 5  # that both tasks have
TASK = "task."


@dataclass(frozen=True)
class Agreement:
    """Spearman's rank correlation of the mean scores of settings on two tasks."""

    task: str
    other: str
    settings: int
    correlation: float
    low: float
    high: float


def task_agreements(tables: Tables, response: str) -> list[Agreement]:
    """Every pair of tasks with at least five settings in common, over the settings' means on each.

    The interval is Fisher's with the variance of Bonett and Wright (2000); it holds for settings as a sample of what one might try.
    """
    varied = tables.varied
    tasks = [name for name in varied if name.startswith(TASK)]
    settings = [name for name in varied if not name.startswith(TASK)]
    if not tasks or not settings or response not in tables.completed:
        return []
    scores = tables.completed.groupby([*tasks, *settings])[response].mean().unstack(tasks)
    found = []
    for one, other in itertools.combinations(scores.columns, 2):
        both = scores[[one, other]].dropna()
        if len(both) >= FEWEST_SETTINGS and both[one].nunique() > 1 and both[other].nunique() > 1:
            names = (label_of_task(tasks, one), label_of_task(tasks, other))
            found.append(Agreement(*names, len(both), *_correlate(both[one], both[other])))
    return found


def label_of_task(names: list[str], key: object) -> str:
    """`sudoku`, or with what else tells two tasks apart."""
    values = key if isinstance(key, tuple) else (key,)
    setting = dict(zip(names, values, strict=True))
    kind = str(setting.pop("task.kind", ""))
    rest = label(list(setting), tuple(setting.values())) if not kind else ""
    return kind or rest


def _correlate(one: pd.Series, other: pd.Series) -> tuple[float, float, float]:
    rho = float(stats.spearmanr(one, other).statistic)
    z = np.arctanh(np.clip(rho, -0.999999, 0.999999))
    half = stats.norm.ppf(0.5 + LEVEL / 2) * np.sqrt((1 + rho**2 / 2) / (len(one) - 3))
    return rho, float(np.tanh(z - half)), float(np.tanh(z + half))
