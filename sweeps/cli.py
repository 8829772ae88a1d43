"""`rrm-sweep`: plan and run sweeps."""

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from rrm.errors import exit_on_user_error
from sweeps.spec import SweepSpec, load_spec

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Sweeps over recursive reasoning models: one YAML file, run by Ray, searched by Optuna, tracked by MLflow.",
)

SpecPath = Annotated[Path, typer.Argument(metavar="SPEC", help="The sweep's YAML file, such as sweeps/specs/demo.yaml.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[PATH=VALUE]...", help="Any field of the spec, such as trial.optim.lr=3e-4 or measure.seeds=5."),
]
Storage = Annotated[
    Path | None,
    typer.Option(envvar="RRM_STORAGE", help="Folder for results; overrides `storage` in the spec.", show_default=False),
]


@app.command()
def plan(spec: SpecPath, overrides: Overrides = None, storage: Storage = None) -> None:
    """Print the design, what each cell costs and how long it will take. Spends a few timed steps, writes nothing."""
    loaded = _load(spec, overrides, storage)
    from sweeps.plan import print_plan  # torch takes seconds to import

    cores = os.cpu_count() or 1
    limit = loaded.resources.max_concurrent
    fitting = max(1, int(cores / loaded.resources.cpus))
    print_plan(loaded, Console(), fitting if limit == "auto" else min(fitting, limit))


@app.command()
def run(spec: SpecPath, overrides: Overrides = None, storage: Storage = None) -> None:
    """Make the results equal to the spec: run what is missing, continue what was interrupted, leave what is finished.

    Type the same command again at any time. Exit code: 0 done, 1 some trials failed, 2 something to mend, 130 stopped.
    """
    loaded = _load(spec, overrides, storage)
    from sweeps.run import run_sweep

    command = shlex.join(["rrm-sweep", *sys.argv[1:]])
    raise typer.Exit(run_sweep(loaded, Console(), command))


def _load(path: Path, overrides: list[str] | None, storage: Path | None) -> SweepSpec:
    """The spec with its overrides, every trial and every data file checked."""
    stored = [f"storage={storage}"] if storage else []
    spec = load_spec(path, [*(overrides or []), *stored])
    spec.check_data()
    return spec


def main() -> None:
    exit_on_user_error(app)


if __name__ == "__main__":
    main()
