"""Mazes: mark the shortest path from S to G. Generated ones have a single shortest path; Maze-Hard comes from the hub.

Tokens as in the official data: 0 PAD, then `# SGo` as 1 to 5. Labels cover the whole maze; `unknown` marks its open cells.
A canvas holds the larger mazes of the out-of-distribution split; the smaller ones lie anywhere on it, PAD around them.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, Strict, model_validator

from rrm.config import RuleError
from rrm.tasks.maze_paths import UNREACHED, flood, trace
from rrm.tasks.puzzle_files import PuzzleFilesConfig, PuzzleFilesTask, Puzzles, Rule, read_puzzles
from rrm.tasks.splits import draw_rows, draw_until, hash_rows, split_of
from rrm.tasks.task import Examples, PuzzleShape, Split

WALL, OPEN, START, GOAL, PATH = 1, 2, 3, 4, 5
ALPHABET = {"#": WALL, " ": OPEN, "S": START, "G": GOAL}
LOOP_SHARE = 0.03  # share of the remaining walls that is opened, so that longer paths exist beside the shortest
PATH_BINS = (1, 4, 8, 12, 16, 20, 24, 32, 48, 64, 96, 128, 192)
CHUNK_CELLS = 500_000  # cells of the mazes that are generated together

Bounds = Annotated[tuple[Annotated[int, Strict()], Annotated[int, Strict()]], Strict(False)]


class MazeConfig(PuzzleFilesConfig):
    """Generated mazes, small ones in training and larger ones out of distribution; or mazes from files.

    Dihedral symmetries augment training rows.
    """

    HUB: ClassVar[dict[str, str]] = {"maze-30x30-hard": "sapientinc/maze-30x30-hard-1k"}
    GENERATOR_ONLY: ClassVar[set[str]] = {"validation_examples", "nested", "ood_size", "ood_examples", "path_length"}

    kind: Literal["maze"] = "maze"
    """Mark the shortest path of a maze."""
    size: int = Field(9, ge=4, le=40)
    """Cells a side of a maze."""
    ood_size: int | None = Field(None, ge=5, le=60)
    """Cells a side of a maze out of distribution, and of the canvas of all mazes; generator only. Default: size + 4."""
    ood_examples: int | None = Field(None, ge=0)
    """Mazes out of distribution; with 0 that split is absent, and the canvas has `size`; generator only. Default: 1000."""
    path_length: Bounds | None = None
    """Smallest and largest number of steps from S to G; generator only. Default: [3, size^2 / 2].

    Out of distribution only the smallest number holds.
    """

    @classmethod
    def generator_defaults(cls, given: dict[str, Any]) -> dict[str, Any]:
        size = given.get("size", 9)
        filled = super().generator_defaults(given) | {"ood_examples": 1000}
        if isinstance(size, int) and given.get("ood_examples") != 0:
            filled["ood_size"] = size + 4
        return filled | ({"path_length": (3, size * size // 2)} if isinstance(size, int) else {})

    @model_validator(mode="after")
    def _check_sizes(self) -> Self:
        if self.hub is not None and self.size != 30:
            raise RuleError(f"size must be 30 for the hub's {self.hub}, got {self.size}", "size", "hub")
        if self.ood_size is not None and self.ood_examples == 0:
            raise RuleError("ood_size has no effect with ood_examples 0: leave it out", "ood_size", "ood_examples")
        if self.ood_size is not None and self.ood_size <= self.size:
            raise RuleError(f"ood_size must be larger than size, got {self.ood_size} and {self.size}", "ood_size", "size")
        if self.path_length is not None:
            low, high = self.path_length
            if not 1 <= low <= high or low > 3 * self.size:
                rule = "path_length must be [fewest, most] with 1 <= fewest <= most and fewest <= 3 size"
                raise RuleError(f"{rule}, got {[low, high]}", "path_length", "size")
        return self

    @property
    def canvas(self) -> int:
        """Cells a side of the canvas."""
        return self.ood_size or self.size

    @property
    def shape(self) -> PuzzleShape:
        return PuzzleShape(length=self.canvas**2, vocabulary=6, num_puzzles=1)


class Maze(PuzzleFilesTask):
    """Find the way."""

    config: MazeConfig

    @property
    def grid(self) -> tuple[int, int]:
        return self.config.canvas, self.config.canvas

    def read(self, path: Path) -> Puzzles:
        return read_mazes(path, self.config.size)

    def symmetry_hash(self, puzzles: Puzzles) -> np.ndarray:
        return dihedral_hash(self._square(puzzles.questions))

    @property
    def bins(self) -> dict[str, tuple[int, ...]]:
        return {"path_length": PATH_BINS}

    def make(self, split: Split, count: int, seed: int) -> Examples:
        if self.files:
            puzzles = self.files[split].take(np.arange(min(count, self.counts[split])))
            length = path_lengths(self._square(puzzles.questions))
            return Examples.single(puzzles.questions, puzzles.answers, puzzles.questions == OPEN, {"path_length": length})
        size = self.config.canvas if split == "ood" else self.config.size
        most = max(64, CHUNK_CELLS // size**2)

        def draw(number: int, rng: np.random.Generator) -> Examples:
            return draw_until(number, lambda drawn: self._draw(split, drawn, seed, rng), most)

        return draw_rows(split, count, seed, draw, nested=bool(self.config.nested))

    def augment(self, examples: Examples, rng: np.random.Generator) -> Examples:
        which = rng.integers(0, 8, size=len(examples))
        cells = np.arange(self.config.canvas**2).reshape(1, self.config.canvas, -1)
        order = np.concatenate([image.reshape(1, -1) for image in dihedral(cells)])[which]
        inputs, labels, unknown = (
            np.take_along_axis(rows, order, axis=1) for rows in (examples.inputs, examples.labels, examples.unknown)
        )
        return Examples(inputs, labels, unknown, examples.puzzle_identifiers, examples.items, examples.difficulty)

    def score(self, examples: Examples, answers: np.ndarray) -> np.ndarray:
        return marks_a_shortest_path(self._square(examples.inputs), self._square(answers))

    def _draw(self, split: Split, number: int, seed: int, rng: np.random.Generator) -> Examples:
        """Mazes that belong to the split, somewhere on the canvas."""
        assert self.config.path_length is not None
        size = self.config.canvas if split == "ood" else self.config.size
        low, high = self.config.path_length
        questions, paths, length = draw_mazes(number, size, low, size * size if split == "ood" else high, rng)
        if split != "ood":
            in_split = split_of(dihedral_hash(questions), seed) == split
            questions, paths, length = questions[in_split], paths[in_split], length[in_split]
        offsets = rng.integers(0, self.config.canvas - size + 1, size=(len(questions), 2))
        inputs, labels = (self._place(cells, offsets) for cells in (questions, np.where(paths, PATH, questions)))
        return Examples.single(inputs, labels, inputs == OPEN, {"path_length": length})

    def _place(self, cells: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """Mazes [N, n, n] as rows [N, L] of the canvas, each at its offset."""
        count, size, _ = cells.shape
        canvas = np.zeros((count, self.config.canvas, self.config.canvas), dtype=np.uint8)
        down, right = (offsets[:, axis, None] + np.arange(size) for axis in (0, 1))
        canvas[np.arange(count)[:, None, None], down[:, :, None], right[:, None, :]] = cells
        return canvas.reshape(count, self.config.canvas**2)

    def _square(self, rows: np.ndarray) -> np.ndarray:
        return rows.reshape(len(rows), self.config.canvas, self.config.canvas)


def draw_mazes(
    count: int, size: int, fewest: int, most: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """At most `count` random mazes with a single shortest path of fewest .. most steps.

    A tree of corridors with a few loops; S and G are such that any length is as likely as any other, up to the longest.

    Returns:
        Mazes [N, n, n], the cells of their paths [N, n, n] bool, and the lengths of these [N].
    """
    corridors = carve(count, size, rng)
    cells = np.where(corridors | (rng.random(corridors.shape) < LOOP_SHARE), OPEN, WALL).astype(np.uint8)
    start = _one_of(cells == OPEN, rng.random(cells.shape))
    distance, ways = flood(cells == OPEN, start)
    possible = (ways == 1) & (distance >= fewest) & (distance <= most)
    longest = np.where(possible, distance, 0).max(axis=(1, 2))
    target = fewest + rng.random(count) * (longest - fewest + 1) - 0.5
    goal = _one_of(possible, -np.abs(distance - target[:, None, None]) + 1e-3 * rng.random(cells.shape))
    paths = trace(distance, goal)
    cells[start], cells[goal] = START, GOAL
    has_goal = possible.any(axis=(1, 2))
    return cells[has_goal], paths[has_goal], np.where(goal, distance, 0).max(axis=(1, 2))[has_goal]


def carve(count: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Corridors without loops, [count, size, size] bool: a wall is opened as long as it touches a single open cell.

    `corridor_bias` differs between mazes: with 0 a corridor branches anywhere, with 1 it goes on where it was opened last.
    """
    cells, rows = size * size, np.arange(count)
    around = neighbours(size)
    opened = np.zeros((count, cells + 1), dtype=bool)
    open_neighbours = np.zeros((count, cells + 1), dtype=np.uint8)
    priority = np.full((count, cells + 1), -np.inf, dtype=np.float32)  # the wall with the highest one is opened next
    corridor_bias = rng.random(count).astype(np.float32) ** 2
    here = rng.integers(0, cells, size=count)
    for turn in range(cells):
        opened[rows, here] = True
        priority[rows, here] = -np.inf
        near = around[here]  # [count, 4]
        open_neighbours[rows[:, None], near] += 1
        candidate = (open_neighbours[rows[:, None], near] == 1) & ~opened[rows[:, None], near] & (near < cells)
        noise = rng.random(near.shape, dtype=np.float32)
        priority[rows[:, None], near] = np.where(candidate, noise + turn * corridor_bias[:, None], -np.inf)
        here = priority.argmax(axis=1)
        growing = priority[rows, here] > -np.inf
        if not growing.any():
            break
        # A complete maze opens a cell that is open already.
        here = np.where(growing, here, opened.argmax(axis=1))
    return opened[:, :cells].reshape(count, size, size)


def neighbours(size: int) -> np.ndarray:
    """The four neighbours of every cell, [size * size, 4]; `size * size` stands for none."""
    numbers = np.pad(np.arange(size * size).reshape(size, size), 1, constant_values=size * size)
    return np.stack([numbers[:-2, 1:-1], numbers[2:, 1:-1], numbers[1:-1, :-2], numbers[1:-1, 2:]], axis=-1).reshape(-1, 4)


def _one_of(possible: np.ndarray, preference: np.ndarray) -> np.ndarray:
    """The possible cell with the highest preference in each maze, [N, n, n] bool; none where none is possible."""
    flat = np.where(possible, preference, -np.inf).reshape(len(possible), -1)
    chosen = np.arange(flat.shape[1]) == flat.argmax(axis=1)[:, None]
    cells: np.ndarray = chosen.reshape(possible.shape) & possible
    return cells


def marks_a_shortest_path(questions: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Whether each answer [N, n, n] keeps its maze and marks a connected shortest path, and nothing else, [N] bool."""
    open_cells, marked = questions == OPEN, answers == PATH
    kept = np.where(open_cells, marked | (answers == OPEN), (questions == answers) | (questions == 0)).all(axis=(1, 2))
    start, goal = questions == START, questions == GOAL
    shortest = path_lengths(questions)
    walked = np.where(goal, flood(marked & open_cells | goal, start)[0], UNREACHED).max(axis=(1, 2))
    no_detour = (marked & open_cells).sum(axis=(1, 2)) == shortest - 1
    right: np.ndarray = kept & no_detour & (walked == shortest) & (walked > 0)
    return right


def path_lengths(questions: np.ndarray) -> np.ndarray:
    """Steps of a shortest path from S to G in each maze [N, n, n], [N]; UNREACHED where there is none."""
    goal = questions == GOAL
    distance, _ = flood((questions == OPEN) | goal, questions == START)
    steps: np.ndarray = np.where(goal, distance, UNREACHED).max(axis=(1, 2))
    return steps


def dihedral(cells: np.ndarray) -> list[np.ndarray]:
    """The eight images of squares [N, n, n]: turns and mirrored turns."""
    turns = [np.rot90(cells, turn, axes=(1, 2)) for turn in range(4)]
    return turns + [np.flip(image, axis=2) for image in turns]


def dihedral_hash(cells: np.ndarray) -> np.ndarray:
    """A hash of each square [N, n, n] that no turn and no mirror changes, [N]."""
    smallest: np.ndarray = np.min([hash_rows(image.reshape(-1, cells.shape[1] ** 2)) for image in dihedral(cells)], axis=0)
    return smallest


def read_mazes(path: Path, size: int) -> Puzzles:
    """A CSV in the Maze-Hard format (`# SGo`), every row checked.

    Raises:
        UserError: the file cannot be read, has no rows, or a row breaks a rule (file, line, rule).
    """
    return read_puzzles(path, size * size, ALPHABET, ALPHABET | {"o": PATH}, lambda q, a: _rules(q, a, size))


def _rules(questions: np.ndarray, answers: np.ndarray, size: int) -> Iterable[Rule]:
    for name, token in (("S", START), ("G", GOAL)):
        count = (questions == token).sum(axis=1)
        yield count != 1, lambda row, name=name, count=count: f"question must hold one {name}, got {count[row]}"  # type: ignore[misc]
    changed = (questions != answers) & ~((questions == OPEN) & (answers == PATH))

    def describe_change(row: int) -> str:
        cell = int(changed[row].argmax())
        return f"answer must repeat the question but for the path, and does not at row {cell // size + 1}, column {cell % size + 1}"

    yield changed.any(axis=1), describe_change
    squares = (cells.reshape(-1, size, size) for cells in (questions, answers))
    yield ~marks_a_shortest_path(*squares), lambda row: "answer must mark a shortest path from S to G, and nothing else"
