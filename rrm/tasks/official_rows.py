"""Rows of the sets of a split, read from their files when they are asked for, in the form of `Examples`."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rrm.tasks.official_files import OfficialSet
from rrm.tasks.task import PAD, Examples, token_type


@dataclass(frozen=True)
class TokenMap:
    """How tokens of files become tokens of a task, where PAD is 0 and a label PAD is not scored.

    The ignored token and 0 change places. If no token of the vocabulary is ignored, every token moves up by one.
    """

    vocab_size: int
    ignored: int | None

    @property
    def vocabulary(self) -> int:
        """Tokens of the task."""
        return self.vocab_size + (not self._is_token)

    @property
    def _is_token(self) -> bool:
        return self.ignored is not None and 0 <= self.ignored < self.vocab_size

    @property
    def _images(self) -> np.ndarray:
        """The image of each token of the vocabulary."""
        images = np.arange(self.vocab_size, dtype=token_type(self.vocabulary))
        if self.ignored is None or not self._is_token:
            return np.arange(1, self.vocabulary, dtype=images.dtype)
        images[[PAD, self.ignored]] = self.ignored, PAD
        return images

    def inputs(self, values: np.ndarray) -> np.ndarray:
        """Tokens of inputs as tokens of the task, of `token_type`."""
        if self.ignored == PAD:
            return values.astype(token_type(self.vocabulary))
        images: np.ndarray = self._images[values]
        return images

    def labels(self, values: np.ndarray) -> np.ndarray:
        """Tokens of labels, the ignored one included, as tokens of the task."""
        if self._is_token or self.ignored is None:
            return self.inputs(values)
        ignored = values == self.ignored
        return np.where(ignored, self._images.dtype.type(PAD), self.inputs(np.where(ignored, 0, values)))


@dataclass(frozen=True)
class Rows:
    """All rows of a split: the sets one after another, N rows in P puzzles in G groups."""

    sets: Sequence[OfficialSet]
    tokens: TokenMap
    scores_all: bool  # whether every scored token is unknown, also where the input has the same one
    puzzle_identifiers: np.ndarray  # [P] int64
    sizes: np.ndarray  # [P] int64, rows of each puzzle
    groups: np.ndarray  # [G] int64, puzzles of each group
    group_of: np.ndarray  # [P] int64
    identifiers: np.ndarray  # [N] int32
    items: np.ndarray  # [N] int32; rows at one place of the puzzles of a group show the same question

    def take(self, rows: np.ndarray) -> Examples:
        """The given rows, in that order."""
        inputs = self.tokens.inputs(self._read([part.inputs for part in self.sets], rows))
        labels = self.tokens.labels(self._read([part.labels for part in self.sets], rows))
        scored = labels != PAD
        unknown = scored if self.scores_all else scored & (inputs != labels)
        return Examples(inputs, labels, unknown, self.identifiers[rows], self.items[rows], difficulty={})

    def _read(self, files: list[np.ndarray], rows: np.ndarray) -> np.ndarray:
        if len(files) == 1:
            values: np.ndarray = files[0][rows]
            return values
        found = np.empty((len(rows), files[0].shape[1]), dtype=np.int64)
        start = 0
        for file in files:
            inside = (rows >= start) & (rows < start + len(file))
            found[inside] = file[rows[inside] - start]
            start += len(file)
        return found


def join_sets(sets: Sequence[OfficialSet], tokens: TokenMap, *, scores_all: bool) -> Rows:
    """The rows of several sets."""
    puzzle_identifiers, sizes, groups = (
        np.concatenate([getattr(part, name) for part in sets]) for name in ("puzzle_identifiers", "sizes", "groups")
    )
    group_of = np.repeat(np.arange(len(groups)), groups)
    most = np.maximum.reduceat(sizes, first_of(groups))  # rows of the largest puzzle of each group
    place = np.arange(sizes.sum()) - np.repeat(first_of(sizes), sizes)
    items = np.repeat(first_of(most)[group_of], sizes) + place
    identifiers = np.repeat(puzzle_identifiers, sizes).astype(np.int32)
    return Rows(sets, tokens, scores_all, puzzle_identifiers, sizes, groups, group_of, identifiers, items.astype(np.int32))


def first_of(counts: np.ndarray) -> np.ndarray:
    """Where each part begins, if parts of these sizes follow each other."""
    first: np.ndarray = np.cumsum(counts) - counts
    return first


class MappedExamples(Examples):
    """Examples that lie in files: `take` reads the given rows alone, and an array of all rows is made whenever it is used."""

    def __init__(self, files: Rows, rows: np.ndarray) -> None:
        vars(self).update(_files=files, _rows=rows)

    _files: Rows
    _rows: np.ndarray  # numbers of the rows among those of the files

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, rows: np.ndarray | slice) -> Examples:
        return self._files.take(self._rows[rows])

    @property
    def inputs(self) -> np.ndarray:
        return self.take(slice(None)).inputs

    @property
    def labels(self) -> np.ndarray:
        return self.take(slice(None)).labels

    @property
    def unknown(self) -> np.ndarray:
        return self.take(slice(None)).unknown

    @property
    def puzzle_identifiers(self) -> np.ndarray:
        identifiers: np.ndarray = self._files.identifiers[self._rows]
        return identifiers

    @property
    def items(self) -> np.ndarray:
        items: np.ndarray = self._files.items[self._rows]
        return items

    @property
    def difficulty(self) -> dict[str, np.ndarray]:
        return {}
