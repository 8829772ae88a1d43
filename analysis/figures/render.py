"""One static (matplotlib) and one interactive (plotly) renderer for any `FigureData`."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Literal

import matplotlib as mpl
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.data import FigureData, Heatmap, Series
from analysis.figures.ticks import PLACES, Y_MARGIN, log_ticks, number_label, place_texts
from lightning_modules.atomic_write import write_atomically

# Colours of Okabe and Ito, which remain distinct under colour blindness; the last one is black.
PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#000000"]
DASHES = ["solid", "dash", "dot", "dashdot"]
STATIC_DASHES = ["-", "--", ":", "-."]
MARKERS = ["o", "s", "^", "D"]
BAND_OPACITY = 0.12
MAX_LEGEND_ROWS = 14
MODES = {"line": "lines+markers", "points": "markers", "curve": "lines"}
HEIGHT_PX, ROW_PX = 460, 18  # height of a figure, and of each name beside its y axis
TICKS = {"ticks": "outside", "ticklen": 6, "tickcolor": "rgba(0,0,0,0)"}  # space that keeps the first marks of two axes apart
MAX_BARS = 6  # a line with more points has a band instead of error bars


def write_static(figure: FigureData, folder: Path) -> list[Path]:
    """Writes `<name>.png` and `<name>.svg` into a folder and returns their paths."""
    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": figure.name}):
        canvas = Figure(figsize=(7.2, _height_px(figure) / 96))
        axes = canvas.subplots()
        if figure.heatmap:
            _static_heatmap(axes, figure.heatmap)
        for series, places in zip(figure.series, place_texts(figure), strict=True):
            _static_series(axes, series, places, horizontal=figure.y_marks is not None)
        _static_frame(axes, figure)
        paths = [folder / f"{figure.name}.{kind}" for kind in ("png", "svg")]
        for path in paths:
            metadata = {"Date": None} if path.suffix == ".svg" else None
            drawn = BytesIO()
            canvas.savefig(drawn, format=path.suffix[1:], dpi=150, bbox_inches="tight", metadata=metadata)
            write_atomically(path, drawn.getvalue())
    return paths


def _static_frame(axes: Axes, figure: FigureData) -> None:
    axes.set_title(figure.title, loc="left", fontweight="bold")
    axes.set_xlabel(figure.x_label)
    axes.set_ylabel(figure.y_label)
    if figure.x_scale == "log":
        axes.set_xscale("log")
        ticks = log_ticks(_values(figure, "x"))
        axes.set_xticks(ticks, [number_label(value) for value in ticks])
        axes.xaxis.minorticks_off()
    if figure.y_scale == "log":
        axes.set_yscale("log")
        ticks = log_ticks(_values(figure, "y"))
        axes.set_yticks(ticks, [number_label(value) for value in ticks])
        axes.yaxis.minorticks_off()
    if figure.y_range:
        axes.set_ylim(figure.y_range[0], figure.y_range[1] + Y_MARGIN)
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
    if figure.legend and len(figure.series) > 1:
        columns = 1 + (len(figure.series) - 1) // MAX_LEGEND_ROWS
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, ncols=columns)


def _static_text(axes: Axes, point: tuple[float, float], text: str, place: str) -> None:
    """Draws a text beside a point; `place` is one of `PLACES`."""
    vertical, horizontal = place.split()
    offset = {"right": 4, "left": -4, "center": 0}[horizontal], {"top": 4, "bottom": -4, "middle": 0}[vertical]
    sides = {"right": "left", "left": "right", "center": "center"}[horizontal]
    levels = {"top": "bottom", "bottom": "top", "middle": "center"}[vertical]
    axes.annotate(text, point, xytext=offset, textcoords="offset points", fontsize=6.5, ha=sides, va=levels)


def _static_series(axes: Axes, series: Series, places: Sequence[str | None], *, horizontal: bool) -> None:
    color, dash = PALETTE[series.color % len(PALETTE)], series.dash % len(DASHES)
    points = series.style == "points"
    errors = _error_bars(series, horizontal=horizontal)
    axes.errorbar(
        series.x,
        series.y,
        xerr=errors if horizontal else None,
        yerr=None if horizontal else errors,
        color=color,
        linestyle="none" if points else STATIC_DASHES[dash],
        marker="" if series.style == "curve" else MARKERS[dash],
        markersize=4,
        capsize=2,
        label=series.label,
        alpha=0.9,
    )
    for x, y, text, place in zip(series.x, series.y, series.texts or [], places, strict=False):
        if place is not None:
            _static_text(axes, (x, y), text, place)
    if errors is None and series.low and series.high:  # a band
        axes.fill_between(series.x, series.low, series.high, color=color, alpha=BAND_OPACITY, linewidth=0)


def _static_heatmap(axes: Axes, heatmap: Heatmap) -> None:
    values = [[float("nan") if value is None else value for value in row] for row in heatmap.values]
    low, high = heatmap.value_range
    axes.imshow(values, cmap="cividis", vmin=low, vmax=high, aspect="auto", origin="lower")
    axes.set_xticks(range(len(heatmap.columns)), heatmap.columns)
    axes.set_yticks(range(len(heatmap.rows)), heatmap.rows)
    for row, cells in enumerate(heatmap.values):
        for column, value in enumerate(cells):
            if value is not None:
                axes.text(
                    column, row, f"{value:.3f}", ha="center", va="center", color="white" if value < (low + high) / 2 else "black"
                )
    for line in heatmap.lines:
        axes.plot(line.x, line.y, color="white", linestyle="--", linewidth=1.2)
        axes.annotate(line.label, (line.x[-1] + 0.48, line.y[-1] - 0.12), color="white", fontsize=7, ha="right", va="top")


def interactive(figure: FigureData) -> go.Figure:
    """The figure for a browser, with texts of points on hover."""
    drawing = go.Figure()
    for trace in _interactive_heatmap(figure.heatmap) if figure.heatmap else []:
        drawing.add_trace(trace)
    for series, places in zip(figure.series, place_texts(figure), strict=True):
        for trace in _interactive_series(series, places, horizontal=figure.y_marks is not None):
            drawing.add_trace(trace)
    drawing.update_layout(
        template="plotly_white",
        height=_height_px(figure),
        margin={"l": 60, "r": 20, "t": 20, "b": 60},
        showlegend=figure.legend and len(figure.series) > 1,
        xaxis={"title": {"text": figure.x_label}, **TICKS},
        yaxis={"title": {"text": figure.y_label}, **TICKS},
    )
    _interactive_scales(drawing, figure)
    _interactive_marks(drawing, figure)
    return drawing


def _interactive_scales(drawing: go.Figure, figure: FigureData) -> None:
    if figure.x_scale == "log":
        ticks = log_ticks(_values(figure, "x"))
        drawing.update_xaxes(type="log", tickvals=ticks, ticktext=[number_label(value) for value in ticks])
    if figure.y_scale == "log":
        ticks = log_ticks(_values(figure, "y"))
        drawing.update_yaxes(type="log", tickvals=ticks, ticktext=[number_label(value) for value in ticks])
    if figure.y_range:
        drawing.update_yaxes(range=[figure.y_range[0], figure.y_range[1] + Y_MARGIN])


def _interactive_marks(drawing: go.Figure, figure: FigureData) -> None:
    """Sets names of marks in place of the numbers of an axis."""
    x_marks, y_marks = figure.x_marks, figure.y_marks
    if figure.heatmap:
        x_marks, y_marks = (
            [(float(place), name.replace("\n", "<br>")) for place, name in enumerate(names)]
            for names in (figure.heatmap.columns, figure.heatmap.rows)
        )
    for marks, update in ((x_marks, drawing.update_xaxes), (y_marks, drawing.update_yaxes)):
        if marks:
            update(tickvals=[place for place, _ in marks], ticktext=[name for _, name in marks], automargin=True)


def _interactive_series(series: Series, places: Sequence[str | None], *, horizontal: bool) -> list[go.Scatter]:
    color, dash = PALETTE[series.color % len(PALETTE)], DASHES[series.dash % len(DASHES)]
    errors = _error_bars(series, horizontal=horizontal)
    error = {"type": "data", "array": errors[1], "arrayminus": errors[0], "thickness": 1} if errors else None
    return [
        *([_band(series, color)] if _has_band(series) and not horizontal else []),
        go.Scatter(
            x=series.x,
            y=series.y,
            name=series.label,
            legendgroup=series.label,
            mode=MODES[series.style] + ("+text" if series.texts else ""),
            text=[text if place else "" for text, place in zip(series.texts or [], places, strict=False)] or None,
            textposition=[place or PLACES[0] for place in places] if series.texts else None,
            hovertext=series.texts,
            textfont={"size": 9},
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


def _interactive_heatmap(heatmap: Heatmap) -> list[go.Heatmap | go.Scatter]:
    """Coloured cells with their numbers, and lines over them. Both axes are indices from 0; the marks carry the names."""
    low, high = heatmap.value_range
    colours = go.Heatmap(
        x=list(range(len(heatmap.columns))),
        y=list(range(len(heatmap.rows))),
        z=heatmap.values,
        zmin=low,
        zmax=high,
        colorscale="Cividis",
        texttemplate="%{z:.3f}",
        hovertemplate="%{z:.3f}<extra></extra>",
        colorbar={"title": {"text": heatmap.value_label, "side": "right"}},
    )
    lines = [
        go.Scatter(x=line.x, y=line.y, mode="lines", name=line.label, line={"color": "white", "dash": "dash"}, showlegend=False)
        for line in heatmap.lines
    ]
    return [colours, *lines]


def _error_bars(series: Series, *, horizontal: bool) -> tuple[list[float], list[float]] | None:
    """Lengths of the error bars below and above each point; None without an interval, or if the series has a band."""
    if not series.low or not series.high or (_has_band(series) and not horizontal):
        return None
    centre = series.x if horizontal else series.y
    below = [middle - low for middle, low in zip(centre, series.low, strict=True)]
    return below, [high - middle for middle, high in zip(centre, series.high, strict=True)]


def _has_band(series: Series) -> bool:
    """Whether a series has a band instead of error bars, which would overlap on a line with many points."""
    return bool(series.low and series.high) and (series.style == "curve" or (series.style == "line" and len(series.x) > MAX_BARS))


def _height_px(figure: FigureData) -> int:
    """Taller where many names stand beside the y axis."""
    return max(HEIGHT_PX, 120 + ROW_PX * len(figure.y_marks or []))


def _values(figure: FigureData, axis: Literal["x", "y"]) -> list[float]:
    """All values along an axis, ends of intervals included."""
    if axis == "x":
        return [x for series in figure.series for x in series.x]
    return [y for series in figure.series for y in (*series.y, *(series.low or []), *(series.high or []))]
