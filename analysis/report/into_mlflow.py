"""A report as artifacts of its sweep's own run in MLflow."""

from pathlib import Path
from typing import NamedTuple

import typer

from rrm.errors import UserError
from sweeps.store.store import Store
from sweeps.tracking.mlflow.address import local_root
from sweeps.tracking.mlflow.address import tracking_uri as default_tracking_uri


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
        typer.echo("not in MLflow: a report of several sweeps belongs to no single run; the run of each sweep keeps its own report")
        return
    from sweeps.tracking.mlflow.reports import FOLDER, log_report  # mlflow takes seconds to import

    try:
        log_report(first.uri, first.name, folder, first.identity)
    except UserError as error:
        typer.echo(f"not in MLflow: {error}")
    else:
        typer.echo(f"in MLflow: {first.name}, artifacts of its sweep under {FOLDER}/")
