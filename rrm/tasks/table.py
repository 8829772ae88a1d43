"""Puzzles of a user's own: rows of tokens from Parquet, `.npz` or CSV files.

Columns `input` and `label`: lists of whole numbers from 0 to 65,535, or text with `alphabet`. Label 0 is not scored. Optional
columns: `unknown`, `puzzle` (its rows stay in one split), `item` (its rows show the same question), and measures of difficulty.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, Strict, model_validator

from rrm.config import RuleError
from rrm.errors import UserError
from rrm.files import FilePath, checked_sha256, locate
from rrm.tasks.table_rules import MAX_INTEGER, MAX_TOKEN, OPTIONAL, REQUIRED, Rows, TableFormat
from rrm.tasks.table_scan import Source, TableFacts, count_groups, keep_scan, read_source, scan_table, split_groups
from rrm.tasks.task import PAD, SPLITS, BaseTaskConfig, Examples, PuzzleShape, Split, Task, token_type

MEASURE = re.compile(r"[a-z_]*[a-z]")  # its bins are named `steps4`

Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1), Strict()]
# A validator that sees the raw dict turns JSON's lists into Python's, which strict mode would refuse here.
Grid = Annotated[tuple[Count, Count], Strict(False)]
Bins = Annotated[tuple[Annotated[int, Field(ge=0, le=MAX_INTEGER), Strict()], ...], Strict(False)]


class TableConfig(BaseTaskConfig):
    """Files of rows, or shares of the training file.

    Paths are absolute once a spec is loaded; a fingerprint holds the files' digests in their place.
    """

    kind: Literal["table"] = "table"
    """Answer puzzles of your own, rows of tokens in files."""
    train: FilePath
    """Parquet, `.npz` or CSV file with the columns `input` and `label`; a relative path starts at the file that names it."""
    test: FilePath | Share
    """File of test rows, or the share of the training file's puzzles (items or rows without `puzzle`) that is the test."""
    validation: FilePath | Share = 0.1
    """File of validation rows, or the share of the training puzzles that is held out for validation."""
    ood: FilePath | None = None
    """File of rows out of distribution. Default: that split is absent."""
    alphabet: str | None = Field(None, min_length=1, max_length=MAX_TOKEN)
    """Characters of `input` and `label` where these are text; character i, from 0, is token i + 1. Default: they are lists."""
    pad: str | None = Field(None, min_length=1, max_length=1)
    """Character of text that is token 0: padding, which is not scored in `label`. Default: text has no token 0."""
    difficulty: dict[str, Bins] | None = Field(None, min_length=1)
    """Columns of measures of difficulty, each with the smallest values of its bins; the first grows with the steps needed."""
    grid: Grid | None = None
    """Rows and columns of a puzzle as people draw it. Default: one row."""
    train_examples: int | None = Field(None, ge=1)
    """Largest number of rows in training, the first of an order drawn by `seed`. Default: all."""
    length: int | None = Field(None, ge=1)
    """Tokens of a row. It is compared with the files where it is given, and filled in when a spec is loaded."""
    vocabulary: int | None = Field(None, ge=2, le=MAX_TOKEN + 1)
    """Token values, 0 included. Default: those of `alphabet`, or 1 + the largest token of all files."""
    puzzles: int | None = Field(None, ge=0)
    """Distinct values of the column `puzzle`, each with a puzzle embedding. It is filled in when a spec is loaded."""
    train_sha256: str | None = None
    """SHA-256 of the training file. It is checked where it is given, and filled in when a spec is loaded."""
    test_sha256: str | None = None
    """SHA-256 of the test file. It is checked where it is given, and filled in when a spec is loaded."""
    validation_sha256: str | None = None
    """SHA-256 of the validation file. It is checked where it is given, and filled in when a spec is loaded."""
    ood_sha256: str | None = None
    """SHA-256 of the file out of distribution. It is checked where it is given, and filled in when a spec is loaded."""

    @model_validator(mode="after")
    def _check_columns(self) -> Self:
        for name, edges in (self.difficulty or {}).items():
            if MEASURE.fullmatch(name) is None or name in {*REQUIRED, *OPTIONAL}:
                rule = f"difficulty must name columns of small letters and _, other than {', '.join((*REQUIRED, *OPTIONAL))}"
                raise RuleError(f"{rule}, got {name!r}: rename the column", "difficulty")
            if not edges or list(edges) != sorted(set(edges)):
                rule = f"difficulty.{name} must be rising smallest values of bins, at least one"
                raise RuleError(f"{rule}, got {list(edges)}", "difficulty")
        if self.alphabet is not None:
            self._check_alphabet(self.alphabet)
        if self.pad is not None and (self.alphabet is None or self.pad in self.alphabet):
            rule = "pad must be a character of text that alphabet does not have"
            raise RuleError(f"{rule}, got {self.pad!r} and the alphabet {self.alphabet!r}: change one of them", "pad", "alphabet")
        return self

    def _check_alphabet(self, alphabet: str) -> None:
        repeated = next((letter for place, letter in enumerate(alphabet) if letter in alphabet[:place]), None)
        if repeated is not None:
            raise RuleError(f"alphabet must hold each character once, got {repeated!r} twice: remove one", "alphabet")
        if self.vocabulary is not None and self.vocabulary <= len(alphabet):
            rule = f"vocabulary must be at least 1 + the characters of alphabet ({1 + len(alphabet)})"
            raise RuleError(f"{rule}, got {self.vocabulary}: leave it out", "vocabulary", "alphabet")

    @model_validator(mode="after")
    def _check_files(self) -> Self:
        for split in SPLITS:
            if getattr(self, f"{split}_sha256") is not None and split not in self.files:
                raise RuleError(f"{split}_sha256 has no effect without a file in {split}: leave it out", f"{split}_sha256", split)
        return self

    @property
    def files(self) -> dict[Split, Path]:
        """The file of each split that has one."""
        return {split: path for split in SPLITS if isinstance(path := getattr(self, split), Path)}

    @property
    def sources(self) -> tuple[Source, ...]:
        """The files with their digests, the training file first.

        Raises:
            UserError: a file cannot be read, or is not the one whose digest is given.
        """
        given = {split: getattr(self, f"{split}_sha256") for split in self.files}
        return tuple(Source(split, path, checked_sha256(path, given[split])) for split, path in self.files.items())

    @property
    def shares(self) -> dict[Split, float]:
        """The share of the training file that each other split takes, of what the splits before it left."""
        splits: tuple[Split, ...] = ("test", "validation")
        return {split: share for split in splits if isinstance(share := getattr(self, split), float)}

    @property
    def format(self) -> TableFormat:
        return TableFormat(self.alphabet, self.pad, tuple(self.difficulty or ()))

    @property
    def shape(self) -> PuzzleShape:
        """Settings alone once the files are located; before that the files are read."""
        if self.length is None or self.vocabulary is None or self.puzzles is None:
            return self.located(Path()).shape
        return PuzzleShape(self.length, self.vocabulary, 1 + self.puzzles)

    def located(self, folder: Path) -> Self:
        """As for any task; the length, the vocabulary and the number of puzzles are filled in too.

        Raises:
            UserError: a file is no table, a row breaks a rule, or a setting does not fit the files.
        """
        paths: dict[str, Path] = {split: locate(folder, path) for split, path in self.files.items()}
        sources = self.model_copy(update=paths).sources
        facts = scan_table(sources, self.format)
        self._compare(facts, paths)
        keep_scan(sources, self.format, facts)
        vocabulary = self.vocabulary or (1 + len(self.alphabet) if self.alphabet else max(2, 1 + facts.largest))
        found = {"length": facts.length, "vocabulary": vocabulary, "puzzles": facts.puzzles}
        return self.model_copy(update=paths | {f"{source.split}_sha256": source.sha256 for source in sources} | found)

    def _compare(self, facts: TableFacts, paths: Mapping[str, Path]) -> None:
        """Refuse settings that do not fit the files."""
        train = paths["train"]
        if self.length not in (None, facts.length):
            raise UserError("task.length", f"must be {facts.length} as in {train}, got {self.length}: leave it out")
        if self.vocabulary is not None and self.vocabulary <= facts.largest:
            where = f"{paths[facts.largest_split]}, {facts.largest_at}"
            rule = f"must be larger than every token, got {self.vocabulary} and the token {facts.largest} in {where}"
            raise UserError("task.vocabulary", f"{rule}: leave it out, or correct the row")
        if self.puzzles not in (None, facts.puzzles):
            raise UserError("task.puzzles", f"must be {facts.puzzles} as in the files, got {self.puzzles}: leave it out")
        if self.grid is not None and self.grid[0] * self.grid[1] != facts.length:
            rule = f"must be [rows, columns] whose product is the length of a row ({facts.length})"
            raise UserError("task.grid", f"{rule}, got {list(self.grid)}: correct it, or leave it out")
        count_groups(facts.groups["train"], self.shares, str(train))

    @property
    def files_by_digest(self) -> dict[str, str]:
        named = {getattr(self, f"{split}_sha256"): str(path) for split, path in self.files.items()}
        return {digest: path for digest, path in named.items() if digest is not None}

    def relocated(self, files: Mapping[str, str]) -> Self:
        digests = {split: getattr(self, f"{split}_sha256") for split in self.files}
        return self.model_copy(update={split: Path(files[digest]) for split, digest in digests.items() if digest in files})

    def identity(self) -> dict[str, Any]:
        """As for any task; measures of difficulty keep their order, because the first of them is a column of items."""
        settings = self.model_dump(mode="json", exclude_none=True, exclude=set(map(str, self.files)))
        return settings | ({"difficulty": list(settings["difficulty"].items())} if self.difficulty else {})


class Table(Task):
    """Answer as the column `label` does."""

    config: TableConfig

    @property
    def grid(self) -> tuple[int, int]:
        return self.config.grid or super().grid

    @property
    def counts(self) -> dict[Split, int]:
        return {split: len(examples) for split, examples in self._splits.items()}

    @property
    def bins(self) -> dict[str, tuple[int, ...]]:
        return dict(self.config.difficulty or {})

    def make(self, split: Split, count: int, seed: int) -> Examples:
        """The first `count` rows of a split. Nothing is drawn here: the seed of the config determines their order."""
        return self._splits[split].take(slice(0, count))

    def score(self, examples: Examples, answers: np.ndarray) -> np.ndarray:
        """Whether all scored tokens are those of the label."""
        right: np.ndarray = ((answers == examples.labels) | (examples.labels == PAD)).all(axis=1)
        return right

    def facts(self) -> dict[str, int]:
        """How many test rows occur in training, with the same answer."""
        test = list(_pairs(self._splits["test"]))
        seen = set(test).intersection(_pairs(self._splits["train"]))
        return {"test_examples_seen_in_training": sum(pair in seen for pair in test)}

    @cached_property
    def _splits(self) -> dict[Split, Examples]:
        """Every split; rows of files and of shares in the order of their file, those of training in an order drawn by the seed."""
        rows = {source.split: read_source(source, self.config.format) for source in self.config.sources}
        files = dict(zip(rows, self._examples(list(rows.values())), strict=True))
        whole, group = files["train"], rows["train"].group
        group_of = np.arange(len(whole)) if group is None else np.unique(group, return_inverse=True)[1]
        counts = count_groups(int(group_of.max()) + 1, self.config.shares, str(self.config.train))
        chosen = split_groups(counts, self.config.seed)
        parts = {split: whole.take(np.flatnonzero(np.isin(group_of, groups))) for split, groups in chosen.items()}
        order = np.random.default_rng([self.config.seed, 1]).permutation(len(parts["train"]))
        parts["train"] = parts["train"].take(order[: self.config.train_examples])
        found = files | parts
        return {split: found[split] for split in SPLITS if split in found}

    def _examples(self, files: list[Rows]) -> list[Examples]:
        """The rows of each file; puzzles of all files are numbered from 1 in rising order, and 0 is blank."""
        kept = token_type(self.shape.vocabulary)
        names = [np.zeros(0, dtype=np.int64) if rows.puzzle is None else rows.puzzle for rows in files]
        numbers = 1 + np.unique(np.concatenate(names), return_inverse=True)[1]
        parts = np.split(numbers, np.cumsum([len(name) for name in names])[:-1])
        return [
            Examples(
                rows.inputs.astype(kept, copy=False),
                rows.labels.astype(kept, copy=False),
                (rows.inputs != rows.labels) & (rows.labels != PAD) if rows.unknown is None else rows.unknown,
                puzzle_identifiers=(np.zeros(len(rows.inputs)) if rows.puzzle is None else part).astype(np.int32),
                items=(np.arange(len(rows.inputs)) if rows.item is None else rows.item).astype(np.int32),
                difficulty=dict(zip(self.config.format.difficulty, rows.difficulty.T.astype(np.int32), strict=True)),
            )
            for rows, part in zip(files, parts, strict=True)
        ]


def _pairs(examples: Examples) -> Iterator[bytes]:
    """Each question with its answer."""
    return (question.tobytes() + answer.tobytes() for question, answer in zip(examples.inputs, examples.labels, strict=True))
