"""`RecursiveModule`: a reasoner under Lightning, one optimizer step per supervision step, the carry kept across batches."""

import time
from dataclasses import replace
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.optim import Optimizer

from lightning_modules.config import TrialConfig
from lightning_modules.record import Row, step_flops
from rrm.losses import supervision_loss
from rrm.models import build_reasoner
from rrm.optim import WeightAverage, build_optimizer, set_learning_rates
from rrm.reasoner import Batch, Carry
from rrm.weights import load_weights, read_weights


class Diverged(Exception):
    """The training loss is not finite."""


class RecursiveModule(pl.LightningModule):
    """Trains `reasoner`; `average` holds the weights that are scored and saved.

    Everything that a resumed trial needs beyond Lightning's own state is in `on_save_checkpoint`: the carry, the
    counters, the rows reported so far and the random state.
    """

    def __init__(self, config: TrialConfig) -> None:
        super().__init__()
        self.config = config
        self.reasoner = build_reasoner(config.model, config.task.shape)
        if config.fit.start_from is not None:
            load_weights(self.reasoner, read_weights(config.fit.start_from))
        self.average = WeightAverage(self.reasoner, config.optim)
        self.carry: Carry | None = None
        self.rows: list[Row] = []
        self.fresh_examples = 0  # rows that entered a slot
        self.train_flops = 0
        self.train_seconds = 0.0
        self._left_slots = torch.zeros(2, dtype=torch.int64)  # rows that left a slot, supervision steps that they had
        self._loss_sum, self._loss_count = torch.zeros((), dtype=torch.float64), 0  # since the last report

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """One supervision step of every slot; the loss is per slot, so that it does not grow with the batch."""
        self._set_cycles()
        carry = self._staggered(batch) if self.carry is None else self.carry
        self.fresh_examples += int(carry.halted.sum())
        self.carry, outputs = self.reasoner(carry, batch)
        left = self.carry.halted
        self._left_slots += torch.stack((left.sum(), self.carry.steps[left].sum())).cpu()
        loss = supervision_loss(outputs, self.carry.current["labels"], self.config.loss).total / len(left)
        self._loss_sum += loss.detach().double().cpu()
        self._loss_count += 1
        return loss

    def configure_optimizers(self) -> Optimizer:
        return build_optimizer(self.reasoner, self.config.optim)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Behind the backward pass, when it is known what this step has used up."""
        self.train_flops += step_flops(self.config, self.reasoner.cycles)
        set_learning_rates(optimizer, self.config.optim, self.progress_at(self.global_step + 1))

    def optimizer_step(self, epoch: int, batch_index: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        super().optimizer_step(epoch, batch_index, optimizer, optimizer_closure)
        # Here and not in a hook at the end of the batch: callbacks, which score and save, run before the module's hooks.
        self.average.update_parameters(self.reasoner)
        self.train_seconds += time.perf_counter() - self._clock
        self.restart_clock()

    def restart_clock(self) -> None:
        """Training time counts from here: what lies before (validation, saving) is left out."""
        self._clock = time.perf_counter()

    def progress_at(self, step: int) -> float:
        """Share of the budget that is used up after `step` optimizer steps; 1 or more ends the training."""
        budget = self.config.fit.budget
        used = {
            "steps": step,
            "fresh_examples": self.fresh_examples,
            "train_flops": self.train_flops,
            "seconds": self.train_seconds,
        }[budget.unit]
        return used / budget.amount if budget.amount else 1.0

    def _set_cycles(self) -> None:
        """The (T, n) that the curriculum asks for at this share of the budget; behind it the model's own."""
        progress = self.progress_at(self.global_step)
        stages = [(stage.h_cycles, stage.l_cycles) for stage in self.config.fit.curriculum or [] if progress < stage.until]
        self.reasoner.cycles = stages[0] if stages else self.config.model.cycles

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
            Diverged: it is not finite.
        """
        mean = float(self._loss_sum) / max(1, self._loss_count)
        self._loss_sum.zero_()
        self._loss_count = 0
        if not torch.isfinite(torch.tensor(mean)):
            raise Diverged(f"the training loss is {mean} at step {self.global_step}")
        return mean

    def _staggered(self, batch: Batch) -> Carry:
        """The first carry. Under fixed halting the slots start at steps 0 .. N_sup - 1 in turn.

        Started together, they would all be replaced at once, every N_sup-th step.
        """
        carry = self.reasoner.initial_carry(batch)
        if self.config.model.halting == "fixed" and self.config.model.trained_depth > 1:
            self.fresh_examples += len(carry.steps)
            carry = self.reasoner.enter(carry, batch)
            turn = torch.arange(len(carry.steps), device=carry.steps.device, dtype=carry.steps.dtype)
            carry = replace(carry, steps=turn % self.config.model.trained_depth)
        return carry

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        assert self.carry is not None
        checkpoint["trial"] = {
            "fingerprint": self.config.fingerprint,
            "progress": self.progress_at(self.global_step),
            "carry": vars(self.carry),
            "rows": self.rows,
            "fresh_examples": self.fresh_examples,
            "train_flops": self.train_flops,
            "train_seconds": self.train_seconds,
            "left_slots": self._left_slots,
            "random_state": (torch.get_rng_state(), torch.cuda.get_rng_state_all()),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        saved = checkpoint["trial"]
        self.carry = Carry(**saved["carry"])
        self.rows = saved["rows"]
        self.fresh_examples = saved["fresh_examples"]
        self.train_flops = saved["train_flops"]
        self.train_seconds = saved["train_seconds"]
        self._left_slots = saved["left_slots"]
        self._random_state = saved["random_state"]

    def on_train_start(self) -> None:
        """A resumed trial goes on with the random numbers that it would have drawn, and its carry moves to the device."""
        if self.carry is not None:
            torch.set_rng_state(self._random_state[0].cpu())
            torch.cuda.set_rng_state_all([state.cpu() for state in self._random_state[1]])
            self.carry = self.carry.apply(lambda tensor: tensor.to(self.device))
        self.restart_clock()
