"""`rrm-analyze`: from finished runs to tables, figures and a report."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from rrm.errors import UserError
from sweeps.command_line import run_app
from sweeps.store import Store

if TYPE_CHECKING:
    from analysis.report import Report

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def analyze(
    sweeps: Annotated[
        list[str],
        typer.Argument(metavar="SWEEP...", help="A sweep's folder (runs/demo), its spec, or with --tracking-uri its MLflow name."),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Where to write; default: report/ in the sweep's folder."),
    ] = None,
    tracking_uri: Annotated[
        str | None, typer.Option("--tracking-uri", metavar="URI", help="Read MLflow, such as sqlite:///runs/mlflow.db.")
    ] = None,
) -> None:
    """Write report.html, PNG and SVG figures, and the tables as CSV and Parquet; print the answer and the table of cells."""
    from analysis.report import build_report, write_report  # plots take seconds to import
    from analysis.tables import load, merge, store_location

    if out is None and tracking_uri is not None:
        raise UserError("is needed with --tracking-uri: a folder to write into", "--out")
    tables = merge([load(sweep, tracking_uri) for sweep in sweeps])
    if tables.completed.empty:
        raise UserError("has no completed trial yet: nothing to compare", ", ".join(sweeps))
    folder = out or Store(store_location(sweeps[0])).driver_folder / "report"
    options = f" --tracking-uri {tracking_uri}" if tracking_uri else ""
    report = build_report(tables)
    names = tables.trials["sweep"].unique()
    path = write_report(report, folder, " and ".join(names), [f"rrm-analyze {' '.join(sweeps)}{options} --out {folder}"])
    _print(report, path)


def _print(report: "Report", path: Path) -> None:
    """The table of cells and the answer, for a terminal."""
    from analysis.report import readable_cells

    console = Console()
    cells = readable_cells(report)
    table = Table(
        title="exact accuracy on test by cell, each at D = N_sup", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    for column in cells.columns:
        table.add_column(column, justify="right", no_wrap=True)
    for row in cells.itertuples(index=False, name=None):
        table.add_row(*map(str, row))
    console.print(table)
    for sentence in report.answer:
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)
    console.print(f"report: {path}", markup=False, highlight=False, soft_wrap=True)


def main() -> None:
    run_app(app, "rrm-analyze")


if __name__ == "__main__":
    main()
