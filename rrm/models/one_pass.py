"""The models without recursion, which recursion must beat: direct prediction, and an untied stack as deep as a recursion."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from rrm.config import Cycles, OnePassConfig
from rrm.models.base import Reasoner
from rrm.tasks.task import PuzzleShape

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from rrm.reasoner import Call, State


class DirectConfig(OnePassConfig):
    """A stack applied once to the input (HRM paper, Table 1)."""

    kind: Literal["direct"] = "direct"
    """Direct prediction."""
    closed_forms = True
    num_layers: int = Field(8, ge=1)
    """Layers of the stack."""


class UntiedConfig(OnePassConfig):
    """A stack with as many layers as a TRM of the same T, n and num_layers executes."""

    kind: Literal["untied"] = "untied"
    """An untied stack."""
    closed_forms = True
    h_cycles: int = Field(3, ge=1)
    """T of that TRM."""
    l_cycles: int = Field(6, ge=1)
    """n of that TRM."""

    def call_layers(self, cycles: Cycles | None = None) -> list[int]:
        return [self.h_cycles * (self.l_cycles + 1) * self.num_layers]


class OnePass(Reasoner):
    """A stack applied once to the input. No state enters, so a further supervision step gives the same answer."""

    def __init__(self, config: OnePassConfig, shape: PuzzleShape) -> None:
        super().__init__(config, shape)
        self.L_level = self.build_network(config.network_layers[0])

    def calls(self, cycles: Cycles) -> "Sequence[Call]":
        return [self._predict]

    def _predict(self, state: "State", x: "Tensor", generator: "Generator | None") -> "State":
        z = self.apply_network(self.L_level, x, None, generator)
        return state._replace(z_H=z, z_L=z)


class Direct(OnePass):
    """Direct prediction."""

    Config = DirectConfig


class Untied(OnePass):
    """An untied stack as deep as a recursion."""

    Config = UntiedConfig
