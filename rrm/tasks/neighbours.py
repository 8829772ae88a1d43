"""The control: one local step on the canvas of the automaton, whatever k is. Depth must not change accuracy.

Canvas: k, then the cells of a ring. The answer for a cell, in its place, is the exclusive or of its two neighbours (rule 90).
"""

from typing import Literal

import numpy as np
from pydantic import Field

from rrm.tasks.automaton import advance
from rrm.tasks.serial import FIRST, SerialConfig, SerialTask
from rrm.tasks.task import PuzzleShape


class NeighboursConfig(SerialConfig):
    """k is drawn and shown as in the automaton, and has no effect on the answer."""

    kind: Literal["neighbours"] = "neighbours"
    """Compute one local step, whatever k is: the control."""
    serial_steps: int = Field(4, ge=1, le=64)
    """Largest k in training, validation and test."""
    ood_serial_steps: int = Field(8, ge=2, le=128)
    """Largest k out of distribution."""
    cells: int = Field(24, ge=10, le=250)
    """Cells of the ring."""

    @property
    def shape(self) -> PuzzleShape:
        return self.shaped(self.cells, values=2)


class Neighbours(SerialTask):
    """Look at both neighbours, once."""

    config: NeighboursConfig

    def ask(self, k: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return rng.integers(0, 2, size=(len(k), self.config.cells)) + FIRST

    def solve(self, k: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        return advance(tokens.astype(np.int64) - FIRST, rule=90) + FIRST
