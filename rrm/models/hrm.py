"""HRM, the hierarchical reasoning model (arXiv 2506.21734, section 2).

What is unusual about it, in the paper's order:
* two recurrent networks: the low-level one updates z_L at every call, the high-level one updates z_H once a cycle;
* the one-step gradient: only the last call of each is differentiated, the equilibrium's approximation;
* deep supervision: the state is handed from one supervision step to the next without gradient;
* adaptive computation by Q-learning: halt when q_halt > q_continue, the target from an extra pass.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from rrm.config import Cycles, Gradient, RecursiveConfig
from rrm.models.base import Reasoner
from rrm.tasks.task import PuzzleShape

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from rrm.reasoner import Call, State


class HRMConfig(RecursiveConfig):
    """Hierarchical reasoning model."""

    kind: Literal["hrm"] = "hrm"
    """HRM."""
    closed_forms = True
    num_layers: int = Field(4, ge=1)
    """Layers of the low-level network."""
    answer_layers: int | None = Field(None, ge=1)
    """Layers of the high-level network; num_layers where absent."""
    h_cycles: int = Field(2, ge=1)
    """T: cycles a supervision step."""
    l_cycles: int = Field(2, ge=1)
    """n: low-level updates a cycle."""
    gradient: Gradient = "one_step"
    """Which calls are differentiated: the last two, the last cycle's, all, or this number of the last ones."""
    halting: Literal["act", "act_continue", "fixed"] = "act_continue"
    """When an example leaves: at q > 0; at q_halt > q_continue; after N_sup supervision steps."""

    @property
    def answer_network_layers(self) -> int | None:
        return self.answer_layers

    @classmethod
    def fill(cls, given: dict[str, Any]) -> dict[str, Any]:
        return {"answer_layers": cls.value_of("num_layers", given)} | super().fill(given)


class HRM(Reasoner):
    """Hierarchical reasoning model: two states, two networks."""

    Config = HRMConfig

    def __init__(self, config: HRMConfig, shape: PuzzleShape) -> None:
        super().__init__(config, shape)
        low, high = config.network_layers
        self.H_level = self.build_network(high)
        self.L_level = self.build_network(low)

    def calls(self, cycles: Cycles) -> "Sequence[Call]":
        t, n = cycles
        return ([self._update_low] * n + [self._update_high]) * t

    def _update_low(self, state: "State", x: "Tensor", generator: "Generator | None") -> "State":
        return state._replace(z_L=self.apply_network(self.L_level, state.z_L, state.z_H + x, generator))

    def _update_high(self, state: "State", x: "Tensor", generator: "Generator | None") -> "State":
        return state._replace(z_H=self.apply_network(self.H_level, state.z_H, state.z_L, generator))
