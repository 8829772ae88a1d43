"""Figures for a notebook, each a plotly figure, or None where the table has no data for it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from analysis.data.tables import Tables
from analysis.statistics.importance import Importance

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from analysis.figures.data import FigureData


def plot_accuracy_by_parameters(tables: Tables) -> "go.Figure | None":
    """Exact accuracy on test against parameters, one line a depth."""
    from analysis.figures.scaling import accuracy_by_parameters

    return _interactive(accuracy_by_parameters, tables)


def plot_accuracy_by_depth(tables: Tables) -> "go.Figure | None":
    """Exact accuracy on test against layers executed, one line a width."""
    from analysis.figures.scaling import accuracy_by_depth

    return _interactive(accuracy_by_depth, tables)


def plot_width_depth_map(tables: Tables) -> "go.Figure | None":
    """Exact accuracy on test of every width and depth, with lines of equal inference FLOPs."""
    from analysis.figures.scaling import width_depth_map

    return _interactive(width_depth_map, tables)


def plot_accuracy_by_training_flops(tables: Tables) -> "go.Figure | None":
    """Exact accuracy on test against training FLOPs, with the cells that nothing cheaper beats."""
    from analysis.figures.scaling import accuracy_by_training_flops

    return _interactive(accuracy_by_training_flops, tables)


def plot_training_curves(tables: Tables) -> "go.Figure | None":
    """Exact accuracy on validation against training steps, one line a cell."""
    from analysis.figures.scaling import training_curves

    return _interactive(training_curves, tables)


def plot_seeds(tables: Tables) -> "go.Figure | None":
    """Exact accuracy on test of every trial, by cell."""
    from analysis.figures.scaling import seed_strips

    return _interactive(seed_strips, tables)


def plot_inference_depth(tables: Tables) -> "go.Figure | None":
    """Exact accuracy on test at every inference depth D (supervision steps)."""
    from analysis.figures.recursion import inference_depth

    return _interactive(inference_depth, tables)


def plot_train_inference_matrix(tables: Tables) -> "go.Figure | None":
    """Exact accuracy on test by training depth N_sup and inference depth D."""
    from analysis.figures.recursion import train_inference_matrix

    return _interactive(train_inference_matrix, tables)


def plot_recursion_split(tables: Tables) -> "go.Figure | None":
    """Exact accuracy on test against T at equal T (n + 1)."""
    from analysis.figures.recursion import recursion_split

    return _interactive(recursion_split, tables)


def plot_state_reset(tables: Tables) -> "go.Figure | None":
    """Exact accuracy on test by what happens to the state between supervision steps."""
    from analysis.figures.recursion import state_reset

    return _interactive(state_reset, tables)


def plot_accuracy_by_difficulty(tables: Tables) -> "go.Figure | None":
    """Exact accuracy on test by difficulty and inference depth, of the best cell on validation."""
    from analysis.figures.difficulty import accuracy_by_difficulty

    return _interactive(accuracy_by_difficulty, tables)


def plot_required_depth(tables: Tables) -> "go.Figure | None":
    """The smallest inference depth D that solves half and nine tenths of the items of a difficulty."""
    from analysis.figures.difficulty import required_depth

    return _interactive(required_depth, tables)


def plot_inference_frontier(tables: Tables) -> "go.Figure | None":
    """Exact accuracy on test against inference FLOPs: the best width and D, with fixed and adaptive halting."""
    from analysis.figures.inference import inference_frontier

    return _interactive(inference_frontier, tables)


def plot_breadth_depth(tables: Tables) -> "go.Figure | None":
    """Exact accuracy on test of K rollouts of D supervision steps against inference FLOPs."""
    from analysis.figures.inference import breadth_depth

    return _interactive(breadth_depth, tables)


def plot_halting_calibration(tables: Tables) -> "go.Figure | None":
    """Share of test items that are right against the halting probability."""
    from analysis.figures.inference import halting_calibration

    return _interactive(halting_calibration, tables)


def plot_state_change_correctness(tables: Tables) -> "go.Figure | None":
    """Share of test items that are right against the state change in the last supervision step."""
    from analysis.figures.inference import state_change_correctness

    return _interactive(state_change_correctness, tables)


def plot_importance(importances: list[Importance], kind: str = "measure") -> "go.Figure | None":
    """Shares of variance of a design (`anova_shares`), or importances of a search (`ped_anova`, kind `search`)."""
    from analysis.figures.statistics import importance_figure

    return _interactive(lambda shares: importance_figure(shares, kind), importances)


def _interactive(draw: "Callable[[Any], FigureData | None]", data: Any) -> "go.Figure | None":
    from analysis.figures.render import interactive  # plots take seconds to import

    figure = draw(data)
    return None if figure is None else interactive(figure)
