"""What MLflow lacks of a sweep."""

from collections.abc import Collection
from pathlib import Path

from mlflow import MlflowClient

from sweeps.store.store import SQLITE
from sweeps.tracking.destination import Destination
from sweeps.tracking.mlflow import FINGERPRINT, IDENTITY
from sweeps.tracking.mlflow.experiment import check_active, find_experiment
from sweeps.tracking.mlflow.runs import all_runs

ENDED = {"FINISHED", "FAILED", "KILLED"}


def find_missing(destination: Destination, finished: Collection[str]) -> set[str]:
    """Fingerprints of finished trials that have no ended run.

    Raises:
        UserError: the experiment is deleted, or holds another sweep; or it lacks trials, and this store is a copy of its own.
        Exception: MLflow does not answer.
    """
    database = destination.uri.removeprefix(SQLITE)
    if database != destination.uri and not Path(database).exists():  # a client would make it
        return set(finished)
    client = MlflowClient(tracking_uri=destination.uri)
    experiment = client.get_experiment_by_name(destination.sweep)
    if experiment is None:
        return set(finished)
    is_ours = destination.identity is not None and experiment.tags.get(IDENTITY) == destination.identity
    if not is_ours:
        find_experiment(client, destination)
    check_active(experiment, destination)
    runs = all_runs(client, experiment.experiment_id)
    ended = {run.data.tags.get(FINGERPRINT) for run in runs if run.info.status in ENDED}
    missing = set(finished) - ended
    if missing:
        find_experiment(client, destination)
    return missing
