"""Figures of recursion: inference depth D, N_sup against D, T against n, and the state between supervision steps."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.tables import Tables, label
from analysis.figures.data import (
    ACCURACY,
    ACCURACY_LABEL,
    BLACK,
    FigureData,
    Heatmap,
    Series,
    as_tuple,
    columns_of,
    curves_of,
    lines_of,
    powers_of_two,
)
from analysis.statistics.base_levels import base_level
from analysis.statistics.cells import summarise_cells
from analysis.statistics.effects import is_word
from sweeps.design.axes import CYCLES, LATENT_UPDATES, SUPERVISION_STEPS

DEPTH_CURVE = "depth/exact_accuracy"
STATE = ("model.state_reset", "model.state_init", "model.state_noise", "model.medium", "model.damping")


def inference_depth(tables: Tables) -> FigureData | None:
    """Exact accuracy at every inference depth D, also beyond N_sup."""
    keys, points = tables.varied, curves_of(tables, DEPTH_CURVE)
    if points.empty or not keys:
        return None
    points = points.rename(columns={"value": DEPTH_CURVE})
    parts = [summarise_cells(part, [*keys, "at"], DEPTH_CURVE) for _, part in points.groupby("at")]
    cells = pd.concat(parts, ignore_index=True)
    return FigureData(
        "inference_depth",
        "Exact accuracy by inference depth",
        "Each line is one cell, run for D supervision steps; mean over seeds. Black marks: D = N_sup, as in training. "
        "Bands: 95 % CI over seeds, variance pooled over cells at each D.",
        "inference depth D (supervision steps)",
        ACCURACY_LABEL,
        [*lines_of(cells, keys, x="at", colors=keys[:1], dashes=keys[1:]), *_trained_depths(tables, cells)],
        y_range=(0, 1),
    )


def _trained_depths(tables: Tables, cells: pd.DataFrame) -> list[Series]:
    """A mark on every line at D = N_sup of its cell."""
    if SUPERVISION_STEPS not in tables.completed:
        return []
    if SUPERVISION_STEPS in cells:
        trained = cells[cells["at"] == cells[SUPERVISION_STEPS].clip(lower=1)]
    else:
        trained = cells[cells["at"] == max(1, int(tables.completed[SUPERVISION_STEPS].iloc[0]))]
    return [Series("D = N_sup", trained["at"].tolist(), trained["mean"].tolist(), color=BLACK, style="points")]


def train_inference_matrix(tables: Tables) -> FigureData | None:
    """Exact accuracy by supervision steps N_sup in training and inference depth D."""
    points = curves_of(tables, DEPTH_CURVE)
    if points.empty or SUPERVISION_STEPS not in tables.varied:
        return None
    points = points.assign(trained=points[SUPERVISION_STEPS].clip(lower=1).astype(int))
    depths = powers_of_two(int(points["at"].max()), *points["trained"].unique())
    means = points[points["at"].isin(depths)].groupby(["trained", "at"])["value"].mean().unstack("at")
    values = [[None if np.isnan(value) else float(value) for value in row] for row in means.to_numpy()]
    return FigureData(
        "train_inference_matrix",
        "Exact accuracy by supervision steps and inference depth",
        "Mean exact accuracy over seeds and all other settings.",
        "inference depth D (supervision steps)",
        "supervision steps N_sup in training",
        heatmap=Heatmap([str(int(depth)) for depth in means.columns], [f"N_sup = {steps}" for steps in means.index], values),
    )


def recursion_split(tables: Tables) -> FigureData | None:
    """Exact accuracy against T at equal T(n+1): cycles T or latent updates n."""
    completed = tables.completed
    if not {CYCLES, LATENT_UPDATES} <= set(completed) or CYCLES not in tables.varied:
        return None
    table = completed.assign(total=completed[CYCLES] * (completed[LATENT_UPDATES] + 1))
    others = [name for name in tables.varied if name not in (CYCLES, LATENT_UPDATES)]
    cells = summarise_cells(table, ["total", *others, CYCLES], ACCURACY)
    splits = cells.groupby(["total", *others])[CYCLES].transform("nunique")
    if (splits < 2).all():
        return None
    lines = []
    for color, (total, whole) in enumerate(cells[splits > 1].groupby("total", sort=True)):
        parts = whole.groupby(others, sort=True) if others else [((), whole)]
        for dash, (key, part) in enumerate(parts):
            name = ", ".join(filter(None, (f"T(n+1) = {total}", label(others, as_tuple(key)))))
            lines.append(Series(name, *columns_of(part.sort_values(CYCLES), CYCLES), color=color, dash=dash))
    return FigureData(
        "recursion_split",
        "T against n at equal recursion",
        "T(n+1), parameters and layers per step are equal along each line; T grows and n falls. Bars: 95 % CI over seeds.",
        "T (cycles per supervision step)",
        ACCURACY_LABEL,
        lines,
        x_scale="log",
        y_range=(0, 1),
    )


def state_reset(tables: Tables) -> FigureData | None:
    """Exact accuracy by treatment of the state between supervision steps: reset, initial value, noise, medium, damping."""
    state = [name for name in STATE if name in tables.varied]
    if not state:
        return None
    others = [name for name in tables.varied if name not in state]
    cells = summarise_cells(tables.completed, [*state, *others], ACCURACY)
    keys = list(cells[state].itertuples(index=False, name=None))
    ranks = [_rank_levels(name, tables.completed) for name in state]
    order = sorted(set(keys), key=lambda key: [rank[level] for rank, level in zip(ranks, key, strict=True)])
    places = {key: float(place) for place, key in enumerate(order)}
    cells["place"] = [places[key] for key in keys]
    lines = lines_of(cells, others, x="place", colors=others[:1], dashes=others[1:])
    are_ordered = not any(is_word(level) for key in keys for level in key)
    return FigureData(
        "state_reset",
        "The state between supervision steps",
        "All other settings are equal within a colour. Bars: 95 % CI over seeds, variance pooled over cells.",
        "",
        ACCURACY_LABEL,
        lines if are_ordered else [replace(line, style="points") for line in lines],
        y_range=(0, 1),
        x_marks=[(place, label(state, key)) for key, place in places.items()],
    )


def _rank_levels(setting: str, trials: pd.DataFrame) -> dict[Any, int]:
    """The rank of each level: numbers in rising order; words with the base level first, then in alphabetical order."""
    levels = sorted(trials[setting].unique(), key=lambda level: (isinstance(level, str), level))
    if any(map(is_word, levels)):
        base = base_level(setting, levels, trials)
        levels = [base, *(level for level in levels if level != base)]
    return {level: rank for rank, level in enumerate(levels)}
