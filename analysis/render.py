"""One static (matplotlib) and one interactive (plotly) renderer for any `FigureData`."""

import itertools
from pathlib import Path

import matplotlib as mpl
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import FigureData, Heatmap, Series

# Okabe and Ito's colours, told apart with any colour vision; the last one is black.
PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#000000"]
DASHES = ["solid", "dash", "dot", "dashdot"]
STATIC_DASHES = ["-", "--", ":", "-."]
MARKERS = ["o", "s", "^", "D"]
BAND_OPACITY = 0.12
MOST_LEGEND_ROWS = 14
MOST_TICKS, CLOSEST_TICKS = 8, 1.3
MOST_BARS = 6  # of a line; with more points the interval is a band


def write_static(figure: FigureData, folder: Path) -> list[Path]:
    """`<name>.png` and `<name>.svg` in a folder."""
    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": figure.name}):
        canvas = Figure(figsize=(8.2, 4.8), layout="constrained")
        axes = canvas.subplots()
        if figure.heatmap:
            _static_heatmap(axes, figure.heatmap)
        for series in figure.series:
            _static_series(axes, series, horizontal=figure.y_marks is not None)
        _static_frame(axes, figure)
        paths = [folder / f"{figure.name}.{kind}" for kind in ("png", "svg")]
        for path in paths:
            canvas.savefig(path, dpi=150, bbox_inches="tight", metadata={"Date": None} if path.suffix == ".svg" else None)
    return paths


def _static_frame(axes: Axes, figure: FigureData) -> None:
    axes.set_title(figure.title, loc="left", fontweight="bold")
    axes.set_xlabel(figure.x_label)
    axes.set_ylabel(figure.y_label)
    if figure.x_scale == "log":
        axes.set_xscale("log")
        ticks = _log_ticks(figure)
        if ticks:
            axes.set_xticks(ticks, [_number(value) for value in ticks])
            axes.minorticks_off()
    if figure.y_range:
        axes.set_ylim(figure.y_range[0], figure.y_range[1] + 0.02)
    if figure.x_marks:
        places, names = zip(*figure.x_marks, strict=True)
        axes.set_xticks(places, names, rotation=60, ha="right")
        axes.grid(axis="x", alpha=0.2)
    if figure.y_marks:
        places, names = zip(*figure.y_marks, strict=True)
        axes.set_yticks(places, names)
        axes.axvline(0, color="0.5", linewidth=1)
    elif figure.series:
        axes.grid(axis="y", alpha=0.2)
    if len(figure.series) > 1 and not figure.x_marks and not figure.y_marks:
        columns = 1 + (len(figure.series) - 1) // MOST_LEGEND_ROWS
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, ncols=columns)


def _static_series(axes: Axes, series: Series, *, horizontal: bool) -> None:
    color, dash = PALETTE[series.color % len(PALETTE)], series.dash % len(DASHES)
    points = series.style == "points"
    errors = None
    if series.low and series.high:
        centre = series.x if horizontal else series.y
        errors = [
            [middle - low for middle, low in zip(centre, series.low, strict=True)],
            [high - middle for middle, high in zip(centre, series.high, strict=True)],
        ]
    band = _has_band(series) and not horizontal
    axes.errorbar(
        series.x,
        series.y,
        xerr=errors if horizontal else None,
        yerr=None if horizontal or band else errors,
        color=color,
        linestyle="none" if points else STATIC_DASHES[dash],
        marker=MARKERS[dash],
        markersize=4,
        capsize=2,
        label=series.label,
        alpha=0.9,
    )
    if band and series.low and series.high:
        axes.fill_between(series.x, series.low, series.high, color=color, alpha=BAND_OPACITY, linewidth=0)


def _static_heatmap(axes: Axes, heatmap: Heatmap) -> None:
    values = [[float("nan") if value is None else value for value in row] for row in heatmap.values]
    axes.imshow(values, cmap="cividis", vmin=0, vmax=1, aspect="auto", origin="lower")
    axes.set_xticks(range(len(heatmap.columns)), heatmap.columns)
    axes.set_yticks(range(len(heatmap.rows)), heatmap.rows)
    for row, cells in enumerate(heatmap.values):
        for column, value in enumerate(cells):
            if value is not None:
                axes.text(column, row, f"{value:.3f}", ha="center", va="center", color="white" if value < 0.5 else "black")


def interactive(figure: FigureData) -> go.Figure:
    """The same figure for a browser."""
    drawing = go.Figure()
    if figure.heatmap:
        drawing.add_trace(_interactive_heatmap(figure.heatmap))
    for series in figure.series:
        for trace in _interactive_series(series, horizontal=figure.y_marks is not None):
            drawing.add_trace(trace)
    single_legend = len(figure.series) > 1 and not figure.x_marks and not figure.y_marks
    drawing.update_layout(
        template="plotly_white",
        height=460,
        margin={"l": 60, "r": 20, "t": 20, "b": 60},
        showlegend=single_legend,
        xaxis={"title": {"text": figure.x_label}},
        yaxis={"title": {"text": figure.y_label}},
    )
    if figure.x_scale == "log":
        ticks = _log_ticks(figure)
        drawing.update_xaxes(type="log")
        if ticks:
            drawing.update_xaxes(tickvals=ticks, ticktext=[_number(value) for value in ticks])
    if figure.y_range:
        drawing.update_yaxes(range=[figure.y_range[0], figure.y_range[1] + 0.02])
    for marks, update in ((figure.x_marks, drawing.update_xaxes), (figure.y_marks, drawing.update_yaxes)):
        if marks:
            update(tickvals=[place for place, _ in marks], ticktext=[name for _, name in marks], automargin=True)
    return drawing


def _interactive_series(series: Series, *, horizontal: bool) -> list[go.Scatter]:
    color, dash = PALETTE[series.color % len(PALETTE)], DASHES[series.dash % len(DASHES)]
    error, band = None, []
    if _has_band(series) and not horizontal:
        band = [_band(series, color)]
    elif series.low and series.high:
        centre = series.x if horizontal else series.y
        error = {
            "type": "data",
            "array": [high - middle for middle, high in zip(centre, series.high, strict=True)],
            "arrayminus": [middle - low for middle, low in zip(centre, series.low, strict=True)],
            "thickness": 1,
        }
    return [
        *band,
        go.Scatter(
            x=series.x,
            y=series.y,
            name=series.label,
            legendgroup=series.label,
            mode="markers" if series.style == "points" else "lines+markers",
            line={"color": color, "dash": dash},
            marker={"color": color, "size": 7},
            error_x=error if horizontal else None,
            error_y=None if horizontal else error,
        ),
    ]


def _band(series: Series, color: str) -> go.Scatter:
    """The interval of a line with many points as a shaded area."""
    assert series.low and series.high
    return go.Scatter(
        x=[*series.x, *reversed(series.x)],
        y=[*series.high, *reversed(series.low)],
        fill="toself",
        fillcolor=color,
        opacity=BAND_OPACITY,
        line={"width": 0},
        mode="lines",
        legendgroup=series.label,
        showlegend=False,
        hoverinfo="skip",
    )


def _interactive_heatmap(heatmap: Heatmap) -> go.Heatmap:
    return go.Heatmap(
        x=[name.replace("\n", "<br>") for name in heatmap.columns],
        y=[name.replace("\n", "<br>") for name in heatmap.rows],
        z=heatmap.values,
        zmin=0,
        zmax=1,
        colorscale="Cividis",
        texttemplate="%{z:.3f}",
        colorbar={"title": {"text": "exact accuracy"}},
    )


def _has_band(series: Series) -> bool:
    """Many bars would hide each other: a line with many points has its interval as a band."""
    return bool(series.low and series.high) and series.style == "line" and len(series.x) > MOST_BARS


def _log_ticks(figure: FigureData) -> list[float]:
    """The values that occur, where they are few and their labels do not touch; else the renderer's own ticks."""
    values = sorted({x for series in figure.series for x in series.x})
    apart = all(second / first > CLOSEST_TICKS for first, second in itertools.pairwise(values))
    return values if apart and len(values) <= MOST_TICKS else []


def _number(value: float) -> str:
    """A tick label: whole numbers with separators, large ones in powers of ten."""
    return f"{value:,.0f}" if value < 1e6 else f"{value:.1e}"
