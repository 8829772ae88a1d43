"""Puzzles from CSV files in the format of the papers' data sets: `source,question,answer,rating`, by path or from the hub."""

import csv
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from rrm.config import RuleError
from rrm.errors import UserError
from rrm.files import FilePath, checked_sha256, locate
from rrm.tasks.hub import fetch
from rrm.tasks.task import SPLITS, BaseTaskConfig, Split, Task

CSV_COLUMNS = ["source", "question", "answer", "rating"]
INVALID = 255  # token for a character that the alphabet does not have

Rule = tuple[np.ndarray, Callable[[int], str]]  # rows [N] that break the rule, and the problem of such a row


class PuzzleFilesConfig(BaseTaskConfig):
    """Source of the puzzles: a generator (the default), two CSV files by path, or a data set of the hub.

    Paths are absolute once a spec is loaded; a fingerprint holds the files' digests in their place.
    """

    HUB: ClassVar[dict[str, str]] = {}  # repository on the hub by the name that `hub` takes
    GENERATOR_ONLY: ClassVar[set[str]] = {"validation_examples", "nested"}

    augment: bool = True
    """Whether training rows are drawn under a random symmetry of the task."""
    train_examples: int | None = Field(None, ge=1)
    """Puzzles in training; with files the largest number, drawn by `seed`. Default: 1000 of a generator, all of a file."""
    nested: bool | None = Field(None, json_schema_extra={"neutral": False})
    """Whether fewer training puzzles are the first of more, as those of files always are; generator only. Default:
    false; true in a sweep whose `measure.vary` has `task.train_examples`.
    """
    test_examples: int | None = Field(None, ge=1)
    """Puzzles in test; with files the largest number in test and in validation. Default: 1000 of a generator, all of a file."""
    validation_examples: int | None = Field(None, ge=1)
    """Puzzles in validation; generator only. Default: 200."""
    train: FilePath | None = None
    """CSV file `source,question,answer,rating` of training rows; a relative path starts at the file that names it."""
    test: FilePath | None = None
    """CSV file of test rows; given together with `train`."""
    hub: str | None = None
    """Public data set in the place of `train` and `test`: `sudoku-extreme` (size 9) or `maze-30x30-hard` (size 30); extra `hub`."""
    validation: float | None = Field(None, gt=0, lt=1)
    """Share of the training rows that is held out for validation; files only. Default: 0.1."""
    train_sha256: str | None = None
    """SHA-256 of the training file. It is checked where it is given, and filled in when a spec is loaded."""
    test_sha256: str | None = None
    """SHA-256 of the test file. It is checked where it is given, and filled in when a spec is loaded."""

    @classmethod
    def generator_defaults(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Settings of the generator that are not given."""
        return {"train_examples": 1000, "validation_examples": 200, "test_examples": 1000}

    @model_validator(mode="before")
    @classmethod
    def _fill_defaults(cls, given: Any) -> Any:
        """Generator and files have different settings; one that has no effect is refused."""
        if not isinstance(given, dict):
            return given
        from_files = bool({"train", "test", "hub"} & given.keys())
        foreign = cls.GENERATOR_ONLY if from_files else {"validation", "train_sha256", "test_sha256"}
        for name in sorted(foreign & given.keys()):
            source = "puzzles come from CSV files" if from_files else "puzzles are generated (no train and test paths)"
            raise RuleError(f"{name} has no effect where {source}: leave it out", name)
        return ({"validation": 0.1} if from_files else cls.generator_defaults(given)) | given

    @model_validator(mode="after")
    def _check_files(self) -> Self:
        if (self.train is None) != (self.test is None):
            raise RuleError("train and test must be given together, as paths of two CSV files", "train", "test")
        if self.hub is not None and self.train is not None:
            problem = "hub names the files, so train and test have no effect beside it: leave one or the other out"
            raise RuleError(problem, "hub", "train", "test")
        if self.hub is not None and self.hub not in self.HUB:
            raise RuleError(f"hub must be {' or '.join(self.HUB)}, got {self.hub!r}", "hub")
        return self

    @property
    def augments(self) -> bool:
        return self.augment

    @property
    def files(self) -> tuple[Path, Path] | None:
        """The training and the test file; those of the hub are downloaded once.

        Raises:
            UserError: the hub cannot be reached, or its client is not installed.
        """
        if self.hub is not None:
            return fetch(self.HUB[self.hub], "train.csv"), fetch(self.HUB[self.hub], "test.csv")
        return (self.train, self.test) if self.train is not None and self.test is not None else None

    def located(self, folder: Path) -> Self:
        files = self.files
        if files is None:
            return self
        train, test = (locate(folder, path) for path in files)
        digests = {
            "train_sha256": checked_sha256(train, self.train_sha256),
            "test_sha256": checked_sha256(test, self.test_sha256),
        }
        paths = {} if self.hub else {"train": train, "test": test}
        return self.model_copy(update=digests | paths)

    @property
    def files_by_digest(self) -> dict[str, str]:
        named = {self.train_sha256: self.train, self.test_sha256: self.test}
        return {digest: str(path) for digest, path in named.items() if digest is not None and path is not None}

    def relocated(self, files: Mapping[str, str]) -> Self:
        digests = {"train": self.train_sha256, "test": self.test_sha256} if self.train is not None else {}
        paths = {name: Path(files[digest]) for name, digest in digests.items() if digest and digest in files}
        return self.model_copy(update=paths)

    def identity(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude_none=True, exclude={"train", "test"})


@dataclass(frozen=True)
class Puzzles:
    """Rows of a file."""

    path: Path
    questions: np.ndarray  # [N, L] uint8
    answers: np.ndarray  # [N, L] uint8
    lines: np.ndarray  # [N] line of the file in which each row stands

    def __len__(self) -> int:
        return len(self.questions)

    def take(self, rows: np.ndarray) -> "Puzzles":
        return Puzzles(self.path, self.questions[rows], self.answers[rows], self.lines[rows])

    def check(self, rules: Iterable[Rule]) -> None:
        """Refuse the first row that breaks a rule.

        Raises:
            UserError: file, line and rule.
        """
        broken = [(int(bad.argmax()), describe) for bad, describe in rules if bad.any()]
        if broken:
            row, describe = min(broken, key=lambda pair: pair[0])
            raise UserError(f"{self.path}, line {self.lines[row]}", describe(row))


def split_files(config: PuzzleFilesConfig, train: Puzzles, test: Puzzles) -> dict[Split, Puzzles]:
    """The splits of two files; validation rows are drawn from the training file, and numbers are limited after the split.

    Raises:
        UserError: the training file is too short to be split.
    """
    order = np.random.default_rng(config.seed).permutation(len(train))
    held_out = max(1, round(len(order) * (config.validation or 0)))
    if held_out >= len(order):
        raise UserError(str(train.path), f"needs at least 2 rows, got {len(order)}")
    tested = np.random.default_rng(config.seed).permutation(len(test))[: config.test_examples]
    return {
        "train": train.take(order[held_out:][: config.train_examples]),
        "validation": train.take(order[:held_out][: config.test_examples]),
        "test": test.take(tested),
    }


class PuzzleFilesTask(Task):
    """A family that generates its puzzles, or takes them from files."""

    config: PuzzleFilesConfig

    @abstractmethod
    def read(self, path: Path) -> Puzzles:
        """The puzzles of a file, every row checked."""

    @abstractmethod
    def symmetry_hash(self, puzzles: Puzzles) -> np.ndarray:
        """A hash of each puzzle that the task's symmetries leave unchanged, [N]."""

    @cached_property
    def files(self) -> dict[Split, Puzzles]:
        """The puzzles of files by split; empty where puzzles are generated."""
        if self.config.files is None:
            return {}
        train, test = map(self.read, self.config.files)
        return split_files(self.config, train, test)

    @property
    def counts(self) -> dict[Split, int]:
        if self.files:
            return {split: len(puzzles) for split, puzzles in self.files.items()}
        return {split: count for split in SPLITS if (count := getattr(self.config, f"{split}_examples", 0))}

    def facts(self) -> dict[str, int]:
        """With files: how many test rows occur in training up to symmetry."""
        if not self.files:
            return {}
        train, test = (self.symmetry_hash(self.files[split]) for split in ("train", "test"))
        return {"test_examples_seen_in_training": int(np.isin(test, train).sum())}


def read_puzzles(
    path: Path,
    length: int,
    question_alphabet: dict[str, int],
    answer_alphabet: dict[str, int],
    rules: Callable[[np.ndarray, np.ndarray], Iterable[Rule]],
) -> Puzzles:
    """A CSV file whose questions and answers are strings of `length` characters; every row is checked.

    Raises:
        UserError: the file cannot be read, has no rows, or a row breaks a rule (file, line, rule).
    """
    rows, lines, misshapen = _read_rows(path, length)
    if rows:
        questions = _tokens([row[1] for row in rows], question_alphabet)
        answers = _tokens([row[2] for row in rows], answer_alphabet)
        puzzles = Puzzles(path, questions, answers, np.array(lines))
        puzzles.check(
            [_spelling("question", rows, 1, question_alphabet, questions), _spelling("answer", rows, 2, answer_alphabet, answers)]
        )
        puzzles.check(rules(questions, answers))
    if misshapen is not None:
        raise misshapen
    if not rows:
        raise UserError(str(path), "has no puzzles")
    return puzzles


def _read_rows(path: Path, length: int) -> tuple[list[list[str]], list[int], UserError | None]:
    """What `_whole_rows` returns for a file.

    Raises:
        UserError: the file cannot be read, is not CSV, or has other columns.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            if header != CSV_COLUMNS:
                raise UserError(f"{path}, line 1", f"must be {','.join(CSV_COLUMNS)}, got {','.join(header)!r}")
            return _whole_rows(reader, path, length)
    except OSError as error:
        raise UserError(str(path), f"cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(str(path), f"is not a CSV file: {error}") from None


def _whole_rows(reader: Any, path: Path, length: int) -> tuple[list[list[str]], list[int], UserError | None]:
    """Rows before the first one with wrong columns or lengths, their lines, and the error of that row."""
    rows: list[list[str]] = []
    lines: list[int] = []
    for row in reader:
        if not row:  # an empty line, such as the last one
            continue
        problem = None
        if len(row) != len(CSV_COLUMNS):
            problem = f"must have {len(CSV_COLUMNS)} columns, got {len(row)}"
        elif len(row[1]) != length:
            problem = f"question must have {length} characters, got {len(row[1])}"
        elif len(row[2]) != length:
            problem = f"answer must have {length} characters, got {len(row[2])}"
        if problem:
            return rows, lines, UserError(f"{path}, line {reader.line_num}", problem)
        rows.append(row)
        lines.append(reader.line_num)
    return rows, lines, None


def _tokens(texts: list[str], alphabet: dict[str, int]) -> np.ndarray:
    """Characters as tokens [N, L]."""
    table = np.full(256, INVALID, dtype=np.uint8)
    for character, token in alphabet.items():
        table[ord(character)] = token
    coded = "".join(texts).encode("latin-1", errors="replace")  # replaced by a question mark, which no alphabet has
    return table[np.frombuffer(coded, dtype=np.uint8)].reshape(len(texts), -1)


def _spelling(column: str, rows: list[list[str]], place: int, alphabet: dict[str, int], tokens: np.ndarray) -> Rule:
    """The rule that a column holds characters of the alphabet only."""
    wrong = tokens == INVALID

    def describe(row: int) -> str:
        at = int(wrong[row].argmax())
        return f"{column} must hold {spell(alphabet)}, got {rows[row][place][at]!r} at character {at + 1}"

    return wrong.any(axis=1), describe


def spell(alphabet: dict[str, int]) -> str:
    """The characters of an alphabet, as an error lists them."""
    digits = [character for character in alphabet if character in "123456789"]
    if not digits:
        return " ".join(repr(character) for character in alphabet)
    return f"{digits[0]} to {digits[-1]}" + (" or . for a blank" if "." in alphabet else "")
