"""The closed form of training memory is what autograd saves."""

import warnings
from typing import Any

import pytest
import torch

from lightning_modules.config import TrialConfig
from lightning_modules.datamodule import TrainingStream, load_splits
from lightning_modules.memory import activation_bytes, training_bytes
from lightning_modules.module import RecursiveModule
from rrm.models import find_models
from rrm.models.trm import TRM, TRMConfig
from tests.conftest import tiny_trial

SMALL = {"hidden_size": 32, "head_size": 8}


def saved_bytes(config: TrialConfig) -> int:
    """Bytes of what autograd keeps in a training step, weights left out; tensors that share memory count once."""
    data = load_splits(config.task)
    batch = TrainingStream(data.task, data.splits["train"], config, first_step=0).batch(0)
    module = RecursiveModule(config)
    weights = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
    storages: dict[int, torch.UntypedStorage] = {}  # held, so that no address is used twice

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with warnings.catch_warnings(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        warnings.simplefilter("ignore")  # Lightning misses its trainer
        module.training_step(batch, 0)
    return sum(storage.nbytes() for address, storage in storages.items() if address not in weights)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model__l_cycles": 4, "model__hidden_size": 48},
        {"model__gradient": "full", "model__h_cycles": 3},
        {"model__gradient": "one_step", "model__num_layers": 3},
        {"model__positions": "learned"},
        {"model__mixer": "mlp", "model__positions": "none"},
        {"model__prefix_length": 8},
        {"model__networks": "separate", "model__answer_layers": 3},
        {"loss__kind": "softmax", "fit__batch_size": 32},
        {"model": SMALL | {"kind": "hrm", "num_layers": 2, "supervision_steps": 2}},
        {"model": SMALL | {"kind": "looped", "l_cycles": 3, "supervision_steps": 2}},
        {"model": SMALL | {"kind": "direct", "num_layers": 3}},
    ],
)
def test_activations_are_those_that_autograd_saves_within_a_twentieth(changes: dict[str, Any]) -> None:
    config = tiny_trial(**changes)
    assert activation_bytes(config) == pytest.approx(saved_bytes(config), rel=0.05)


def test_activations_in_bfloat16_are_right_within_a_quarter() -> None:
    config = tiny_trial(model__precision="bfloat16", model__hidden_size=64)
    assert activation_bytes(config) == pytest.approx(saved_bytes(config), rel=0.25)


def test_memory_grows_with_the_puzzle_embedding_and_the_batch() -> None:
    plain, prefixed, wide = tiny_trial(), tiny_trial(model__prefix_length=8), tiny_trial(fit__batch_size=1024)
    assert training_bytes(plain) < training_bytes(prefixed) < training_bytes(wide)


class TwinConfig(TRMConfig):
    """A TRM whose class states no closed forms."""

    kind: str = "twin"


class Twin(TRM):
    Config = TwinConfig


@pytest.mark.parametrize("changes", [{}, {"mixer": "mlp", "positions": "none"}, {"prefix_length": 8}], ids=str)
def test_memory_without_closed_forms_is_measured_on_the_model(changes: dict[str, Any]) -> None:
    find_models([Twin])
    config = tiny_trial(**{f"model__{name}": value for name, value in changes.items()})
    twin = config.model_copy(update={"model": TwinConfig(**config.model.model_dump(exclude={"kind"}, exclude_none=True))})
    assert activation_bytes(twin) == pytest.approx(activation_bytes(config), rel=0.05)
    assert training_bytes(twin) == pytest.approx(training_bytes(config), rel=0.15)
