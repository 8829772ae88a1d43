"""A team's server: MLflow on PostgreSQL. It goes away and comes back, the sweep does not wait, and each thing arrives once."""

import os
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sweeps.driver.run import run_sweep
from sweeps.spec.load_spec import load_spec
from sweeps.store.store import Store
from sweeps.tracking.recorder import EventRecorder
from tests.conftest import ROOT
from tests.sweeps.conftest import command, measure_sections, run_command, search_sections
from tests.sweeps.servers import PASSWORD, Postgres, TrackingServer, assert_all_there_once

OUTAGE_SECONDS = 30
POINTS = 12  # validations of a trial


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TrackingServer]:
    database = Postgres()
    server = TrackingServer(tmp_path, database)
    yield server
    server.kill()
    database.stop()


def timed(method: Callable, waits: list[float]) -> Callable:
    def wrapper(*given: Any, **named: Any) -> Any:
        started = time.monotonic()
        try:
            return method(*given, **named)
        finally:
            waits.append(time.monotonic() - started)

    return wrapper


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_server_killed_twice_has_each_trial_and_each_point_once(
    server: TrackingServer, write_spec: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Away for 30 s in the middle, and again before the end: the sweep ends meanwhile, and the next run delivers the rest."""
    sections = measure_sections(fit__budget__amount=900, eval__validations=POINTS)
    sections["measure"]["seeds"] = 5
    spec = load_spec(write_spec(sections | {"storage": str(tmp_path / "runs")}))
    store = Store(spec.location)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    waits: list[float] = []
    for name in ("start", "points", "end", "wait", "run", "sweep"):
        monkeypatch.setattr(EventRecorder, name, timed(getattr(EventRecorder, name), waits))

    def outages() -> None:
        for trials in (6, 15):
            while len(store.finished()) < trials:
                time.sleep(0.1)
            server.kill()
            time.sleep(OUTAGE_SECONDS)
            server.start()

    thread = threading.Thread(target=outages)
    thread.start()
    assert run_sweep(spec, Console(), "again") == 0
    thread.join()
    assert run_sweep(spec, Console(), "again") == 0  # nothing to run: what is left goes out
    assert len(store.finished()) == 20
    print(f"\n20 trials, 2 outages of {OUTAGE_SECONDS} s; longest wait of the sweep {1000 * max(waits):.0f} ms of {len(waits)}")
    assert max(waits) < 1.0
    assert_all_there_once(store, server.address)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_sweep_interrupted_three_times_leaves_no_doubles_and_no_holes(
    server: TrackingServer, write_spec: Callable, tmp_path: Path
) -> None:
    spec = str(write_spec(measure_sections(fit__budget__amount=900, eval__validations=POINTS)))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": server.address}
    store = Store(tmp_path / "runs/tiny")
    for how in (signal.SIGINT, signal.SIGKILL, signal.SIGINT):
        rows = len(store.rows())
        driver = subprocess.Popen(command("run", spec), cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
        while len(store.rows()) < rows + 4:
            assert driver.poll() is None
            time.sleep(0.05)
        driver.send_signal(how)
        driver.wait(60)
    assert any(len(store.attempts(fingerprint)) > 1 for fingerprint in store.begun())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", server.address)
        ended = run_command("run", spec, cwd=tmp_path)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert_all_there_once(store, server.address)


@pytest.mark.slow
def test_a_study_beside_mlflow_s_tables_is_refused_in_a_line(
    server: TrackingServer, write_spec: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RRM_STUDY_URL", server.database.url())
    ended = run_command("run", str(write_spec(search_sections())), cwd=tmp_path)
    assert ended.returncode == 2 and "RRM_STUDY_URL: names no database that can be used" in ended.stderr
    assert ended.stderr.count("\n") == 1 and PASSWORD not in ended.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_secret_is_written_anywhere(
    server: TrackingServer, write_spec: Callable, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """One planted in the environment, one in the study's database URL, one in the tracking URI."""
    names = ("MLFLOW_TRACKING_PASSWORD", "TEAM_API_KEY")
    planted = {name: f"planted{secrets.token_hex(8)}" for name in names}
    in_uri = f"planted{secrets.token_hex(8)}"
    studies = server.database.create("studies")
    environment = {
        **os.environ, **planted, "PYTHONPATH": str(ROOT), "RRM_STUDY_URL": studies,
        "MLFLOW_TRACKING_URI": server.address.replace("//", f"//someone:{in_uri}@"),
        "MLFLOW_TRACKING_USERNAME": "someone",
    }  # fmt: skip
    scratch = tmp_path_factory.getbasetemp().parent / "s"  # a short path: Ray's sockets lie there
    scratch.mkdir(exist_ok=True)
    spec = str(write_spec(search_sections()))
    places = {"TMPDIR": str(scratch), "RAY_TMPDIR": str(scratch)}
    ended = subprocess.run(
        command("run", spec), cwd=tmp_path, env=environment | places, capture_output=True, text=True, timeout=240
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    every = [PASSWORD, in_uri, *planted.values()]
    folders = (tmp_path / "runs", tmp_path / "artifacts", scratch)
    written = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert any("session_" in str(path) for path in written) and any("spool" in str(path) for path in written)
    for secret in every:
        assert secret not in ended.stdout + ended.stderr
        for path in written:
            assert secret.encode() not in path.read_bytes(), path
    for name in ("postgres", "studies"):
        text = server.database.dump(name)
        assert "model.hidden_size" in text and not [secret for secret in every if secret in text]
