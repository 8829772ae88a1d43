"""TRM, the tiny recursive model (arXiv 2510.04871, section 4 and its pseudocode).

What is unusual about it, in the paper's order:
* one network plays both roles: it refines the latent z_L when the input x is injected, and the answer z_H when it is not;
* a cycle is n latent updates and one answer update; a supervision step is T cycles;
* only the last cycle is differentiated, all of it; the T - 1 before it run without gradient.

The paper's ablations are settings: a network for each role (`networks: separate`), one state for both (`state: single`),
HRM's gradient (`gradient: one_step`) and its halting (`halting: act_continue`).
"""

from collections.abc import Sequence

from torch import Generator, Tensor

from rrm.config import ModelConfig
from rrm.layers import BlockStack
from rrm.reasoner import Call, Reasoner, State
from rrm.tasks.task import PuzzleShape
from rrm.trial_model import Cycles


class TRM(Reasoner):
    """Tiny recursive model: two states, one network."""

    def __init__(self, config: ModelConfig, shape: PuzzleShape) -> None:
        super().__init__(config, shape)
        if config.separate_networks:
            self.H_level = BlockStack(config, self.length, config.network_layers[1])
        self.L_level = BlockStack(config, self.length, config.network_layers[0])

    def calls(self, cycles: Cycles) -> Sequence[Call]:
        t, n = cycles
        return ([self._update_latent] * n + [self._update_answer]) * t

    def _update_latent(self, state: State, x: Tensor, generator: Generator | None) -> State:
        if self.config.single_state:
            z = self.apply_network(self.L_level, state.z_L, x, generator)
            return State(z, z)
        return State(state.z_H, self.apply_network(self.L_level, state.z_L, state.z_H + x, generator))

    def _update_answer(self, state: State, x: Tensor, generator: Generator | None) -> State:
        if self.config.single_state:
            z = self.apply_network(self.L_level, state.z_L, None, generator)
            return State(z, z)
        network = self.H_level if self.config.separate_networks else self.L_level
        return State(self.apply_network(network, state.z_H, state.z_L, generator), state.z_L)
