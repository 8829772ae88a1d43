"""Parameters, recursion and FLOPs: in closed form where a model has one, else counted on the model (rrm/measure.py).

Matrix products only, a multiply-add counted as 2 FLOPs, the backward pass as twice the forward pass; equal to torch's
`FlopCounterMode` under the math attention backend. The puzzle embedding is not counted as a parameter (official: a buffer).

Legend: D hidden size, M inner width of a SwiGLU, S prefix + grid, L grid, V vocabulary, T and n cycles.
"""

from typing import TYPE_CHECKING, NamedTuple, TypeGuard

from rrm.config import AnyModelConfig, BaseModelConfig, Cycles, ModelConfig, RecursiveConfig
from rrm.tasks.task import PuzzleShape

if TYPE_CHECKING:
    from rrm.measure import Measured


class ParameterCount(NamedTuple):
    """Trained parameters by how often they are applied."""

    once: int  # embeddings, heads, learned initial states
    recursed: int  # the blocks

    @property
    def total(self) -> int:
        return self.once + self.recursed


def has_closed_forms(config: BaseModelConfig) -> TypeGuard[AnyModelConfig]:
    """Whether the config's class itself states that the forms below are its model's; a derived class does not inherit it."""
    return bool(vars(type(config)).get("closed_forms", False))


def _measured(config: BaseModelConfig, shape: PuzzleShape, cycles: Cycles | None = None) -> "Measured":
    from rrm.measure import measure_model  # needs torch

    return measure_model(config, shape, cycles)


def count_recursion(config: BaseModelConfig, shape: PuzzleShape) -> float:
    """R: how often a parameter of the networks is applied to an example at the trained depth (N_sup), on average."""
    return config.recursion if has_closed_forms(config) else _measured(config, shape).recursion


def count_layers(config: BaseModelConfig, shape: PuzzleShape) -> int:
    """Layers executed in one supervision step."""
    return config.layers_per_step if has_closed_forms(config) else _measured(config, shape).layers_per_step


def count_parameters(config: BaseModelConfig, shape: PuzzleShape) -> ParameterCount:
    """Parameters of the model that `build_model(config, shape)` would build."""
    if not has_closed_forms(config):
        measured = _measured(config, shape)
        return ParameterCount(measured.once, measured.recursed)
    size, length = config.hidden_size, config.prefix_length + shape.length
    positions = length * size if config.positions == "learned" else 0
    tokens_and_head = 2 * shape.vocabulary * size
    q_head = 2 * size + 2
    initial = (1 if config.single_state else 2) * size if config.state_init == "learned" else 0
    mixer = 4 * size**2 if config.mixer == "attention" else 3 * length * config.inner_size(length)
    block = mixer + 3 * size * config.inner_size(size)
    return ParameterCount(tokens_and_head + positions + q_head + initial, sum(config.network_layers) * block)


def count_puzzle_weights(config: BaseModelConfig, shape: PuzzleShape) -> int:
    """Weights of the embedding of puzzles, which sign-SGD trains and which are no parameters."""
    if not has_closed_forms(config):
        return _measured(config, shape).puzzle_weights
    return shape.num_puzzles * (config.puzzle_embedding_size or 0)


def inference_flops(config: BaseModelConfig, shape: PuzzleShape, depth: int | None = None) -> int:
    """FLOPs of answering one example with `depth` supervision steps (N_sup where absent), each answered."""
    if has_closed_forms(config):
        step = config.layers_per_step * _layer_flops(config, shape) + _head_flops(config, shape)
    else:
        step = _measured(config, shape).answer_flops
    return (depth or config.trained_depth) * step


def train_step_flops(config: BaseModelConfig, shape: PuzzleShape, batch_size: int, cycles: Cycles | None = None) -> int:
    """FLOPs of one optimizer step, which is one supervision step of a batch.

    All calls forward, the differentiated ones backward, the continue target's extra pass where it is learned.

    Args:
        cycles: T and n in force, where a curriculum sets them.
    """
    if not has_closed_forms(config):
        return batch_size * _measured(config, shape, cycles).train_flops
    layers, graded = config.call_layers(cycles), config.graded_calls(cycles)
    layer, head = _layer_flops(config, shape), _head_flops(config, shape)
    step = (sum(layers) + 2 * sum(layers[-graded:])) * layer + 3 * head
    step -= _saved_at_the_horizon(config, shape, cycles)
    if config.halting == "act_continue" and config.trained_depth > 1:
        step += sum(layers) * layer + 4 * config.hidden_size
    return batch_size * step


def _layer_flops(config: ModelConfig, shape: PuzzleShape) -> int:
    """Forward FLOPs of one layer on one example."""
    length, size = config.prefix_length + shape.length, config.hidden_size
    mlp = 2 * length * 3 * size * config.inner_size(size)
    if config.mixer == "attention":
        projections = 2 * length * 4 * size**2
        mixer = projections + 2 * (2 * length**2 * size)  # scores, then their product with the values
    else:
        mixer = 2 * size * 3 * length * config.inner_size(length)
    return mixer + mlp


def _head_flops(config: ModelConfig, shape: PuzzleShape) -> int:
    """Forward FLOPs of both heads on one example."""
    return 2 * config.hidden_size * (shape.length * shape.vocabulary + 2)


def _saved_at_the_horizon(config: ModelConfig, shape: PuzzleShape, cycles: Cycles | None) -> int:
    """FLOPs that the first differentiated call saves when its input needs no gradient: that of its first product's input.

    The input needs one where x is injected (the embedding is trained). An answer update gets no x; one right behind the
    horizon sees only states without gradient. Learned initial states, which do have one, need a horizon beyond it.
    """
    calls, graded = len(config.call_layers(cycles)), config.graded_calls(cycles)
    per_cycle = (cycles or config.cycles).l_cycles + 1
    is_answer_update = isinstance(config, RecursiveConfig) and (calls - graded) % per_cycle == per_cycle - 1
    if not is_answer_update:
        return 0
    length, size = config.prefix_length + shape.length, config.hidden_size
    if config.mixer == "attention":
        return 2 * length * 3 * size**2
    return 2 * size * 2 * length * config.inner_size(length)
