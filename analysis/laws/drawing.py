"""Figures of a fitted law: its lines over what was measured, and the misfit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from analysis.data.tables import label
from analysis.figures.data import BLACK, FigureData, Series
from analysis.laws.fit import Fit

LOSS_LABEL = "test NLL of the unknown tokens (nats)"
MAX_LINES = 8  # lines that one figure shows
MAX_LISTED_LINES = 4  # hidden lines that a caption names
SIZE_LABEL = "recursed parameters"
SHARE_MISFIT = "misfit (share)"
R_LABEL = "R, times that a recursed parameter is applied"


@dataclass(frozen=True)
class Drawing:
    """Title, axes and scales of the figures of a law."""

    title: str
    x_label: str
    y_label: str
    x_scale: Literal["linear", "log"] = "log"
    y_scale: Literal["linear", "log"] = "log"
    misfit_label: str = "misfit (log measured - log fitted)"


def draw_fits(fits: Sequence[Fit], drawing: Drawing | None) -> list[FigureData]:
    """The fitted lines over what was measured, and their misfit: two figures for all fits of one law and form.

    Empty for a law that is not drawn, and where no fit has points.
    """
    drawn = [fit for fit in fits if fit.is_fitted and fit.points is not None]
    return [fit_figure(drawn, drawing), misfit_figure(drawn, drawing)] if drawn and drawing else []


def fit_figure(fits: Sequence[Fit], drawing: Drawing) -> FigureData:
    """What was measured and the fitted law.

    Args:
        fits: all of one law and form, each with points.
    """
    lines, note = _lines(fits)
    series = []
    for rank, (name, part) in enumerate(lines):
        x = part["x"].tolist()
        bars = _bars(part["measured"], part["half"], in_logs=drawing.y_scale == "log")
        series.append(Series(f"{name}, measured", x, part["measured"].tolist(), *bars, color=rank, style="points"))
        series.append(Series(f"{name}, law", x, part["fitted"].tolist(), color=rank, dash=1, style="curve"))
    return FigureData(
        f"law_{fits[0].form or fits[0].law}", drawing.title, f"Means over seeds with 95 % CI, and the fitted law.{note}",
        drawing.x_label, drawing.y_label, series, x_scale=drawing.x_scale, y_scale=drawing.y_scale,
    )  # fmt: skip


def misfit_figure(fits: Sequence[Fit], drawing: Drawing) -> FigureData:
    """What a law leaves unexplained, for the same fits; a trend along a line shows that it is not the right one."""
    lines, note = _lines(fits)
    ends = [float(extreme) for extreme in (min(part["x"].min() for _, part in lines), max(part["x"].max() for _, part in lines))]
    series = [
        Series(name, part["x"].tolist(), part["misfit"].tolist(), *_bars(part["misfit"], part["half"]), color=rank)
        for rank, (name, part) in enumerate(lines)
    ]
    return FigureData(
        f"misfit_{fits[0].form or fits[0].law}", f"Misfit: {drawing.title[0].lower()}{drawing.title[1:]}",
        f"Means over seeds with 95 % CI; a trend shows that the law is not the right one.{note}",
        drawing.x_label, drawing.misfit_label,
        [*series, Series("the law", ends, [0.0, 0.0], color=BLACK, dash=2, style="curve")], x_scale=drawing.x_scale,
    )  # fmt: skip


def _bars(middle: pd.Series, half: pd.Series, *, in_logs: bool = False) -> tuple[list[float] | None, list[float] | None]:
    """Ends of the 95 % CI of means over seeds; none where there are no replicates."""
    if half.isna().any():
        return None, None
    low, high = (middle * np.exp(-half), middle * np.exp(half)) if in_logs else (middle - half, middle + half)
    return low.tolist(), high.tolist()


def _lines(fits: Sequence[Fit]) -> tuple[list[tuple[str, pd.DataFrame]], str]:
    """Names and rows of the lines, so many that they can be told apart, and a note where there are more."""
    differing = [key for key in fits[0].group if len({str(fit.group.get(key)) for fit in fits}) > 1]
    lines = []
    for fit in fits:
        assert fit.points is not None
        place = label(differing, tuple(_plain(fit.group.get(key, "")) for key in differing))
        points = fit.points if "half" in fit.points else fit.points.assign(half=np.nan)
        rows = points.groupby(["line", "x"], sort=True)[["measured", "fitted", "misfit", "half"]].mean().reset_index()
        for name in dict.fromkeys(points["line"]):  # in the order of the points
            lines.append((", ".join(filter(None, (place, str(name)))) or "all trials", rows[rows["line"] == name]))
    if len(lines) <= MAX_LINES:
        return lines, ""
    shown = sorted({round(number * (len(lines) - 1) / (MAX_LINES - 1)) for number in range(MAX_LINES)})
    hidden = [name for number, (name, _) in enumerate(lines) if number not in shown]
    others = f" and {len(hidden) - MAX_LISTED_LINES} others" if len(hidden) > MAX_LISTED_LINES else ""
    note = f" {len(shown)} of {len(lines)} lines are shown, without {'; '.join(hidden[:MAX_LISTED_LINES])}{others}."
    return [lines[number] for number in shown], note


def _plain(value: object) -> object:
    """A size or an R without the decimals that it does not have."""
    return f"{value:,.6g}" if isinstance(value, float) else value


def interval_columns(rows: pd.DataFrame, x: str, y: str) -> tuple[list[float], list[float], list[float], list[float]]:
    """x, y, and the ends of the interval of y."""
    return rows[x].tolist(), rows[y].tolist(), rows["low"].tolist(), rows["high"].tolist()
