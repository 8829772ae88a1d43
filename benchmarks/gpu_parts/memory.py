"""Is the closed form of training memory, by which sweeps share a card, near the peak that the card shows?"""

from collections.abc import Iterator

import torch

from gpu_parts.figure import Figure, Setting
from gpu_parts.trials import MODELS, free_memory, paper_trial, small_trial
from lightning_modules.config import TrialConfig
from lightning_modules.memory import training_bytes
from lightning_modules.steps import BareTraining

STEPS = 3


def figures(setting: Setting) -> Iterator[Figure]:
    """For the papers' models and small widths: estimate, allocated peak, and their ratio; a batch that does not fit is halved."""
    trials = [(f"width {width}", small_trial(width, setting.tiny)) for width in ((32,) if setting.tiny else (64, 128, 256))]
    for name in MODELS:
        trials.append((name, paper_trial(name, setting.tiny)))
    for name, config in trials:
        peak_bytes, config = _fitting_peak(name, config, setting)
        label = f"{name}, {config.fit.batch_size} slots"
        yield Figure(f"{label}, estimate", training_bytes(config) / 1e9, "GB")
        if peak_bytes is None:
            yield Figure(f"{label}, peak", "not counted on a CPU")
        else:
            yield Figure(f"{label}, peak", peak_bytes / 1e9, "GB")
            yield Figure(f"{label}, peak to estimate", peak_bytes / training_bytes(config), "ratio")


def _fitting_peak(name: str, config: TrialConfig, setting: Setting) -> tuple[int | None, TrialConfig]:
    """Peak of the largest batch that fits, among the trial's own and its halves, and the trial at that batch."""
    while True:
        free_memory()
        try:
            return _peak_bytes(config, torch.device(setting.device)), config
        except torch.OutOfMemoryError:
            slots = config.fit.batch_size // 2
        if not slots:
            raise RuntimeError(f"{name} does not fit this card with a single slot")
        config = config.model_copy(update={"fit": config.fit.model_copy(update={"batch_size": slots})})


def _peak_bytes(config: TrialConfig, device: torch.device) -> int | None:
    """Largest memory that torch had allocated during some training steps, in bytes; None on a CPU."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    training = BareTraining(config, device)
    for _ in range(STEPS):
        training.step()
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
