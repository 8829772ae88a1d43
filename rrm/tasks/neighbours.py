"""The control: one local step on the canvas of the automaton, whatever k says. Depth must bring nothing.

Canvas: k, then the cells of a ring. The answer of a cell, in its place, is the exclusive or of its two neighbours (rule 90).
"""

from typing import Literal

import numpy as np
from pydantic import Field

from rrm.tasks.automaton import advance
from rrm.tasks.serial import FIRST, SerialConfig, SerialTask
from rrm.tasks.task import PuzzleShape


class NeighboursConfig(SerialConfig):
    """k is drawn and shown as in the automaton, and means nothing for the answer."""

    kind: Literal["neighbours"] = "neighbours"
    serial_steps: int = Field(4, ge=1, le=64)
    ood_serial_steps: int = Field(8, ge=2, le=128)
    cells: int = Field(24, ge=10, le=250)

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
