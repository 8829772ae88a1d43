"""Accuracy by difficulty and inference depth D, and the smallest D that solves a difficulty."""

import numpy as np
import pandas as pd

from analysis.data.tables import Tables
from analysis.figures.data import FigureData, Heatmap, Series, chosen_cell, curves_of, powers_of_two
from analysis.figures.recursion import DEPTH_CURVE
from rrm.tasks.task import EASE

SOLVED_SHARES = (0.5, 0.9)  # a difficulty counts as solved when this share of its items is right


def accuracy_by_difficulty(tables: Tables) -> FigureData | None:
    """Exact accuracy by difficulty and inference depth D, in the best cell on validation among the largest N_sup."""
    binned = _binned_points(tables)
    if binned is None:
        return None
    name, measure, points = binned
    depths = powers_of_two(int(points["at"].max()))
    means = points[points["at"].isin(depths)].groupby(["difficulty", "at"])["value"].mean().unstack("at")
    means = means.sort_index(ascending=measure not in EASE)
    return FigureData(
        "accuracy_by_difficulty",
        "Exact accuracy by difficulty and inference depth",
        f"Mean exact accuracy over seeds of {name}. A row holds the items from its value up to the next; "
        "harder items are in higher rows.",
        "inference depth D (supervision steps)",
        _axis_label(measure),
        heatmap=Heatmap(
            [str(int(depth)) for depth in means.columns],
            [f"{difficulty:g}" for difficulty in means.index],
            [[None if np.isnan(value) else float(value) for value in row] for row in means.to_numpy()],
        ),
    )


def required_depth(tables: Tables) -> FigureData | None:
    """The smallest inference depth D that solves a difficulty, in the best cell on validation among the largest N_sup."""
    binned = _binned_points(tables)
    if binned is None or binned[1] in EASE:
        return None
    name, measure, points = binned
    means = points[points["difficulty"] > 0].groupby(["difficulty", "at"])["value"].mean().unstack("at")
    series = []
    for rank, share in enumerate(SOLVED_SHARES):
        reached = [(k, _first_depth(means.loc[k], share)) for k in means.index.tolist()]
        needed = [(k, depth) for k, depth in reached if depth is not None]
        if needed:
            x, y = zip(*needed, strict=True)
            series.append(Series(f"{share:.0%} solved", list(x), list(y), color=rank, dash=rank))
    if not series or max(len(one.x) for one in series) < 2:
        return None
    return FigureData(
        "required_depth",
        "The depth that a difficulty needs",
        f"Smallest D at which {name} solves this share, mean over seeds; a difficulty that no depth solves has no point.",
        _axis_label(measure),
        "inference depth D (supervision steps)",
        series,
        x_scale="log",
        y_scale="log",
    )


def _axis_label(measure: str) -> str:
    """`difficulty (path length)`; for a measure that grows as items become easier, `clues (fewer clues: harder)`."""
    words = measure.replace("_", " ")
    return f"{words} (fewer {words}: harder)" if measure in EASE else f"difficulty ({words})"


def _first_depth(accuracy: pd.Series, share: float) -> float | None:
    """The smallest inference depth, from the index of `accuracy`, that reaches a share of solved items; None if none does."""
    reached = accuracy.index[accuracy.to_numpy() >= share]
    return float(reached.min()) if len(reached) else None


def _binned_points(tables: Tables) -> tuple[str, str, pd.DataFrame] | None:
    """The label of the best cell, the measure of difficulty with the most levels, and the depth curves binned by it."""
    name, fingerprints = chosen_cell(tables, deep=True)
    points = curves_of(tables, DEPTH_CURVE, by_difficulty=True)
    points = points[points["fingerprint"].isin(fingerprints)]
    if points.empty:
        return None
    levels = points.groupby("binned_by")["difficulty"].nunique()
    if levels.empty:
        return name, "difficulty", points
    measure = str(levels.idxmax())
    return name, measure, points[points["binned_by"] == measure]
