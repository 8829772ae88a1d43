"""`rrm-analyze`: from finished runs to tables, figures and a report."""

import shlex
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from analysis.report.into_mlflow import Place, place_of, put_into_mlflow
from analysis.request import Request
from rrm.errors import UserError
from sweeps.cli.typer_app import STORAGE_HELP, SWEEP_HELP, run_app
from sweeps.store.find_store import find_store
from sweeps.store.store import Store

MAX_LINES_OF_A_LAW = 4

if TYPE_CHECKING:
    from analysis.data.tables import Tables
    from analysis.laws.fit import Fit
    from analysis.laws.law import Law
    from analysis.report.build import Report

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def analyze(
    sweeps: Annotated[
        list[str] | None,
        typer.Argument(metavar="SWEEP...", help=f"{SWEEP_HELP} With --tracking-uri its name in MLflow."),
    ] = None,
    storage: Annotated[str | None, typer.Option(help=STORAGE_HELP, show_default=False)] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Where to write; default for one sweep: report/ in its folder."),
    ] = None,
    tracking_uri: Annotated[
        str | None, typer.Option("--tracking-uri", metavar="URI", help="Read MLflow, such as sqlite:///runs/mlflow.db.")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Read a table of trials (CSV or Parquet) that somebody else made.")
    ] = None,
    curves: Annotated[Path | None, typer.Option("--curves", metavar="FILE", help="With --csv: its curves, a row a point.")] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option("--columns", metavar="OURS=THEIRS,...", help="With --csv: such as test/nll=eval_loss."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--settings", metavar="NAME,...", help="With --csv: further columns that tell cells apart."),
    ] = None,
    percent: Annotated[
        list[str] | None,
        typer.Option("--percent", metavar="NAME,...", help="With --csv: shares that are in percent, as test/exact_accuracy."),
    ] = None,
    inference_flops: Annotated[
        list[float] | None,
        typer.Option("--inference-flops", metavar="FLOPS", help="Recommend a size and R for this budget of an answer; repeatable."),
    ] = None,
    train_flops: Annotated[
        list[float] | None, typer.Option("--train-flops", metavar="FLOPS", help="The same for the training of one model.")
    ] = None,
    fits_only: Annotated[bool, typer.Option("--fits-only", help="Write fits.json alone.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Serve the report on 127.0.0.1 and follow the results.", show_default=False)
    ] = False,
    port: Annotated[
        int | None, typer.Option("--port", metavar="PORT", help="With --watch: its port; default: any free one.")
    ] = None,
    laws: Annotated[
        list[Path] | None, typer.Option("--laws", metavar="FILE", help="A file with laws of your own; repeatable.")
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Print all fits of laws and all sentences, not only the answer.", show_default=False)
    ] = False,
) -> None:
    """Write fits.json, report.html, PNG and SVG figures, and the tables as CSV and Parquet; print the answer and the cells."""
    request = Request(
        sweeps or [], storage, out, tracking_uri, csv, curves, columns or [], settings or [], percent or [], inference_flops or [],
        train_flops or [], fits_only, watch, port, verbose, laws or [],
    )  # fmt: skip
    request.check()
    if watch:
        follow_results(find_store(request.sweeps[0], storage), request)
    else:
        write_results(request)


def write_results(request: Request) -> None:
    """Write what a request asks for into its folder, and print the answer."""
    from analysis.laws.fit import write_fits
    from analysis.laws.fit_all import fit_laws, laws_of

    tables = request.read()
    request.check_costs(tables)
    laws = laws_of(tables)
    fits = fit_laws(tables, request.budgets, laws)
    notes = _notes(tables, fits, laws, request)
    report = None if request.fits_only else _build(tables, fits)
    folder = request.folder
    _make(folder)
    write_fits(folder / "fits.json", fits)
    if request.verbose or request.fits_only:
        _print_fits(fits)
    for note in notes:
        _say(note)
    if report is None:
        _say(f"fits: {folder / 'fits.json'}")
        return
    _write(report, folder, is_default_folder=request.out is None, verbose=request.verbose)
    if request.tracking_uri:
        put_into_mlflow([Place(request.tracking_uri, name) for name in dict.fromkeys(request.sweeps)], folder)
    elif request.csv is None:
        put_into_mlflow(list(map(place_of, request.stores)), folder)


def follow_results(store: Store, request: Request) -> None:
    """Serve the report of a sweep, and print a line for each new page, until Ctrl-C."""
    from analysis.data.tables import load_store
    from analysis.laws.fit_all import fit_laws
    from analysis.report.build import build_report
    from analysis.report.page import render_page
    from analysis.report.watch import watch

    def make_page() -> str:
        tables = request.with_laws(load_store(store))
        if tables.completed.empty:
            raise UserError(store.location, "has no completed trial yet")
        request.check_costs(tables)
        report = build_report(tables, fit_laws(tables, request.budgets))
        shown = report.answer[: len(report.missing) + 1]  # what is missing, and the first claim
        _say(f"{time.strftime('%H:%M:%S')} {' '.join(map(str, shown))}")
        return render_page(
            report, str(tables.trials["sweep"].iloc[0]), [shlex.join(["rrm-analyze", *_without_watch()])], has_files=False
        )

    watch(store, make_page, request.port, _say)


def _without_watch() -> list[str]:
    """The arguments of this process without those of --watch: they write the report."""
    arguments = [word for word in sys.argv[1:] if word != "--watch" and not word.startswith("--port=")]
    at = arguments.index("--port") if "--port" in arguments else len(arguments)
    return arguments[:at] + arguments[at + 2 :]


def _build(tables: "Tables", fits: "list[Fit]") -> "Report":
    """The report, with its sentences and figures, so that a law that cannot be used is refused before a folder is made."""
    from analysis.report.build import build_report

    report = build_report(tables, fits)
    _ = report.findings
    return report


def _write(report: "Report", folder: Path, *, is_default_folder: bool, verbose: bool) -> None:
    """Write the report into a folder and print its answer and cells."""
    from analysis.report.page import write_report  # plots take seconds to import

    titles = " and ".join(sorted(map(str, report.tables.trials["sweep"].unique())))
    command = shlex.join(["rrm-analyze", *sys.argv[1:], *(["--out", str(folder)] if is_default_folder else [])])
    _print(report, write_report(report, folder, titles, [command]), verbose=verbose)


def _notes(tables: "Tables", fits: "list[Fit]", laws: "list[Law]", request: Request) -> list[str]:
    """What was asked for or is usual, and cannot be said of this table."""
    from analysis.data.csv_notes import notes_on
    from analysis.laws.presentation import note_unanswered

    return [*(notes_on(tables) if request.csv else []), *note_unanswered(fits, request.budgets, laws)]


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(str(folder), f"cannot be written: {error.strerror}") from None


def _say(text: str) -> None:
    typer.echo(text)


def _print_fits(fits: "list[Fit]") -> None:
    """A line a fit; of a law that is fitted to every cell, a line with what became of them."""
    for law in dict.fromkeys(fit.law for fit in fits):
        own = [fit for fit in fits if fit.law == law]
        if len(own) <= MAX_LINES_OF_A_LAW:
            for fit in own:
                _say(str(fit))
            continue
        refused = Counter(fit.reason for fit in own if fit.reason is not None)
        reasons = ", ".join(f"{count} refused, {reason}" for reason, count in refused.items())
        _say(", ".join(filter(None, (f"{law}: {len(own)} fits in fits.json", f"{len(own) - refused.total()} fitted", reasons))))


def _print(report: "Report", path: Path, *, verbose: bool) -> None:
    """The answer, then the table of cells: on a terminal in its width, elsewhere as wide as it is."""
    from analysis.report.readable import readable_cells, readable_records
    from analysis.report.terminal import lay_out

    for sentence in [*report.missing, *report.findings] if verbose else report.answer:
        _say(str(sentence))
    if report.terms:
        _say("\n".join(["", *(f"{term}." for term in report.terms)]))
    console = Console()
    shown = {
        "best cell for each task and budget": readable_records(report),
        "exact accuracy on test by cell, each at D = N_sup": readable_cells(report, brief=True),
    }
    for title, table in shown.items():
        if len(table.columns):
            lines = lay_out(table, console.width if console.is_terminal else None)
            _say("\n".join(["", title, *lines]))
    if any(len(table.columns) for table in shown.values()):
        _say("")
    if report.following is not None:
        _say(f"next: {report.following.reason} {report.following.cost} The report has the spec.")
    _say(f"report: {path}")


def main() -> None:
    run_app(app, "rrm-analyze")


if __name__ == "__main__":
    main()
