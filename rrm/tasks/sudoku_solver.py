"""Solving many Sudokus at once: naked and hidden singles, then guesses, one stack a puzzle (numpy only).

Legend: N puzzles, L cells, U units (rows, columns, boxes). Candidates are bits, digit d being `1 << (d - 1)`; arrays are
cells first, [L, N], so that what is done to a cell of all puzzles is one operation on contiguous memory.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

BOX_SHAPE = {4: (2, 2), 6: (2, 3), 9: (3, 3)}  # rows, columns
CHUNK = 2048  # puzzles solved together: a few MB
_BITS = np.array([number.bit_count() for number in range(512)], dtype=np.uint8)


@cache
def units(size: int) -> np.ndarray:
    """Cells of every row, column and box, [3 size, size]."""
    box_rows, box_columns = BOX_SHAPE[size]
    cells = np.arange(size * size).reshape(size, size)
    boxes = cells.reshape(size // box_rows, box_rows, size // box_columns, box_columns).swapaxes(1, 2).reshape(size, size)
    return np.concatenate((cells, cells.T, boxes))


@cache
def units_of(size: int) -> np.ndarray:
    """Row, column and box of every cell, [3, L]."""
    return np.stack([(units(size) == cell).any(axis=1).nonzero()[0] for cell in range(size * size)], axis=1)


def candidates(grids: np.ndarray) -> np.ndarray:
    """Candidates [L, N] of grids [N, L] (0 a blank), before anything is concluded."""
    size = round(grids.shape[1] ** 0.5)
    bits = np.concatenate(([(1 << size) - 1], 1 << np.arange(size))).astype(np.uint16)
    return np.ascontiguousarray(bits[grids].T)


@dataclass(frozen=True)
class Solutions:
    """The result of a search."""

    count: np.ndarray  # [N] number of solutions, at most the limit
    guesses: np.ndarray  # [N] branchings until the search ended
    owners: np.ndarray  # [solutions] the puzzle that each solution belongs to
    grids: np.ndarray  # [solutions, L]


def solve(states: np.ndarray, limit: int, rng: np.random.Generator | None = None) -> Solutions:
    """Up to `limit` solutions of every puzzle, given as candidates [L, N]; with `rng` guesses are random.

    Depth-first: the cell with the fewest candidates is guessed, its smallest digit first. With limit 2 the number of guesses
    is that needed to reach the one solution and to prove that it is the only one.
    """
    parts = [_Search(states[:, first : first + CHUNK], limit, rng) for first in range(0, max(1, states.shape[1]), CHUNK)]
    for part in parts:
        part.run()
    owners = np.concatenate([part.owners + number * CHUNK for number, part in enumerate(parts)])
    count, guesses, grids = (np.concatenate([getattr(p, name) for p in parts]) for name in ("count", "guesses", "grids"))
    return Solutions(count, guesses, owners, grids)


class _Search:
    """The search over one chunk. `alive` are the puzzles that still search, in the order of the columns of `state`."""

    def __init__(self, states: np.ndarray, limit: int, rng: np.random.Generator | None) -> None:
        self.size = round(len(states) ** 0.5)
        self.limit, self.rng = limit, rng
        count = states.shape[1]
        self.state, self.alive = states.copy(), np.arange(count)
        self.stack = np.zeros((8, *states.shape), dtype=np.uint16)  # earlier states, to which the search returns
        self.height = np.zeros(count, dtype=np.int64)  # number of states in the stack of each puzzle
        self.count, self.guesses = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
        self._owners: list[np.ndarray] = []
        self._grids: list[np.ndarray] = []

    @property
    def owners(self) -> np.ndarray:
        return np.concatenate(self._owners) if self._owners else np.zeros(0, dtype=np.int64)

    @property
    def grids(self) -> np.ndarray:
        return np.concatenate(self._grids) if self._grids else np.zeros((0, self.size**2), dtype=np.uint8)

    def run(self) -> None:
        """Until no puzzle searches any more."""
        while len(self.alive):
            before = self.state
            self.state, possible = conclude(before)
            settled = possible & (self.state == before).all(axis=0)  # only then was the last conclusion checked
            solved = settled & (_BITS[self.state] == 1).all(axis=0)
            self._record(solved)
            self._guess(np.flatnonzero(settled & ~solved))
            full = solved & (self.count[self.alive] >= self.limit)
            self._go_back(np.flatnonzero(~possible | (solved & ~full)), np.flatnonzero(full))

    def _record(self, solved: np.ndarray) -> None:
        if solved.any():
            self._owners.append(self.alive[solved])
            self._grids.append((np.log2(self.state[:, solved]).astype(np.uint8) + 1).T)
            self.count[self.alive[solved]] += 1

    def _guess(self, columns: np.ndarray) -> None:
        """Decide one cell; the state with that digit excluded goes on the stack."""
        if not len(columns):
            return
        state = self.state[:, columns]
        open_cells = np.where(_BITS[state] > 1, _BITS[state], 99).astype(np.float32)
        cell = open_cells.argmin(axis=0)
        choices = state[cell, np.arange(len(columns))]
        bit = choices & -choices if self.rng is None else self._random_bit(choices)
        puzzles = self.alive[columns]
        height = self.height[puzzles]
        if height.max() == len(self.stack):
            self.stack = np.concatenate((self.stack, np.zeros_like(self.stack)))
        self.stack[height, :, puzzles] = state.T
        self.stack[height, cell, puzzles] = choices ^ bit
        self.state[cell, columns] = bit
        self.height[puzzles] += 1
        self.guesses[puzzles] += 1

    def _random_bit(self, choices: np.ndarray) -> np.ndarray:
        assert self.rng is not None
        bits = (1 << np.arange(self.size)).astype(np.uint16)[:, None]
        preference = np.where(choices & bits, self.rng.random((self.size, len(choices))), -1.0)
        chosen: np.ndarray = bits[preference.argmax(axis=0), 0]
        return chosen

    def _go_back(self, columns: np.ndarray, finished: np.ndarray) -> None:
        """These puzzles take their last state from the stack; those whose stack is empty have ended."""
        puzzles = self.alive[columns]
        has_stack = self.height[puzzles] > 0
        self.height[puzzles[has_stack]] -= 1
        self.state[:, columns[has_stack]] = self.stack[self.height[puzzles[has_stack]], :, puzzles[has_stack]].T
        ended = np.concatenate((columns[~has_stack], finished))
        if len(ended):
            remains = np.ones(len(self.alive), dtype=bool)
            remains[ended] = False
            self.state, self.alive = self.state[:, remains], self.alive[remains]


def conclude(state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One sweep of naked and hidden singles over candidates [L, N]; also whether each puzzle is still possible, [N]."""
    size = round(len(state) ** 0.5)
    cells, unit_of_cell = units(size), units_of(size)
    decided = _BITS[state] == 1
    fixed = np.where(decided, state, 0)
    shape = (len(cells), state.shape[1])
    taken, twice_fixed, once, twice = (np.zeros(shape, dtype=np.uint16) for _ in range(4))
    for place in range(size):
        here, fixed_here = state[cells[:, place]], fixed[cells[:, place]]
        twice_fixed |= taken & fixed_here
        taken |= fixed_here
        twice |= once & here
        once |= here
    possible = (once == (1 << size) - 1).all(axis=0) & (twice_fixed == 0).all(axis=0)
    alone = once & ~twice  # digits with a single place in their unit
    narrowed = np.where(decided, state, state & ~(taken[unit_of_cell[0]] | taken[unit_of_cell[1]] | taken[unit_of_cell[2]]))
    hidden = narrowed & (alone[unit_of_cell[0]] | alone[unit_of_cell[1]] | alone[unit_of_cell[2]])
    narrowed = np.where(hidden, hidden, narrowed)
    # A cell that is the only place of two digits has no candidate.
    narrowed[_BITS[hidden] > 1] = 0
    possible &= (narrowed != 0).all(axis=0)
    return narrowed, possible
