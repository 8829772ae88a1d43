"""Where depth is spent: training against inference, T against n, supervision steps, and what happens to the state."""

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
    """Exact accuracy at every inference depth, also beyond the trained one."""
    keys, points = tables.varied, curves_of(tables, DEPTH_CURVE)
    if points.empty or not keys:
        return None
    points = points.rename(columns={"value": DEPTH_CURVE})
    parts = [summarise_cells(part, [*keys, "at"], DEPTH_CURVE) for _, part in points.groupby("at")]
    cells = pd.concat(parts, ignore_index=True)
    return FigureData(
        "inference_depth",
        "Inference depth",
        "One model at every number of supervision steps D, mean over seeds; black: the trained depth, D = N_sup. "
        "Bands: 95 % intervals, variance pooled at each D.",
        "D, supervision steps at inference",
        ACCURACY_LABEL,
        [*lines_of(cells, keys, x="at", colors=keys[:1], dashes=keys[1:]), *_trained_depths(tables, cells)],
        y_range=(0, 1),
    )


def _trained_depths(tables: Tables, cells: pd.DataFrame) -> list[Series]:
    """A mark on every line where D is the number of supervision steps that its model was trained with."""
    if SUPERVISION_STEPS not in tables.completed:
        return []
    if SUPERVISION_STEPS in cells:
        trained = cells[cells["at"] == cells[SUPERVISION_STEPS].clip(lower=1)]
    else:
        trained = cells[cells["at"] == max(1, int(tables.completed[SUPERVISION_STEPS].iloc[0]))]
    return [Series("D = N_sup", trained["at"].tolist(), trained["mean"].tolist(), color=BLACK, style="points")]


def train_inference_matrix(tables: Tables) -> FigureData | None:
    """Training depth against inference depth."""
    points = curves_of(tables, DEPTH_CURVE)
    if points.empty or SUPERVISION_STEPS not in tables.varied:
        return None
    points = points.assign(trained=points[SUPERVISION_STEPS].clip(lower=1).astype(int))
    depths = powers_of_two(int(points["at"].max()), *points["trained"].unique())
    means = points[points["at"].isin(depths)].groupby(["trained", "at"])["value"].mean().unstack("at")
    values = [[None if np.isnan(value) else float(value) for value in row] for row in means.to_numpy()]
    return FigureData(
        "train_inference_matrix",
        "Training depth against inference depth",
        "Mean exact accuracy over seeds and all other settings.",
        "D, supervision steps at inference",
        "trained with",
        heatmap=Heatmap([str(int(depth)) for depth in means.columns], [f"N_sup {steps}" for steps in means.index], values),
    )


def recursion_split(tables: Tables) -> FigureData | None:
    """T against n at equal T (n + 1): which loop depth is spent on."""
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
        "T against n at equal depth",
        "Each line keeps T(n+1), parameters and layers a step, and moves depth from n to T. Bars: 95 % intervals.",
        "T, cycles a supervision step",
        ACCURACY_LABEL,
        lines,
        x_scale="log",
        y_range=(0, 1),
    )


def state_reset(tables: Tables) -> FigureData | None:
    """What happens to the state between supervision steps: reset, initial value, noise, medium."""
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
        "Each colour keeps all other settings. Bars: 95 % intervals, seeds as replicates, variance pooled over cells.",
        "",
        ACCURACY_LABEL,
        lines if are_ordered else [replace(line, style="points") for line in lines],
        y_range=(0, 1),
        x_marks=[(place, label(state, key)) for key, place in places.items()],
    )


def _rank_levels(setting: str, trials: pd.DataFrame) -> dict[Any, int]:
    """The place of each level: numbers rise; of words the base level is first, the others follow the alphabet."""
    levels = sorted(trials[setting].unique(), key=lambda level: (isinstance(level, str), level))
    if any(map(is_word, levels)):
        base = base_level(setting, levels, trials)
        levels = [base, *(level for level in levels if level != base)]
    return {level: rank for rank, level in enumerate(levels)}
