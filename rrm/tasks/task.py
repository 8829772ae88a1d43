"""`Task`, the small interface that every family of puzzles has (numpy only), and the arrays that it makes."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np

from rrm.config import StrictConfig

IGNORED = -100  # a label that is not scored
Split = Literal["train", "validation", "test"]


class PuzzleShape(NamedTuple):
    """Facts of a task's data that a model needs."""

    length: int  # tokens of a grid
    vocabulary: int  # token values, PAD (0) included
    num_puzzles: int  # puzzle identifiers, 0 (blank) included


@dataclass(frozen=True)
class Examples:
    """Puzzles; N rows of L tokens."""

    inputs: np.ndarray  # [N, L] int32
    labels: np.ndarray  # [N, L] int32, IGNORED where not scored
    unknown: np.ndarray  # [N, L] bool: tokens that the input does not give away
    puzzle_identifiers: np.ndarray  # [N] int32

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, rows: np.ndarray) -> "Examples":
        """The given rows, in that order."""
        return Examples(self.inputs[rows], self.labels[rows], self.unknown[rows], self.puzzle_identifiers[rows])


class BaseTaskConfig(StrictConfig, ABC):
    """Settings of a task; a subclass adds its own, a `kind` among them."""

    @property
    @abstractmethod
    def shape(self) -> PuzzleShape:
        """Known without any data."""

    def located(self, folder: Path) -> Self:
        """The same settings with data files as absolute paths (relative ones start at `folder`) and their digests filled in.

        Raises:
            UserError: a file cannot be read, or is not the one whose digest is given.
        """
        return self

    def identity(self) -> dict[str, Any]:
        """What makes the data what it is: all settings, with digests in the place of paths."""
        return self.model_dump(mode="json", exclude_none=True)


class Task(ABC):
    """A family of puzzles under one config."""

    counts: dict[Split, int]  # how many puzzles the config asks of each split

    @abstractmethod
    def make(self, split: Split, count: int, seed: int) -> Examples:
        """`count` puzzles of a split [count, L]; the same arguments give the same puzzles, and splits are disjoint."""

    @abstractmethod
    def augment(self, examples: Examples, rng: np.random.Generator) -> Examples:
        """A random symmetry of the task applied to every row (training only)."""

    @abstractmethod
    def score(self, inputs: np.ndarray, answers: np.ndarray) -> np.ndarray:
        """Whether each answer [N, L] solves its input [N, L] by the task's rules, [N] bool; no label is looked at."""
