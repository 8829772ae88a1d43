"""The rules of a task that sweeps rely on, each as a function."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from rrm.tasks import config_of
from rrm.tasks.made_rows import find_fault
from rrm.tasks.task import BaseTaskConfig, Examples, Split, Task, bin_of, token_type
from rrm.testing.require import require, require_kind


@dataclass(frozen=True)
class MadeTask:
    """A task, and puzzles of each of its splits."""

    task: Task
    splits: dict[Split, Examples]
    count: int  # puzzles that were asked of each split

    def again(self, **changes: Any) -> Task:
        """The task built anew, with changed settings."""
        return type(self.task)(self.task.config.model_copy(update=changes))


def make_task(task: Task, count: int = 100) -> MadeTask:
    """A task with `count` puzzles of each split."""
    return MadeTask(task, {split: task.make(split, count, 0) for split in task.counts}, count)


def require_settings(task_class: type[Task], config: BaseTaskConfig) -> None:
    """Raise where a sweep would not find the settings of a task by its class."""
    name, annotated = type(config).__name__, config_of(task_class)
    require(
        annotated is type(config),
        f"`config` of {task_class.__name__} must be annotated with {name}, got {annotated.__name__}: add the line config: {name}",
    )
    require_kind(type(config))


def check_grid(made: MadeTask) -> None:
    """The canvas as people draw it has a place for every token."""
    rows, columns = made.task.grid
    length = made.task.shape.length
    require(rows * columns == length, f"grid must have {length} places, as `shape.length`, got {rows} x {columns}")


def check_splits(made: MadeTask) -> None:
    """There are training, validation and test puzzles, as many as asked for or as there are."""
    absent = {"train", "validation", "test"} - made.splits.keys()
    require(not absent, f"counts must have train, validation and test, lacks {', '.join(sorted(absent))}")
    for split, examples in made.splits.items():
        fewest = min(made.count, made.task.counts[split])
        require(
            len(examples) in (made.count, fewest), f"make({split!r}, {made.count}) must give {fewest} puzzles, got {len(examples)}"
        )


def check_seeds(made: MadeTask) -> None:
    """The same seed gives the same puzzles, and another one other puzzles."""
    for split, examples in made.splits.items():
        again = made.again().make(split, made.count, 0)
        differing = [name for name, array in examples.arrays().items() if not np.array_equal(array, again.arrays()[name])]
        require(
            not differing, f"make({split!r}) must be a function of its arguments, a second call has other {', '.join(differing)}"
        )
    other, train = made.again(seed=1).make("train", made.count, 1).inputs, made.splits["train"].inputs
    require(not np.array_equal(other, train), "make must give other training puzzles for another seed")


def check_answers(made: MadeTask) -> None:
    """`score` takes the labels, and refuses an answer with one changed token."""
    for split, examples in made.splits.items():
        right = made.task.score(examples, examples.labels)
        require(right.shape == (len(examples),) and right.dtype == bool, f"score must return [{len(examples)}] of bool")
        require(right.all(), f"score must take the labels of {split}, refuses {int((~right).sum())} of {len(examples)}")
    examples = made.splits["test"]
    taken = made.task.score(examples, _changed(examples))
    require(not taken.any(), f"score must refuse an answer with one changed token, takes {int(taken.sum())} of {len(taken)}")


def _changed(examples: Examples) -> np.ndarray:
    """The labels with another token in the first unknown place of each row."""
    answers, rows = examples.labels.copy(), np.arange(len(examples))
    place = examples.unknown.argmax(axis=1)
    lowest, highest = answers[answers > 0].min(), answers.max()
    answers[rows, place] = np.where(answers[rows, place] == highest, lowest, answers[rows, place] + 1)
    return answers


def check_disjoint_splits(made: MadeTask) -> None:
    """No question is in two splits."""
    questions = {split: set(map(bytes, examples.inputs)) for split, examples in made.splits.items()}
    for one, mine in questions.items():
        for other, theirs in questions.items():
            shared = 0 if one == other else len(mine & theirs)
            require(not shared, f"splits must share no question, {one} and {other} share {shared}")


def check_nested_training_sets(made: MadeTask) -> None:
    """Where the settings have `nested`: fewer training puzzles are the first of more, and in no other split."""
    if "nested" not in type(made.task.config).model_fields:
        return
    nested, largest = made.again(nested=True), made.count
    most = nested.make("train", largest, 0)
    for count in {1, min(63, largest), min(65, largest), largest - 1}:
        fewer = nested.make("train", count, 0).arrays()
        differing = [name for name, array in most.arrays().items() if not np.array_equal(fewer[name], array[:count])]
        require(not differing, f"with nested, {count} puzzles must be the first of {largest}, {', '.join(differing)} differ")
    require(len(set(map(bytes, most.inputs))) == largest, "with nested, training puzzles must differ from each other")
    require(nested.score(most, most.labels).all(), "with nested, score must take the labels of train")
    same = np.array_equal(nested.make("test", 9, 0).inputs, made.task.make("test", 9, 0).inputs)
    require(same, "with nested, test puzzles must stay the same")
    others = {bytes(row) for split, examples in made.splits.items() if split != "train" for row in examples.inputs}
    require(not others & set(map(bytes, most.inputs)), "with nested, training puzzles must be in no other split")


def check_bins(made: MadeTask) -> None:
    """Every measure of difficulty lies in the bins; training has all k of test, and none of those out of distribution."""
    for measure, edges in made.task.bins.items():
        lacking = [split for split, examples in made.splits.items() if measure not in examples.difficulty]
        require(not lacking, f"examples must have the difficulty {measure!r} of `bins`, {', '.join(lacking)} lack it")
        found = {split: set(bin_of(one.difficulty[measure], edges).tolist()) for split, one in made.splits.items()}
        if measure == "k":
            same = found["train"] == found["validation"] == found["test"]
            require(same, f"train, validation and test must have the same k, got {found}")
            require(found["test"] | found["ood"] == set(edges), f"every bin of k must have puzzles, got {found}")
            require(not found["test"] & found["ood"], "k out of distribution must be in no other split")


def check_harder_puzzles(made: MadeTask) -> None:
    """Puzzles out of distribution are harder by the first measure."""
    if "ood" not in made.splits:
        return
    measure = next(iter(made.task.bins))
    hard, plain = (made.splits[split].difficulty[measure] for split in ("ood", "test"))
    require(hard.mean() > plain.mean(), f"puzzles out of distribution must be harder by {measure}")
    require(measure != "k" or hard.min() > plain.max(), "every k out of distribution must be above every k of test")


def check_tokens(made: MadeTask) -> None:
    """Rows can be trained on and scored, and their tokens have the type of the vocabulary."""
    wanted = token_type(made.task.shape.vocabulary)
    for split, examples in made.splits.items():
        fault = find_fault(made.task, split, examples)
        require(fault is None, str(fault))
        for name, array in (("inputs", examples.inputs), ("labels", examples.labels)):
            rule = f"{name} of {split} must be of {wanted}, as `token_type(shape.vocabulary)`"
            require(array.dtype == wanted, f"{rule}, got {array.dtype}")


def check_unknown_tokens(made: MadeTask) -> None:
    """Only scored tokens are unknown, every row has one, and the input gives the others away."""
    for split, examples in made.splits.items():
        require((examples.labels[examples.unknown] > 0).all(), f"unknown tokens of {split} must be scored: their label is not 0")
        require(examples.unknown.any(axis=1).all(), f"every row of {split} must have an unknown token")
        given = ~examples.unknown & (examples.labels > 0)
        require(
            np.array_equal(examples.inputs[given], examples.labels[given]), f"tokens of {split} that are known must be in the input"
        )


def check_augmented_rows(made: MadeTask) -> None:
    """Augmented rows are other rows of the same items; without `augments`, `augment` returns what it was given."""
    examples = made.splits["train"]
    augmented = made.task.augment(examples, np.random.default_rng(0))
    if not made.task.config.augments:
        require(augmented is examples, "augment must return the examples as they are, because the settings have augments = False")
        return
    require(not np.array_equal(augmented.inputs, examples.inputs), "augment must change training rows")
    require(np.array_equal(augmented.items, examples.items), "augment must keep the items of rows")
    require(augmented.inputs.dtype == examples.inputs.dtype, "augment must keep the type of tokens")


def check_augmented_answers(made: MadeTask) -> None:
    """Augmented rows have right answers, and as many unknown tokens as before."""
    examples = made.splits["train"]
    augmented = made.task.augment(examples, np.random.default_rng(0))
    require(made.task.score(augmented, augmented.labels).all(), "score must take the labels of augmented rows")
    require(np.array_equal(augmented.unknown.sum(1), examples.unknown.sum(1)), "augment must keep the number of unknown tokens")


def check_arrays(made: MadeTask) -> None:
    """Examples survive as arrays, as they are kept on disk."""
    examples = made.splits["test"]
    again = Examples.from_arrays(examples.arrays()).arrays()
    require(again.keys() == examples.arrays().keys(), "examples must be restored from their arrays")


TASK_CHECKS: tuple[Callable[[MadeTask], None], ...] = (
    check_grid, check_splits, check_tokens, check_seeds, check_answers, check_disjoint_splits, check_nested_training_sets,
    check_bins, check_harder_puzzles, check_unknown_tokens, check_augmented_rows,
    check_augmented_answers, check_arrays,
)  # fmt: skip


def check_task(task_class: type[Task], config: BaseTaskConfig, count: int = 100, skip: Collection[str] = ()) -> None:
    """Raise where a task with these settings breaks a rule that sweeps rely on.

    Args:
        count: puzzles of each split that are made.
        skip: names of checks that do not apply, such as `check_disjoint_splits` where a question has several answers.

    Raises:
        AssertionError: the rule and the value.
    """
    require_settings(task_class, config)
    made = make_task(task_class(config), count)
    for check in TASK_CHECKS:
        if check.__name__ not in skip:
            check(made)
