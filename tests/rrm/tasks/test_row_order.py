"""The order of training rows: what a pass holds, and that it is a function of the seed and the position."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rrm.tasks.row_order import GroupedRows, RowOrder, ShuffledRows

GROUPS = st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=4), min_size=1, max_size=6)  # rows of each puzzle of each group


def grouped(groups: list[list[int]], seed: int = 0) -> GroupedRows:
    return GroupedRows(np.array([size for group in groups for size in group]), np.array([len(group) for group in groups]), seed)


def rows_of(groups: list[list[int]]) -> list[list[list[int]]]:
    """The rows of each puzzle of each group."""
    numbers = iter(range(sum(map(sum, groups))))
    return [[[next(numbers) for _ in range(size)] for size in group] for group in groups]


@given(GROUPS, st.integers(0, 3))
def test_a_pass_has_all_rows_of_one_puzzle_of_every_group(groups: list[list[int]], seed: int) -> None:
    order, puzzles, at = grouped(groups, seed), rows_of(groups), 0
    owner = {row: (group, number) for group, parts in enumerate(puzzles) for number, rows in enumerate(parts) for row in rows}
    for _ in range(3):
        passed: list[tuple[int, int]] = []
        while len(passed) < len(groups):
            group, number = owner[int(order.rows(at, 1)[0])]
            rows = puzzles[group][number]
            assert sorted(order.rows(at, len(rows)).tolist()) == rows
            passed.append((group, number))
            at += len(rows)
        assert sorted(group for group, _ in passed) == list(range(len(groups)))


@given(GROUPS, st.lists(st.integers(0, 60), min_size=1, max_size=5))
def test_rows_depend_on_the_seed_and_the_position_alone(groups: list[list[int]], starts: list[int]) -> None:
    orders: list[RowOrder] = [grouped(groups), ShuffledRows(sum(map(sum, groups)), 0)]
    again: list[RowOrder] = [grouped(groups), ShuffledRows(sum(map(sum, groups)), 0)]
    for one, other in zip(orders, again, strict=True):
        whole = one.rows(0, 80)
        for start in starts:
            assert np.array_equal(other.rows(start, 17), whole[start : start + 17])


def test_each_puzzle_of_a_group_is_drawn_equally_often_and_another_seed_gives_another_order() -> None:
    groups = [[1, 1, 1, 1], [2, 2]]
    counts = Counter(grouped(groups).rows(0, 3 * 4000).tolist())
    assert all(abs(counts[row] - 1000) < 120 for row in range(4)) and all(abs(counts[row] - 2000) < 160 for row in range(4, 8))
    assert not np.array_equal(grouped(groups).rows(0, 30), grouped(groups, seed=1).rows(0, 30))
