"""The laws over what was measured, what they leave, and what follows from them."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from analysis.data.tables import label
from analysis.figures.data import BLACK, FigureData, Series
from analysis.laws.compute_optimal import figure_name
from analysis.laws.fit import Fit

LOSS_LABEL = "test NLL of the unknown tokens (nats)"
BOTH_AXES = ("recurrence", "iso_flop")
MOST_LINES = 8  # of a figure; of more, so many are shown
MAX_LISTED_LINES = 4  # of those left out, in a caption
R_LABEL = "R, times that a recursed parameter is applied"


@dataclass(frozen=True)
class Drawing:
    """How a law is drawn."""

    title: str
    x_label: str
    y_label: str
    x_scale: Literal["linear", "log"] = "log"
    y_scale: Literal["linear", "log"] = "log"
    left: str = "log measured - log fitted"


DRAWINGS = {
    "recurrence": Drawing("The recurrence law", "recursed parameters", LOSS_LABEL),
    "power_params": Drawing("A power law in parameters", "recursed parameters", LOSS_LABEL),
    "power_depth": Drawing("A power law in depth", R_LABEL, LOSS_LABEL),
    "log_depth": Drawing("Accuracy against the logarithm of depth", R_LABEL, "exact accuracy on test", "log", "linear", "residual"),
    "iso_flop": Drawing("Equal training compute", "recursed parameters", LOSS_LABEL),
    "test_time": Drawing(
        "The test-time law", "D, supervision steps at inference", "share not solved", "linear", "linear", "residual"
    ),
    "required_depth": Drawing("The required-depth law", "difficulty", "share solved", "log", "linear", "residual"),
}


def law_figures(fits: list[Fit]) -> tuple[list[FigureData], list[FigureData]]:
    """Of each law and form: its lines over what was measured, and what it leaves; all its fits of a table in one figure.

    Returns:
        Those of width against recursion, with what follows from them; and those of one axis alone.
    """
    first: list[FigureData] = []
    further: list[FigureData] = []
    for key in dict.fromkeys((fit.law, fit.form) for fit in fits):
        own = [fit for fit in fits if (fit.law, fit.form) == key and fit.is_fitted and fit.seen is not None]
        if own and key[0] in DRAWINGS and key != ("recurrence", "curvature"):  # drawn as the local exchange rate
            (first if key[0] in BOTH_AXES else further).extend([law_figure(own), residual_figure(own)])
    rates = [figure for fit in fits if (figure := exchange_rate_figure(fit)) is not None]
    optima = [figure for fit in fits if (figure := compute_optimal_figure(fit)) is not None]
    return [*rates, *optima, *first], further


def law_figure(fits: list[Fit]) -> FigureData:
    """What was measured and what a law says of it.

    Args:
        fits: of one law and form, each with the rows that it has seen.
    """
    lines, note = _lines(fits)
    drawing, fit = DRAWINGS[fits[0].law], fits[0]
    series = []
    for rank, (name, part) in enumerate(lines):
        x = part["x"].tolist()
        bars = _bars(part["measured"], part["half"], in_logs=drawing.y_scale == "log")
        series.append(Series(f"{name}, measured", x, part["measured"].tolist(), *bars, color=rank, style="points"))
        series.append(Series(f"{name}, law", x, part["fitted"].tolist(), color=rank, dash=1, style="curve"))
    return FigureData(
        f"law_{fit.form or fit.law}", drawing.title, f"Means over seeds with 95 % intervals, and the fitted law.{note}",
        drawing.x_label, drawing.y_label, series, x_scale=drawing.x_scale, y_scale=drawing.y_scale,
    )  # fmt: skip


def residual_figure(fits: list[Fit]) -> FigureData:
    """What a law leaves unexplained; a trend along a line would say that it is not the right one."""
    lines, note = _lines(fits)
    drawing, fit = DRAWINGS[fits[0].law], fits[0]
    ends = [float(extreme) for extreme in (min(part["x"].min() for _, part in lines), max(part["x"].max() for _, part in lines))]
    series = [
        Series(name, part["x"].tolist(), part["residual"].tolist(), *_bars(part["residual"], part["half"]), color=rank)
        for rank, (name, part) in enumerate(lines)
    ]
    return FigureData(
        f"residuals_{fit.form or fit.law}", f"What it leaves: {drawing.title[0].lower()}{drawing.title[1:]}",
        f"Means over seeds with 95 % intervals; a trend would say that the law is not the right one.{note}",
        drawing.x_label, drawing.left,
        [*series, Series("the law", ends, [0.0, 0.0], color=BLACK, dash=2, style="curve")], x_scale=drawing.x_scale,
    )  # fmt: skip


def _bars(middle: pd.Series, half: pd.Series, *, in_logs: bool = False) -> tuple[list[float] | None, list[float] | None]:
    """Ends of the 95 % intervals of means over seeds; none where there are no replicates."""
    if half.isna().any():
        return None, None
    low, high = (middle * np.exp(-half), middle * np.exp(half)) if in_logs else (middle - half, middle + half)
    return low.tolist(), high.tolist()


def _lines(fits: list[Fit]) -> tuple[list[tuple[str, pd.DataFrame]], str]:
    """Names and rows of the lines, so many that they can be told apart, and a note where there are more."""
    differing = [key for key in fits[0].group if len({str(fit.group.get(key)) for fit in fits}) > 1]
    lines = []
    for fit in fits:
        assert fit.seen is not None
        place = label(differing, tuple(_plain(fit.group.get(key, "")) for key in differing))
        seen = fit.seen if "half" in fit.seen else fit.seen.assign(half=np.nan)
        rows = seen.groupby(["line", "x"], sort=True)[["measured", "fitted", "residual", "half"]].mean().reset_index()
        for name in dict.fromkeys(fit.seen["line"]):  # as they were seen
            lines.append((", ".join(filter(None, (place, str(name)))) or "all trials", rows[rows["line"] == name]))
    if len(lines) <= MOST_LINES:
        return lines, ""
    shown = sorted({round(number * (len(lines) - 1) / (MOST_LINES - 1)) for number in range(MOST_LINES)})
    left = [name for number, (name, _) in enumerate(lines) if number not in shown]
    others = f" and {len(left) - MAX_LISTED_LINES} others" if len(left) > MAX_LISTED_LINES else ""
    note = f" {len(shown)} of {len(lines)} lines are shown, without {'; '.join(left[:MAX_LISTED_LINES])}{others}."
    return [lines[number] for number in shown], note


def _plain(value: object) -> object:
    """A size or an R without the decimals that it does not have."""
    return f"{value:,.6g}" if isinstance(value, float) else value


def exchange_rate_figure(fit: Fit) -> FigureData | None:
    """What one doubling of recursion is worth in parameters, at every R."""
    rates = fit.local_rates
    if rates is None or fit.form != "curvature":
        return None
    law, free = rates[rates["kind"] == "law"], rates[rates["kind"] == "model_free"]
    if rates.empty:
        return None
    series = []
    if len(law):
        series.append(Series("with curvature", *_columns(law, "recursion", "estimate", "low", "high"), style="curve"))
    if len(free):
        columns = _columns(free, "recursion", "estimate", "low", "high")
        series.append(Series("without a law, between two R", *columns, color=1, style="points"))
    ends = [float(rates["recursion"].min()), float(rates["recursion"].max())]
    series.append(Series("worth nothing", ends, [1.0, 1.0], color=BLACK, dash=2, style="curve"))
    series.append(Series("pays where compute is N x R", ends, [2.0, 2.0], color=BLACK, dash=1, style="curve"))
    return FigureData(
        f"exchange_rate{fit.suffix}", "What one doubling of recursion is worth",
        "Factor in recursed parameters; band and bars: 95 % intervals. Below 1 more recursion harms.",
        R_LABEL, "factor in recursed parameters", series, x_scale="log", y_scale="log",
    )  # fmt: skip


def compute_optimal_figure(fit: Fit) -> FigureData | None:
    """The loss along lines of equal compute, and where it is least."""
    if fit.law != "compute_optimal" or fit.seen is None or fit.seen.empty:
        return None
    series = []
    for rank, (name, part) in enumerate(fit.seen.groupby("line", sort=False)):
        columns = _columns(part, "x", "fitted", "low", "high")
        series.append(Series(str(name), *columns, color=rank, style="curve"))
        place = int(part["fitted"].to_numpy().argmin())
        if 0 < place < len(part) - 1:  # at an end the sizes or the depths that were run are over
            least = part.iloc[place]
            x, y, text = float(least["x"]), float(least["fitted"]), f"{least['size']:,.0f} parameters"
            series.append(Series(f"{name}, least", [x], [y], color=rank, style="points", texts=[text]))
    cost = str(fit.group["cost"]).replace("_", " ")
    return FigureData(
        figure_name(fit), f"Wider, or more recursion, at {fit.group['budget_flops']:.2g} FLOPs",
        f"Loss by the fitted surface along equal {cost}, at this budget, a quarter and four times of it: "
        "to the right more recursion and fewer parameters. Bands: 95 % intervals. "
        "A line ends where the design does; a dot is a least loss within it.",
        R_LABEL, LOSS_LABEL, series, x_scale="log", y_scale="log",
    )  # fmt: skip


def _columns(rows: pd.DataFrame, *names: str) -> tuple[list[float], list[float], list[float], list[float]]:
    """x, y, low and high."""
    x, y, low, high = (rows[name].tolist() for name in names)
    return x, y, low, high
