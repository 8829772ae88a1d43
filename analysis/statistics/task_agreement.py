"""Rank correlation of the scores of settings between two tasks."""

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from analysis.data.tables import Tables, label
from sweeps.design.thresholds import LEVEL

MIN_COMMON_SETTINGS = 5  # two tasks with fewer settings in common are not compared
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
    """Agreement of every pair of tasks with at least five settings in common, over the mean score of each setting.

    The interval is Fisher's with the variance of Bonett and Wright (2000). It treats the settings as a random sample of settings.
    """
    varied = tables.varied
    tasks = [name for name in varied if name.startswith(TASK)]
    settings = [name for name in varied if not name.startswith(TASK)]
    if not tasks or not settings or response not in tables.completed:
        return []
    scores = tables.completed.groupby([*tasks, *settings])[response].mean().unstack(tasks)
    agreements = []
    for one, other in itertools.combinations(scores.columns, 2):
        common = scores[[one, other]].dropna()
        if len(common) >= MIN_COMMON_SETTINGS and common[one].nunique() > 1 and common[other].nunique() > 1:
            names = (label_of_task(tasks, one), label_of_task(tasks, other))
            agreements.append(Agreement(*names, len(common), *_correlate(common[one], common[other])))
    return agreements


def label_of_task(names: list[str], key: object) -> str:
    """The kind of a task, such as `sudoku`; without a kind, the settings that differ between tasks."""
    values = key if isinstance(key, tuple) else (key,)
    setting = dict(zip(names, values, strict=True))
    kind = str(setting.pop("task.kind", ""))
    return kind or label(list(setting), tuple(setting.values()))


def _correlate(one: pd.Series, other: pd.Series) -> tuple[float, float, float]:
    rho = float(stats.spearmanr(one, other).statistic)
    z = np.arctanh(np.clip(rho, -0.999999, 0.999999))
    half = stats.norm.ppf(0.5 + LEVEL / 2) * np.sqrt((1 + rho**2 / 2) / (len(one) - 3))
    return rho, float(np.tanh(z - half)), float(np.tanh(z + half))
