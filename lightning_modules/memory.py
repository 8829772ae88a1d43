"""Memory of training, known before anything is trained: in closed form where a model has one, else measured (rrm/measure.py)."""

from lightning_modules.config import TrialConfig
from rrm.compute import count_layers, count_parameters, count_puzzle_weights, has_closed_forms
from rrm.config import LossConfig, ModelConfig
from rrm.tasks.task import PuzzleShape

COPIES = 5  # copies of each trained parameter: weight, gradient, two moments, moving average
PUZZLE_COPIES = 6  # copies of each puzzle embedding: weight, gradient, the scored copy, and three while sign-SGD steps


def training_bytes(config: TrialConfig) -> float:
    """Peak memory of training in bytes: parameters with all that is kept for each, activations, and the work of one layer."""
    model, shape = config.model, config.task.shape
    kept = 4 * (COPIES * count_parameters(model, shape).total + PUZZLE_COPIES * count_puzzle_weights(model, shape))
    return kept + activation_bytes(config) + max(config.fit.batch_size, config.eval.batch_size) * _work_bytes(config)


def activation_bytes(config: TrialConfig) -> float:
    """Bytes that a training step keeps for its backward pass: inputs, differentiated calls, loss."""
    return config.fit.batch_size * _saved_bytes(config)


def _saved_bytes(config: TrialConfig) -> int:
    """Bytes that a training step keeps of one example.

    The closed form is counted from `rrm.layers` and `rrm.losses`; attention keeps no scores (fused). Weights cast to bfloat16 are
    not counted.
    """
    model, shape, loss = config.model, config.task.shape, config.loss
    if not has_closed_forms(model):
        from rrm.measure import measure_saved_bytes

        return measure_saved_bytes(model, shape, loss)
    graded_layers = sum(model.call_layers()[-model.graded_calls() :])
    embedded = 4 * (model.prefix_length + shape.length) * model.hidden_size
    return graded_layers * _layer_bytes(model, shape) + embedded + _loss_bytes(loss, shape)


def _work_bytes(config: TrialConfig) -> float:
    """Bytes that one layer works on, of one example; without a closed form, what is kept of an example over its layers."""
    model, shape = config.model, config.task.shape
    if has_closed_forms(model):
        return _layer_bytes(model, shape)
    return _saved_bytes(config) / max(1, count_layers(model, shape))


def _loss_bytes(loss: LossConfig, shape: PuzzleShape) -> int:
    """Bytes that the loss keeps of one example: stablemax its logits four times in its precision, softmax once."""
    number, copies = (8 if loss.precision == "float64" else 4), (4 if loss.kind == "stablemax" else 1)
    return shape.length * shape.vocabulary * number * copies


def _layer_bytes(model: ModelConfig, shape: PuzzleShape) -> int:
    """Bytes that one layer keeps of one example for its backward pass.

    In numbers a position, D hidden size, M inner width of a SwiGLU: attention 6 D (its input, query, key, value, their mixture,
    the norm in float32; 2 D more for rotated queries and keys), SwiGLU 4 M (gate and up, silu(gate), the product), 2 D (the rest).
    """
    length, size = model.prefix_length + shape.length, model.hidden_size
    number = 2 if model.precision == "bfloat16" else 4
    if model.mixer == "attention":
        mixer = length * size * (number * (7 if model.positions == "rotary" else 5) + 4)
    else:
        mixer = size * (number * (length + 4 * model.inner_size(length)) + 4 * length)
    return mixer + length * (number * (size + 4 * model.inner_size(size)) + 4 * size)
