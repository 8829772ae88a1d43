"""Sudoku grids: solving, filling, and the symmetries that turn one into another (numpy only).

Sizes 4 (boxes 2 x 2), 6 (boxes of 2 rows x 3 columns) and 9 (boxes 3 x 3). A grid is row-major, digits 1 .. size, 0 a blank.
"""

from functools import cache
from importlib import resources
from itertools import permutations, product

import numpy as np

BOX_SHAPE = {4: (2, 2), 6: (2, 3), 9: (3, 3)}  # rows, columns


@cache
def units(size: int) -> np.ndarray:
    """Cells of every row, column and box, [3 size, size]."""
    box_rows, box_columns = BOX_SHAPE[size]
    cells = np.arange(size * size).reshape(size, size)
    boxes = cells.reshape(size // box_rows, box_rows, size // box_columns, box_columns).swapaxes(1, 2).reshape(size, size)
    return np.concatenate((cells, cells.T, boxes))


def is_complete(grids: np.ndarray) -> np.ndarray:
    """Whether each grid [N, L] holds every digit once in every row, column and box, [N] bool."""
    size = round(grids.shape[1] ** 0.5)
    seen = np.sort(grids[:, units(size)], axis=-1)  # [N, 3 size, size]
    return (seen == np.arange(1, size + 1)).all(axis=(1, 2))


class Solver:
    """Depth-first search over the cell with the fewest candidates."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.all_digits = (1 << size) - 1
        membership = units(size)
        self.units_of = [np.flatnonzero((membership == cell).any(axis=1)).tolist() for cell in range(size * size)]

    def solutions(self, grid: np.ndarray, limit: int, rng: np.random.Generator | None = None) -> list[np.ndarray]:
        """Up to `limit` solutions of a grid [L]; with `rng` digits are tried in random order."""
        cells = grid.tolist()
        used = [0] * (3 * self.size)
        for cell, digit in enumerate(cells):
            if digit:
                bit = 1 << (digit - 1)
                if any(used[unit] & bit for unit in self.units_of[cell]):
                    return []
                for unit in self.units_of[cell]:
                    used[unit] |= bit
        blanks = {cell for cell, digit in enumerate(cells) if not digit}
        found: list[np.ndarray] = []
        self._search(cells, used, blanks, limit, rng, found)
        return found

    def _search(
        self,
        cells: list[int],
        used: list[int],
        blanks: set[int],
        limit: int,
        rng: np.random.Generator | None,
        found: list[np.ndarray],
    ) -> None:
        if not blanks:
            found.append(np.array(cells, dtype=np.int32))
            return
        cell, free = self._tightest(used, blanks)
        digits = [digit for digit in range(self.size) if free >> digit & 1]
        if rng is not None:
            rng.shuffle(digits)
        blanks.remove(cell)
        row, column, box = self.units_of[cell]
        for digit in digits:
            bit = 1 << digit
            cells[cell] = digit + 1
            used[row] |= bit
            used[column] |= bit
            used[box] |= bit
            self._search(cells, used, blanks, limit, rng, found)
            used[row] ^= bit
            used[column] ^= bit
            used[box] ^= bit
            if len(found) >= limit:
                break
        cells[cell] = 0
        blanks.add(cell)

    def _tightest(self, used: list[int], blanks: set[int]) -> tuple[int, int]:
        """The blank cell with the fewest candidates, and these as bits."""
        best, best_free, fewest = -1, 0, self.size + 1
        for cell in blanks:
            row, column, box = self.units_of[cell]
            free = self.all_digits & ~(used[row] | used[column] | used[box])
            count = free.bit_count()
            if count < fewest:
                best, best_free, fewest = cell, free, count
                if count <= 1:
                    break
        return best, best_free


@cache
def solver(size: int) -> Solver:
    return Solver(size)


def random_grid(size: int, rng: np.random.Generator) -> np.ndarray:
    """A complete grid [L]."""
    return solver(size).solutions(np.zeros(size * size, dtype=np.int32), limit=1, rng=rng)[0]


def random_line_order(size: int, block: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` random orders of lines that keep blocks of `block` lines together, [count, size]."""
    blocks = size // block
    block_order = rng.random((count, blocks)).argsort(axis=1)
    within = rng.random((count, blocks, block)).argsort(axis=2)
    return (block_order[:, :, None] * block + within).reshape(count, size)


def random_cell_orders(size: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` random geometric symmetries as orders of cells, [count, L]: `grid[order]` is the image of `grid`.

    Bands, stacks and lines within them, and a transposition where boxes are square (official `build_sudoku_dataset.py`).
    """
    box_rows, box_columns = BOX_SHAPE[size]
    rows = random_line_order(size, box_rows, count, rng)
    columns = random_line_order(size, box_columns, count, rng)
    orders = rows[:, :, None] * size + columns[:, None, :]  # [count, size, size]
    if box_rows == box_columns:
        transposed = rng.random(count) < 0.5
        orders[transposed] = orders[transposed].swapaxes(1, 2)
    return orders.reshape(count, size * size)


def random_digit_orders(size: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` random relabellings that keep 0 a blank, [count, size + 1]."""
    relabelled = rng.random((count, size)).argsort(axis=1) + 1
    return np.concatenate((np.zeros((count, 1), dtype=relabelled.dtype), relabelled), axis=1)


def relabel(grids: np.ndarray, digit_orders: np.ndarray) -> np.ndarray:
    """Apply a relabelling [N, size + 1] to each grid [N, L]."""
    return np.take_along_axis(digit_orders, grids, axis=1).astype(grids.dtype)


@cache
def all_cell_orders(size: int) -> np.ndarray:
    """Every geometric symmetry without transposition, [symmetries, L] (3,456 of them for size 6)."""
    box_rows, box_columns = BOX_SHAPE[size]

    def line_orders(block: int) -> list[list[int]]:
        blocks = size // block
        inner = list(permutations(range(block)))
        return [
            [b * block + line for b, lines in zip(outer, choice, strict=True) for line in lines]
            for outer in permutations(range(blocks))
            for choice in product(inner, repeat=blocks)
        ]

    rows, columns = np.array(line_orders(box_rows)), np.array(line_orders(box_columns))
    return (rows[:, None, :, None] * size + columns[None, :, None, :]).reshape(-1, size * size)


def normalise_digits(grids: np.ndarray) -> np.ndarray:
    """Relabel complete grids [N, L] so that the first row reads 1 2 3 ...: one representative a relabelling class."""
    size = round(grids.shape[1] ** 0.5)
    order = np.zeros((len(grids), size + 1), dtype=grids.dtype)
    np.put_along_axis(order, grids[:, :size].astype(np.int64), np.arange(1, size + 1, dtype=grids.dtype)[None], axis=1)
    return np.take_along_axis(order, grids.astype(np.int64), axis=1)


def class_of(grid: np.ndarray) -> tuple[str, int]:
    """The class of a complete 6x6 grid [L] under relabelling and all cell orders, and the number of grids in it.

    The class is named by its lexicographically smallest member; its size follows from the symmetries that fix the grid
    up to relabelling (orbit-stabiliser).
    """
    size = round(len(grid) ** 0.5)
    orders = all_cell_orders(size)
    images = normalise_digits(grid[orders])
    smallest = min(map(bytes, images.astype(np.uint8)))
    own = normalise_digits(grid[None])[0]
    fixing = int((images == own).all(axis=1).sum())
    relabellings = int(np.prod(np.arange(1, size + 1)))
    return "".join(map(str, smallest)), len(orders) * relabellings // fixing


@cache
def answer_classes(size: int) -> tuple[np.ndarray, np.ndarray]:
    """One complete grid of every class [classes, L] and the number of grids in each class [classes].

    Size 4: the 12 classes under relabelling alone (all symmetries would leave 2). Size 6: the 49 classes under relabelling,
    bands, stacks and lines, listed in sudoku6_classes.txt; their sizes add up to all 28,200,960 grids.
    """
    if size == 4:
        first_row = np.array([1, 2, 3, 4] + [0] * 12, dtype=np.int32)
        grids = np.stack(solver(4).solutions(first_row, limit=288))
        return grids, np.full(len(grids), 24)
    rows = [line.split() for line in resources.files("rrm.tasks").joinpath("sudoku6_classes.txt").read_text().splitlines()]
    grids = np.array([[int(digit) for digit in row[0]] for row in rows], dtype=np.int32)
    return grids, np.array([int(row[1]) for row in rows])
