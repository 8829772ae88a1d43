"""The split of a puzzle as a function of the puzzle itself, so that splits are disjoint without a comparison.

The caller reduces a puzzle to what its symmetries leave unchanged, and the hash of that gives the split. Equal puzzles, and
puzzles that a symmetry turns into each other, are in the same split.
"""

from collections.abc import Callable

import numpy as np

from rrm.errors import UserError
from rrm.tasks.task import SPLITS, Examples, Split

SHARES: dict[Split, tuple[float, float]] = {"train": (0, 2 / 3), "validation": (2 / 3, 5 / 6), "test": (5 / 6, 1)}
MIN_KEPT = 1 / 5000  # smallest share of drawn puzzles that are kept; a config with a smaller share is refused
MIN_DRAWN = 10_000  # draws before that share is compared
FIRST_BLOCK, MAX_BLOCKS = 64, 26  # rows of the first block of nested rows, which each further block doubles, up to 2 billion
MIN_DIFFERENT = 1 / 20  # smallest share of drawn nested rows that differ


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
    """The name of the split of each hash: two thirds for training, a sixth each for validation and test."""
    share = mix(hashes ^ mix(np.array([seed]))).astype(np.float64) / 2.0**64
    names = np.full(len(hashes), "train", dtype=object)
    for name, (low, high) in SHARES.items():
        names[(share >= low) & (share < high)] = name
    return names


def draw_until(count: int, draw: Callable[[int], Examples], most: int = 1_000_000) -> Examples:
    """Draw `count` rows.

    Args:
        draw: returns those of a number of drawn puzzles that the config accepts.
        most: largest number that `draw` receives.

    Raises:
        UserError: the config accepts too few puzzles to reach `count`.
    """
    parts: list[Examples] = []
    kept = drawn = 0
    while kept < count:
        rate = max(kept, 1) / drawn if drawn else 1.0
        number = min(max(64, int(1.1 * (count - kept) / rate)), 8 * count + 64, most)
        parts.append(draw(number))
        drawn, kept = drawn + number, kept + len(parts[-1])
        if drawn >= MIN_DRAWN and kept < MIN_KEPT * drawn:
            raise UserError("task", f"must allow more puzzles, got {kept} of {drawn:,} drawn: allow easier or shorter ones")
    return Examples.joined(parts).take(slice(0, count))


def draw_rows(
    split: Split, count: int, seed: int, draw: Callable[[int, np.random.Generator], Examples], *, nested: bool
) -> Examples:
    """`count` rows of a split.

    Args:
        draw: returns a number of rows that it draws from a generator.
        nested: whether fewer training rows are the first of more, and all of them differ.

    Raises:
        UserError: a task has too few different puzzles for nested rows.
    """
    if nested and split == "train":
        return _draw_nested(count, lambda number, block: draw(number, _generator(split, seed, block)))
    return draw(count, _generator(split, seed))


def _generator(split: Split, seed: int, *block: int) -> np.random.Generator:
    return np.random.default_rng([seed, SPLITS.index(split), *block])


def _draw_nested(count: int, draw: Callable[[int, int], Examples]) -> Examples:
    """Different rows, drawn in blocks from a generator each, so that a larger number changes no row before it."""
    rows, different, size = draw(FIRST_BLOCK, 0), np.arange(0), FIRST_BLOCK
    for block in range(1, MAX_BLOCKS):
        different = np.sort(np.unique(rows.inputs, axis=0, return_index=True)[1])
        if len(different) >= count:
            return rows.take(different[:count]).renumbered()
        if size > MIN_DRAWN and len(different) < size * MIN_DIFFERENT:
            break
        rows = Examples.joined([rows, draw(size, block)])
        size *= 2
    raise UserError(
        "task.train_examples", f"must be at most about {len(different):,}, the different puzzles of this task, got {count:,}"
    )
