"""A local tracking server for a SQLite file, and the links to a sweep on it or on a team's server."""

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from rrm.errors import UserError, first_line
from sweeps.tracking.mlflow.view import comparison_path, view_path
from sweeps.tracking.secrets import blank_secrets

START_SECONDS = 60.0
STOP_SECONDS = 10.0


def find_links(tracking_uri: str, address: str, sweep: str) -> dict[str, str]:
    """The links to a sweep on the server at `address`: its `charts`, the `table` of its runs, and its best runs to `compare`.

    Raises:
        UserError: MLflow does not answer, or does not hold the sweep.
    """
    client = MlflowClient(tracking_uri=tracking_uri)
    try:
        experiment = client.get_experiment_by_name(sweep)
        comparison = comparison_path(client, experiment) if experiment else None
    except MlflowException as error:
        raise UserError(blank_secrets(address), f"does not answer: {first_line(error, blank_secrets)}") from None
    if experiment is None:
        raise UserError("MLflow", f"holds no runs of the sweep {sweep!r}, and the sweep has no finished trials yet")
    number = experiment.experiment_id
    links = {"charts": f"{address}{view_path(number, 'CHART')}", "table": f"{address}{view_path(number, 'TABLE')}"}
    return links | ({"compare": f"{address}{comparison}"} if comparison else {})


@contextmanager
def running_server(database_uri: str, artifacts: Path, port: int) -> Iterator[str]:
    """A server on the loopback address while the block runs; yields its address.

    Raises:
        UserError: it does not start.
    """
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", database_uri, "--workers", "1"]
    command += ["--artifacts-destination", str(artifacts), "--host", "127.0.0.1", "--port", str(port)]
    # Its job runners judge language models: three more processes without a use here.
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    # A file, because a pipe without a reader would fill up and stop the server.
    with TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=output, start_new_session=True)
        try:
            _wait_for(server, address, output)
            yield address
        finally:
            server.terminate()
            try:
                server.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                server.kill()


def _wait_for(server: subprocess.Popen[bytes], address: str, output: IO[str]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not answers(address):
        if server.poll() is not None:
            output.seek(0)
            lines = [line for line in output.read().splitlines() if line.strip()]
            raise UserError("--port", f"MLflow's server does not start: {lines[-1] if lines else server.returncode}")
        if time.monotonic() > deadline:
            raise UserError(address, f"MLflow's server does not answer within {START_SECONDS:.0f} s")
        time.sleep(0.2)


def answers(address: str) -> bool:
    """Whether a tracking server listens there."""
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False
