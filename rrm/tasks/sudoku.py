"""Sudoku on 4x4, 6x6 and 9x9 grids: generated puzzles with a proven unique solution, or a CSV in the Sudoku-Extreme format.

Tokens as in the official data: 0 PAD (unused), 1 blank, 2 .. size + 1 the digits. Labels cover all cells, givens included;
`unknown` marks the blanks.
"""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, Strict, model_validator

from rrm.config import RuleError
from rrm.tasks import sudoku_grids as grids
from rrm.tasks.puzzle_files import PuzzleFilesConfig, PuzzleFilesTask, Puzzles, Rule, read_puzzles
from rrm.tasks.splits import draw_rows, draw_until, split_of
from rrm.tasks.sudoku_puzzles import count_guesses, minimal_questions, questions_within
from rrm.tasks.sudoku_solver import candidates, solve
from rrm.tasks.task import Examples, PuzzleShape, Split

DEFAULT_CLUES = {4: (8, 12), 6: (26, 30), 9: (36, 50)}
MIN_CLUES = {4: 4, 6: 8, 9: 17}  # a puzzle with fewer givens has several solutions
MIN_OF_MAX_CLUES = {4: 6, 6: 12, 9: 26}  # the generator, which removes givens at random, seldom reaches fewer
CLUE_BINS = {4: (4, 6, 8, 10, 12), 6: (8, 12, 16, 20, 24, 28, 32), 9: (17, 20, 23, 26, 30, 35, 40, 45)}
GUESS_BINS = (0, 1, 2, 4, 8, 16, 32, 64, 128)

# A validator that sees the raw dict turns JSON's lists into Python's, which strict mode would refuse here.
Bounds = Annotated[tuple[Annotated[int, Strict()], Annotated[int, Strict()]], Strict(False)]


class SudokuConfig(PuzzleFilesConfig):
    """Generated puzzles, with givens within bounds or as few as possible; or puzzles from files.

    The official symmetries augment training rows: digits, bands, stacks, lines, transposition where boxes are square;
    4x4 is relabelled only.
    """

    HUB: ClassVar[dict[str, str]] = {"sudoku-extreme": "sapientinc/sudoku-extreme"}
    GENERATOR_ONLY: ClassVar[set[str]] = {"validation_examples", "nested", "clues", "minimal", "fewest_guesses"}

    kind: Literal["sudoku"] = "sudoku"
    """Fill the blanks of a Sudoku."""
    size: Literal[4, 6, 9] = 6
    """Cells a side."""
    clues: Bounds | None = None
    """Smallest and largest number of givens; generator only. Default: [8, 12], [26, 30] or [36, 50] for size 4, 6 or 9."""
    minimal: bool | None = None
    """Whether every given is needed for a unique solution; generator only. Default: false."""
    fewest_guesses: int | None = Field(None, ge=1, le=32)
    """Smallest number of guesses that a solver needs; minimal 9x9 puzzles only. Default: 0."""

    @classmethod
    def generator_defaults(cls, given: dict[str, Any]) -> dict[str, Any]:
        minimal = given.get("minimal", False)
        clues = {} if minimal is True else {"clues": DEFAULT_CLUES.get(given.get("size", 6))}
        return super().generator_defaults(given) | {"minimal": minimal} | clues

    @model_validator(mode="after")
    def _check_clues(self) -> Self:
        if self.hub is not None and self.size != 9:
            raise RuleError(f"size must be 9 for the hub's {self.hub}, got {self.size}", "size", "hub")
        if self.fewest_guesses is not None and not (self.minimal and self.size == 9):
            problem = "fewest_guesses has an effect on minimal 9x9 puzzles only: leave it out"
            raise RuleError(problem, "fewest_guesses", "minimal", "size")
        if self.clues is None:
            return self
        if self.minimal:
            raise RuleError("clues has no effect where puzzles are minimal: leave it out", "clues", "minimal")
        low, high = self.clues
        least, most = MIN_CLUES[self.size], MIN_OF_MAX_CLUES[self.size]
        if not least <= low <= high <= self.size**2 or high < most:
            rule = f"{least} <= fewest <= most and {most} <= most <= {self.size**2} for size {self.size}"
            raise RuleError(f"clues must be [fewest, most] with {rule}, got {[low, high]}", "clues", "size")
        return self

    @property
    def shape(self) -> PuzzleShape:
        return PuzzleShape(length=self.size**2, vocabulary=self.size + 2, num_puzzles=1)


class Sudoku(PuzzleFilesTask):
    """Fill the blanks so that every row, column and box holds each digit once."""

    config: SudokuConfig

    @property
    def grid(self) -> tuple[int, int]:
        return self.config.size, self.config.size

    def read(self, path: Path) -> Puzzles:
        return read_sudokus(path, self.config.size)

    def symmetry_hash(self, puzzles: Puzzles) -> np.ndarray:
        return grids.puzzle_hash(puzzles.questions, puzzles.answers)

    @property
    def bins(self) -> dict[str, tuple[int, ...]]:
        return {"guesses": GUESS_BINS, "clues": CLUE_BINS[self.config.size]}

    def make(self, split: Split, count: int, seed: int) -> Examples:
        if self.files:
            puzzles = self.files[split].take(np.arange(min(count, self.counts[split])))
            return self._examples(puzzles.questions, puzzles.answers, check_guesses(puzzles))

        def draw(number: int, rng: np.random.Generator) -> Examples:
            if self.config.size == 9:
                return draw_until(number, lambda drawn: self._draw_9x9(split, drawn, seed, rng))
            return self._generated(self._random_answers(split, number, rng), rng)

        return draw_rows(split, count, seed, draw, nested=bool(self.config.nested))

    def augment(self, examples: Examples, rng: np.random.Generator) -> Examples:
        size, count = self.config.size, len(examples)
        digits = grids.random_digit_orders(size, count, rng)
        tokens = np.concatenate((np.zeros((count, 1), dtype=np.uint8), digits.astype(np.uint8) + 1), axis=1)  # PAD stays PAD
        cells = np.concatenate((examples.inputs, examples.labels), axis=1).astype(np.intp)
        relabelled = np.take_along_axis(tokens, cells, axis=1)
        inputs, labels, unknown = relabelled[:, : size * size], relabelled[:, size * size :], examples.unknown
        if size > 4:  # 4x4 has only 2 classes under all symmetries: its splits differ by relabelling class
            order = grids.random_cell_orders(size, count, rng)
            inputs, labels, unknown = (np.take_along_axis(rows, order, axis=1) for rows in (inputs, labels, unknown))
        return Examples(inputs, labels, unknown, examples.puzzle_identifiers, examples.items, examples.difficulty)

    def score(self, examples: Examples, answers: np.ndarray) -> np.ndarray:
        keeps_givens = ((examples.inputs == answers) | (examples.inputs == 1)).all(axis=1)
        solved: np.ndarray = keeps_givens & grids.is_complete(answers.astype(np.int64) - 1)
        return solved

    def _examples(self, questions: np.ndarray, answers: np.ndarray, guesses: np.ndarray) -> Examples:
        difficulty = {"guesses": guesses, "clues": (questions > 0).sum(axis=1)}
        return Examples.single(questions + 1, answers + 1, questions == 0, difficulty)

    def _generated(self, answers: np.ndarray, rng: np.random.Generator) -> Examples:
        """A question for each answer."""
        if self.config.minimal:
            questions = minimal_questions(answers, rng)
        else:
            assert self.config.clues is not None
            questions = questions_within(answers, *self.config.clues, rng)
        return self._examples(questions, answers, count_guesses(questions))

    def _draw_9x9(self, split: Split, number: int, seed: int, rng: np.random.Generator) -> Examples:
        """Puzzles whose answers belong to the split, by what no symmetry changes."""
        answers = grids.random_grids(9, number, rng)
        drawn = self._generated(answers[split_of(grids.symmetry_hash(answers), seed) == split], rng)
        hard = drawn.difficulty["guesses"] >= (self.config.fewest_guesses or 0)
        return drawn.take(np.flatnonzero(hard))

    def _random_answers(self, split: Split, count: int, rng: np.random.Generator) -> np.ndarray:
        """Complete 4x4 or 6x6 grids [count, L], uniform over the classes of the split."""
        size = self.config.size
        representatives, weights = self._classes[split]
        chosen = representatives[rng.choice(len(representatives), size=count, p=weights / weights.sum())]
        if size > 4:
            chosen = np.take_along_axis(chosen, grids.random_cell_orders(size, count, rng), axis=1)
        return grids.relabel(chosen, grids.random_digit_orders(size, count, rng))

    @cached_property
    def _classes(self) -> dict[Split, tuple[np.ndarray, np.ndarray]]:
        """Two thirds of the answer classes for training, a sixth each for validation and test, drawn by `seed`."""
        representatives, sizes = grids.answer_classes(self.config.size)
        order = np.random.default_rng(self.config.seed).permutation(len(sizes))
        sixth = len(order) // 6
        parts: dict[Split, np.ndarray] = {
            "test": order[:sixth],
            "validation": order[sixth : 2 * sixth],
            "train": order[2 * sixth :],
        }
        return {split: (representatives[part], sizes[part]) for split, part in parts.items()}


def read_sudokus(path: Path, size: int) -> Puzzles:
    """A CSV in the Sudoku-Extreme format, every row checked; that solutions are unique is checked by `check_guesses`.

    Raises:
        UserError: the file cannot be read, has no rows, or a row breaks a rule (file, line, rule).
    """
    digits = {str(digit): digit for digit in range(1, size + 1)}
    return read_puzzles(path, size * size, digits | {".": 0, "0": 0}, digits, lambda q, a: _rules(q, a, size))


def _rules(questions: np.ndarray, answers: np.ndarray, size: int) -> Iterable[Rule]:
    changed = (questions > 0) & (questions != answers)

    def describe_change(row: int) -> str:
        cell = int(changed[row].argmax())
        place = f"row {cell // size + 1}, column {cell % size + 1}"
        return f"answer must keep the givens, got {answers[row, cell]} for the given {questions[row, cell]} at {place}"

    yield changed.any(axis=1), describe_change
    yield ~grids.is_complete(answers), lambda row: "answer must hold each digit once in every row, column and box"


def check_guesses(puzzles: Puzzles) -> np.ndarray:
    """Guesses that each puzzle takes, [N].

    Raises:
        UserError: a puzzle has more than one solution (file, line).
    """
    solutions = solve(candidates(puzzles.questions), limit=2)
    puzzles.check([(solutions.count > 1, lambda row: "question must have one solution, got more than one")])
    return solutions.guesses
