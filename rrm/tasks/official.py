"""Folders of the official dataset builders of HRM and TRM (`rrm/tasks/official_files.py` has the format), mapped where they lie."""

from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from hashlib import blake2b
from math import isqrt
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, Strict, model_validator

from rrm.config import RuleError
from rrm.errors import UserError
from rrm.files import FilePath, locate
from rrm.tasks.arc_grids import decode
from rrm.tasks.arc_votes import count_votes, read_view
from rrm.tasks.official_files import Folder, open_folder
from rrm.tasks.official_splits import OfficialSplits, is_arc, split_folder, tokens_of
from rrm.tasks.row_order import GroupedRows, RowOrder
from rrm.tasks.task import PAD, BaseTaskConfig, Examples, PuzzleShape, Split, Task

TRIES = (1, 2, 5, 10, 100, 1000)  # K of pass@K, as in the official evaluator
CHUNK_ROWS = 4096


class OfficialConfig(BaseTaskConfig):
    """A folder, and which groups of it validate and test.

    The path is absolute once a spec is loaded; a fingerprint holds the digest of the folder in its place.
    """

    kind: Literal["official"] = "official"
    """Answer puzzles in a folder of the official dataset builders of HRM and TRM."""
    path: FilePath
    """Folder with `train/`, `test/` and `identifiers.json`; a relative path starts at the file that names it."""
    sets: Annotated[tuple[str, ...], Strict(False)] | None = Field(None, min_length=1)
    """Sets of rows to use, `<set>__inputs.npy` and so on. Default: all that `dataset.json` names."""
    validation: float = Field(0.05, gt=0, lt=1)
    """Share of the training groups that is held out for validation, at least one group."""
    test_groups: int | None = Field(None, ge=1)
    """Largest number of groups in the test, drawn by `seed`. Default: all."""
    length: int | None = Field(None, ge=1)
    """Tokens of a row. It is compared with the folder where it is given, and filled in when a spec is loaded."""
    vocabulary: int | None = Field(None, ge=2)
    """Token values. It is compared with the folder where it is given, and filled in when a spec is loaded."""
    identifiers: int | None = Field(None, ge=1)
    """Puzzle identifiers, blank included. It is compared with the folder where it is given, and filled in when a spec is loaded."""
    sha256: str | None = None
    """SHA-256 over the files of the folder. It is checked where it is given, and filled in when a spec is loaded."""

    @model_validator(mode="after")
    def _check_sets(self) -> Self:
        if self.sets is not None and len(set(self.sets)) < len(self.sets):
            raise RuleError(f"sets must have each name once, got {list(self.sets)}: remove one", "sets")
        return self

    @property
    def shape(self) -> PuzzleShape:
        """Settings alone once the folder is located; before that the folder is read."""
        if self.length is None or self.vocabulary is None or self.identifiers is None:
            return self.located(Path()).shape
        return PuzzleShape(self.length, self.vocabulary, self.identifiers)

    def located(self, folder: Path) -> Self:
        """As for any task; the length, the vocabulary and the number of identifiers are filled in too.

        Raises:
            UserError: a file is absent, damaged or breaks a rule, or a setting does not fit the folder.
        """
        path = locate(folder, self.path)
        opened = open_folder(path, self.sets)
        known = opened.metadata
        found = {
            "length": known.seq_len,
            "vocabulary": tokens_of(opened).vocabulary,
            "identifiers": known.num_puzzle_identifiers,
        }
        for name, value in found.items():
            if getattr(self, name) not in (None, value):
                raise UserError(f"task.{name}", f"must be {value} as in {path}, got {getattr(self, name)}: leave it out")
        located = self.model_copy(update={"path": path, "sha256": self.compared_digest(opened)} | found)
        read_splits(located)
        return located

    def split(self, folder: Folder) -> OfficialSplits:
        return split_folder(folder, validation=self.validation, test_groups=self.test_groups, seed=self.seed)

    def compared_digest(self, folder: Folder) -> str:
        """The digest of the folder.

        Raises:
            UserError: it is not the one that the config has, or a file is absent, damaged or breaks a rule.
        """
        digest = folder.digest(lambda: self.split(folder))
        if self.sha256 not in (None, digest):
            problem = f"is not the folder of this trial: its sha256 is {digest}, expected {self.sha256}"
            raise UserError(str(folder.path), f"{problem}: name the folder that it was, or leave sha256 out")
        return digest

    @property
    def files_by_digest(self) -> dict[str, str]:
        return {} if self.sha256 is None else {self.sha256: str(self.path)}

    def relocated(self, files: Mapping[str, str]) -> Self:
        path = files.get(self.sha256 or "")
        return self if path is None else self.model_copy(update={"path": Path(path)})

    def identity(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude_none=True, exclude={"path"})


@lru_cache(maxsize=4)  # indices of large folders take a second to read
def read_splits(config: OfficialConfig) -> OfficialSplits:
    """The splits of a located config.

    Raises:
        UserError: a file is absent, damaged or breaks a rule, or the folder has changed.
    """
    folder = open_folder(config.path, config.sets)
    config.compared_digest(folder)
    return config.split(folder)


class Official(Task):
    """Answer as the labels of the folder do."""

    config: OfficialConfig

    def __init__(self, config: OfficialConfig) -> None:
        self.config = config

    @property
    def grid(self) -> tuple[int, int]:
        """A square where the tokens fill one, as in Sudoku, mazes and ARC."""
        side = isqrt(self.shape.length)
        return (side, side) if side * side == self.shape.length else super().grid

    @property
    def counts(self) -> dict[Split, int]:
        return {split: len(examples) for split, examples in self.mapped_splits().items()}

    @property
    def bins(self) -> dict[str, tuple[int, ...]]:
        return {}

    def mapped_splits(self) -> dict[Split, Examples]:
        return read_splits(self.config).splits

    def make(self, split: Split, count: int, seed: int) -> Examples:
        """The first `count` rows of a split. Nothing is drawn here: the seed of the config determines what is held out."""
        return self.mapped_splits()[split].take(slice(0, count))

    def training_order(self, examples: Examples, seed: int) -> RowOrder:
        """In a pass one puzzle of every group, with all its rows, as in the official code."""
        splits = read_splits(self.config)
        return GroupedRows(splits.sizes, splits.groups, seed)

    def score(self, examples: Examples, answers: np.ndarray) -> np.ndarray:
        """Whether all scored tokens are those of the label; of ARC, whether the grid is, whatever lies outside of it."""
        if not self._is_arc:
            right: np.ndarray = ((answers == examples.labels) | (examples.labels == PAD)).all(axis=1)
            return right
        pairs = zip(answers, examples.labels, strict=True)
        return np.array([np.array_equal(decode(answer), decode(label)) for answer, label in pairs], dtype=bool)

    def judge(self, examples: Examples, answers: np.ndarray, confidence: np.ndarray) -> dict[str, float]:
        """As for any task; of ARC also pass@K, the votes of all augmentations counted as in the official evaluator."""
        scores = super().judge(examples, answers, confidence)
        if not self._is_arc:
            return scores
        blank = self._folder.metadata.blank_identifier_id
        rows = np.flatnonzero(examples.puzzle_identifiers != blank)
        views = {number: read_view(name) for number, name in enumerate(self._folder.identifiers())}
        voted = examples.take(rows)
        return scores | count_votes(voted, answers[rows], confidence[rows], views, TRIES)

    def facts(self) -> dict[str, int]:
        """How many test rows occur in training, with the same answer."""
        splits = self.mapped_splits()
        trained = np.unique(_hash_pairs(splits["train"]))
        return {"test_examples_seen_in_training": int(np.isin(_hash_pairs(splits["test"]), trained).sum())}

    @cached_property
    def _folder(self) -> Folder:
        return open_folder(self.config.path, self.config.sets)

    @cached_property
    def _is_arc(self) -> bool:
        return is_arc(self._folder)


def _hash_pairs(examples: Examples) -> np.ndarray:
    """A 64-bit hash of each question with its answer, [N]."""

    def hashes() -> Iterator[int]:
        for start in range(0, len(examples), CHUNK_ROWS):
            part = examples.take(slice(start, start + CHUNK_ROWS))
            for pair in np.concatenate([part.inputs, part.labels], axis=1):
                yield int.from_bytes(blake2b(pair.tobytes(), digest_size=8).digest(), "little")

    return np.fromiter(hashes(), dtype=np.uint64, count=len(examples))
