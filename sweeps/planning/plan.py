"""What a sweep will do and cost, before anything is spent."""

import itertools
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.table import Table

from lightning_modules.config import TrialConfig
from lightning_modules.record import describe
from rrm.errors import UserError
from sweeps.design.short_names import axis_name
from sweeps.planning.costs import Costs, concurrent_trials, measure_costs, train_flops
from sweeps.planning.forecast import forecast_lines
from sweeps.planning.warm_start import warm_results
from sweeps.spec.sweep import SweepSpec
from sweeps.store.store import Store

MOST_CORNERS = 64
FILE_WIDTH = 120  # of the table where it goes into a file or a pipe
Records = Mapping[str, dict[str, Any]]  # by fingerprint


def print_plan(spec: SweepSpec, console: Console) -> None:
    """Design, cost of each cell (or corner of the space), what is done and what is left, and the exponent to expect.

    Raises:
        UserError: the search starts from a sweep that has no completed trials, or from itself.
    """
    warm_results(spec)
    trials = spec.design() if spec.measure else corners(spec)
    results = _results(spec)
    costs = measure_costs(trials, spec.resources)
    if not console.is_terminal:
        console.width = max(console.width, FILE_WIDTH)
    console.print(_table(spec, trials, costs))
    lines = [_left(spec, trials, costs, results), *_warnings(spec, trials, costs)]
    if spec.measure:
        lines += forecast_lines(spec, results)
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def corners(spec: SweepSpec) -> list[TrialConfig]:
    """Trials at the ends of a search's ranges, every combination where they are few, without those that cannot be solved for."""
    assert spec.search is not None
    ends = {path: domain.values_to_check() for path, domain in spec.search.space.items()}
    extremes = {path: sorted({values[0], values[-1]}, key=repr) for path, values in ends.items()}
    found = []
    for combination in itertools.islice(itertools.product(*extremes.values()), MOST_CORNERS):
        try:
            found.append(spec.trial_with(dict(zip(extremes, combination, strict=True)), "search.space"))
        except UserError as error:
            if not error.path.startswith("search.tie"):
                raise
    return found or [spec.base]


def _results(spec: SweepSpec) -> dict[str, dict[str, Any]]:
    """Finished trials of this sweep, by fingerprint; none where it was never run."""
    return Store(spec.location).results()


def _table(spec: SweepSpec, trials: list[TrialConfig], costs: Costs) -> Table:
    table = Table(title=_headline(spec), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    memory = "GPU memory" if costs.on_gpu else "memory"
    columns = ("params", "layers executed", "train FLOPs", "FLOPs a puzzle", memory, "time")
    for column in (*map(axis_name, spec.varied_paths), *columns):
        table.add_column(column, justify="right")
    for trial in [trial for trial in trials if trial.seed == 0]:
        record = describe(trial)
        table.add_row(
            *[str(record.get(path, "-")) for path in spec.varied_paths],
            f"{record['params']:,}",
            str(record["layers_executed"]),
            f"{train_flops(trial):.1e}",
            f"{record['inference_flops']:.1e}",
            gigabytes(costs.memory_bytes(trial)),
            duration(costs.trial_seconds(trial)),
        )
    return table


def _headline(spec: SweepSpec) -> str:
    if spec.measure:
        cells = len(spec.design()) // spec.measure.seeds
        return f"{spec.name}: measure, {cells} cells x {spec.measure.seeds} seeds at equal {spec.measure.matching}"
    assert spec.search is not None
    return f"{spec.name}: search, {spec.search.num_trials} trials by {spec.search.sampler.kind}; corners of the space"


def _left(spec: SweepSpec, trials: list[TrialConfig], costs: Costs, results: Records) -> str:
    """Trials that are done, and the wall time and hours of those that are left, extrapolated from the measured steps.

    Of a search nobody knows which trials come: each counts as the dearest corner.
    """
    if spec.measure:
        done = {trial.fingerprint for trial in trials if trial.fingerprint in results}
        total, roughly = len(trials), "about"
        seconds = [costs.trial_seconds(trial) for trial in trials if trial.fingerprint not in done]
    else:
        assert spec.search is not None
        confirm = spec.search.confirm
        total, roughly = spec.search.num_trials + (confirm.top * confirm.seeds if confirm else 0), "at most about"
        done = set(results)
        seconds = [max(map(costs.trial_seconds, trials))] * max(0, total - len(done))
    if not seconds:
        return f"{_done(done, total, results)}; nothing to run"
    together = concurrent_trials(spec.resources)
    wall = max([*seconds, sum(seconds) / together])
    unit, share = ("GPU", spec.resources.gpus) if spec.resources.gpus else ("core", spec.resources.cpus)
    left = f"{_done(done, total, results)}; {len(seconds)} to run" if done else f"{total} trials"
    return (
        f"{left}, {roughly} {duration(wall)} on this machine, {together} at once (from timed steps; start-up comes on top), "
        f"{roughly} {sum(seconds) * share / 3600:.2g} {unit}-hours"
    )


def _done(done: set[str], total: int, results: Records) -> str:
    outcomes = Counter(results[fingerprint]["outcome"] for fingerprint in done)
    others = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()) if outcome != "completed")
    return f"{len(done)} of {total} trials are finished{f' ({others})' if others else ''}"


def _warnings(spec: SweepSpec, trials: list[TrialConfig], costs: Costs) -> list[str]:
    """Where the dearest trial may not fit, and where the clock is another machine's."""
    found, resources = [], spec.resources
    most_bytes = max(map(costs.memory_bytes, trials))
    if not costs.on_gpu and resources.memory_gb is not None and most_bytes > resources.memory_gb * 1e9:
        found.append(f"warning: resources.memory_gb is {resources.memory_gb:g}, a trial needs about {gigabytes(most_bytes)}")
    if costs.on_gpu:
        room_bytes = torch.cuda.get_device_properties(0).total_memory * min(1.0, resources.gpus)
        if most_bytes > room_bytes:
            found.append(
                f"warning: resources.gpus {resources.gpus:g} leaves a trial {gigabytes(room_bytes)} of this GPU, "
                f"the dearest needs about {gigabytes(most_bytes)}"
            )
    if resources.gpus and not costs.on_gpu:
        found.append(f"warning: resources.gpus is {resources.gpus:g} and there is no GPU here: time, hours and memory are a CPU's")
    return found


def gigabytes(count: float) -> str:
    """Bytes for people."""
    return f"{count / 1e9:.2g} GB"


def duration(seconds: float) -> str:
    """A length of time in the unit in which people would say it."""
    for unit, size, enough in (("s", 1, 90), ("min", 60, 90), ("h", 3600, 72)):
        if seconds < enough * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 86400:.3g} days"
