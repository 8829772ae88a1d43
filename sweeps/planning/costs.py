"""What a trial costs: FLOPs and memory in closed form, seconds extrapolated from timed steps."""

import time
from dataclasses import dataclass

import lightning.pytorch as pl
import numpy as np
import torch

from lightning_modules.config import TrialConfig
from lightning_modules.datamodule import load_splits
from lightning_modules.memory import training_bytes
from lightning_modules.record import expected_steps, step_flops
from lightning_modules.steps import BareTraining, wait_for
from rrm.compute import inference_flops
from rrm.errors import UserError
from sweeps.spec.resources import GIGABYTE, Resources

WARMUP_STEPS, TIMED_STEPS = 3, 10
MAX_TIMED_FLOPS = 5e9  # FLOPs of a timed step on a CPU: about a second
MAX_TIMED_SECONDS = 10.0  # limit for all timed steps of one trial
PROCESS_BYTES = 0.6e9  # memory of a worker without its model: torch, Lightning, Ray (from the records of the demo)
HEAP_FACTOR = 1.5  # memory of a process on a CPU per byte in use; freed blocks remain allocated


@dataclass(frozen=True)
class Costs:
    """Memory of a trial, and seconds of a training step: a line over FLOPs through the cheapest and the most expensive cell."""

    fixed_seconds: float
    seconds_per_flop: float
    on_gpu: bool
    memory_factor: float = HEAP_FACTOR  # factor over the closed form; on a GPU measured at the most expensive cell

    def trial_seconds(self, config: TrialConfig) -> float:
        """Time of a trial: training, validations, and the depth curves at the end."""
        evaluation = self.scoring_seconds(config) + self.seconds_per_flop * validation_flops(config)
        if config.fit.budget.unit == "seconds":
            return config.fit.budget.amount + evaluation
        return evaluation + expected_steps(config) * (self.fixed_seconds + self.seconds_per_flop * step_flops(config))

    def scoring_seconds(self, config: TrialConfig) -> float:
        """Time of the depth curves at the end of a trial, which is all that a trial takes that is not trained."""
        return self.seconds_per_flop * scoring_flops(config)

    def memory_bytes(self, config: TrialConfig) -> float:
        """Memory of a trial: of the GPU, or on a CPU of its whole process."""
        return self.memory_factor * training_bytes(config) + (0 if self.on_gpu else PROCESS_BYTES)


def validation_flops(config: TrialConfig) -> float:
    """FLOPs of the validations during training, at D = N_sup."""
    rows = len(load_splits(config.task).splits["validation"])
    step = inference_flops(config.model, config.task.shape, depth=1)
    return step * config.eval.validations * rows * config.model.trained_depth


def scoring_flops(config: TrialConfig) -> float:
    """FLOPs of the depth curves at the end: every split at every depth."""
    splits = load_splits(config.task).splits
    validation, test = len(splits["validation"]), len(splits["test"]) + len(splits.get("ood", []))
    step = inference_flops(config.model, config.task.shape, depth=1)
    return step * config.eval.max_depth * (validation + config.eval.rollouts * test)


def measure_costs(trials: list[TrialConfig], resources: Resources) -> Costs:
    """Time real training steps of the cheapest and the most expensive trial on this machine, with a trial's threads or GPU.

    Raises:
        UserError: a trial does not fit the GPU.
    """
    on_gpu = bool(resources.gpus) and torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    torch.set_num_threads(max(1, int(resources.cpus)))
    cheapest, largest = min(trials, key=step_flops), max(trials, key=step_flops)
    low, _ = _measure_steps(cheapest, device)
    high, peak_bytes = _measure_steps(largest, device)
    spread = step_flops(largest) - step_flops(cheapest)
    slope = max(0.0, (high - low) / spread) if spread else high / step_flops(largest)
    fixed = max(0.0, low - slope * step_flops(cheapest))
    return Costs(fixed, slope, on_gpu, peak_bytes / training_bytes(largest) if on_gpu else HEAP_FACTOR)


def _measure_steps(config: TrialConfig, device: torch.device) -> tuple[float, int]:
    """Median seconds of a training step, and the peak memory of the GPU in bytes (0 on a CPU).

    On a CPU a step that would take long is timed on a part of its batch and scaled.
    """
    pl.seed_everything(config.seed, verbose=False)
    whole = config.fit.batch_size
    part = whole if device.type == "cuda" else max(1, min(whole, round(whole * MAX_TIMED_FLOPS / step_flops(config))))
    config = config.model_copy(update={"fit": config.fit.model_copy(update={"batch_size": part})})
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    try:
        seconds = _time_steps(config, device)
    except torch.OutOfMemoryError:
        memory = torch.cuda.get_device_properties(device).total_memory / GIGABYTE
        raise UserError(
            "trial.fit.batch_size", f"the most expensive trial does not fit a GPU of {memory:.0f} GB, got {whole}"
        ) from None
    peak_bytes = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    return float(np.median(seconds[WARMUP_STEPS:] or seconds)) * whole / part, peak_bytes


def _time_steps(config: TrialConfig, device: torch.device) -> list[float]:
    """Seconds of each of the first training steps."""
    training = BareTraining(config, device)
    seconds: list[float] = []
    deadline = time.perf_counter() + MAX_TIMED_SECONDS
    while len(seconds) < WARMUP_STEPS + TIMED_STEPS and time.perf_counter() < deadline:
        started = time.perf_counter()
        training.step()
        wait_for(device)
        seconds.append(time.perf_counter() - started)
    return seconds
