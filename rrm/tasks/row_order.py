"""The order of training rows without end, pass after pass, as a function of the seed and a position alone."""

from abc import ABC, abstractmethod
from bisect import bisect_right
from functools import lru_cache

import numpy as np


class RowOrder(ABC):
    """An endless sequence of rows of the training split."""

    @abstractmethod
    def rows(self, first: int, count: int) -> np.ndarray:
        """The rows at positions first .. first + count - 1, [count] int64."""


class ShuffledRows(RowOrder):
    """One permutation of all rows after another."""

    def __init__(self, count: int, seed: int) -> None:
        self._count, self._seed = count, seed

    def rows(self, first: int, count: int) -> np.ndarray:
        passes, offsets = np.divmod(np.arange(first, first + count), self._count)
        rows = np.empty(count, dtype=np.int64)
        for number in range(int(passes[0]), int(passes[-1]) + 1):
            order = _permutation(self._seed, number, self._count)
            rows[passes == number] = order[offsets[passes == number]]
        return rows


@lru_cache(maxsize=8)
def _permutation(seed: int, number: int, count: int) -> np.ndarray:
    """Order of the rows in pass `number` over the training split."""
    return np.random.default_rng([seed, number, count]).permutation(count)


class GroupedRows(RowOrder):
    """In a pass every group once, in random order: one puzzle of it, drawn evenly, with all its rows, shuffled.

    The rows of a puzzle follow each other in the split, and so do the puzzles of a group. Passes differ in length where puzzles do.

    Args:
        sizes: [P] rows of each puzzle, at least one.
        groups: [G] puzzles of each group, at least one.
        seed: seed of the trial.
    """

    def __init__(self, sizes: np.ndarray, groups: np.ndarray, seed: int) -> None:
        self._sizes, self._groups, self._seed = sizes, groups, seed
        self._first_row = np.cumsum(sizes) - sizes
        self._first_puzzle = np.cumsum(groups) - groups
        self._starts = [0]  # the first position of each pass; it grows as passes are asked for
        self._last: tuple[int, np.ndarray] | None = None  # the pass that was used last, and its rows

    def rows(self, first: int, count: int) -> np.ndarray:
        while self._starts[-1] < first + count:
            puzzles, _ = self._draw(len(self._starts) - 1)
            self._starts.append(self._starts[-1] + int(self._sizes[puzzles].sum()))
        parts, at = [], first
        while at < first + count:
            number = bisect_right(self._starts, at) - 1
            start, end = self._starts[number], min(first + count, self._starts[number + 1])
            parts.append(self._pass(number)[at - start : end - start])
            at = end
        return np.concatenate(parts)

    def _draw(self, number: int) -> tuple[np.ndarray, np.random.Generator]:
        """The puzzles of a pass in their order [G], and the generator that shuffles their rows."""
        rng = np.random.default_rng([self._seed, number, len(self._sizes)])
        order = rng.permutation(len(self._groups))
        return self._first_puzzle[order] + rng.integers(self._groups[order]), rng

    def _pass(self, number: int) -> np.ndarray:
        """All rows of a pass."""
        if self._last is None or self._last[0] != number:
            puzzles, rng = self._draw(number)
            sizes = self._sizes[puzzles]
            place = np.repeat(np.arange(len(puzzles)), sizes)
            within = np.arange(len(place)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
            rows = np.repeat(self._first_row[puzzles], sizes) + within
            self._last = number, rows[np.lexsort((rng.random(len(rows)), place))]
        return self._last[1]
