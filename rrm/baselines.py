"""The models that recursion must beat."""

from collections.abc import Sequence

from torch import Generator, Tensor

from rrm.config import ModelConfig
from rrm.layers import BlockStack
from rrm.reasoner import Call, Reasoner, State
from rrm.tasks.task import PuzzleShape
from rrm.trial_model import Cycles


class OnePass(Reasoner):
    """A stack applied once to the input: direct prediction (HRM paper, Table 1), or an untied stack as deep as a recursion.

    No state enters, so a further supervision step says the same again.
    """

    def __init__(self, config: ModelConfig, shape: PuzzleShape) -> None:
        super().__init__(config, shape)
        self.L_level = BlockStack(config, self.length, config.network_layers[0])

    def calls(self, cycles: Cycles) -> Sequence[Call]:
        return [self._predict]

    def _predict(self, state: State, x: Tensor, generator: Generator | None) -> State:
        z = self.apply_network(self.L_level, x, None, generator)
        return State(z, z)


class Looped(Reasoner):
    """A weight-tied transformer with one state: z <- network(z + x), over and over, with deep supervision.

    `looped` makes n such calls a supervision step. `outer_loop` makes one: a transformer inside HRM's outer loop, the
    control of ARC Prize's analysis of HRM.
    """

    def __init__(self, config: ModelConfig, shape: PuzzleShape) -> None:
        super().__init__(config, shape)
        self.L_level = BlockStack(config, self.length, config.network_layers[0])

    def calls(self, cycles: Cycles) -> Sequence[Call]:
        return [self._loop] * (cycles.l_cycles if self.config.kind == "looped" else 1)

    def _loop(self, state: State, x: Tensor, generator: Generator | None) -> State:
        z = self.apply_network(self.L_level, state.z_L, x, generator)
        return State(z, z)
