"""What a running sweep shows: one live table on a terminal, one line an ending elsewhere."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lightning_modules.record import Record, step_flops
from sweeps.driver.ledger import Ledger, LiveTrial
from sweeps.spec.search import Search

REFRESH_SECONDS = 1.0
LINE_SECONDS = 5.0
SHOWN_FAILURES = 5


class LiveTable:
    """Reads the ledger, changes nothing."""

    def __init__(self, ledger: Ledger, console: Console) -> None:
        self.ledger, self.console = ledger, console
        self.started = time.monotonic()
        self.done_before = len(ledger.results)
        self.flops_before = self._flops_done()

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Draw while the block runs."""
        if self.console.is_terminal:
            with Live(get_renderable=self.render, console=self.console, refresh_per_second=1 / REFRESH_SECONDS, transient=True):
                yield
            return
        ended = threading.Event()
        thread = threading.Thread(target=self._print_lines, args=(ended,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _print_lines(self, ended: threading.Event) -> None:
        """Where there is no terminal: a line when trials have ended since the last one."""
        shown = self.done_before
        while not ended.wait(LINE_SECONDS):
            if len(self.ledger.results) > shown:
                shown = len(self.ledger.results)
                self.console.print(self.summary(), markup=False, highlight=False, soft_wrap=True)

    def render(self) -> RenderableType:
        """The table: how the sweep stands, then the trials that run, then why the latest failures failed."""
        table = Table(box=None, padding=(0, 2, 0, 0))
        for column in ("running", "progress", "step", "val exact", "val nll"):
            table.add_column(column, justify="left" if column in {"running", "progress"} else "right")
        for trial in list(self.ledger.live.values()):
            table.add_row(*self._cells(trial))
        reasons = [Text(line, style="red", overflow="ellipsis", no_wrap=True) for line in failures(self.ledger)[-SHOWN_FAILURES:]]
        return Group(Text(self.summary(), style="bold"), table, *reasons)

    def summary(self) -> str:
        """One line: counts, best so far, time left."""
        results = list(self.ledger.results.values())
        counts = {outcome: sum(r["outcome"] == outcome for r in results) for outcome in ("completed", "pruned", "failed")}
        parts = [f"{self.ledger.spec.name}: {len(results)} of {self.ledger.total} trials"]
        parts += [f"{count} {outcome}" for outcome, count in counts.items() if count and outcome != "completed"]
        best = best_record(self.ledger)
        if best is not None:
            parts.append(f"best so far: val exact accuracy {best['val/exact_accuracy']:.3f}")
        if self.ledger.spec.search and len(self.ledger.spec.search.objectives) > 1:
            parts.append(f"{len(pareto_front(self.ledger.spec.search, results))} on the Pareto front")
        if self.ledger.tracker.delivery.problem:
            parts.append("tracking is behind")
        parts.append(self._time_left())
        return " | ".join(parts)

    def _cells(self, trial: LiveTrial) -> list[RenderableType]:
        name = self.ledger.tracker.name(trial.config)
        if not trial.rows:
            return [name, "starting", "", "", ""]
        row = trial.rows[-1]
        unit = trial.config.fit.budget.unit
        share = row["used"]["train_seconds" if unit == "seconds" else unit] / trial.config.fit.budget.amount
        bar = ProgressBar(total=1.0, completed=min(1.0, share), width=20)
        metrics = row["metrics"]
        return [
            name,
            bar,
            str(row["step"]),
            f"{metrics['val_curve/exact_accuracy']:.3f}",
            f"{metrics['val_curve/nll']:.3f}",
        ]

    def _time_left(self) -> str:
        """Extrapolated from the training FLOPs done since this driver started."""
        elapsed = time.monotonic() - self.started
        done = self._flops_done() - self.flops_before
        if done <= 0:
            return f"{clock(elapsed)} elapsed"
        return f"{clock(elapsed)} elapsed, {clock(elapsed * self._flops_left() / done)} left"

    def _flops_done(self) -> float:
        ended = sum(record.get("train_flops", 0) for record in list(self.ledger.results.values()))
        running = sum(trial.rows[-1]["used"]["train_flops"] for trial in list(self.ledger.live.values()) if trial.rows)
        return ended + running

    def _flops_left(self) -> float:
        """Of a measure sweep exactly, for budgets in steps or FLOPs; else by the mean cost of a trial so far."""
        budget = self.ledger.spec.base.fit.budget
        planned = self.ledger.planned
        if planned and budget.unit in {"steps", "train_flops"}:
            total = sum(step_flops(c) * budget.amount if budget.unit == "steps" else budget.amount for c in planned)
            return max(0.0, total - self._flops_done())
        ended = max(1, len(self.ledger.results))
        return self._flops_done() / ended * (self.ledger.total - ended)


def pareto_front(search: Search, records: list[Record]) -> list[Record]:
    """Completed trials that keep all constraints and that no other such trial beats in one objective and equals in the rest."""
    chosen = [record for record in records if record["outcome"] == "completed" and search.is_feasible(record)]
    signs = np.array([1 if objective.goal == "maximize" else -1 for objective in search.objectives])
    values = (
        np.array([[record[objective.metric] for objective in search.objectives] for record in chosen]).reshape(-1, len(signs))
        * signs
    )
    front: list[int] = []
    # Whoever beats a trial comes before it in this order, so that a trial is compared with the front alone.
    for index in np.lexsort(values.T[::-1])[::-1]:
        better = values[front]
        if not ((better >= values[index]).all(axis=1) & (better > values[index]).any(axis=1)).any():
            front.append(index)
    return [chosen[index] for index in sorted(front)]


def best_record(ledger: Ledger) -> Record | None:
    """The best completed trial, as `Ledger.best` has it."""
    return next(iter(ledger.best(1)), None)


def failures(ledger: Ledger) -> list[str]:
    """A line for each failed trial, in the order in which they ended."""
    failed = [record for record in list(ledger.results.values()) if record["outcome"] == "failed"]
    return [f"failed: {record['fingerprint']}: {record['reason']}" for record in failed]


def clock(seconds: float) -> str:
    """`m:ss`, or `h:mm:ss` from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
