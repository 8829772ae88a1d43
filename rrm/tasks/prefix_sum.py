"""Prefix sums modulo 2: the parity of the first i bits, for every i (Schwarzschild et al., 2106.04537).

Canvas: k, then k bits and PAD. The answer stands in the places of the bits.
"""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from rrm.tasks.serial import FIRST, SerialConfig, SerialTask
from rrm.tasks.task import PuzzleShape


class PrefixSumConfig(SerialConfig):
    """k is the number of bits."""

    MIN_STEPS: ClassVar[int] = 6

    kind: Literal["prefix_sum"] = "prefix_sum"
    """Compute the parities of the first 1, 2, ..., k bits."""
    serial_steps: int = Field(16, ge=1, le=64)
    """Largest k in training, validation and test."""
    ood_serial_steps: int = Field(32, ge=2, le=128)
    """Largest k out of distribution."""

    @property
    def shape(self) -> PuzzleShape:
        return self.shaped(self.ood_serial_steps, values=2)


class PrefixSum(SerialTask):
    """Add bits up one by one."""

    config: PrefixSumConfig

    def ask(self, k: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        bits = rng.integers(0, 2, size=(len(k), self.config.ood_serial_steps), dtype=np.uint8)
        return np.where(np.arange(self.config.ood_serial_steps) < k[:, None], bits + FIRST, 0).astype(np.uint8)

    def solve(self, k: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        ones = tokens == FIRST + 1
        return np.where(tokens > 0, ones.cumsum(axis=1, dtype=np.uint8) % 2 + FIRST, 0)
