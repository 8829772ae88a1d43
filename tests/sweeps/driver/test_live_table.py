"""What a running sweep shows on a terminal and elsewhere."""

import re
import time
from collections.abc import Callable
from io import StringIO

import pytest
from rich.console import Console

from sweeps.driver import live_table
from sweeps.driver.live_table import LiveTable
from tests.sweeps.conftest import ending, measure_sections, search_sections


def test_the_table_has_what_runs_what_ended_and_why_it_failed(open_ledger: Callable) -> None:
    ledger = open_ledger(measure_sections())
    table = LiveTable(ledger, Console())
    done, failed, running = (ledger.ask() for _ in range(3))
    ledger.end(done.fingerprint, ending(done))
    ledger.end(failed.fingerprint, ending(failed, outcome="failed", reason="the training loss is nan"))
    scores = {"val_curve/exact_accuracy": 0.25, "val_curve/nll": 1.5}
    ledger.row(running.fingerprint, {"step": 4, "time": 0, "metrics": scores, "used": {"steps": 4, "train_flops": 1e6}})

    console = Console(width=120, record=True, force_terminal=True)
    console.print(table.render())
    summary, _, row, failure = [line.strip() for line in console.export_text().splitlines()]
    assert re.match(r"tiny: 2 of 4 trials \| 1 failed \| best so far: val exact accuracy 0\.100 \| 0:\d\d elapsed", summary)
    assert row.startswith(ledger.tracker.name(running)) and row.split()[-3:] == ["4", "0.250", "1.500"]
    assert failure == f"failed: {failed.fingerprint}: the training loss is nan"


def test_the_best_trial_of_a_search_has_the_value_of_its_objective(open_ledger: Callable) -> None:
    ledger = open_ledger(search_sections())
    trial = ledger.ask()
    ledger.end(trial.fingerprint, ending(trial, nll=1.25))
    assert "best so far: val/nll 1.25, val exact accuracy 0.100" in LiveTable(ledger, Console()).summary()


def test_no_time_left_is_estimated_before_as_many_trials_have_ended_as_run_at_once(open_ledger: Callable) -> None:
    ledger = open_ledger(measure_sections())
    table = LiveTable(ledger, Console())
    first, second = ledger.ask(), ledger.ask()
    scores = {"val_curve/exact_accuracy": 0.25, "val_curve/nll": 1.5}
    ledger.row(second.fingerprint, {"step": 4, "time": 0, "metrics": scores, "used": {"steps": 4, "train_flops": 1e6}})
    assert table.summary().endswith(" elapsed")
    ledger.end(first.fingerprint, ending(first, train_flops=2e6))
    assert table.summary().endswith(" elapsed")  # one of two that ran at once
    ledger.end(second.fingerprint, ending(second, train_flops=2e6))
    assert table.summary().endswith(" left")


def wait_for(text: str, printed: StringIO) -> list[str]:
    deadline = time.monotonic() + 20
    while text not in printed.getvalue():
        assert time.monotonic() < deadline, printed.getvalue()
        time.sleep(0.01)
    return printed.getvalue().splitlines()


def test_without_a_terminal_each_ending_has_a_line_and_no_silence_lasts_long(
    open_ledger: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_table, "POLL_SECONDS", 0.02)
    assert live_table.HEARTBEAT_SECONDS <= 20
    monkeypatch.setattr(live_table, "HEARTBEAT_SECONDS", 0.3)
    ledger = open_ledger(measure_sections())
    printed = StringIO()
    with LiveTable(ledger, Console(file=printed)).shown():
        wait_for("tiny: 0 of 4 trials", printed)  # before anything has begun
        first, second = ledger.ask(), ledger.ask()
        wait_for(f"first trial: {ledger.tracker.name(first)}\n", printed)
        scores = {"val_curve/exact_accuracy": 0.25, "val_curve/nll": 1.5}
        ledger.row(second.fingerprint, {"step": 4, "time": 0, "metrics": scores, "used": {"steps": 4, "train_flops": 1e6}})
        wait_for(f"{ledger.tracker.name(second)} at step 4\n", printed)
        ledger.end(first.fingerprint, ending(first))
        wait_for("1 of 4 trials", printed)
        ledger.end(second.fingerprint, ending(second, outcome="failed", reason="out of memory"))
    lines = printed.getvalue().splitlines()
    assert any(
        line.startswith(f"{ledger.tracker.name(first)}: completed, val exact accuracy 0.100 | tiny: 1 of 4") for line in lines
    )
    assert lines[-1].startswith(f"{ledger.tracker.name(second)}: failed")  # the last one ended with the block


def test_a_slow_start_of_ray_is_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_table, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(live_table, "HEARTBEAT_SECONDS", 0.1)
    printed = StringIO()
    with live_table.starting(Console(file=printed)):
        wait_for("still starting Ray", printed)
