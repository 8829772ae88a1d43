"""Pointer chasing: where is each node's pointer after k hops? (Saunshi et al., 2502.17416, as p-hop induction.)

Canvas: k, then the pointer of every node. The pointers form one cycle through all nodes, so that k hops cannot be cut
short. The answer of node i, in its place, is the node that k hops lead to.
"""

from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from rrm.config import RuleError
from rrm.tasks.serial import FIRST, SerialConfig, SerialTask
from rrm.tasks.task import PuzzleShape


class PointerChasingConfig(SerialConfig):
    """k is the number of hops."""

    kind: Literal["pointer_chasing"] = "pointer_chasing"
    """Follow pointers k hops."""
    serial_steps: int = Field(4, ge=1, le=64)
    """Largest k in training, validation and test."""
    ood_serial_steps: int = Field(8, ge=2, le=128)
    """Largest k out of distribution."""
    nodes: int = Field(12, ge=4, le=200)
    """Nodes of the graph."""

    @model_validator(mode="after")
    def _check_nodes(self) -> Self:
        if self.nodes <= self.ood_serial_steps:
            rule = "nodes must be larger than ood_serial_steps (the cycle would close)"
            raise RuleError(f"{rule}, got {self.nodes} and {self.ood_serial_steps}", "nodes", "ood_serial_steps")
        return self

    @property
    def shape(self) -> PuzzleShape:
        return self.shaped(self.nodes, values=self.nodes)


class PointerChasing(SerialTask):
    """Follow a pointer again and again."""

    config: PointerChasingConfig

    def ask(self, k: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        order = rng.random((len(k), self.config.nodes)).argsort(axis=1)  # the cycle
        pointers = np.empty_like(order)
        np.put_along_axis(pointers, order, np.roll(order, -1, axis=1), axis=1)
        return pointers + FIRST

    def solve(self, k: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        pointers = tokens.astype(np.int64) - FIRST
        place = np.broadcast_to(np.arange(self.config.nodes), pointers.shape)
        for hop in range(int(k.max(initial=0))):
            place = np.where((hop < k)[:, None], np.take_along_axis(pointers, place, axis=1), place)
        return place + FIRST
