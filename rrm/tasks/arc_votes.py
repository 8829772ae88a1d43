"""Answers to ARC inputs under several augmentations, which vote (official `evaluators/arc.py`)."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rrm.tasks.arc_grids import COLOURS, INVERSE, decode, dihedral
from rrm.tasks.task import Examples

Key = tuple[tuple[int, ...], bytes]  # shape and cells of a grid
# `NAME|||t3|||0918273645` in TRM and `NAME_t3_0918273645` in HRM: a dihedral symmetry, and the new colour of each colour.
AUGMENTED = re.compile(r"(?P<name>.+?)(?P<gap>\|\|\||_)t(?P<dihedral>[0-7])(?P=gap)(?P<colours>\d{10})", re.DOTALL)


@dataclass(frozen=True)
class View:
    """A puzzle as an identifier names it: under an augmentation, or as it is."""

    puzzle: str
    symmetry: int = 0
    colours: np.ndarray | None = None  # [10] the new colour of each colour; None for a puzzle as it is

    def undo(self, grid: np.ndarray) -> np.ndarray:
        """The grid of the puzzle as it is."""
        if self.colours is None:
            return grid
        original: np.ndarray = np.argsort(self.colours).astype(np.uint8)[dihedral(grid, INVERSE[self.symmetry])]
        return original


def read_view(identifier: str) -> View:
    """The view that a name in `identifiers.json` states."""
    found = AUGMENTED.fullmatch(identifier)
    if found is None or len(set(found["colours"])) != COLOURS:
        return View(identifier)
    return View(found["name"], int(found["dihedral"]), np.array([int(colour) for colour in found["colours"]]))


def count_votes(
    examples: Examples, answers: np.ndarray, confidence: np.ndarray, views: Mapping[int, View], tries: Sequence[int]
) -> dict[str, float]:
    """pass@K: share of a puzzle's inputs whose answer is among the K best by votes, mean over puzzles.

    Args:
        examples: N rows; the pairs to solve are those of puzzles as they are.
        answers: [N, L] tokens.
        confidence: [N] halting probabilities.
        views: by puzzle identifier.
        tries: the numbers K.

    Returns:
        `pass_at_<K>`; empty where no row shows a puzzle as it is.
    """
    votes: dict[tuple[str, Key], list[tuple[np.ndarray, float]]] = defaultdict(list)
    pairs: list[tuple[str, Key, np.ndarray]] = []
    inputs, labels = examples.inputs, examples.labels
    for row, identifier in enumerate(examples.puzzle_identifiers.tolist()):
        view = views[identifier]
        key = key_of(view.undo(decode(inputs[row])))
        votes[view.puzzle, key].append((view.undo(decode(answers[row])), float(confidence[row])))
        if view.colours is None:
            pairs.append((view.puzzle, key, decode(labels[row])))
    if not pairs:
        return {}
    owner = {number: puzzle for number, (puzzle, _, _) in enumerate(pairs)}
    ranked = [rank(votes[puzzle, key])[: max(tries)] for puzzle, key, _ in pairs]
    places = [
        next((place for place, grid in enumerate(grids) if np.array_equal(grid, label)), max(tries))
        for grids, (_, _, label) in zip(ranked, pairs, strict=True)
    ]
    return {f"pass_at_{k}": mean_over_puzzles({pair: place < k for pair, place in enumerate(places)}, owner) for k in tries}


def rank(votes: Sequence[tuple[np.ndarray, float]]) -> list[np.ndarray]:
    """Distinct answers, best first: by the number of votes, then by the mean halting probability.

    Probabilities are added in the order of the votes, as in the official code: another order rounds differently, and means that are
    equal but for rounding decide between answers.
    """
    counts: dict[Key, int] = defaultdict(int)
    totals: dict[Key, float] = defaultdict(float)
    grids: dict[Key, np.ndarray] = {}
    for grid, confidence in votes:
        key = key_of(grid)
        counts[key] += 1
        totals[key] += confidence
        grids[key] = grid
    order = sorted(grids, key=lambda key: (counts[key], totals[key] / counts[key]), reverse=True)
    return [grids[key] for key in order]


def mean_over_puzzles(solved: Mapping[int, bool], owner: Mapping[int, int | str]) -> float:
    """Share of solved inputs of each puzzle, averaged over puzzles."""
    by_puzzle: dict[int | str, list[bool]] = defaultdict(list)
    for item, right in solved.items():
        by_puzzle[owner[item]].append(right)
    return float(np.mean([np.mean(inputs) for inputs in by_puzzle.values()]))


def key_of(grid: np.ndarray) -> Key:
    """What two grids share if they are equal."""
    return grid.shape, grid.astype(np.uint8).tobytes()
