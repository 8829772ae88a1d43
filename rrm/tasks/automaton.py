"""An elementary cellular automaton that runs k steps.

Canvas: k, then the cells of a ring. The answer stands in the places of the cells. Rule 110 has no known short cut, so that
k is the depth that a circuit of local steps needs.
"""

from typing import Literal

import numpy as np
from pydantic import Field

from rrm.tasks.serial import FIRST, SerialConfig, SerialTask
from rrm.tasks.task import PuzzleShape


class AutomatonConfig(SerialConfig):
    """k is the number of steps that the automaton runs."""

    kind: Literal["automaton"] = "automaton"
    """Run a cellular automaton k steps."""
    serial_steps: int = Field(4, ge=1, le=64)
    """Largest k in training, validation and test."""
    ood_serial_steps: int = Field(8, ge=2, le=128)
    """Largest k out of distribution."""
    cells: int = Field(24, ge=10, le=250)
    """Cells of the ring."""
    rule: int = Field(110, ge=0, le=255)
    """Number of the rule (Wolfram): its bit 4 x left + 2 x centre + right is the next value of a cell."""

    @property
    def shape(self) -> PuzzleShape:
        return self.shaped(self.cells, values=2)


class Automaton(SerialTask):
    """Run a ring of cells forward."""

    config: AutomatonConfig

    def ask(self, k: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return rng.integers(0, 2, size=(len(k), self.config.cells)) + FIRST

    def solve(self, k: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        cells = tokens.astype(np.int64) - FIRST
        for step in range(int(k.max(initial=0))):
            cells = np.where((step < k)[:, None], advance(cells, self.config.rule), cells)
        return cells + FIRST


def advance(cells: np.ndarray, rule: int) -> np.ndarray:
    """One step of every ring of cells [N, M] (0 or 1)."""
    neighbourhood = 4 * np.roll(cells, 1, axis=1) + 2 * cells + np.roll(cells, -1, axis=1)
    following: np.ndarray = rule >> neighbourhood & 1
    return following
