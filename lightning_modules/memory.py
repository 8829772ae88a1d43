"""Memory of training in closed form, known before anything is built."""

from lightning_modules.config import TrialConfig
from rrm.compute import count_parameters

COPIES = 5  # copies of each trained parameter: weight, gradient, two moments, moving average
PUZZLE_COPIES = 6  # copies of each puzzle embedding: weight, gradient, the scored copy, and three while sign-SGD steps


def training_bytes(config: TrialConfig) -> float:
    """Peak memory of training in bytes: parameters with all that is kept for each, activations, and the work of one layer."""
    model, shape = config.model, config.task.shape
    puzzles = shape.num_puzzles * (model.puzzle_embedding_size or 0)
    kept = 4 * (COPIES * count_parameters(model, shape).total + PUZZLE_COPIES * puzzles)
    work = max(config.fit.batch_size, config.eval.batch_size) * _layer_bytes(config)
    return kept + activation_bytes(config) + work


def activation_bytes(config: TrialConfig) -> float:
    """Bytes that a training step keeps for its backward pass: inputs, differentiated calls, loss.

    Counted from `rrm.layers` and `rrm.losses`; attention keeps no scores (fused). Weights cast to bfloat16 are not counted.
    """
    model, shape = config.model, config.task.shape
    graded_layers = sum(model.call_layers()[-model.graded_calls() :])
    embedded = 4 * (model.prefix_length + shape.length) * model.hidden_size
    # Stablemax keeps its logits four times in its precision, softmax once.
    number, copies = (8 if config.loss.precision == "float64" else 4), (4 if config.loss.kind == "stablemax" else 1)
    loss = shape.length * shape.vocabulary * number * copies
    return config.fit.batch_size * (graded_layers * _layer_bytes(config) + embedded + loss)


def _layer_bytes(config: TrialConfig) -> int:
    """Bytes that one layer keeps of one example for its backward pass.

    In numbers a position, D hidden size, M inner width of a SwiGLU: attention 6 D (its input, query, key, value, their mixture,
    the norm in float32; 2 D more for rotated queries and keys), SwiGLU 4 M (gate and up, silu(gate), the product), 2 D (the rest).
    """
    model = config.model
    length, size = model.prefix_length + config.task.shape.length, model.hidden_size
    number = 2 if model.precision == "bfloat16" else 4
    if model.mixer == "attention":
        mixer = length * size * (number * (7 if model.positions == "rotary" else 5) + 4)
    else:
        mixer = size * (number * (length + 4 * model.inner_size(length)) + 4 * length)
    return mixer + length * (number * (size + 4 * model.inner_size(size)) + 4 * size)
