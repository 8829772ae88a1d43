"""What every task promises."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rrm.tasks import CONFIGS as CONFIG_CLASSES
from rrm.tasks import BaseTaskConfig, build_task
from rrm.tasks.addition import AdditionConfig
from rrm.tasks.arc import ArcConfig
from rrm.tasks.automaton import AutomatonConfig
from rrm.tasks.maze import MazeConfig
from rrm.tasks.neighbours import NeighboursConfig
from rrm.tasks.official import OfficialConfig
from rrm.tasks.permutations import PermutationsConfig
from rrm.tasks.pointer_chasing import PointerChasingConfig
from rrm.tasks.prefix_sum import PrefixSumConfig
from rrm.tasks.reachability import ReachabilityConfig
from rrm.tasks.sudoku import SudokuConfig
from rrm.tasks.table import TableConfig
from rrm.testing.task_checks import TASK_CHECKS, MadeTask, make_task
from tests.rrm.tasks.official_folders import write_arc, write_sudoku

CONFIGS: list[BaseTaskConfig] = [
    SudokuConfig(size=4),
    SudokuConfig(size=6),
    SudokuConfig(size=9),
    SudokuConfig(size=9, minimal=True),
    MazeConfig(),
    MazeConfig(size=11, ood_examples=0),
    ArcConfig(tasks=30, validation_tasks=10, augmentations=5, views=3),
    PrefixSumConfig(),
    PointerChasingConfig(),
    PermutationsConfig(),
    AutomatonConfig(),
    AdditionConfig(),
    ReachabilityConfig(),
    NeighboursConfig(),
    TableConfig(
        train=Path("train.parquet"), test=Path("test.parquet"), ood=Path("ood.parquet"), grid=(2, 4),
        difficulty={"steps": (0, 3, 6)}, length=8, vocabulary=300, puzzles=2400,
    ),
    OfficialConfig(path=Path("sudoku"), length=16, vocabulary=6, identifiers=1),
    OfficialConfig(path=Path("arc"), length=900, vocabulary=12, identifiers=91),
]  # fmt: skip
NOT_OF_ARC = {
    "check_disjoint_splits": "an input may occur in two puzzles; pairs are compared in test_arc",
    "check_augmented_answers": "translated answers are not decoded: see test_arc",
}
COUNT, FEWER = 300, 100  # puzzles of a split, where the task has so many; of those that take long to make


def test_every_family_is_tested() -> None:
    assert {config.kind for config in CONFIGS} == set(CONFIG_CLASSES)  # type: ignore[attr-defined]


TAKE_LONG = [config for config in CONFIGS if isinstance(config, SudokuConfig) and config.minimal]
PARAMETERS = [pytest.param(config, marks=pytest.mark.more if config in TAKE_LONG else ()) for config in CONFIGS]


def write_files(config: BaseTaskConfig, folder: Path) -> None:
    """The files that a config names."""
    if isinstance(config, TableConfig):
        write_tables(folder)
    if isinstance(config, OfficialConfig):
        write_sudoku(folder / "sudoku", groups=200)
        write_arc(folder / "arc", trained=20, tested=10)


def write_tables(folder: Path) -> None:
    """Files of a table: rows of eight tokens up to 299, whose answer adds one to the first `steps` tokens and to the last."""
    rng, first = np.random.default_rng(0), 0
    for name, count, steps in (("train", 4000, (0, 5)), ("test", 400, (0, 5)), ("ood", 400, (5, 8))):
        inputs, added = rng.integers(1, 299, size=(count, 8)), rng.integers(*steps, size=count)
        labels = inputs + ((np.arange(8) < added[:, None]) | (np.arange(8) == 7))
        puzzles = first + np.arange(count) // 2  # two rows of each
        first += count // 2
        columns = {"input": list(inputs), "label": list(labels), "puzzle": puzzles, "steps": added}
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")


@pytest.fixture(params=PARAMETERS, ids=lambda config: f"{config.kind}-{config.shape.length}", scope="module")
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MadeTask:
    count = FEWER if request.param in TAKE_LONG else COUNT
    write_files(request.param, folder := tmp_path_factory.mktemp(request.param.kind))
    return make_task(build_task(request.param.located(folder)), count)


@pytest.mark.parametrize("check", TASK_CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_a_built_in_task_passes_the_checks_that_a_user_runs_on_another(made: MadeTask, check: Callable[[MadeTask], None]) -> None:
    if isinstance(made.task.config, ArcConfig) and check.__name__ in NOT_OF_ARC:
        pytest.skip(NOT_OF_ARC[check.__name__])
    check(made)


def test_fewer_training_puzzles_of_a_nested_set_are_the_first_of_more() -> None:
    task = build_task(SudokuConfig(size=4, nested=True))
    assert np.array_equal(task.make("train", 63, 0).inputs, task.make("train", 100, 0).inputs[:63])
