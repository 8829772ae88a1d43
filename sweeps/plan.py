"""What a sweep will do and cost, before anything is spent."""

import itertools
import time
from dataclasses import dataclass

import lightning.pytorch as pl
import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.table import Table

from lightning_modules.config import TrialConfig
from lightning_modules.datamodule import TrainingStream, load_splits
from lightning_modules.module import RecursiveModule
from lightning_modules.record import describe, step_flops
from rrm.compute import inference_flops
from rrm.config import axis_name
from rrm.optim import build_optimizer
from sweeps.spec import SweepSpec

WARMUP_STEPS, TIMED_STEPS = 3, 10
MOST_TIMED_FLOPS = 5e9  # of a step on a CPU, about a second
MOST_TIMED_SECONDS = 10.0  # of all steps of one trial


@dataclass(frozen=True)
class StepTime:
    """Seconds of a training step as a straight line over its FLOPs, measured at the cheapest and the dearest cell."""

    fixed_seconds: float
    seconds_per_flop: float

    def trial_seconds(self, config: TrialConfig) -> float:
        """Time of a trial: training, validations, and the depth curves at the end."""
        evaluation = self.seconds_per_flop * evaluation_flops(config)
        if config.fit.budget.unit == "seconds":
            return config.fit.budget.amount + evaluation
        return evaluation + expected_steps(config) * (self.fixed_seconds + self.seconds_per_flop * step_flops(config))


def expected_steps(config: TrialConfig) -> float:
    """Optimizer steps that a budget allows; for fresh examples under act at most so many."""
    budget = config.fit.budget
    per_step = {
        "steps": 1.0,
        "train_flops": step_flops(config),
        "fresh_examples": config.fit.batch_size / config.model.trained_depth,
    }
    return budget.amount / per_step[budget.unit]


def evaluation_flops(config: TrialConfig) -> float:
    """FLOPs of scoring: the validation split at D = N_sup each time, then both splits at every depth."""
    splits = load_splits(config.task).splits
    validation, test = len(splits["validation"]), len(splits["test"]) + len(splits.get("ood", []))
    step = inference_flops(config.model, config.task.shape, depth=1)
    during = config.eval.validations * validation * config.model.trained_depth
    return step * (during + config.eval.max_depth * (validation + config.eval.rollouts * test))


def measure_step_time(trials: list[TrialConfig]) -> StepTime:
    """Time real training steps of the cheapest and the dearest trial on this machine: its GPU, or one thread."""
    cheap, dear = min(trials, key=step_flops), max(trials, key=step_flops)
    low, high = _step_seconds(cheap), _step_seconds(dear)
    spread = step_flops(dear) - step_flops(cheap)
    slope = max(0.0, (high - low) / spread) if spread else high / step_flops(dear)
    return StepTime(max(0.0, low - slope * step_flops(cheap)), slope)


def _step_seconds(config: TrialConfig) -> float:
    """Median seconds of a training step; a step that would take long is timed on a part of its batch and scaled."""
    torch.set_num_threads(1)
    pl.seed_everything(config.seed, verbose=False)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    whole = config.fit.batch_size
    part = whole if device.type == "cuda" else max(1, min(whole, round(whole * MOST_TIMED_FLOPS / step_flops(config))))
    config = config.model_copy(update={"fit": config.fit.model_copy(update={"batch_size": part})})
    data = load_splits(config.task)
    stream = TrainingStream(data.task, data.splits["train"], config, first_step=0)
    module = RecursiveModule(config).to(device)
    optimizer = build_optimizer(module.reasoner, config.optim)
    seconds, deadline = [], time.perf_counter() + MOST_TIMED_SECONDS
    for step in range(WARMUP_STEPS + TIMED_STEPS):
        started = time.perf_counter()
        batch = {name: rows.to(device) for name, rows in stream.batch(step).items()}
        loss = module.training_step(batch, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        module.average.update_parameters(module.reasoner)
        seconds.append(time.perf_counter() - started)
        if time.perf_counter() > deadline:
            break
    warm = seconds[WARMUP_STEPS:] or seconds
    return float(np.median(warm)) * whole / part


def corners(spec: SweepSpec) -> list[TrialConfig]:
    """Trials at the ends of a search's ranges, every combination where they are few."""
    assert spec.search is not None
    ends = {path: domain.values_to_check() for path, domain in spec.search.space.items()}
    extremes = {path: sorted({values[0], values[-1]}, key=repr) for path, values in ends.items()}
    combinations = itertools.islice(itertools.product(*extremes.values()), 64)
    return [spec.trial_with(dict(zip(extremes, values, strict=True)), "search.space") for values in combinations]


def print_plan(spec: SweepSpec, console: Console, concurrent: int) -> None:
    """Design, cost of each cell (or corner of the space), total and wall time."""
    trials = spec.design() if spec.measure else corners(spec)
    step_time = measure_step_time(trials)
    varied = spec.varied_paths
    table = Table(title=_headline(spec), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for path in varied:
        table.add_column(axis_name(path), justify="right")
    for column in ("params", "layers executed", "train FLOPs", "FLOPs a puzzle", "time"):
        table.add_column(column, justify="right")
    for trial in [trial for trial in trials if trial.seed == 0]:
        record = describe(trial)
        flops = expected_steps(trial) * step_flops(trial) if trial.fit.budget.unit != "seconds" else float("nan")
        table.add_row(
            *[str(record.get(path, "-")) for path in varied],
            f"{record['params']:,}",
            str(record["layers_executed"]),
            f"{flops:.2e}",
            f"{record['inference_flops']:.2e}",
            duration(step_time.trial_seconds(trial)),
        )
    console.print(table)
    console.print(_total(spec, trials, step_time, concurrent), markup=False, highlight=False, soft_wrap=True)


def _headline(spec: SweepSpec) -> str:
    if spec.measure:
        cells = len(spec.design()) // spec.measure.seeds
        return f"{spec.name}: measure, {cells} cells x {spec.measure.seeds} seeds at equal {spec.measure.matching}"
    assert spec.search is not None
    return f"{spec.name}: search, {spec.search.num_trials} trials by {spec.search.sampler.kind}; corners of the space"


def _total(spec: SweepSpec, trials: list[TrialConfig], step_time: StepTime, concurrent: int) -> str:
    """Training time of the whole sweep, extrapolated from the measured steps."""
    seconds = [step_time.trial_seconds(trial) for trial in trials]
    how = f"{concurrent} at once (from timed steps; start-up comes on top)"
    if spec.measure:
        return f"{len(trials)} trials, about {duration(sum(seconds) / concurrent)} on this machine, {how}"
    assert spec.search is not None
    longest = spec.search.num_trials * max(seconds) / concurrent
    return f"{spec.search.num_trials} trials, at most about {duration(longest)} on this machine, {how}"


def duration(seconds: float) -> str:
    """A length of time in the unit in which people would say it."""
    for unit, size, enough in (("s", 1, 90), ("min", 60, 90), ("h", 3600, 72)):
        if seconds < enough * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 86400:.3g} days"
