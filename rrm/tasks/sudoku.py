"""Sudoku on 4x4, 6x6 and 9x9 grids: generated puzzles with a proven unique solution, or a CSV in the Sudoku-Extreme format.

Tokens as in the official data: 0 PAD (unused), 1 blank, 2 .. size + 1 the digits. Labels cover all cells, givens included;
`unknown` marks the blanks.
"""

import csv
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, Strict, model_validator

from rrm.errors import UserError
from rrm.files import FilePath, checked_sha256
from rrm.tasks import sudoku_grids as grids
from rrm.tasks.task import BaseTaskConfig, Examples, PuzzleShape, Split, Task

DEFAULT_CLUES = {4: (8, 12), 6: (26, 30), 9: (36, 50)}
FEWEST_CLUES = {4: 4, 6: 8, 9: 17}  # no puzzle with fewer has one solution
MOST_CLUES_AT_LEAST = {4: 6, 6: 12, 9: 26}  # taking clues away at random seldom leads below
GENERATED = {"train_examples": 1000, "validation_examples": 200, "test_examples": 1000}
CSV_COLUMNS = ["source", "question", "answer", "rating"]
MASK_TRIES = 20  # random masks tried before clues are taken away one by one

# A validator that sees the raw dict turns JSON's lists into Python's, which strict mode would refuse here.
Bounds = Annotated[tuple[Annotated[int, Strict()], Annotated[int, Strict()]], Strict(False)]


class SudokuConfig(BaseTaskConfig):
    """Where puzzles come from: a generator (the default), or CSV files by path.

    `seed` alone determines the three splits. Paths are absolute once a spec is loaded; a fingerprint holds the files'
    digests in their place.
    """

    kind: Literal["sudoku"] = "sudoku"
    size: Literal[4, 6, 9] = 6
    seed: int = Field(0, ge=0)
    augment: bool = True  # the official symmetries on training rows; 4x4 is relabelled only
    train_examples: int | None = Field(None, ge=1)  # generator: 1000; CSV: at most so many, drawn by `seed`
    test_examples: int | None = Field(None, ge=1)
    clues: Bounds | None = None  # generator only: fewest and most givens
    validation_examples: int | None = Field(None, ge=1)  # generator only
    train: FilePath | None = None  # CSV with the columns source,question,answer,rating
    test: FilePath | None = None
    validation: float | None = Field(None, gt=0, lt=1)  # CSV only: share of the training rows
    train_sha256: str | None = None  # digests of the files; checked where given, filled in when a spec is loaded
    test_sha256: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _fill_defaults(cls, given: Any) -> Any:
        """Generator and CSV have different settings; one that has no effect is refused."""
        if not isinstance(given, dict):
            return given
        from_files = "train" in given or "test" in given
        foreign = {"clues", "validation_examples"} if from_files else {"validation", "train_sha256", "test_sha256"}
        for name in sorted(foreign & given.keys()):
            source = "puzzles come from CSV files" if from_files else "puzzles are generated (no train and test paths)"
            raise ValueError(f"{name} has no effect where {source}: leave it out")
        if from_files:
            return {"validation": 0.1} | given
        return {"clues": DEFAULT_CLUES.get(given.get("size", 6))} | GENERATED | given

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.train is None) != (self.test is None):
            raise ValueError("train and test must be given together, as paths of two CSV files")
        if self.clues is not None:
            low, high = self.clues
            fewest, most = FEWEST_CLUES[self.size], MOST_CLUES_AT_LEAST[self.size]
            if not fewest <= low <= high <= self.size**2 or high < most:
                rule = f"{fewest} <= fewest <= most and {most} <= most <= {self.size**2} for size {self.size}"
                raise ValueError(f"clues must be [fewest, most] with {rule}, got {[low, high]}")
        return self

    @property
    def shape(self) -> PuzzleShape:
        return PuzzleShape(length=self.size**2, vocabulary=self.size + 2, num_puzzles=1)

    def located(self, folder: Path) -> Self:
        if self.train is None or self.test is None:
            return self
        update: dict[str, Any] = {}
        for name, path, expected in (("train", self.train, self.train_sha256), ("test", self.test, self.test_sha256)):
            absolute = (folder / path).resolve()
            update |= {name: absolute, f"{name}_sha256": checked_sha256(absolute, expected)}
        return self.model_copy(update=update)

    def identity(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude_none=True, exclude={"train", "test"})


class Sudoku(Task):
    """Fill the blanks so that every row, column and box holds each digit once."""

    def __init__(self, config: SudokuConfig) -> None:
        self.config = config
        if config.train is not None and config.test is not None:
            self._files = self._split_files(read_csv(config.train, config.size), read_csv(config.test, config.size))
            self.counts = {split: len(questions) for split, (questions, _) in self._files.items()}
        else:
            self._files = {}
            counts = (config.train_examples, config.validation_examples, config.test_examples)
            self.counts = dict(zip(("train", "validation", "test"), map(int, counts), strict=True))  # type: ignore[arg-type]

    def make(self, split: Split, count: int, seed: int) -> Examples:
        if self._files:
            questions, answers = self._files[split]
            questions, answers = questions[:count], answers[:count]
        else:
            rng = np.random.default_rng([seed, ("train", "validation", "test").index(split)])
            answers = self._random_answers(split, count, rng)
            questions = np.stack([self._question(answer, rng) for answer in answers])
        return Examples(
            inputs=questions + 1,
            labels=answers + 1,
            unknown=questions == 0,
            puzzle_identifiers=np.zeros(len(questions), dtype=np.int32),
        )

    def augment(self, examples: Examples, rng: np.random.Generator) -> Examples:
        size, count = self.config.size, len(examples)
        digits = grids.random_digit_orders(size, count, rng)
        inputs, labels = grids.relabel(examples.inputs - 1, digits) + 1, grids.relabel(examples.labels - 1, digits) + 1
        unknown = examples.unknown
        if size > 4:  # 4x4 has only 2 classes under all symmetries: its splits differ by relabelling class
            order = grids.random_cell_orders(size, count, rng)
            inputs, labels, unknown = (np.take_along_axis(rows, order, axis=1) for rows in (inputs, labels, unknown))
        return Examples(inputs, labels, unknown, examples.puzzle_identifiers)

    def score(self, inputs: np.ndarray, answers: np.ndarray) -> np.ndarray:
        keeps_givens = ((inputs == answers) | (inputs == 1)).all(axis=1)
        return keeps_givens & grids.is_complete(answers - 1)

    def _split_files(
        self, train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]
    ) -> dict[Split, tuple[np.ndarray, np.ndarray]]:
        """Validation rows are drawn from the training file; caps are applied after the split."""
        order = np.random.default_rng(self.config.seed).permutation(len(train[0]))
        held_out = max(1, round(len(order) * (self.config.validation or 0)))
        if held_out >= len(order):
            raise UserError(f"needs at least 2 rows, got {len(order)}", str(self.config.train))
        kept = order[held_out:][: self.config.train_examples]
        tested = np.random.default_rng(self.config.seed).permutation(len(test[0]))[: self.config.test_examples]
        return {
            "train": (train[0][kept], train[1][kept]),
            "validation": (train[0][order[:held_out]], train[1][order[:held_out]]),
            "test": (test[0][tested], test[1][tested]),
        }

    def _random_answers(self, split: Split, count: int, rng: np.random.Generator) -> np.ndarray:
        """Complete grids [count, L], uniform over the classes of the split (sizes 4 and 6) or over all grids (size 9)."""
        size = self.config.size
        if size == 9:  # 5.5e9 classes: two splits practically never meet in one
            return np.stack([grids.random_grid(size, rng) for _ in range(count)])
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
        parts = {"test": order[:sixth], "validation": order[sixth : 2 * sixth], "train": order[2 * sixth :]}
        return {split: (representatives[part], sizes[part]) for split, part in parts.items()}  # type: ignore[misc]

    def _question(self, answer: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A puzzle [L] whose only solution is `answer`, with a random number of clues within the config's bounds."""
        assert self.config.clues is not None
        low, high = self.config.clues
        for _ in range(MASK_TRIES):
            blanks = rng.permutation(len(answer))[: len(answer) - rng.integers(low, high + 1)]
            question = answer.copy()
            question[blanks] = 0
            if self._has_one_solution(question):
                return question
        return self._dig(answer, low, high, rng)

    def _dig(self, answer: np.ndarray, low: int, high: int, rng: np.random.Generator) -> np.ndarray:
        """Take clues away one by one while the solution stays unique, down to a random number of clues."""
        while True:
            question, clues, target = answer.copy(), len(answer), int(rng.integers(low, high + 1))
            for cell in rng.permutation(len(answer)):
                if clues == target:
                    break
                question[cell] = 0
                if self._has_one_solution(question):
                    clues -= 1
                else:
                    question[cell] = answer[cell]
            if clues <= high:
                return question

    def _has_one_solution(self, question: np.ndarray) -> bool:
        return len(grids.solver(self.config.size).solutions(question, limit=2)) == 1


def read_csv(path: Path, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Questions and answers [N, L] of a CSV in the Sudoku-Extreme format; every row is checked.

    Raises:
        UserError: the file cannot be read, has no rows, or a row breaks a rule (file, line, rule).
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = _checked_rows(csv.reader(file), path, size)
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", str(path)) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"is not a CSV file: {error}", str(path)) from None
    if not rows:
        raise UserError("has no puzzles", str(path))
    questions, answers = (np.array(column, dtype=np.int32) for column in zip(*rows, strict=True))
    return questions, answers


def _checked_rows(reader: Any, path: Path, size: int) -> list[tuple[list[int], list[int]]]:
    """Every row as two lists of digits; the first bad one stops the reading."""
    header: list[str] = next(reader, [])
    if header != CSV_COLUMNS:
        raise UserError(f"must be {','.join(CSV_COLUMNS)}, got {','.join(header)!r}", f"{path}, line 1")
    rows = []
    for row in reader:
        where = f"{path}, line {reader.line_num}"
        if len(row) != len(CSV_COLUMNS):
            raise UserError(f"must have {len(CSV_COLUMNS)} columns, got {len(row)}", where)
        question = _digits(row[1], size, "question", blank=True, where=where)
        answer = _digits(row[2], size, "answer", blank=False, where=where)
        for cell, given in enumerate(question):
            if given and given != answer[cell]:
                place = f"row {cell // size + 1}, column {cell % size + 1}"
                raise UserError(f"answer must keep the givens, got {answer[cell]} for the given {given} at {place}", where)
        if not grids.is_complete(np.array([answer]))[0]:
            raise UserError("answer must hold each digit once in every row, column and box", where)
        rows.append((question, answer))
    return rows


def _digits(text: str, size: int, column: str, *, blank: bool, where: str) -> list[int]:
    """The digits of one cell of the CSV; `.` and 0 are blanks where blanks may stand."""
    if len(text) != size * size:
        raise UserError(f"{column} must have {size * size} characters, got {len(text)}", where)
    allowed = {str(digit): digit for digit in range(1, size + 1)} | ({".": 0, "0": 0} if blank else {})
    for place, character in enumerate(text, 1):
        if character not in allowed:
            choices = f"1 to {size}" + (" or . for a blank" if blank else "")
            raise UserError(f"{column} must hold {choices}, got {character!r} at character {place}", where)
    return [allowed[character] for character in text]
