"""What training and scoring require of what a task returns, which a plug-in may break."""

from collections.abc import Mapping
from numbers import Integral, Real

import numpy as np

from rrm.tasks.task import Examples, Split, Task

REQUIRED: tuple[Split, ...] = ("train", "validation", "test")


def find_task_fault(task: Task) -> str | None:
    """The first rule that `counts`, `bins` or `facts` of a task break, with the value; None where they can be used."""
    counts: object = task.counts
    if not isinstance(counts, Mapping) or not counts.keys() >= set(REQUIRED):
        return f"counts must have {', '.join(REQUIRED)}, got {_shown(counts)}"
    bins: object = task.bins
    if not isinstance(bins, Mapping) or not all(isinstance(edges, tuple) and edges for edges in bins.values()):
        return f"bins must have a tuple of smallest values by measure, got {_shown(bins)}"
    facts: object = task.facts()
    if not isinstance(facts, Mapping) or not all(isinstance(value, Integral) for value in facts.values()):
        return f"facts must have whole numbers by name, got {_shown(facts)}"
    return None


def find_judge_fault(scores: object, taken: set[str]) -> str | None:
    """Why the scores that `judge` returned cannot be columns of a record, beside those of every task; None where they can."""
    if not isinstance(scores, Mapping) or not all(isinstance(value, Real) for value in scores.values()):
        return f"judge must return numbers by name, got {_shown(scores)}"
    clash = min(taken & scores.keys(), default=None)
    return None if clash is None else f"judge must not return {clash!r}, a score of every task: choose another name"


def _shown(value: object) -> str:
    return repr(dict(value)) if isinstance(value, Mapping) else type(value).__name__


def find_fault(task: Task, split: Split, made: object) -> str | None:
    """The first rule that the rows of a split break, with the value; None where they can be trained on and scored."""
    if not isinstance(made, Examples):
        return f"make({split!r}, ...) must return Examples, got {type(made).__name__}"
    if not len(made):
        return f"make({split!r}, ...) must return at least one row, got none"
    return _token_fault(task, split, made) or _column_fault(task, split, made)


def _token_fault(task: Task, split: Split, made: Examples) -> str | None:
    wanted, vocabulary = (len(made), task.shape.length), task.shape.vocabulary
    for name, tokens in (("inputs", made.inputs), ("labels", made.labels)):
        where = f"{name} of {split}"
        if not isinstance(tokens, np.ndarray) or tokens.shape != wanted:
            return f"{where} must be [N, shape.length] = {list(wanted)}, got {_shape(tokens)}"
        if not np.issubdtype(tokens.dtype, np.integer):
            return f"{where} must be whole numbers, as `token_type(shape.vocabulary)`, got {tokens.dtype}"
        if not 0 <= tokens.min() <= tokens.max() < vocabulary:
            got = f"got {tokens.min()} to {tokens.max()}"
            return f"{where} must be 0 or more and below the vocabulary, shape.vocabulary = {vocabulary}, {got}"
    unknown = made.unknown
    if not isinstance(unknown, np.ndarray) or unknown.shape != wanted or unknown.dtype != bool:
        return f"unknown of {split} must be {list(wanted)} of bool, got {_shape(unknown)}"
    return None


def _column_fault(task: Task, split: Split, made: Examples) -> str | None:
    lacking = task.bins.keys() - made.difficulty.keys()
    if lacking:
        return f"difficulty of {split} must have the measures of `bins`, lacks {', '.join(sorted(lacking))}"
    columns = {"puzzle_identifiers": made.puzzle_identifiers, "items": made.items} | made.difficulty
    for name, column in columns.items():
        if not isinstance(column, np.ndarray) or column.shape != (len(made),) or not np.issubdtype(column.dtype, np.integer):
            return f"{name} of {split} must have a whole number a row, [{len(made)}], got {_shape(column)}"
    puzzles = made.puzzle_identifiers
    if not 0 <= puzzles.min() <= puzzles.max() < task.shape.num_puzzles:
        rule = f"must be 0 or more and below shape.num_puzzles = {task.shape.num_puzzles}"
        return f"puzzle_identifiers of {split} {rule}, got {puzzles.min()} to {puzzles.max()}"
    return None


def _shape(array: object) -> str:
    return f"{list(array.shape)} of {array.dtype}" if isinstance(array, np.ndarray) else f"a {type(array).__name__}"
