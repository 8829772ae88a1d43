"""Which split a puzzle belongs to, as a function of the puzzle itself: splits are then disjoint without looking at each other.

A puzzle is reduced to what its symmetries leave unchanged (the caller's part) and that is hashed; equal puzzles, and
puzzles that a symmetry turns into each other, cannot land in different splits.
"""

from collections.abc import Callable

import numpy as np

from rrm.errors import UserError
from rrm.tasks.task import Examples, Split

SHARES: dict[Split, tuple[float, float]] = {"train": (0, 2 / 3), "validation": (2 / 3, 5 / 6), "test": (5 / 6, 1)}
RAREST = 1 / 5000  # puzzles that are kept of those drawn, below which a config is refused ...
ENOUGH_DRAWN = 10_000  # ... once so many were drawn


def mix(values: np.ndarray) -> np.ndarray:
    """Scramble 64-bit numbers one by one (the finaliser of splitmix64)."""
    x = values.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def hash_rows(rows: np.ndarray) -> np.ndarray:
    """A 64-bit hash of each row [N, L], [N]; order matters."""
    places = mix(np.arange(rows.shape[1]))
    return mix((mix(rows.astype(np.uint64)) * (places | np.uint64(1))).sum(axis=1, dtype=np.uint64))


def split_of(hashes: np.ndarray, seed: int) -> np.ndarray:
    """Two thirds of all puzzles for training, a sixth each for validation and test; the split's name of each hash."""
    share = mix(hashes ^ mix(np.array([seed]))).astype(np.float64) / 2.0**64
    names = np.full(len(hashes), "train", dtype=object)
    for name, (low, high) in SHARES.items():
        names[(share >= low) & (share < high)] = name
    return names


def draw_until(count: int, draw: Callable[[int], Examples], most: int = 1_000_000) -> Examples:
    """Call `draw` with about as many as are missing (at most `most`), and keep what it keeps, until there are `count` rows.

    Raises:
        UserError: what the config asks for is so rare that it would take too long.
    """
    parts: list[Examples] = []
    found = drawn = 0
    while found < count:
        rate = max(found, 1) / drawn if drawn else 1.0
        number = min(max(64, int(1.1 * (count - found) / rate)), 8 * count + 64, most)
        parts.append(draw(number))
        drawn, found = drawn + number, found + len(parts[-1])
        if drawn >= ENOUGH_DRAWN and found < RAREST * drawn:
            raise UserError("task", f"asks for puzzles so rare that {drawn:,} drawn gave {found}: ask for easier or shorter ones")
    return Examples.joined(parts).take(slice(0, count))
