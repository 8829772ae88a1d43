"""What a running sweep shows on a terminal."""

from collections.abc import Callable

from rich.console import Console

from sweeps.driver.live_table import LiveTable
from tests.sweeps.conftest import ending, measure_sections


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
    assert summary.startswith("tiny: 2 of 4 trials | 1 failed | best so far: val exact accuracy 0.100 | 0:00 elapsed")
    assert row.startswith(ledger.tracker.name(running)) and row.split()[-3:] == ["4", "0.250", "1.500"]
    assert failure == f"failed: {failed.fingerprint}: the training loss is nan"
