"""Addition of k numbers (Saunshi et al., 2502.17416): their digits least significant first, one number after the other.

Canvas: k, the places of the sum (a question mark each), then the operands and PAD. The answer stands in the places of the
sum. Each of the k numbers is added to the sum of those before it, with its carries.
"""

from typing import Literal

import numpy as np
from pydantic import Field

from rrm.tasks.serial import FIRST, SerialConfig, SerialTask
from rrm.tasks.task import PuzzleShape

BASE = 10
ASKED = FIRST + BASE  # stands where a digit of the sum is asked for


class AdditionConfig(SerialConfig):
    """k is the number of operands."""

    kind: Literal["addition"] = "addition"
    """Add k numbers."""
    serial_steps: int = Field(4, ge=1, le=64)
    """Largest k in training, validation and test."""
    ood_serial_steps: int = Field(8, ge=2, le=128)
    """Largest k out of distribution."""
    operand_digits: int = Field(3, ge=2, le=12)
    """Digits of each number."""

    @property
    def sum_digits(self) -> int:
        return len(str(self.ood_serial_steps * (BASE**self.operand_digits - 1)))

    @property
    def shape(self) -> PuzzleShape:
        return self.shaped(self.sum_digits + self.ood_serial_steps * self.operand_digits, values=BASE + 1)


class Addition(SerialTask):
    """Add operands one by one, carrying."""

    config: AdditionConfig

    def ask(self, k: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        shape = (len(k), self.config.ood_serial_steps, self.config.operand_digits)
        operands = rng.integers(0, BASE, size=shape) + FIRST
        operands[np.arange(shape[1]) >= k[:, None]] = 0
        asked = np.full((len(k), self.config.sum_digits), ASKED)
        return np.concatenate((asked, operands.reshape(len(k), -1)), axis=1)

    def solve(self, k: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        places = self.config.sum_digits
        operands = tokens[:, places:].reshape(len(k), self.config.ood_serial_steps, self.config.operand_digits).astype(np.int64)
        column_sums = np.where(operands > 0, operands - FIRST, 0).sum(axis=1)
        answers, carry = np.zeros(tokens.shape, dtype=np.int64), np.zeros(len(k), dtype=np.int64)
        for place in range(places):
            carry = carry + (column_sums[:, place] if place < self.config.operand_digits else 0)
            answers[:, place] = carry % BASE + FIRST
            carry = carry // BASE
        return answers
