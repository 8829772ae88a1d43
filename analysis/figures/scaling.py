"""Accuracy against parameters, layers executed, training FLOPs and training steps; every trial by cell."""

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
from sweeps.design.axes import AUGMENTATIONS, AXES, CAPACITY_AXES, DEPTH_AXES, TRAIN_EXAMPLES
from sweeps.design.short_names import axis_name

ISO_LINES = 4  # lines of equal inference FLOPs on a map
VALIDATION_CURVE = "val_curve/exact_accuracy"


def accuracy_by_parameters(tables: Tables) -> FigureData | None:
    """Exact accuracy against parameters, one line for each setting of recursion."""
    capacity = [name for name in tables.varied if name in CAPACITY_AXES]
    rest = [name for name in tables.varied if name not in CAPACITY_AXES]
    if not capacity:
        return None
    cells = summarise_cells(tables.completed, [*rest, *capacity, "params"], ACCURACY)
    return FigureData(
        "accuracy_by_parameters",
        "Exact accuracy by parameters",
        "The model grows along each line; all other settings are equal. Bars: 95 % CI over seeds, variance pooled over cells.",
        "parameters",
        ACCURACY_LABEL,
        lines_of(cells, rest, x="params", colors=rest[:1], dashes=rest[1:]),
        x_scale="log",
        y_range=(0, 1),
    )


def accuracy_by_depth(tables: Tables) -> FigureData | None:
    """Exact accuracy against layers executed, one line for each width and further setting of recursion."""
    depth = [name for name in tables.varied if name in DEPTH_AXES]
    if not depth:
        return None
    rest = [name for name in tables.varied if name not in depth]
    keep = [*rest, *depth[1:]]  # along a line only the first axis of depth changes
    cells = summarise_cells(tables.completed, [*keep, depth[0], "layers_executed"], ACCURACY)
    return FigureData(
        "accuracy_by_depth",
        f"Exact accuracy by layers executed ({axis_name(depth[0])} grows along each line)",
        "Parameters are equal along each line. Bars: 95 % CI over seeds, variance pooled over cells.",
        "layers executed per answer at D = N_sup",
        ACCURACY_LABEL,
        lines_of(cells, keep, x="layers_executed", colors=rest[:1], dashes=depth[1:]),
        x_scale="log",
        y_range=(0, 1),
    )


def accuracy_by_data(tables: Tables) -> FigureData | None:
    """Exact accuracy against puzzles in training, one line for each recursion and further setting."""
    data = next((name for name in (TRAIN_EXAMPLES, AUGMENTATIONS) if name in tables.varied), None)
    if data is None:
        return None
    trials = tables.completed
    if data == TRAIN_EXAMPLES:
        trials = trials[trials[data] > 0]  # no number stands for all puzzles of a file, or for a task that has no such setting
    others = [name for name in tables.varied if name != data and not _follows(trials, name, data)]
    lines = sorted(others, key=lambda name: name not in DEPTH_AXES)  # colours tell the recursion apart
    cells = summarise_cells(trials, [*lines, data], ACCURACY)
    if lines:
        cells = cells[cells.groupby(lines)[data].transform("nunique") > 1]
    if cells[data].nunique() < 2:
        return None
    shared = "" if tables.is_foreign else "; the seeds of a cell train on the same puzzles"
    return FigureData(
        "accuracy_by_data",
        f"Exact accuracy by {'puzzles in training' if data == TRAIN_EXAMPLES else 'augmented copies of each puzzle'}",
        f"All other settings are equal along each line{shared}. Bars: 95 % CI over seeds, variance pooled over cells.",
        axis_name(data),
        ACCURACY_LABEL,
        lines_of(cells, lines, x=data, colors=lines[:1], dashes=lines[1:]),
        x_scale="log" if cells[data].min() > 0 else "linear",
        y_range=(0, 1),
    )


def _follows(trials: pd.DataFrame, name: str, data: str) -> bool:
    """Whether a number is the same in all trials of equal data, as the views of a puzzle are that follow from its copies."""
    is_number = pd.api.types.is_numeric_dtype(trials[name]) and name not in AXES
    return bool(is_number and (trials.groupby(data)[name].nunique() <= 1).all())


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
        "Exact accuracy by width and recursion",
        "Mean exact accuracy over seeds. Parameters are equal within a column, layers executed within a row; "
        "dashed lines: equal FLOPs of an answer.",
        f"{', '.join(map(axis_name, capacity))} (parameters)",
        f"{', '.join(map(axis_name, depth))} (layers executed)",
        heatmap=Heatmap(columns, rows, values, lines=_iso_flop_lines(completed, means.index, means.columns, depth, capacity)),
    )


def _iso_flop_lines(
    completed: pd.DataFrame, rows: pd.Index, columns: pd.Index, depth: list[str], capacity: list[str]
) -> list[Series]:
    """Lines of equal inference FLOPs through a map, in indices of its columns and rows."""
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
    """The first index, interpolated between two neighbours, at which rising values pass a level; None if they do not."""
    for place in range(len(values) - 1):
        low, high = values[place], values[place + 1]
        if low <= level <= high and low < high:
            return place + float((level - low) / (high - low))
    return None


def accuracy_by_training_flops(tables: Tables) -> FigureData | None:
    """Exact accuracy of every cell against its training FLOPs, and the cells that no cheaper cell beats."""
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
        "Exact accuracy by training FLOPs",
        "Each point is a cell, mean over seeds; the line joins the cells that no cheaper cell beats.",
        "training FLOPs per trial",
        ACCURACY_LABEL,
        [*series, pareto],
        x_scale="log",
        y_range=(0, 1),
    )


def seed_strips(tables: Tables) -> FigureData | None:
    """Exact accuracy of every trial, by cell."""
    keys = tables.varied
    if not keys:
        return None
    groups = list(tables.completed.groupby(keys, sort=True))
    series = [
        Series(label(keys, as_tuple(key)), part[ACCURACY].tolist(), [float(row)] * len(part), color=0, style="points")
        for row, (key, part) in enumerate(groups)
    ]
    marks = [(float(row), label(keys, as_tuple(key))) for row, (key, _) in enumerate(groups)]
    return FigureData(
        "seeds", "Exact accuracy of every seed", "Each point is a trial.", ACCURACY_LABEL, "", series,
        y_marks=marks, legend=False,
    )  # fmt: skip


def training_curves(tables: Tables) -> FigureData | None:
    """Exact accuracy on validation during training, one line per cell."""
    keys, points = tables.varied, curves_of(tables, VALIDATION_CURVE)
    if points.empty or not keys:
        return None
    # Trials of a cell may be validated at different steps; a mean covers the trials validated at that step.
    means = points.groupby([*keys, "at"])["value"].mean().reset_index().rename(columns={"value": "mean"})
    return FigureData(
        "training_curves",
        "Exact accuracy on validation during training",
        "Mean over seeds. A line that falls again shows a budget that is too long for its cell.",
        "training steps",
        "exact accuracy on validation (share of items)",
        lines_of(means.assign(low=np.nan, high=np.nan), keys, x="at", colors=keys[:1], dashes=keys[1:]),
        y_range=(0, 1),
    )
