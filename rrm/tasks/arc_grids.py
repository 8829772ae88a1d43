"""ARC grids on a canvas of 30 x 30 tokens, and the symmetries that augment them (official `build_arc_dataset.py`).

Tokens: 0 PAD, 1 END (the row below and the column right of a grid, where they fit), 2 .. 11 the ten colours.
"""

from dataclasses import dataclass

import numpy as np

from rrm.tasks.splits import mix

SIDE = 30  # cells a side of the canvas, the largest side of a grid
COLOURS = 10
END, FIRST_COLOUR = 1, 2
VOCABULARY = FIRST_COLOUR + COLOURS
INVERSE = (0, 3, 2, 1, 4, 5, 6, 7)  # the inverse of each dihedral symmetry


def dihedral(grid: np.ndarray, number: int) -> np.ndarray:
    """The image of a grid [H, W] under a symmetry: 0 .. 3 turns, 4 left-right, 5 up-down, 6 transposition, 7 the other diagonal."""
    if number < 4:
        return np.rot90(grid, number)
    if number < 6:
        return np.fliplr(grid) if number == 4 else np.flipud(grid)
    return grid.T if number == 6 else np.fliplr(np.rot90(grid))


@dataclass(frozen=True)
class Augmentations:
    """Symmetries of one puzzle, the identity first; A of them."""

    dihedral: np.ndarray  # [A]
    colours: np.ndarray  # [A, 10] the new colour of each colour; 0 stays 0

    def __len__(self) -> int:
        return len(self.dihedral)

    def apply(self, number: int, grid: np.ndarray) -> np.ndarray:
        """The grid under augmentation `number`."""
        recoloured: np.ndarray = self.colours[number][dihedral(grid, int(self.dihedral[number]))]
        return recoloured

    def undo(self, number: int, grid: np.ndarray) -> np.ndarray:
        """The grid that `apply` was given."""
        return dihedral(np.argsort(self.colours[number]).astype(np.uint8)[grid], INVERSE[int(self.dihedral[number])])


def draw_augmentations(grids: list[np.ndarray], count: int, rng: np.random.Generator) -> Augmentations:
    """The identity and at most `count` symmetries under which the puzzle of these grids looks different each time.

    A puzzle that is symmetric itself has fewer; five times as many are tried, as in the official code.
    """
    sums = np.stack([_colour_sums([dihedral(grid, number) for grid in grids]) for number in range(8)])  # [8, 10]
    tries = 5 * count
    symmetry = np.concatenate(([0], rng.integers(0, 8, size=tries)))
    colours = np.tile(np.arange(COLOURS), (tries + 1, 1))
    colours[1:, 1:] = rng.permuted(colours[1:, 1:], axis=1)
    # The hash of all recoloured cells is the sum over colours of their cells' sum times the scrambled new colour.
    hashes = (mix(colours) * sums[symmetry]).sum(axis=1, dtype=np.uint64)
    _, first = np.unique(hashes, return_index=True)
    kept = np.sort(first)[: count + 1]
    return Augmentations(symmetry[kept].astype(np.uint8), colours[kept].astype(np.uint8))


def _colour_sums(grids: list[np.ndarray]) -> np.ndarray:
    """For each colour, the scrambled places of its cells in all grids added up, [10] uint64."""
    sums = np.zeros(COLOURS, dtype=np.uint64)
    for number, grid in enumerate(grids):
        row, column = np.indices(grid.shape)
        place = column + SIDE * (row + SIDE * (number + 1000 * grid.shape[0]))  # differs between cells, grids and heights
        np.add.at(sums, grid.ravel(), mix(place.ravel()) | np.uint64(1))
    return sums


def encode(grid: np.ndarray, offset: tuple[int, int] = (0, 0)) -> np.ndarray:
    """A grid [H, W] of colours as a canvas [900] of tokens, its upper left corner at `offset`."""
    canvas = np.zeros((SIDE, SIDE), dtype=np.uint8)
    (top, left), (bottom, right) = offset, (offset[0] + grid.shape[0], offset[1] + grid.shape[1])
    canvas[top:bottom, left:right] = grid + FIRST_COLOUR
    if bottom < SIDE:
        canvas[bottom, left:right] = END
    if right < SIDE:
        canvas[top:bottom, right] = END
    return canvas.ravel()


def decode(canvas: np.ndarray) -> np.ndarray:
    """The largest rectangle of colours at the upper left corner of a canvas [900], as a grid [H, W]; [0, 0] where there is none."""
    cells = canvas.reshape(SIDE, SIDE)
    is_colour = cells >= FIRST_COLOUR
    run = is_colour.argmin(axis=1)  # number of colours at the start of each row
    run[is_colour.all(axis=1)] = SIDE
    width = np.minimum.accumulate(run)  # the smallest such number in this row and those above
    height = int((width * np.arange(1, SIDE + 1)).argmax()) + 1 if width[0] else 0
    return cells[:height, : width[height - 1]] - FIRST_COLOUR
