"""Data of one trial: its splits, and an endless stream of training batches whose order is a function of (seed, step)."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from lightning_modules.columns import OWN_COLUMNS
from lightning_modules.config import TrialConfig
from rrm.errors import UserError
from rrm.tasks import Examples, Task, TaskConfig, build_task
from rrm.tasks.cache import Data, load_data
from rrm.tasks.task import IGNORED, PAD
from rrm.trial_model import Batch


@lru_cache(maxsize=4)  # trials that share a warm process share their data
def load_splits(config: TaskConfig) -> Data:
    """The task and its splits; `task.seed` alone determines them.

    Raises:
        UserError: as `load_data`, or a fact of the task has the name of a column that every record has.
    """
    data = load_data(build_task(config))
    clash = min(OWN_COLUMNS & data.facts.keys(), default=None)
    if clash is not None:
        problem = f"facts must not have {clash!r}, a column of every record: choose another name"
        raise UserError(f"task {type(data.task).__name__}", problem)
    return data


def data_columns(config: TaskConfig) -> dict[str, Any]:
    """Columns of a record that identify its data."""
    data = load_splits(config)
    return {"data_fingerprint": data.fingerprint, **data.facts}


def to_batch(examples: Examples) -> Batch:
    """Rows as the tensors that a model takes."""
    labels = np.where(examples.labels == PAD, np.int32(IGNORED), examples.labels)
    return {
        "inputs": torch.from_numpy(examples.inputs.astype(np.int32)),
        "labels": torch.from_numpy(labels),
        "puzzle_identifiers": torch.from_numpy(examples.puzzle_identifiers.astype(np.int32)),
    }


class TrainingStream(IterableDataset[Batch]):
    """Batches from `first_step` on, without end: the training rows in the order of the task, each augmented anew.

    Every batch is a function of the seed and its step alone, so that a resumed trial gets the batches of an uninterrupted one.
    """

    def __init__(self, task: Task, examples: Examples, config: TrialConfig, first_step: int) -> None:
        self.task, self.config, self.first_step = task, config, first_step
        self.examples, self.order = examples, task.training_order(examples, config.seed)

    def __iter__(self) -> Iterator[Batch]:
        step = self.first_step
        while True:
            yield self.batch(step)
            step += 1

    def batch(self, step: int) -> Batch:
        """The batch of optimizer step `step` (from 0)."""
        size = self.config.fit.batch_size
        examples = self.examples.take(self.order.rows(step * size, size))
        if self.config.task.augments:
            examples = self.task.augment(examples, np.random.default_rng([self.config.seed, step]))
        return to_batch(examples)


class TaskData(pl.LightningDataModule):
    """The task's splits; only training goes through a loader, splits are scored whole (see `evaluation.py`)."""

    def __init__(self, config: TrialConfig) -> None:
        super().__init__()
        self.config = config
        data = load_splits(config.task)
        self.task, self.splits = data.task, data.splits

    def train_dataloader(self) -> DataLoader[Batch]:
        first_step = self.trainer.global_step if self.trainer else 0  # not 0 in a resumed trial
        stream = TrainingStream(self.task, self.splits["train"], self.config, first_step)
        return DataLoader(stream, batch_size=None)
