"""The files of a report: one self-contained HTML page, the figures, the tables."""

import json
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import plotly.io
from jinja2 import Environment, PackageLoader, select_autoescape
from plotly.offline import get_plotlyjs

from analysis.data.tables import Tables
from analysis.figures.data import FigureData
from analysis.figures.render import interactive, write_static
from analysis.figures.thinking import draw_steps, pages_data, write_gif
from analysis.report.build import Report
from analysis.report.sections import Section, leading_figures, sections_of
from analysis.statistics.effects import name_level
from lightning_modules.atomic_write import write_atomically
from rrm.errors import UserError
from sweeps.design.axes import AXIS_SETTINGS

if TYPE_CHECKING:
    from analysis.report.sections import Drawn

SHOWN_SETTINGS = ("task.kind", "task.size", "model.kind", *AXIS_SETTINGS, "model.state_reset", "fit.batch_size", "optim.lr")
CARTESIAN = "plotly-cartesian.min.js"  # plotly's script for figures with two axes, from npm: plotly.js-cartesian-dist-min


def write_report(report: Report, folder: Path, title: str, commands: list[str]) -> Path:
    """Writes `report.html`, every figure as PNG and SVG, and the tables as CSV and Parquet.

    Args:
        commands: shell commands that make the report again; the page shows them.

    Returns:
        The path of the HTML page, which needs no network.

    Raises:
        UserError: the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(str(folder), f"cannot be written: {error.strerror}") from None
    _write_tables(report, folder)
    for figure in report.drawn:
        write_static(figure, folder) if isinstance(figure, FigureData) else figure.write_static(folder)
    if report.thought is not None:
        write_atomically(folder / "thinking.gif", write_gif(report.thought))
        write_static(draw_steps(report.thought), folder)
    path = folder / "report.html"
    write_atomically(path, render_page(report, title, commands))
    return path


def render_page(report: Report, title: str, commands: list[str], *, has_files: bool = True) -> str:
    """The HTML of a report, which needs no network.

    Args:
        commands: shell commands that make the report again.
        has_files: whether its figures lie beside it as files.
    """
    environment = Environment(loader=PackageLoader("analysis.report", "."), autoescape=select_autoescape(["html"]))
    environment.filters["draw"] = _draw
    sections = sections_of(report)
    return environment.get_template("report.html").render(
        title=title,
        question=_question(report.tables),
        shared=_shared_settings(report.tables),
        counts=report.tables.trials["outcome"].value_counts().to_dict(),
        answer=report.answer,
        terms=report.terms,
        notes=report.tables.notes,
        leading=leading_figures(report.drawn),
        following=report.following,
        sections=sections,
        place_of=_places(sections),
        commands=commands,
        thought=report.thought,
        thinking=json.dumps(pages_data(report.thought)) if report.thought else "",
        has_files=has_files,
        plotly=_plotly_script(report),
    )


def _places(sections: list[Section]) -> dict[str, str]:
    """The section of each figure that does not lead the page."""
    return {figure.name: section.name for section in sections for figure in section.figures}


def _plotly_script(report: Report) -> str:
    """Plotly's script: the whole one for a search, because parallel coordinates are no figure with two axes."""
    return get_plotlyjs() if report.search_plots else files("analysis.report").joinpath(CARTESIAN).read_text(encoding="utf-8")


def _draw(figure: "Drawn") -> str:
    """The HTML of a figure, for a page that has plotly's script."""
    drawing = interactive(figure) if isinstance(figure, FigureData) else figure.interactive()
    config: dict[str, Any] = {"displaylogo": False, "responsive": True}
    return str(plotly.io.to_html(drawing, full_html=False, include_plotlyjs=False, config=config))


def _question(tables: Tables) -> str:
    """The description of the sweep; empty for several sweeps, and for a table without a spec."""
    descriptions = {str(spec.get("description", "")) for spec in tables.specs}
    return descriptions.pop() if len(descriptions) == 1 else ""


def _shared_settings(tables: Tables) -> str:
    """The settings that all completed trials share, as one line under the title."""
    completed = tables.completed
    shared = [name for name in SHOWN_SETTINGS if name in completed and name not in tables.varied and completed[name].nunique() == 1]
    named = [name_level(name, completed[name].iloc[0]) for name in shared]
    if "fit.budget.amount" in completed and completed["fit.budget.amount"].nunique() == 1 and "matching" in completed:
        named.append(f"{completed['fit.budget.amount'].iloc[0]:,.10g} {str(completed['matching'].iloc[0]).replace('_', ' ')}")
    return ", ".join(named)


def _write_tables(report: Report, folder: Path) -> None:
    tables = {"trials": report.tables.trials, "curves": report.tables.curves, "cells": report.cells, "outcomes": report.outcomes}
    if len(report.records):
        tables["records"] = report.records
    if len(report.tables.items):
        tables["items"] = report.tables.items
    for name, table in tables.items():
        write_atomically(folder / f"{name}.csv", table.to_csv(index=False))
        write_atomically(folder / f"{name}.parquet", _uniform(table).to_parquet(index=False))


def _uniform(table: pd.DataFrame) -> pd.DataFrame:
    """The table with columns of mixed types as text, because Parquet requires one type per column."""
    mixed = [name for name in table if table[name].dtype == object]
    uniform = table.copy()
    for name in mixed:
        absent = table[name].isna()
        uniform[name] = table[name].map(lambda value: value if isinstance(value, str) else str(value)).mask(absent, None)
    return uniform
