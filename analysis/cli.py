"""`rrm-analyze`: from finished runs to tables, figures and a report."""

import math
import shlex
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer
from rich.console import Console

from rrm.errors import UserError, usage_error
from rrm.files import expand_home
from sweeps.cli.typer_app import STORAGE_HELP, SWEEP_HELP, run_app
from sweeps.store.find_store import find_store
from sweeps.store.store import Store
from sweeps.tracking.mlflow.address import local_root
from sweeps.tracking.mlflow.address import tracking_uri as default_tracking_uri

MAX_LINES_OF_A_LAW = 4
MAX_PORT = 65536

if TYPE_CHECKING:
    from analysis.data.tables import Tables
    from analysis.laws.fit import Fit
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
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Print all fits of laws and all sentences, not only the answer.", show_default=False)
    ] = False,
) -> None:
    """Write fits.json, report.html, PNG and SVG figures, and the tables as CSV and Parquet; print the answer and the cells."""
    from analysis.data.csv_import import load_csv
    from analysis.laws.fit import write_fits
    from analysis.laws.fit_all import fit_laws

    budgets = {"inference_flops": inference_flops or [], "train_flops": train_flops or []}
    others: dict[str, object] = {
        "--fits-only": fits_only,
        "--csv": csv,
        "--tracking-uri": tracking_uri,
        "--out": out,
        "--verbose": verbose,
    }
    _check_watch(sweeps or [], others, watch, port)
    _check(sweeps or [], out, tracking_uri, csv, storage, has_parts=curves is not None or any((columns, settings, percent)))
    _check_budgets(budgets)
    if watch:
        follow_results(find_store((sweeps or [])[0], storage), budgets, port)
        return
    stores = [] if csv or tracking_uri else _select_stores(sweeps or [], storage)
    if csv is not None:
        tables = load_csv(csv, curves, columns or [], settings or [], percent or [])
    else:
        tables = _read_sweeps(stores, sweeps or [], tracking_uri, out)
    if tables.completed.empty:
        raise UserError(", ".join(sweeps or [str(csv)]), "has no completed trial yet: nothing to compare")
    _check_costs(budgets, tables)
    folder = Path(expand_home(out)) if out else stores[0].driver_folder / "report"
    _make(folder)
    fits = fit_laws(tables, budgets)
    write_fits(folder / "fits.json", fits)
    if verbose or fits_only:
        _print_fits(fits)
    for note in _notes(tables, fits, budgets, foreign=csv is not None):
        _say(note)
    if fits_only:
        _say(f"fits: {folder / 'fits.json'}")
        return
    _report(tables, fits, folder, is_default_folder=out is None, verbose=verbose)
    if csv is None:
        places = (
            [Place(tracking_uri, name) for name in dict.fromkeys(sweeps or [])] if tracking_uri else list(map(place_of, stores))
        )
        put_into_mlflow(places, folder)


def follow_results(store: Store, budgets: dict[str, list[float]], port: int | None) -> None:
    """Serve the report of a sweep, and print a line for each new page, until Ctrl-C."""
    from analysis.data.tables import load_store
    from analysis.laws.fit_all import fit_laws
    from analysis.report.build import build_report
    from analysis.report.page import render_page
    from analysis.report.watch import watch

    def make_page() -> str:
        tables = load_store(store)
        if tables.completed.empty:
            raise UserError(store.location, "has no completed trial yet")
        _check_costs(budgets, tables)
        report = build_report(tables, fit_laws(tables, budgets))
        shown = report.answer[: len(report.missing) + 1]  # what is missing, and the first claim
        _say(f"{time.strftime('%H:%M:%S')} {' '.join(map(str, shown))}")
        return render_page(
            report, str(tables.trials["sweep"].iloc[0]), [shlex.join(["rrm-analyze", *_without_watch()])], has_files=False
        )

    watch(store, make_page, port, _say)


def _without_watch() -> list[str]:
    """The arguments of this process without those of --watch: they write the report."""
    arguments = [word for word in sys.argv[1:] if word != "--watch" and not word.startswith("--port=")]
    at = arguments.index("--port") if "--port" in arguments else len(arguments)
    return arguments[:at] + arguments[at + 2 :]


def _read_sweeps(stores: list[Store], names: list[str], tracking_uri: str | None, out: Path | None) -> "Tables":
    """The tables of several sweeps as one, from their stores, or by their names in MLflow.

    Raises:
        UserError: a sweep cannot be read, or several have no folder for their report.
    """
    from analysis.data.tables import load, load_store, merge

    if len(stores) > 1 and out is None:
        raise UserError("--out", "is needed for several sweeps: a folder for the report of all, such as --out report")
    return merge([load(name, tracking_uri) for name in dict.fromkeys(names)] if tracking_uri else [*map(load_store, stores)])


def _report(tables: "Tables", fits: "list[Fit]", folder: Path, *, is_default_folder: bool, verbose: bool) -> None:
    """Write the report into a folder and print its answer and cells."""
    from analysis.report.build import build_report
    from analysis.report.page import write_report  # plots take seconds to import

    report = build_report(tables, fits)
    titles = " and ".join(sorted(map(str, tables.trials["sweep"].unique())))
    command = shlex.join(["rrm-analyze", *sys.argv[1:], *(["--out", str(folder)] if is_default_folder else [])])
    _print(report, write_report(report, folder, titles, [command]), verbose=verbose)


def _check(
    sweeps: list[str], out: Path | None, tracking_uri: str | None, csv: Path | None, storage: str | None, *, has_parts: bool
) -> None:
    """Refuse options that do not go together."""
    if not sweeps and csv is None:
        raise usage_error("Missing argument 'SWEEP...', or --csv FILE", "rrm-analyze")
    if sweeps and csv is not None:
        raise usage_error("needs either sweeps or --csv FILE, got both", "rrm-analyze")
    if csv is None and has_parts:
        raise UserError("--curves, --columns, --settings and --percent", "have no effect without --csv")
    if storage is not None and (tracking_uri is not None or csv is not None):
        raise UserError("--storage", "has no effect with --tracking-uri and --csv: leave it out")
    if out is None and (tracking_uri is not None or csv is not None):
        raise UserError("--out", "is needed with --tracking-uri and --csv: a folder to write into")


def _check_watch(sweeps: list[str], others: Mapping[str, object], watch: bool, port: int | None) -> None:
    """Refuse what --watch has no use for, and --port without it."""
    if not watch:
        if port is not None:
            raise UserError("--port", "has no effect without --watch: leave it out")
        return
    given = next((name for name, value in others.items() if value), None)
    if given is not None:
        raise UserError(
            "--watch", f"serves the report of a sweep from its store, writes no file and prints a line a page: leave out {given}"
        )
    if len(sweeps) > 1:
        raise UserError("--watch", f"follows one sweep, got {len(sweeps)}: {', '.join(sweeps)}")
    if port is not None and not 0 < port < MAX_PORT:
        raise UserError("--port", f"must be between 1 and {MAX_PORT - 1}, got {port}")


def _check_budgets(budgets: dict[str, list[float]]) -> None:
    for name, amounts in budgets.items():
        if any(not 0 < amount < math.inf for amount in amounts):
            raise UserError(f"--{name.replace('_', '-')}", f"must be a number of FLOPs above 0, got {min(amounts):g}")


def _check_costs(budgets: dict[str, list[float]], tables: "Tables") -> None:
    """A budget needs the cost that it is of."""
    for name, amounts in budgets.items():
        if amounts and name not in tables.completed:
            raise UserError(f"--{name.replace('_', '-')}", f"needs the column {name}, which the table does not have")


def _notes(tables: "Tables", fits: "list[Fit]", budgets: dict[str, list[float]], *, foreign: bool) -> list[str]:
    """What was asked for or is usual, and cannot be said of this table."""
    from analysis.data.csv_notes import notes_on
    from analysis.laws.fit_all import find_laws
    from analysis.laws.presentation import note_unanswered

    return [*(notes_on(tables) if foreign else []), *note_unanswered(fits, budgets, find_laws())]


def _select_stores(targets: list[str], storage: str | None) -> list[Store]:
    """The stores of the sweeps, each once; among several targets, a path that holds no sweep (`runs/*`) is skipped with a line."""
    from analysis.data.tables import NO_TRIALS

    stores: dict[str, Store] = {}
    skipped: dict[str, str] = {}
    for target in targets:
        try:
            store = find_store(target, storage)
        except UserError as error:
            if len(targets) == 1 or error.where == "--storage" or not Path(expand_home(target)).exists():
                raise  # a mistyped name or an option without effect is not skipped
            skipped[target] = error.problem.partition("; ")[0]
            continue
        if len(targets) > 1 and not store.finished():
            skipped[target] = NO_TRIALS
        else:
            stores.setdefault(store.location, store)
    if not stores:
        raise UserError(", ".join(targets), "none of these is a sweep with finished trials")
    for target, reason in skipped.items():
        _say(f"skipped {target}: {reason}")
    return list(stores.values())


class Place(NamedTuple):
    """A sweep in MLflow."""

    uri: str
    name: str
    identity: str | None = None  # of its store; None where only MLflow is read


def place_of(store: Store) -> Place:
    """The experiment of the sweep in a store."""
    storage, _, name = store.location.rstrip("/").rpartition("/")
    return Place(default_tracking_uri(local_root(storage)), name, store.identity())


def put_into_mlflow(sweeps: list[Place], folder: Path) -> None:
    """Put the report of one sweep into its MLflow run; print a line where that is not possible, since the report exists."""
    first, *others = sweeps
    if others:
        _say("not in MLflow: a report of several sweeps belongs to no single run; the run of each sweep keeps its own report")
        return
    from sweeps.tracking.mlflow.reports import FOLDER, log_report  # mlflow takes seconds to import

    try:
        log_report(first.uri, first.name, folder, first.identity)
    except UserError as error:
        _say(f"not in MLflow: {error}")
    else:
        _say(f"in MLflow: {first.name}, artifacts of its sweep under {FOLDER}/")


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
        _say("\n" + ". ".join(report.terms) + ".")
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
