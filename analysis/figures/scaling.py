"""What width, depth and training bring: accuracy against parameters, layers, FLOPs and steps; every trial by cell."""

from collections.abc import Sequence
from dataclasses import replace

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
    curves_of,
    lines_of,
)
from analysis.statistics.cells import summarise_cells
from sweeps.design.axes import CAPACITY_AXES, DEPTH_AXES
from sweeps.design.short_names import axis_name

ISO_LINES = 4  # of equal inference FLOPs over the map
VALIDATION_CURVE = "val_curve/exact_accuracy"


def accuracy_by_parameters(tables: Tables) -> FigureData | None:
    """Exact accuracy against parameters, one line a depth."""
    capacity = [name for name in tables.varied if name in CAPACITY_AXES]
    rest = [name for name in tables.varied if name not in CAPACITY_AXES]
    if not capacity:
        return None
    cells = summarise_cells(tables.completed, [*rest, *capacity, "params"], ACCURACY)
    return FigureData(
        "accuracy_by_parameters",
        "What parameters bring",
        "Each line keeps the depth and grows the model. Bars: 95 % intervals, seeds as replicates, variance pooled over cells.",
        "parameters",
        ACCURACY_LABEL,
        lines_of(cells, rest, x="params", colors=rest[:1], dashes=rest[1:]),
        x_scale="log",
        y_range=(0, 1),
    )


def accuracy_by_depth(tables: Tables) -> FigureData | None:
    """Exact accuracy against layers executed, one line a width (and a training depth)."""
    depth = [name for name in tables.varied if name in DEPTH_AXES]
    if not depth:
        return None
    rest = [name for name in tables.varied if name not in depth]
    keep = [*rest, *depth[1:]]  # along a line only the first axis of depth changes
    cells = summarise_cells(tables.completed, [*keep, depth[0], "layers_executed"], ACCURACY)
    return FigureData(
        "accuracy_by_depth",
        f"What depth brings ({axis_name(depth[0])} grows along each line)",
        "Each line keeps the parameters. Bars: 95 % intervals, seeds as replicates, variance pooled over cells.",
        "layers executed for an answer at D = N_sup",
        ACCURACY_LABEL,
        lines_of(cells, keep, x="layers_executed", colors=rest[:1], dashes=depth[1:]),
        x_scale="log",
        y_range=(0, 1),
    )


def width_depth_map(tables: Tables) -> FigureData | None:
    """Exact accuracy of every width and depth."""
    capacity = [name for name in tables.varied if name in CAPACITY_AXES]
    depth = [name for name in tables.varied if name not in CAPACITY_AXES]
    if not capacity or not depth:
        return None
    completed = tables.completed
    means = completed.groupby([*depth, *capacity])[ACCURACY].mean().unstack(capacity)
    params = completed.groupby(capacity)["params"].first()
    layers = completed.groupby(depth)["layers_executed"].first()
    means = means.loc[layers.sort_values(kind="stable").index]
    columns = [f"{label(capacity, as_tuple(key))}\n{params[key]:,} parameters" for key in means.columns]
    rows = [f"{label(depth, as_tuple(key))}\n{layers[key]} layers" for key in means.index]
    values = [[None if np.isnan(value) else float(value) for value in row] for row in means.to_numpy()]
    return FigureData(
        "width_depth_map",
        "Width against depth",
        "Mean exact accuracy over seeds. Along a column parameters are equal, along a row the layers executed are; "
        "dashed: equal FLOPs of an answer.",
        "capacity",
        "depth",
        heatmap=Heatmap(columns, rows, values, lines=_iso_flop_lines(completed, means.index, means.columns, depth, capacity)),
    )


def _iso_flop_lines(
    completed: pd.DataFrame, rows: pd.Index, columns: pd.Index, depth: list[str], capacity: list[str]
) -> list[Series]:
    """Lines of equal inference FLOPs through a map, in places of its columns and rows."""
    if "inference_flops" not in completed or len(rows) < 2 or len(columns) < 2:
        return []
    flops = completed.groupby([*depth, *capacity])["inference_flops"].mean().unstack(capacity)
    logs = np.log(flops.loc[rows, columns].to_numpy(dtype=float))
    if np.isnan(logs).any():
        return []
    lines = []
    for level in np.linspace(logs.min(), logs.max(), ISO_LINES + 2)[1:-1]:
        # Rows are sorted by layers, and FLOPs grow with layers along each column.
        at = [(place, _crossing(column, level)) for place, column in enumerate(logs.T)]
        inside = [(float(place), row) for place, row in at if row is not None]
        if len(inside) > 1:
            x, y = zip(*inside, strict=True)
            lines.append(Series(f"{np.exp(level):.1e} FLOPs", list(x), list(y), color=BLACK, dash=1, style="curve"))
    return lines


def _crossing(values: Sequence[float], level: float) -> float | None:
    """The place between two neighbours at which a level is passed; the first, if there are several."""
    for place in range(len(values) - 1):
        low, high = values[place], values[place + 1]
        if low <= level <= high and low < high:
            return place + float((level - low) / (high - low))
    return None


def accuracy_by_training_flops(tables: Tables) -> FigureData | None:
    """Every cell's accuracy against what it cost, and the cells that nothing cheaper beats."""
    keys = tables.varied
    if not keys:
        return None
    cells = summarise_cells(tables.completed, [*keys, "train_flops"], ACCURACY).sort_values("train_flops")
    front = cells[cells["mean"] > cells["mean"].cummax().shift(fill_value=-1.0)]
    lines = lines_of(cells, keys, x="train_flops", colors=keys[:1], dashes=keys[1:])
    series = [replace(line, style="points") for line in lines]
    pareto = Series("best for its cost", front["train_flops"].tolist(), front["mean"].tolist(), color=BLACK)
    return FigureData(
        "accuracy_by_training_flops",
        "What training FLOPs bring",
        "A point a cell; the line joins the cells that no cheaper cell beats.",
        "training FLOPs of a trial",
        ACCURACY_LABEL,
        [*series, pareto],
        x_scale="log",
        y_range=(0, 1),
    )


def seed_strips(tables: Tables) -> FigureData | None:
    """Every trial of every cell."""
    keys = tables.varied
    if not keys:
        return None
    groups = list(tables.completed.groupby(keys, sort=True))
    series = [
        Series(label(keys, as_tuple(key)), [float(row)] * len(part), part[ACCURACY].tolist(), color=0, style="points")
        for row, (key, part) in enumerate(groups)
    ]
    marks = [(float(row), label(keys, as_tuple(key))) for row, (key, _) in enumerate(groups)]
    return FigureData(
        "seeds", "Seeds", "A point a trial.", "cell", ACCURACY_LABEL, series, y_range=(0, 1), x_marks=marks, legend=False
    )  # fmt: skip


def training_curves(tables: Tables) -> FigureData | None:
    """Exact accuracy on validation during training, one line a cell."""
    keys, points = tables.varied, curves_of(tables, VALIDATION_CURVE)
    if points.empty or not keys:
        return None
    # Trials of a cell may have been validated at different steps; a mean is of those at one step.
    means = points.groupby([*keys, "at"])["value"].mean().reset_index().rename(columns={"value": "mean"})
    return FigureData(
        "training_curves",
        "During training",
        "Mean over seeds. A line that falls again says that the budget is too long for its model.",
        "steps",
        "exact accuracy on validation (share of puzzles)",
        lines_of(means.assign(low=np.nan, high=np.nan), keys, x="at", colors=keys[:1], dashes=keys[1:]),
        y_range=(0, 1),
    )
