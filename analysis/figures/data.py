"""The data of a figure that a renderer draws, and the functions that make its lines from tables."""

from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd

from analysis.data.tables import Tables, label
from sweeps.design.axes import SUPERVISION_STEPS

ACCURACY = "test/exact_accuracy"
ACCURACY_LABEL = "exact accuracy on test (share of items)"
BLACK = -1  # index of the last colour of the palette
VALIDATION = "val/exact_accuracy"


@dataclass(frozen=True)
class Series:
    """One line, or one set of points, with an optional band."""

    label: str
    x: list[float]
    y: list[float]
    low: list[float] | None = None
    high: list[float] | None = None
    color: int = 0  # index into the palette
    dash: int = 0  # index into the dash patterns
    style: Literal["line", "points", "curve"] = "line"  # a curve is a line without marks, such as a fitted law
    texts: list[str] | None = None  # one text per point, drawn beside it


@dataclass(frozen=True)
class Heatmap:
    """A table of values, drawn as colours with the numbers in them."""

    columns: list[str]
    rows: list[str]
    values: list[list[float | None]]  # [rows][columns]
    value_label: str = "exact accuracy"
    value_range: tuple[float, float] = (0.0, 1.0)
    lines: list[Series] = field(default_factory=list)  # lines over the map; coordinates are indices of columns and rows


@dataclass(frozen=True)
class FigureData:
    """One figure, independent of the renderer."""

    name: str  # file name without its suffix
    title: str
    caption: str
    x_label: str
    y_label: str
    series: list[Series] = field(default_factory=list)
    heatmap: Heatmap | None = None
    x_scale: Literal["linear", "log"] = "linear"
    y_scale: Literal["linear", "log"] = "linear"
    y_range: tuple[float, float] | None = None
    x_marks: list[tuple[float, str]] | None = None  # tick positions and their labels
    y_marks: list[tuple[float, str]] | None = None
    legend: bool = True  # False hides the legend; a single series has none


def lines_of(cells: pd.DataFrame, keys: list[str], x: str, colors: list[str], dashes: list[str]) -> list[Series]:
    """One line for each combination of values of `keys`; `colors` and `dashes` name the keys that decide colour and dash."""
    if not keys:
        return [Series("all trials", *columns_of(cells, x))]
    combinations = [sorted(_combinations(cells, names), key=_order) for names in (colors, dashes)]
    ranks = [{value: rank for rank, value in enumerate(ordered)} for ordered in combinations]
    lines = []
    for key, part in cells.groupby(keys, sort=True):
        setting = dict(zip(keys, as_tuple(key), strict=True))
        color, dash = (rank[tuple(setting[name] for name in names)] for rank, names in zip(ranks, (colors, dashes), strict=True))
        lines.append(Series(label(keys, as_tuple(key)), *columns_of(part.sort_values(x), x), color=color, dash=dash))
    return lines


def _combinations(cells: pd.DataFrame, names: list[str]) -> set[tuple[Any, ...]]:
    return set(cells[names].itertuples(index=False, name=None)) if names else {()}


def _order(values: tuple[Any, ...]) -> list[tuple[bool, Any]]:
    """What orders the values of several keys; a text, such as "" for an absent value, is behind numbers."""
    return [(isinstance(value, str), value) for value in values]


def columns_of(cells: pd.DataFrame, x: str) -> tuple[list[float], list[float], list[float] | None, list[float] | None]:
    """x, mean, low and high; low and high are None if a cell has no interval."""
    has_interval = not cells["low"].isna().any()
    low, high = (cells["low"].tolist(), cells["high"].tolist()) if has_interval else (None, None)
    return cells[x].tolist(), cells["mean"].tolist(), low, high


def as_tuple(key: object) -> tuple[Any, ...]:
    return key if isinstance(key, tuple) else (key,)


def curves_of(tables: Tables, metric: str, *, by_difficulty: bool = False) -> pd.DataFrame:
    """Points of one curve of the completed trials, with the parameters that differ between these trials."""
    points = tables.curves[tables.curves["metric"] == metric]
    points = points[points["difficulty"].notna() if by_difficulty else points["difficulty"].isna()]
    names = ["fingerprint", *tables.varied]
    return points.merge(tables.completed[names], on="fingerprint")


def chosen_cell(tables: Tables, *, deep: bool = False) -> tuple[str, list[str]]:
    """The cell that a figure of one cell shows: the best on validation; without validation scores, the most expensive one.

    Args:
        deep: only cells trained with the most supervision steps are considered.

    Returns:
        Its label and the fingerprints of its trials.
    """
    completed, names = tables.completed, tables.varied
    if deep and SUPERVISION_STEPS in completed:
        completed = completed[completed[SUPERVISION_STEPS] == completed[SUPERVISION_STEPS].max()]
    if not names:
        return "all trials", completed["fingerprint"].tolist()
    measures = [name for name in (VALIDATION, "inference_flops", "params") if name in completed and completed[name].notna().any()]
    cells = completed.groupby(names)
    best = (cells[measures[0]].mean() if measures else cells.size()).idxmax()
    values = as_tuple(best)
    trials = completed[(completed[names] == pd.Series(dict(zip(names, values, strict=True)))).all(axis=1)]
    return label(names, values), trials["fingerprint"].tolist()


def powers_of_two(last: int, *others: int) -> list[int]:
    """1, 2, 4 and so on up to `last`, `last` itself, and those of `others` that do not exceed it."""
    powers = {2**power for power in range(last.bit_length())}
    return sorted(depth for depth in powers | {last, *others} if 1 <= depth <= last)
