"""`TrialModel`: what a trial requires of a model. Training, scoring, saving, serving and counting of costs use nothing else.

What is known before a model is built (trained depth, what a depth counts, rules of halting) is in `rrm.config.BaseModelConfig`.
`rrm/measure.py` counts parameters, FLOPs and memory on the methods below.

Shapes: B slots (rows of a batch), L grid length, V vocabulary.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn

from rrm.config import BaseModelConfig, Cycles, LossConfig
from rrm.tasks.task import PuzzleShape

Batch = dict[str, Tensor]  # inputs [B, L], labels [B, L], puzzle_identifiers [B]
CarryT = TypeVar("CarryT")  # what a model passes from one training step to the next; callers do not look into it


@dataclass(frozen=True)
class TrainingStart(Generic[CarryT]):
    """The carry before the first training step."""

    carry: CarryT
    entered: int  # rows of the first batch that are in the carry already


@dataclass(frozen=True)
class TrainingStep(Generic[CarryT]):
    """One training step, before its backward pass."""

    carry: CarryT
    loss: Tensor  # scalar, mean over the slots
    entered: int | Tensor  # rows that entered a slot
    left: Tensor  # [2] int64: rows that left a slot, and the steps that these rows had


@dataclass(frozen=True)
class DepthAnswer:
    """The answers to the rows of a batch at one depth. A row that has halted keeps its answer."""

    logits: Tensor  # [B, L, V]
    confidence_logits: Tensor  # [B] above 0: the model takes its answer to be right
    state_change: Tensor  # [B] relative change of the answer state in this step; 0 for a row that has halted
    token_change: Tensor  # [B] share of tokens whose answer changed in this step; 0 for a row that has halted
    steps: Tensor  # [B] steps that the row has had


class TrialModel(nn.Module, ABC, Generic[CarryT]):
    """A model that answers puzzles at depths 1, 2, ... and trains one optimizer step at a call."""

    Config: ClassVar[type[BaseModelConfig]]  # its settings; a class that states them is a model that can be chosen

    config: BaseModelConfig
    shape: PuzzleShape

    def networks(self) -> dict[nn.Module, int]:
        """The networks that a step applies, each with its number of layers. Their parameters count as recursed."""
        return {}

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """The device of the weights."""

    @abstractmethod
    def start_training(self, batch: Batch) -> TrainingStart[CarryT]:
        """The carry before the first training step; `batch` is the first batch."""

    @abstractmethod
    def training_step(self, carry: CarryT, batch: Batch, loss: LossConfig, cycles: Cycles | None = None) -> TrainingStep[CarryT]:
        """One training step; random numbers come from torch's global generator.

        Args:
            cycles: T and n at this point of a curriculum; the model's own where absent.
        """

    @abstractmethod
    def carry_state(self, carry: CarryT) -> dict[str, Any]:
        """The carry as tensors by name (nested dicts are allowed), for a checkpoint."""

    @abstractmethod
    def load_carry(self, state: Mapping[str, Any]) -> CarryT:
        """The carry that `carry_state` returned, on the device of the weights."""

    @abstractmethod
    def answer_depths(
        self, batch: Batch, depth: int, halting: str = "fixed", generator: torch.Generator | None = None
    ) -> Iterator[DepthAnswer]:
        """The answers at depths 1 .. depth.

        Args:
            halting: one of `config.halting_rules`.
            generator: source of noise and random states; torch's global one where absent.
        """

    @abstractmethod
    def fixed_depth(self, depth: int) -> nn.Module:
        """A module that torch.export accepts: inputs [N, L] (and identifiers [N]) in, logits [N, L, V] at a depth out."""


def puzzle_batch(inputs: Tensor, puzzle_identifiers: Tensor | None) -> Batch:
    """Puzzles [N, L] without labels as a batch; the identifier is 0 where absent."""
    identifiers = torch.zeros_like(inputs[:, 0]) if puzzle_identifiers is None else puzzle_identifiers
    return {
        "inputs": inputs.to(torch.int32),
        "labels": torch.zeros_like(inputs, dtype=torch.int32),
        "puzzle_identifiers": identifiers.to(torch.int32),
    }
