"""`rrm-sweep`: plan and run sweeps."""

import json
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from rrm.errors import UserError
from sweeps.cli.typer_app import STORAGE_HELP, SWEEP_HELP, run_app
from sweeps.store.find_store import choose_storage, find_store
from sweeps.store.store import LOCAL_STORAGE

if TYPE_CHECKING:
    from sweeps.spec.sweep import SweepSpec

Size = Literal["small", "medium", "large"]  # presets of `rrm-sweep new`
FILE_WIDTH = 400  # characters in a line of a table in a file or a pipe, so that no cell is cut

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Sweeps over recursive reasoning models: one YAML file, run by Ray, searched by Optuna, tracked by MLflow.",
)

SPEC_HELP = "The sweep's YAML file, such as sweeps/specs/demo.yaml, or the URI of spec.yaml in a sweep that was run or imported."
SpecPath = Annotated[str, typer.Argument(metavar="SPEC", help=SPEC_HELP)]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[PATH=VALUE]...", help="Any field of the spec, such as trial.optim.lr=3e-4 or measure.seeds=5."),
]
Target = Annotated[str, typer.Argument(metavar="SWEEP", help=SWEEP_HELP)]
Storage = Annotated[str | None, typer.Option(help=STORAGE_HELP, show_default=False)]
Address = Annotated[
    str | None,
    typer.Option(help="A running Ray cluster, such as head:6379 or auto; default: a new one on this machine.", show_default=False),
]


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the sweep; the file is NAME.yaml in the current folder.")],
    task: Annotated[str, typer.Option(metavar="KIND", help="Kind of the task; table for puzzles of your own.")] = "table",
    train: Annotated[str | None, typer.Option(metavar="FILE", help="Rows of a table; with --task official a folder.")] = None,
    test: Annotated[str | None, typer.Option(metavar="FILE|SHARE", help="Test rows of a table; default: a share of 0.2.")] = None,
    alphabet: Annotated[str | None, typer.Option(metavar="TEXT", help="Characters of a table whose cells are text.")] = None,
    pad: Annotated[str | None, typer.Option(metavar="CHARACTER", help="Character of such a table that is padding.")] = None,
    size: Annotated[Size, typer.Option(help="Preset of width, recursion and budget.")] = "small",
) -> None:
    """Write a commented spec with presets, and print its plan."""
    from sweeps.cli.new import make_spec
    from sweeps.planning.plan import print_plan

    options = {"--train": train, "--test": test, "--alphabet": alphabet, "--pad": pad}
    path, spec = make_spec(name, task, options, size)
    typer.echo(f"wrote {path}; the next commands are rrm-sweep run {path}, then rrm-analyze {name}")
    print_plan(spec, Console())


@app.command()
def plan(spec: SpecPath, overrides: Overrides = None, storage: Storage = None) -> None:
    """Print the design, the cost of each cell and the time of the sweep. Times a few steps, writes nothing."""
    loaded = _load(spec, overrides, storage)
    from sweeps.planning.plan import print_plan

    print_plan(loaded, Console())


@app.command()
def run(spec: SpecPath, overrides: Overrides = None, storage: Storage = None, address: Address = None) -> None:
    """Make the results equal to the spec: run what is missing, continue what was interrupted, leave what is finished.

    Type the same command again at any time. Exit code: 0 done, 1 some trials failed, 2 a mistake to fix, 130 stopped.
    """
    loaded = _load(spec, overrides, storage)
    from sweeps.driver.run import run_sweep

    command = shlex.join(["rrm-sweep", *sys.argv[1:]])
    raise typer.Exit(run_sweep(loaded, Console(), command, address))


@app.command()
def submit(
    spec: SpecPath,
    address: Annotated[
        str, typer.Option(envvar="RAY_API_SERVER_ADDRESS", help="URL of the cluster's dashboard, such as http://head:8265.")
    ],
    overrides: Overrides = None,
    storage: Storage = None,
    wait: Annotated[bool, typer.Option(help="Follow the job's log until it ends.")] = True,
) -> None:
    """Run a sweep as a job of a Ray cluster: its driver runs on the cluster, and this terminal may be closed.

    Every node must have this project installed, and the storage and every data file under the same path.
    """
    loaded = _load(spec, overrides, storage, sees_storage=False)  # the job can read the storage, this machine need not
    from sweeps.cli.submit import submit_sweep

    raise typer.Exit(submit_sweep(loaded, address, wait))


@app.command()
def status(target: Target, storage: Storage = None) -> None:
    """Print the progress of a sweep from its store, also while another process or another machine runs it."""
    from sweeps.cli.status import read_status

    for line in read_status(find_store(target, storage)).lines():
        typer.echo(line)


@app.command("list")
def list_sweeps(storage: Storage = None) -> None:
    """Print the sweeps of a storage, newest first: state, trials, best score, size and time of the last change."""
    from sweeps.cli.listing import list_entries, list_table

    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = FILE_WIDTH
    console.print(list_table(list_entries(choose_storage(storage) or str(LOCAL_STORAGE))))


@app.command()
def export(
    target: Target,
    to: Annotated[Literal["parquet", "wandb"], typer.Option("--to", help="One file, or runs of Weights & Biases.")],
    out: Annotated[Path | None, typer.Option(help="The file; default: SWEEP.parquet here.", show_default=False)] = None,
    storage: Storage = None,
) -> None:
    """Write a sweep into one file, without weights and data, of which `rrm-sweep import` makes a sweep; or into wandb."""
    from sweeps.moving.export_sweep import export_sweep
    from sweeps.moving.export_wandb import export_to_wandb

    if to == "wandb":
        if out is not None:
            raise UserError("--out", "has no effect with --to wandb: leave it out")
        typer.echo(export_to_wandb(find_store(target, storage)))
        return
    typer.echo(export_sweep(find_store(target, storage), out))


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that `rrm-sweep export --to parquet` wrote.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[name=NEW]", help="Another name for the sweep.")] = None,
    storage: Storage = None,
) -> None:
    """Make a sweep of an exported one. `run` of its spec.yaml continues it; what is finished is not run again."""
    from sweeps.moving.import_sweep import import_sweep

    typer.echo(import_sweep(file, choose_storage(storage) or str(LOCAL_STORAGE), overrides or []))


@app.command()
def ui(
    target: Target,
    storage: Storage = None,
    study: Annotated[bool, typer.Option("--study", help="Show the Optuna dashboard on a search's study instead.")] = False,
    port: Annotated[int | None, typer.Option(help="Port of the server; default: 5000 (8080 for --study), or any free one.")] = None,
    browser: Annotated[bool, typer.Option(help="Open the link in a browser.")] = True,
) -> None:
    """Open MLflow on a sweep, best trial first, and print the link. Serves the local database until Ctrl-C."""
    from sweeps.cli.ui import show_runs, show_study

    raise typer.Exit((show_study if study else show_runs)(find_store(target, storage), port, browser))


@app.command()
def schema(
    spec: Annotated[Path | None, typer.Argument(metavar="[SPEC]", help="A sweep whose plug-ins have kinds of their own.")] = None,
) -> None:
    """Print the JSON Schema of a sweep, for editors: `rrm-sweep schema > sweep.schema.json`."""
    from lightning_modules.yaml_file import read_yaml
    from rrm.plugins import read_plugins
    from rrm.registry import registry_of
    from sweeps.spec.json_schema import sweep_schema

    plugins = read_plugins(read_yaml(spec).get("plugins"), spec.parent) if spec else ()
    typer.echo(json.dumps(sweep_schema(registry_of(plugins)), indent=1))


@app.command()
def doctor(storage: Storage = None) -> None:
    """Check versions, plug-ins, cores, GPUs, storage, data cache, tracking server and clock. Exit code 1 if something is bad."""
    from sweeps.cli.doctor import examine

    findings = list(examine(choose_storage(storage) or str(LOCAL_STORAGE)))
    for finding in findings:
        typer.echo(str(finding))
    raise typer.Exit(any(finding.state == "bad" for finding in findings))


def _load(target: str, overrides: list[str] | None, storage: str | None, sees_storage: bool = True) -> "SweepSpec":
    """The spec with its overrides, every trial and every data file checked.

    Args:
        target: the file, or the URI of the spec in a store.
        sees_storage: whether this machine can read the storage, and so find a sweep that was begun.
    """
    from sweeps.planning.load_sweep import load_sweep
    from sweeps.spec.data import check_data  # torch takes seconds to import
    from sweeps.spec.load_spec import load_spec
    from sweeps.store.stored_spec import local_spec
    from sweeps.tracking.trackers import find_tracker

    is_typed = any(override.startswith("storage=") for override in overrides or [])
    if is_typed and storage:
        raise UserError("--storage", f"and an override of storage are both given, got {storage!r}: leave one of them out")
    chosen = None if is_typed else choose_storage(storage)
    stored = [f"storage={json.dumps(chosen)}"] if chosen else []
    with local_spec(target) as path:
        spec = (load_sweep if sees_storage else load_spec)(path, [*(overrides or []), *stored])
    check_data(spec)
    find_tracker(spec)
    if spec.kept_defaults:
        typer.echo(spec.kept_defaults)
    return spec


def main() -> None:
    # Ray reads the variable when it is imported; with it, Ray accepts work only with a token.
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a container is stopped by SIGTERM, and ends as by Ctrl-C
    run_app(app, "rrm-sweep")


if __name__ == "__main__":
    main()
