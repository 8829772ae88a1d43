"""Folders in the format of the official dataset builders, written from groups of puzzles."""

import json
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rrm.tasks import Examples, build_task
from rrm.tasks.arc_grids import Augmentations, encode
from rrm.tasks.sudoku import SudokuConfig


class Puzzle(NamedTuple):
    """Rows that have one identifier."""

    identifier: int
    inputs: np.ndarray  # [n, L]
    labels: np.ndarray  # [n, L]


Groups = Sequence[Sequence[Puzzle]]


def metadata(length: int, vocabulary: int, identifiers: int = 1, **changes: Any) -> dict[str, Any]:
    """The content of `dataset.json`."""
    facts = {"seq_len": length, "vocab_size": vocabulary, "num_puzzle_identifiers": identifiers, "sets": ["all"]}
    others = {"pad_id": 0, "ignore_label_id": 0, "blank_identifier_id": 0, "total_groups": 0, "mean_puzzle_examples": 1.0}
    return facts | others | changes


def write_set(folder: Path, name: str, groups: Groups, dtype: Any = np.uint8) -> None:
    """Write the arrays of a set into the folder of a split."""
    puzzles = [puzzle for group in groups for puzzle in group]
    arrays = {
        "inputs": np.concatenate([puzzle.inputs for puzzle in puzzles]).astype(dtype),
        "labels": np.concatenate([puzzle.labels for puzzle in puzzles]).astype(dtype),
        "puzzle_identifiers": np.array([puzzle.identifier for puzzle in puzzles], dtype=np.int32),
        "puzzle_indices": np.array([0, *accumulate(len(puzzle.inputs) for puzzle in puzzles)], dtype=np.int32),
        "group_indices": np.array([0, *accumulate(map(len, groups))], dtype=np.int32),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for array, values in arrays.items():
        np.save(folder / f"{name}__{array}.npy", values)


def write_folder(
    folder: Path, facts: dict[str, Any], train: Groups, test: Groups, names: Sequence[str] = ("<blank>",), dtype: Any = np.uint8
) -> Path:
    """Write a folder with the set `all`."""
    for half, groups in (("train", train), ("test", test)):
        write_set(folder / half, "all", groups, dtype)
        (folder / half / "dataset.json").write_text(json.dumps(facts), encoding="utf-8")
    (folder / "identifiers.json").write_text(json.dumps(list(names)), encoding="utf-8")
    return folder


def write_sudoku(folder: Path, groups: int = 60, copies: int = 2, tests: int = 30, dtype: Any = np.uint8) -> Path:
    """4x4 Sudokus: the groups have copies of a puzzle under other digits; the official builders give all of them identifier 0."""
    task = build_task(SudokuConfig(size=4))
    rng = np.random.default_rng(0)
    train, test = task.make("train", groups, 0), task.make("test", tests, 0)
    copied = [train, *(task.augment(train, rng) for _ in range(copies - 1))]
    pairs = [[_single(part, row) for part in copied] for row in range(groups)]
    vocabulary = task.shape.vocabulary
    return write_folder(folder, metadata(16, vocabulary), pairs, [[_single(test, row)] for row in range(tests)], dtype=dtype)


def _single(examples: Examples, row: int) -> Puzzle:
    return Puzzle(0, examples.inputs[[row]], examples.labels[[row]])


def write_arc(folder: Path, views: int = 3, trained: int = 4, tested: int = 2, separator: str = "|||") -> Path:
    """ARC puzzles whose answer is the input upside down, as the builder of TRM writes them: views of a puzzle are a group.

    Puzzles that train alone have three pairs; the others have two demonstrations, and one test pair, then two.
    """
    rng = np.random.default_rng(0)
    names, train, test = ["<blank>"], [], []
    for number in range(trained + tested):
        symmetries = np.array([0, *rng.integers(0, 8, size=views - 1)])
        colours = np.stack([np.arange(10), *(np.r_[0, 1 + rng.permutation(9)] for _ in range(views - 1))])
        augmentations = Augmentations(symmetries.astype(np.uint8), colours.astype(np.uint8))
        grids = [rng.integers(0, 10, size=rng.integers(2, 6, size=2)).astype(np.uint8) for _ in range(5)]
        demonstrations, asked = (grids[:3], []) if number < trained else (grids[:2], grids[2 : 3 + number - trained])
        group, test_group = [], []
        for view in range(views):
            name = f"puzzle{number}"
            if view:
                name += f"{separator}t{symmetries[view]}{separator}{''.join(map(str, colours[view]))}"
            for pairs, found in ((demonstrations, group), (asked, test_group)):
                if pairs:
                    found.append(_arc_puzzle(len(names), pairs, augmentations, view))
            names.append(name)
        train.append(group)
        test += [test_group] if asked else []
    return write_folder(folder, metadata(900, 12, len(names)), train, test, names)


def _arc_puzzle(identifier: int, grids: list[np.ndarray], augmentations: Augmentations, view: int) -> Puzzle:
    inputs, labels = (
        np.stack([encode(augmentations.apply(view, grid)) for grid in sides])
        for sides in (grids, [np.flipud(grid) for grid in grids])
    )
    return Puzzle(identifier, inputs, labels)
