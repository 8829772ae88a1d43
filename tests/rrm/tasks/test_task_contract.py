"""What every task promises."""

import numpy as np
import pytest

from rrm.tasks import TASKS, Split, Task, build_task
from rrm.tasks.sudoku import SudokuConfig

CONFIGS = [SudokuConfig(size=4), SudokuConfig(size=6), SudokuConfig(size=9)]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def test_every_family_is_tested() -> None:
    assert {config.kind for config in CONFIGS} == set(TASKS)


@pytest.fixture(params=CONFIGS, ids=lambda config: f"{config.kind}-{config.size}", scope="module")
def task(request: pytest.FixtureRequest) -> Task:
    return build_task(request.param)


class TestTaskContract:
    def test_the_same_seed_gives_the_same_puzzles(self, task: Task) -> None:
        first, second, other = (task.make("train", 20, seed) for seed in (1, 1, 2))
        assert np.array_equal(first.inputs, second.inputs) and np.array_equal(first.labels, second.labels)
        assert not np.array_equal(first.inputs, other.inputs)

    def test_answers_are_right_by_the_rules_alone(self, task: Task) -> None:
        for split in SPLITS:
            examples = task.make(split, 20, 0)
            assert task.score(examples.inputs, examples.labels).all()

    def test_a_changed_answer_is_wrong(self, task: Task) -> None:
        examples = task.make("test", 20, 0)
        answers = examples.labels.copy()
        answers[:, 0] = np.where(answers[:, 0] == 2, 3, 2)
        assert not task.score(examples.inputs, answers).any()

    def test_splits_share_no_answer(self, task: Task) -> None:
        answers = [set(map(bytes, task.make(split, 60, 0).labels)) for split in SPLITS]
        assert not answers[0] & answers[1] and not answers[0] & answers[2] and not answers[1] & answers[2]

    def test_tokens_lie_in_the_vocabulary(self, task: Task) -> None:
        examples = task.make("train", 20, 0)
        shape = task.config.shape  # type: ignore[attr-defined]
        assert examples.inputs.shape == examples.labels.shape == (20, shape.length)
        assert examples.inputs.min() >= 0 and max(examples.inputs.max(), examples.labels.max()) < shape.vocabulary

    def test_unknown_tokens_are_those_that_the_input_does_not_give(self, task: Task) -> None:
        examples = task.make("train", 20, 0)
        known = ~examples.unknown
        assert np.array_equal(examples.inputs[known], examples.labels[known])
        assert (examples.inputs[examples.unknown] != examples.labels[examples.unknown]).all()

    def test_augmented_puzzles_are_puzzles_with_right_answers(self, task: Task) -> None:
        examples = task.make("train", 40, 0)
        augmented = task.augment(examples, np.random.default_rng(0))
        assert task.score(augmented.inputs, augmented.labels).all()
        assert not np.array_equal(augmented.inputs, examples.inputs)
        assert np.array_equal(augmented.unknown.sum(1), examples.unknown.sum(1))
