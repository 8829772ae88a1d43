"""Records in; tables, laws, figures and a report out. Needs neither torch nor ray. For notebooks:

import analysis
tables = analysis.load("runs/demo")                  # or analysis.load_csv(Path("runs.csv"))
fits = analysis.fit_laws(tables)                     # or analysis.fit_recurrence(group) for each of analysis.groups_of(...)
analysis.plot_inference_depth(tables).show()
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from analysis.fits import Estimate, Fit
from analysis.foreign import load_csv
from analysis.groups import Group, groups_of
from analysis.laws.iso_flop import fit_iso_flop
from analysis.laws.power import fit_log_depth, fit_power
from analysis.laws.recurrence import fit_recurrence
from analysis.laws.required_depth import fit_required_depth
from analysis.laws.test_time import fit_test_time
from analysis.scaling import fit_laws
from analysis.tables import Tables, load, merge

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from analysis.figures import FigureData

__all__ = [
    "Estimate", "Fit", "Group", "Tables", "fit_iso_flop", "fit_laws", "fit_log_depth", "fit_power", "fit_recurrence",
    "fit_required_depth", "fit_test_time", "groups_of", "load", "load_csv", "merge", "plot_accuracy_by_depth",
    "plot_accuracy_by_parameters", "plot_accuracy_by_training_flops", "plot_inference_depth", "plot_recurrence",
    "plot_residuals", "plot_seeds", "plot_width_depth_map",
]  # fmt: skip


def plot_accuracy_by_parameters(tables: Tables) -> "go.Figure | None":
    """Exact accuracy on test against parameters, one line a depth; None where nothing of it was varied."""
    from analysis.figures import accuracy_by_parameters  # plots take seconds to import

    return _interactive(accuracy_by_parameters, tables)


def plot_accuracy_by_depth(tables: Tables) -> "go.Figure | None":
    """Exact accuracy on test against layers executed, one line a width; None where nothing of it was varied."""
    from analysis.figures import accuracy_by_depth

    return _interactive(accuracy_by_depth, tables)


def plot_width_depth_map(tables: Tables) -> "go.Figure | None":
    """Exact accuracy on test of every width and depth; None where one of them was not varied."""
    from analysis.figures import width_depth_map

    return _interactive(width_depth_map, tables)


def plot_inference_depth(tables: Tables) -> "go.Figure | None":
    """Exact accuracy on test at every inference depth D (supervision steps); None without depth curves."""
    from analysis.figures import inference_depth

    return _interactive(inference_depth, tables)


def plot_accuracy_by_training_flops(tables: Tables) -> "go.Figure | None":
    """Exact accuracy on test against training FLOPs, with the cells that nothing cheaper beats."""
    from analysis.figures import accuracy_by_training_flops

    return _interactive(accuracy_by_training_flops, tables)


def plot_seeds(tables: Tables) -> "go.Figure | None":
    """Exact accuracy on test of every trial, by cell."""
    from analysis.figures import seed_strips

    return _interactive(seed_strips, tables)


def plot_recurrence(fit: Fit) -> "go.Figure | None":
    """Test NLL (nats) of every cell against recursed parameters, and the law; None of a fit that was refused before it began."""
    from analysis.figures import recurrence_figure

    return _interactive(recurrence_figure, fit)


def plot_residuals(fit: Fit) -> "go.Figure | None":
    """Log of measured over fitted loss of every cell against R; None of a fit that was refused before it began."""
    from analysis.figures import residual_figure

    return _interactive(residual_figure, fit)


def _interactive(draw: "Callable[[Any], FigureData | None]", data: Tables | Fit) -> "go.Figure | None":
    from analysis.render import interactive

    figure = draw(data)
    return None if figure is None else interactive(figure)
