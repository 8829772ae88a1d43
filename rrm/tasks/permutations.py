"""Permutation composition: the word problem of S5, as five cups and k swaps (Merrill and Sabharwal, 2503.03961; FPRM, 2606.18206).

Canvas: k, the five cups in their first order, then k swaps (each of the ten transpositions is a token) and PAD. The answer,
in the places of the cups, is their order after all swaps.
"""

from itertools import combinations
from typing import Literal

import numpy as np

from rrm.tasks.serial import FIRST, SerialConfig, SerialTask
from rrm.tasks.task import PuzzleShape

CUPS = 5
SWAPS = np.array(list(combinations(range(CUPS), 2)))  # [10, 2] places that are exchanged
FIRST_SWAP = FIRST + CUPS


class PermutationsConfig(SerialConfig):
    """k is the number of swaps."""

    kind: Literal["permutations"] = "permutations"
    """Find the order of five cups after k swaps."""

    @property
    def shape(self) -> PuzzleShape:
        return self.shaped(CUPS + self.ood_serial_steps, values=CUPS + len(SWAPS))


class Permutations(SerialTask):
    """Keep track of five cups."""

    config: PermutationsConfig

    def ask(self, k: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        cups = rng.random((len(k), CUPS)).argsort(axis=1) + FIRST
        swaps = rng.integers(0, len(SWAPS), size=(len(k), self.config.ood_serial_steps)) + FIRST_SWAP
        swaps[np.arange(self.config.ood_serial_steps) >= k[:, None]] = 0
        return np.concatenate((cups, swaps), axis=1)

    def solve(self, k: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        cups, rows = tokens[:, :CUPS].copy(), np.arange(len(tokens))
        for step in range(int(k.max(initial=0))):
            swap = tokens[:, CUPS + step].astype(np.int64) - FIRST_SWAP
            first, second = np.where((swap >= 0)[:, None], SWAPS[swap], 0).T
            cups[rows, first], cups[rows, second] = cups[rows, second], cups[rows, first]
        return np.concatenate((cups, np.zeros_like(tokens[:, CUPS:])), axis=1)
