"""The finished trials of a sweep that MLflow lacks."""

from collections.abc import Collection

from mlflow import MlflowClient

from sweeps.tracking.mlflow import FINGERPRINT, IDENTITY
from sweeps.tracking.mlflow.address import is_absent
from sweeps.tracking.mlflow.destination import Destination
from sweeps.tracking.mlflow.experiment import check_active, find_experiment
from sweeps.tracking.mlflow.runs import all_runs
from sweeps.tracking.mlflow.words import ENDED


def find_missing(destination: Destination, finished: Collection[str]) -> set[str]:
    """Fingerprints of finished trials that have no ended run.

    Raises:
        UserError: the experiment is deleted, or holds another sweep; or it lacks trials, and this store is a copy of the original.
        Exception: MLflow does not answer.
    """
    if is_absent(destination.uri):
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
