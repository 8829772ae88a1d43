"""What the form `axes` shows beside its rates: the rate of each axis at each level of the others, and a figure."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from analysis.figures.data import BLACK, FigureData, Series
from analysis.laws.axis_rates import AxesFit, fit_values, name_level, read_axes, value_name
from analysis.laws.drawing import interval_columns
from analysis.laws.groups import CELL, Group


def add_levels(fit: AxesFit, group: Group) -> AxesFit:
    """The fit with the rate of each axis at each level of the others; a single axis has none."""
    if len(fit.varied) < 2:
        return fit
    return replace(fit, rates_by_level=_rates_by_level(fit, group, read_axes(group)))


def _rates_by_level(fit: AxesFit, group: Group, values: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """The rate of each axis at each level of the others, and the reason where a level does not identify it."""
    rows = []
    for axis in values:
        for at, rows_there in _levels(values, axis):
            part = replace(group, trials=group.trials[rows_there])
            own = fit_values(replace(fit, varied=(axis,)), part, {axis: values[axis][rows_there]})
            rate = own.rate(axis) if own.is_fitted else None
            numbers = rate.numbers if rate else (np.nan,) * 3
            rows.append((axis, at, part.trials[CELL].nunique(), own.reason, *numbers))
    return pd.DataFrame(rows, columns=["axis", "at", "cells", "reason", "estimate", "low", "high"])


def _levels(values: Mapping[str, np.ndarray], axis: str) -> Iterator[tuple[str, np.ndarray]]:
    """Every level of the other axes at which an axis varies, as `T 1, n + 1 4`, and the places of its trials."""
    others = [other for other in values if other != axis]
    table = np.column_stack([values[other] for other in others])
    for level in np.unique(table, axis=0):
        there = (table == level).all(axis=1)
        if len(np.unique(values[axis][there])) > 1:
            yield name_level(others, level), there


def draw_rates(fit: AxesFit) -> FigureData | None:
    """What one doubling of each axis is worth, along the axis where its slope can change; None for a single axis."""
    if not fit.is_fitted or len(fit.varied) < 2 or fit.local_rates is None:
        return None
    series = []
    for color, axis in enumerate(fit.identified):
        local, rate = fit.local_rates[fit.local_rates["axis"] == axis], fit.rate(axis)
        if len(local):
            series.append(Series(value_name(axis), *interval_columns(local, "recursion", "estimate"), color=color, style="curve"))
        elif rate is not None:
            middle = float(np.sqrt(np.prod(fit.range_of(axis))))
            series.append(Series(value_name(axis), [middle], [rate.estimate], [rate.low], [rate.high], color=color, style="points"))
    if not series:
        return None
    ends = [min(min(one.x) for one in series), max(max(one.x) for one in series)]
    series.append(Series("worth nothing", ends, [1.0, 1.0], color=BLACK, dash=2, style="curve"))
    return FigureData(
        f"axis_rates{fit.suffix}", "What one doubling of each axis is worth",
        "Factor in recursed parameters, the other axes in the middle of the design; band and bars: 95 % CI. "
        "A point is the mean over an axis on which no change of the rate can be seen.",
        "value of the axis", "factor in recursed parameters", series, x_scale="log", y_scale="log",
    )  # fmt: skip
