"""Votes over augmentations: what an identifier states, and how votes are counted."""

import numpy as np
import pytest

from rrm.tasks.arc_grids import Augmentations, encode
from rrm.tasks.arc_votes import View, count_votes, rank, read_view
from rrm.tasks.task import Examples

RED, BLUE, GREEN = ([[colour]] for colour in (2, 1, 3))


@pytest.mark.parametrize("name", ["a_b|||t5|||0918273645", "a_b_t5_0918273645"])
def test_a_view_undoes_the_augmentation_that_its_identifier_names(name: str) -> None:
    view, grid = read_view(name), np.arange(6, dtype=np.uint8).reshape(2, 3)
    colours = np.array([0, 9, 1, 8, 2, 7, 3, 6, 4, 5], dtype=np.uint8)
    augmented = Augmentations(np.array([5], dtype=np.uint8), colours[None]).apply(0, grid)
    assert view.puzzle == "a_b" and np.array_equal(view.undo(augmented), grid)
    assert np.array_equal(augmented, [[8, 2, 7], [0, 9, 1]])  # upside down, 3 is 8


@pytest.mark.parametrize("name", ["0a1b2c3d", "<blank>", "a_t9_0918273645", "a|||t5|||0918273644", "a|||t5_0918273645"])
def test_any_other_identifier_is_a_puzzle_as_it_is(name: str) -> None:
    assert read_view(name) == View(name)


def examples(rows: list[tuple[int, list[list[int]], list[list[int]]]]) -> Examples:
    """Rows of identifier, input and label."""
    canvases = [np.stack([encode(np.array(row[side], dtype=np.uint8)) for row in rows]) for side in (1, 2)]
    identifiers = np.array([row[0] for row in rows], dtype=np.int32)
    return Examples(*canvases, canvases[1] > 0, identifiers, np.arange(len(rows), dtype=np.int32), {})


SWAP = Augmentations(np.array([0, 1], dtype=np.uint8), np.array([range(10), [0, 2, 1, *range(3, 10)]], dtype=np.uint8))
VIEWS = {1: View("p"), 2: read_view("p|||t1|||0213456789"), 3: View("q")}


def vote(answers: list[tuple[list[list[int]], float]]) -> dict[str, float]:
    """pass@1 .. 3 of p, which has two inputs of two views each, and of q with one input; its answers are right."""
    first, second = [[1, 0]], [[4], [5]]
    seen = [(1, first, BLUE), (1, second, RED)]
    turned = [(2, *(SWAP.apply(1, np.array(grid, dtype=np.uint8)).tolist() for grid in (row[1], row[2]))) for row in seen]
    data = examples([*seen, *turned, (3, first, GREEN)])
    grids = [*(grid for grid, _ in answers), GREEN]
    given = [SWAP.apply(1, np.array(grid, dtype=np.uint8)) if row in {2, 3} else np.array(grid, dtype=np.uint8)
             for row, grid in enumerate(grids)]  # fmt: skip
    return count_votes(
        data, np.stack([encode(grid) for grid in given]), np.array([*(q for _, q in answers), 0.5]), VIEWS, (1, 2, 3)
    )


def test_votes_count_first_and_confidence_second() -> None:
    """By hand: p's first input has two votes for BLUE, its second has one vote each for RED and GREEN."""
    split = [(BLUE, 0.1), (RED, 0.4), (BLUE, 0.1), (GREEN, 0.6)]
    assert vote(split) == {"pass_at_1": 0.75, "pass_at_2": 1, "pass_at_3": 1}
    assert vote([(BLUE, 0.1), (RED, 0.7), (BLUE, 0.1), (GREEN, 0.6)])["pass_at_1"] == 1
    assert vote([(RED, 0.9), (GREEN, 0.1), (RED, 0.9), (GREEN, 0.2)]) == {"pass_at_1": 0.5, "pass_at_2": 0.5, "pass_at_3": 0.5}


def test_means_are_compared_as_they_are_rounded_when_probabilities_are_added_one_by_one() -> None:
    """Two answers with the same probabilities in another order, as the official evaluator ranks them."""
    grids = [np.array(grid, dtype=np.uint8) for grid in (BLUE, RED)]
    for seed in range(20):
        rng = np.random.default_rng(seed)
        given = rng.random(20)
        order = [(0, value) for value in given] + [(1, value) for value in rng.permutation(given)]
        means = [sum_in_order([value for grid, value in order if grid == number]) / len(given) for number in (0, 1)]
        best = rank([(grids[grid], value) for grid, value in order])[0]
        assert np.array_equal(best, grids[int(means[1] > means[0])])


def sum_in_order(values: list[float]) -> float:
    """The sum, rounded after each value; `sum` of Python 3.12 rounds once."""
    total = 0.0
    for value in values:
        total += value
    return total


def test_the_same_question_under_two_puzzles_has_votes_of_its_own() -> None:
    assert vote([(GREEN, 0.9)] * 4) == {"pass_at_1": 0.5, "pass_at_2": 0.5, "pass_at_3": 0.5}


def test_empty_answers_are_one_answer_under_any_symmetry() -> None:
    """An answer without a colour at its corner has the shape [0, 0], so that its votes are counted together."""
    data = examples([(1, [[1, 0]], BLUE), (2, [[0], [2]], RED), (1, [[1, 0]], BLUE)])
    answers = np.zeros((3, 900), dtype=np.uint8)
    answers[2] = encode(np.array(BLUE, dtype=np.uint8))
    assert count_votes(data, answers, np.array([0.1, 0.1, 0.9]), VIEWS, (1, 2)) == {"pass_at_1": 0.0, "pass_at_2": 1.0}


def test_there_is_no_score_without_a_puzzle_as_it_is() -> None:
    data = examples([(2, [[1]], BLUE)])
    assert count_votes(data, data.labels, np.ones(1), VIEWS, (1,)) == {}
