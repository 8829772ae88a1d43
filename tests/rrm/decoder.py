"""A plain model as a file of `rrm/models`: it is no `Reasoner`, has no carry, and none of the settings of block models."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from rrm.config import BaseModelConfig, Cycles, LossConfig
from rrm.models.base import TrialModel
from rrm.tasks.task import PuzzleShape

if TYPE_CHECKING:
    from torch import Generator, Tensor, device, nn

    from rrm.trial_model import Batch, DepthAnswer, TrainingStart, TrainingStep


class DecoderConfig(BaseModelConfig):
    """An embedding and a linear map over the whole grid."""

    depth_field = "repetitions"

    kind: Literal["decoder"] = "decoder"
    """A plain decoder."""
    token_size: int = Field(8, ge=1)
    """Numbers per token."""
    repetitions: int = Field(1, ge=1)
    """Depth that the training aims at."""

    @property
    def trained_depth(self) -> int:
        return self.repetitions


class Decoder(TrialModel[None]):
    """Depth d scales the logits by d."""

    Config = DecoderConfig

    def __init__(self, config: DecoderConfig, shape: PuzzleShape) -> None:
        from torch import nn

        super().__init__()
        self.config, self.shape = config, shape
        self.embed = nn.Embedding(shape.vocabulary, config.token_size)
        self.head = nn.Linear(config.token_size * shape.length, shape.length * shape.vocabulary)

    def forward(self, inputs: "Tensor") -> "Tensor":
        return self.head(self.embed(inputs.long()).flatten(1)).unflatten(1, (self.shape.length, self.shape.vocabulary))

    def networks(self) -> "dict[nn.Module, int]":
        return {self.head: 1}

    @property
    def device(self) -> "device":
        return self.head.weight.device

    def start_training(self, batch: "Batch") -> "TrainingStart[None]":
        from rrm.trial_model import TrainingStart

        return TrainingStart(None, entered=0)

    def training_step(self, carry: None, batch: "Batch", loss: LossConfig, cycles: Cycles | None = None) -> "TrainingStep[None]":
        import torch

        from rrm.losses import token_nll
        from rrm.trial_model import TrainingStep

        rows = len(batch["inputs"])
        nll = token_nll(self(batch["inputs"]), batch["labels"], loss).mean()
        return TrainingStep(None, nll, entered=rows, left=torch.tensor([rows, rows]))

    def carry_state(self, carry: None) -> dict[str, Any]:
        return {}

    def load_carry(self, state: Mapping[str, Any]) -> None:
        return None

    def answer_depths(
        self, batch: "Batch", depth: int, halting: str = "fixed", generator: "Generator | None" = None
    ) -> "Iterator[DepthAnswer]":
        import torch

        from rrm.trial_model import DepthAnswer

        logits = self(batch["inputs"])
        zero = logits.new_zeros(len(logits))
        for step in range(1, depth + 1):
            yield DepthAnswer(step * logits, zero, zero, zero.double(), torch.full((len(logits),), step))

    def fixed_depth(self, depth: int) -> "nn.Module":
        from torch import nn

        class Scaled(nn.Module):
            def __init__(self, decoder: Decoder) -> None:
                super().__init__()
                self.decoder = decoder

            def forward(self, inputs: "Tensor") -> "Tensor":
                return depth * self.decoder(inputs)

        return Scaled(self)
