"""A weight-tied transformer with one state: z <- network(z + x), over and over, with deep supervision."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from rrm.config import Cycles, Gradient, IterativeConfig, count_graded
from rrm.models.base import Reasoner
from rrm.tasks.task import PuzzleShape

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from rrm.reasoner import Call, State


class LoopedConfig(IterativeConfig):
    """A looped transformer."""

    closed_forms = True

    kind: Literal["looped"] = "looped"
    """A looped transformer."""
    l_cycles: int = Field(6, ge=1)
    """n: network calls a supervision step."""
    gradient: Gradient = "full"
    """Differentiated calls: `one_step` the last two, `last_cycle` and `full` all (there is one cycle), or a number of the last."""

    @property
    def cycles(self) -> Cycles:
        return Cycles(1, self.l_cycles)

    def call_layers(self, cycles: Cycles | None = None) -> list[int]:
        return [self.num_layers] * (cycles or self.cycles).l_cycles

    def graded_calls(self, cycles: Cycles | None = None) -> int:
        calls = len(self.call_layers(cycles))
        return count_graded(self.gradient, calls, cycle=calls)


class Looped(Reasoner):
    """A weight-tied transformer with one state and n calls a supervision step."""

    Config: ClassVar[type[IterativeConfig]] = LoopedConfig

    def __init__(self, config: IterativeConfig, shape: PuzzleShape) -> None:
        super().__init__(config, shape)
        self.L_level = self.build_network(config.num_layers)

    def calls(self, cycles: Cycles) -> "Sequence[Call]":
        return [self._loop] * cycles.l_cycles

    def _loop(self, state: "State", x: "Tensor", generator: "Generator | None") -> "State":
        z = self.apply_network(self.L_level, state.z_L, x, generator)  # adds the embedded input x to the state
        return state._replace(z_H=z, z_L=z)  # both names hold the one state: the shared head reads z_H
