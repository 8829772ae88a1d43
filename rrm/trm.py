"""TRM, the tiny recursive model (arXiv 2510.04871, section 4 and its pseudocode), with self-attention.

What is unusual about it, in the paper's order:
* one network plays both roles: it refines the latent z_L when the input x is injected, and the answer z_H when it is not;
* a cycle is n latent updates and one answer update; a supervision step is T cycles;
* only the last cycle is differentiated, all of it; the T - 1 before it run without gradient.
"""

import torch
from torch import Tensor

from rrm.config import ModelConfig
from rrm.layers import BlockStack
from rrm.reasoner import Reasoner, State
from rrm.tasks.task import PuzzleShape


class TRM(Reasoner):
    """Tiny recursive model: two states, one network."""

    def __init__(self, config: ModelConfig, shape: PuzzleShape) -> None:
        super().__init__(config, shape)
        self.L_level = BlockStack(config)

    def refine(self, state: State, x: Tensor) -> State:
        """T cycles, the last one with gradient ("deep recursion" in the paper)."""
        with torch.no_grad():
            for _ in range(self.config.h_cycles - 1):
                state = self._cycle(state, x)
        return self._cycle(state, x)

    def _cycle(self, state: State, x: Tensor) -> State:
        """n updates of the latent, then one of the answer ("latent recursion" in the paper)."""
        z_H, z_L = state
        for _ in range(self.config.l_cycles):
            z_L = self.L_level(z_L, z_H + x, self.rotary)
        return State(self.L_level(z_H, z_L, self.rotary), z_L)
