"""Which rows of an official folder train, validate and test."""

from dataclasses import dataclass

import numpy as np

from rrm.errors import UserError
from rrm.tasks.official_files import Folder, open_sets
from rrm.tasks.official_rows import MappedExamples, Rows, TokenMap, first_of, join_sets
from rrm.tasks.task import PAD, Examples, Split

ARC_TOKENS, ARC_VOCABULARY = 900, 12  # a canvas of 30 x 30: padding, an end token and ten colours


@dataclass(frozen=True)
class OfficialSplits:
    """The splits, and how training goes through its own."""

    splits: dict[Split, Examples]
    sizes: np.ndarray  # [P] training rows of each puzzle that trains
    groups: np.ndarray  # [G] training puzzles of each group that trains


def tokens_of(folder: Folder) -> TokenMap:
    return TokenMap(folder.metadata.vocab_size, folder.metadata.ignore_label_id)


def is_arc(folder: Folder) -> bool:
    """Whether rows are ARC grids, which are answered by votes."""
    known = folder.metadata
    is_canvas = (known.seq_len, known.vocab_size, known.ignore_label_id) == (ARC_TOKENS, ARC_VOCABULARY, PAD)
    return is_canvas and known.num_puzzle_identifiers > 1


def split_folder(folder: Folder, *, validation: float, test_groups: int | None, seed: int) -> OfficialSplits:
    """Draw the rows of each split; tokens are not looked at.

    Args:
        validation: share of the training groups that is held out.
        test_groups: largest number of test groups.

    Raises:
        UserError: a file is damaged or breaks a rule, or nothing is left for training.
    """
    train, test = (join_sets(open_sets(folder, half), tokens_of(folder), scores_all=is_arc(folder)) for half in ("train", "test"))
    held = _draw_held_out(train, np.unique(test.puzzle_identifiers), validation, np.random.default_rng([seed, 0]))
    if held.whole.all():
        rule = f"must have training groups beside those held out for validation, got {len(train.groups)}"
        raise UserError(str(folder.path / "train"), f"{rule}: add groups, or give a smaller task.validation")
    tested = np.arange(len(test.groups))
    if test_groups is not None:
        tested = np.sort(np.random.default_rng([seed, 1]).permutation(tested)[:test_groups])
    trains = ~held.whole[train.group_of]
    splits: dict[Split, Examples] = {
        "train": MappedExamples(train, held.training_rows(train)),
        "validation": MappedExamples(train, held.validation_rows(train)),
        "test": MappedExamples(test, np.flatnonzero(np.repeat(np.isin(test.group_of, tested), test.sizes))),
    }
    return OfficialSplits(splits, (train.sizes - held.last[train.group_of])[trains], train.groups[~held.whole])


@dataclass(frozen=True)
class _HeldOut:
    """Training groups that are held out for validation, [G] bool each."""

    whole: np.ndarray  # no row of the group trains
    last: np.ndarray  # the last row of each puzzle of the group does not train

    def training_rows(self, rows: Rows) -> np.ndarray:
        trains = np.repeat(~self.whole[rows.group_of], rows.sizes)
        trains[(first_of(rows.sizes) + rows.sizes - 1)[self.last[rows.group_of]]] = False
        return np.flatnonzero(trains)

    def validation_rows(self, rows: Rows) -> np.ndarray:
        """Of the first puzzle of each group, which is not augmented: all rows, or the last one."""
        puzzles = first_of(rows.groups)[self.whole | self.last]
        ends = first_of(rows.sizes)[puzzles] + rows.sizes[puzzles]
        counts = np.where(self.last[rows.group_of[puzzles]], 1, rows.sizes[puzzles])
        return np.concatenate([np.arange(end - count, end) for end, count in zip(ends, counts, strict=True)])


def _draw_held_out(rows: Rows, tested: np.ndarray, share: float, rng: np.random.Generator) -> _HeldOut:
    """Draw the share of the groups that validates, at least one group.

    A group that has an identifier of its own (ARC) does not leave training as a whole, because its embedding would not be trained:
    the last row of each of its puzzles does, if each has at least two. If the test split has such an identifier, the group stays
    in training, unless all groups are of this kind.

    Args:
        tested: identifiers of the test split.
    """
    first, count = first_of(rows.groups), len(rows.groups)
    pairs = np.unique(rows.puzzle_identifiers * count + rows.group_of)
    is_own = np.bincount(pairs // count)[rows.puzzle_identifiers] == 1
    has_own = np.logical_or.reduceat(is_own, first)
    is_tested = np.logical_or.reduceat(is_own & np.isin(rows.puzzle_identifiers, tested), first)
    candidates = np.flatnonzero(~is_tested) if not is_tested.all() else np.arange(count)
    chosen = np.zeros(count, dtype=bool)
    chosen[rng.permutation(candidates)[: max(1, round(share * count))]] = True
    keeps_rows = has_own & (np.minimum.reduceat(rows.sizes, first) >= 2)
    return _HeldOut(chosen & ~keeps_rows, chosen & keeps_rows)
