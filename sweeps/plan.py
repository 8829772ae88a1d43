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
from rrm.optim import build_optimizer
from sweeps.screen import clock
from sweeps.spec import SweepSpec

WARMUP_STEPS, TIMED_STEPS = 3, 10


@dataclass(frozen=True)
class StepTime:
    """Seconds of a training step as a straight line over its FLOPs, measured at the cheapest and the dearest cell."""

    fixed_seconds: float
    seconds_per_flop: float

    def trial_seconds(self, config: TrialConfig) -> float:
        """Training time of a trial, evaluation left out."""
        if config.fit.budget.unit == "seconds":
            return config.fit.budget.amount
        return expected_steps(config) * (self.fixed_seconds + self.seconds_per_flop * step_flops(config))


def expected_steps(config: TrialConfig) -> float:
    """Optimizer steps that a budget allows; for fresh examples under act at most so many."""
    budget = config.fit.budget
    per_step = {
        "steps": 1.0,
        "train_flops": step_flops(config),
        "fresh_examples": config.fit.batch_size / config.model.trained_depth,
    }
    return budget.amount / per_step[budget.unit]


def measure_step_time(trials: list[TrialConfig]) -> StepTime:
    """Time real training steps of the cheapest and the dearest trial on this machine, one thread."""
    cheap, dear = min(trials, key=step_flops), max(trials, key=step_flops)
    low, high = _step_seconds(cheap), _step_seconds(dear)
    spread = step_flops(dear) - step_flops(cheap)
    slope = max(0.0, (high - low) / spread) if spread else 0.0
    return StepTime(max(0.0, low - slope * step_flops(cheap)), slope)


def _step_seconds(config: TrialConfig) -> float:
    """Median seconds of a training step."""
    torch.set_num_threads(1)
    pl.seed_everything(config.seed, verbose=False)
    task, splits = load_splits(config.task)
    stream = TrainingStream(task, splits["train"], config, first_step=0)
    module = RecursiveModule(config)
    optimizer = build_optimizer(module.reasoner, config.optim)
    seconds = []
    for step in range(WARMUP_STEPS + TIMED_STEPS):
        started = time.perf_counter()
        loss = module.training_step(stream.batch(step), step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        module.average.update_parameters(module.reasoner)
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds[WARMUP_STEPS:]))


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
    table = Table(title=_headline(spec), title_justify="left", box=box.SIMPLE_HEAD)
    for path in varied:
        table.add_column(path.split(".")[-1].replace("_", " "), justify="right")
    for column in ("params", "layers executed", "train FLOPs", "FLOPs a puzzle", "training time"):
        table.add_column(column, justify="right")
    for trial in [trial for trial in trials if trial.seed == 0]:
        record = describe(trial)
        flops = expected_steps(trial) * step_flops(trial) if trial.fit.budget.unit != "seconds" else float("nan")
        table.add_row(
            *[str(record[path]) for path in varied],
            f"{record['params']:,}",
            str(record["layers_executed"]),
            f"{flops:.2e}",
            f"{record['inference_flops']:.2e}",
            clock(step_time.trial_seconds(trial)),
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
    how = f"{concurrent} at once (steps measured here, one thread)"
    if spec.measure:
        minutes = sum(seconds) / concurrent / 60
        return f"{len(trials)} trials, about {minutes:.1f} minutes of training, {how}"
    assert spec.search is not None
    minutes = spec.search.num_trials * max(seconds) / concurrent / 60
    return f"{spec.search.num_trials} trials, at most about {minutes:.1f} minutes of training, {how}"
