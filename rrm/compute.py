"""Closed-form parameters and FLOPs, known before anything is built.

Matrix products only, a multiply-add counted as 2 FLOPs, the backward pass as twice the forward pass; equal to torch's
`FlopCounterMode` under the math attention backend. The puzzle embedding is not counted as a parameter (official: a buffer).

Legend: D hidden size, M inner width of the SwiGLU, S prefix + grid, L grid, V vocabulary, T and n cycles.
"""

from typing import NamedTuple

from rrm.config import ModelConfig
from rrm.tasks.task import PuzzleShape


class ParameterCount(NamedTuple):
    """Trained parameters by how often they are applied."""

    once: int  # embeddings and heads
    recursed: int  # the blocks

    @property
    def total(self) -> int:
        return self.once + self.recursed


def count_parameters(config: ModelConfig, shape: PuzzleShape) -> ParameterCount:
    """Parameters of the model that `build_reasoner(config, shape)` would build."""
    size = config.hidden_size
    positions = (config.prefix_length + shape.length) * size if config.positions == "learned" else 0
    tokens_and_head = 2 * shape.vocabulary * size
    q_head = 2 * size + 2
    block = 4 * size**2 + 3 * size * config.mlp_size
    return ParameterCount(once=tokens_and_head + positions + q_head, recursed=config.num_layers * block)


def _stack_flops(config: ModelConfig, shape: PuzzleShape) -> int:
    """Forward FLOPs of one call of the block stack on one example."""
    length, size = config.prefix_length + shape.length, config.hidden_size
    projections = 2 * length * size * 4 * size
    attention = 2 * (2 * length * length * size)  # scores, then their product with the values
    mlp = 2 * length * 3 * size * config.mlp_size
    return config.num_layers * (projections + attention + mlp)


def _head_flops(config: ModelConfig, shape: PuzzleShape) -> int:
    """Forward FLOPs of both heads on one example."""
    return 2 * config.hidden_size * (shape.length * shape.vocabulary + 2)


def inference_flops(config: ModelConfig, shape: PuzzleShape, depth: int | None = None) -> int:
    """FLOPs of answering one example with `depth` supervision steps (N_sup where absent), each answered."""
    calls = config.h_cycles * (config.l_cycles + 1)
    step = calls * _stack_flops(config, shape) + _head_flops(config, shape)
    return (depth or config.supervision_steps) * step


def train_step_flops(config: ModelConfig, shape: PuzzleShape, batch_size: int) -> int:
    """FLOPs of one optimizer step, which is one supervision step of a batch: T (n + 1) calls forward, n + 1 of them backward."""
    calls, graded = config.h_cycles * (config.l_cycles + 1), config.l_cycles + 1
    return batch_size * ((calls + 2 * graded) * _stack_flops(config, shape) + 3 * _head_flops(config, shape))
