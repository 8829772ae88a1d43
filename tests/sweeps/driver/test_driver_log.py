"""`driver.log` beside the store: one line in UTC for each event that explains a failure."""

import logging
import re
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from sweeps.driver import driver_log as module
from sweeps.driver.capacity import Capacity
from sweeps.driver.driver_log import DRIVER_LOG, driver_log
from sweeps.driver.ledger import Ledger
from sweeps.driver.run import DONE, SOME_FAILED, run_sweep
from sweeps.driver.tune import Ask, Decide, End
from sweeps.spec.resources import Resources
from sweeps.worker.messages import Lost, NodeRefused
from tests.sweeps.conftest import ending, measure_sections, search_sections

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (INFO|WARNING|ERROR) \S.*")


def read_log(folder: Path | str) -> list[str]:
    """The messages of a log; every line has its form."""
    lines = (Path(folder) / DRIVER_LOG).read_text().splitlines()
    assert all(LINE.fullmatch(line) for line in lines), lines
    return [line.split(" ", 2)[2] for line in lines]


def test_failed_lost_and_stopped_trials_have_a_line_with_their_reason(open_ledger: Callable, tmp_path: Path) -> None:
    sections = search_sections(fit__budget__amount=9)
    sections["search"]["scheduler"] = {"kind": "asha", "grace": 1 / 9, "reduction": 3}
    ledger: Ledger = open_ledger(sections)
    with driver_log(tmp_path):
        failed, lost, better, worse = (ledger.ask().fingerprint for _ in range(4))
        ledger.end(failed, ending(ledger.live[failed].config, outcome="failed", reason="the loss is nan\nat step 3"))
        ledger.end(lost, Lost("its process was lost"))
        for name, nll in ((better, 0.1), (worse, 9.0)):
            ledger.row(name, {"step": 1, "time": 0, "metrics": {"val_curve/nll": nll}, "used": {"steps": 1}})
        ledger.requeue()
    assert read_log(tmp_path) == [
        f"trial {failed} failed: the loss is nan at step 3",
        f"trial {lost} lost: its process was lost",
        f"early stop: trial {worse} at step 1",
        "Ray gave up as a whole: 2 trials are handed out again",
    ]


def test_a_refused_node_and_a_retry_have_a_line_each(open_ledger: Callable, tmp_path: Path) -> None:
    ledger, shown = open_ledger(measure_sections()), []
    capacity = Capacity(Resources(max_concurrent=2))
    ask, decide = Ask(ledger, capacity), Decide(ledger)
    end = End(ledger, capacity, decide, shown.append)
    job = ask.suggest("0")
    trial = SimpleNamespace(config=job, run_metadata=SimpleNamespace(error_filename=None), local_path=None)
    with driver_log(tmp_path):
        end.on_trial_recover(1, [], trial)
        decide.endings[job["fingerprint"]] = NodeRefused("a", "10.0.0.2", "differs from this driver")
        end.on_trial_complete(1, [], trial)
    assert read_log(tmp_path) == [
        f"retry: trial {job['fingerprint']} goes on from its checkpoint: its process was lost",
        "node 10.0.0.2 gets no trials: it differs from this driver",
    ]
    assert len(shown) == 2


def test_a_server_that_does_not_answer_has_one_line_when_it_begins(
    open_ledger: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    delivery = open_ledger(measure_sections()).tracker.delivery
    with driver_log(tmp_path):
        for _ in range(2):
            try:
                delivery.connect()
            except Exception as error:
                delivery._note(error)
    (line,) = read_log(tmp_path)
    assert line.startswith("MLflow does not receive the sweep now: ")


def test_a_run_appends_its_begin_and_its_end_and_its_last_line_names_the_log(open_ledger: Callable) -> None:
    ledger = open_ledger(measure_sections())
    while (config := ledger.ask()) is not None:
        ledger.end(config.fingerprint, ending(config, outcome="failed", reason="the loss is nan"))
    folder, output = Path(ledger.store.location), StringIO()
    for _ in range(2):
        assert run_sweep(ledger.spec, Console(file=output), "rrm-sweep run sweep.yaml") == SOME_FAILED
    lines = read_log(folder)
    assert [line.split(":")[0] for line in lines] == ["driver started", "driver ended"] * 2
    assert lines[0].endswith(", rrm-sweep run sweep.yaml") and lines[1] == "driver ended: exit code 1"
    assert output.getvalue().splitlines()[-1] == f"4 failed trials: see {folder / DRIVER_LOG}"


def test_a_run_without_failures_names_no_log(open_ledger: Callable) -> None:
    ledger = open_ledger(measure_sections())
    while (config := ledger.ask()) is not None:
        ledger.end(config.fingerprint, ending(config))
    output = StringIO()
    assert run_sweep(ledger.spec, Console(file=output), "again") == DONE
    assert DRIVER_LOG not in output.getvalue() and (Path(ledger.store.location) / DRIVER_LOG).exists()


def test_a_run_that_is_refused_logs_why(open_ledger: Callable, write_spec: Callable, tmp_path: Path, typed: Callable) -> None:
    ledger = open_ledger(measure_sections())
    config = ledger.ask()
    ledger.end(config.fingerprint, ending(config))
    spec = write_spec(measure_sections(optim__lr=0.5) | {"storage": str(tmp_path / "runs")})
    ended = typed("run", str(spec))
    assert ended.returncode == 2 and "other settings" in ended.stderr
    assert "has finished trials under other settings" in read_log(ledger.store.location)[-1]


def test_a_log_holds_no_secret_is_in_utc_and_is_rotated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEAM_PASSWORD", "hunter22")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setattr(module, "MAX_BYTES", 300)
    time.tzset()
    try:
        with driver_log(tmp_path):
            for _ in range(20):
                logging.getLogger("sweeps.driver").info("cannot reach postgres://me:hunter22@host/db")
    finally:
        monkeypatch.undo()
        time.tzset()
    text = (tmp_path / DRIVER_LOG).read_text() + (tmp_path / f"{DRIVER_LOG}.1").read_text()
    assert "hunter22" not in text and text.count("\n") < 20
    assert text.startswith(time.strftime("%Y-%m-%dT%H:", time.gmtime())[:11])
    assert read_log(tmp_path)


def test_a_log_that_cannot_be_written_stops_no_driver(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / DRIVER_LOG).mkdir()
    with driver_log(tmp_path):
        logging.getLogger("sweeps.driver").info("driver started")
    assert capsys.readouterr() == ("", "")
