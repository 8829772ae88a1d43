"""Events at fixed shares of the budget: validation, checkpoint, report, and the end of training."""

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from lightning_modules.atomic_write import write_atomically
from lightning_modules.columns import TRAIN_CURVE, VALIDATION_CURVE
from lightning_modules.config import TrialConfig
from lightning_modules.datamodule import TaskData
from lightning_modules.evaluation import depth_curve
from lightning_modules.module import RecursiveModule
from lightning_modules.record import Row, value_of
from rrm.files import draft_of

Report = Callable[[Row], bool]  # takes a row; False stops the trial


class BudgetCallback(pl.Callback):
    """Scores the validation split `eval.validations` times, saves before it reports, and stops when the budget is used."""

    def __init__(self, config: TrialConfig, checkpoint: Path | None, best: Path | None, report: Report) -> None:
        self.config, self.checkpoint, self.best, self.report = config, checkpoint, best, report
        self.stopped = False  # `report` returned False before the budget was used

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        assert isinstance(module, RecursiveModule)
        progress = module.progress_at(trainer.global_step)
        due = len(module.rows) + 1
        # The slack absorbs the rounding of a sum of floats, which would delay a validation by a step.
        if progress * self.config.eval.validations >= due - 1e-9:
            row = self._score(trainer, module)
            module.rows.append(row)
            if self.checkpoint is not None:
                with draft_of(self.checkpoint) as draft:
                    trainer.save_checkpoint(draft)
            if self.best is not None and row is max(module.rows, key=_goodness):
                save_weights(module.average.reasoner, self.best)
            self.stopped = not self.report(row)
            module.restart_clock()
        if self.stopped or progress >= 1:
            trainer.should_stop = True

    def report_again(self, rows: list[Row]) -> bool:
        """Report the rows of an earlier attempt, because some may not have arrived; repeats are dropped. True: train on."""
        self.stopped = not all(self.report(row) for row in rows)
        return not self.stopped

    def _score(self, trainer: pl.Trainer, module: RecursiveModule) -> Row:
        """Validation scores at D = N_sup, with the averaged weights."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, TaskData)
        loss = module.take_mean_loss()
        depth = self.config.model.trained_depth
        curve = depth_curve(module.average.reasoner, data.splits["validation"], depth, self.config, halting="fixed")
        scores = {f"{VALIDATION_CURVE}/{name}": value for name, value in curve.at(depth).items()}
        metrics = {f"{TRAIN_CURVE}/loss": loss} | scores
        return Row(step=trainer.global_step, time=time.time_ns() // 1_000_000, metrics=metrics, used=module.used())


def _goodness(row: Row) -> tuple[float, float]:
    """The order of validation scores: exact accuracy, then likelihood; larger is better."""
    accuracy, nll = value_of(row, "val/exact_accuracy"), value_of(row, "val/nll")
    assert accuracy is not None and nll is not None
    return accuracy, -nll


def save_weights(model: torch.nn.Module, path: Path) -> None:
    """Replace a file of weights in one step.

    Raises:
        OSError: the disk is full. (`torch.save` to a path raises a RuntimeError without this reason.)
    """
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    write_atomically(path, buffer.getvalue())
