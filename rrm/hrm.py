"""HRM, the hierarchical reasoning model (arXiv 2506.21734, section 2).

What is unusual about it, in the paper's order:
* two recurrent networks: the low-level one updates z_L at every call, the high-level one updates z_H once a cycle;
* the one-step gradient: only the last call of each is differentiated, the equilibrium's approximation;
* deep supervision: the state is handed from one supervision step to the next without gradient;
* adaptive computation by Q-learning: halt when q_halt > q_continue, the target from an extra pass.
"""

from collections.abc import Sequence

from torch import Generator, Tensor

from rrm.config import ModelConfig
from rrm.layers import BlockStack
from rrm.reasoner import Call, Reasoner, State
from rrm.tasks.task import PuzzleShape
from rrm.trial_model import Cycles


class HRM(Reasoner):
    """Hierarchical reasoning model: two states, two networks."""

    def __init__(self, config: ModelConfig, shape: PuzzleShape) -> None:
        super().__init__(config, shape)
        low, high = config.network_layers
        self.H_level = BlockStack(config, self.length, high)
        self.L_level = BlockStack(config, self.length, low)

    def calls(self, cycles: Cycles) -> Sequence[Call]:
        t, n = cycles
        return ([self._update_low] * n + [self._update_high]) * t

    def _update_low(self, state: State, x: Tensor, generator: Generator | None) -> State:
        return State(state.z_H, self.apply_network(self.L_level, state.z_L, state.z_H + x, generator))

    def _update_high(self, state: State, x: Tensor, generator: Generator | None) -> State:
        return State(self.apply_network(self.H_level, state.z_H, state.z_L, generator), state.z_L)
