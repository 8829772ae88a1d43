"""Figures of fits for a notebook, each a plotly figure, or None where the fits have nothing to draw."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from analysis.figures.data import FigureData
from analysis.laws.drawing import draw_fits
from analysis.laws.fit import Fit

if TYPE_CHECKING:
    import plotly.graph_objects as go


def plot_law(fits: Sequence[Fit]) -> "go.Figure | None":
    """A law over what was measured, in the units of its response; the fits must be of one law and form."""
    return _interactive(_draw(fits)[:1])


def plot_misfit(fits: Sequence[Fit]) -> "go.Figure | None":
    """Log of measured over fitted loss, or a difference of shares; the fits must be of one law and form."""
    return _interactive(_draw(fits)[1:])


def plot_fit(fit: Fit) -> "go.Figure | None":
    """What follows from one fit: the exchange rate at every R (form `curvature`), or the loss along equal FLOPs (a budget)."""
    figure = fit.fitted_by.figure(fit)
    return _interactive([figure] if figure else [])


def _draw(fits: Sequence[Fit]) -> list[FigureData]:
    return draw_fits(fits, fits[0].fitted_by.drawing_of(fits[0].form)) if fits else []


def _interactive(figures: Sequence[FigureData]) -> "go.Figure | None":
    from analysis.figures.render import interactive  # plots take seconds to import

    return interactive(figures[0]) if figures else None
