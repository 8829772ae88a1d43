"""Figures of effects, importance and agreement between tasks."""

import math

from analysis.data.tables import is_parameter
from analysis.figures.data import FigureData, Heatmap, Series
from analysis.statistics.effects import Effect, describe_step
from analysis.statistics.importance import Importance
from analysis.statistics.task_agreement import Agreement
from sweeps.design.short_names import axis_name


def effects_figure(effects: list[Effect]) -> FigureData | None:
    """The effect of each axis, over all cells and at each level of another setting."""
    known = [effect for effect in effects if math.isfinite(effect.change.high)]
    if not known:
        return None
    ordered = list(reversed(known))
    axes = list(dict.fromkeys(effect.axis for effect in known))
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
    marks = [(float(row), f"{describe_step(effect)}, {effect.where}") for row, effect in enumerate(ordered)]
    return FigureData(
        "effects",
        "Effect of each axis, all else equal",
        "Change of exact accuracy from the low to the high level, or from the base level of a categorical setting. "
        "Bars: 95 % CI over seeds.",
        "change of exact accuracy on test",
        "",
        series,
        y_marks=marks,
        legend=False,
    )


def importance_figure(importances: list[Importance], ranked_by: str | None) -> FigureData | None:
    """How much each parameter accounts for.

    Args:
        ranked_by: the first objective of a search; None for a design.
    """
    if not importances:
        return None
    ordered = list(reversed(importances))
    search = (
        f"Importance for being among the best tenth of the trials by {ranked_by} (PED-ANOVA); bars: 95 % of resamples of trials."
    )
    design = "Share of the variance over trials (omega squared, type II); bars: 95 % of resamples within cells."
    return FigureData(
        "importance",
        "What each parameter accounts for",
        search if ranked_by else design,
        "importance" if ranked_by else "share of variance",
        "",
        [
            Series(one.parameter, [one.share], [float(row)], [one.low], [one.high], style="points")
            for row, one in enumerate(ordered)
        ],
        y_marks=[(float(row), _short(one.parameter)) for row, one in enumerate(ordered)],
        legend=False,
    )  # fmt: skip


def agreement_figure(agreements: list[Agreement]) -> FigureData | None:
    """Rank correlation of settings between tasks."""
    if not agreements:
        return None
    tasks = list(dict.fromkeys(name for one in agreements for name in (one.task, one.other)))
    values: list[list[float | None]] = [[1.0 if row == column else None for column in tasks] for row in tasks]
    for one in agreements:
        row, column = tasks.index(one.task), tasks.index(one.other)
        values[row][column] = values[column][row] = one.correlation
    return FigureData(
        "task_agreement",
        "Rank correlation of settings between tasks",
        "Spearman's rank correlation of mean scores, over the settings that two tasks have in common.",
        "",
        "",
        heatmap=Heatmap(tasks, tasks, values, "rank correlation", (-1.0, 1.0)),
    )


def _short(parameter: str) -> str:
    return axis_name(parameter) if is_parameter(parameter) else parameter
