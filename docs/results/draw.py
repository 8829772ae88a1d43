"""Draws the figure of the first answer from the kept runs: `python -m docs.results.draw` writes 01_width_or_recursion.png."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.data.csv_import import load_csv
from analysis.data.tables import Tables
from analysis.figures.data import ACCURACY
from analysis.figures.render import MARKERS, PALETTE
from analysis.laws.fit_all import fit_laws
from analysis.laws.headline import find_headlines
from analysis.statistics.cells import summarise_cells
from docs.results.keep import DATA
from sweeps.design.axes import RECURSION, WIDTH

NAME = "01_width_or_recursion"
FIGURE = Path(__file__).parent / f"{NAME}.png"
PANELS = {
    "sudoku6": "6x6 Sudoku (search), 1,000 steps",
    "sudoku6_500_steps": "6x6 Sudoku (search), 500 steps",
    "automaton": "rule 110 (serial), 1,500 steps",
    "neighbours": "control (one step), 1,000 steps",
}


def kept(question: str) -> Tables:
    """The kept runs of one spec of the question, `sudoku6` for 01_width_or_recursion_sudoku6."""
    return load_csv(DATA / f"{NAME}_{question}.parquet", DATA / f"{NAME}_{question}_curves.parquet")


def draw(path: Path) -> None:
    """Writes the figure: test accuracy against R, a line per width, a panel per task."""
    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(3.3 * len(PANELS), 3.6), layout="constrained")
        panels = figure.subplots(1, len(PANELS), sharey=True, squeeze=False)[0]
        for axes, (question, title) in zip(panels, PANELS.items(), strict=True):
            _panel(axes, kept(question), title)
        panels[0].set_ylabel("exact accuracy on test")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
        figure.savefig(path, dpi=150)


def _panel(axes: Axes, tables: Tables, title: str) -> None:
    cells = summarise_cells(tables.completed, [WIDTH, RECURSION], ACCURACY)
    for place, (width, line) in enumerate(cells.groupby(WIDTH)):
        bars = [line["mean"] - line["low"], line["high"] - line["mean"]]
        style = {"color": PALETTE[place], "marker": MARKERS[place % len(MARKERS)], "markersize": 4, "capsize": 2}
        axes.errorbar(line[RECURSION], line["mean"], yerr=bars, label=f"width {width}", **style)
    values = sorted(cells[RECURSION].unique())
    axes.set_xscale("log", base=2)
    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.minorticks_off()
    axes.set_ylim(-0.02, 1.05)
    axes.set_xlabel("R: applications of the recursed parameters")
    axes.set_title(f"{title}\n{_worth(tables)}", loc="left", fontsize=9)


def _worth(tables: Tables) -> str:
    """What one doubling of recursion is worth, short enough for a title."""
    rates = [headline.rates.get("recursion") for headline in find_headlines(fit_laws(tables))]
    rate = next((rate for rate in rates if rate is not None), None)
    if rate is None:
        return "no rate: see the page"
    return f"a doubling of R is worth {rate.estimate:.2f} ({rate.low:.2f} to {rate.high:.2f})"


def main() -> None:
    draw(FIGURE)
    print(FIGURE)


if __name__ == "__main__":
    main()
