"""Training steps without a trainer, for the timing of a plan and of a benchmark."""

import torch

from lightning_modules.config import TrialConfig
from lightning_modules.datamodule import TrainingStream, load_splits
from lightning_modules.module import RecursiveModule
from rrm.optim import build_optimizer


class BareTraining:
    """A trial in training on one device, one optimizer step at a call; no validation, no checkpoint, no schedule."""

    def __init__(self, config: TrialConfig, device: torch.device) -> None:
        self.device = device
        data = load_splits(config.task)
        self.stream = TrainingStream(data.task, data.splits["train"], config, first_step=0)
        self.module = RecursiveModule(config).to(device)
        self.optimizer = build_optimizer(self.module.reasoner, config.optim)
        self.steps = 0  # number of optimizer steps so far

    def step(self) -> None:
        """Make the next batch, train on it, and update the averaged weights; returns before a GPU has finished."""
        # Lightning moves a batch without waiting for it, too.
        batch = {name: rows.to(self.device, non_blocking=True) for name, rows in self.stream.batch(self.steps).items()}
        loss = self.module.training_step(batch, self.steps)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.module.average.update_parameters(self.module.reasoner)
        self.steps += 1


def wait_for(device: torch.device) -> None:
    """Return when the device has finished all work that was given to it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
