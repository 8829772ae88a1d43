"""What every task promises."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rrm.tasks import CONFIGS as CONFIG_CLASSES
from rrm.tasks import BaseTaskConfig, Examples, Split, Task, build_task
from rrm.tasks.addition import AdditionConfig
from rrm.tasks.arc import ArcConfig
from rrm.tasks.automaton import AutomatonConfig
from rrm.tasks.maze import MazeConfig
from rrm.tasks.neighbours import NeighboursConfig
from rrm.tasks.permutations import PermutationsConfig
from rrm.tasks.pointer_chasing import PointerChasingConfig
from rrm.tasks.prefix_sum import PrefixSumConfig
from rrm.tasks.reachability import ReachabilityConfig
from rrm.tasks.sudoku import SudokuConfig
from rrm.tasks.table import TableConfig
from rrm.tasks.task import bin_of, token_type

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
]  # fmt: skip
COUNT, FEWER = 300, 100  # puzzles of a split, where the task has so many; of those that take long to make


def test_every_family_is_tested() -> None:
    assert {config.kind for config in CONFIGS} == set(CONFIG_CLASSES)  # type: ignore[attr-defined]


TAKE_LONG = [config for config in CONFIGS if isinstance(config, SudokuConfig) and config.minimal]
PARAMETERS = [pytest.param(config, marks=pytest.mark.more if config in TAKE_LONG else ()) for config in CONFIGS]


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
def task(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Task:
    if not isinstance(request.param, TableConfig):
        return build_task(request.param)
    write_tables(folder := tmp_path_factory.mktemp("table"))
    return build_task(request.param.located(folder))


@pytest.fixture(scope="module")
def count(task: Task) -> int:
    return FEWER if task.config in TAKE_LONG else COUNT


@pytest.fixture(scope="module")
def splits(task: Task, count: int) -> dict[Split, Examples]:
    return {split: task.make(split, count, 0) for split in task.counts}


class TestTaskContract:
    def test_the_grid_holds_the_canvas(self, task: Task) -> None:
        rows, columns = task.grid
        assert rows * columns == task.shape.length

    def test_every_split_has_puzzles(self, task: Task, count: int, splits: dict[Split, Examples]) -> None:
        assert {"train", "validation", "test"} <= splits.keys()
        for split, examples in splits.items():
            limited = isinstance(task.config, ArcConfig)  # its puzzles are what they are
            assert len(examples) == (min(count, task.counts[split]) if limited else count)

    def test_the_same_seed_gives_the_same_puzzles(self, task: Task, count: int, splits: dict[Split, Examples]) -> None:
        for split, examples in splits.items():
            again = build_task(task.config).make(split, count, 0)
            for name, array in examples.arrays().items():
                assert np.array_equal(array, again.arrays()[name]), name

    def test_another_seed_gives_other_puzzles(self, task: Task, count: int, splits: dict[Split, Examples]) -> None:
        other = build_task(task.config.model_copy(update={"seed": 1})).make("train", count, 1)
        assert other.inputs.shape != splits["train"].inputs.shape or not np.array_equal(other.inputs, splits["train"].inputs)

    def test_answers_are_right_by_the_rules(self, task: Task, splits: dict[Split, Examples]) -> None:
        for examples in splits.values():
            assert task.score(examples, examples.labels).all()

    def test_a_changed_answer_is_wrong(self, task: Task, splits: dict[Split, Examples]) -> None:
        examples = splits["test"]
        answers, rows = examples.labels.copy(), np.arange(len(examples))
        place = examples.unknown.argmax(axis=1)
        lowest, highest = answers[answers > 0].min(), answers.max()
        answers[rows, place] = np.where(answers[rows, place] == highest, lowest, answers[rows, place] + 1)
        assert not task.score(examples, answers).any()

    def test_splits_share_no_question(self, task: Task, splits: dict[Split, Examples]) -> None:
        if isinstance(task.config, ArcConfig):
            pytest.skip("an input may occur in two puzzles; pairs are compared in test_arc")
        questions = {split: set(map(bytes, examples.inputs)) for split, examples in splits.items()}
        for one in questions:
            for other in questions:
                assert one == other or not questions[one] & questions[other], (one, other)

    def test_nested_training_sets_are_the_first_of_larger_ones_and_share_no_question_with_other_splits(
        self, task: Task, splits: dict[Split, Examples]
    ) -> None:
        if "nested" not in type(task.config).model_fields:
            pytest.skip("training puzzles of this task are not drawn")
        nested = build_task(task.config.model_copy(update={"nested": True}))
        most = nested.make("train", FEWER, 0)
        for count in (1, 63, 65, FEWER - 1):
            fewer = nested.make("train", count, 0)
            for name, array in most.arrays().items():
                assert np.array_equal(fewer.arrays()[name], array[:count]), (name, count)
        assert nested.score(most, most.labels).all() and len(set(map(bytes, most.inputs))) == FEWER
        assert np.array_equal(nested.make("test", 9, 0).inputs, task.make("test", 9, 0).inputs)
        others = {bytes(row) for split, examples in splits.items() if split != "train" for row in examples.inputs}
        assert not others & set(map(bytes, most.inputs))

    def test_bins_are_filled(self, task: Task, splits: dict[Split, Examples]) -> None:
        for measure, edges in task.bins.items():
            found = {split: set(bin_of(examples.difficulty[measure], edges).tolist()) for split, examples in splits.items()}
            assert set().union(*found.values()) <= set(edges)
            if measure == "k":
                assert found["train"] == found["validation"] == found["test"]
                assert found["test"] | found["ood"] == set(edges) and not found["test"] & found["ood"]

    def test_out_of_distribution_is_harder(self, task: Task, splits: dict[Split, Examples]) -> None:
        if "ood" in splits:
            measure = next(iter(task.bins))
            hard, plain = splits["ood"].difficulty[measure], splits["test"].difficulty[measure]
            assert hard.mean() > plain.mean() and (measure != "k" or hard.min() > plain.max())

    def test_tokens_lie_in_the_vocabulary_and_on_the_canvas(self, task: Task, splits: dict[Split, Examples]) -> None:
        shape = task.shape
        for examples in splits.values():
            assert examples.inputs.shape[1] == examples.labels.shape[1] == shape.length
            assert examples.inputs.dtype == examples.labels.dtype == token_type(shape.vocabulary)
            assert max(examples.inputs.max(), examples.labels.max()) < shape.vocabulary
            assert examples.puzzle_identifiers.min() >= 0 and examples.puzzle_identifiers.max() < shape.num_puzzles

    def test_only_scored_tokens_are_unknown(self, task: Task, splits: dict[Split, Examples]) -> None:
        for examples in splits.values():
            assert (examples.labels[examples.unknown] > 0).all() and examples.unknown.any(axis=1).all()
            given = ~examples.unknown & (examples.labels > 0)
            assert np.array_equal(examples.inputs[given], examples.labels[given])

    def test_augmented_puzzles_are_puzzles_with_right_answers(self, task: Task, splits: dict[Split, Examples]) -> None:
        examples = splits["train"]
        augmented = task.augment(examples, np.random.default_rng(0))
        if not task.config.augments:
            assert augmented is examples
            return
        assert not np.array_equal(augmented.inputs, examples.inputs)
        assert np.array_equal(augmented.items, examples.items) and augmented.inputs.dtype == np.uint8
        if isinstance(task.config, ArcConfig):
            return  # translated answers are not decoded: see test_arc
        assert task.score(augmented, augmented.labels).all()
        assert np.array_equal(augmented.unknown.sum(1), examples.unknown.sum(1))

    def test_examples_survive_as_arrays(self, splits: dict[Split, Examples]) -> None:
        examples = splits["test"]
        again = Examples.from_arrays(examples.arrays())
        assert again.arrays().keys() == examples.arrays().keys()
        assert len(examples.take(np.array([1, 0]))) == 2
