"""Data of one trial: its splits, and an endless stream of training batches whose order is a function of (seed, step)."""

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from lightning_modules.config import TrialConfig
from rrm.tasks import Examples, Task, TaskConfig, build_task
from rrm.tasks.cache import Data, load_data
from rrm.tasks.task import IGNORED, PAD
from rrm.trial_model import Batch


@lru_cache(maxsize=4)  # trials that share a warm process share their data
def load_splits(config: TaskConfig) -> Data:
    """The task and its splits; `task.seed` alone determines them."""
    return load_data(build_task(config))


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
    """Batches from `first_step` on, without end: one permutation of the training rows after another, each augmented anew.

    Every batch is a function of the seed and its step alone, so that a resumed trial gets the batches of an uninterrupted one.
    """

    def __init__(self, task: Task, examples: Examples, config: TrialConfig, first_step: int) -> None:
        self.task, self.config, self.first_step = task, config, first_step
        self.examples = replace(examples, difficulty={})  # training does not use difficulty

    def __iter__(self) -> Iterator[Batch]:
        step = self.first_step
        while True:
            yield self.batch(step)
            step += 1

    def batch(self, step: int) -> Batch:
        """The batch of optimizer step `step` (from 0)."""
        examples = self.examples.take(self._rows(step))
        if self.config.task.augments:
            examples = self.task.augment(examples, np.random.default_rng([self.config.seed, step]))
        return to_batch(examples)

    def _rows(self, step: int) -> np.ndarray:
        size = self.config.fit.batch_size
        positions = np.arange(step * size, (step + 1) * size)
        passes, offsets = np.divmod(positions, len(self.examples))
        rows = np.empty(size, dtype=np.int64)
        for number in range(int(passes[0]), int(passes[-1]) + 1):
            order = _permutation(self.config.seed, number, len(self.examples))
            rows[passes == number] = order[offsets[passes == number]]
        return rows


@lru_cache(maxsize=8)
def _permutation(seed: int, number: int, count: int) -> np.ndarray:
    """Order of the rows in pass `number` over the training split."""
    return np.random.default_rng([seed, number, count]).permutation(count)


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
