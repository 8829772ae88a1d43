"""TRM, the tiny recursive model (arXiv 2510.04871, section 4 and its pseudocode).

What is unusual about it, in the paper's order:
* one network plays both roles: it refines the latent z_L when the input x is injected, and the answer z_H when it is not;
* a cycle is n latent updates and one answer update; a supervision step is T cycles;
* only the last cycle is differentiated, all of it; the T - 1 before it run without gradient.

The paper's ablations are settings: a network for each role (`networks: separate`), one state for both (`state: single`),
HRM's gradient (`gradient: one_step`) and its halting (`halting: act_continue`).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from rrm.config import Cycles, RecursiveConfig, RuleError
from rrm.models.base import Reasoner
from rrm.tasks.task import PuzzleShape

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from rrm.reasoner import Call, State


class TRMConfig(RecursiveConfig):
    """Tiny recursive model."""

    kind: Literal["trm"] = "trm"
    """TRM."""
    closed_forms = True
    networks: Literal["shared", "separate"] = "shared"
    """One network for both roles, or one each."""
    state: Literal["pair", "single"] = "pair"
    """An answer state and a latent one, or one state for both."""
    answer_layers: int | None = Field(None, ge=1)
    """Layers of the answer's network, where networks are separate; num_layers where absent."""

    @classmethod
    def fill(cls, given: dict[str, Any]) -> dict[str, Any]:
        filled = super().fill(given)
        if filled.get("networks") == "separate":
            filled = {"answer_layers": cls.value_of("num_layers", filled)} | filled
        return filled

    @model_validator(mode="after")
    def _check_networks(self) -> Self:
        if self.answer_layers is not None and self.networks == "shared":
            problem = "answer_layers has no effect where one network has both roles: choose networks separate"
            raise RuleError(problem, "answer_layers", "networks")
        if self.state == "single" and self.networks == "separate":
            raise RuleError("networks separate has no effect where there is a single state: choose shared", "networks", "state")
        return self

    @property
    def answer_network_layers(self) -> int | None:
        return self.answer_layers

    @property
    def single_state(self) -> bool:
        return self.state == "single"


class TRM(Reasoner):
    """Tiny recursive model: two states, one network."""

    Config = TRMConfig

    def __init__(self, config: RecursiveConfig, shape: PuzzleShape) -> None:
        super().__init__(config, shape)
        if config.answer_network_layers is not None:
            self.H_level = self.build_network(config.answer_network_layers)
        self.L_level = self.build_network(config.num_layers)

    def calls(self, cycles: Cycles) -> "Sequence[Call]":
        t, n = cycles
        return ([self._update_latent] * n + [self._update_answer]) * t

    def _update_latent(self, state: "State", x: "Tensor", generator: "Generator | None") -> "State":
        if self.config.single_state:
            z = self.apply_network(self.L_level, state.z_L, x, generator)
            return state._replace(z_H=z, z_L=z)
        return state._replace(z_L=self.apply_network(self.L_level, state.z_L, state.z_H + x, generator))

    def _update_answer(self, state: "State", x: "Tensor", generator: "Generator | None") -> "State":
        if self.config.single_state:
            z = self.apply_network(self.L_level, state.z_L, None, generator)
            return state._replace(z_H=z, z_L=z)
        network = self.L_level if self.config.network_layers[1:] == () else self.H_level
        return state._replace(z_H=self.apply_network(network, state.z_H, state.z_L, generator))
