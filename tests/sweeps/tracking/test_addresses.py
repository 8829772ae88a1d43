"""Addresses in MLFLOW_TRACKING_URI at which MLflow keeps no runs, or from which no answer comes."""

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sweeps.cli.doctor import Finding, examine
from tests.sweeps.conftest import assert_refused, measure_sections

MAX_CLOSE_SECONDS = 12.0  # 6 s, and what a machine with other work takes
REMEDY = "name a server (http://HOST:5000) or a database (sqlite:///mlflow.db), or unset it for a database beside the sweeps"


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
def test_where_mlflow_keeps_no_runs_is_bad_and_has_the_whole_remedy(
    uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (finding,) = examine_tracking(uri, monkeypatch, tmp_path)
    assert finding.state == "bad" and finding.what.startswith("MLFLOW_TRACKING_URI: ")
    assert uri in finding.what and finding.what.endswith(REMEDY) and "\n" not in finding.what


@pytest.mark.parametrize("uri", ["sqlite:///mlflow.db", "databricks"])
def test_where_mlflow_keeps_runs_is_well(uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert [finding.state for finding in examine_tracking(uri, monkeypatch, tmp_path)] == ["ok"]


def test_a_folder_is_well_where_mlflow_s_own_switch_allows_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    assert [finding.state for finding in examine_tracking("./mlruns", monkeypatch, tmp_path)] == ["ok"]


def examine_tracking(uri: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[Finding]:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return [finding for finding in examine(str(folder)) if "track" in finding.what.lower()]


def test_run_refuses_a_folder_of_runs_before_it_makes_a_store(
    typed: Callable[..., Any], write_spec: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "./mlruns")
    assert_refused(typed("run", str(write_spec(measure_sections()))), REMEDY, tmp_path)


@pytest.mark.more
def test_an_unreachable_database_holds_the_end_of_a_run_for_seconds_and_doctor_says_that_it_is_away(
    open_ledger: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql+psycopg://mlflow:secret1@127.0.0.1:9/mlflow")
    seconds, problem = time_close(open_ledger)
    assert seconds < MAX_CLOSE_SECONDS and "refused" in problem and "secret1" not in problem
    findings = [finding for finding in examine(str(tmp_path)) if "tracking" in finding.what]
    assert [finding.state for finding in findings] == ["warning"] and "secret1" not in str(findings[0])


@pytest.mark.more
def test_a_silent_database_holds_the_end_of_a_run_for_seconds(
    open_ledger: Callable, monkeypatch: pytest.MonkeyPatch, silent_port: int
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"postgresql+psycopg://mlflow@127.0.0.1:{silent_port}/mlflow")
    seconds, problem = time_close(open_ledger)
    assert seconds < MAX_CLOSE_SECONDS and problem


def time_close(open_ledger: Callable) -> tuple[float, str]:
    """Seconds that a driver waits at its end, and why nothing arrived."""
    import sweeps.tracking.mlflow.writer  # noqa: F401 - takes seconds

    delivery = open_ledger(measure_sections()).tracker.delivery
    delivery.start()
    started = time.monotonic()
    assert not delivery.close()
    return time.monotonic() - started, delivery.problem
