"""Addresses in MLFLOW_TRACKING_URI at which MLflow keeps no runs, or from which nobody answers."""

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rrm.errors import UserError
from sweeps.cli.doctor import examine
from sweeps.tracking.delivery import UNREACHABLE_SECONDS
from sweeps.tracking.destination import REMEDY, check_tracking_uri
from sweeps.tracking.progress import Progress
from tests.sweeps.conftest import assert_refused, measure_sections

SLACK_SECONDS = 6.0  # of a machine with other work


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port at which connections are taken and nothing is answered."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.mark.parametrize(
    "uri", ["./mlruns", "mlruns", "/data/mlruns", "file:///data/mlruns", "foo://host", "postgres://host/db", "localhost:5000"]
)
def test_where_mlflow_keeps_no_runs_is_refused_with_the_whole_remedy(
    uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as error:
        check_tracking_uri(uri)
    assert uri in str(error.value) and str(error.value).endswith(REMEDY) and "\n" not in str(error.value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    findings = [finding for finding in examine(str(tmp_path)) if "MLFLOW_TRACKING_URI" in finding.what]
    assert [(finding.state, finding.what) for finding in findings] == [("bad", str(error.value))]


@pytest.mark.parametrize(
    "uri", ["http://host:5000", "https://host", "sqlite:///mlflow.db", "postgresql+psycopg://user@host/db", "databricks"]
)
def test_where_mlflow_keeps_runs_is_taken(uri: str) -> None:
    check_tracking_uri(uri)


def test_a_folder_is_taken_where_mlflow_s_own_switch_allows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    check_tracking_uri("./mlruns")


def test_run_refuses_a_folder_of_runs_before_it_makes_a_store(
    typed: Callable[..., Any], write_spec: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "./mlruns")
    assert_refused(typed("run", str(write_spec(measure_sections()))), REMEDY, tmp_path)


def test_an_unreachable_database_holds_the_end_of_a_run_for_seconds_and_doctor_says_that_it_is_away(
    open_ledger: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql+psycopg://mlflow:secret1@127.0.0.1:9/mlflow")
    seconds, problem = time_close(open_ledger)
    assert seconds < UNREACHABLE_SECONDS + SLACK_SECONDS and "refused" in problem and "secret1" not in problem
    findings = [finding for finding in examine(str(tmp_path)) if "tracking" in finding.what]
    assert [finding.state for finding in findings] == ["warning"] and "secret1" not in str(findings[0])


@pytest.mark.more
def test_a_silent_database_holds_the_end_of_a_run_for_seconds(
    open_ledger: Callable, monkeypatch: pytest.MonkeyPatch, silent_port: int
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"postgresql+psycopg://mlflow@127.0.0.1:{silent_port}/mlflow")
    seconds, problem = time_close(open_ledger)
    assert seconds < UNREACHABLE_SECONDS + SLACK_SECONDS and problem


def time_close(open_ledger: Callable) -> tuple[float, str]:
    """Seconds that a driver waits at its end, and why nothing arrived."""
    import sweeps.tracking.mlflow.writer  # noqa: F401 - takes seconds

    delivery = open_ledger(measure_sections()).tracker.delivery
    delivery.start()
    started = time.monotonic()
    assert not delivery.close()
    return time.monotonic() - started, delivery.problem


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("http://host:5000", "http://host:5000/", True),
        ("http://me:old@host", "http://me:new@host", True),
        ("postgresql://me@host/db?password=old", "postgresql://host/db", True),
        ("http://host:5000", "http://host:5001", False),
        ("sqlite:////a/mlflow.db", "sqlite:////b/mlflow.db", False),
    ],
)
def test_a_server_is_known_by_its_address_without_credentials(tmp_path: Path, one: str, other: str, is_same: bool) -> None:
    first, second = Progress(tmp_path, one), Progress(tmp_path, other)
    assert (first.file == second.file) == is_same
    first.write()
    assert "old" not in first.file.read_text()
