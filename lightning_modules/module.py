"""`RecursiveModule`: a model under Lightning, one optimizer step per training step, the carry kept across batches."""

import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.optim import Optimizer

from lightning_modules.config import TrialConfig
from lightning_modules.record import Row, step_flops
from rrm.config import Cycles
from rrm.format_version import check_format
from rrm.models import build_model
from rrm.optim import WeightAverage, build_optimizer, set_learning_rates
from rrm.trial_model import Batch, TrialModel
from rrm.weights import load_weights, read_weights

CHECKPOINT_FORMAT = 1  # version of checkpoint.ckpt; old files of format 1 state none
RandomState = tuple[Tensor, list[Tensor]]  # states of the generators: the CPU's, then each GPU's


class Diverged(Exception):
    """The training loss is not finite."""


class RecursiveModule(pl.LightningModule):
    """Trains `reasoner` (the name in checkpoints; any `TrialModel`); `average` holds the weights that are scored and saved.

    `on_save_checkpoint` saves what a resumed trial requires beyond Lightning's state: the carry, the counters, the rows
    reported so far and the random state.
    """

    def __init__(self, config: TrialConfig) -> None:
        super().__init__()
        self.config = config
        self.reasoner: TrialModel[Any] = build_model(config.model, config.task.shape)
        if config.fit.start_from is not None:
            load_weights(self.reasoner, read_weights(config.fit.start_from))
        self.average = WeightAverage(self.reasoner, config.optim)
        self.carry: Any = None  # the model's; None before the first step
        self.cycles: Cycles | None = None  # T and n of the latest step where a curriculum sets them
        self.rows: list[Row] = []
        self.fresh_examples = 0  # rows that entered a slot
        self.train_flops = 0
        self.train_seconds = 0.0
        self._left_slots = torch.zeros(2, dtype=torch.int64)  # rows that left a slot, steps that they had
        self._loss_sum, self._loss_count = torch.zeros((), dtype=torch.float64), 0  # since the last report
        self._clock = time.perf_counter()  # start of the training time that is not in `train_seconds` yet
        self._saved_state: tuple[dict[str, Any], RandomState] | None = None  # carry and random state of a checkpoint

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """One training step; the loss is per slot, so that it does not grow with the batch."""
        self.cycles = self._cycles_at(self.progress_at(self.global_step))
        if self.carry is None:
            start = self.reasoner.start_training(batch)
            self.carry = start.carry
            self.fresh_examples += int(start.entered)
        step = self.reasoner.training_step(self.carry, batch, self.config.loss, self.cycles)
        self.carry = step.carry
        self.fresh_examples += int(step.entered)
        self._left_slots += step.left.cpu()
        self._loss_sum += step.loss.detach().double().cpu()
        self._loss_count += 1
        return step.loss

    def configure_optimizers(self) -> Optimizer:
        return build_optimizer(self.reasoner, self.config.optim)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Count the step before the learning rate is set, which depends on the share of the budget used with this step."""
        self.train_flops += step_flops(self.config, self.cycles)
        set_learning_rates(optimizer, self.config.optim, self.progress_at(self.global_step + 1))

    def optimizer_step(self, epoch: int, batch_index: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        super().optimizer_step(epoch, batch_index, optimizer, optimizer_closure)
        # Here and not in a hook at the end of the batch: callbacks, which score and save, run before the module's hooks.
        self.average.update_parameters(self.reasoner)
        self.train_seconds += time.perf_counter() - self._clock
        self.restart_clock()

    def restart_clock(self) -> None:
        """Count training time from now on; the time before (validation, saving) is left out."""
        self._clock = time.perf_counter()

    def progress_at(self, step: int) -> float:
        """Share of the budget that is used after `step` optimizer steps; 1 or more ends the training."""
        budget = self.config.fit.budget
        used = {
            "steps": step,
            "fresh_examples": self.fresh_examples,
            "train_flops": self.train_flops,
            "seconds": self.train_seconds,
        }[budget.unit]
        return used / budget.amount if budget.amount else 1.0

    def _cycles_at(self, progress: float) -> Cycles | None:
        """T and n of the curriculum at a share of the budget; None after its last stage, where the model's own hold."""
        stage = next((stage for stage in self.config.fit.curriculum or [] if progress < stage.until), None)
        return Cycles(stage.h_cycles, stage.l_cycles) if stage else None

    def used(self) -> dict[str, float]:
        """Columns of the record that grow with training."""
        slot_steps = self.global_step * self.config.fit.batch_size
        left, steps = self._left_slots.tolist()
        return {
            "steps": self.global_step,
            "fresh_examples": self.fresh_examples,
            "train_flops": self.train_flops,
            "mean_supervision_steps": steps / left if left else slot_steps / max(1, self.fresh_examples),
            "train_seconds": self.train_seconds,
            "examples_per_second": slot_steps / self.train_seconds if self.train_seconds else 0.0,
        }

    def take_mean_loss(self) -> float:
        """Mean training loss per slot since the last call.

        Raises:
            Diverged: the mean is not finite.
        """
        mean = float(self._loss_sum) / max(1, self._loss_count)
        self._loss_sum.zero_()
        self._loss_count = 0
        if not torch.isfinite(torch.tensor(mean)):
            raise Diverged(f"the training loss is {mean} at step {self.global_step}")
        return mean

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["trial"] = {
            "format": CHECKPOINT_FORMAT,
            "fingerprint": self.config.fingerprint,
            "progress": self.progress_at(self.global_step),
            "carry": self.reasoner.carry_state(self.carry),
            "rows": self.rows,
            "fresh_examples": self.fresh_examples,
            "train_flops": self.train_flops,
            "train_seconds": self.train_seconds,
            "left_slots": self._left_slots,
            "random_state": (torch.get_rng_state(), torch.cuda.get_rng_state_all()),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        saved = checkpoint["trial"]
        self.rows = saved["rows"]
        self.fresh_examples = saved["fresh_examples"]
        self.train_flops = saved["train_flops"]
        self.train_seconds = saved["train_seconds"]
        self._left_slots = saved["left_slots"]
        self._saved_state = saved["carry"], saved["random_state"]

    def on_train_start(self) -> None:
        """A resumed trial continues with its carry, now on the device, and the random numbers of an uninterrupted trial."""
        if self._saved_state is not None:
            carry, (cpu_state, gpu_states) = self._saved_state
            torch.set_rng_state(cpu_state.cpu())
            torch.cuda.set_rng_state_all([state.cpu() for state in gpu_states])
            self.carry = self.reasoner.load_carry(carry)
            self._saved_state = None
        self.restart_clock()


def read_checkpoint(path: Path | None) -> dict[str, Any] | None:
    """The checkpoint of an earlier attempt, None where there is none; no code in it is executed.

    Raises:
        UserError: a later version wrote it.
    """
    if path is None or not path.exists():
        return None
    saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    check_format(saved["trial"].get("format"), CHECKPOINT_FORMAT, str(path))
    return saved
