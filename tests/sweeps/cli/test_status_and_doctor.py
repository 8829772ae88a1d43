"""How a sweep stands, and how a machine does."""

import fcntl
import json
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from lightning_modules.yaml_file import write_yaml
from sweeps.cli.doctor import Finding, examine
from sweeps.cli.status import read_status
from sweeps.store.backend import LOCK
from sweeps.store.find_store import find_store
from sweeps.store.store import Store
from tests.sweeps.conftest import measure_sections


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Four trials asked for: one completed, one failed, one begun, one handed out; and one of another design."""
    made = Store(tmp_path / "runs/tiny")
    made.create()
    made.write_spec(write_yaml(measure_sections()))
    made.write_design(["a", "b", "c", "d"])
    for name, record in (
        ("a", {"outcome": "completed"}),
        ("b", {"outcome": "failed", "reason": "is nan"}),
        ("old", {"outcome": "completed"}),
    ):
        made.write_result(name, json.dumps(record | {"curves": []}))
    made.write_trial("c", "")
    made.append_attempt("c", {"session": "s", "losses": 0, "host": "box"})
    made.write_trial("d", "")
    made.append_row("c", {"step": 40, "metrics": {"val_curve/exact_accuracy": 0.25}})
    return made


def test_the_status_counts_what_the_spec_asks_for(store: Store) -> None:
    assert read_status(store).lines() == [
        "tiny: 2 of 4 trials have ended (1 completed, 1 failed); nobody runs it",
        "  was begun: c, step 40, val exact accuracy 0.250, on box",
        "  waits for room: d",
        "  failed: b: is nan",
    ]


def test_the_status_names_the_driver(store: Store) -> None:
    with (store.driver_folder / LOCK).open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("process 7 on node1\n")
        file.flush()
        lines = read_status(store).lines()
    assert lines[0].endswith("run by process 7 on node1") and "  runs: c, step 40" in lines[1]
    assert read_status(store).driver is None


def test_a_spec_names_its_store(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = tmp_path / "sweep.yaml"
    spec.write_text(write_yaml(measure_sections()))
    monkeypatch.chdir(tmp_path)
    assert read_status(find_store(str(spec))).asked == 4


def states(findings: list[Finding], start: str) -> list[str]:
    return [finding.state for finding in findings if finding.what.startswith(start)]


def test_this_machine_is_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    findings = list(examine(str(tmp_path / "runs")))
    assert not [str(finding) for finding in findings if finding.state == "bad"]
    assert states(findings, "storage") in (["ok"], ["warning"]) and any("CPU cores" in finding.what for finding in findings)
    assert not (tmp_path / "runs").exists()  # nothing is left behind


def test_a_storage_that_is_a_file_is_bad(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert states(list(examine(str(tmp_path / "file/runs"))), "storage") == ["bad"]


@pytest.mark.parametrize(("offset", "state", "word"), [(0, "ok", "clock agrees"), (-3600, "warning", "clock is 36")])
def test_the_clock_of_a_tracking_server_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offset: int, state: str, word: str
) -> None:
    class Server(BaseHTTPRequestHandler):
        def date_time_string(self, timestamp: float | None = None) -> str:
            import time

            return formatdate(time.time() + offset, usegmt=True)

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Server)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
    findings = list(examine(str(tmp_path)))
    server.shutdown()
    assert [finding.state for finding in findings if word in finding.what] == [state]


def test_a_tracking_server_that_is_away_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert states(list(examine(str(tmp_path))), "the tracking server does not answer") == ["warning"]
