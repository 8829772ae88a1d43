"""Which settings divide runs into groups."""

from typing import Any

import numpy as np
import pytest

from sweeps.design.axes import (
    CYCLES,
    LATENT_UPDATES,
    LAYERS,
    RECURSION,
    SIZE,
    SUPERVISION_STEPS,
    WIDTH,
    count_recursion,
    independent_axes,
)
from sweeps.design.groups import find_splitting, name_rows, split_rows

AXES = {WIDTH: [16, 16, 32, 32]}


@pytest.mark.parametrize(
    ("values", "splits"),
    [
        ([0.1, 0.1, 0.1, 0.1], False),
        ([0.1, 0.1, 0.2, 0.2], False),  # follows the width
        ([0.1, 0.2, 0.1, 0.2], True),
        ([0.1, None, 0.1, 0.2], True),
        (["a", "a", "b", "b"], True),  # a word divides, also where it follows the width
        ([True, True, False, False], True),
        ([[1, 2], [1, 2], [1, 3], [1, 3]], True),
        ([None, None, float("nan"), ""], False),  # all absent
    ],
)
def test_a_setting_splits_unless_it_is_a_number_that_follows_from_the_axes(values: list[Any], splits: bool) -> None:
    assert find_splitting({"setting": values}, AXES, 4) == (["setting"] if splits else [])


def test_a_number_may_follow_from_the_axes_and_a_word_together() -> None:
    settings = {"model.kind": ["trm", "hrm", "trm", "hrm"], "optim.lr": [0.1, 0.2, 0.1, 0.2]}
    assert find_splitting(settings, AXES, 4) == ["model.kind"]


def test_the_path_of_a_file_does_not_split_where_its_digest_is_known() -> None:
    settings = {"task.train": ["a.csv", "b.csv", "a.csv", "b.csv"], "task.train_sha256": ["1", "1", "1", "1"]}
    assert find_splitting(settings, AXES, 4) == []
    assert find_splitting({"task.train": settings["task.train"]}, AXES, 4) == ["task.train"]


def test_rows_are_split_by_value_in_the_order_of_the_text() -> None:
    groups = split_rows({"kind": ["trm", "hrm", "trm"], "lr": [0.1, 0.1, 0.1]}, 3)
    assert [rows.tolist() for rows in groups] == [[1], [0, 2]]
    assert [rows.tolist() for rows in split_rows({}, 2)] == [[0, 1]]


def test_rows_of_equal_values_have_equal_names() -> None:
    names = name_rows({"a": [1, 1, 2], "b": [None, float("nan"), None]}, 3)
    assert names[0] == names[1] != names[2]


def test_a_size_is_an_axis_only_where_width_and_layers_are_not_there() -> None:
    settings = [WIDTH, LAYERS, CYCLES, LATENT_UPDATES, SUPERVISION_STEPS]
    assert independent_axes([*settings, SIZE, RECURSION]) == settings
    assert independent_axes([WIDTH, SIZE, RECURSION]) == [WIDTH, SIZE, RECURSION]


def test_recursion_is_counted_as_in_the_paper() -> None:
    assert count_recursion(np.array([3]), np.array([6]), np.array([16])).tolist() == [336]
