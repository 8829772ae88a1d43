"""The experiment of a sweep, with tags that name the sweep and the location of its store."""

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mlflow import MlflowClient
from mlflow.entities import Experiment, ViewType
from mlflow.store.db import utils as database

from rrm.errors import UserError
from sweeps.store.store import Store
from sweeps.tracking.mlflow import FINGERPRINT, IDENTITY, LOCATION, SWEEP
from sweeps.tracking.mlflow.destination import Destination
from sweeps.tracking.mlflow.runs import all_runs
from sweeps.tracking.secrets import blank_secrets

database.MAX_RETRY_COUNT = 1  # MLflow's 10 tries to reach a database take 2 minutes; the thread of `Delivery` tries again itself
DELETED = "deleted"
DEFAULT_EXPERIMENT = "0"
# Columns of MLflow's tables that hold the place of an artifact.
PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def open_experiment(client: MlflowClient, destination: Destination) -> Experiment:
    """The active experiment of a sweep; creates it where there is none.

    Raises:
        UserError: it holds another sweep, or it is deleted.
    """
    experiment = find_experiment(client, destination)
    if experiment is not None:
        check_active(experiment, destination)
        return experiment
    root = destination.artifact_root
    number = client.create_experiment(
        destination.sweep,
        artifact_location=_artifact_location(root, destination.sweep) if root else None,
        tags=_claim_tags(destination),
    )
    return client.get_experiment(number)


def find_experiment(client: MlflowClient, destination: Destination) -> Experiment | None:
    """The experiment that bears the sweep's name, which may be deleted; None where there is none.

    Raises:
        UserError: it holds another sweep, or the original of which this store is a copy.
    """
    experiment = client.get_experiment_by_name(destination.sweep)
    if experiment is None:
        return None
    if experiment.experiment_id == DEFAULT_EXPERIMENT:
        raise UserError(
            "name", f"is MLflow's experiment 0, which all programs share, got {destination.sweep!r}; {destination.renaming}"
        )
    identity, location = experiment.tags.get(IDENTITY), experiment.tags.get(LOCATION)
    if identity is not None and identity == destination.identity:
        if location is not None and location != destination.location and Store(destination.location).is_copy_of(location):
            raise _copy_error(experiment, destination, location)
    elif identity is not None or not _is_ours(client, experiment, destination):
        raise _other_sweep_error(experiment, location, destination.renaming)
    return experiment


def check_experiment(destination: Destination) -> None:
    """Refuse a sweep whose name another sweep has; changes nothing.

    Raises:
        UserError: see `find_experiment`.
    """
    find_experiment(MlflowClient(tracking_uri=destination.uri), destination)


def claim(client: MlflowClient, experiment: Experiment, destination: Destination) -> None:
    """Write the tags that name this sweep and the location of its store, where they are absent or differ."""
    for name, value in _claim_tags(destination).items():
        if experiment.tags.get(name) != value:
            client.set_experiment_tag(experiment.experiment_id, name, value)


def check_active(experiment: Experiment, destination: Destination) -> None:
    """Refuse a deleted experiment.

    Raises:
        UserError: it is deleted; the line has the command that restores it.
    """
    if experiment.lifecycle_stage == DELETED:
        number = experiment.experiment_id
        prefix = f"MLFLOW_TRACKING_URI={destination.uri} " if destination.artifact_root else ""
        raise UserError(_name(experiment), f"is deleted; restore it: {prefix}mlflow experiments restore --experiment-id {number}")


def move_artifacts(experiment: Experiment, destination: Destination) -> bool:
    """Correct the places of artifacts in the database beside the sweeps after its folder was moved; returns whether one was wrong.

    New artifacts go to the present folder. Places of earlier ones are corrected where their old folder is gone.
    """
    root = destination.artifact_root
    if root is None:
        return False
    expected, stored = _artifact_location(root, destination.sweep), experiment.artifact_location or ""
    suffix = f"/{root.name}/{destination.sweep}"
    if stored == expected or not stored.startswith("file:") or not stored.endswith(suffix):
        return False
    old = stored.removesuffix(f"/{destination.sweep}")
    places = PLACES[:1] if Path(unquote(urlsplit(old).path)).exists() else PLACES
    with closing(sqlite3.connect(destination.uri.removeprefix("sqlite:///"), timeout=20)) as connection, connection:
        for table, column in places:
            connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                (expected, len(stored) + 1, stored, len(stored) + 1, f"{stored}/"),
            )
    return True


def _claim_tags(destination: Destination) -> dict[str, str]:
    return {} if destination.identity is None else {IDENTITY: destination.identity, LOCATION: destination.location}


def _artifact_location(root: Path, sweep: str) -> str:
    return (root / sweep).resolve().as_uri()


def _is_ours(client: MlflowClient, experiment: Experiment, destination: Destination) -> bool:
    """Whether an experiment without an identity holds no sweep, or this one."""
    if (experiment.experiment_id, experiment.creation_time or 0) == destination.last_experiment:
        return True
    runs = [run.data.tags for run in all_runs(client, experiment.experiment_id, ViewType.ALL)]
    trials = {tags[FINGERPRINT] for tags in runs if FINGERPRINT in tags}
    if trials:
        return bool(trials & destination.old_trials)
    return bool(destination.old_trials) or not any(SWEEP in tags for tags in runs)


def _name(experiment: Experiment) -> str:
    return f"MLflow's experiment {experiment.name!r} (ID {experiment.experiment_id})"


def _other_sweep_error(experiment: Experiment, location: str | None, renaming: str) -> UserError:
    number, where = experiment.experiment_id, f" at {blank_secrets(location)}" if location else ""
    remedy = f"choose another one: {renaming}"
    if experiment.lifecycle_stage == DELETED:
        remedy += f", or remove that experiment for good: mlflow gc --experiment-ids {number}"
    else:
        remedy += f", or rename that experiment: mlflow experiments rename --experiment-id {number} --new-name OTHER"
    deleted = ", which is deleted," if experiment.lifecycle_stage == DELETED else ""
    return UserError("name", f"is taken: {_name(experiment)}{deleted} holds another sweep of that name{where}; {remedy}")


def _copy_error(experiment: Experiment, destination: Destination, location: str) -> UserError:
    here = blank_secrets(destination.location)
    return UserError(
        "name",
        f"is taken: {_name(experiment)} holds the sweep at {blank_secrets(location)}, of which {here} is a copy; "
        "go on there, or rename the folder of the copy to NEW and run it with name=NEW",
    )
