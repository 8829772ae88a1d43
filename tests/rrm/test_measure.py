"""Counts on the model itself, by which the closed forms are checked and models without closed forms are counted."""

from collections.abc import Sequence
from typing import Any, Literal

import pytest
import torch
from pydantic import Field

from rrm.compute import count_layers, count_parameters, count_recursion, has_closed_forms, inference_flops, train_step_flops
from rrm.config import RecursiveConfig
from rrm.measure import measure_model
from rrm.models import CONFIGS, find_models, model_config
from rrm.models.trm import TRM
from rrm.reasoner import Call, State
from rrm.tasks.task import PuzzleShape
from rrm.trial_model import Cycles

SHAPE = PuzzleShape(length=16, vocabulary=6, num_puzzles=3)
SMALL: dict[str, Any] = {"hidden_size": 16, "head_size": 8, "num_layers": 1, "supervision_steps": 3, "h_cycles": 2, "l_cycles": 1}


class DampedConfig(RecursiveConfig):
    """A TRM that scales its latent state by learned factors of each head."""

    kind: Literal["damped"] = "damped"
    rate: float = Field(0.5, gt=0, lt=1)


class Damped(TRM):
    """A variant with 24 weights more and a second answer update at the end."""

    Config = DampedConfig

    def __init__(self, config: Any, shape: PuzzleShape) -> None:
        super().__init__(config, shape)
        self.factors = torch.nn.Parameter(torch.full((24,), config.rate))

    def calls(self, cycles: Cycles) -> Sequence[Call]:
        return [*super().calls(cycles), self._scaled_answer]

    def _scaled_answer(self, state: State, x: torch.Tensor, generator: torch.Generator | None) -> State:
        return self._update_answer(state._replace(z_L=state.z_L * self.factors.mean()), x, generator)


@pytest.mark.parametrize("changes", [{}, {"mixer": "mlp", "prefix_length": 2}], ids=str)
@pytest.mark.parametrize("kind", CONFIGS)
def test_closed_forms_equal_the_counts_on_the_model(kind: str, changes: dict[str, Any]) -> None:
    fields = {name: value for name, value in (SMALL | changes).items() if name in CONFIGS[kind].model_fields}
    config = model_config(kind, **fields)
    assert has_closed_forms(config)
    measured = measure_model(config, SHAPE)
    assert (measured.once, measured.recursed) == count_parameters(config, SHAPE)
    assert (measured.layers_per_step, measured.recursion) == (config.layers_per_step, config.recursion)
    assert measured.answer_flops == inference_flops(config, SHAPE, depth=1)
    assert measured.train_flops == train_step_flops(config, SHAPE, batch_size=1)


def test_a_variant_without_closed_forms_is_counted_on_the_model() -> None:
    find_models([Damped])
    variant, plain = DampedConfig(**SMALL), model_config(**SMALL)
    assert not has_closed_forms(variant)
    before = torch.random.get_rng_state()
    assert count_parameters(variant, SHAPE) == (count_parameters(plain, SHAPE).once + 24, count_parameters(plain, SHAPE).recursed)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert count_layers(variant, SHAPE) == plain.layers_per_step + 1
    assert count_recursion(variant, SHAPE) == (4 + 1) * 3
    assert inference_flops(variant, SHAPE) > inference_flops(plain, SHAPE)
    assert train_step_flops(variant, SHAPE, 2) > train_step_flops(plain, SHAPE, 2)


def test_a_class_derived_from_a_built_in_config_does_not_inherit_its_closed_forms() -> None:
    class Wider(CONFIGS["trm"]):  # type: ignore[name-defined, misc]
        """A variant."""

    assert has_closed_forms(CONFIGS["trm"]()) and not has_closed_forms(Wider())
