"""`Task`, the small interface that every family of puzzles has (numpy only), and the arrays that it makes."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field

from rrm.config import KindConfig
from rrm.tasks.row_order import RowOrder, ShuffledRows

PAD = 0  # a token of every task: attended to, and as a label not scored
IGNORED = -100  # PAD among the labels, as losses see it
EASE = frozenset({"clues"})  # measures that are larger for easier items; all other measures are larger for harder items
Split = Literal["train", "validation", "test", "ood"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test", "ood")  # out of distribution: harder than anything in training


class PuzzleShape(NamedTuple):
    """Facts of a task's data that a model needs."""

    length: int  # tokens of the canvas, which holds every split
    vocabulary: int  # token values, PAD included
    num_puzzles: int  # puzzle identifiers, 0 (blank) included


def token_type(vocabulary: int) -> np.dtype:
    """The type in which tokens are held: uint8, or uint16 where a vocabulary has more than 256 of them."""
    return np.dtype(np.uint8 if vocabulary <= 256 else np.uint16)


@dataclass(frozen=True)
class Examples:
    """Puzzles; N rows of L tokens."""

    inputs: np.ndarray  # [N, L] of `token_type`
    labels: np.ndarray  # [N, L] of `token_type`, PAD where not scored
    unknown: np.ndarray  # [N, L] bool: scored tokens that the input does not give away
    puzzle_identifiers: np.ndarray  # [N] int32
    items: np.ndarray  # [N] int32; rows of one item show the same question under different symmetries
    difficulty: dict[str, np.ndarray]  # by measure, [N] int32; the first is the one that grows with the steps needed

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, rows: np.ndarray | slice) -> "Examples":
        """The given rows, in that order."""
        arrays = {name: array[rows] for name, array in self.arrays().items()}
        return Examples.from_arrays(arrays)

    def arrays(self) -> dict[str, np.ndarray]:
        """Every array by name; measures of difficulty have a dot in theirs."""
        plain = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "difficulty"}
        return plain | {f"difficulty.{name}": values for name, values in self.difficulty.items()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> "Examples":
        """The examples whose `arrays` these are."""
        difficulty = {name.split(".")[1]: values for name, values in arrays.items() if "." in name}
        return cls(**{name: values for name, values in arrays.items() if "." not in name}, difficulty=difficulty)

    @classmethod
    def single(
        cls,
        inputs: np.ndarray,
        labels: np.ndarray,
        unknown: np.ndarray,
        difficulty: dict[str, np.ndarray],
        vocabulary: int = 256,
    ) -> "Examples":
        """Rows that are one item each, all with puzzle identifier 0 (as Sudoku and mazes in the official data).

        Args:
            vocabulary: token values, PAD included; tokens are held in its type.

        Raises:
            OverflowError: a token does not lie in the vocabulary.
        """
        for name, tokens in (("inputs", inputs), ("labels", labels)):
            if tokens.size and not 0 <= tokens.min() <= tokens.max() < vocabulary:
                got = f"got {tokens.min()} to {tokens.max()}"
                raise OverflowError(f"{name} must be 0 or more and below vocabulary = {vocabulary}, {got}: give that of the shape")
        kept = token_type(vocabulary)
        return cls(
            inputs.astype(kept),
            labels.astype(kept),
            unknown,
            puzzle_identifiers=np.zeros(len(inputs), dtype=np.int32),
            items=np.arange(len(inputs), dtype=np.int32),
            difficulty={name: values.astype(np.int32) for name, values in difficulty.items()},
        )

    def renumbered(self) -> "Examples":
        """The same rows, each an item of its own."""
        return replace(self, items=np.arange(len(self), dtype=np.int32))

    @classmethod
    def joined(cls, parts: Sequence["Examples"]) -> "Examples":
        """All parts in one, in their order; every row becomes one item."""
        arrays = [part.arrays() for part in parts]
        together = cls.from_arrays({name: np.concatenate([part[name] for part in arrays]) for name in arrays[0]})
        return together.renumbered()


class BaseTaskConfig(KindConfig, ABC):
    """Settings of a task; a subclass adds `kind` and further fields."""

    seed: int = Field(0, ge=0)
    """Seed of the splits; no other seed changes the puzzles."""

    @property
    @abstractmethod
    def shape(self) -> PuzzleShape:
        """Known without making any puzzle."""

    @property
    def augments(self) -> bool:
        """Whether training rows pass through `Task.augment`."""
        return False

    def located(self, folder: Path) -> Self:
        """The same settings with data files as absolute paths (relative ones start at `folder`) and their digests filled in.

        Raises:
            UserError: a file cannot be read, or is not the one whose digest is given.
        """
        return self

    @property
    def files_by_digest(self) -> dict[str, str]:
        """Where the data files lie, by their digests; empty where data is generated, and before `located`."""
        return {}

    def relocated(self, files: Mapping[str, str]) -> Self:
        """The same settings with the paths that `files` has for their digests; no file is read."""
        return self

    def identity(self) -> dict[str, Any]:
        """Everything that the data depends on: all settings, with digests in the place of paths."""
        return self.model_dump(mode="json", exclude_none=True)


class Task(ABC):
    """A family of puzzles under one config."""

    config: BaseTaskConfig

    @property
    def shape(self) -> PuzzleShape:
        return self.config.shape

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the canvas as people draw it; one row where it is a sequence."""
        return 1, self.shape.length

    @property
    @abstractmethod
    def counts(self) -> dict[Split, int]:
        """How many puzzles the config asks of each split; without `ood` where a task has none."""

    @property
    @abstractmethod
    def bins(self) -> dict[str, tuple[int, ...]]:
        """Bins of difficulty by measure, each by its smallest value; a bin ends where the next begins."""

    @abstractmethod
    def make(self, split: Split, count: int, seed: int) -> Examples:
        """`count` puzzles of a split [count, L]; the same arguments give the same puzzles, and splits are disjoint."""

    @abstractmethod
    def score(self, examples: Examples, answers: np.ndarray) -> np.ndarray:
        """Whether each answer [N, L] solves its puzzle by the rules of the task, [N] bool."""

    def augment(self, examples: Examples, rng: np.random.Generator) -> Examples:
        """A random symmetry of the task applied to every row; used in training where the config `augments`."""
        return examples

    def training_order(self, examples: Examples, seed: int) -> RowOrder:
        """The order in which the rows of the training split are trained on, by the seed of a trial."""
        return ShuffledRows(len(examples), seed)

    def mapped_splits(self) -> dict[Split, Examples] | None:
        """The splits where they lie in files already; None where `make` makes them and the data cache keeps them."""
        return None

    def judge(self, examples: Examples, answers: np.ndarray, confidence: np.ndarray) -> dict[str, float]:
        """Scores of whole answers [N, L] with their halting probabilities [N]; they become columns `test/...` of the record."""
        return {"valid_accuracy": float(self.score(examples, answers).mean())}

    def facts(self) -> dict[str, int]:
        """Facts about the data that are columns of the record."""
        return {}


def bin_of(values: np.ndarray, edges: tuple[int, ...]) -> np.ndarray:
    """The bin of each value, by the smallest value of the bin; a value below the first bin is in the first bin."""
    return np.array(edges)[np.maximum(np.searchsorted(edges, values, side="right") - 1, 0)]
