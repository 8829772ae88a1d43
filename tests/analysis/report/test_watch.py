"""`rrm-analyze --watch`: a report that follows the results of a sweep."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.request import urlopen

import pytest

from analysis.cli import main
from analysis.data.progress import Unfinished
from analysis.data.tables import load_store, merge
from analysis.report.build import MAX_ANSWERS, build_report
from analysis.report.watch import ReportServer
from lightning_modules.yaml_file import write_yaml
from rrm.errors import UserError
from sweeps.spec.load_spec import parse_stored_spec
from sweeps.store.store import Store
from tests.analysis.searches import SECTIONS, write_search, write_trial
from tests.browser import browser_context, needs_browser
from tests.conftest import ROOT

MEASURE = {"vary": {"model.hidden_size": [16, 32], "model.l_cycles": [1, 2]}, "seeds": 2, "matching": "steps"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A measure sweep of eight trials without a result."""
    made = Store(tmp_path / "runs/half")
    made.create()
    made.write_spec(write_yaml(SECTIONS | {"name": "half", "measure": MEASURE}))
    made.write_design([trial.fingerprint for trial in parse_stored_spec(made.spec() or "", "half", {}).design])
    return made


def finish(store: Store, count: int) -> None:
    """The first trials of the design are completed."""
    for number, trial in enumerate(parse_stored_spec(store.spec() or "", "half", {}).design[:count]):
        write_trial(store, trial, "completed", number, sweep="half")


def read(address: str) -> str:
    with urlopen(address, timeout=10) as answer:
        return str(answer.read().decode())


def wait_for(is_true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.mark.more
def test_the_report_waits_for_the_first_trial_follows_the_next_ones_and_ends_by_ctrl_c_with_0(store: Store, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "analysis.cli", "runs/half", "--watch"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8",
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = re.findall(r"http://127\.0\.0\.1:\d+/", line)[0]
        wait_for(lambda: "has no finished trials yet. The report appears here by itself." in read(address))
        waiting = read(f"{address}version")
        finish(store, 3)
        wait_for(lambda: "5 of 8 trials are missing: no driver runs the sweep." in read(address))
        assert read(f"{address}version") != waiting and "Files: " not in read(address)
        with store.locked():
            finish(store, 4)
            wait_for(lambda: "4 of 8 trials are missing: the sweep is running." in read(address))
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert re.search(r"\d 5 of 8 trials are missing: .*\. \S.*\.\n", process.stdout.read())
    finally:
        process.kill()
        process.communicate()
    assert not (tmp_path / "runs/half/report").exists()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            ["--watch", "--fits-only"],
            "--watch: serves the report of a sweep from its store, writes no file and prints a line a page: leave out --fits-only",
        ),
        (["--watch", "--tracking-uri", "sqlite:///x.db"], "--watch: serves the report of a sweep from its store"),
        (["--watch", "--csv", "x.csv"], "--watch: serves the report of a sweep from its store"),
        (["--watch", "--out", "there"], "--watch: serves the report of a sweep from its store"),
        (["--watch", "--verbose"], "writes no file and prints a line a page: leave out --verbose"),
        (["other", "--watch"], "--watch: follows one sweep, got 2: half, other"),
        (["--watch", "--port", "70000"], "--port: must be between 1 and 65535, got 70000"),
        (["--port", "7000"], "--port: has no effect without --watch: leave it out"),
    ],
)
def test_options_without_effect_are_refused_in_one_line(
    options: list[str], line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["rrm-analyze", "half", *options])
    with pytest.raises(SystemExit) as ended:
        main()
    error = capsys.readouterr().err
    assert ended.value.code == 2 and line in error and error.count("\n") == 1


# -- the server ----------------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[ReportServer]:
    with ReportServer(0) as served:
        Thread(target=served.serve_forever, daemon=True).start()
        yield served
        served.shutdown()


def test_the_server_listens_to_this_machine_alone_and_a_taken_port_is_refused(server: ReportServer) -> None:
    assert server.socket.getsockname()[0] == "127.0.0.1"
    with socket.socket() as probe:
        probe.settimeout(2)
        assert probe.connect_ex(("127.0.0.2", server.server_address[1])) != 0
    with pytest.raises(UserError, match=r"--port: must be a free port, got \d+: another program uses it"):
        ReportServer(server.server_address[1])


LONG_PAGE = "<!doctype html><html><body>{}<details id='one'>first</details><details id='two'>{}</details></body></html>"


@needs_browser
def test_a_page_that_loads_itself_anew_keeps_its_folds_and_its_scroll_position(server: ReportServer) -> None:
    rows = "<p>row</p>" * 200
    server.show(LONG_PAGE.format("old", rows))
    with browser_context() as context:
        page = context.new_page()
        page.goto(server.address)
        page.evaluate("document.getElementById('two').open = true; window.scrollTo(0, 1500)")
        server.show(LONG_PAGE.format("new", rows))
        page.wait_for_function("document.body.textContent.startsWith('new')", timeout=10_000)
        page.wait_for_timeout(300)
        state = page.evaluate("[document.getElementById('one').open, document.getElementById('two').open, window.scrollY]")
    assert state == [False, True, 1500]


# -- what is missing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "line"), [(7, "1 of 8 trials is missing"), (6, "2 of 8 trials are missing"), (8, None)])
def test_the_answer_begins_with_the_trials_that_an_unfinished_sweep_lacks(store: Store, count: int, line: str | None) -> None:
    finish(store, count)
    report = build_report(load_store(store))
    first = report.answer[0].text
    assert "missing" not in first if line is None else first.startswith(f"{line}: no driver runs the sweep.")
    assert len(report.answer) <= MAX_ANSWERS


@pytest.mark.parametrize(
    ("search", "asked", "missing"),
    [
        ({"num_trials": 24}, 24, 4),
        ({"num_trials": 20}, 0, 0),
        ({"num_trials": 24, "confirm": {"top": 2, "seeds": 3}}, 30, 4),
        ({"num_trials": 40, "space": {"model.l_cycles": {"int": [1, 4]}}}, 0, 0),
    ],
    ids=["trials", "none", "trials before the confirm stage", "a space that is used up"],
)
def test_a_search_lacks_what_its_spec_asks_for_and_its_space_holds(
    tmp_path: Path, search: dict[str, Any], asked: int, missing: int
) -> None:
    unfinished = load_store(write_search(tmp_path, **search)).unfinished
    assert sum(one.missing for one in unfinished) == missing and sum(one.asked for one in unfinished) == asked


def test_each_unfinished_sweep_of_several_is_named(store: Store, tmp_path: Path) -> None:
    finish(store, 4)
    one = load_store(store)
    trials = one.trials.assign(sweep="other", fingerprint=one.trials["fingerprint"] + "x")
    both = merge([one, replace(one, trials=trials, unfinished=(Unfinished("other", 1, 5, is_running=True),))])
    assert build_report(both).answer[0].text == (
        "half: 4 of 8 trials are missing: no driver runs the sweep; other: 1 of 5 trials is missing: the sweep is running. "
        "What follows is about finished trials alone."
    )
