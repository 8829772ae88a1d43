"""Figures: each one function from tables to `FigureData`, which one static and one interactive renderer draw."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import pandas as pd

from analysis.fits import Fit
from analysis.stats import Effect, summarise_cells
from analysis.tables import CAPACITY_AXES, DEPTH_AXES, Tables
from rrm.config import axis_name

ACCURACY = "test/exact_accuracy"
ACCURACY_LABEL = "exact accuracy on test (share of puzzles)"


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
    style: Literal["line", "points"] = "line"


@dataclass(frozen=True)
class Heatmap:
    """A table of values, drawn as colours with the numbers in them."""

    columns: list[str]
    rows: list[str]
    values: list[list[float | None]]  # [rows][columns]


@dataclass(frozen=True)
class FigureData:
    """All that a renderer needs."""

    name: str  # of the files
    title: str
    caption: str
    x_label: str
    y_label: str
    series: list[Series] = field(default_factory=list)
    heatmap: Heatmap | None = None
    x_scale: Literal["linear", "log"] = "linear"
    y_range: tuple[float, float] | None = None
    x_marks: list[tuple[float, str]] | None = None  # tick positions and their labels
    y_marks: list[tuple[float, str]] | None = None


def label(names: list[str], values: tuple) -> str:
    """`width 16, n 3`: the settings of a cell or of a line, without those that its model does not have."""
    had = [(name, value) for name, value in zip(names, values, strict=True) if value not in (0, "")]
    return ", ".join(f"{axis_name(name)} {value}" for name, value in had)


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
        _lines(cells, rest, x="params", colors=rest[:1], dashes=rest[1:]),
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
        _lines(cells, keep, x="layers_executed", colors=rest[:1], dashes=depth[1:]),
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
    columns = [f"{label(capacity, _tuple(key))}\n{params[key]:,} parameters" for key in means.columns]
    rows = [f"{label(depth, _tuple(key))}\n{layers[key]} layers" for key in means.index]
    values = [[None if np.isnan(value) else float(value) for value in row] for row in means.to_numpy()]
    return FigureData(
        "width_depth_map",
        "Width against depth",
        "Mean exact accuracy over seeds. Along a column parameters are equal, along a row the layers executed are.",
        "capacity",
        "depth",
        heatmap=Heatmap(columns, rows, values),
    )


def inference_depth(tables: Tables) -> FigureData | None:
    """Exact accuracy at every inference depth, also beyond the trained one."""
    curves = tables.curves[(tables.curves["metric"] == "depth/exact_accuracy") & tables.curves["difficulty"].isna()]
    keys = tables.varied
    points = curves.merge(tables.completed[["fingerprint", *keys]], on="fingerprint")
    if points.empty or not keys:
        return None
    points = points.rename(columns={"value": "depth/exact_accuracy"})
    parts = [summarise_cells(part, [*keys, "at"], "depth/exact_accuracy") for _, part in points.groupby("at")]
    cells = pd.concat(parts, ignore_index=True)
    return FigureData(
        "inference_depth",
        "Inference depth",
        "One model at every number of supervision steps D, mean over seeds. Bands: 95 % intervals, variance pooled at each D.",
        "D, supervision steps at inference",
        ACCURACY_LABEL,
        _lines(cells, keys, x="at", colors=keys[:1], dashes=keys[1:]),
        y_range=(0, 1),
    )


def accuracy_by_training_flops(tables: Tables) -> FigureData | None:
    """Every cell's accuracy against what it cost, and the cells that nothing cheaper beats."""
    keys = tables.varied
    if not keys:
        return None
    cells = summarise_cells(tables.completed, [*keys, "train_flops"], ACCURACY).sort_values("train_flops")
    front = cells[cells["mean"] > cells["mean"].cummax().shift(fill_value=-1.0)]
    lines = _lines(cells, keys, x="train_flops", colors=keys[:1], dashes=keys[1:])
    series = [replace(line, style="points") for line in lines]
    pareto = Series("best for its cost", front["train_flops"].tolist(), front["mean"].tolist(), color=-1)
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
        Series(label(keys, _tuple(key)), [float(row)] * len(part), part[ACCURACY].tolist(), color=0, style="points")
        for row, (key, part) in enumerate(groups)
    ]
    marks = [(float(row), label(keys, _tuple(key))) for row, (key, _) in enumerate(groups)]
    return FigureData(
        "seeds", "Seeds", "A point a trial.", "cell", ACCURACY_LABEL, series, y_range=(0, 1), x_marks=marks
    )  # fmt: skip


def effects_figure(effects: list[Effect]) -> FigureData | None:
    """What each axis does, on average and at each width."""
    if not effects:
        return None
    ordered = list(reversed(effects))
    axes = list(dict.fromkeys(effect.axis for effect in effects))
    series = [
        Series(
            effect.where,
            [effect.change.estimate],
            [float(row)],
            [effect.change.low],
            [effect.change.high],
            color=axes.index(effect.axis),
            style="points",
        )
        for row, effect in enumerate(ordered)
    ]
    marks = [(float(row), f"{describe_axis(effect)}, {effect.where}") for row, effect in enumerate(ordered)]
    return FigureData(
        "effects",
        "What each axis does, all else equal",
        "Change of exact accuracy from the lowest to the highest level; 95 % Welch intervals over seeds.",
        "change of exact accuracy on test",
        "",
        series,
        y_marks=marks,
    )


def recurrence_figure(fit: Fit) -> FigureData | None:
    """The loss of every cell against recursed parameters, and the law at each R."""
    if fit.seen is None:
        return None
    series = []
    for rank, (times, part) in enumerate(fit.seen.groupby(fit.seen["recursion"].round(6), sort=True)):
        ordered = part.groupby("params_recursed")[["loss", "fitted"]].mean().reset_index()
        x = ordered["params_recursed"].tolist()
        series.append(Series(f"R {times:g}, measured", x, ordered["loss"].tolist(), color=rank, style="points"))
        series.append(Series(f"R {times:g}, law", x, ordered["fitted"].tolist(), color=rank, dash=1))
    return FigureData(
        f"law_{fit.form}{_suffix(fit)}",
        "The recurrence law",
        "Mean test loss of each cell over seeds, and the fitted law. R: times that a recursed parameter is applied.",
        "recursed parameters",
        "test NLL of the unknown tokens (nats)",
        series,
        x_scale="log",
    )


def residual_figure(fit: Fit) -> FigureData | None:
    """What the law leaves unexplained in each cell."""
    if fit.seen is None:
        return None
    series = [
        Series(f"{size:,.0f} parameters", part["recursion"].tolist(), np.log(part["loss"] / part["fitted"]).tolist(), color=rank)
        for rank, (size, part) in enumerate(fit.seen.sort_values("recursion").groupby("params_recursed", sort=True))
    ]
    return FigureData(
        f"residuals_{fit.form}{_suffix(fit)}",
        "What the law leaves",
        "Log of measured over fitted loss, a line a size; a trend would say that the law is not the right one.",
        "R, times that a recursed parameter is applied",
        "log measured - log fitted",
        series,
        x_scale="log",
    )


def _suffix(fit: Fit) -> str:
    """Of a figure's name, where a report has several groups."""
    words = [str(value) for name, value in fit.group.items() if name in ("task.kind", "model.kind")]
    return "".join(f"_{word}" for word in words)


def describe_axis(effect: Effect) -> str:
    """`n 1 to 3`."""
    return f"{axis_name(effect.axis)} {effect.low_level} to {effect.high_level}"


# Each with the columns that it needs; a table of somebody else may lack them.
FIGURES: dict[Callable[[Tables], FigureData | None], tuple[str, ...]] = {
    accuracy_by_parameters: (ACCURACY, "params"),
    accuracy_by_depth: (ACCURACY, "layers_executed"),
    width_depth_map: (ACCURACY, "params", "layers_executed"),
    inference_depth: (),
    accuracy_by_training_flops: (ACCURACY, "train_flops"),
    seed_strips: (ACCURACY,),
}


def _lines(cells: pd.DataFrame, keys: list[str], x: str, colors: list[str], dashes: list[str]) -> list[Series]:
    """One line for each setting of `keys`, coloured by `colors` and dashed by `dashes`."""
    if not keys:
        return [Series("all trials", *_columns(cells, x))]
    ranks = [{value: rank for rank, value in enumerate(sorted(_combinations(cells, names)))} for names in (colors, dashes)]
    lines = []
    for key, part in cells.groupby(keys, sort=True):
        setting = dict(zip(keys, _tuple(key), strict=True))
        color, dash = (rank[tuple(setting[name] for name in names)] for rank, names in zip(ranks, (colors, dashes), strict=True))
        lines.append(Series(label(keys, _tuple(key)), *_columns(part.sort_values(x), x), color=color, dash=dash))
    return lines


def _combinations(cells: pd.DataFrame, names: list[str]) -> set[tuple]:
    return set(cells[names].itertuples(index=False, name=None)) if names else {()}


def _columns(cells: pd.DataFrame, x: str) -> tuple[list[float], list[float], list[float] | None, list[float] | None]:
    """x, mean, low and high; no interval where there are no replicates."""
    has_interval = not cells["low"].isna().any()
    low, high = (cells["low"].tolist(), cells["high"].tolist()) if has_interval else (None, None)
    return cells[x].tolist(), cells["mean"].tolist(), low, high


def _tuple(key: object) -> tuple:
    return key if isinstance(key, tuple) else (key,)
