"""Complete Sudoku grids and the symmetries that turn one into another (numpy only).

Sizes 4 (boxes 2 x 2), 6 (boxes of 2 rows x 3 columns) and 9 (boxes 3 x 3). A grid is row-major, digits 1 .. size, 0 a blank.
"""

from functools import cache
from importlib import resources
from itertools import combinations

import numpy as np

from rrm.tasks.splits import hash_rows, mix
from rrm.tasks.sudoku_solver import BOX_SHAPE, candidates, solve, units, units_of


def is_complete(grids: np.ndarray) -> np.ndarray:
    """Whether each grid [N, L] holds every digit once in every row, column and box, [N] bool."""
    size = round(grids.shape[1] ** 0.5)
    digits = np.sort(grids[:, units(size)], axis=-1)  # [N, 3 size, size]
    complete: np.ndarray = (digits == np.arange(1, size + 1)).all(axis=(1, 2))
    return complete


def random_grids(size: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Complete grids [count, L]."""
    empty = np.zeros((count, size * size), dtype=np.uint8)
    solutions = solve(candidates(empty), limit=1, rng=rng)
    return solutions.grids[solutions.owners.argsort()]


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
    orders: np.ndarray = rows[:, :, None] * size + columns[:, None, :]  # [count, size, size]
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


def normalise_digits(grids: np.ndarray) -> np.ndarray:
    """Relabel complete grids [N, L] so that the first row reads 1 2 3 ...: one representative a relabelling class."""
    size = round(grids.shape[1] ** 0.5)
    order = np.zeros((len(grids), size + 1), dtype=grids.dtype)
    np.put_along_axis(order, grids[:, :size].astype(np.int64), np.arange(1, size + 1, dtype=grids.dtype)[None], axis=1)
    return np.take_along_axis(order, grids.astype(np.int64), axis=1)


@cache
def answer_classes(size: int) -> tuple[np.ndarray, np.ndarray]:
    """One complete grid of every class [classes, L] and the number of grids in each class [classes].

    Size 4: the 12 classes under relabelling alone (all symmetries would leave 2). Size 6: the 49 classes under relabelling,
    bands, stacks and lines, listed in sudoku6_classes.txt; their sizes add up to all 28,200,960 grids.
    """
    if size == 4:
        first_row = np.array([[1, 2, 3, 4] + [0] * 12], dtype=np.uint8)
        grids = solve(candidates(first_row), limit=288).grids
        return grids, np.full(len(grids), 24)
    classes = resources.files("rrm.tasks").joinpath("sudoku6_classes.txt").read_text(encoding="utf-8")
    rows = [line.split() for line in classes.splitlines()]
    grids = np.array([[int(digit) for digit in row[0]] for row in rows], dtype=np.uint8)
    return grids, np.array([int(row[1]) for row in rows])


def symmetry_hash(grids: np.ndarray) -> np.ndarray:
    """A hash of each complete grid [N, L] that no relabelling, band, stack, line order or transposition changes, [N].

    Within a band, two rows are a permutation of the digits (what stands above what). Relabelling conjugates it and line
    orders permute or invert the pairs, so that the multiset of cycle types is an invariant; stacks likewise.
    """
    size = round(grids.shape[1] ** 0.5)
    square = grids.reshape(-1, size, size)
    box_rows, box_columns = BOX_SHAPE[size]
    by_rows, by_columns = _lines_hash(square, box_rows), _lines_hash(square.swapaxes(1, 2), box_columns)
    if box_rows == box_columns:
        return mix(mix(by_rows) + mix(by_columns))
    return mix(mix(by_rows) + by_columns)


def _lines_hash(square: np.ndarray, block: int) -> np.ndarray:
    """Hash of the cycle types between lines of the same block, [N], whatever the order of blocks and lines."""
    count, size, _ = square.shape
    total = np.zeros(count, dtype=np.uint64)
    for first in range(0, size, block):
        pairs = np.zeros(count, dtype=np.uint64)
        for one, other in combinations(range(first, first + block), 2):
            pairs += hash_rows(_cycle_type(square[:, one], square[:, other]))
        total += mix(pairs)
    return total


def _cycle_type(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Fixed points of the powers 1 .. size of the permutation that takes each digit of one line to that of the other."""
    size = one.shape[1]
    step = np.empty(one.shape, dtype=np.int64)
    np.put_along_axis(step, one.astype(np.int64) - 1, other.astype(np.int64) - 1, axis=1)
    power, fixed = step, []
    for _ in range(size):
        fixed.append((power == np.arange(size)).sum(axis=1))
        power = np.take_along_axis(step, power, axis=1)
    return np.stack(fixed, axis=1)


def puzzle_hash(questions: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """A hash of each puzzle [N, L], from its answer and the places of its givens (colour refinement over the units).

    Puzzles that are equal up to symmetry have equal hashes.
    """
    size = round(answers.shape[1] ** 0.5)
    square_boxes = BOX_SHAPE[size][0] == BOX_SHAPE[size][1]
    rows, columns, boxes = units_of(size) - size * np.arange(3)[:, None]
    digits = answers.astype(np.int64) - 1
    colour = mix((questions > 0).astype(np.uint64))
    for _ in range(3):
        row, column, box = (_sums(colour, np.broadcast_to(place, digits.shape), size) for place in (rows, columns, boxes))
        digit = _sums(colour, digits, size)
        lines = mix(row) + mix(column) if square_boxes else mix(row) + column
        colour = mix(colour + mix(lines) + mix(box + np.uint64(1)) + mix(digit + np.uint64(2)))
    return mix(colour.sum(axis=1, dtype=np.uint64) + symmetry_hash(answers))


def _sums(colour: np.ndarray, group: np.ndarray, size: int) -> np.ndarray:
    """For every cell, the scrambled colours of all cells of its group added up, [N, L]."""
    sums = np.zeros((len(colour), size), dtype=np.uint64)
    np.add.at(sums, (np.arange(len(colour))[:, None], group), mix(colour))
    return np.take_along_axis(sums, group, axis=1)
