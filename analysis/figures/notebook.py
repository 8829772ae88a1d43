"""Figures for a notebook, each a plotly figure, or None where the table has no data for it."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from analysis.data.tables import Tables
from analysis.figures import difficulty, inference, recursion, scaling
from analysis.figures.data import FigureData
from analysis.figures.statistics import importance_figure
from analysis.statistics.importance import Importance

if TYPE_CHECKING:
    import plotly.graph_objects as go

Plot = Callable[[Tables], "go.Figure | None"]


def _plot_of(draw: Callable[[Tables], FigureData | None]) -> Plot:
    """A function from tables to the plotly figure of `draw`, with the docstring of `draw`."""

    def plot(tables: Tables) -> "go.Figure | None":
        return _interactive(draw(tables))

    plot.__name__, plot.__doc__ = f"plot_{draw.__name__}", draw.__doc__
    return plot


def _interactive(figure: FigureData | None) -> "go.Figure | None":
    from analysis.figures.render import interactive  # plots take seconds to import

    return None if figure is None else interactive(figure)


plot_accuracy_by_parameters = _plot_of(scaling.accuracy_by_parameters)
plot_accuracy_by_depth = _plot_of(scaling.accuracy_by_depth)
plot_accuracy_by_data = _plot_of(scaling.accuracy_by_data)
plot_width_depth_map = _plot_of(scaling.width_depth_map)
plot_accuracy_by_training_flops = _plot_of(scaling.accuracy_by_training_flops)
plot_training_curves = _plot_of(scaling.training_curves)
plot_seeds = _plot_of(scaling.seed_strips)
plot_inference_depth = _plot_of(recursion.inference_depth)
plot_train_inference_matrix = _plot_of(recursion.train_inference_matrix)
plot_recursion_split = _plot_of(recursion.recursion_split)
plot_state_reset = _plot_of(recursion.state_reset)
plot_accuracy_by_difficulty = _plot_of(difficulty.accuracy_by_difficulty)
plot_required_depth = _plot_of(difficulty.required_depth)
plot_inference_frontier = _plot_of(inference.inference_frontier)
plot_breadth_depth = _plot_of(inference.breadth_depth)
plot_halting_calibration = _plot_of(inference.halting_calibration)
plot_state_change_correctness = _plot_of(inference.state_change_correctness)


def plot_importance(importances: list[Importance], kind: str = "measure") -> "go.Figure | None":
    """Shares of variance of a design (`anova_shares`), or importances of a search (`ped_anova`, kind `search`)."""
    return _interactive(importance_figure(importances, kind))
