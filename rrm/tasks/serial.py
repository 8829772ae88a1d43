"""Tasks with a known number of serial steps k: what prefix sums, pointer chasing, automata and similar tasks share.

Every canvas starts with k in binary, in tokens that stand for nothing else, so that each token of a harder k was seen in
training. Training mixes all k from `MIN_STEPS` to `serial_steps`; out of distribution k goes on to `ood_serial_steps`.
"""

from abc import abstractmethod
from typing import ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from rrm.config import RuleError
from rrm.tasks.splits import draw_rows, draw_until, hash_rows, split_of
from rrm.tasks.task import SPLITS, BaseTaskConfig, Examples, PuzzleShape, Split, Task

ZERO, ONE = 1, 2  # binary digits of k; the tokens of a task begin at FIRST
FIRST = 3


class SerialConfig(BaseTaskConfig):
    """Numbers of puzzles, and of serial steps in and out of distribution."""

    MIN_STEPS: ClassVar[int] = 1  # smallest k; larger for a task that has too few short questions for three splits

    serial_steps: int = Field(8, ge=1, le=64)
    """Largest k in training, validation and test."""
    ood_serial_steps: int = Field(16, ge=2, le=128)
    """Largest k out of distribution."""
    train_examples: int = Field(20_000, ge=1)
    """Puzzles in training."""
    nested: bool | None = Field(None, json_schema_extra={"neutral": False})
    """Whether fewer training puzzles are the first of more. Default: false; true in a
    sweep whose `measure.vary` has `task.train_examples`.
    """
    validation_examples: int = Field(500, ge=1)
    """Puzzles in validation."""
    test_examples: int = Field(1000, ge=1)
    """Puzzles in test."""
    ood_examples: int = Field(1000, ge=1)
    """Puzzles out of distribution, each with a k above `serial_steps`."""

    @model_validator(mode="after")
    def _check_steps(self) -> Self:
        low, high = self.serial_steps, self.ood_serial_steps
        if not self.MIN_STEPS <= low < high:
            rule = f"serial_steps must be {self.MIN_STEPS} or more and less than ood_serial_steps, got {low} and {high}"
            raise RuleError(rule, "serial_steps", "ood_serial_steps")
        return self

    @property
    def digits(self) -> int:
        """Tokens that k takes."""
        return self.ood_serial_steps.bit_length()

    def shaped(self, tokens: int, values: int) -> PuzzleShape:
        """Shape of a canvas of k and `tokens` further tokens, each with one of `values` values."""
        return PuzzleShape(self.digits + tokens, FIRST + values, num_puzzles=1)


class SerialTask(Task):
    """A subclass defines questions of k steps and their answers."""

    config: SerialConfig

    def __init__(self, config: SerialConfig) -> None:
        self.config = config

    @property
    def counts(self) -> dict[Split, int]:
        return {split: getattr(self.config, f"{split}_examples") for split in SPLITS}

    @abstractmethod
    def ask(self, k: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A random question for each number of steps k [N]: its tokens without k, [N, M]."""

    @abstractmethod
    def solve(self, k: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Answers [N, M] to questions [N, M] with k [N] steps, PAD where nothing is asked."""

    @property
    def bins(self) -> dict[str, tuple[int, ...]]:
        return {"k": tuple(range(self.config.MIN_STEPS, self.config.ood_serial_steps + 1))}

    def make(self, split: Split, count: int, seed: int) -> Examples:
        def draw(number: int, rng: np.random.Generator) -> Examples:
            examples = self._draw(split, number, rng)
            if split == "ood":  # its k is larger than any in the other splits
                return examples
            essence = hash_rows(examples.inputs[:, self.config.digits :])
            return examples.take(np.flatnonzero(split_of(essence, seed) == split))

        def draw_enough(number: int, rng: np.random.Generator) -> Examples:
            return draw_until(number, lambda drawn: draw(drawn, rng))

        return draw_rows(split, count, seed, draw_enough, nested=bool(self.config.nested))

    def score(self, examples: Examples, answers: np.ndarray) -> np.ndarray:
        k = self._read_steps(examples.inputs)
        right = self.solve(k, examples.inputs[:, self.config.digits :])
        given = answers[:, self.config.digits :]
        solved: np.ndarray = ((given == right) | (right == 0)).all(axis=1)
        return solved

    def _draw(self, split: Split, number: int, rng: np.random.Generator) -> Examples:
        low, high = (
            (self.config.serial_steps + 1, self.config.ood_serial_steps)
            if split == "ood"
            else (self.config.MIN_STEPS, self.config.serial_steps)
        )
        k = rng.permutation(np.arange(number) % (high - low + 1) + low)
        tokens = self.ask(k, rng)
        unasked = np.zeros((number, self.config.digits), dtype=np.uint8)
        inputs = np.concatenate((self._write_steps(k), tokens), axis=1)
        labels = np.concatenate((unasked, self.solve(k, tokens)), axis=1)
        return Examples.single(inputs, labels, labels > 0, {"k": k}, self.shape.vocabulary)

    def _write_steps(self, k: np.ndarray) -> np.ndarray:
        """Binary tokens of k [N], most significant first, [N, digits]."""
        return (k[:, None] >> np.arange(self.config.digits)[::-1] & 1) + ZERO

    def _read_steps(self, inputs: np.ndarray) -> np.ndarray:
        bits = inputs[:, : self.config.digits].astype(np.int64) - ZERO
        return bits @ (1 << np.arange(self.config.digits)[::-1])
