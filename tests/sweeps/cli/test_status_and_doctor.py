"""How a sweep stands, and how a machine does."""

import fcntl
import json
from collections.abc import Callable
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from lightning_modules.yaml_file import write_yaml
from sweeps.cli.doctor import Finding, examine
from sweeps.cli.status import read_status
from sweeps.driver.ledger import stored_sections
from sweeps.store.backend import LOCK
from sweeps.store.find_store import find_store
from sweeps.store.store import Store
from tests.sweeps.conftest import ending, measure_sections, search_sections


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
        made.write_result(name, json.dumps({"fingerprint": name, "params": 1, **record, "curves": []}))
    made.write_trial("c", "")
    made.append_attempt("c", {"session": "s", "losses": 0, "host": "box"})
    made.write_trial("d", "")
    made.append_row("c", {"step": 40, "metrics": {"val_curve/exact_accuracy": 0.25}})
    return made


def test_the_status_counts_what_the_spec_asks_for(store: Store) -> None:
    assert read_status(store).lines() == [
        "tiny: 2 of 4 trials have ended (1 completed, 1 failed); no driver runs the sweep",
        "  interrupted: c, step 40, val exact accuracy 0.250, on box",
        "  queued: d",
        "  failed: b: is nan",
    ]


def test_the_status_names_the_driver(store: Store) -> None:
    with (store.driver_folder / LOCK).open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("process 7 on node1\n")
        file.flush()
        lines = read_status(store).lines()
    assert lines[0].endswith("; process 7 on node1 runs the sweep") and "  running: c, step 40" in lines[1]
    assert read_status(store).driver is None


def test_a_spec_names_its_store(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = tmp_path / "sweep.yaml"
    spec.write_text(write_yaml(measure_sections()))
    monkeypatch.chdir(tmp_path)
    assert read_status(find_store(str(spec))).asked == 4


def test_a_store_without_a_design_yet_has_the_total_of_its_spec(tmp_path: Path) -> None:
    """As a driver leaves it that ends between the spec and the design."""
    made = Store(tmp_path / "runs/tiny")
    made.create()
    made.write_spec(write_yaml(measure_sections()))
    assert read_status(made).lines() == ["tiny: 0 of 4 trials have ended (none); no driver runs the sweep"]


def test_the_confirm_stage_of_a_search_counts(open_ledger: Callable) -> None:
    sections = search_sections()
    sections["search"] |= {"num_trials": 3, "confirm": {"top": 2, "seeds": 2}}
    ledger = open_ledger(sections)
    ledger.store.write_spec(write_yaml(stored_sections(ledger.spec)))
    for number, ended in enumerate(("search 1 of 3, confirm 0 of 4", "search 2 of 3, confirm 0 of 4",
                                    "search 3 of 3, confirm 0 of 4", "search 3 of 3, confirm 1 of 4"), 1):  # fmt: skip
        config = ledger.ask()
        ledger.end(config.fingerprint, ending(config))
        line = read_status(ledger.store).lines()[0]
        assert line == f"tiny: {number} of 7 trials have ended ({number} completed; {ended}); no driver runs the sweep"


def test_a_search_that_has_tried_its_whole_space_states_why_it_has_fewer_trials(open_ledger: Callable) -> None:
    sections = search_sections()
    sections["search"] |= {"space": {"model.hidden_size": {"choice": [16, 24, 32]}}, "constraints": ["params <= 9000"]}
    ledger = open_ledger(sections)
    ledger.store.write_spec(write_yaml(stored_sections(ledger.spec)))
    assert "complete" not in "".join(read_status(ledger.store).lines())
    while (config := ledger.ask()) is not None:
        ledger.end(config.fingerprint, ending(config))
    held = len(ledger.results)
    assert 0 < held < 3 and [line for line in read_status(ledger.store).lines() if "best:" not in line][:2] == [
        f"tiny: {held} of 6 trials have ended ({held} completed); no driver runs the sweep",
        f"  complete: the search space holds {held} different trials within the constraints, search.num_trials asks for 6",
    ]


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


@pytest.mark.parametrize(("offset", "state", "word"), [(0, "ok", "clock agrees"), (-3600, "warning", "server differs by 36")])
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
