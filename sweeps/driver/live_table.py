"""The output of a running sweep: a live table on a terminal; elsewhere a line for each ended trial, and a summary in between."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lightning_modules.outcome import Outcome
from lightning_modules.record import Record, train_flops, used_of, value_of
from sweeps.driver.ledger import Ledger, LiveTrial
from sweeps.planning.donors import sort_remaining
from sweeps.spec.best import describe_score
from sweeps.spec.search import Search

REFRESH_SECONDS = 1.0
POLL_SECONDS = 0.5  # time between two readings of the ledger without a terminal
HEARTBEAT_SECONDS = 15.0  # longest time without a line without a terminal
SHOWN_FAILURES = 5  # number of failures below the table, the latest ones


class LiveTable:
    """Reads the ledger and never changes it."""

    def __init__(self, ledger: Ledger, console: Console) -> None:
        self.ledger, self.console = ledger, console
        self.started = time.monotonic()
        left = [config for config in ledger.spec.design if config.fingerprint not in ledger.results]
        self.scored = {config.fingerprint for config in sort_remaining(left, ledger.donors).scored}  # trials that are not trained
        self.scored |= {name for name, record in ledger.results.items() if "scored_from" in record}
        self.done_before = len(ledger.results)
        self.flops_before = self._flops_done()
        self.at_once = 1  # largest number of trials that ran together

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Draw while the block runs."""
        if self.console.is_terminal:
            with Live(get_renderable=self.render, console=self.console, refresh_per_second=1 / REFRESH_SECONDS, transient=True):
                yield
            return
        news = self._news()
        with lines(self.console, lambda: next(news), self._heartbeat):
            yield

    def _news(self) -> Iterator[list[str]]:
        """Without end: lines on the first trial and on the trials that have ended since the last reading."""
        shown, has_begun = set(self.ledger.results), False
        while True:
            lines = []
            if not has_begun and (first := next(iter(list(self.ledger.live.values())), None)) is not None:
                has_begun = True
                lines.append(f"first trial: {self.ledger.tracker.name(first.config)}")
            ended = [record for name, record in list(self.ledger.results.items()) if name not in shown]
            shown |= {record["fingerprint"] for record in ended}
            lines += [f"{self._ending(record)} | {self.summary()}" for record in ended]
            yield lines

    def _ending(self, record: Record) -> str:
        """`width=16 n=1 seed0: completed, val exact accuracy 0.813`, or why it failed."""
        name, score = self.ledger.tracker.name_of_record(record), record.get("val/exact_accuracy")
        scored = f"val exact accuracy {score:.3f}" if score is not None else ""
        why = str(record["reason"]) if record["outcome"] == Outcome.FAILED else scored
        origin = f"from the weights of {record['scored_from']}" if "scored_from" in record else ""
        return f"{name}: {', '.join(filter(None, (record['outcome'], why, origin)))}"

    def _heartbeat(self) -> str:
        """The summary, and the last step of each running trial."""
        running = [trial for trial in list(self.ledger.live.values()) if trial.rows]
        steps = ", ".join(f"{self.ledger.tracker.name(trial.config)} at step {trial.rows[-1]['step']}" for trial in running)
        return " | ".join(filter(None, (self.summary(), steps or "no validation of a running trial yet")))

    def render(self) -> RenderableType:
        """The table: the summary, the running trials, and the reasons of the latest failures."""
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
        counts = {outcome: sum(r["outcome"] == outcome for r in results) for outcome in Outcome}
        parts = [f"{self.ledger.spec.name}: {len(results)} of {self.ledger.spec.total} trials"]
        parts += [f"{count} {outcome}" for outcome, count in counts.items() if count and outcome != Outcome.COMPLETED]
        scored = sum("scored_from" in record for record in results)
        parts += [f"{scored} scored from weights of other trials"] if scored else []
        best = best_record(self.ledger)
        if best is not None:
            parts.append(f"best so far: {describe_score(self.ledger.spec, best)}")
        if self.ledger.spec.search and len(self.ledger.spec.search.objectives) > 1:
            parts.append(f"{len(pareto_front(self.ledger.spec.search, results))} on the Pareto front")
        if self.ledger.tracker.delivery.problem:
            parts.append("tracking is behind")
        parts.append(self._time_left())
        return " | ".join(parts)

    def _cells(self, trial: LiveTrial) -> list[RenderableType]:
        name = self.ledger.tracker.name(trial.config)
        if not trial.rows:
            return [name, "scoring" if trial.donor else "starting", "", "", ""]
        row = trial.rows[-1]
        unit = trial.config.fit.budget.unit
        share = used_of(row, unit) / trial.config.fit.budget.amount
        bar = ProgressBar(total=1.0, completed=min(1.0, share), width=20)
        return [
            name,
            bar,
            str(row["step"]),
            f"{value_of(row, 'val/exact_accuracy'):.3f}",
            f"{value_of(row, 'val/nll'):.3f}",
        ]

    def _time_left(self) -> str:
        """The elapsed time, and the time left by the training FLOPs since this driver started.

        The time left appears once as many trials have ended as run at once, because the first ones start up together.
        """
        elapsed = time.monotonic() - self.started
        self.at_once = max(self.at_once, len(self.ledger.live))
        ended = len(self.ledger.results) - self.done_before
        done = self._flops_done() - self.flops_before
        if ended < self.at_once or done <= 0:
            return f"{clock(elapsed)} elapsed"
        return f"{clock(elapsed)} elapsed, {clock(elapsed * self._flops_left() / done)} left"

    def _flops_done(self) -> float:
        ended = sum(float(record.get("train_flops", 0)) for record in self._trained())
        running = sum(trial.rows[-1]["used"]["train_flops"] for trial in list(self.ledger.live.values()) if trial.rows)
        return ended + running

    def _flops_left(self) -> float:
        """Of a measure sweep what its budgets allow; else by the mean cost of a trial so far."""
        planned = [config for config in self.ledger.spec.design if config.fingerprint not in self.scored]
        if planned:
            return max(0.0, sum(map(train_flops, planned)) - self._flops_done())
        ended = max(1, len(self._trained()))
        return self._flops_done() / ended * (self.ledger.spec.total - len(self.scored) - ended)

    def _trained(self) -> list[Record]:
        """Records of the ended trials that were trained, and not scored from the weights of another one."""
        return [record for name, record in list(self.ledger.results.items()) if name not in self.scored]


@contextmanager
def lines(console: Console, news: Callable[[], list[str]], heartbeat: Callable[[], str]) -> Iterator[None]:
    """Print news while the block runs and once after it, and the heartbeat after `HEARTBEAT_SECONDS` without a line."""
    ended = threading.Event()

    def watch() -> None:
        last = time.monotonic()
        while True:
            is_last = ended.wait(POLL_SECONDS)
            printed = news()
            if not printed and not is_last and time.monotonic() - last >= HEARTBEAT_SECONDS:
                printed = [heartbeat()]
            for line in printed:
                print(line, file=console.file, flush=True)
            last = time.monotonic() if printed else last
            if is_last:
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def starting(console: Console) -> AbstractContextManager[None]:
    """Lines while Ray starts, which takes a minute on a busy machine."""
    began = time.monotonic()
    return lines(console, list, lambda: f"still starting Ray, {clock(time.monotonic() - began)} so far")


def pareto_front(search: Search, records: list[Record]) -> list[Record]:
    """Completed trials that keep all constraints and that no other such trial beats in one objective and equals in the others."""
    chosen = [record for record in records if record["outcome"] == Outcome.COMPLETED and search.is_feasible(record)]
    signs = np.array([1 if objective.goal == "maximize" else -1 for objective in search.objectives])
    values = (
        np.array([[record[objective.metric] for objective in search.objectives] for record in chosen]).reshape(-1, len(signs))
        * signs
    )
    front: list[int] = []
    # A trial that beats another one comes before it in this order, so that each is compared with the front alone.
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
    failed = [record for record in list(ledger.results.values()) if record["outcome"] == Outcome.FAILED]
    return [f"failed: {record['fingerprint']}: {record['reason']}" for record in failed]


def clock(seconds: float) -> str:
    """`m:ss`, or `h:mm:ss` from an hour on."""
    minutes, remaining_seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{remaining_seconds:02d}" if hours else f"{minutes}:{remaining_seconds:02d}"
