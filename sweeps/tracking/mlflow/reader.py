"""Reading runs back: records and curves of a sweep as MLflow holds them."""

import tempfile
from collections.abc import Collection, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from mlflow import MlflowClient
from mlflow.entities import Experiment, Run
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from lightning_modules.columns import axis_of, current_name
from rrm.errors import UserError, first_line
from sweeps.tracking.curves_file import SCHEMA, curve_table, read_curves
from sweeps.tracking.mlflow import CURVES, FINGERPRINT, KIND, SPEC, SWEEP
from sweeps.tracking.mlflow.runs import all_runs
from sweeps.tracking.secrets import blank_secrets

TEXT_TAGS = ("reason", "matching", "training_fingerprint", "data_fingerprint", "stage", "device", "scored_from")


class TrackedSweep(NamedTuple):
    """A sweep as MLflow holds it."""

    records: list[dict[str, Any]]
    curves: pa.Table  # columns of `sweeps.tracking.curves_file.SCHEMA`
    kind: str  # search or measure
    spec: str | None  # YAML; None where the sweep's run does not have it
    ended: dict[str, float]  # by fingerprint, in milliseconds since 1970; runs that have not ended are absent


def find_sweep(tracking_uri: str, sweep: str) -> tuple[MlflowClient, Experiment | None]:
    """A client and the experiment of a sweep; None when there is none.

    Raises:
        UserError: MLflow cannot be read at this URI.
    """
    database = Path(tracking_uri.removeprefix("sqlite:///"))
    if tracking_uri.startswith("sqlite:") and not database.exists():  # it would be created
        raise UserError(str(database), "is not there")
    try:
        client = MlflowClient(tracking_uri=tracking_uri)
        return client, client.get_experiment_by_name(sweep)
    except (MlflowException, SQLAlchemyError, ValueError, ImportError) as error:
        why = first_line(error, blank_secrets)
        raise UserError(blank_secrets(tracking_uri), f"cannot be read as a tracking URI: {why}") from None


def read_runs(tracking_uri: str, sweep: str) -> TrackedSweep | None:
    """Records, curves and kind of a sweep; None when there is no such experiment.

    Columns have the names of the store's records; params come back as numbers where they are numbers.

    Raises:
        UserError: MLflow cannot be read at this URI.
    """
    client, experiment = find_sweep(tracking_uri, sweep)
    if experiment is None:
        return None
    runs = list(all_runs(client, experiment.experiment_id))
    parent = next((run for run in runs if SWEEP in run.data.tags), None)
    children = [run for run in runs if FINGERPRINT in run.data.tags]
    kind = parent.data.tags[KIND] if parent else "measure"
    ended = {run.data.tags[FINGERPRINT]: run.info.end_time for run in children if run.info.end_time}
    spec = _read_artifact(client, parent, SPEC)
    text = None if spec is None else spec.decode()
    return TrackedSweep([_record(run) for run in children], _curves(client, parent, children), kind, text, ended)


def read_files(tracking_uri: str, sweep: str, name: str, trials: Collection[str] | None = None) -> Iterator[tuple[str, bytes]]:
    """Fingerprint and content of a file of finished trials (None: all) that have one, such as `items.parquet` or `thinking.npz`."""
    client, experiment = find_sweep(tracking_uri, sweep)
    runs = list(all_runs(client, experiment.experiment_id)) if experiment else []
    for run in runs:
        fingerprint = run.data.tags.get(FINGERPRINT)
        if fingerprint is None or (trials is not None and fingerprint not in trials):
            continue
        content = _read_artifact(client, run, name)
        if content is not None:
            yield fingerprint, content


def _read_artifact(client: MlflowClient, run: Run | None, name: str) -> bytes | None:
    """A file among the artifacts of a run; None if the run does not exist or has no such file."""
    if run is None or not any(file.path == name for file in client.list_artifacts(run.info.run_id)):
        return None
    with tempfile.TemporaryDirectory() as folder:
        return Path(client.download_artifacts(run.info.run_id, name, folder)).read_bytes()


def _record(run: Run) -> dict[str, Any]:
    tags = run.data.tags
    record: dict[str, Any] = {name: _parse(value) for name, value in run.data.params.items()}
    record |= {name: value for name, value in run.data.metrics.items() if axis_of(name) is None}
    record |= {"fingerprint": tags[FINGERPRINT], "outcome": tags.get("outcome", "running")}
    record |= {name: tags[name] for name in TEXT_TAGS if name in tags}
    return record


def _curves(client: MlflowClient, parent: Run | None, children: list[Run]) -> pa.Table:
    """Curves from the file of the parent run, and point by point for trials that ended after it was written or still run."""
    stored_file = _read_artifact(client, parent, CURVES)
    table, ended = (SCHEMA.empty_table(), {}) if stored_file is None else read_curves(BytesIO(stored_file))
    current = [run for run in children if ended.get(run.data.tags[FINGERPRINT], 0) == (run.info.end_time or -1)]
    names = pa.array([run.data.tags[FINGERPRINT] for run in current], pa.string())
    kept = table.filter(pc.is_in(table["fingerprint"], value_set=names)).cast(SCHEMA)
    stored = set(names.to_pylist())
    others = [point for run in children if run.data.tags[FINGERPRINT] not in stored for point in _points(client, run)]
    return pa.concat_tables([kept, curve_table(others)])


def _points(client: MlflowClient, run: Run) -> Iterator[dict[str, Any]]:
    for name in filter(axis_of, run.data.metrics):
        for point in client.get_metric_history(run.info.run_id, name):
            yield {"fingerprint": run.data.tags[FINGERPRINT], "metric": current_name(name), "at": point.step, "value": point.value}


def _parse(text: str) -> Any:
    """A param, which MLflow keeps as text, as the value that it was."""
    if text in {"True", "False"}:
        return text == "True"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
