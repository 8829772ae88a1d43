"""A report as artifacts of the run of its sweep."""

from pathlib import Path

from mlflow.exceptions import MlflowException

from rrm.errors import UserError, first_line
from sweeps.tracking.mlflow import IDENTITY, SWEEP
from sweeps.tracking.mlflow.reader import find_sweep
from sweeps.tracking.secrets import blank_secrets

FOLDER = "report"
KINDS = (".html", ".png", ".svg", ".json", ".csv")  # Parquet holds the same as CSV


def log_report(tracking_uri: str, sweep: str, folder: Path, identity: str | None = None) -> None:
    """Replace the report of a sweep by the files of a folder.

    Args:
        identity: identity of the sweep's store, if it is known; another sweep of the same name keeps its report.

    Raises:
        UserError: MLflow does not hold the sweep, holds another one of its name, or does not answer.
    """
    client, experiment = find_sweep(tracking_uri, sweep)
    if experiment and identity and experiment.tags.get(IDENTITY, identity) != identity:
        raise UserError(blank_secrets(tracking_uri), f"holds another sweep named {sweep!r}")
    try:
        runs = client.search_runs([experiment.experiment_id], f"tags.`{SWEEP}` = '{sweep}'", max_results=1) if experiment else []
        if not runs:
            raise UserError(blank_secrets(tracking_uri), f"has no run of a sweep named {sweep!r}")
        for file in sorted(folder.iterdir()):
            if file.suffix in KINDS:
                client.log_artifact(runs[0].info.run_id, str(file), FOLDER)
    except (MlflowException, OSError) as error:
        why = first_line(error, blank_secrets)
        raise UserError(blank_secrets(tracking_uri), f"cannot be written to: {why}") from None
